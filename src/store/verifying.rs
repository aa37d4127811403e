//! Tickets that wait for the sweep, the sweep's own progress, and the closing of tickets.
//!
//! A sweep belongs to one daemon at a time, by a lease of its own, and to a set of tickets fixed
//! when it opens, each in its generation of then: a table read before a ticket's last write proves
//! nothing about that ticket, and one that failed and was retried has written since.

use super::executing::StepRow;
use super::{Result, Store, StoreError, Tx, run_tx, seconds};
use crate::name::TableName;
use chrono::{DateTime, Utc};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio_postgres::Row;
use uuid::Uuid;

/// A ticket whose work is done and has still to be checked.
#[derive(Debug)]
pub struct WaitingTicket {
    /// The ticket.
    pub id: Uuid,
    /// The desk's reference.
    pub reference: String,
    /// Scope.
    pub scope: String,
    /// Legal ground.
    pub ground: String,
    /// What the daemon sealed.
    pub sealed: Vec<u8>,
    /// Keyed hash of the root key.
    pub subject_hash: String,
    /// The plan that ran last.
    pub plan_id: String,
    /// Which plan of the ticket's.
    pub generation: i32,
    /// Parts of the scope that were refused, each with the code of its ground.
    pub refused: BTreeMap<String, String>,
    /// When the person asked.
    pub requested_at: DateTime<Utc>,
    /// When it must be done; `None` where there is no last day.
    pub due_at: Option<DateTime<Utc>>,
    /// End of the cooling-off time.
    pub not_before: Option<DateTime<Utc>>,
    /// When its first work began.
    pub started_at: Option<DateTime<Utc>>,
    /// Since when it waits: what the sweep reads must be younger.
    pub verifying_since: DateTime<Utc>,
}

/// A sweep this daemon holds.
#[derive(Debug)]
pub struct OpenSweep {
    /// The sweep.
    pub id: Uuid,
    /// Names the hold on it in every later write.
    pub token: Uuid,
    /// When it was opened first.
    pub started_at: DateTime<Utc>,
    /// Its tickets that still wait.
    pub tickets: Vec<WaitingTicket>,
    /// What has been read to the end already, by this daemon or one before.
    pub swept: Vec<SweptTable>,
}

/// A table that a sweep has read to the end.
#[derive(Clone, Debug)]
pub struct SweptTable {
    /// The system.
    pub system: String,
    /// The table's schema.
    pub schema: String,
    /// The table.
    pub table: String,
    /// Which table bore that name.
    pub oid: u32,
    /// When its snapshot was taken.
    pub started_at: DateTime<Utc>,
    /// When it was read.
    pub finished_at: DateTime<Utc>,
    /// Rows read.
    pub rows: i64,
    /// Bytes read.
    pub bytes: i64,
}

impl SweptTable {
    /// The name, and which table bore it when it was read.
    pub fn identity(&self) -> (TableName, u32) {
        (
            TableName::new(self.schema.as_str(), self.table.as_str()),
            self.oid,
        )
    }
}

/// Something of the person that is left: where, and how much, never what.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The ticket.
    pub ticket: Uuid,
    /// The column.
    pub column: String,
    /// Name of the identifier that was found.
    pub identifier: String,
    /// Key of a row that holds it.
    pub row_key: Option<String>,
    /// How many rows do.
    pub rows: i64,
}

/// Something of the person that is left in a system that is no database: how much, never what.
#[derive(Clone, Debug)]
pub struct LeftThere {
    /// The ticket.
    pub ticket: Uuid,
    /// The system.
    pub system: String,
    /// The policy's name of the place.
    pub place: String,
    /// How many things.
    pub things: i64,
}

/// A signed certificate, and the ticket that closes by it.
#[derive(Clone, Debug)]
pub struct Closing {
    /// The ticket.
    pub ticket: Uuid,
    /// The certificate's id.
    pub certificate: Uuid,
    /// Key it is signed by.
    pub kid: String,
    /// The certificate.
    pub jws: String,
}

impl Store {
    /// Tickets of this subject kind that wait for the sweep, longest waiting first.
    pub async fn waiting(&self, subject: &str) -> Result<Vec<WaitingTicket>> {
        run_tx!(self, "waiting", |tx| {
            let rows = tx
                .query(
                    "/* erasured:waiting */ SELECT * FROM erasured.ticket t WHERE state = 'verifying' AND subject = $1 AND NOT EXISTS (SELECT FROM erasured.document h \
                       WHERE h.ticket_id = t.id AND h.copied AND h.destroyed_at IS NULL) \
                      ORDER BY verifying_since, id",
                    &[&subject],
                )
                .await?;
            Ok(rows.iter().map(waiting_ticket).collect())
        })
    }

    /// Subject kinds with tickets that wait for the sweep, and since when the longest of each.
    pub async fn oldest_waiting(&self) -> Result<Vec<(String, DateTime<Utc>)>> {
        run_tx!(self, "oldest_waiting", |tx| {
            let rows = tx
                .query(
                    // From kind to kind by the index: all that waits for a sweep at night is not read each time.
                    "/* erasured:oldest_waiting */ WITH RECURSIVE kinds AS ( \
                       SELECT (SELECT min(t.subject) FROM erasured.ticket t WHERE t.state = 'verifying') AS subject UNION ALL \
                       SELECT (SELECT min(t.subject) FROM erasured.ticket t WHERE t.state = 'verifying' AND t.subject > k.subject) \
                         FROM kinds k WHERE k.subject IS NOT NULL) \
                     SELECT k.subject, o.since FROM kinds k CROSS JOIN LATERAL ( \
                       SELECT t.verifying_since AS since FROM erasured.ticket t WHERE t.state = 'verifying' AND t.subject = k.subject \
                          AND NOT EXISTS (SELECT FROM erasured.document h WHERE h.ticket_id = t.id AND h.copied AND h.destroyed_at IS NULL) \
                        ORDER BY t.verifying_since LIMIT 1) o ORDER BY k.subject",
                    &[],
                )
                .await?;
            Ok(rows.iter().map(|r| (r.get(0), r.get(1))).collect())
        })
    }

    /// Opens a sweep for the tickets of the kind that have waited longest (at most ten thousand: they
    /// are held in memory, and as many cost little more than one), or takes over one whose holder is
    /// gone. `None` while another daemon is at it, or when nothing waits. One that was begun under
    /// another policy is given up: what it has read proves nothing about this one's columns. Who has begun to wait
    /// behind its opening is not its: what it has read was not read for them.
    pub async fn open_sweep(
        &self,
        subject: &str,
        policy_sha256: &str,
        holder: &str,
        for_: Duration,
    ) -> Result<Option<OpenSweep>> {
        run_tx!(self, "open_sweep", |tx| {
            tx.execute(
                "/* erasured:open_sweep */ WITH given_up AS ( \
                   UPDATE erasured.sweep SET finished_at = now() WHERE subject = $1 AND policy_sha256 <> $2 \
                      AND finished_at IS NULL AND lease_until < now() RETURNING id, subject) \
                 INSERT INTO erasured.event (kind, body) \
                 SELECT 'sweep_given_up', jsonb_build_object('sweep', id, 'subject', subject) FROM given_up",
                &[&subject, &policy_sha256],
            )
            .await?;
            let taken = tx
                .query_opt(
                    "/* erasured:open_sweep */ UPDATE erasured.sweep SET lease_token = gen_random_uuid(), holder = $2, \
                            lease_until = now() + make_interval(secs => $3) \
                      WHERE subject = $1 AND finished_at IS NULL AND lease_until < now() RETURNING id, lease_token, started_at",
                    &[&subject, &holder, &seconds(for_)],
                )
                .await?;
            let sweep = match taken {
                Some(row) => Some(row),
                None => {
                    // The unique index lets one daemon in; the others' insert does nothing.
                    tx.query_opt(
                        "/* erasured:open_sweep */ WITH opened AS ( \
                           INSERT INTO erasured.sweep (subject, holder, lease_token, lease_until, policy_sha256) \
                           SELECT $1, $2, gen_random_uuid(), now() + make_interval(secs => $3), $4 \
                            WHERE EXISTS (SELECT FROM erasured.ticket t WHERE t.state = 'verifying' AND t.subject = $1 \
                                  AND t.verifying_since <= now() AND NOT EXISTS ( \
                                  SELECT FROM erasured.document h WHERE h.ticket_id = t.id AND h.copied AND h.destroyed_at IS NULL)) \
                           ON CONFLICT (subject) WHERE finished_at IS NULL DO NOTHING RETURNING id, lease_token, started_at), \
                         chosen AS ( \
                           INSERT INTO erasured.sweep_ticket (sweep_id, ticket_id, generation) \
                           SELECT o.id, t.id, t.generation FROM opened o, (SELECT id, generation FROM erasured.ticket WHERE state = 'verifying' AND subject = $1 AND verifying_since <= now() \
                                                      ORDER BY verifying_since LIMIT 10000) t) \
                         SELECT id, lease_token, started_at FROM opened",
                        &[&subject, &holder, &seconds(for_), &policy_sha256],
                    )
                    .await?
                }
            };
            let Some(sweep) = sweep else { return Ok(None) };
            let id: Uuid = sweep.get(0);
            let tickets = tx
                .query(
                    "/* erasured:open_sweep */ SELECT t.* FROM erasured.sweep_ticket s JOIN erasured.ticket t ON t.id = s.ticket_id AND t.generation = s.generation \
                      WHERE s.sweep_id = $1 AND t.state = 'verifying' \
                        AND t.verifying_since <= (SELECT p.started_at FROM erasured.sweep p WHERE p.id = $1) ORDER BY t.verifying_since, t.id",
                    &[&id],
                )
                .await?;
            Ok(Some(OpenSweep {
                id,
                token: sweep.get(1),
                started_at: sweep.get(2),
                tickets: tickets.iter().map(waiting_ticket).collect(),
                swept: swept(tx, id).await?,
            }))
        })
    }

    /// Keeps the sweep this daemon's for this much longer from now.
    pub async fn renew_sweep(&self, token: Uuid, for_: Duration) -> Result<()> {
        run_tx!(self, "renew_sweep", |tx| {
            let held = tx
                .execute(
                    "/* erasured:renew_sweep */ UPDATE erasured.sweep SET lease_until = now() + make_interval(secs => $2) \
                      WHERE lease_token = $1 AND finished_at IS NULL",
                    &[&token, &seconds(for_)],
                )
                .await?;
            if held == 1 {
                Ok(())
            } else {
                Err(StoreError::LeaseLost { lost: 1 })
            }
        })
    }

    /// A table has been read to the end, with what was found in it: both or neither is recorded.
    pub async fn table_swept(
        &self,
        token: Uuid,
        table: &SweptTable,
        findings: &[Finding],
    ) -> Result<()> {
        run_tx!(self, "table_swept", |tx| {
            let sweep = hold_sweep(tx, token).await?;
            tx.execute(
                "/* erasured:table_swept */ INSERT INTO erasured.sweep_progress \
                   (sweep_id, system, schema_name, table_name, table_oid, started_at, finished_at, rows, bytes) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING",
                &[&sweep, &table.system, &table.schema, &table.table, &table.oid, &table.started_at, &table.finished_at, &table.rows, &table.bytes],
            )
            .await?;
            if findings.is_empty() {
                return Ok(());
            }
            let tickets: Vec<Uuid> = findings.iter().map(|f| f.ticket).collect();
            let columns: Vec<&str> = findings.iter().map(|f| f.column.as_str()).collect();
            let identifiers: Vec<&str> = findings.iter().map(|f| f.identifier.as_str()).collect();
            let keys: Vec<Option<&str>> = findings.iter().map(|f| f.row_key.as_deref()).collect();
            let rows: Vec<i64> = findings.iter().map(|f| f.rows).collect();
            tx.execute(
                "/* erasured:table_swept */ INSERT INTO erasured.finding \
                   (ticket_id, sweep_id, generation, system, schema_name, table_name, column_name, identifier, row_key, rows) \
                 SELECT t.id, $1, t.generation, $2, $3, $4, n.column_name, n.identifier, n.row_key, n.rows \
                   FROM unnest($5::uuid[], $6::text[], $7::text[], $8::text[], $9::int8[]) \
                        AS n (id, column_name, identifier, row_key, rows) \
                   JOIN erasured.sweep_ticket s ON s.ticket_id = n.id AND s.sweep_id = $1 \
                   JOIN erasured.ticket t ON t.id = n.id AND t.generation = s.generation AND t.state = 'verifying'",
                &[&sweep, &table.system, &table.schema, &table.table, &tickets, &columns, &identifiers, &keys, &rows],
            )
            .await?;
            Ok(())
        })
    }

    /// Writes down what is left in systems that are no databases; what this sweep has written down
    /// already is not repeated.
    pub async fn left_there(&self, token: Uuid, left: &[LeftThere]) -> Result<()> {
        if left.is_empty() {
            return Ok(());
        }
        let tickets: Vec<Uuid> = left.iter().map(|l| l.ticket).collect();
        let systems: Vec<&str> = left.iter().map(|l| l.system.as_str()).collect();
        let places: Vec<&str> = left.iter().map(|l| l.place.as_str()).collect();
        let things: Vec<i64> = left.iter().map(|l| l.things).collect();
        run_tx!(self, "left_there", |tx| {
            let sweep = hold_sweep(tx, token).await?;
            tx.execute(
                "/* erasured:left_there */ INSERT INTO erasured.finding \
                   (ticket_id, sweep_id, generation, system, schema_name, table_name, column_name, identifier, rows) \
                 SELECT t.id, $1, t.generation, n.system, '', n.place, '', '', n.things \
                   FROM unnest($2::uuid[], $3::text[], $4::text[], $5::int8[]) AS n (id, system, place, things) \
                   JOIN erasured.sweep_ticket s ON s.ticket_id = n.id AND s.sweep_id = $1 \
                   JOIN erasured.ticket t ON t.id = n.id AND t.generation = s.generation AND t.state = 'verifying' \
                  WHERE NOT EXISTS (SELECT FROM erasured.finding f WHERE f.ticket_id = t.id AND f.sweep_id = $1 \
                        AND f.system = n.system AND f.schema_name = '' AND f.table_name = n.place)",
                &[&sweep, &tickets, &systems, &places, &things],
            )
            .await?;
            Ok(())
        })
    }

    /// At the sweep's end: its tickets with open findings fail with this code and wait for a
    /// person. Returns them.
    pub async fn fail_found(&self, token: Uuid, code: &str, problem: &str) -> Result<Vec<Uuid>> {
        run_tx!(self, "fail_found", |tx| {
            let sweep = hold_sweep(tx, token).await?;
            let rows = tx
                .query(
                    "/* erasured:fail_found */ WITH bad AS MATERIALIZED ( \
                       SELECT t.id FROM erasured.ticket t JOIN erasured.sweep_ticket s \
                               ON s.ticket_id = t.id AND s.generation = t.generation AND s.sweep_id = $1 \
                        WHERE t.state = 'verifying' AND t.verifying_since <= (SELECT p.started_at FROM erasured.sweep p WHERE p.id = $1) \
                          AND EXISTS (SELECT FROM erasured.finding f \
                              WHERE f.ticket_id = t.id AND f.resolved_at IS NULL) ORDER BY t.id FOR UPDATE OF t) \
                     UPDATE erasured.ticket t SET state = 'failed', problem_code = $2, problem = $3 \
                       FROM bad WHERE t.id = bad.id RETURNING t.id",
                    &[&sweep, &code, &problem],
                )
                .await?;
            Ok(rows.iter().map(|r| r.get(0)).collect())
        })
    }

    /// Steps of tickets of the sweep that were done and are gone: they are planned again, as is what the
    /// ticket has to do on that system now, and the tickets go back to be run. What was found of anybody
    /// meanwhile is no finding, and the sweep is over. Returns those that go back.
    pub async fn undone(
        &self,
        token: Uuid,
        steps: &[StepRow],
        code: &str,
        problem: &str,
    ) -> Result<Vec<Uuid>> {
        run_tx!(self, "undone", |tx| {
            let sweep = hold_sweep(tx, token).await?;
            let again = planned_again(tx, sweep, steps, code, problem).await?;
            tx.execute(
                "/* erasured:undone */ UPDATE erasured.finding SET resolved_at = now() WHERE sweep_id = $1 AND resolved_at IS NULL",
                &[&sweep],
            )
            .await?;
            tx.execute(
                "/* erasured:undone */ UPDATE erasured.sweep SET finished_at = now() WHERE id = $1",
                &[&sweep],
            )
            .await?;
            Ok(again)
        })
    }

    /// Steps of tickets of the sweep in which more is to be done, in systems that are no databases: they are planned
    /// again, and the tickets go back to be run. The sweep goes on without them: one that waits again before its end
    /// waits for the next, as what was read meanwhile was not read for it. Returns them.
    pub async fn redo(
        &self,
        token: Uuid,
        steps: &[StepRow],
        code: &str,
        problem: &str,
    ) -> Result<Vec<Uuid>> {
        run_tx!(self, "redo", |tx| {
            let sweep = hold_sweep(tx, token).await?;
            let again = planned_again(tx, sweep, steps, code, problem).await?;
            let (tickets, generations, systems) = columns(steps);
            tx.execute(
                "/* erasured:redo */ INSERT INTO erasured.event (kind, ticket_id, body) \
                 SELECT 'step_reopened', n.id, jsonb_build_object('system', n.system, 'generation', n.generation) \
                   FROM unnest($1::uuid[], $2::int4[], $3::text[]) AS n (id, generation, system) WHERE n.id = ANY ($4) ORDER BY n.id",
                &[&tickets, &generations, &systems, &again],
            )
            .await?;
            Ok(again)
        })
    }

    /// Tickets of the sweep that cannot be checked at all fail, and wait for a person.
    pub async fn fail_waiting(
        &self,
        token: Uuid,
        tickets: &[Uuid],
        code: &str,
        problem: &str,
    ) -> Result<()> {
        run_tx!(self, "fail_waiting", |tx| {
            let sweep = hold_sweep(tx, token).await?;
            tx.execute(
                "/* erasured:fail_waiting */ WITH bad AS MATERIALIZED ( \
                   SELECT t.id FROM erasured.ticket t JOIN erasured.sweep_ticket s \
                          ON s.ticket_id = t.id AND s.generation = t.generation AND s.sweep_id = $4 \
                    WHERE t.id = ANY ($1) AND t.state = 'verifying' ORDER BY t.id FOR UPDATE OF t) \
                 UPDATE erasured.ticket t SET state = 'failed', problem_code = $2, problem = $3 FROM bad WHERE t.id = bad.id",
                &[&tickets, &code, &problem, &sweep],
            )
            .await?;
            Ok(())
        })
    }

    /// Lets go of a sweep that broke off, so that the next to come goes on with it at once.
    pub async fn leave_sweep(&self, token: Uuid) -> Result<()> {
        run_tx!(self, "leave_sweep", |tx| {
            tx.execute(
                "/* erasured:leave_sweep */ UPDATE erasured.sweep SET lease_until = now() - interval '1 second' \
                  WHERE lease_token = $1 AND finished_at IS NULL",
                &[&token],
            )
            .await?;
            Ok(())
        })
    }

    /// Closes tickets by their certificates, all or none: certificate in, identifiers out, sealed
    /// bytes out. Tickets that are no longer `verifying`, or that this sweep is not for in their
    /// generation of now, are passed over; returns those closed with the state each ended in. A
    /// ticket with deferrals that wait ends `deferred`.
    pub async fn close(&self, token: Uuid, closings: &[Closing]) -> Result<Vec<(Uuid, String)>> {
        let tickets: Vec<Uuid> = closings.iter().map(|c| c.ticket).collect();
        let ids: Vec<Uuid> = closings.iter().map(|c| c.certificate).collect();
        let kids: Vec<&str> = closings.iter().map(|c| c.kid.as_str()).collect();
        let texts: Vec<&str> = closings.iter().map(|c| c.jws.as_str()).collect();
        run_tx!(self, "close", |tx| {
            let sweep = hold_sweep(tx, token).await?;
            let open: Vec<Uuid> = tx
                .query(
                    "/* erasured:close */ SELECT t.id FROM erasured.ticket t JOIN erasured.sweep_ticket s \
                            ON s.ticket_id = t.id AND s.generation = t.generation AND s.sweep_id = $2 \
                      WHERE t.id = ANY ($1) AND t.state = 'verifying' \
                        AND t.verifying_since <= (SELECT p.started_at FROM erasured.sweep p WHERE p.id = $2) \
                        AND NOT EXISTS (SELECT FROM erasured.document h \
                            WHERE h.ticket_id = t.id AND h.copied AND h.destroyed_at IS NULL) ORDER BY t.id FOR UPDATE OF t",
                    &[&tickets, &sweep],
                )
                .await?
                .iter()
                .map(|r| r.get(0))
                .collect();
            tx.execute(
                "/* erasured:close */ WITH issued AS ( \
                   INSERT INTO erasured.certificate (id, ticket_id, kid, subject_hash, jws) \
                   SELECT n.id, t.id, n.kid, t.subject_hash, n.jws \
                     FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[]) AS n (id, ticket_id, kid, jws) \
                     JOIN erasured.ticket t ON t.id = n.ticket_id WHERE t.id = ANY ($5) RETURNING id, ticket_id, kid, jws) \
                 INSERT INTO erasured.event (kind, ticket_id, body) \
                 SELECT 'certificate', ticket_id, jsonb_build_object('certificate', id, 'kid', kid, \
                        'sha256', encode(sha256(convert_to(jws, 'UTF8')), 'hex')) FROM issued ORDER BY ticket_id",
                &[&ids, &tickets, &kids, &texts, &open],
            )
            .await?;
            tx.execute(
                "/* erasured:close */ UPDATE erasured.ticket_identifier SET value = NULL \
                  WHERE ticket_id = ANY ($1) AND value IS NOT NULL",
                &[&open],
            )
            .await?;
            tx.execute(
                "/* erasured:close */ UPDATE erasured.finding SET row_key = NULL WHERE ticket_id = ANY ($1) AND row_key IS NOT NULL",
                &[&open],
            )
            .await?;
            tx.execute(
                "/* erasured:close */ DELETE FROM erasured.found WHERE ticket_id = ANY ($1)",
                &[&open],
            )
            .await?;
            let closed = tx
                .query(
                    "/* erasured:close */ UPDATE erasured.ticket t SET sealed = NULL, finished_at = now(), sla_met = CASE WHEN clock <> 'none' THEN now() <= due_at END, \
                            next_attempt_at = NULL, problem_code = NULL, problem = NULL, \
                            state = CASE WHEN EXISTS (SELECT FROM erasured.deferral d WHERE d.ticket_id = t.id AND d.state = 'waiting') \
                                         THEN 'deferred' ELSE 'completed' END \
                      WHERE id = ANY ($1) RETURNING id, state",
                    &[&open],
                )
                .await?;
            Ok(closed.iter().map(|r| (r.get(0), r.get(1))).collect())
        })
    }

    /// The sweep is over, whatever became of its tickets.
    pub async fn finish_sweep(&self, token: Uuid) -> Result<()> {
        run_tx!(self, "finish_sweep", |tx| {
            let sweep = hold_sweep(tx, token).await?;
            tx.execute(
                "/* erasured:finish_sweep */ WITH ended AS ( \
                   UPDATE erasured.sweep SET finished_at = now() WHERE id = $1 RETURNING id, subject) \
                 INSERT INTO erasured.event (kind, body) \
                 SELECT 'sweep', jsonb_build_object('sweep', e.id, 'subject', e.subject, 'tables', count(p.*), \
                        'rows', coalesce(sum(p.rows), 0), 'bytes', coalesce(sum(p.bytes), 0)) \
                   FROM ended e LEFT JOIN erasured.sweep_progress p ON p.sweep_id = e.id GROUP BY e.id, e.subject",
                &[&sweep],
            )
            .await?;
            Ok(())
        })
    }
}

async fn hold_sweep(tx: &Tx<'_>, token: Uuid) -> Result<Uuid> {
    tx.query_opt(
        "/* erasured:hold_sweep */ SELECT id FROM erasured.sweep WHERE lease_token = $1 AND finished_at IS NULL FOR UPDATE",
        &[&token],
    )
    .await?
    .map(|r| r.get(0))
    .ok_or(StoreError::LeaseLost { lost: 1 })
}

/// Tickets, generations and systems, as statements take them.
fn columns(steps: &[StepRow]) -> (Vec<Uuid>, Vec<i32>, Vec<&str>) {
    let tickets = steps.iter().map(|s| s.ticket).collect();
    let generations = steps.iter().map(|s| s.generation).collect();
    let systems = steps.iter().map(|s| s.system.as_str()).collect();
    (tickets, generations, systems)
}

/// Plans steps of tickets of a sweep once more, and puts these tickets back to be run. Returns them.
async fn planned_again(
    tx: &Tx<'_>,
    sweep: Uuid,
    steps: &[StepRow],
    code: &str,
    problem: &str,
) -> Result<Vec<Uuid>> {
    let (tickets, generations, systems) = columns(steps);
    let again: Vec<Uuid> = tx
        .query(
            "/* erasured:undone */ SELECT t.id FROM erasured.ticket t JOIN erasured.sweep_ticket s \
                    ON s.ticket_id = t.id AND s.generation = t.generation AND s.sweep_id = $2 \
              WHERE t.id = ANY ($1) AND t.state = 'verifying' ORDER BY t.id FOR UPDATE OF t",
            &[&tickets, &sweep],
        )
        .await?
        .iter()
        .map(|r| r.get(0))
        .collect();
    tx.execute(
        "/* erasured:undone */ UPDATE erasured.step s SET state = 'planned', counts = NULL, committed_at = NULL \
           FROM unnest($1::uuid[], $2::int4[], $3::text[]) AS n (id, generation, system) JOIN erasured.ticket t USING (id) \
          WHERE s.ticket_id = n.id AND s.system = n.system AND n.id = ANY ($4) AND s.generation IN (n.generation, t.generation)",
        &[&tickets, &generations, &systems, &again],
    )
    .await?;
    tx.execute(
        "/* erasured:undone */ UPDATE erasured.finding SET resolved_at = now() WHERE ticket_id = ANY ($1) AND resolved_at IS NULL",
        &[&again],
    )
    .await?;
    tx.execute(
        "/* erasured:undone */ UPDATE erasured.ticket SET state = 'scheduled', problem_code = $2, problem = $3 WHERE id = ANY ($1)",
        &[&again, &code, &problem],
    )
    .await?;
    Ok(again)
}

async fn swept(tx: &Tx<'_>, sweep: Uuid) -> Result<Vec<SweptTable>> {
    let rows = tx
        .query("/* erasured:swept */ SELECT * FROM erasured.sweep_progress WHERE sweep_id = $1 ORDER BY finished_at", &[&sweep])
        .await?;
    Ok(rows
        .iter()
        .map(|r| SweptTable {
            system: r.get("system"),
            schema: r.get("schema_name"),
            table: r.get("table_name"),
            oid: r.get("table_oid"),
            started_at: r.get("started_at"),
            finished_at: r.get("finished_at"),
            rows: r.get("rows"),
            bytes: r.get("bytes"),
        })
        .collect())
}

fn waiting_ticket(r: &Row) -> WaitingTicket {
    WaitingTicket {
        id: r.get("id"),
        reference: r.get("reference"),
        scope: r.get("scope"),
        ground: r.get("ground"),
        sealed: r.get("sealed"),
        subject_hash: r.get("subject_hash"),
        plan_id: r.get("plan_id"),
        generation: r.get("generation"),
        refused: super::tickets::refused(r),
        requested_at: r.get("requested_at"),
        due_at: (r.get::<_, &str>("clock") != "none").then(|| r.get("due_at")),
        not_before: r.get("not_before"),
        started_at: r.get("started_at"),
        verifying_since: r.get("verifying_since"),
    }
}
