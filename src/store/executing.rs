//! From the stored plan to the last step's own result. Every write names the lease.

use super::forecast;
use super::lease::{self, hold};
use super::{Result, Store, Tx, run_tx, seconds};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use std::time::Duration;
use uuid::Uuid;

/// A plan as it is kept.
#[derive(Clone, Debug)]
pub struct StoredPlan {
    /// SHA-256 of `body`, lower-case hex.
    pub id: String,
    /// The policy's file.
    pub policy_file: String,
    /// Its SHA-256.
    pub policy_sha256: String,
    /// Subject kind.
    pub subject: String,
    /// Scope.
    pub scope: String,
    /// The plan, JSON, kept to the byte; no personal data.
    pub body: String,
}

/// One ticket's work on one system.
#[derive(Clone, Debug, Serialize)]
pub struct StepRow {
    /// The ticket.
    pub ticket: Uuid,
    /// Which plan of the ticket's.
    pub generation: i32,
    /// The system.
    pub system: String,
    /// Order among the systems, from 0.
    pub ordinal: i32,
    /// The plan it belongs to.
    pub plan_id: String,
    /// Its own transaction is known to have committed.
    pub done: bool,
    /// What was done, when done.
    pub counts: Option<Value>,
    /// When, by the target's clock.
    pub committed_at: Option<DateTime<Utc>>,
}

/// What a step has found in a system that is no database.
pub struct StoredFound {
    /// The ticket.
    pub ticket: Uuid,
    /// What it is, encrypted.
    pub sealed: Vec<u8>,
    /// Whether it is counted by no step yet: neither its own nor a later one is done.
    pub open: bool,
}

impl StepRow {
    /// Whether it left something to a legal hold: it is not the ticket's last then.
    pub fn is_partial(&self) -> bool {
        let left = self.counts.as_ref().map(|record| &record["counts"]["left"]);
        left.is_some_and(|left| !left.is_null())
    }
}

/// Rows that the law keeps until a date.
#[derive(Debug)]
pub struct NewDeferral {
    /// The ticket.
    pub ticket: Uuid,
    /// The system.
    pub system: String,
    /// The table's schema.
    pub schema: String,
    /// The table.
    pub table: String,
    /// When they go.
    pub due_at: DateTime<Utc>,
    /// Code of the legal basis.
    pub basis: String,
    /// How many.
    pub rows: i64,
    /// Their keys, encrypted.
    pub sealed: Vec<u8>,
}

/// The code of a ticket that a legal hold keeps.
pub const HELD: &str = "E0521";

/// The code of a ticket that was approved by somebody who did not know of signs of an impostor.
pub const SIGNS_SINCE: &str = "E0524";

/// What stands for a code where a ticket waits for another that does the same.
pub const TWICE: &str = "duplicate";

/// A ticket that may not run under the policy in force, for a person to look at, or not while a legal
/// hold keeps it ([`HELD`]), or not beside another that does the same ([`TWICE`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unfit {
    /// The ticket.
    pub ticket: Uuid,
    /// As in `docs/operations.md`.
    pub code: &'static str,
    /// Why.
    pub problem: &'static str,
}

impl Store {
    /// Before the first write on any target: stores the plan, plans a step on each system (in the
    /// order given) for each ticket, and moves the tickets to `executing`. Doing it again for
    /// tickets that have begun changes nothing: they keep the plan under which they began. Returns
    /// those left out, because what stands behind them is not enough any more.
    pub async fn begin(
        &self,
        token: Uuid,
        tickets: &[Uuid],
        plan: &StoredPlan,
        systems: &[String],
    ) -> Result<Vec<Unfit>> {
        run_tx!(self, "begin", |tx| {
            hold(tx, token, tickets).await?;
            let mut unfit = unfit(tx, tickets).await?;
            let sql = "/* erasured:begin */ SELECT erasured.link_duplicates($1)";
            let fit: Vec<Uuid> = tickets
                .iter()
                .copied()
                .filter(|id| unfit.iter().all(|u| u.ticket != *id))
                .collect();
            let twice = tx.query(sql, &[&fit]).await?;
            unfit.extend(twice.iter().map(|r| Unfit {
                ticket: r.get(0),
                code: TWICE,
                problem: "another ticket for the same person and scope is under way",
            }));
            let tickets: Vec<Uuid> = tickets
                .iter()
                .copied()
                .filter(|id| unfit.iter().all(|u| u.ticket != *id))
                .collect();
            add_plan(tx, plan).await?;
            tx.execute(
                "/* erasured:begin */ INSERT INTO erasured.step (ticket_id, generation, system, ordinal, plan_id) \
                 SELECT t.id, t.generation, s.system, s.ordinal - 1, $2 \
                   FROM erasured.ticket t, unnest($3::text[]) WITH ORDINALITY AS s (system, ordinal) \
                  WHERE t.id = ANY ($1) AND t.state = 'scheduled' ON CONFLICT DO NOTHING",
                &[&tickets, &plan.id, &systems],
            )
            .await?;
            tx.execute(
                "/* erasured:begin */ UPDATE erasured.ticket SET state = 'executing', plan_id = coalesce(plan_id, $2), \
                        started_at = coalesce(started_at, now()), problem_code = NULL, problem = NULL \
                  WHERE id = ANY ($1) AND state = 'scheduled'",
                &[&tickets, &plan.id],
            )
            .await?;
            Ok(unfit)
        })
    }

    /// Before the first write on a system under another plan than the tickets began under: stores it,
    /// and says of their steps there, unless they are done, that it is theirs.
    pub async fn step_plan(
        &self,
        token: Uuid,
        tickets: &[Uuid],
        system: &str,
        plan: &StoredPlan,
    ) -> Result<()> {
        run_tx!(self, "step_plan", |tx| {
            hold(tx, token, tickets).await?;
            add_plan(tx, plan).await?;
            tx.execute(
                "/* erasured:step_plan */ UPDATE erasured.step s SET plan_id = $3 FROM erasured.ticket t \
                  WHERE t.id = ANY ($1) AND s.ticket_id = t.id AND s.generation = t.generation AND s.system = $2 \
                    AND s.state = 'planned' AND s.plan_id <> $3",
                &[&tickets, &system, &plan.id],
            )
            .await?;
            Ok(())
        })
    }

    /// A stored plan.
    pub async fn plan(&self, id: &str) -> Result<Option<StoredPlan>> {
        run_tx!(self, "plan", |tx| {
            let row = tx
                .query_opt(
                    "/* erasured:plan */ SELECT id, policy_file, policy_sha256, subject, scope, body::text \
                       FROM erasured.plan WHERE id = $1",
                    &[&id],
                )
                .await?;
            Ok(row.map(|r| StoredPlan {
                id: r.get(0),
                policy_file: r.get(1),
                policy_sha256: r.get(2),
                subject: r.get(3),
                scope: r.get(4),
                body: r.get(5),
            }))
        })
    }

    /// Replaces what is sealed with the tickets.
    pub async fn seal(&self, token: Uuid, sealed: &[(Uuid, Vec<u8>)]) -> Result<()> {
        let ids: Vec<Uuid> = sealed.iter().map(|s| s.0).collect();
        let bytes: Vec<&[u8]> = sealed.iter().map(|s| s.1.as_slice()).collect();
        run_tx!(self, "seal", |tx| {
            hold(tx, token, &ids).await?;
            tx.execute(
                "/* erasured:seal */ UPDATE erasured.ticket t SET sealed = n.sealed \
                   FROM unnest($1::uuid[], $2::bytea[]) AS n (id, sealed) WHERE t.id = n.id",
                &[&ids, &bytes],
            )
            .await?;
            Ok(())
        })
    }

    /// Steps of these tickets and generations on this system have committed: counts, and when by
    /// the target. What was prepared had written its row before, and is known to have ended later.
    pub async fn step_done(
        &self,
        token: Uuid,
        system: &str,
        done: &[(Uuid, i32, Value, DateTime<Utc>)],
    ) -> Result<()> {
        let generations: Vec<i32> = done.iter().map(|d| d.1).collect();
        let counts: Vec<&Value> = done.iter().map(|d| &d.2).collect();
        let at: Vec<DateTime<Utc>> = done.iter().map(|d| d.3).collect();
        let of: Vec<Uuid> = done.iter().map(|d| d.0).collect();
        let mut ids = of.clone();
        ids.sort_unstable();
        ids.dedup();
        run_tx!(self, "step_done", |tx| {
            hold(tx, token, &ids).await?;
            tx.execute(
                "/* erasured:step_done */ WITH finished AS ( \
                   UPDATE erasured.step s SET state = 'done', counts = n.counts, committed_at = greatest(n.at, ( \
                            SELECT (j.ended->>s.system)::timestamptz FROM erasured.joint j \
                             WHERE j.id = s.joint_id AND j.outcome = 'committed')) \
                     FROM unnest($1::uuid[], $2::jsonb[], $3::timestamptz[], $5::int4[]) AS n (id, counts, at, generation) \
                    WHERE s.ticket_id = n.id AND s.generation = n.generation AND s.system = $4 \
                      AND s.state = 'planned' RETURNING s.ticket_id, s.system, s.generation, s.counts) \
                 INSERT INTO erasured.event (kind, ticket_id, body) \
                 SELECT 'step_done', ticket_id, jsonb_build_object('system', system, 'generation', generation, 'counts', counts) \
                   FROM finished ORDER BY ticket_id",
                &[&of, &counts, &at, &system, &generations],
            )
            .await?;
            Ok(())
        })
    }

    /// What steps of whichever generation have found of these tickets on a system.
    pub async fn found(&self, tickets: &[Uuid], system: &str) -> Result<Vec<StoredFound>> {
        run_tx!(self, "found", |tx| {
            let rows = tx
                .query(
                    "/* erasured:found */ SELECT f.ticket_id, f.sealed, s.state = 'planned' AND NOT EXISTS ( \
                             SELECT FROM erasured.step d WHERE d.ticket_id = f.ticket_id AND d.system = f.system \
                                AND d.generation > f.generation AND d.state = 'done') AS open \
                       FROM erasured.found f JOIN erasured.step s USING (ticket_id, generation, system) \
                      WHERE f.ticket_id = ANY ($1) AND f.system = $2 ORDER BY f.generation",
                    &[&tickets, &system],
                )
                .await?;
            let rows = rows.iter().map(|r| StoredFound {
                ticket: r.get("ticket_id"),
                sealed: r.get("sealed"),
                open: r.get("open"),
            });
            Ok(rows.collect())
        })
    }

    /// A place that was done has more in it: its step is to be done once more.
    pub async fn look_again(&self, token: Uuid, system: &str, tickets: &[Uuid]) -> Result<()> {
        run_tx!(self, "look_again", |tx| {
            hold(tx, token, tickets).await?;
            tx.execute(
                "/* erasured:look_again */ WITH reopened AS ( \
                   UPDATE erasured.step s SET state = 'planned', counts = NULL, committed_at = NULL \
                     FROM erasured.ticket t WHERE t.id = ANY ($1) AND s.ticket_id = t.id AND s.generation = t.generation \
                      AND s.system = $2 AND s.state = 'done' RETURNING s.ticket_id, s.system, s.generation) \
                 INSERT INTO erasured.event (kind, ticket_id, body) \
                 SELECT 'step_reopened', ticket_id, jsonb_build_object('system', system, 'generation', generation) \
                   FROM reopened ORDER BY ticket_id",
                &[&tickets, &system],
            )
            .await?;
            Ok(())
        })
    }

    /// Those of these tickets for which something may have been taken away in a system that is no
    /// database, whether or not that is known. What is found alone is not among it.
    pub async fn have_taken(&self, tickets: &[Uuid]) -> Result<Vec<Uuid>> {
        run_tx!(self, "have_taken", |tx| {
            let sql = "/* erasured:taken */ SELECT DISTINCT ticket_id FROM erasured.found WHERE ticket_id = ANY ($1) AND taken";
            let rows = tx.query(sql, &[&tickets]).await?;
            Ok(rows.iter().map(|r| r.get(0)).collect())
        })
    }

    /// Behind the last question, just before what was found on a system is taken away: from now on it
    /// may be gone. Of each ticket something was found there, by this generation or one before.
    pub async fn will_take(&self, token: Uuid, system: &str, tickets: &[Uuid]) -> Result<()> {
        run_tx!(self, "will_take", |tx| {
            hold(tx, token, tickets).await?;
            let sql = "/* erasured:taken */ UPDATE erasured.found SET taken = true \
                        WHERE ticket_id = ANY ($1) AND system = $2 AND NOT taken";
            tx.execute(sql, &[&tickets, &system]).await?;
            Ok(())
        })
    }

    /// Before anything is taken away: what was found, for ticket and generation, in place of what was
    /// known before.
    pub async fn keep_found(
        &self,
        token: Uuid,
        system: &str,
        found: &[(Uuid, i32, Vec<u8>)],
    ) -> Result<()> {
        let ids: Vec<Uuid> = found.iter().map(|f| f.0).collect();
        let generations: Vec<i32> = found.iter().map(|f| f.1).collect();
        let sealed: Vec<&[u8]> = found.iter().map(|f| f.2.as_slice()).collect();
        run_tx!(self, "keep_found", |tx| {
            hold(tx, token, &ids).await?;
            tx.execute(
                "/* erasured:found */ INSERT INTO erasured.found (ticket_id, generation, system, sealed) \
                 SELECT n.id, n.generation, $2, n.sealed FROM unnest($1::uuid[], $3::int4[], $4::bytea[]) AS n (id, generation, sealed) \
                 ON CONFLICT (ticket_id, generation, system) DO UPDATE SET sealed = excluded.sealed",
                &[&ids, &system, &generations, &sealed],
            )
            .await?;
            Ok(())
        })
    }

    /// Steps of these tickets, all generations, in order.
    pub async fn steps(&self, tickets: &[Uuid]) -> Result<Vec<StepRow>> {
        run_tx!(self, "steps", |tx| steps_of(tx, tickets).await)
    }

    /// Before a step commits: the keys of what it keeps, sealed, so that no crash can lose them.
    /// They come into force only when the ticket is closed, and only if the step has committed;
    /// staging again replaces what the same generation staged for the same system.
    pub async fn stage_deferrals(
        &self,
        token: Uuid,
        system: &str,
        tickets: &[Uuid],
        deferrals: &[NewDeferral],
    ) -> Result<()> {
        let of: Vec<Uuid> = deferrals.iter().map(|d| d.ticket).collect();
        let schemas: Vec<&str> = deferrals.iter().map(|d| d.schema.as_str()).collect();
        let tables: Vec<&str> = deferrals.iter().map(|d| d.table.as_str()).collect();
        let due: Vec<DateTime<Utc>> = deferrals.iter().map(|d| d.due_at).collect();
        let bases: Vec<&str> = deferrals.iter().map(|d| d.basis.as_str()).collect();
        let rows: Vec<i64> = deferrals.iter().map(|d| d.rows).collect();
        let sealed: Vec<&[u8]> = deferrals.iter().map(|d| d.sealed.as_slice()).collect();
        run_tx!(self, "stage_deferrals", |tx| {
            hold(tx, token, tickets).await?;
            tx.execute(
                "/* erasured:stage_deferrals */ DELETE FROM erasured.deferral d USING erasured.ticket t \
                  WHERE d.ticket_id = ANY ($1) AND d.system = $2 AND d.state = 'waiting' \
                    AND t.id = d.ticket_id AND d.generation = t.generation",
                &[&tickets, &system],
            )
            .await?;
            tx.execute(
                "/* erasured:stage_deferrals */ INSERT INTO erasured.deferral \
                   (ticket_id, generation, system, schema_name, table_name, due_at, basis, rows, sealed) \
                 SELECT n.id, t.generation, $2, n.schema_name, n.table_name, n.due_at, n.basis, n.rows, n.sealed \
                   FROM unnest($1::uuid[], $3::text[], $4::text[], $5::timestamptz[], $6::text[], $7::int8[], $8::bytea[]) \
                     AS n (id, schema_name, table_name, due_at, basis, rows, sealed) \
                   JOIN erasured.ticket t ON t.id = n.id",
                &[&of, &system, &schemas, &tables, &due, &bases, &rows, &sealed],
            )
            .await?;
            Ok(())
        })
    }

    /// Keys that steps of the tickets' earlier generations have put off on a system, sealed: ticket,
    /// schema, table, bytes. Only of steps known to have committed.
    pub async fn put_off_before(
        &self,
        tickets: &[Uuid],
        system: &str,
    ) -> Result<Vec<(Uuid, String, String, Vec<u8>)>> {
        run_tx!(self, "put_off_before", |tx| {
            let rows = tx
                .query(
                    "/* erasured:put_off_before */ SELECT d.ticket_id, d.schema_name, d.table_name, d.sealed \
                       FROM erasured.deferral d JOIN erasured.ticket t ON t.id = d.ticket_id AND d.generation < t.generation \
                       JOIN erasured.step s ON s.ticket_id = d.ticket_id AND s.generation = d.generation AND s.system = d.system \
                      WHERE d.ticket_id = ANY ($1) AND d.system = $2 AND d.state = 'waiting' AND s.state = 'done'",
                    &[&tickets, &system],
                )
                .await?;
            Ok(rows
                .iter()
                .map(|r| (r.get(0), r.get(1), r.get(2), r.get(3)))
                .collect())
        })
    }

    /// All steps are done: the tickets wait for the sweep, and the lease on them ends. Refused
    /// while a planned step has no result. What a step staged that never committed is dropped.
    pub async fn to_verifying(&self, token: Uuid, tickets: &[Uuid]) -> Result<()> {
        run_tx!(self, "to_verifying", |tx| {
            hold(tx, token, tickets).await?;
            tx.execute(
                "/* erasured:to_verifying */ DELETE FROM erasured.deferral d \
                  WHERE d.ticket_id = ANY ($1) AND d.state = 'waiting' AND NOT EXISTS ( \
                        SELECT FROM erasured.step s WHERE s.ticket_id = d.ticket_id AND s.generation = d.generation \
                           AND s.system = d.system AND s.state = 'done')",
                &[&tickets],
            )
            .await?;
            lease::end(tx, tickets).await?;
            tx.execute(
                "/* erasured:to_verifying */ UPDATE erasured.ticket SET state = 'verifying', verifying_since = now(), \
                        attempt = 0 WHERE id = ANY ($1)",
                &[&tickets],
            )
            .await?;
            Ok(())
        })
    }

    /// Parks a ticket for a person to look at. `problem` must be free of personal data.
    pub async fn failed(&self, token: Uuid, ticket: Uuid, code: &str, problem: &str) -> Result<()> {
        run_tx!(self, "failed", |tx| {
            hold(tx, token, &[ticket]).await?;
            lease::end(tx, &[ticket]).await?;
            tx.execute(
                "/* erasured:failed */ UPDATE erasured.ticket SET state = 'failed', problem_code = $2, problem = $3 \
                  WHERE id = $1",
                &[&ticket, &code, &problem],
            )
            .await?;
            // It may be approved once more.
            forecast::awaits(tx, &[ticket]).await
        })
    }

    /// Puts tickets back for a later attempt under the same plan; steps that are done stay done.
    /// `most` bounds the count of attempts: what was no fault of a ticket must not use them up. How long
    /// is counted by the database's clock: ours may be what is wrong.
    pub async fn retry_later(
        &self,
        token: Uuid,
        tickets: &[Uuid],
        code: &str,
        cause: &str,
        after: Duration,
        most: i32,
    ) -> Result<()> {
        run_tx!(self, "retry_later", |tx| {
            hold(tx, token, tickets).await?;
            lease::end(tx, tickets).await?;
            tx.execute(
                "/* erasured:retry_later */ UPDATE erasured.ticket SET state = 'scheduled', attempt = greatest(attempt, least(attempt + 1, $5)), \
                        next_attempt_at = now() + make_interval(secs => $4), problem_code = $2, problem = $3 WHERE id = ANY ($1)",
                &[&tickets, &code, &cause, &seconds(after), &most],
            )
            .await?;
            Ok(())
        })
    }
}

async fn add_plan(tx: &Tx<'_>, plan: &StoredPlan) -> Result<()> {
    tx.execute(
        "/* erasured:begin */ INSERT INTO erasured.plan (id, policy_file, policy_sha256, subject, scope, body) \
         VALUES ($1, $2, $3, $4, $5, $6::text::json) ON CONFLICT (id) DO NOTHING",
        &[&plan.id, &plan.policy_file, &plan.policy_sha256, &plan.subject, &plan.scope, &plan.body],
    )
    .await?;
    Ok(())
}

/// The database's guard would refuse the whole batch for one of these. It is not asked about who was at work
/// already when a daemon died; signs that have come up since stop these too, if nothing has gone.
async fn unfit(tx: &Tx<'_>, tickets: &[Uuid]) -> Result<Vec<Unfit>> {
    let rows = tx
        .query(
            "/* erasured:begin */ SELECT u.id, u.code FROM erasured.unfit(ARRAY( \
               SELECT id FROM erasured.ticket WHERE id = ANY ($1) AND state IN ('scheduled', 'executing'))) u \
               JOIN erasured.ticket t USING (id) WHERE t.state = 'scheduled' OR u.code = 'ER019'",
            &[&tickets],
        )
        .await?;
    let unfit = rows.iter().map(|r| {
        let (code, problem) = match r.get(1) {
            "ER002" => ("E0513", "its cooling-off time has not passed"),
            "ER004" => ("E0409", "no policy in force offers its scope"),
            "ER015" => (HELD, "a legal hold keeps it"),
            "ER019" => (
                SIGNS_SINCE,
                "signs that somebody else may be asking were found after the approval",
            ),
            "ER008" => (
                "E0513",
                "the policy in force asks for four eyes, and nobody but who verified has approved",
            ),
            _ => (
                "E0513",
                "identity is no longer verified far enough for the policy in force",
            ),
        };
        Unfit {
            ticket: r.get(0),
            code,
            problem,
        }
    });
    Ok(unfit.collect())
}

pub(super) async fn steps_of(tx: &Tx<'_>, tickets: &[Uuid]) -> Result<Vec<StepRow>> {
    let rows = tx
        .query(
            "/* erasured:steps */ SELECT ticket_id, generation, system, ordinal, plan_id, state = 'done' AS done, counts, committed_at \
               FROM erasured.step WHERE ticket_id = ANY ($1) ORDER BY ticket_id, generation, ordinal",
            &[&tickets],
        )
        .await?;
    Ok(rows
        .iter()
        .map(|r| StepRow {
            ticket: r.get("ticket_id"),
            generation: r.get("generation"),
            system: r.get("system"),
            ordinal: r.get("ordinal"),
            plan_id: r.get("plan_id"),
            done: r.get("done"),
            counts: r.get("counts"),
            committed_at: r.get("committed_at"),
        })
        .collect())
}
