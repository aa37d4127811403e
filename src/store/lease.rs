//! Whose turn it is: batches of tickets lent to one daemon for a while.
//!
//! The token is the right to write. A daemon that was thought dead, and whose tickets were taken
//! over, holds a token that no ticket carries any more, and every write of its fails.

use super::{Result, Store, StoreError, Tx, run_tx, seconds};
use chrono::{DateTime, Utc};
use std::time::Duration;
use uuid::Uuid;

/// Tickets of one subject kind, scope and plan.
#[derive(Debug)]
pub struct LeasedBatch {
    /// Names the lease in every later write.
    pub token: Uuid,
    /// Subject kind.
    pub subject: String,
    /// Scope.
    pub scope: String,
    /// The plan they have begun under; `None` for tickets that have not begun.
    pub plan_id: Option<String>,
    /// Earliest due first.
    pub tickets: Vec<LeasedTicket>,
}

/// One of them.
#[derive(Debug)]
pub struct LeasedTicket {
    /// The ticket.
    pub id: Uuid,
    /// The desk's reference.
    pub reference: String,
    /// Legal ground.
    pub ground: String,
    /// What the daemon sealed; empty never.
    pub sealed: Vec<u8>,
    /// Keyed hash of the root key.
    pub subject_hash: String,
    /// Which plan of the ticket's this is, from 1.
    pub generation: i32,
    /// Attempts that failed since a person last looked, lost leases included.
    pub attempt: i32,
    /// It was being executed when its last holder went away.
    pub taken_over: bool,
    /// When the person asked.
    pub requested_at: DateTime<Utc>,
    /// When it must be done.
    pub due_at: DateTime<Utc>,
    /// Language of the notice.
    pub language: Option<String>,
}

/// Attempts after which a ticket that lost its holder is leased alone.
const ALONE_AFTER: i32 = 3;

impl Store {
    /// Leases the most urgent batch: tickets whose lease ran out first, then those ready, earliest
    /// due first, all alike in subject, scope and plan. Others' tickets are passed over, not
    /// waited for.
    pub async fn lease(
        &self,
        holder: &str,
        limit: u32,
        for_: Duration,
    ) -> Result<Option<LeasedBatch>> {
        run_tx!(self, "lease", |tx| {
            wake(tx).await?;
            let lost = tx
                .query_opt(
                    "/* erasured:lease */ SELECT subject, scope, coalesce(plan_id, ''), attempt FROM erasured.ticket \
                      WHERE lease_token IS NOT NULL AND lease_until < now() \
                      ORDER BY lease_until LIMIT 1 FOR UPDATE SKIP LOCKED",
                    &[],
                )
                .await?;
            let taken_over = lost.is_some();
            // What has killed its daemons again and again is found by taking it alone.
            let limit = match &lost {
                Some(row) if row.get::<_, i32>(3) >= ALONE_AFTER => 1,
                _ => limit.max(1),
            };
            let first = match lost {
                Some(row) => Some(row),
                None => {
                    tx.query_opt(
                        "/* erasured:lease */ SELECT subject, scope, coalesce(plan_id, '') FROM erasured.ticket \
                          WHERE state = 'scheduled' AND next_attempt_at IS NULL AND lease_token IS NULL \
                          ORDER BY due_at, id LIMIT 1 FOR UPDATE SKIP LOCKED",
                        &[],
                    )
                    .await?
                }
            };
            let Some(first) = first else { return Ok(None) };
            let (subject, scope, plan): (String, String, String) =
                (first.get(0), first.get(1), first.get(2));
            let rows = tx
                .query(
                    if taken_over { TAKE_OVER } else { TAKE_READY },
                    &[
                        &subject,
                        &scope,
                        &plan,
                        &i64::from(limit),
                        &seconds(for_),
                        &holder,
                    ],
                )
                .await?;
            let Some(token) = rows.first().map(|r| r.get("lease_token")) else {
                return Ok(None);
            };
            let mut tickets: Vec<LeasedTicket> = rows
                .iter()
                .map(|r| LeasedTicket {
                    id: r.get("id"),
                    reference: r.get("reference"),
                    ground: r.get("ground"),
                    sealed: r.get("sealed"),
                    subject_hash: r.get("subject_hash"),
                    generation: r.get("generation"),
                    attempt: r.get("attempt"),
                    taken_over: taken_over && r.get::<_, &str>("state") == "executing",
                    requested_at: r.get("requested_at"),
                    due_at: r.get("due_at"),
                    language: r.get("language"),
                })
                .collect();
            tickets.sort_by_key(|t| (t.due_at, t.id));
            Ok(Some(LeasedBatch {
                token,
                subject,
                scope,
                plan_id: Some(plan).filter(|p| !p.is_empty()),
                tickets,
            }))
        })
    }

    /// Makes the lease last this much longer from now; returns how many tickets it is on.
    pub async fn renew(&self, token: Uuid, for_: Duration) -> Result<u64> {
        let held = run_tx!(self, "renew", |tx| {
            tx.execute(
                    "/* erasured:renew */ UPDATE erasured.ticket SET lease_until = now() + make_interval(secs => $2) \
                      WHERE lease_token = $1",
                    &[&token, &seconds(for_)],
                )
                .await
        })?;
        if held == 0 {
            Err(StoreError::LeaseLost { lost: 0 })
        } else {
            Ok(held)
        }
    }

    /// Gives back what is still held, unfinished work included: others go on at once.
    pub async fn release(&self, token: Uuid) -> Result<u64> {
        run_tx!(self, "release", |tx| {
            tx.execute(
                "/* erasured:release */ UPDATE erasured.ticket SET state = 'scheduled', next_attempt_at = NULL, \
                        lease_token = NULL, lease_until = NULL, lease_holder = NULL WHERE lease_token = $1",
                &[&token],
            )
            .await
        })
    }
}

/// What may begin by now becomes ready. Only rows whose time has come are read.
async fn wake(tx: &Tx<'_>) -> Result<()> {
    tx.execute(
        "/* erasured:wake */ WITH due AS MATERIALIZED ( \
           SELECT id FROM erasured.ticket WHERE next_attempt_at <= now() AND next_attempt_at IS NOT NULL \
              AND state IN ('approved', 'scheduled') AND subject_hash IS NOT NULL \
            ORDER BY next_attempt_at LIMIT 2000 FOR UPDATE SKIP LOCKED) \
         UPDATE erasured.ticket t SET state = 'scheduled', next_attempt_at = NULL FROM due WHERE t.id = due.id",
        &[],
    )
    .await?;
    Ok(())
}

/// Locks the tickets for a write under the lease, or says how many of them are not its own.
pub(super) async fn hold(tx: &Tx<'_>, token: Uuid, tickets: &[Uuid]) -> Result<()> {
    let held = tx
        .query(
            "/* erasured:hold */ SELECT 1 FROM erasured.ticket WHERE id = ANY ($2) AND lease_token = $1 \
              ORDER BY id FOR UPDATE",
            &[&token, &tickets],
        )
        .await?
        .len();
    if held == tickets.len() {
        Ok(())
    } else {
        Err(StoreError::LeaseLost {
            lost: tickets.len() - held,
        })
    }
}

const TAKE_READY: &str = "/* erasured:take_ready */ WITH picked AS MATERIALIZED ( \
       SELECT id FROM erasured.ticket \
        WHERE state = 'scheduled' AND next_attempt_at IS NULL AND lease_token IS NULL \
          AND subject = $1 AND scope = $2 AND coalesce(plan_id, '') = $3 \
        ORDER BY due_at LIMIT $4 FOR UPDATE SKIP LOCKED), \
     lent AS MATERIALIZED (SELECT gen_random_uuid() AS token) \
     UPDATE erasured.ticket t SET lease_token = lent.token, lease_until = now() + make_interval(secs => $5), lease_holder = $6 \
       FROM picked, lent WHERE t.id = picked.id RETURNING t.*";

/// An attempt is counted: a batch that kills its daemon must not do so for ever.
const TAKE_OVER: &str = "/* erasured:take_over */ WITH picked AS MATERIALIZED ( \
       SELECT id FROM erasured.ticket \
        WHERE lease_token IS NOT NULL AND lease_until < now() \
          AND subject = $1 AND scope = $2 AND coalesce(plan_id, '') = $3 \
        ORDER BY lease_until LIMIT $4 FOR UPDATE SKIP LOCKED), \
     lent AS MATERIALIZED (SELECT gen_random_uuid() AS token) \
     UPDATE erasured.ticket t SET lease_token = lent.token, lease_until = now() + make_interval(secs => $5), lease_holder = $6, \
            attempt = t.attempt + 1 \
       FROM picked, lent WHERE t.id = picked.id RETURNING t.*";

/// The statement that picks ready tickets, for the test of its plan.
#[doc(hidden)]
pub const PICK_READY: &str = TAKE_READY;
