//! Years of a company, day by day with a turned clock: after each look at the clock the database holds what
//! an oracle in plain SQL says, row for row.
//!
//! `make test` turns it for some months, `make simulate` for five years.

#![allow(clippy::unwrap_used)] // a test may

#[path = "../support/mod.rs"]
mod support;

mod company;
mod oracle;

use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};
use company::Company;
use erasured::erasure::intake;
use erasured::retention::schedule;
use oracle::Oracle;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// A winter's day, four weeks before a leap day.
fn first_day() -> NaiveDate {
    NaiveDate::from_ymd_opt(2024, 2, 1).unwrap()
}

/// When the daemon looks at its clock, in minutes of a UTC day: between them lie half past two and midnight
/// of Tokyo and of Berlin, in summer and in winter, and the hours that Berlin skips and meets twice.
const LOOKS: [i64; 7] = [20, 45, 70, 110, 15 * 60 + 30, 17 * 60 + 40, 22 * 60 + 50];

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_day_the_database_holds_what_the_oracle_says() {
    let days = number("SIMULATE_DAYS", 75);
    let mut chance = StdRng::seed_from_u64(number("SIMULATE_SEED", 1));
    let company = Company::open().await;
    let mut oracle = Oracle::new(&company).await;
    let mut disagreements = 0_u64;
    for day in 0..days {
        let date = first_day() + Days::new(day);
        company.live_through(date, day, &mut chance).await;
        // Two nights in which no daemon ran, each half a year.
        let out = matches!(day % 182, 40 | 41);
        for minutes in LOOKS {
            let now = at(date, minutes);
            company.turn_to(now);
            if out {
                continue;
            }
            intake::round(&company.context, 200).await.unwrap();
            let round = schedule::round(&company.context, &|| false).await.unwrap();
            assert_eq!(round.hindrance, None, "{now}");
            oracle.look(now).await;
            disagreements += company.disagreements(now).await;
        }
        if day % 100 == 99 {
            println!("{date}: {}", company.told().await);
        }
    }
    let runs = company.runs().await;
    println!(
        "{days} days, {}; {} runs; {disagreements} disagreement(s) with the oracle",
        company.told().await,
        runs.values().sum::<i64>()
    );
    assert_eq!(disagreements, 0);
    assert_eq!(runs, oracle.runs, "each time of a schedule is one run");
    if days >= 75 {
        company.assert_lived().await;
    }
}

fn at(date: NaiveDate, minutes: i64) -> DateTime<Utc> {
    date.and_hms_opt(0, 0, 0).unwrap().and_utc() + TimeDelta::minutes(minutes)
}

/// Up to so many.
fn some(chance: &mut StdRng, most: u32) -> u32 {
    chance.random_range(0..=most)
}
