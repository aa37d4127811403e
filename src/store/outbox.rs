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
    /// Whether a living daemon delivers to it.
    pub served: bool,
}

impl Store {
    /// Says that this daemon delivers to these targets until `life` has passed; others are left as they
    /// are, since other daemons may. A target wants what any of its daemons is configured for.
    ///
    /// Returns those for which another living daemon is configured for other kinds.
    pub async fn serve_targets(
        &self,
        daemon: Uuid,
        targets: &[(String, Option<Vec<String>>)],
        life: Duration,
    ) -> Result<Vec<String>> {
        run_tx!(self, "serve_targets", |tx| {
            tx.execute("/* erasured:serve_targets */ DELETE FROM erasured.outbox_server WHERE until < now() - interval '1 hour'", &[])
                .await?;
            let mut disputed = Vec::new();
            for (name, kinds) in targets {
                // Locks the target, so that two daemons see each other.
                tx.execute(
                    "/* erasured:serve_targets */ INSERT INTO erasured.outbox_target AS t (name, kinds) VALUES ($1, $2) \
                     ON CONFLICT (name) DO UPDATE SET kinds = t.kinds",
                    &[name, kinds],
                )
                .await?;
                tx.execute(
                    "/* erasured:serve_targets */ INSERT INTO erasured.outbox_server AS s (daemon, target, kinds, until) \
                     VALUES ($1, $2, $3, clock_timestamp() + make_interval(secs => $4)) \
                     ON CONFLICT (daemon, target) DO UPDATE SET kinds = excluded.kinds, until = excluded.until",
                    &[&daemon, name, kinds, &seconds(life)],
                )
                .await?;
                tx.execute(
                    "/* erasured:serve_targets */ UPDATE erasured.outbox_target t SET kinds = w.kinds FROM ( \
                       SELECT CASE WHEN bool_and(s.kinds IS NOT NULL) \
                                   THEN ARRAY(SELECT DISTINCT k FROM erasured.outbox_server x, unnest(x.kinds) k WHERE x.target = $1 ORDER BY k) END AS kinds \
                         FROM erasured.outbox_server s WHERE s.target = $1) w \
                      WHERE t.name = $1 AND t.kinds IS DISTINCT FROM w.kinds",
                    &[name],
                )
                .await?;
                let others = tx
                    .query_one(
                        "/* erasured:serve_targets */ SELECT EXISTS (SELECT FROM erasured.outbox_server s \
                          WHERE s.target = $1 AND s.daemon <> $2 AND s.until > clock_timestamp() \
                            AND ((s.kinds IS NULL) <> ($3::text[] IS NULL) OR NOT coalesce(s.kinds @> $3 AND s.kinds <@ $3, true)))",
                        &[name, &daemon, kinds],
                    )
                    .await?;
                if others.get(0) {
                    disputed.push(name.clone());
                }
            }
            Ok(disputed)
        })
    }

    /// Says that this daemon delivers no more. What it asked for is still written: it may be back soon.
    pub async fn leave_targets(&self, daemon: Uuid) -> Result<()> {
        run_tx!(self, "leave_targets", |tx| {
            let sql = "/* erasured:leave_targets */ UPDATE erasured.outbox_server SET until = now() WHERE daemon = $1 AND until > now()";
            tx.execute(sql, &[&daemon]).await?;
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
                    "/* erasured:backlog */ SELECT n.name, coalesce(d.waiting, 0) AS waiting, coalesce(d.dead, 0) AS dead, coalesce(d.oldest, 0) AS oldest, \
                       EXISTS (SELECT FROM erasured.outbox_server s WHERE s.target = n.name AND s.until > clock_timestamp()) AS served \
                      FROM (SELECT name FROM erasured.outbox_target WHERE name <> 'listen' \
                            UNION SELECT target FROM erasured.outbox_delivery WHERE state IN ('waiting', 'dead')) n \
                      LEFT JOIN ( \
                        SELECT d.target, count(*) FILTER (WHERE d.state = 'waiting') AS waiting, count(*) FILTER (WHERE d.state = 'dead') AS dead, \
                               extract(epoch FROM now() - min(o.created_at) FILTER (WHERE d.state = 'waiting'))::float8 AS oldest \
                          FROM erasured.outbox_delivery d JOIN erasured.outbox o ON o.id = d.message_id \
                         WHERE d.state IN ('waiting', 'dead') GROUP BY d.target) d ON d.target = n.name",
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
                    served: r.get("served"),
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
