//! The search on a MariaDB server.

use super::super::context::Context;
use super::super::crash_point;
use super::{Hunt, LISTINGS, Opened, SweepFailed, exempt, findings, note, timeouts, uncovered};
use crate::certificate::{self, ReadFrom};
use crate::name::TableName;
use crate::store::verifying::{OpenSweep, SweptTable};
use crate::system::mariadb::connect::Bounds;
use crate::system::mariadb::sweep::{self as reading, Readable, Sweep, Target};
use crate::system::mariadb::{System, Unread};
use std::collections::BTreeSet;

/// Bounds on the statements of a sweep.
pub(crate) fn bounds(context: &Context) -> Bounds {
    let timeouts = timeouts(context);
    Bounds {
        lock: timeouts.lock,
        statement: timeouts.statement,
        idle: timeouts.idle,
    }
}

pub(super) async fn one_system(
    context: &Context,
    system: &System,
    open: &OpenSweep,
    hunt: &Hunt<'_>,
    tickets: &[Opened],
) -> Result<certificate::Sweep, SweepFailed> {
    let failed = |e: Unread| SweepFailed::Reading(system.name.clone(), e.problem);
    let exempt =
        |table: &TableName, column: &str| exempt(&hunt.in_force, &system.name, table, column);
    let Readable {
        mut targets,
        not_covered,
    } = system.readable(bounds(context)).await.map_err(failed)?;
    let mut read = certificate::Sweep {
        system: system.name.clone(),
        read_from: ReadFrom::Primary,
        columns: 0,
        rows: 0,
        bytes: 0,
        first_read_at: context.now(),
        last_read_at: context.now(),
        identifiers: hunt.names.clone(),
        tables: Vec::new(),
        exempt: Vec::new(),
        not_covered: not_covered
            .iter()
            .map(|(table, reason)| uncovered(table, reason))
            .collect(),
    };
    // As on PostgreSQL: the list is made anew until it holds nothing that was not read under that name.
    let mut known: BTreeSet<(TableName, u32)> = BTreeSet::new();
    for _ in 0..LISTINGS {
        let fresh = targets.iter().filter(|t| known.insert(t.identity()));
        let fresh: Vec<&Target> = fresh.collect();
        if fresh.is_empty() {
            return Ok(read);
        }
        for target in fresh {
            let already = open
                .swept
                .iter()
                .find(|s| s.system == system.name && s.identity() == target.identity());
            let table = match already {
                Some(swept) => Some(swept.clone()),
                None => {
                    let at = (context, system);
                    one_table(at, target, &exempt, open, hunt, tickets, &mut read).await?
                }
            };
            let columns = target.columns.iter().map(|c| c.name.as_str());
            note(&mut read, &target.table, columns, table.as_ref(), &exempt);
        }
        let again = system.readable(bounds(context)).await;
        targets = again.map_err(failed)?.targets;
    }
    let problem = "tables are made or renamed faster than they are read; the sweep begins anew";
    Err(SweepFailed::Reading(system.name.clone(), problem.into()))
}

async fn one_table(
    (context, system): (&Context, &System),
    target: &Target,
    exempt: &(dyn Fn(&TableName, &str) -> Option<String> + Sync),
    open: &OpenSweep,
    hunt: &Hunt<'_>,
    tickets: &[Opened],
    read: &mut certificate::Sweep,
) -> Result<Option<SweptTable>, SweepFailed> {
    if hunt.matcher.is_empty() {
        return Ok(None);
    }
    let clock = context.clock.clone();
    let sweep = Sweep {
        exempt,
        matcher: &hunt.matcher,
        pace: context.config.limits.sweep_bytes_per_second,
        clock: &move || clock(),
    };
    let report = reading::read(system, bounds(context), &sweep, target).await;
    let report = report.map_err(|e| SweepFailed::Reading(system.name.clone(), e.problem))?;
    crash_point("during-sweep");
    let Some((table, found)) = report else {
        let reason = "dropped or renamed while the sweep ran";
        read.not_covered.push(uncovered(&target.table, reason));
        return Ok(None);
    };
    let found = findings(hunt, tickets, &found);
    let swept = SweptTable {
        system: system.name.clone(),
        schema: target.table.schema.clone(),
        table: target.table.table.clone(),
        oid: target.identity().1,
        started_at: table.started_at,
        finished_at: table.finished_at,
        rows: i64::try_from(table.rows).unwrap_or(i64::MAX),
        bytes: i64::try_from(table.bytes).unwrap_or(i64::MAX),
    };
    metrics::counter!(crate::metrics::SWEEP_BYTES, "system" => system.name.clone())
        .increment(table.bytes);
    metrics::counter!(crate::metrics::SWEEP_FINDINGS, "system" => system.name.clone())
        .increment(found.len() as u64);
    context
        .store
        .table_swept(open.token, &swept, &found)
        .await?;
    Ok(Some(swept))
}
