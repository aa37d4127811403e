//! The target's own word on what has been committed in it.

use super::outcome::overtaken;
use super::{Execution, NotErased, Outcome, ordinal, position};
use crate::plan::{ChangeKind, Counts};
use chrono::{DateTime, Utc};
use deadpool_postgres::{Client, Transaction};
use std::collections::BTreeSet;
use uuid::Uuid;

impl Execution<'_> {
    /// Positions of tickets whose step stands in the target's own table.
    pub(super) async fn repeated(&self, tx: &Transaction<'_>) -> Result<Vec<usize>, NotErased> {
        let statement = tx.prepare_cached(REPEATED).await?;
        let rows = tx
            .query(
                &statement,
                &[
                    &self.tickets(),
                    &self.generations(),
                    &self.ordinals(),
                    &self.plan.system,
                ],
            )
            .await?;
        Ok(rows.iter().map(|row| position(row.get(0))).collect())
    }

    /// The outcome of steps committed earlier, read from the target's own rows.
    pub(super) async fn recall(
        &self,
        tx: &Transaction<'_>,
        repeated: Vec<usize>,
    ) -> Result<Outcome, NotErased> {
        let rows = tx
            .query(
                "/* erasured:applied steps */ SELECT k.n, s.counts, s.committed_at, pg_current_wal_insert_lsn()::text, \
                 current_setting('server_version_num')::int4 FROM erasured.applied_step AS s \
                 JOIN unnest($1::uuid[], $2::int4[], $3::int4[]) AS k(ticket, generation, n) \
                 ON s.ticket_id = k.ticket AND s.generation = k.generation AND s.system = $4",
                &[&self.tickets(), &self.generations(), &self.ordinals(), &self.plan.system],
            )
            .await?;
        let mut outcome = Outcome {
            counts: vec![Counts::default(); self.subjects.len()],
            committed_at: self.now,
            wal: String::new(),
            server_version: 0,
            repeated,
            prepared: false,
        };
        for row in rows {
            outcome.counts[position(row.get(0))] = counts(row.get(1))?;
            (outcome.committed_at, outcome.wal, outcome.server_version) =
                (row.get(2), row.get(3), row.get(4));
        }
        Ok(outcome)
    }

    /// Takes off what earlier generations of a ticket have counted of rows that are met again because
    /// they stay, and stay linked: of each table it is said once how many rows have lost the person.
    pub(super) async fn count_once(
        &self,
        tx: &Transaction<'_>,
        active: &[usize],
        counts: &mut [Counts],
    ) -> Result<(), NotErased> {
        let again: BTreeSet<String> = (self.plan.changes.iter())
            .filter(|change| change.again)
            .map(|change| change.table.to_string())
            .collect();
        let later = active.iter().map(|&at| &self.subjects[at]);
        if again.is_empty() || later.clone().all(|subject| subject.generation <= 1) {
            return Ok(());
        }
        let (tickets, generations): (Vec<Uuid>, Vec<i32>) =
            later.map(|s| (s.ticket, s.generation)).unzip();
        let ordinals: Vec<i32> = active.iter().map(|&at| ordinal(at)).collect();
        let statement = tx.prepare_cached(BEFORE).await?;
        let found = tx
            .query(
                &statement,
                &[&tickets, &generations, &ordinals, &self.plan.system],
            )
            .await?;
        for row in found {
            let before = self::counts(row.get(1))?;
            let now = &mut counts[position(row.get(0))].changed;
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
        &self,
        tx: &Transaction<'_>,
        active: &[usize],
        counts: &[Counts],
    ) -> Result<(), NotErased> {
        let tickets: Vec<Uuid> = active.iter().map(|&i| self.subjects[i].ticket).collect();
        let generations: Vec<i32> = active
            .iter()
            .map(|&i| self.subjects[i].generation)
            .collect();
        let counts: Vec<serde_json::Value> = active
            .iter()
            .map(|&i| serde_json::to_value(&counts[i]).expect("counts are always JSON"))
            .collect();
        let statement = tx.prepare_cached(RECORD).await?;
        tx.execute(
            &statement,
            &[
                &tickets,
                &generations,
                &counts,
                &self.plan.system,
                &self.batch,
            ],
        )
        .await
        .map_err(overtaken)?;
        Ok(())
    }
}

/// A step that the target's own row says has committed.
pub struct Applied {
    /// The ticket.
    pub ticket: Uuid,
    /// Which plan of the ticket's.
    pub generation: i32,
    /// What was done.
    pub counts: Counts,
    /// When, by the target's clock.
    pub committed_at: DateTime<Utc>,
    /// `server_version_num`.
    pub server_version: i32,
}

/// Which of these steps (ticket and generation) have committed on a system, whatever the plan was.
///
/// # Errors
/// [`NotErased`].
pub async fn applied(
    client: &Client,
    system: &str,
    steps: &[(Uuid, i32)],
) -> Result<Vec<Applied>, NotErased> {
    let (tickets, generations): (Vec<Uuid>, Vec<i32>) = steps.iter().copied().unzip();
    let rows = client
        .query(APPLIED, &[&tickets, &generations, &system])
        .await?;
    rows.iter()
        .map(|row| {
            Ok(Applied {
                ticket: row.get(0),
                generation: row.get(1),
                counts: counts(row.get(2))?,
                committed_at: row.get(3),
                server_version: row.get(4),
            })
        })
        .collect()
}

pub(crate) fn counts(stored: serde_json::Value) -> Result<Counts, NotErased> {
    serde_json::from_value(stored).map_err(|e| {
        NotErased::Hook(format!(
            "erasured.applied_step holds counts of another version: {e}"
        ))
    })
}

const APPLIED: &str = "/* erasured:applied steps */ SELECT s.ticket_id, s.generation, s.counts, s.committed_at, \
     pg_catalog.current_setting('server_version_num')::pg_catalog.int4 FROM erasured.applied_step AS s \
     JOIN ROWS FROM (pg_catalog.unnest($1::pg_catalog.uuid[]), pg_catalog.unnest($2::pg_catalog.int4[])) AS k(ticket, generation) \
     ON s.ticket_id OPERATOR(pg_catalog.=) k.ticket AND s.generation OPERATOR(pg_catalog.=) k.generation \
     WHERE s.system OPERATOR(pg_catalog.=) $3::pg_catalog.text";

const REPEATED: &str = "/* erasured:applied steps */ SELECT k.n FROM erasured.applied_step AS s \
     JOIN unnest($1::uuid[], $2::int4[], $3::int4[]) AS k(ticket, generation, n) \
     ON s.ticket_id = k.ticket AND s.generation = k.generation AND s.system = $4 ORDER BY k.n";

/// Steps of earlier generations.
const BEFORE: &str = "/* erasured:applied steps */ SELECT k.n, s.counts FROM erasured.applied_step AS s \
     JOIN unnest($1::uuid[], $2::int4[], $3::int4[]) AS k(ticket, generation, n) \
     ON s.ticket_id = k.ticket AND s.generation < k.generation AND s.system = $4";

pub(in crate::system::postgres) const RECORD: &str = "/* erasured:step */ INSERT INTO erasured.applied_step (ticket_id, generation, system, batch, counts) \
     SELECT k.ticket, k.generation, $4, $5, k.counts FROM unnest($1::uuid[], $2::int4[], $3::jsonb[]) AS k(ticket, generation, counts)";
