//! What operators say of systems, and who is erased in some of them and not yet in others.

use super::tickets::act_as;
use super::{Result, Store, StoreError, run_tx};
use chrono::{DateTime, Utc};
use serde::Serialize;
use uuid::Uuid;

/// A system that is left alone.
#[derive(Clone, Debug, Serialize)]
pub struct Maintenance {
    /// Its registered name.
    pub system: String,
    /// Why, in the operator's words.
    pub reason: String,
    /// Until when by itself; `None` until somebody resumes it.
    pub until: Option<DateTime<Utc>>,
    /// Since when.
    pub set_at: DateTime<Utc>,
    /// Who says so.
    pub set_by: String,
}

/// Tickets that are done in at least one system and wait for this one.
#[derive(Clone, Debug, Serialize)]
pub struct Partial {
    /// The system that they wait for.
    pub system: String,
    /// How many.
    pub tickets: i64,
    /// Since the first of them was done in part.
    pub since: DateTime<Utc>,
}

impl Store {
    /// Has every daemon leave a system alone; whether a ticket has met a system of this name.
    ///
    /// # Errors
    /// [`StoreError`]: without the right to, or without a reason.
    pub async fn pause_system(
        &self,
        system: &str,
        reason: &str,
        until: Option<DateTime<Utc>>,
        actor: Option<&str>,
    ) -> Result<bool> {
        if system.contains('\0') || reason.contains('\0') {
            return Err(StoreError::Nul("the system or the reason"));
        }
        run_tx!(self, "pause_system", |tx| {
            act_as(tx, actor).await?;
            let sql = "/* erasured:pause_system */ SELECT erasured.pause_system($1, $2, $3)";
            Ok(tx.query_one(sql, &[&system, &reason, &until]).await?.get(0))
        })
    }

    /// Ends that; `false` if the system was not left alone.
    ///
    /// # Errors
    /// [`StoreError`]: without the right to.
    pub async fn resume_system(&self, system: &str, actor: Option<&str>) -> Result<bool> {
        if system.contains('\0') {
            return Err(StoreError::Nul("the system"));
        }
        run_tx!(self, "resume_system", |tx| {
            act_as(tx, actor).await?;
            let sql = "/* erasured:resume_system */ SELECT erasured.resume_system($1)";
            Ok(tx.query_one(sql, &[&system]).await?.get(0))
        })
    }

    /// A ticket that waits for an order in this system is tried again now; any other is left as it is.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn ask_again(&self, ticket: Uuid, system: &str) -> Result<()> {
        run_tx!(self, "ask_again", |tx| {
            let sql = "/* erasured:ask_again */ UPDATE erasured.ticket t SET next_attempt_at = now() \
                        WHERE t.id = $1 AND t.state = 'scheduled' AND t.next_attempt_at > now() AND t.problem = 'pending' AND EXISTS ( \
                              SELECT FROM erasured.step s WHERE s.ticket_id = t.id AND s.generation = t.generation \
                                 AND s.system = $2 AND s.state = 'planned')";
            if tx.execute(sql, &[&ticket, &system]).await? > 0 {
                let wake = "/* erasured:ask_again */ NOTIFY erasured_ticket";
                tx.execute(wake, &[]).await?;
            }
            Ok(())
        })
    }

    /// The systems that are left alone now.
    pub async fn maintenance(&self) -> Result<Vec<Maintenance>> {
        run_tx!(self, "maintenance", |tx| {
            let sql = "/* erasured:maintenance */ SELECT system, reason, until, set_at, set_by FROM erasured.maintenance \
                        WHERE until IS NULL OR until > now() ORDER BY system";
            let rows = tx.query(sql, &[]).await?;
            let view = |row: &tokio_postgres::Row| Maintenance {
                system: row.get(0),
                reason: row.get(1),
                until: row.get(2),
                set_at: row.get(3),
                set_by: row.get(4),
            };
            Ok(rows.iter().map(view).collect())
        })
    }

    /// For which systems tickets wait that are done in others; those done in part before `late` alone, if given.
    pub async fn partial(&self, late: Option<DateTime<Utc>>) -> Result<Vec<Partial>> {
        run_tx!(self, "partial", |tx| {
            let sql = "/* erasured:partial */ SELECT waits_for, count(*), min(since) FROM erasured.partial_ticket \
                        WHERE $1::timestamptz IS NULL OR since < $1 GROUP BY waits_for ORDER BY waits_for";
            let rows = tx.query(sql, &[&late]).await?;
            let view = |row: &tokio_postgres::Row| Partial {
                system: row.get(0),
                tickets: row.get(1),
                since: row.get(2),
            };
            Ok(rows.iter().map(view).collect())
        })
    }
}
