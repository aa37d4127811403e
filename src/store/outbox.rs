//! What others are told: whom, what is due, and how it went.

use super::{Result, Store, run_tx, seconds};
use chrono::{DateTime, Utc};
use std::time::Duration;
use uuid::Uuid;

/// A message that is this daemon's to deliver, for as long as its lease holds.
#[derive(Debug)]
pub struct Delivery {
    /// The message.
    pub message: Uuid,
    /// The right to say how it went.
    pub token: Uuid,
    /// Its ticket.
    pub ticket: Uuid,
    /// The ticket's reference.
    pub reference: String,
    /// Order within the ticket.
    pub seq: i32,
    /// What is told.
    pub kind: String,
    /// When it became true.
    pub at: DateTime<Utc>,
    /// The rest.
    pub body: serde_json::Value,
    /// Tries before this one.
    pub attempts: i32,
}

/// How a try ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The other side has it.
    Delivered,
    /// It is tried again after this time.
    Later(Duration),
    /// It is given up.
    Dead,
}

impl Outcome {
    /// As metrics call it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Later(_) => "later",
            Self::Dead => "dead",
        }
    }
}

/// One target's backlog.
#[derive(Debug)]
pub struct Backlog {
    /// The target.
    pub target: String,
    /// Not yet delivered.
    pub waiting: i64,
    /// Given up.
    pub dead: i64,
    /// Age of the oldest not yet delivered, in seconds.
    pub oldest: f64,
}

impl Store {
    /// Tells the control schema who is to be told of what. What waits for a target that is not
    /// among them goes on waiting: it may come back.
    pub async fn publish_targets(&self, targets: &[(String, Option<Vec<String>>)]) -> Result<()> {
        run_tx!(self, "publish_targets", |tx| {
            let names: Vec<&str> = targets.iter().map(|(name, _)| name.as_str()).collect();
            let sql = "/* erasured:publish_targets */ DELETE FROM erasured.outbox_target WHERE name <> ALL ($1)";
            tx.execute(sql, &[&names]).await?;
            for (name, kinds) in targets {
                tx.execute(
                    "/* erasured:publish_targets */ INSERT INTO erasured.outbox_target AS t (name, kinds) VALUES ($1, $2) \
                     ON CONFLICT (name) DO UPDATE SET kinds = excluded.kinds WHERE t.kinds IS DISTINCT FROM excluded.kinds",
                    &[name, kinds],
                )
                .await?;
            }
            Ok(())
        })
    }

    /// Messages for this target that are due: of each ticket the first that it has not got.
    pub async fn lease_deliveries(
        &self,
        target: &str,
        limit: u32,
        for_: Duration,
    ) -> Result<Vec<Delivery>> {
        run_tx!(self, "lease_deliveries", |tx| {
            let rows = tx
                .query(
                    "/* erasured:lease_deliveries */ WITH heads AS ( \
                       SELECT d.message_id, d.target FROM erasured.outbox_delivery d \
                        WHERE d.target = $1 AND d.state = 'waiting' AND d.next_at <= clock_timestamp() \
                          AND (d.lease_until IS NULL OR d.lease_until < clock_timestamp()) \
                          AND NOT EXISTS (SELECT FROM erasured.outbox_delivery e WHERE e.ticket_id = d.ticket_id \
                                AND e.target = d.target AND e.seq < d.seq AND e.state = 'waiting') \
                        ORDER BY d.next_at LIMIT $2 FOR UPDATE SKIP LOCKED), \
                     lent AS ( \
                       UPDATE erasured.outbox_delivery d SET lease_token = gen_random_uuid(), \
                              lease_until = clock_timestamp() + make_interval(secs => $3) \
                         FROM heads h WHERE d.message_id = h.message_id AND d.target = h.target \
                       RETURNING d.message_id, d.lease_token, d.attempts) \
                     SELECT l.message_id, l.lease_token, l.attempts, o.ticket_id, o.seq, o.kind, o.created_at, o.body, t.reference \
                       FROM lent l JOIN erasured.outbox o ON o.id = l.message_id \
                       JOIN erasured.ticket t ON t.id = o.ticket_id ORDER BY o.created_at, o.ticket_id",
                    &[&target, &i64::from(limit), &seconds(for_)],
                )
                .await?;
            Ok(rows.iter().map(delivery).collect())
        })
    }

    /// Says how a try ended; false if the lease is somebody else's by now, who will say so too.
    /// Of what is put off, the ticket's later messages wait as long.
    pub async fn delivered(
        &self,
        target: &str,
        delivery: &Delivery,
        outcome: Outcome,
        problem: Option<&str>,
    ) -> Result<bool> {
        let (state, pause) = match outcome {
            Outcome::Delivered => ("delivered", Duration::ZERO),
            Outcome::Later(pause) => ("waiting", pause),
            Outcome::Dead => ("dead", Duration::ZERO),
        };
        run_tx!(self, "delivered", |tx| {
            let told = tx
                .execute(
                    "/* erasured:delivered */ UPDATE erasured.outbox_delivery SET state = $4, attempts = attempts + 1, problem = $5, \
                            next_at = clock_timestamp() + make_interval(secs => $6), lease_token = NULL, lease_until = NULL, \
                            done_at = CASE WHEN $4 = 'waiting' THEN NULL ELSE clock_timestamp() END \
                      WHERE message_id = $1 AND target = $2 AND lease_token = $3",
                    &[&delivery.message, &target, &delivery.token, &state, &problem, &seconds(pause)],
                )
                .await?;
            if told == 1 && state == "waiting" {
                tx.execute(
                    "/* erasured:delivered */ UPDATE erasured.outbox_delivery SET next_at = clock_timestamp() + make_interval(secs => $4) \
                      WHERE ticket_id = $1 AND target = $2 AND seq > $3 AND state = 'waiting' AND lease_token IS NULL",
                    &[&delivery.ticket, &target, &delivery.seq, &seconds(pause)],
                )
                .await?;
            }
            Ok(told == 1)
        })
    }

    /// Removes messages that everybody has got long ago; a ticket's last one stays, since its
    /// number is where the next one counts on.
    pub async fn prune_outbox(&self, keep: Duration) -> Result<u64> {
        run_tx!(self, "prune_outbox", |tx| {
            tx.execute(
                "/* erasured:prune_outbox */ DELETE FROM erasured.outbox o WHERE o.id IN ( \
                   SELECT p.id FROM erasured.outbox p WHERE p.created_at < now() - make_interval(secs => $1) \
                      AND EXISTS (SELECT FROM erasured.outbox n WHERE n.ticket_id = p.ticket_id AND n.seq > p.seq) \
                      AND NOT EXISTS (SELECT FROM erasured.outbox_delivery d WHERE d.message_id = p.id AND d.state <> 'delivered') \
                    ORDER BY p.created_at LIMIT 5000)",
                &[&seconds(keep)],
            )
            .await
        })
    }

    /// What waits, target by target.
    pub async fn backlog(&self) -> Result<Vec<Backlog>> {
        run_tx!(self, "backlog", |tx| {
            let rows = tx
                .query(
                    "/* erasured:backlog */ SELECT g.name, \
                       count(d.*) FILTER (WHERE d.state = 'waiting') AS waiting, count(d.*) FILTER (WHERE d.state = 'dead') AS dead, \
                       coalesce(extract(epoch FROM now() - min(o.created_at) FILTER (WHERE d.state = 'waiting')), 0)::float8 AS oldest \
                      FROM erasured.outbox_target g \
                      LEFT JOIN erasured.outbox_delivery d ON d.target = g.name AND d.state IN ('waiting', 'dead') \
                      LEFT JOIN erasured.outbox o ON o.id = d.message_id \
                     WHERE g.name <> 'listen' GROUP BY g.name",
                    &[],
                )
                .await?;
            Ok(rows
                .iter()
                .map(|r| Backlog {
                    target: r.get("name"),
                    waiting: r.get("waiting"),
                    dead: r.get("dead"),
                    oldest: r.get("oldest"),
                })
                .collect())
        })
    }
}

fn delivery(r: &tokio_postgres::Row) -> Delivery {
    Delivery {
        message: r.get("message_id"),
        token: r.get("lease_token"),
        ticket: r.get("ticket_id"),
        reference: r.get("reference"),
        seq: r.get("seq"),
        kind: r.get("kind"),
        at: r.get("created_at"),
        body: r.get("body"),
        attempts: r.get("attempts"),
    }
}
