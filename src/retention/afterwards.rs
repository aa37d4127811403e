//! After a run: dead rows are counted, and where much went the server is asked to tidy up.
//!
//! Nothing of it is inside the run: it has ended, its lease is gone, and whatever fails here has lost nothing.

use super::brake::{On, goes_on};
use super::{Progress, Report};
use crate::erasure::context::Context;
use crate::metrics as names;
use crate::name::{QualifiedTable, TableName};
use crate::plan::ChangeKind;
use crate::start;
use crate::system::postgres::connect::Client;
use crate::system::postgres::failure;
use crate::system::postgres::vacuum::{self, Standing};
use serde::Serialize;
use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;

/// So often it is asked whether there is time left.
const SLICE: Duration = Duration::from_millis(200);

/// What became of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tidied {
    /// The table, without its system.
    pub table: String,
    /// Dead rows in it now.
    pub dead: i64,
    /// It was vacuumed and analyzed.
    pub vacuumed: bool,
    /// What somebody should do.
    pub note: Option<String>,
}

/// Much went: what autovacuum's own defaults call so.
fn much(changed: i64, live: i64) -> bool {
    changed > 50 + live.max(0) / 5
}

/// Looks at the tables that a run has changed, and vacuums and analyzes those of which much went, where the
/// role may; elsewhere it notes who should.
///
/// `on` says whether there is time left: where there is none, a vacuum that has begun ends by itself.
pub(super) async fn tidy(
    context: &Context,
    system: &str,
    report: &Report,
    progress: Progress,
    on: On<'_>,
) -> Vec<Tidied> {
    let changed = rows(system, report);
    if changed.is_empty() {
        return Vec::new();
    }
    let client = match session(context, system).await {
        Ok(client) => client,
        Err(problem) => {
            tracing::warn!(
                system,
                problem,
                "what a retention run has left was not looked at"
            );
            return Vec::new();
        }
    };
    let mut all = Vec::new();
    for (table, changed) in changed {
        let Ok(Some(before)) = vacuum::standing(&client, &table).await else {
            continue;
        };
        let tidied = one(&client, &table, before, changed, || {
            goes_on(on, progress).is_ok()
        });
        let tidied = tidied.await;
        tell(system, &tidied);
        all.push(tidied);
    }
    all
}

/// By table how many rows it has deleted or rewritten, each of which has left a dead one.
fn rows(system: &str, report: &Report) -> BTreeMap<TableName, i64> {
    let mut all = BTreeMap::new();
    for (table, kinds) in &report.changed {
        let dead = [
            ChangeKind::Deleted,
            ChangeKind::Anonymized,
            ChangeKind::Detached,
        ];
        let sum: i64 = dead.iter().filter_map(|kind| kinds.get(kind)).sum();
        let name = format!("{system}.{table}").parse::<QualifiedTable>();
        if let (Ok(of), 1..) = (name, sum) {
            all.insert(of.table, sum);
        }
    }
    all
}

async fn session(context: &Context, system: &str) -> Result<Client, String> {
    let config = context.config.systems.get(system);
    let config = config.ok_or_else(|| "no such system".to_owned())?;
    // A session of its own, which the pool cannot refuse.
    if context.systems.get(system).is_some_and(|s| s.pool.rests()) {
        return Err("an operator has paused it".into());
    }
    let settings = start::settings(&config.database).map_err(|e| e.to_string())?;
    let session = vacuum::session(&settings, context.config.limits.lock_timeout);
    session.await.map_err(|e| e.to_string())
}

async fn one(
    client: &Client,
    table: &TableName,
    before: Standing,
    changed: i64,
    mut goes_on: impl FnMut() -> bool,
) -> Tidied {
    let mut tidied = Tidied {
        table: table.to_string(),
        dead: before.dead,
        vacuumed: false,
        note: None,
    };
    if !much(changed, before.live) {
        return tidied;
    }
    let statement = vacuum::statement(table);
    if !before.may {
        tidied.note = Some(format!(
            "its owner should run {statement}; autovacuum does it some time"
        ));
        return tidied;
    }
    let mut vacuuming = pin!(vacuum::vacuum(client, table));
    let ended = loop {
        if !goes_on() {
            break Err("there was no time left".to_owned());
        }
        tokio::select! {
            ended = &mut vacuuming => break ended.map_err(|error| failure::describe(&error)),
            () = tokio::time::sleep(SLICE) => {}
        }
    };
    match ended {
        Ok(()) => {
            tidied.vacuumed = true;
            if let Ok(Some(after)) = vacuum::standing(client, table).await {
                tidied.dead = after.dead;
            }
        }
        Err(why) => {
            tidied.note = Some(format!(
                "{statement} was not run to its end ({why}); autovacuum does it some time"
            ));
        }
    }
    tidied
}

fn tell(system: &str, tidied: &Tidied) {
    #[allow(clippy::cast_precision_loss)] // counts of rows
    let dead = tidied.dead as f64;
    metrics::gauge!(names::RETENTION_DEAD_ROWS, "system" => system.to_owned(), "table" => tidied.table.clone())
        .set(dead);
    if let Some(note) = &tidied.note {
        tracing::info!(system, table = tidied.table, "much went: {note}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_autovacuum_would_wait_for_is_left_to_it() {
        assert!(!much(50, 0) && much(51, 0));
        assert!(!much(1_000, 10_000) && much(2_051, 10_000));
        assert!(much(51, -1), "a table that was never analyzed");
    }
}
