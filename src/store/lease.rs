//! Whose turn it is: batches of tickets lent to one daemon for a while.
//!
//! The token is the right to write. A daemon that was thought dead, and whose tickets were taken
//! over, holds a token that no lease carries any more, and every write of its fails.
//!
//! Due first. Due times are the ends of days, so that many tickets share one: those are taken in
//! turns, the first of each desk before the second of any. The turn is given with the due time
//! ([`super::clock`]) and stands in the index, so that fairness costs a lease nothing.
//!
//! A lease is a row of its own beside the ticket, so that lending touches no index that grows with
//! the tickets. Whoever adds, takes over or ends one locks the ticket first.

use super::{Result, Store, StoreError, Tx, run_tx, seconds};
use chrono::{DateTime, Utc};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio_postgres::Row;
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
    /// Parts of the scope that were refused.
    pub refused: BTreeSet<String>,
    /// The retention rule that filed it.
    pub rule: Option<String>,
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
        self.lend(holder, limit, for_, None).await
    }

    /// The same among tickets of these kinds of subject and scopes that are ready; what others have lost
    /// is left to [`Store::lease`].
    pub async fn lease_among(
        &self,
        holder: &str,
        limit: u32,
        for_: Duration,
        scopes: &[(String, String)],
    ) -> Result<Option<LeasedBatch>> {
        self.lend(holder, limit, for_, Some(scopes)).await
    }

    async fn lend(
        &self,
        holder: &str,
        limit: u32,
        for_: Duration,
        among: Option<&[(String, String)]>,
    ) -> Result<Option<LeasedBatch>> {
        run_tx!(self, "lease", |tx| {
            wake(tx).await?;
            let Some((choice, rows)) = next(tx, holder, limit, for_, among).await? else {
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
                    taken_over: choice.taken_over && r.get::<_, &str>("state") == "executing",
                    requested_at: r.get("requested_at"),
                    due_at: r.get("due_at"),
                    language: r.get("language"),
                    refused: super::tickets::refused(r).into_keys().collect(),
                    rule: r.get("retention_rule"),
                })
                .collect();
            tickets.sort_by_key(|t| (t.due_at, t.id));
            Ok(Some(LeasedBatch {
                token: rows[0].get("token"),
                subject: choice.subject,
                scope: choice.scope,
                plan_id: Some(choice.plan).filter(|p| !p.is_empty()),
                tickets,
            }))
        })
    }

    /// Makes the lease last this much longer from now; returns how many tickets it is on.
    pub async fn renew(&self, token: Uuid, for_: Duration) -> Result<u64> {
        let held = run_tx!(self, "renew", |tx| {
            // In the order in which `hold` locks them, for the same daemon writes meanwhile.
            tx.execute(
                "/* erasured:renew */ WITH held AS MATERIALIZED ( \
                   SELECT ticket_id FROM erasured.lease WHERE token = $1 ORDER BY ticket_id FOR UPDATE) \
                 UPDATE erasured.lease l SET until = now() + make_interval(secs => $2) \
                   FROM held WHERE l.ticket_id = held.ticket_id",
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
            let held: Vec<Uuid> = tx
                .query(
                    "/* erasured:release */ SELECT t.id FROM erasured.ticket t JOIN erasured.lease l ON l.ticket_id = t.id \
                      WHERE l.token = $1 ORDER BY t.id FOR UPDATE OF t, l",
                    &[&token],
                )
                .await?
                .iter()
                .map(|r| r.get(0))
                .collect();
            end(tx, &held).await?;
            tx.execute(
                "/* erasured:release */ UPDATE erasured.ticket SET state = 'scheduled' \
                  WHERE id = ANY ($1) AND state = 'executing'",
                &[&held],
            )
            .await?;
            Ok(held.len() as u64)
        })
    }
}

/// What the batch is of.
struct Choice {
    subject: String,
    scope: String,
    /// Empty for tickets that have not begun.
    plan: String,
    taken_over: bool,
    limit: u32,
}

/// The most urgent batch, lent; never an empty one.
async fn next(
    tx: &Tx<'_>,
    holder: &str,
    limit: u32,
    for_: Duration,
    among: Option<&[(String, String)]>,
) -> Result<Option<(Choice, Vec<Row>)>> {
    loop {
        let first = match among {
            None => choose(tx, limit).await?,
            Some(scopes) => choose_among(tx, limit, scopes).await?,
        };
        let Some(choice) = first else {
            return Ok(None);
        };
        let take = if choice.taken_over {
            TAKE_OVER
        } else {
            TAKE_READY
        };
        let rows = tx
            .query(
                take,
                &[
                    &choice.subject,
                    &choice.scope,
                    &choice.plan,
                    &i64::from(choice.limit),
                    &seconds(for_),
                    &holder,
                ],
            )
            .await?;
        if !rows.is_empty() {
            return Ok(Some((choice, rows)));
        }
        // Another daemon lent out the chosen ticket between our look at the leases and our lock
        // on the ticket. The next look sees that.
    }
}

/// What is most urgent: lost by its holder, or ready and due first.
async fn choose(tx: &Tx<'_>, limit: u32) -> Result<Option<Choice>> {
    let lost = tx
        .query_opt(
            "/* erasured:lease */ SELECT t.subject, t.scope, coalesce(t.plan_id, ''), t.attempt \
               FROM erasured.lease l JOIN erasured.ticket t ON t.id = l.ticket_id WHERE l.until < now() \
              ORDER BY l.until LIMIT 1 FOR UPDATE OF t, l SKIP LOCKED",
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
        None => tx.query_opt(FIRST_READY, &[]).await?,
    };
    Ok(first.map(|row| Choice {
        subject: row.get(0),
        scope: row.get(1),
        plan: row.get(2),
        taken_over,
        limit,
    }))
}

/// What is ready and due first, among these kinds of subject and scopes.
async fn choose_among(
    tx: &Tx<'_>,
    limit: u32,
    scopes: &[(String, String)],
) -> Result<Option<Choice>> {
    let (subjects, scopes): (Vec<&str>, Vec<&str>) =
        scopes.iter().map(|(a, b)| (a.as_str(), b.as_str())).unzip();
    let first = tx
        .query_opt(FIRST_READY_AMONG, &[&subjects, &scopes])
        .await?;
    Ok(first.map(|row| Choice {
        subject: row.get(0),
        scope: row.get(1),
        plan: row.get(2),
        taken_over: false,
        limit: limit.max(1),
    }))
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
            // The lease's row too: who has waited for the ticket must look at the lease again.
            "/* erasured:hold */ SELECT 1 FROM erasured.ticket t JOIN erasured.lease l ON l.ticket_id = t.id \
              WHERE t.id = ANY ($2) AND l.token = $1 ORDER BY t.id FOR UPDATE OF t, l",
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

/// Ends the lease on tickets that are held.
pub(super) async fn end(tx: &Tx<'_>, tickets: &[Uuid]) -> Result<()> {
    tx.execute(
        "/* erasured:end_lease */ DELETE FROM erasured.lease WHERE ticket_id = ANY ($1)",
        &[&tickets],
    )
    .await?;
    Ok(())
}

/// NOT IN looks up each ticket in a hash of the leases. NOT EXISTS would be a join, and for one the
/// planner, which takes tickets alike to be few, comes to read and sort all that are ready.
const FIRST_READY: &str = "/* erasured:lease */ SELECT t.subject, t.scope, coalesce(t.plan_id, '') FROM erasured.ticket t \
      WHERE t.state = 'scheduled' AND t.next_attempt_at IS NULL \
        AND t.id NOT IN (SELECT l.ticket_id FROM erasured.lease l) \
      ORDER BY t.due_at, t.turn LIMIT 1 FOR UPDATE OF t SKIP LOCKED";

/// The same of some kinds of subject and scopes. For whoever goes on beside others alone: it may pass over
/// all that is ready.
const FIRST_READY_AMONG: &str = "/* erasured:lease */ SELECT t.subject, t.scope, coalesce(t.plan_id, '') FROM erasured.ticket t \
      WHERE t.state = 'scheduled' AND t.next_attempt_at IS NULL \
        AND t.id NOT IN (SELECT l.ticket_id FROM erasured.lease l) \
        AND (t.subject, t.scope) IN (SELECT * FROM unnest($1::text[], $2::text[])) \
      ORDER BY t.due_at, t.turn LIMIT 1 FOR UPDATE OF t SKIP LOCKED";

/// A lease that came to be between the look at it and the lock on the ticket is in the way of the
/// insert, and its ticket is left out.
const TAKE_READY: &str = "/* erasured:take_ready */ WITH picked AS MATERIALIZED ( \
       SELECT t.* FROM erasured.ticket t \
        WHERE t.state = 'scheduled' AND t.next_attempt_at IS NULL \
          AND t.subject = $1 AND t.scope = $2 AND coalesce(t.plan_id, '') = $3 \
          AND t.id NOT IN (SELECT l.ticket_id FROM erasured.lease l) \
        ORDER BY t.due_at, t.turn LIMIT $4 FOR UPDATE OF t SKIP LOCKED), \
     batch AS MATERIALIZED (SELECT gen_random_uuid() AS token), \
     lent AS ( \
       INSERT INTO erasured.lease (ticket_id, token, until, holder) \
       SELECT picked.id, batch.token, now() + make_interval(secs => $5), $6 FROM picked, batch \
       ON CONFLICT (ticket_id) DO NOTHING RETURNING ticket_id, token) \
     SELECT picked.*, lent.token FROM picked JOIN lent ON lent.ticket_id = picked.id";

/// An attempt is counted: a batch that kills its daemon must not do so for ever.
const TAKE_OVER: &str = "/* erasured:take_over */ WITH picked AS MATERIALIZED ( \
       SELECT t.id FROM erasured.lease l JOIN erasured.ticket t ON t.id = l.ticket_id \
        WHERE l.until < now() AND t.subject = $1 AND t.scope = $2 AND coalesce(t.plan_id, '') = $3 \
        ORDER BY l.until LIMIT $4 FOR UPDATE OF t, l SKIP LOCKED), \
     batch AS MATERIALIZED (SELECT gen_random_uuid() AS token), \
     lent AS ( \
       UPDATE erasured.lease l SET token = batch.token, until = now() + make_interval(secs => $5), holder = $6 \
         FROM picked, batch WHERE l.ticket_id = picked.id RETURNING l.ticket_id, l.token) \
     UPDATE erasured.ticket t SET attempt = t.attempt + 1 \
       FROM lent WHERE t.id = lent.ticket_id RETURNING t.*, lent.token";

/// The statements that pick ready tickets, for the test of their plan.
#[doc(hidden)]
pub const PICK_READY: [&str; 2] = [FIRST_READY, TAKE_READY];
