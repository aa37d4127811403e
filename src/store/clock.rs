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
    /// Steps of escalation that have been told.
    pub escalated: u8,
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
    /// `not_started`, `running`, `paused`, or `none`: there is no due time to tell of.
    pub clock: &'static str,
    /// Steps of escalation that are reached.
    pub escalated: u8,
    /// When the next one is.
    pub escalate_at: Option<DateTime<Utc>>,
    /// After the due time the company owes an explanation, and is not late.
    pub explain: bool,
    /// What it is called that the step now reached is; told as an event if it is a new one.
    pub called: &'static str,
}

/// What was told of a ticket by an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Subject kind.
    pub subject: String,
    /// Scope.
    pub scope: String,
    /// [`Counted::called`].
    pub called: &'static str,
    /// Steps reached.
    pub step: u8,
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

    /// Counts again up to `limit` tickets to which something has happened, oldest request first,
    /// and as many whose next step of escalation is reached by `now`; how many there were, and what
    /// was told. They are locked meanwhile, so that nothing that happens to them is missed; those
    /// that somebody else has locked are left for the next time. A due time that moves is an event,
    /// and so is a step that was not told before.
    pub async fn recount(
        &self,
        limit: u32,
        now: DateTime<Utc>,
        count: impl Fn(&Uncounted) -> Counted,
    ) -> Result<(usize, Vec<Told>)> {
        run_tx!(self, "recount", |tx| {
            let rows = tx.query(UNCOUNTED, &[&i64::from(limit), &now]).await?;
            if rows.is_empty() {
                return Ok((0, Vec::new()));
            }
            let (mut ids, mut within, mut due) = (vec![], vec![], vec![]);
            let (mut extended, mut clocks) = (vec![], vec![]);
            let (mut steps, mut next, mut called) = (vec![], vec![], vec![]);
            let mut explain = vec![];
            let mut told = Vec::new();
            for row in &rows {
                let ticket = uncounted(row);
                let counted = count(&ticket);
                ids.push(ticket.id);
                within.push(counted.acknowledge_by);
                due.push(counted.due_at);
                extended.push(counted.extended_due_at);
                clocks.push(counted.clock);
                steps.push(i16::from(counted.escalated));
                next.push(counted.escalate_at);
                explain.push(counted.explain);
                let closed: bool = row.get("closed");
                let news = !closed && counted.escalated > ticket.escalated;
                called.push(news.then_some(counted.called));
                if news {
                    told.push(Told {
                        subject: ticket.subject,
                        scope: ticket.scope,
                        called: counted.called,
                        step: counted.escalated,
                    });
                }
            }
            tx.execute(
                COUNTED,
                &[
                    &ids, &within, &due, &extended, &clocks, &steps, &next, &called, &explain,
                ],
            )
            .await?;
            Ok((rows.len(), told))
        })
    }
}

impl Store {
    /// When each of these tickets, which are closed, was where.
    pub async fn milestones(&self, tickets: &[Uuid]) -> Result<Vec<Milestones>> {
        run_tx!(self, "milestones", |tx| {
            let rows = tx.query(MILESTONES, &[&tickets]).await?;
            let one = |r: &Row| Milestones {
                requested_at: r.get("requested_at"),
                acknowledged_at: r.get("acknowledged_at"),
                verified_at: r.get("verified_at"),
                approved_at: r.get("approved_at"),
                erased_at: r.get("verifying_since"),
                finished_at: r.get("finished_at"),
            };
            Ok(rows.iter().map(one).collect())
        })
    }
}

/// When a ticket was where.
#[derive(Clone, Copy, Debug)]
pub struct Milestones {
    /// The person asked.
    pub requested_at: DateTime<Utc>,
    /// Receipt was confirmed.
    pub acknowledged_at: Option<DateTime<Utc>>,
    /// Identity was proven, for the last time.
    pub verified_at: Option<DateTime<Utc>>,
    /// It was approved, for the last time.
    pub approved_at: Option<DateTime<Utc>>,
    /// It was erased everywhere.
    pub erased_at: Option<DateTime<Utc>>,
    /// It was closed.
    pub finished_at: Option<DateTime<Utc>>,
}

const MILESTONES: &str = "/* erasured:milestones */ \
     SELECT t.requested_at, t.acknowledged_at, d.verified_at, d.approved_at, t.verifying_since, t.finished_at \
       FROM erasured.ticket t, \
       LATERAL (SELECT max(at) FILTER (WHERE kind = 'verify') AS verified_at, \
                       max(at) FILTER (WHERE kind = 'approve') AS approved_at \
                  FROM erasured.decision WHERE ticket_id = t.id AND kind IN ('verify', 'approve')) d \
      WHERE t.id = ANY ($1)";

const UNCOUNTED: &str = "/* erasured:uncounted */ WITH stale AS MATERIALIZED ( \
       SELECT id FROM erasured.ticket WHERE clock_stale ORDER BY requested_at LIMIT $1 FOR UPDATE SKIP LOCKED), \
     reached AS MATERIALIZED ( \
       SELECT id FROM erasured.ticket WHERE escalate_at <= $2 AND escalate_at IS NOT NULL \
        ORDER BY escalate_at LIMIT $1 FOR UPDATE SKIP LOCKED) \
     SELECT t.id, t.subject, t.scope, t.requested_at, t.extended_at, t.escalated, \
            t.state IN ('completed', 'deferred', 'rejected') AS closed, \
            d.proven_at, d.accepted_at, p.asked, p.asked_at, p.answered_at \
       FROM (SELECT id FROM stale UNION SELECT id FROM reached) n JOIN erasured.ticket t ON t.id = n.id, \
       LATERAL (SELECT min(at) FILTER (WHERE kind = 'verify') AS proven_at, \
                       min(at) FILTER (WHERE kind = 'approve') AS accepted_at \
                  FROM erasured.decision WHERE ticket_id = t.id AND kind IN ('verify', 'approve')) d, \
       LATERAL (SELECT coalesce(array_agg(asked_for = 'identity' ORDER BY id), '{}') AS asked, \
                       coalesce(array_agg(asked_at ORDER BY id), '{}') AS asked_at, \
                       coalesce(array_agg(answered_at ORDER BY id), '{}') AS answered_at \
                  FROM erasured.pause WHERE ticket_id = t.id) p";

/// What is closed keeps the due time by which it was measured. A new due time takes the desk's next
/// turn for it.
const COUNTED: &str = "/* erasured:counted */ WITH n AS ( \
       SELECT * FROM unnest($1::uuid[], $2::timestamptz[], $3::timestamptz[], $4::timestamptz[], $5::text[], \
                            $6::int2[], $7::timestamptz[], $8::text[], $9::bool[]) \
                AS n (id, acknowledge_by, due_at, extended_due_at, clock, escalated, escalate_at, called, explain)), \
     before AS MATERIALIZED ( \
       SELECT t.id, t.due_at, t.turn, t.filed_by, t.requested_at FROM erasured.ticket t JOIN n ON n.id = t.id \
        WHERE t.state NOT IN ('completed', 'deferred', 'rejected')), \
     moved AS MATERIALIZED ( \
       SELECT n.id, b.filed_by, n.due_at, \
              row_number() OVER (PARTITION BY b.filed_by, n.due_at ORDER BY b.requested_at, n.id) AS nth, \
              count(*) OVER (PARTITION BY b.filed_by, n.due_at) AS of \
         FROM n JOIN before b ON b.id = n.id WHERE b.turn = 0 OR b.due_at IS DISTINCT FROM n.due_at), \
     taken AS ( \
       INSERT INTO erasured.turn AS x (desk, due_at, taken) \
       SELECT filed_by, due_at, count(*) FROM moved GROUP BY filed_by, due_at ORDER BY filed_by, due_at \
       ON CONFLICT (desk, due_at) DO UPDATE SET taken = x.taken + excluded.taken RETURNING *), \
     told AS ( \
       INSERT INTO erasured.event (kind, ticket_id, body) \
       SELECT 'due_moved', n.id, jsonb_build_object('from', b.due_at, 'until', n.due_at) \
         FROM n JOIN before b ON b.id = n.id WHERE b.due_at <> n.due_at \
       UNION ALL \
       SELECT n.called, n.id, jsonb_build_object('step', n.escalated, 'due', n.due_at) \
         FROM n WHERE n.called IS NOT NULL) \
     UPDATE erasured.ticket t SET clock_stale = false, clock = n.clock, \
            acknowledge_by = n.acknowledge_by, extended_due_at = n.extended_due_at, escalated = n.escalated, explain = n.explain, \
            escalate_at = CASE WHEN b.id IS NULL THEN NULL ELSE n.escalate_at END, \
            due_at = CASE WHEN b.id IS NULL THEN t.due_at ELSE n.due_at END, \
            turn = coalesce(x.taken - m.of + m.nth, t.turn) \
       FROM n LEFT JOIN before b ON b.id = n.id LEFT JOIN moved m ON m.id = n.id \
         LEFT JOIN taken x ON x.desk = m.filed_by AND x.due_at = m.due_at \
      WHERE t.id = n.id";

fn uncounted(r: &Row) -> Uncounted {
    let asked: Vec<bool> = r.get("asked");
    let asked_at: Vec<DateTime<Utc>> = r.get("asked_at");
    let answered_at: Vec<Option<DateTime<Utc>>> = r.get("answered_at");
    let questions = asked.into_iter().zip(asked_at).zip(answered_at);
    Uncounted {
        id: r.get("id"),
        subject: r.get("subject"),
        scope: r.get("scope"),
        escalated: u8::try_from(r.get::<_, i16>("escalated")).unwrap_or_default(),
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
