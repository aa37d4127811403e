//! The plan's changes: locked, made in their order, and counted against what was captured.

use super::super::capture::{self, Captured};
use super::super::value::Raw;
use super::outcome::{both, judged};
use super::{Execution, NotErased, position};
use crate::name::TableName;
use crate::plan::{Change, ChangeKind, Counts};
use deadpool_postgres::Transaction;
use futures_util::future::{join, join_all, join3};
use std::collections::BTreeMap;

/// What one change did.
struct Done {
    /// For each table that it changed: ticket to rows.
    by_table: Vec<(TableName, BTreeMap<usize, i64>)>,
    /// Old place and new place.
    moved: Vec<(Vec<Raw>, Vec<Raw>)>,
}

impl Execution<'_> {
    pub(super) async fn change(
        &self,
        tx: &Transaction<'_>,
        captured: &mut Captured,
        counts: &mut [Counts],
        locked: &BTreeMap<&TableName, i64>,
    ) -> Result<(), NotErased> {
        // Prepared beforehand, or the preparing of one would come between two of the others.
        for change in &self.plan.changes {
            let before = change.before.iter().map(|p| &p.statement);
            for statement in before.chain([&change.statement]) {
                tx.prepare_cached(&self.text(statement, "")).await?;
            }
        }
        let mut rest = &self.plan.changes[..];
        while !rest.is_empty() {
            // What comes after a move must know where the rows are now.
            let until_move = rest.iter().position(|c| c.moves);
            let (now, later) = rest.split_at(until_move.map_or(rest.len(), |at| at + 1));
            let done = join_all(now.iter().map(|c| self.one_change(tx, captured, c, locked)));
            let (theirs, done, ours) = join3(path(tx, THEIRS), done, path(tx, OURS)).await;
            let (_, (done, ())) = both(theirs, both(judged(done), ours))?;
            for (change, done) in now.iter().zip(done) {
                for (table, by_ticket) in done.by_table {
                    for (ticket, rows) in by_ticket {
                        let kinds = counts[ticket].changed.entry(table.to_string()).or_default();
                        *kinds.entry(change.kind).or_default() += rows;
                    }
                }
                if let Some(rows) = change.rows {
                    captured.moved(rows.set, done.moved);
                }
            }
            rest = later;
        }
        Ok(())
    }

    /// Locks what hangs on each other and is found again only when it goes, and the numbers of large
    /// objects; how many rows of each table those are.
    pub(super) async fn lock_found_again<'c>(
        &'c self,
        tx: &Transaction<'_>,
        captured: &Captured,
    ) -> Result<BTreeMap<&'c TableName, i64>, NotErased> {
        let mut locked = BTreeMap::new();
        for change in &self.plan.changes {
            let Some(lock) = &change.lock else { continue };
            if change.kind == ChangeKind::Unlinked {
                // What was captured does not change, and whoever held it is waited for: once is enough.
                self.query(tx, captured, lock, "").await?;
                continue;
            }
            let mut before: Option<(i64, String)> = None;
            loop {
                let found = self.query(tx, captured, lock, "").await?;
                let now = found.first().map(|row| (row.get(0), row.get(1)));
                if now == before {
                    break;
                }
                before = now;
            }
            locked.insert(&change.table, before.map_or(0, |(rows, _)| rows));
        }
        Ok(locked)
    }

    /// Sent without waiting for the one before: the server runs them in this order.
    async fn one_change(
        &self,
        tx: &Transaction<'_>,
        captured: &Captured,
        change: &Change,
        locked: &BTreeMap<&TableName, i64>,
    ) -> Result<Done, NotErased> {
        if change.rows.is_none() {
            let found = self.query(tx, captured, &change.statement, "").await?;
            let rows = found.iter().map(|row| (position(row.get(0)), row.get(1)));
            let by_ticket: BTreeMap<usize, i64> = rows.collect();
            let affected = by_ticket.values().sum();
            let matched = locked.get(&change.table).copied().unwrap_or(affected);
            all_of(change, &change.table, matched, affected)?;
            return Ok(Done {
                by_table: vec![(change.table.clone(), by_ticket)],
                moved: Vec::new(),
            });
        }
        let by_table: Vec<_> = change
            .captured()
            .map(|(table, rows)| (table.clone(), captured.reported(rows)))
            .collect();
        let matched: Vec<i64> = change
            .captured()
            .map(|(_, rows)| captured.count(rows).values().sum())
            .collect();
        let mut moved = Vec::new();
        if matched.iter().all(|n| *n == 0) {
            return Ok(Done { by_table, moved });
        }
        let first = join_all(
            change
                .before
                .iter()
                .map(|probe| self.one_probe(tx, captured, probe)),
        );
        let affected = self.affected(tx, captured, change, &mut moved);
        let (first, affected) = join(first, affected).await;
        let (_, affected) = both(judged(first), affected)?;
        for (at, (table, _)) in by_table.iter().enumerate() {
            let (matched, affected) = (matched[at], affected.get(at).copied().unwrap_or(0));
            all_of(change, table, matched, affected)?;
        }
        Ok(Done { by_table, moved })
    }

    /// How many rows of each table it changed, and where those are now that it moved.
    async fn affected(
        &self,
        tx: &Transaction<'_>,
        captured: &Captured,
        change: &Change,
        moved: &mut Vec<(Vec<Raw>, Vec<Raw>)>,
    ) -> Result<Vec<i64>, NotErased> {
        let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        if change.ring.is_empty() && !change.moves {
            let affected = self.execute(tx, captured, &change.statement).await?;
            return Ok(vec![number(affected)]);
        }
        let found = self.query(tx, captured, &change.statement, "").await?;
        if change.moves {
            moved.extend(found.iter().map(capture::places));
            return Ok(vec![number(found.len() as u64)]);
        }
        let counts = found
            .first()
            .map(|row| (0..row.len()).map(|at| row.get(at)));
        Ok(counts.into_iter().flatten().collect())
    }
}

/// What was to change has changed, and nothing else has.
fn all_of(
    change: &Change,
    table: &TableName,
    matched: i64,
    affected: i64,
) -> Result<(), NotErased> {
    if matched == affected {
        return Ok(());
    }
    Err(NotErased::Mismatch {
        table: table.clone(),
        kind: change.kind,
        matched: matched.unsigned_abs(),
        affected: affected.unsigned_abs(),
    })
}

/// The database's own triggers find their tables by the `search_path` of the role; our text names
/// everything in full, and `pg_catalog` stays first.
pub(super) const THEIRS: &str = "/* erasured:path */ SELECT set_config('search_path', concat_ws(', ', 'pg_catalog', nullif(current_setting('erasured.path'), ''), 'pg_temp'), true)";
/// For everything else.
pub(super) const OURS: &str = "/* erasured:path */ SET LOCAL search_path = pg_catalog, pg_temp";

pub(super) async fn path(tx: &Transaction<'_>, sql: &str) -> Result<(), NotErased> {
    Ok(tx.batch_execute(sql).await?)
}
