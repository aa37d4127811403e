//! Random small schemas, random rows, random policies that fit: after the erasure the whole
//! database, row by row, is what a naive oracle says. The oracle knows nothing of lineage or plan:
//! it spreads claims over rows in memory, by definition, until nothing changes.
//!
//! Each case has a seed: `make fuzz N=1000` runs a thousand, `make fuzz SEED=17` that one again.

mod met;
mod model;
mod naive;
mod raw;
mod text;

use crate::support::Server;
use crate::target::{Planned, Target, hash, plan_on, subject, told, totals};
use erasured::diagnostic::Severity;
use met::Met;
use model::Model;
use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use raw::{RawCase, raw_case};
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Seeds of cases that once failed, one a line; they run first.
const FAILED_ONCE: &str = include_str!("oracle/seeds");

/// The seeds to run, and how long at most.
fn seeds() -> (Vec<u64>, Duration) {
    let number = |name| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    if let Some(seed) = number("FUZZ_SEED") {
        return (vec![seed], Duration::MAX);
    }
    let failed = FAILED_ONCE.lines().filter(|l| !l.starts_with('#'));
    let failed = failed.map(|l| l.parse().expect("a seed"));
    if let Some(cases) = number("FUZZ_CASES") {
        let first = u64::from(rand_start());
        eprintln!("seeds {first} to {}", first + cases - 1);
        let time = number("FUZZ_SECONDS").map_or(Duration::MAX, Duration::from_secs);
        return (failed.chain(first..first + cases).collect(), time);
    }
    // The same ones every time: what fails here was broken by the change at hand.
    (failed.chain(0..100).collect(), Duration::from_secs(25))
}

/// New ones every time.
fn rand_start() -> u32 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.unwrap().as_secs() as u32
}

#[test]
fn random_schemas_end_as_the_naive_oracle_says() {
    let (seeds, time) = seeds();
    let run = Run {
        seeds: &seeds,
        until: Instant::now().checked_add(time),
        begun: AtomicUsize::new(0),
        met: Mutex::default(),
        failed: Mutex::default(),
    };
    let started = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| run.work());
        }
    });
    let met = run.met.into_inner().unwrap();
    let failed = run.failed.into_inner().unwrap();
    met.print();
    eprintln!("{:?}", started.elapsed());
    assert!(
        failed.is_empty(),
        "disagreement; again by `make fuzz SEED=…`, and for ever by tests/lessons/oracle/seeds: {failed:?}"
    );
    if met.erased >= 300 {
        let never = met.never();
        assert!(never.is_empty(), "never met: {never:?}");
    }
    if seeds.len() > 1 {
        assert!(met.erased >= 20, "only {} in {time:?}", met.erased);
        let refused = met.refusals();
        assert!(
            refused * 4 <= met.erased,
            "too many policies are refused for this to prove much: {refused}"
        );
    }
}

/// Seeds that several workers take one by one, and what comes of them.
struct Run<'a> {
    seeds: &'a [u64],
    until: Option<Instant>,
    begun: AtomicUsize,
    met: Mutex<Met>,
    failed: Mutex<Vec<u64>>,
}

impl Run<'_> {
    /// One worker, with databases of its own: a catalog through which hundreds of schemas have gone
    /// is slow to read.
    fn work(&self) {
        while self.some(40) {}
    }

    /// So many seeds in one database; whether there may be more.
    fn some(&self, many: usize) -> bool {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let database = Server::shared().fresh_database("oracle");
        let mut target = Target::of("s", &database);
        target.piece_rows = 2;
        let names = Cell::new(0);
        for _ in 0..many {
            let Some(seed) = self.next() else {
                return false;
            };
            let result = one_seed(seed, |raw| {
                names.set(names.get() + 1);
                let schema = format!("app{}", names.get());
                runtime.block_on(one(&target, &raw, &schema, &self.met))
            });
            if let Err(TestError::Fail(why, raw)) = result {
                let model = Model::new(&raw, "app");
                let (sql, policy) = (model.sql(), model.policy());
                eprintln!("seed {seed}: {why}\n\n{sql}\n{policy}\n");
                self.failed().push(seed);
            }
        }
        true
    }

    fn next(&self) -> Option<u64> {
        let late = self.until.is_some_and(|until| Instant::now() > until);
        if late || self.failed().len() >= 10 {
            return None;
        }
        let at = self.begun.fetch_add(1, Ordering::Relaxed);
        if at > 0 && at.is_multiple_of(100) && at < self.seeds.len() {
            eprintln!("{at} of {} schemas", self.seeds.len());
        }
        self.seeds.get(at).copied()
    }

    fn failed(&self) -> std::sync::MutexGuard<'_, Vec<u64>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The case of a seed, made small if it fails.
fn one_seed(
    seed: u64,
    test: impl Fn(RawCase) -> Result<(), TestCaseError>,
) -> Result<(), TestError<RawCase>> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config {
        max_shrink_time: 30_000,
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let tree = raw_case()
        .new_tree(&mut runner)
        .expect("nothing is filtered");
    runner.run_one(tree, test).map(|_| ())
}

async fn one(
    target: &Target,
    raw: &RawCase,
    schema: &str,
    met: &Mutex<Met>,
) -> Result<(), TestCaseError> {
    let model = Model::new(raw, schema);
    let client = target.client().await;
    let made = client.batch_execute(&model.sql()).await;
    drop(client);
    let result = match made {
        Ok(()) => erase_and_compare(target, &model, met).await,
        Err(error) => Err(TestCaseError::fail(format!("the schema: {error:?}"))),
    };
    let client = target.client().await;
    client.batch_execute(&model.drop()).await.unwrap();
    result
}

async fn erase_and_compare(
    target: &Target,
    model: &Model,
    met: &Mutex<Met>,
) -> Result<(), TestCaseError> {
    let fail = |why: String| TestCaseError::fail(why);
    let planned = match target.plan(&model.policy()).await {
        Ok(planned) => planned,
        Err(found) => {
            let said = told(&found);
            // Refusals that the generator cannot know beforehand; all others are its faults or ours.
            let known = ["E0209", "E0219", "E0227"];
            let Some(code) = known.iter().find(|code| said.contains(*code)) else {
                return Err(fail(format!("unexpected refusal: {said}")));
            };
            if std::env::var("FUZZ_TELL").is_ok() {
                eprint!("{said}");
            }
            let refused = &mut met.lock().unwrap().refused;
            *refused.entry((*code).into()).or_default() += 1;
            return Ok(());
        }
    };
    let (mut after, mut changed) = (model.clone(), 0);
    let narrow = match model.batches.first() {
        Some(batch) => erase_a_part(target, &mut after, batch).await?,
        None => 0,
    };
    for batch in &model.batches {
        changed += erase(target, &planned, &mut after, batch).await?;
    }
    let mut met = met.lock().unwrap();
    met.add(model, planned.part("s"), changed);
    met.narrow(narrow);
    Ok(())
}

/// Before all of it, in half of the cases, only what a scope of some tables asks for; how much that
/// was. Most scopes are refused: rows outside hang on rows inside.
async fn erase_a_part(
    target: &Target,
    after: &mut Model,
    batch: &[usize],
) -> Result<i64, TestCaseError> {
    let drawn = hash(&after.policy());
    let drawn = u64::from_str_radix(&drawn[..16], 16).unwrap();
    for bits in [drawn >> 1, drawn >> 9, drawn >> 17] {
        let Some(mut part) = after.narrowed(bits).filter(|_| drawn & 1 == 1) else {
            continue;
        };
        let planned = match plan_on(&[target], &part.policy(), "narrow").await {
            Ok(planned) => planned,
            Err(found) => {
                let known = ["E0209", "E0227", "E0233"];
                let mut unknown = found.iter().filter(|d| d.severity == Severity::Error);
                match unknown.find(|d| !known.contains(&d.code)) {
                    None => continue,
                    Some(_) => return Err(TestCaseError::fail(told(&found))),
                }
            }
        };
        let changed = erase(target, &planned, &mut part, batch).await;
        let scope = part.scope.take();
        let changed = changed.map_err(|e| TestCaseError::fail(format!("scope {scope:?}: {e}")))?;
        *after = part;
        return Ok(changed);
    }
    Ok(0)
}

/// Erases a batch and compares all there is with the truth; how many rows were changed.
async fn erase(
    target: &Target,
    planned: &Planned,
    after: &mut Model,
    batch: &[usize],
) -> Result<i64, TestCaseError> {
    let fail = |why: String| TestCaseError::fail(why);
    // Whom another's erasure took along has nothing left to erase.
    let mut batch = batch.to_vec();
    batch.retain(|&row| !after.tables[0].rows[row].gone);
    let expected = naive::erase(after, &batch);
    let subjects: Vec<_> = batch.iter().map(subject).collect();
    let dry = target.dry_run(planned, &subjects).await;
    let dry = dry.map_err(|e| fail(format!("dry run of {batch:?}: {e}")))?;
    let outcome = target.run(planned, &subjects).await;
    let outcome = outcome.map_err(|e| fail(format!("run of {batch:?}: {e}")))?;
    compare(target, after).await?;
    let counted = totals(&outcome.counts);
    if counted != expected.counts {
        let truth = &expected.counts;
        return Err(fail(format!("counted {counted:?}, the truth is {truth:?}")));
    }
    if totals(&dry) != counted {
        return Err(fail(format!("the dry run counted {:?}", totals(&dry))));
    }
    let kept = outcome.counts.iter().flat_map(|c| &c.kept);
    let kept: i64 = kept.map(|k| k.rows).sum();
    if kept != expected.kept {
        return Err(fail(format!("kept {kept}, the truth is {}", expected.kept)));
    }
    Ok(counted.values().sum())
}

async fn compare(target: &Target, after: &Model) -> Result<(), TestCaseError> {
    let (found, expected) = (after.read(target).await, naive::rows(after));
    for (table, (found, expected)) in found.iter().zip(&expected).enumerate() {
        if found != expected {
            let left: Vec<_> = found.iter().filter(|r| !expected.contains(r)).collect();
            let lost: Vec<_> = expected.iter().filter(|r| !found.contains(r)).collect();
            return Err(TestCaseError::fail(format!(
                "t{table} differs; there and should not be: {left:#?}, should be there: {lost:#?}"
            )));
        }
    }
    Ok(())
}
