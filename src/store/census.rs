//! Counts for the metrics, and who is at work.

use super::{Result, Store, run_tx};
use chrono::{DateTime, Utc};
use std::collections::BTreeMap;
use uuid::Uuid;

/// The queue at a glance.
#[derive(Clone, Debug, Default)]
pub struct Census {
    /// Open tickets by state; states without any are missing.
    pub by_state: BTreeMap<String, i64>,
    /// Open tickets past their due date.
    pub overdue: i64,
    /// Open tickets that have reached a step of escalation and are not late.
    pub escalated: i64,
    /// Open tickets whose receipt was not confirmed in time.
    pub unconfirmed: i64,
    /// What is open, by scope and state.
    pub backlog: Vec<Backlog>,
    /// Seconds until the nearest due date of an open ticket; negative when past.
    pub nearest_due_seconds: Option<f64>,
    /// Tickets whose person could not be found.
    pub unresolvable: i64,
    /// Tickets that come back by themselves: under way, lent to a daemon that may be gone, or put
    /// off after a failure; and deferrals that are lent.
    pub retrying: i64,
    /// Open tickets with a due date.
    pub open_due: i64,
    /// Tickets under a lease that has not run out.
    pub leased: i64,
    /// Deferrals waiting.
    pub deferrals: i64,
    /// Deferrals whose day has passed.
    pub deferrals_overdue: i64,
    /// Events not yet in the chain.
    pub outbox: i64,
    /// Legal holds in force.
    pub holds: i64,
    /// Of these, holds that cover nobody: what they name was not found.
    pub holds_empty: i64,
    /// Tickets and deferrals that a legal hold keeps from going on.
    pub held: i64,
}

/// What is open of one scope.
#[derive(Clone, Debug, Default)]
pub struct Backlog {
    /// Subject kind.
    pub subject: String,
    /// Scope.
    pub scope: String,
    /// Open tickets.
    pub open: i64,
    /// Seconds since the oldest of their requests.
    pub age: f64,
}

/// What is behind us.
#[derive(Clone, Debug, Default)]
pub struct Closed {
    /// Tickets by state; states without any are missing.
    pub by_state: BTreeMap<String, i64>,
    /// Closed in time, of all closed and not rejected.
    pub sla_met: i64,
    /// Closed late.
    pub sla_missed: i64,
    /// When a ticket was last closed well.
    pub last_success: Option<DateTime<Utc>>,
}

impl Store {
    /// Counts what is open, by an index that holds nothing else.
    pub async fn census(&self) -> Result<Census> {
        run_tx!(self, "census", |tx| {
            let states = tx
                .query(
                    // The time is asked once, and leases are counted by themselves: of 100,000 rows each
                    // word more is felt.
                    "/* erasured:census */ SELECT state, subject, scope, count(*) AS n, (extract(epoch FROM now() - min(requested_at)))::float8 AS age, \
                            count(*) FILTER (WHERE acknowledged_at IS NULL AND acknowledge_by < (SELECT now())) AS unconfirmed, \
                            count(*) FILTER (WHERE due_at < (SELECT now()) AND clock = 'running') AS late, \
                            count(*) FILTER (WHERE escalated > 0 AND due_at >= (SELECT now())) AS escalated, \
                            (extract(epoch FROM min(due_at) FILTER (WHERE clock = 'running') - now()))::float8 AS due_in, \
                            count(*) FILTER (WHERE problem_code IS NOT NULL AND subject_hash IS NULL) AS lost, \
                            count(*) FILTER (WHERE attempt > 0) AS tried, \
                            count(due_at) AS with_due \
                       FROM erasured.ticket \
                      WHERE state NOT IN ('completed', 'deferred', 'rejected') GROUP BY state, subject, scope",
                    &[],
                )
                .await?;
            let mut census = Census::default();
            for r in &states {
                let state: String = r.get("state");
                census.overdue += r.get::<_, i64>("late");
                census.escalated += r.get::<_, i64>("escalated");
                census.unresolvable += r.get::<_, i64>("lost");
                census.retrying += match state.as_str() {
                    "executing" => r.get::<_, i64>("n"),
                    "scheduled" => r.get("tried"),
                    _ => 0,
                };
                census.open_due += r.get::<_, i64>("with_due");
                census.nearest_due_seconds = least(census.nearest_due_seconds, r.get("due_in"));
                if ["received", "verified"].contains(&state.as_str()) {
                    census.unconfirmed += r.get::<_, i64>("unconfirmed");
                }
                census.backlog.push(Backlog {
                    subject: r.get("subject"),
                    scope: r.get("scope"),
                    open: r.get("n"),
                    age: r.get("age"),
                });
                *census.by_state.entry(state).or_default() += r.get::<_, i64>("n");
            }
            let rest = tx
                .query_one(
                    "/* erasured:census */ SELECT (SELECT count(*) FROM erasured.deferral WHERE state = 'waiting'), \
                       (SELECT count(*) FROM erasured.deferral WHERE state = 'waiting' AND due_at < now()), \
                       (SELECT count(*) FROM erasured.event), \
                       (SELECT count(*) FROM erasured.deferral WHERE state = 'waiting' AND due_at <= now() AND lease_token IS NOT NULL), \
                       (SELECT count(*) FROM erasured.hold WHERE released_at IS NULL), \
                       (SELECT count(*) FROM erasured.hold WHERE released_at IS NULL AND problem_code IS NOT NULL), \
                       (SELECT count(*) FROM erasured.ticket WHERE state = 'on_hold' AND problem_code = 'E0521') \
                       + (SELECT count(*) FROM erasured.deferral WHERE state = 'waiting' AND held_since IS NOT NULL), \
                       (SELECT count(*) FROM erasured.lease WHERE until > now()), \
                       (SELECT count(*) FROM erasured.lease l JOIN erasured.ticket t ON t.id = l.ticket_id WHERE t.state = 'scheduled' AND t.attempt = 0)",
                    &[],
                )
                .await?;
            (census.deferrals, census.deferrals_overdue, census.outbox) =
                (rest.get(0), rest.get(1), rest.get(2));
            census.retrying += rest.get::<_, i64>(3);
            (census.holds, census.holds_empty, census.held) =
                (rest.get(4), rest.get(5), rest.get(6));
            census.leased = rest.get(7);
            census.retrying += rest.get::<_, i64>(8);
            Ok(census)
        })
    }

    /// Counts what is closed: reads the whole table, which grows for years, so not often.
    pub async fn closed(&self) -> Result<Closed> {
        run_tx!(self, "closed", |tx| {
            let states = tx
                .query(
                    "/* erasured:closed */ SELECT state, count(*) AS n, max(finished_at) FILTER (WHERE state <> 'rejected') AS last, \
                            count(*) FILTER (WHERE sla_met AND state <> 'rejected') AS met, \
                            count(*) FILTER (WHERE NOT sla_met AND state <> 'rejected') AS missed \
                       FROM erasured.ticket WHERE state IN ('completed', 'deferred', 'rejected') GROUP BY state",
                    &[],
                )
                .await?;
            let mut closed = Closed::default();
            for r in &states {
                closed.sla_met += r.get::<_, i64>("met");
                closed.sla_missed += r.get::<_, i64>("missed");
                closed.last_success = closed.last_success.max(r.get("last"));
                closed.by_state.insert(r.get("state"), r.get("n"));
            }
            Ok(closed)
        })
    }

    /// The control database's own time.
    pub async fn clock(&self) -> Result<DateTime<Utc>> {
        run_tx!(self, "clock", |tx| {
            let sql = "/* erasured:clock */ SELECT clock_timestamp()";
            Ok(tx.query_one(sql, &[]).await?.get(0))
        })
    }

    /// Says that this daemon is alive; those not seen for a day are forgotten.
    pub async fn seen(&self, daemon: Uuid, host: &str, version: &str) -> Result<()> {
        run_tx!(self, "seen", |tx| {
            tx.execute(
                "/* erasured:seen */ INSERT INTO erasured.daemon (id, host, version) VALUES ($1, $2, $3) \
                 ON CONFLICT (id) DO UPDATE SET seen_at = now()",
                &[&daemon, &host, &version],
            )
            .await?;
            // A turn counts while tickets of its due time wait; what is a year late waits for a person.
            tx.execute("/* erasured:seen */ DELETE FROM erasured.turn WHERE due_at < now() - interval '1 year'", &[])
                .await?;
            tx.execute("/* erasured:seen */ DELETE FROM erasured.daemon WHERE seen_at < now() - interval '1 day'", &[])
                .await?;
            Ok(())
        })
    }
}

fn least(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
