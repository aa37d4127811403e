//! The soak: two daemons at work for as long as one likes, people who ask to be forgotten and rows that grow old
//! coming in all the while, and a fault every few seconds, by seed. At the end all settles, the history holds,
//! and nothing has leaked.
//!
//! `make soak MINUTES=30 SEED=1`.

// A test may unwrap, and exports nothing.
#![allow(clippy::unwrap_used, unreachable_pub, dead_code)]

#[path = "../support/mod.rs"]
mod support;

#[path = "../survives/company.rs"]
mod company;
mod fault;
#[path = "../survives/truth.rs"]
mod truth;
mod watched;
mod world;

use fault::Faults;
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::time::{Duration, Instant};
use watched::Watched;
use world::World;

/// How long until all has settled once nothing goes wrong any more.
const SETTLES: Duration = Duration::from_secs(240);

fn number(name: &str, otherwise: f64) -> f64 {
    let value = std::env::var(name).ok().filter(|value| !value.is_empty());
    value.map_or(otherwise, |value| {
        value.parse().unwrap_or_else(|_| panic!("{name}={value}"))
    })
}

#[test]
#[ignore = "make soak runs it, for as long as it is told"]
fn nothing_is_lost_done_twice_or_leaked() {
    let (minutes, seed) = (number("SOAK_MINUTES", 30.0), number("SOAK_SEED", 1.0));
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let mut chance = StdRng::seed_from_u64(seed as u64);
    let mut world = World::open();
    // The first is never killed: what it keeps and does not give back is seen.
    let mut daemons = [Watched::start(&world, "a"), Watched::start(&world, "b")];
    let mut faults = Faults::default();
    let begun = Instant::now();
    let end = begun + Duration::from_secs_f64(minutes * 60.0);
    let (mut sampled, mut told) = (begun, begun);
    while Instant::now() < end {
        world.lives();
        faults.round(&mut chance, &mut world, &mut daemons);
        if sampled.elapsed() >= Duration::from_secs(1) {
            sampled = Instant::now();
            daemons.iter_mut().for_each(|daemon| daemon.sample(&world));
        }
        if told.elapsed() >= Duration::from_secs(30) {
            told = Instant::now();
            println!(
                "{:>5} s  {}  {}  {}",
                begun.elapsed().as_secs(),
                world.told(),
                daemons[0].told(),
                faults.told()
            );
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    faults.end(&mut world, &mut daemons);
    world.all_are_filed();
    let healed = Instant::now();
    while world.left() != Some(0) {
        assert!(
            healed.elapsed() < SETTLES,
            "not settled after {SETTLES:?}: {}\n{}",
            world.what_is_open(),
            daemons[0].log()
        );
        daemons.iter_mut().for_each(|daemon| daemon.sample(&world));
        std::thread::sleep(Duration::from_secs(1));
    }
    let settled = healed.elapsed();
    println!("settled {settled:?} after the last fault\n{}", world.told());
    let mut wrong = world.wrong(&mut daemons);
    for daemon in daemons {
        wrong.extend(daemon.end());
    }
    wrong.extend(world.leaked());
    println!("{}", faults.table());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(
        world.closed() > 10 || minutes < 1.0,
        "hardly anything was done"
    );
}
