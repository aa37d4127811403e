//! Tickets' clocks: what the desk records about them, and counting again what that moves.

use super::tickets::act_as;
use super::{Result, Store, run_tx};
use crate::ticket::clock::{Events, Question};
use chrono::{DateTime, Utc};
use tokio_postgres::Row;
use uuid::Uuid;

/// A ticket of which something has happened that may move its due time.
#[derive(Debug)]
pub struct Uncounted {
    /// The ticket.
    pub id: Uuid,
    /// Subject kind.
    pub subject: String,
    /// Scope.
    pub scope: String,
    /// What has happened.
    pub events: Events,
}

/// What was counted.
#[derive(Clone, Copy, Debug)]
pub struct Counted {
    /// Until when receipt is to be confirmed.
    pub acknowledge_by: Option<DateTime<Utc>>,
    /// When it is due, or the earliest that it can be.
    pub due_at: DateTime<Utc>,
    /// What an extension would make of that.
    pub extended_due_at: Option<DateTime<Utc>>,
    /// `not_started`, `running` or `paused`.
    pub clock: &'static str,
}

impl Store {
    /// Records that receipt was confirmed to the customer; returns the state.
    pub async fn acknowledge(&self, ticket: Uuid, actor: Option<&str>) -> Result<String> {
        run_tx!(self, "acknowledge", |tx| {
            act_as(tx, actor).await?;
            let sql = "/* erasured:acknowledge */ SELECT erasured.acknowledge_ticket($1)";
            Ok(tx.query_one(sql, &[&ticket]).await?.get(0))
        })
    }

    /// Makes the term longer, with a ground's code; returns the state.
    pub async fn extend(&self, ticket: Uuid, ground: &str, actor: Option<&str>) -> Result<String> {
        run_tx!(self, "extend", |tx| {
            act_as(tx, actor).await?;
            let sql = "/* erasured:extend */ SELECT erasured.extend_ticket($1, $2)";
            Ok(tx.query_one(sql, &[&ticket, &ground]).await?.get(0))
        })
    }

    /// Records that the customer was asked for something, as a code; returns the state.
    pub async fn ask(&self, ticket: Uuid, what: &str, actor: Option<&str>) -> Result<String> {
        run_tx!(self, "ask", |tx| {
            act_as(tx, actor).await?;
            let sql = "/* erasured:ask */ SELECT erasured.ask_ticket($1, $2)";
            Ok(tx.query_one(sql, &[&ticket, &what]).await?.get(0))
        })
    }

    /// Records that the customer has answered; returns the state.
    pub async fn answered(&self, ticket: Uuid, actor: Option<&str>) -> Result<String> {
        run_tx!(self, "answered", |tx| {
            act_as(tx, actor).await?;
            let sql = "/* erasured:answered */ SELECT erasured.answered_ticket($1)";
            Ok(tx.query_one(sql, &[&ticket]).await?.get(0))
        })
    }

    /// Counts again up to `limit` tickets, oldest request first; how many there were. They are
    /// locked meanwhile, so that nothing that happens to them is missed; those that somebody else
    /// has locked are left for the next time. A due time that moves is an event.
    pub async fn recount(
        &self,
        limit: u32,
        count: impl Fn(&Uncounted) -> Counted,
    ) -> Result<usize> {
        run_tx!(self, "recount", |tx| {
            let rows = tx.query(UNCOUNTED, &[&i64::from(limit)]).await?;
            let (mut ids, mut within, mut due) = (vec![], vec![], vec![]);
            let (mut extended, mut clocks) = (vec![], vec![]);
            for row in &rows {
                let ticket = uncounted(row);
                let counted = count(&ticket);
                ids.push(ticket.id);
                within.push(counted.acknowledge_by);
                due.push(counted.due_at);
                extended.push(counted.extended_due_at);
                clocks.push(counted.clock);
            }
            tx.execute(COUNTED, &[&ids, &within, &due, &extended, &clocks])
                .await?;
            Ok(rows.len())
        })
    }
}

const UNCOUNTED: &str = "/* erasured:uncounted */ WITH stale AS MATERIALIZED ( \
       SELECT id, subject, scope, requested_at, extended_at FROM erasured.ticket WHERE clock_stale \
        ORDER BY requested_at LIMIT $1 FOR UPDATE SKIP LOCKED) \
     SELECT t.*, d.proven_at, d.accepted_at, p.asked, p.asked_at, p.answered_at FROM stale t, \
       LATERAL (SELECT min(at) FILTER (WHERE kind = 'verify') AS proven_at, \
                       min(at) FILTER (WHERE kind = 'approve') AS accepted_at \
                  FROM erasured.decision WHERE ticket_id = t.id AND kind IN ('verify', 'approve')) d, \
       LATERAL (SELECT coalesce(array_agg(asked_for = 'identity' ORDER BY id), '{}') AS asked, \
                       coalesce(array_agg(asked_at ORDER BY id), '{}') AS asked_at, \
                       coalesce(array_agg(answered_at ORDER BY id), '{}') AS answered_at \
                  FROM erasured.pause WHERE ticket_id = t.id) p";

/// What is closed keeps the due time by which it was measured.
const COUNTED: &str = "/* erasured:counted */ WITH n AS ( \
       SELECT * FROM unnest($1::uuid[], $2::timestamptz[], $3::timestamptz[], $4::timestamptz[], $5::text[]) \
                AS n (id, acknowledge_by, due_at, extended_due_at, clock)), \
     before AS (SELECT t.id, t.due_at, t.state FROM erasured.ticket t JOIN n ON n.id = t.id), \
     told AS ( \
       INSERT INTO erasured.event (kind, ticket_id, body) \
       SELECT 'due_moved', n.id, jsonb_build_object('from', b.due_at, 'until', n.due_at) \
         FROM n JOIN before b ON b.id = n.id \
        WHERE b.due_at <> n.due_at AND b.state NOT IN ('completed', 'deferred', 'rejected') ORDER BY n.id) \
     UPDATE erasured.ticket t SET clock_stale = false, clock = n.clock, \
            acknowledge_by = n.acknowledge_by, extended_due_at = n.extended_due_at, \
            due_at = CASE WHEN t.state IN ('completed', 'deferred', 'rejected') THEN t.due_at ELSE n.due_at END \
       FROM n WHERE t.id = n.id";

fn uncounted(r: &Row) -> Uncounted {
    let asked: Vec<bool> = r.get("asked");
    let asked_at: Vec<DateTime<Utc>> = r.get("asked_at");
    let answered_at: Vec<Option<DateTime<Utc>>> = r.get("answered_at");
    let questions = asked.into_iter().zip(asked_at).zip(answered_at);
    Uncounted {
        id: r.get("id"),
        subject: r.get("subject"),
        scope: r.get("scope"),
        events: Events {
            requested_at: r.get("requested_at"),
            proven_at: r.get("proven_at"),
            accepted_at: r.get("accepted_at"),
            extended_at: r.get("extended_at"),
            questions: questions
                .map(|((for_identity, asked_at), answered_at)| Question {
                    for_identity,
                    asked_at,
                    answered_at,
                })
                .collect(),
        },
    }
}
