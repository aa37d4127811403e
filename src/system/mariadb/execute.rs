//! Runs one MariaDB system's part of a plan for a batch of tickets, in one transaction.
//!
//! The same order as on PostgreSQL: capture under lock, change, probe, the row that says it
//! happened, the last word, COMMIT.

use super::connect::Bounds;
use super::run::{ON_THE_WAY, Run, in_time};
use super::system::System;
use super::{applied, failure};
use crate::plan::Counts;
use crate::system::postgres::capture::{self, Captured};
use crate::system::postgres::execute::{
    BeforeChange, Execution, NotErased, Nothing, Outcome, Timeouts, Unanswered,
};
use crate::system::postgres::failure::Failure;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use std::time::Duration;
use uuid::Uuid;

/// Runs the plan, see [`Execution::run`].
///
/// # Errors
/// [`NotErased`]; except for [`NotErased::CommitUnknown`] nothing has happened.
pub async fn run(
    execution: &Execution<'_>,
    system: &System,
    before: &mut dyn BeforeChange,
) -> Result<Outcome, NotErased> {
    let mut run = open(execution, system).await?;
    let outcome = step(&mut run, before).await;
    // What it had locked is let go at once, and nothing that it has seen stays.
    close(run.conn).await;
    outcome
}

async fn close(conn: Conn) {
    let said = tokio::time::timeout(Duration::from_secs(1), conn.disconnect()).await;
    if !matches!(said, Ok(Ok(()))) {
        tracing::debug!("a session of MariaDB's did not say that it has ended");
    }
}

/// Counts what [`run`] would do, in one read-only snapshot, by the same statements.
///
/// # Errors
/// As [`run`].
pub async fn dry_run(execution: &Execution<'_>, system: &System) -> Result<Vec<Counts>, NotErased> {
    let mut run = open(execution, system).await?;
    run.begin(
        "REPEATABLE READ",
        "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
    )
    .await?;
    let mut captured = Captured::new(execution.plan);
    let active: Vec<usize> = (0..execution.subjects.len()).collect();
    capture::all_by(&mut run, execution, &active, &mut captured, None).await?;
    let mut counts = vec![Counts::default(); execution.subjects.len()];
    capture::would_change(execution, &captured, &mut counts);
    capture::kept(execution, &captured, &mut counts, &Nothing);
    close(run.conn).await;
    Ok(counts)
}

async fn open<'e>(execution: &'e Execution<'e>, system: &System) -> Result<Run<'e>, NotErased> {
    let Timeouts {
        lock,
        statement,
        idle,
    } = execution.timeouts;
    let bounds = Bounds {
        lock,
        statement,
        idle,
    };
    let conn = system.connect(bounds).await;
    let conn =
        conn.map_err(|e| NotErased::Database(e.to_string(), Failure::Transient("unreachable")))?;
    Ok(Run { execution, conn })
}

async fn step(run: &mut Run<'_>, before: &mut dyn BeforeChange) -> Result<Outcome, NotErased> {
    let execution = run.execution;
    fits(execution, before)?;
    let unanswered = named(run).await?;
    run.begin("READ COMMITTED", "START TRANSACTION").await?;
    let repeated = applied::repeated(run).await?;
    if repeated.len() == execution.subjects.len() {
        return applied::recall(run, repeated).await;
    }
    let mut captured = Captured::new(execution.plan);
    let active: Vec<usize> = (0..execution.subjects.len())
        .filter(|at| !repeated.contains(at))
        .collect();
    capture::all_by(run, execution, &active, &mut captured, None).await?;
    run.nothing_is_covered(&captured).await?;
    fail::fail_point!("mariadb-before-change");
    // A batch that waited for another daemon's lock learns here that the work is done.
    if applied::repeated(run).await?.len() > repeated.len() {
        return Err(applied::already_committed());
    }
    let blank = Counts {
        left: execution
            .plan
            .left
            .iter()
            .map(ToString::to_string)
            .collect(),
        ..Counts::default()
    };
    let mut counts = vec![blank; execution.subjects.len()];
    let deferred = capture::kept(execution, &captured, &mut counts, before);
    before.take_part(&active);
    before
        .ready(capture::seen(execution, &captured), deferred)
        .await?;
    run.change(&captured, &mut counts).await?;
    applied::count_once(run, &active, &mut counts).await?;
    run.probe(&captured).await?;
    let about = applied::record(run, &active, &counts).await?;
    commit(run, before, unanswered).await?;
    let mut outcome = Outcome {
        counts,
        committed_at: about.committed_at,
        wal: String::new(),
        server_version: about.server_version,
        repeated,
        prepared: false,
    };
    if !outcome.repeated.is_empty() {
        let recalled = applied::recall(run, outcome.repeated.clone()).await?;
        for &at in &outcome.repeated {
            outcome.counts[at] = recalled.counts[at].clone();
        }
    }
    Ok(outcome)
}

/// What no plan for MariaDB has, and nobody asks of it: were it there it would be passed over.
fn fits(execution: &Execution<'_>, before: &mut dyn BeforeChange) -> Result<(), NotErased> {
    let plan = execution.plan;
    let more = execution.prepare.is_some()
        || !plan.things.is_empty()
        || !plan.rings.is_empty()
        || !plan.pieces.is_empty()
        || !plan.spared.is_empty()
        || plan.changes.iter().any(|c| c.rows.is_none() || c.moves)
        || !before.must_be_due().is_empty()
        || before.dated().is_some()
        || before.hand_over().is_some();
    match more {
        false => Ok(()),
        true => Err(NotErased::Database(
            "the plan asks for what is not done in a MariaDB system".into(),
            Failure::Permanent,
        )),
    }
}

/// Takes a lock of this session's own: as long as it is held the session lives.
async fn named(run: &mut Run<'_>) -> Result<Unanswered, NotErased> {
    let lock = format!("erasured {}", Uuid::new_v4());
    let taking = run
        .conn
        .exec_first("/* erasured:step */ SELECT GET_LOCK(?, 0)", (&lock,));
    let taken: Option<Option<i64>> = in_time(run.execution, taking).await?;
    match taken {
        Some(Some(1)) => Ok(Unanswered::holding(lock)),
        _ => Err(NotErased::Database(
            "a lock of the session's own was not to be had".into(),
            Failure::Transient("lock_timeout"),
        )),
    }
}

/// The end of a transaction that has written down what it did: the last word, and COMMIT.
async fn commit(
    run: &mut Run<'_>,
    before: &mut dyn BeforeChange,
    unanswered: Unanswered,
) -> Result<(), NotErased> {
    fail::fail_point!("mariadb-before-commit", |how: Option<String>| {
        die_if_told(how);
        Err(NotErased::Hook("failpoint mariadb-before-commit".into()))
    });
    before.last_word().await?;
    fail::fail_point!("mariadb-after-last-word");
    let answer = run.conn.query_drop("/* erasured:commit */ COMMIT");
    let time = run.execution.timeouts.statement + ON_THE_WAY;
    match tokio::time::timeout(time, answer).await {
        Ok(Ok(())) => {}
        // The server says that it has rolled back; of all else nobody knows.
        Ok(Err(error)) if failure::rolled_back(&error) => return Err(error.into()),
        _ => return Err(NotErased::CommitUnknown(unanswered)),
    }
    before.committed().await;
    fail::fail_point!("mariadb-after-commit", |how: Option<String>| {
        die_if_told(how);
        Err(NotErased::CommitUnknown(unanswered))
    });
    Ok(())
}

/// Whether a transaction whose COMMIT had no answer has ended, one way or the other. If not, its session is
/// ended; the next answer says what became of it.
///
/// # Errors
/// [`NotErased`]: the server did not answer.
pub async fn is_over(system: &System, lock: &str) -> Result<bool, NotErased> {
    let conn = system.connect_to_end(Bounds::PATIENT).await;
    let mut conn =
        conn.map_err(|e| NotErased::Database(e.to_string(), Failure::Transient("unreachable")))?;
    let holder: Option<Option<u64>> = conn
        .exec_first("/* erasured:unanswered */ SELECT IS_USED_LOCK(?)", (lock,))
        .await?;
    if let Some(Some(holder)) = holder {
        // Gone by itself meanwhile: said by the next answer.
        conn.query_drop(format!(
            "/* erasured:unanswered */ KILL CONNECTION {holder}"
        ))
        .await
        .ok();
    }
    conn.disconnect().await.ok();
    Ok(holder.flatten().is_none())
}

/// `FAILPOINTS=mariadb-before-commit=return(abort)`: dies there instead of failing.
#[cfg(feature = "failpoints")]
fn die_if_told(how: Option<String>) {
    if how.as_deref() == Some("abort") {
        std::process::abort();
    }
}
