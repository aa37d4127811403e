//! What a `retain` has put off, and the day it comes back.

use super::{Result, Store, StoreError, Tx, run_tx, seconds};
use chrono::{DateTime, Utc};
use serde::Serialize;
use std::time::Duration;
use uuid::Uuid;

/// A deferral as anybody may see it.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)] // As in erasured.deferral.
pub struct DeferralView {
    pub id: Uuid,
    pub ticket: Uuid,
    pub system: String,
    pub schema: String,
    pub table: String,
    pub due_at: DateTime<Utc>,
    pub basis: String,
    pub rows: i64,
    pub done_at: Option<DateTime<Utc>>,
}

/// A deferral whose day has come, lent to this daemon.
#[derive(Debug)]
pub struct DueDeferral {
    /// What it is.
    pub view: DeferralView,
    /// Names the lease in the write that ends it.
    pub token: Uuid,
    /// The rows' keys, encrypted.
    pub sealed: Vec<u8>,
    /// Subject kind.
    pub subject: String,
    /// Scope.
    pub scope: String,
    /// The desk's reference.
    pub reference: String,
    /// Keyed hash of the root key.
    pub subject_hash: String,
    /// The plan that put it off.
    pub plan_id: String,
}

/// The certificate that a deferral ends with.
#[derive(Clone, Debug)]
pub struct Supplement {
    /// Its id.
    pub certificate: Uuid,
    /// Key it is signed by.
    pub kid: String,
    /// The certificate.
    pub jws: String,
}

const VIEW: &str = "d.id, d.ticket_id, d.system, d.schema_name, d.table_name, d.due_at, d.basis, d.rows, d.done_at";

impl Store {
    /// Records which deferrals whose day has come a legal hold keeps; those are not lent. How many
    /// were not known as such.
    pub async fn suspend_deferrals(&self, now: DateTime<Utc>) -> Result<i64> {
        run_tx!(self, "suspend_deferrals", |tx| {
            let sql = "/* erasured:suspend_deferrals */ SELECT erasured.suspend_deferrals($1)";
            Ok(tx.query_one(sql, &[&now]).await?.get(0))
        })
    }

    /// Leases deferrals of closed tickets whose day is `now` or before, oldest first.
    pub async fn due(
        &self,
        now: DateTime<Utc>,
        limit: u32,
        for_: Duration,
    ) -> Result<Vec<DueDeferral>> {
        run_tx!(self, "due", |tx| {
            let rows = tx
                .query(
                    &format!(
                        "/* erasured:due */ WITH picked AS MATERIALIZED ( \
                           SELECT d.id FROM erasured.deferral d JOIN erasured.ticket t ON t.id = d.ticket_id \
                            WHERE d.state = 'waiting' AND d.due_at <= $1 AND t.state = 'deferred' AND d.held_since IS NULL \
                              AND (d.lease_until IS NULL OR d.lease_until < now()) \
                            ORDER BY d.due_at LIMIT $2 FOR UPDATE OF d SKIP LOCKED) \
                         UPDATE erasured.deferral d SET lease_token = gen_random_uuid(), lease_until = now() + make_interval(secs => $3) \
                           FROM picked p, erasured.ticket t WHERE d.id = p.id AND t.id = d.ticket_id \
                         RETURNING {VIEW}, d.lease_token, d.sealed, t.subject, t.scope, t.reference, t.subject_hash, t.plan_id"
                    ),
                    &[&now, &i64::from(limit), &seconds(for_)],
                )
                .await?;
            Ok(rows
                .iter()
                .map(|r| DueDeferral {
                    view: view(r),
                    token: r.get("lease_token"),
                    sealed: r.get("sealed"),
                    subject: r.get("subject"),
                    scope: r.get("scope"),
                    reference: r.get("reference"),
                    subject_hash: r.get("subject_hash"),
                    plan_id: r.get("plan_id"),
                })
                .collect())
        })
    }

    /// Puts a deferral off that could not be ended, so that those behind it come first.
    pub async fn put_off(&self, id: Uuid, token: Uuid, for_: Duration) -> Result<()> {
        run_tx!(self, "put_off", |tx| {
            tx.execute(
                "/* erasured:put_off */ UPDATE erasured.deferral SET lease_token = NULL, lease_until = now() + make_interval(secs => $3) \
                  WHERE id = $1 AND lease_token = $2 AND state = 'waiting'",
                &[&id, &token, &seconds(for_)],
            )
            .await?;
            Ok(())
        })
    }

    /// Moves a deferral to the date that its rows have now.
    pub async fn postpone(&self, id: Uuid, token: Uuid, due_at: DateTime<Utc>) -> Result<()> {
        run_tx!(self, "postpone", |tx| {
            tx.execute(
                "/* erasured:postpone */ WITH moved AS ( \
                   UPDATE erasured.deferral SET due_at = $3, lease_token = NULL, lease_until = NULL \
                    WHERE id = $1 AND lease_token = $2 AND state = 'waiting' RETURNING id, ticket_id, due_at) \
                 INSERT INTO erasured.event (kind, ticket_id, body) \
                 SELECT 'deferral_moved', ticket_id, jsonb_build_object('deferral', id, 'until', due_at) FROM moved",
                &[&id, &token, &due_at],
            )
            .await?;
            Ok(())
        })
    }

    /// Ends a deferral by its certificate; the last one of a ticket completes the ticket.
    pub async fn deferral_done(
        &self,
        id: Uuid,
        token: Uuid,
        supplement: &Supplement,
    ) -> Result<()> {
        run_tx!(self, "deferral_done", |tx| {
            // The ticket first: two daemons ending its last two deferrals must not both see one open.
            tx.query_opt(
                "/* erasured:deferral_done */ SELECT 1 FROM erasured.ticket \
                  WHERE id = (SELECT ticket_id FROM erasured.deferral WHERE id = $1) FOR UPDATE",
                &[&id],
            )
            .await?;
            let ticket: Uuid = tx
                .query_opt(
                    "/* erasured:deferral_done */ UPDATE erasured.deferral SET state = 'done', sealed = NULL, done_at = now(), \
                            lease_token = NULL, lease_until = NULL \
                      WHERE id = $1 AND lease_token = $2 AND state = 'waiting' RETURNING ticket_id",
                    &[&id, &token],
                )
                .await?
                .ok_or(StoreError::LeaseLost { lost: 1 })?
                .get(0);
            tx.execute(
                "/* erasured:deferral_done */ WITH issued AS ( \
                   INSERT INTO erasured.certificate (id, ticket_id, kind, deferral_id, kid, subject_hash, jws) \
                   SELECT $1, t.id, 'supplement', $2, $3, t.subject_hash, $4 FROM erasured.ticket t WHERE t.id = $5 \
                   RETURNING id, ticket_id, kid, jws, deferral_id) \
                 INSERT INTO erasured.event (kind, ticket_id, body) \
                 SELECT 'certificate', ticket_id, jsonb_build_object('certificate', id, 'kid', kid, 'deferral', deferral_id, \
                        'sha256', encode(sha256(convert_to(jws, 'UTF8')), 'hex')) FROM issued",
                &[&supplement.certificate, &id, &supplement.kid, &supplement.jws, &ticket],
            )
            .await?;
            tx.execute(
                "/* erasured:deferral_done */ UPDATE erasured.ticket t SET state = 'completed' WHERE id = $1 AND state = 'deferred' \
                    AND NOT EXISTS (SELECT FROM erasured.deferral d WHERE d.ticket_id = t.id AND d.state = 'waiting')",
                &[&ticket],
            )
            .await?;
            Ok(())
        })
    }

    /// Deferrals of these tickets, waiting and done.
    pub async fn deferrals(&self, tickets: &[Uuid]) -> Result<Vec<DeferralView>> {
        run_tx!(self, "deferrals", |tx| deferrals_of(tx, tickets).await)
    }
}

pub(super) async fn deferrals_of(tx: &Tx<'_>, tickets: &[Uuid]) -> Result<Vec<DeferralView>> {
    let sql = format!(
        "/* erasured:deferrals */ SELECT {VIEW} FROM erasured.deferral d WHERE d.ticket_id = ANY ($1) ORDER BY d.ticket_id, d.due_at, d.id"
    );
    Ok(tx
        .query(&sql, &[&tickets])
        .await?
        .iter()
        .map(view)
        .collect())
}

fn view(r: &tokio_postgres::Row) -> DeferralView {
    DeferralView {
        id: r.get("id"),
        ticket: r.get("ticket_id"),
        system: r.get("system"),
        schema: r.get("schema_name"),
        table: r.get("table_name"),
        due_at: r.get("due_at"),
        basis: r.get("basis"),
        rows: r.get("rows"),
        done_at: r.get("done_at"),
    }
}
