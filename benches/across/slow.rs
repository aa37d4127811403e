//! One system that takes 200 ms for each answer: what becomes of tickets that do not touch it while those
//! that do have taken every worker, and of the others' steps.

use super::People;
use super::company::{ALL, Company};
use crate::filing::Daemon;
use crate::report::{Must, Report, Setting, median};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::ops::Range;
use std::time::Duration;

const ROUNDS: usize = 3;
/// Of each answer of the cache.
const LATE: Duration = Duration::from_millis(200);
/// The tickets that touch the cache are at work by then.
const AHEAD: Duration = Duration::from_secs(4);
/// Scopes and databases without the cache.
const OTHERS: [&str; 3] = ["shop", "billing", "crm"];

/// Tickets of one turn.
pub(super) struct Turn {
    touching: Range<u32>,
    others: Vec<(&'static str, Range<u32>)>,
}

/// For each round a turn with a cache that is quick and one with a cache that is slow.
pub(super) fn tickets(people: &mut People, all: u32) -> Vec<[Turn; 2]> {
    let mut turn = || Turn {
        touching: people.take(all / 10),
        others: OTHERS.map(|of| (of, people.take(all / 4))).to_vec(),
    };
    (0..ROUNDS).map(|_| [turn(), turn()]).collect()
}

pub(super) fn file(company: &Company, turns: &[[Turn; 2]]) {
    for turn in turns.iter().flatten() {
        company.give_files(turn.touching.clone());
        company.file(ALL, turn.touching.clone());
        for (scope, of) in &turn.others {
            company.file(scope, of.clone());
        }
    }
}

pub(super) fn measure(
    company: &Company,
    setting: &Setting,
    turns: &[[Turn; 2]],
    report: &mut Report,
) {
    let mut rounds = Vec::new();
    for [quick, slow] in turns {
        let without = one(company, quick, Duration::ZERO);
        let with = one(company, slow, LATE);
        println!("  quick cache: {without:?}\n  slow cache:  {with:?}");
        rounds.push((with, without));
    }
    company.way.slow(Duration::ZERO);
    let rates: Vec<(f64, f64)> = rounds.iter().map(|(a, b)| (a.others, b.others)).collect();
    let entry = setting.compared(
        "across: tickets that do not touch a slow system",
        "tickets/s",
        &rates,
        (Must::BeAtLeast, 0.9),
        "beside as many tickets that touch it as keep every worker busy, released 4 s before; Redis takes 200 ms for each answer, against the same with a quick one",
    );
    let touching = median(rounds.iter().map(|(with, _)| with.touching));
    let requests = rounds.iter().map(|(with, _)| with.most_at_once).max();
    report.add(
        entry
            .with("tickets/s of those that touch it", touching)
            .with(
                "requests that it owed an answer to at once",
                requests.unwrap_or(0) as f64,
            ),
    );
    let steps: Vec<(f64, f64)> = rounds.iter().map(|(a, b)| (a.step, b.step)).collect();
    report.add(setting.compared(
        "across: a step in the other databases beside a slow system",
        "ms",
        &steps,
        (Must::BeAtMost, 1.1),
        "the mean time of one transaction of a batch in shop, billing and crm, tickets that touch the slow system included, against the same with a quick one",
    ));
}

#[derive(Debug)]
struct Measured {
    /// Tickets a second of those that do not touch the cache, and of those that do.
    others: f64,
    touching: f64,
    /// Milliseconds of one step in a database.
    step: f64,
    most_at_once: usize,
}

fn one(company: &Company, turn: &Turn, late: Duration) -> Measured {
    company.way.slow(late);
    company.way.most_at_once();
    let daemon = Daemon::start(&company.workspace);
    company.release(&turn.touching);
    std::thread::sleep(AHEAD);
    turn.others.iter().for_each(|(_, of)| company.release(of));
    let took = turn.others.iter().map(|(_, of)| company.until_done(of));
    let took = took.fold(0.0, f64::max);
    let many: u32 = turn.others.iter().map(|(_, of)| of.end - of.start).sum();
    let touching = company.until_done(&turn.touching);
    let step = steps(&company.workspace.http());
    let most_at_once = company.way.most_at_once();
    daemon.stop();
    for (scope, of) in turn.others.iter().chain([&(ALL, turn.touching.clone())]) {
        company.assert_gone(scope, of);
    }
    Measured {
        others: f64::from(many) / took,
        touching: f64::from(turn.touching.end - turn.touching.start) / touching,
        step,
        most_at_once,
    }
}

/// The mean time of a step in a database, in milliseconds, as the daemon tells it.
fn steps(at: &str) -> f64 {
    let mut stream = TcpStream::connect(at).expect("the daemon listens");
    let asked = "GET /metrics HTTP/1.0\r\nauthorization: Bearer a-token-for-tests\r\n\r\n";
    stream.write_all(asked.as_bytes()).expect("asked");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("metrics");
    let total = |what: &str| -> f64 {
        let of =
            OTHERS.map(|s| format!("erasured_step_duration_seconds_{what}{{system=\"{s}\"}} "));
        let lines = text.lines().filter_map(|line| {
            let of = of.iter().find_map(|of| line.strip_prefix(of.as_str()))?;
            of.parse::<f64>().ok()
        });
        lines.sum()
    };
    1000.0 * total("sum") / total("count")
}
