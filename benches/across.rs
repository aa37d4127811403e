//! 10,000 tickets over two PostgreSQL servers, MariaDB, Redis and a folder of files, held against as
//! many tickets for the slowest of these systems alone; one system that is slow to answer; memory;
//! and how much a system is asked at the same time.
//!
//! "Alone" is a scope of the same policy whose work lies in that system. The bookkeeping is the same
//! for all: leases, plans and steps in the control database, and the question to the shop, where the
//! person's own row is, whose values these are; where that row's system takes part it is held while the
//! others are erased. Time counts from the moment when all tickets may begin to their last step; the
//! intake is over by then, and the sweep still to come. People are each ticket's own. Turn by turn, each
//! kind of ticket has a fifth of its tickets, and beside it the script of [`Script`] forgets as many.

mod company;
mod slow;

use crate::by_hand::across::Script;
use crate::filing::Daemon;
use crate::report::{Entry, Must, Report, Setting, median};
use company::{ALL, ALONE, CONCURRENCY, Company, member};
use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Instant;

const ROUNDS: u32 = 5;
/// As `limits.batch` is by default.
const BATCH: usize = 500;

/// `BENCH_TICKETS` for a quick look.
fn tickets() -> u32 {
    let asked = std::env::var("BENCH_TICKETS").ok();
    asked.map_or(10_000, |n| n.parse().expect("BENCH_TICKETS is a number"))
}

/// Gives out people, each once.
pub(crate) struct People(u32);

impl People {
    pub(crate) fn take(&mut self, many: u32) -> Range<u32> {
        let first = self.0;
        self.0 += many;
        first..self.0
    }
}

/// One kind of ticket in one round.
struct Slice {
    scope: &'static str,
    ours: Range<u32>,
    theirs: Range<u32>,
}

pub(crate) fn measure(report: &mut Report) {
    let tickets = tickets();
    let mut people = People(1);
    let scopes = || ALONE.into_iter().chain([ALL]);
    let rounds: Vec<Vec<Slice>> = (0..ROUNDS)
        .map(|_| {
            let slice = |scope| Slice {
                scope,
                ours: people.take(tickets / ROUNDS),
                theirs: people.take(tickets / ROUNDS),
            };
            scopes().map(slice).collect()
        })
        .collect();

    let slow = slow::tickets(&mut people, tickets);
    let company = Company::open(people.0 - 1);
    println!("  {} people", people.0 - 1);
    for slice in rounds.iter().flatten() {
        company.file(slice.scope, slice.ours.clone());
        if [ALL, "files"].contains(&slice.scope) {
            company.give_files(slice.ours.clone());
            company.give_files(slice.theirs.clone());
        }
    }
    slow::file(&company, &slow);
    let daemon = Daemon::start(&company.workspace);
    company.all_are_found();
    daemon.stop();
    println!("  all are found");

    let daemon = Daemon::start(&company.workspace);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut script = runtime.block_on(company.script());
    let (mut rates, mut memory) = (Vec::new(), Vec::new());
    for slices in &rounds {
        let of_round = Rates::measured(&company, slices, &mut script, &runtime);
        memory.push(daemon.memory("VmHWM"));
        println!(
            "  round {}: {of_round}; VmHWM {:.1} MB",
            memory.len(),
            memory[memory.len() - 1]
        );
        rates.push(of_round);
    }
    let most_at_once = company.way.most_at_once();
    daemon.stop();

    let setting = Setting::new(&company.shop.0)
        .rows("tickets of each kind", u64::from(tickets))
        .rows("people", u64::from(people.0 - 1))
        .rows("rounds", u64::from(ROUNDS));
    report.add(throughput(&setting, &rates));
    report.add(setting.absolute(
        "across: requests that the cache was owed an answer to at once",
        "",
        most_at_once as f64,
        (Must::BeAtMost, CONCURRENCY as f64),
        "the most in all rounds, counted between the daemon and Redis; `concurrency = 4`",
    ));
    slow::measure(&company, &setting, &slow, report);
    report.add(setting.compared(
        "across: the daemon's memory after all rounds, against the first",
        "MB",
        &[(memory[memory.len() - 1], memory[0])],
        (Must::BeAtMost, 1.25),
        "VmHWM when it has worked off all tickets of each kind, against a fifth of them",
    ));
}

/// Tickets a second, ours and by hand, by scope.
struct Rates(BTreeMap<&'static str, (f64, f64)>);

impl std::fmt::Display for Rates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (scope, (ours, theirs)) in &self.0 {
            write!(f, "{scope} {ours:.0} (by hand {theirs:.0}); ")?;
        }
        write!(
            f,
            "all against the slowest {:.2}",
            self.0[ALL].0 / self.slowest()
        )
    }
}

impl Rates {
    fn measured(
        company: &Company,
        slices: &[Slice],
        script: &mut Script,
        runtime: &tokio::runtime::Runtime,
    ) -> Self {
        let mut rates = BTreeMap::new();
        for Slice {
            scope,
            ours,
            theirs,
        } in slices
        {
            company.release(ours);
            let took = company.until_done(ours);
            company.assert_gone(scope, ours);
            let rate = f64::from(ours.end - ours.start) / took;
            let members: Vec<String> = theirs.clone().map(member).collect();
            let started = Instant::now();
            for some in members.chunks(BATCH) {
                runtime.block_on(script.batch(scope, some));
            }
            let by_hand = members.len() as f64 / started.elapsed().as_secs_f64();
            company.assert_gone(scope, theirs);
            rates.insert(*scope, (rate, by_hand));
        }
        Self(rates)
    }

    fn slowest(&self) -> f64 {
        let alone = ALONE.iter().map(|scope| self.0[scope].0);
        alone.fold(f64::MAX, f64::min)
    }
}

fn throughput(setting: &Setting, rounds: &[Rates]) -> Entry {
    let against: Vec<(f64, f64)> = rounds.iter().map(|r| (r.0[ALL].0, r.slowest())).collect();
    let mut entry = setting.compared(
        "across: five systems, against the slowest of them alone",
        "tickets/s",
        &against,
        (Must::BeAtLeast, 0.7),
        "fsync on; from the moment when all tickets may begin to their last step; `limits.workers = 4`; by hand: benches/by_hand/across.rs, one system after the other, batches of 500",
    );
    for scope in ALONE.into_iter().chain([ALL]) {
        let ours = median(rounds.iter().map(|r| r.0[scope].0));
        let share = median(rounds.iter().map(|r| r.0[scope].0 / r.0[scope].1));
        entry = entry.with(&format!("{scope}: tickets/s"), ours).with(
            &format!("{scope}: share of the script by hand, %"),
            100.0 * share,
        );
    }
    entry
}
