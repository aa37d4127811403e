//! Random small schemas, random rows, random policies that fit: after the erasure the whole
//! database, row by row, is what a naive oracle says. The oracle knows nothing of lineage or plan:
//! it spreads claims over rows in memory, by definition, until nothing changes.

mod model;
mod naive;

use crate::support::Server;
use crate::target::{Target, subject, told, totals};
use model::{Model, RawCase, raw_case};
use proptest::test_runner::{Config, TestCaseError, TestError, TestRunner};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// As many as fit into half a minute, or a number of them: `ORACLE_CASES=5000`.
fn cases() -> (u32, Duration) {
    let more = std::env::var("ORACLE_CASES").ok();
    match more.and_then(|n| n.parse().ok()) {
        Some(more) => (more, Duration::MAX),
        None => (200, Duration::from_secs(25)),
    }
}

#[test]
fn random_schemas_end_as_the_naive_oracle_says() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let database = Server::shared().fresh_database("oracle");
    let target = Target::of("s", &database);
    let (names, refused, erased) = (AtomicU32::new(0), AtomicU32::new(0), AtomicU32::new(0));
    let (cases, time) = cases();
    let mut runner = TestRunner::new(Config {
        cases,
        max_shrink_time: 60_000,
        failure_persistence: None,
        ..Config::default()
    });
    let started = Instant::now();
    let result = runner.run(&raw_case(), |raw| {
        if started.elapsed() > time {
            return Ok(());
        }
        let schema = format!("app{}", names.fetch_add(1, Ordering::Relaxed));
        let ran = runtime.block_on(one(&target, &raw, &schema))?;
        let which = if ran { &erased } else { &refused };
        which.fetch_add(1, Ordering::Relaxed);
        Ok(())
    });
    let (refused, erased) = (refused.into_inner(), erased.into_inner());
    match result {
        Ok(()) => {}
        Err(TestError::Fail(why, raw)) => {
            let model = Model::new(&raw, "app");
            panic!("{why}\n\n{}\n{}\n\n{raw:?}", model.sql(), model.policy());
        }
        Err(error) => panic!("{error}"),
    }
    eprintln!(
        "{erased} erased, {refused} refused, {:?}",
        started.elapsed()
    );
    assert!(erased >= 20, "only {erased} in {time:?}");
    assert!(
        refused * 4 <= erased,
        "too many policies are refused for this to prove much: {refused} against {erased}"
    );
}

/// Whether the policy was accepted; if so everything must fit.
async fn one(target: &Target, raw: &RawCase, schema: &str) -> Result<bool, TestCaseError> {
    let model = Model::new(raw, schema);
    let client = target.client().await;
    client.batch_execute(&model.sql()).await.unwrap();
    drop(client);
    let result = erase_and_compare(target, &model).await;
    let client = target.client().await;
    let drop = format!("SET client_min_messages = error; DROP SCHEMA {schema} CASCADE");
    client.batch_execute(&drop).await.unwrap();
    result
}

async fn erase_and_compare(target: &Target, model: &Model) -> Result<bool, TestCaseError> {
    let fail = |why: String| TestCaseError::fail(why);
    let planned = match target.plan(&model.policy()).await {
        Ok(planned) => planned,
        Err(found) => {
            let said = told(&found);
            // Refusals that the generator cannot know beforehand; all others are its faults or ours.
            return if ["E0209", "E0219", "E0227"]
                .iter()
                .any(|code| said.contains(code))
            {
                if std::env::var("ORACLE_TELL").is_ok() {
                    eprint!("{said}");
                }
                Ok(false)
            } else {
                Err(fail(format!("unexpected refusal: {said}")))
            };
        }
    };
    let subjects: Vec<_> = model.subjects.iter().map(subject).collect();
    let expected = naive::erase(model);
    let dry = target.dry_run(&planned, &subjects).await;
    let dry = dry.map_err(|e| fail(format!("dry run: {e}")))?;
    let outcome = target.run(&planned, &subjects).await;
    let outcome = outcome.map_err(|e| fail(format!("run: {e}")))?;
    let found = model.read(target).await;
    for (table, (found, expected)) in found.iter().zip(&expected.rows).enumerate() {
        if found != expected {
            let left: Vec<_> = found.iter().filter(|r| !expected.contains(r)).collect();
            let lost: Vec<_> = expected.iter().filter(|r| !found.contains(r)).collect();
            return Err(fail(format!(
                "t{table} differs; there and should not be: {left:#?}, should be there: {lost:#?}"
            )));
        }
    }
    let counted = totals(&outcome.counts);
    if counted != expected.counts {
        return Err(fail(format!(
            "counted {counted:?}, the truth is {:?}",
            expected.counts
        )));
    }
    if totals(&dry) != counted {
        return Err(fail(format!("the dry run counted {:?}", totals(&dry))));
    }
    let kept: i64 = outcome
        .counts
        .iter()
        .flat_map(|c| &c.kept)
        .map(|k| k.rows)
        .sum();
    if kept != expected.kept {
        return Err(fail(format!("kept {kept}, the truth is {}", expected.kept)));
    }
    Ok(true)
}
