//! The server's own word on what has been committed on it.

use super::connect::{Bounds, version_number};
use super::run::{Run, in_time, instant};
use super::system::System;
use crate::plan::{ChangeKind, Counts};
use crate::system::postgres::execute::{Applied, NotErased, Outcome, counts};
use crate::system::postgres::failure::Failure;
use chrono::{DateTime, Utc};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error};
use std::collections::BTreeSet;
use uuid::Uuid;

/// Which steps, as a table: ordinal, ticket, generation.
const STEPS: &str = "JSON_TABLE(?, '$[*]' COLUMNS (n INT PATH '$[0]', \
    ticket CHAR(36) CHARACTER SET ascii COLLATE ascii_bin PATH '$[1]', generation INT PATH '$[2]')) AS k \
    STRAIGHT_JOIN erasured.applied_step AS s ON s.ticket_id = k.ticket";

/// When the transaction wrote down what it did, and who the server is.
pub(super) struct About {
    pub(super) committed_at: DateTime<Utc>,
    pub(super) server_version: i32,
}

pub(super) fn already_committed() -> NotErased {
    NotErased::Database(
        "another daemon committed this step meanwhile".into(),
        Failure::Transient("overtaken"),
    )
}

fn steps(of: impl Iterator<Item = (usize, Uuid, i32)>) -> String {
    let rows: Vec<_> = of
        .map(|(n, ticket, generation)| serde_json::json!([n, ticket.to_string(), generation]))
        .collect();
    serde_json::Value::from(rows).to_string()
}

fn own(run: &Run<'_>, which: impl Iterator<Item = usize>) -> String {
    let subjects = run.execution.subjects;
    steps(which.map(|at| (at, subjects[at].ticket, subjects[at].generation)))
}

fn position(n: i64) -> usize {
    usize::try_from(n).unwrap_or_default()
}

/// Positions of tickets whose step stands in the server's own table.
pub(super) async fn repeated(run: &mut Run<'_>) -> Result<Vec<usize>, NotErased> {
    let all = own(run, 0..run.execution.subjects.len());
    let system = run.execution.plan.system.clone();
    let sql = format!(
        "/* erasured:applied steps */ SELECT k.n FROM {STEPS} AND s.generation = k.generation AND s.system = ? ORDER BY k.n"
    );
    let asked = run.conn.exec(sql, (all, system));
    let found: Vec<i64> = in_time(run.execution, asked).await?;
    Ok(found.into_iter().map(position).collect())
}

/// The outcome of steps committed earlier.
pub(super) async fn recall(run: &mut Run<'_>, repeated: Vec<usize>) -> Result<Outcome, NotErased> {
    let which = own(run, repeated.iter().copied());
    let execution = run.execution;
    let mut outcome = Outcome {
        counts: vec![Counts::default(); execution.subjects.len()],
        committed_at: execution.now,
        wal: String::new(),
        server_version: 0,
        repeated,
        prepared: false,
    };
    let found = stood(&mut run.conn, which, &execution.plan.system).await?;
    for (n, about, counts) in found {
        outcome.counts[n] = counts;
        outcome.committed_at = about.committed_at;
        outcome.server_version = about.server_version;
    }
    Ok(outcome)
}

async fn stood(
    conn: &mut Conn,
    which: String,
    system: &str,
) -> Result<Vec<(usize, About, Counts)>, NotErased> {
    let sql = format!(
        "/* erasured:applied steps */ SELECT k.n, s.counts, CAST(s.committed_at AS CHAR), VERSION() \
         FROM {STEPS} AND s.generation = k.generation AND s.system = ?"
    );
    let rows: Vec<(i64, String, String, String)> = conn.exec(sql, (which, system)).await?;
    let read = rows.into_iter().map(|(n, counts, at, version)| {
        Ok((
            position(n),
            About {
                committed_at: instant(&at).ok_or_else(unreadable)?,
                server_version: version_number(&version),
            },
            read_counts(&counts)?,
        ))
    });
    read.collect()
}

fn unreadable() -> NotErased {
    NotErased::Hook("erasured.applied_step holds what cannot be read".into())
}

fn read_counts(text: &str) -> Result<Counts, NotErased> {
    counts(serde_json::from_str(text).map_err(|_| unreadable())?)
}

/// Takes off what earlier generations of a ticket have counted of rows that are met again because
/// they stay, and stay linked.
pub(super) async fn count_once(
    run: &mut Run<'_>,
    active: &[usize],
    counts: &mut [Counts],
) -> Result<(), NotErased> {
    let execution = run.execution;
    let again: BTreeSet<String> = (execution.plan.changes.iter())
        .filter(|change| change.again)
        .map(|change| change.table.to_string())
        .collect();
    let mut subjects = active.iter().map(|&at| &execution.subjects[at]);
    if again.is_empty() || subjects.all(|subject| subject.generation <= 1) {
        return Ok(());
    }
    let which = own(run, active.iter().copied());
    let sql = format!(
        "/* erasured:applied steps */ SELECT k.n, s.counts FROM {STEPS} AND s.generation < k.generation AND s.system = ?"
    );
    let system = &execution.plan.system;
    let found: Vec<(i64, String)> = run.conn.exec(sql, (which, system)).await?;
    for (n, before) in found {
        let before = read_counts(&before)?;
        let now = &mut counts[position(n)].changed;
        for (table, kinds) in before.changed.iter().filter(|(t, _)| again.contains(*t)) {
            let earlier = kinds.get(&ChangeKind::Anonymized).copied().unwrap_or(0);
            let kinds = now.get_mut(table);
            if let Some(rows) = kinds.and_then(|k| k.get_mut(&ChangeKind::Anonymized)) {
                *rows = (*rows - earlier).max(0);
            }
        }
    }
    Ok(())
}

/// The row that makes it exactly once.
pub(super) async fn record(
    run: &mut Run<'_>,
    active: &[usize],
    counts: &[Counts],
) -> Result<About, NotErased> {
    let execution = run.execution;
    let now: Option<(String, String)> = run
        .conn
        .query_first("/* erasured:step */ SELECT CAST(UTC_TIMESTAMP(6) AS CHAR), VERSION()")
        .await?;
    let (at, version) = now.ok_or_else(unreadable)?;
    let rows: Vec<_> = active
        .iter()
        .map(|&i| {
            let subject = &execution.subjects[i];
            let counts = serde_json::to_string(&counts[i]).expect("counts are always JSON");
            serde_json::json!([subject.ticket.to_string(), subject.generation, counts])
        })
        .collect();
    let rows = serde_json::Value::from(rows).to_string();
    let values = (
        &execution.plan.system,
        execution.batch.to_string(),
        &at,
        rows,
    );
    let written = run.conn.exec_drop(RECORD, values);
    let written = async { Ok(written.await) };
    in_time(execution, written).await?.map_err(overtaken)?;
    Ok(About {
        committed_at: instant(&at).ok_or_else(unreadable)?,
        server_version: version_number(&version),
    })
}

/// Where the subject has no rows that could be locked, two daemons meet here.
fn overtaken(error: Error) -> NotErased {
    match &error {
        Error::Server(server) if server.code == 1062 => already_committed(),
        _ => error.into(),
    }
}

const RECORD: &str = "/* erasured:step */ INSERT INTO erasured.applied_step (ticket_id, generation, system, batch, committed_at, counts) \
    SELECT k.ticket, k.generation, ?, ?, ?, k.counts FROM JSON_TABLE(?, '$[*]' COLUMNS (ticket CHAR(36) PATH '$[0]', \
    generation INT PATH '$[1]', counts LONGTEXT PATH '$[2]')) AS k";

/// Which of these steps (ticket and generation) have committed on a system, whatever the plan was.
///
/// # Errors
/// [`NotErased`].
pub async fn applied(system: &System, of: &[(Uuid, i32)]) -> Result<Vec<Applied>, NotErased> {
    let conn = system.connect(Bounds::PATIENT).await;
    let mut conn =
        conn.map_err(|e| NotErased::Database(e.to_string(), Failure::Transient("unreachable")))?;
    let which = steps(of.iter().enumerate().map(|(n, (t, g))| (n, *t, *g)));
    let found = stood(&mut conn, which, &system.name).await?;
    conn.disconnect().await.ok();
    let read = found.into_iter().map(|(n, about, counts)| Applied {
        ticket: of[n].0,
        generation: of[n].1,
        counts,
        committed_at: about.committed_at,
        server_version: about.server_version,
    });
    Ok(read.collect())
}
