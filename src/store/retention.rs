//! Runs of retention rules.

use super::holds::Permit;
use super::intake::Resolved;
use super::{Result, Store, StoreError, run_tx, seconds};
use chrono::{DateTime, NaiveDate, Utc};
use serde::Serialize;
use std::collections::HashSet;
use std::time::Duration;
use uuid::Uuid;

/// A run as anybody may see it.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)] // As in erasured.retention_run.
pub struct RunView {
    pub id: Uuid,
    pub subject: String,
    pub rule: String,
    pub table: String,
    pub cutoff: NaiveDate,
    pub state: String,
    pub waits: Option<String>,
    pub started_at: DateTime<Utc>,
    pub started_by: String,
    pub ended_at: Option<DateTime<Utc>>,
    pub batches: i64,
    pub rows: i64,
    pub held: i64,
    pub survivors: i64,
    pub set_aside: i64,
    pub problem_code: Option<String>,
    pub problem: Option<String>,
}

/// What a run is of.
pub struct NewRun<'a> {
    /// The policy's subject kind.
    pub subject: &'a str,
    /// The rule.
    pub rule: &'a str,
    /// Its table, with the system.
    pub table: &'a str,
    /// Why its rows go.
    pub basis: &'a str,
    /// The policy's content.
    pub policy_sha256: &'a str,
    /// The latest day that is due.
    pub cutoff: NaiveDate,
    /// The zone in which it is one.
    pub timezone: &'a str,
    /// The time of the schedule that it is for.
    pub slot: Option<DateTime<Utc>>,
}

/// A run that is this daemon's.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// Its id, which the rows in the target carry.
    pub id: Uuid,
    /// The right to go on with it.
    pub token: Uuid,
}

/// What came of beginning a run.
#[derive(Clone, Copy, Debug)]
pub enum Begun {
    /// A new one.
    New(Run),
    /// One that another had begun for the same rule and day.
    Resumed(Run),
    /// One that another had begun for another policy or day: it can only be ended.
    Left(Run),
    /// Nothing: it runs elsewhere, or has run for this time of its schedule.
    Running,
}

/// Of a run `r`: its time of the schedule needs no other. What failed is tried again after a while, but for
/// what a person must look at; what was left is gone on with.
const SPENT: &str = "(r.state = 'done' OR r.state = 'running' AND r.lease_until >= now() \
     OR r.problem_code IN ('E0526', 'E0527', 'E0530') OR r.ended_at > now() - interval '10 minutes')";

/// How a run ended.
#[derive(Clone, Debug)]
pub struct RunEnd {
    /// `done`, `stopped`, `failed`.
    pub state: &'static str,
    /// By table and kind of change, as JSON.
    pub counts: serde_json::Value,
    /// Of them by the partition with which they went, as JSON.
    pub partitions: serde_json::Value,
    /// What was archived, as JSON.
    pub archive: serde_json::Value,
    /// Rows that holds cover.
    pub held: i64,
    /// Rows on which something hangs that is kept.
    pub survivors: i64,
    /// Rows that could not go.
    pub set_aside: i64,
    /// Why, for the latter two states.
    pub problem: Option<(&'static str, String)>,
}

/// Whom holds on people cover.
#[derive(Clone, Debug, Default)]
pub struct HeldPeople {
    /// The holds.
    pub holds: Vec<Uuid>,
    /// Keyed hashes of the people's root keys.
    pub hashes: HashSet<String>,
}

/// What came of filing a ticket for a person who is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filed {
    /// It is filed and approved.
    Filed,
    /// A legal hold covers the person.
    Held,
    /// Another ticket for them is open.
    Covered,
}

/// What stands against a COMMIT of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Barred {
    /// Nothing.
    Free,
    /// Somebody else has taken the run over, or ended it.
    Lost,
    /// A hold waits to be read.
    Unread,
    /// A hold on a person is in force of whom the rows were not cleared.
    Held,
}

const VIEW: &str = "r.id, r.subject, r.rule, r.\"table\", r.cutoff, r.state, r.waits, r.started_at, r.started_by, r.ended_at, \
     r.batches, r.rows, r.held, r.survivors, r.set_aside, r.problem_code, r.problem";

impl Store {
    /// Begins a run, or takes up the one of the same policy and cutoff that nobody is at.
    pub async fn begin_run(&self, new: &NewRun<'_>, holder: &str, for_: Duration) -> Result<Begun> {
        run_tx!(self, "begin_run", |tx| {
            // Whoever commits for the run that is taken up here has been answered, see `permit_run`.
            tx.execute(
                "/* erasured:begin_run */ SELECT pg_advisory_xact_lock(hashtextextended('erasured.retention.' || $1 || '.' || $2, 0))",
                &[&new.subject, &new.rule],
            )
            .await?;
            let taken = tx
                .query_opt(
                    "/* erasured:begin_run */ UPDATE erasured.retention_run SET waits = NULL, holder = $5, lease_token = gen_random_uuid(), \
                            lease_until = now() + make_interval(secs => $6) \
                      WHERE subject = $1 AND rule = $2 AND state = 'running' AND lease_until < now() \
                      RETURNING id, lease_token, policy_sha256 = $3 AND cutoff = $4",
                    &[&new.subject, &new.rule, &new.policy_sha256, &new.cutoff, &holder, &seconds(for_)],
                )
                .await?;
            if let Some(row) = taken {
                let run = Run {
                    id: row.get(0),
                    token: row.get(1),
                };
                return Ok(if row.get(2) {
                    Begun::Resumed(run)
                } else {
                    Begun::Left(run)
                });
            }
            let begun = tx
                .query_opt(
                    &format!(
                        "/* erasured:begin_run */ INSERT INTO erasured.retention_run AS r \
                                (subject, rule, \"table\", basis, policy_sha256, cutoff, timezone, slot, holder, lease_token, lease_until) \
                         SELECT $1, $2, $3, $4, $5, $6, $10, $7::timestamptz, $8, gen_random_uuid(), now() + make_interval(secs => $9) \
                          WHERE $7::timestamptz IS NULL OR NOT EXISTS (SELECT FROM erasured.retention_run r \
                                WHERE r.subject = $1 AND r.rule = $2 AND r.slot >= $7::timestamptz AND {SPENT}) \
                         ON CONFLICT (subject, rule) WHERE state = 'running' DO NOTHING RETURNING id, lease_token"
                    ),
                    &[&new.subject, &new.rule, &new.table, &new.basis, &new.policy_sha256, &new.cutoff, &new.slot, &holder, &seconds(for_), &new.timezone],
                )
                .await?;
            Ok(begun.map_or(Begun::Running, |row| {
                Begun::New(Run {
                    id: row.get(0),
                    token: row.get(1),
                })
            }))
        })
    }

    /// From when on times of a rule's schedule count: behind the last one that it ran for, or since the
    /// schedule is known. `None` as long as a person must look: the latest run found too much under this
    /// same policy, or waits to be approved.
    pub async fn scheduled_since(
        &self,
        subject: &str,
        rule: &str,
        policy_sha256: &str,
    ) -> Result<Option<DateTime<Utc>>> {
        run_tx!(self, "scheduled_since", |tx| {
            tx.execute(
                "/* erasured:scheduled_since */ INSERT INTO erasured.retention_schedule (subject, rule) VALUES ($1, $2) ON CONFLICT DO NOTHING",
                &[&subject, &rule],
            )
            .await?;
            let sql = format!(
                "/* erasured:scheduled_since */ SELECT greatest(s.known_since, (SELECT max(r.slot) FROM erasured.retention_run r \
                        WHERE r.subject = s.subject AND r.rule = s.rule AND {SPENT})) \
                   FROM erasured.retention_schedule s WHERE s.subject = $1 AND s.rule = $2 \
                    AND NOT coalesce((SELECT r.policy_sha256 = $3 AND (r.problem_code = 'E0530' OR r.problem_code IN ('E0526', 'E0527') \
                           AND NOT EXISTS (SELECT FROM erasured.retention_approval a WHERE a.subject = $1 AND a.rule = $2 AND a.at > r.started_at)) FROM erasured.retention_run r \
                         WHERE r.subject = $1 AND r.rule = $2 ORDER BY r.started_at DESC, r.id LIMIT 1), false)"
            );
            let row = tx
                .query_opt(&sql, &[&subject, &rule, &policy_sha256])
                .await?;
            Ok(row.map(|row| row.get(0)))
        })
    }

    /// Since when daemons know a rule's schedule; `None` if none has seen it.
    pub async fn known_since(&self, subject: &str, rule: &str) -> Result<Option<DateTime<Utc>>> {
        run_tx!(self, "known_since", |tx| {
            let sql = "/* erasured:known_since */ SELECT known_since FROM erasured.retention_schedule WHERE subject = $1 AND rule = $2";
            let row = tx.query_opt(sql, &[&subject, &rule]).await?;
            Ok(row.map(|row| row.get(0)))
        })
    }

    /// Lets a run go without ending it: whoever comes next goes on.
    pub async fn leave_run(&self, run: Run) -> Result<()> {
        run_tx!(self, "leave_run", |tx| {
            let sql = "/* erasured:leave_run */ UPDATE erasured.retention_run SET waits = NULL, lease_until = now() - interval '1 second' \
                        WHERE id = $1 AND lease_token = $2 AND state = 'running'";
            tx.execute(sql, &[&run.id, &run.token]).await?;
            Ok(())
        })
    }

    /// Says how far a run is, and keeps it this daemon's.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`].
    pub async fn run_goes_on(
        &self,
        run: Run,
        batches: i64,
        rows: i64,
        for_: Duration,
    ) -> Result<()> {
        run_tx!(self, "run_goes_on", |tx| {
            let kept = tx
                .execute(
                    "/* erasured:run_goes_on */ UPDATE erasured.retention_run SET batches = greatest(batches, $3), rows = greatest(rows, $4), \
                            lease_until = now() + make_interval(secs => $5) \
                      WHERE id = $1 AND lease_token = $2 AND state = 'running'",
                    &[&run.id, &run.token, &batches, &rows, &seconds(for_)],
                )
                .await?;
            if kept == 1 {
                Ok(())
            } else {
                Err(StoreError::LeaseLost { lost: 1 })
            }
        })
    }

    /// Ends a run; it goes to the ledger.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`].
    pub async fn end_run(&self, run: Run, batches: i64, rows: i64, end: &RunEnd) -> Result<()> {
        let (code, words) = end
            .problem
            .as_ref()
            .map(|(code, words)| (*code, &**words))
            .unzip();
        run_tx!(self, "end_run", |tx| {
            let ended = tx
                .execute(
                    "/* erasured:end_run */ UPDATE erasured.retention_run SET state = $3, ended_at = now(), batches = greatest(batches, $4), \
                            rows = greatest(rows, $5), counts = $6, held = $7, set_aside = $8, problem_code = $9, problem = $10, survivors = $11, partitions = $12, archive = $13, \
                            holder = NULL, lease_token = NULL, lease_until = NULL, waits = NULL \
                      WHERE id = $1 AND lease_token = $2 AND state = 'running'",
                    &[&run.id, &run.token, &end.state, &batches, &rows, &end.counts, &end.held, &end.set_aside, &code, &words, &end.survivors, &end.partitions, &end.archive],
                )
                .await?;
            if ended == 1 {
                Ok(())
            } else {
                Err(StoreError::LeaseLost { lost: 1 })
            }
        })
    }

    /// Whether a run may commit, and the right to do so: while it is kept no hold can be placed and
    /// nobody takes the run over. Asked when the rows are locked, kept until after COMMIT. `rows` are the
    /// holds on rows with which they were compared; `kinds` those of subject whose the rows may be, `people`
    /// the holds on such whose rows were left out.
    #[allow(clippy::too_many_arguments)] // one sentence's parts
    pub async fn permit_run(
        &self,
        run: Run,
        of: &NewRun<'_>,
        system: &str,
        rows: &[Uuid],
        kinds: &[String],
        people: &[Uuid],
        time: Duration,
    ) -> Result<(Permit, Barred)> {
        let permit = Permit::begin(&self.pool, time).await?;
        let session = permit.session();
        let lock = session
            .prepare_cached(
                "/* erasured:permit_run */ SELECT pg_advisory_xact_lock_shared(hashtextextended('erasured.retention.' || $1 || '.' || $2, 0))",
            )
            .await?;
        session.query_one(&lock, &[&of.subject, &of.rule]).await?;
        let ask = session
            .prepare_cached(
                "/* erasured:permit_run */ SELECT erasured.retention_barred($1, $2, $3, $4, $5, $6)",
            )
            .await?;
        let row = session
            .query_one(
                &ask,
                &[&run.id, &run.token, &kinds, &system, &rows, &people],
            )
            .await?;
        let barred = match row.get::<_, Option<&str>>(0) {
            None => Barred::Free,
            Some("held") => Barred::Held,
            Some("unread") => Barred::Unread,
            Some(_) => Barred::Lost,
        };
        Ok((permit, barred))
    }

    /// Whom holds in force on a kind of subject cover.
    pub async fn held_people(&self, subject: &str) -> Result<HeldPeople> {
        run_tx!(self, "held_people", |tx| {
            let sql = "/* erasured:held_people */ SELECT hold, subject_hash FROM erasured.held_people($1)";
            let mut people = HeldPeople::default();
            for row in tx.query(sql, &[&subject]).await? {
                people.holds.push(row.get(0));
                people.hashes.extend(row.get::<_, Option<String>>(1));
            }
            Ok(people)
        })
    }

    /// How quick a rule's last five runs were that have ended and took something: rows, and the milliseconds that
    /// these took. `None` if there was none.
    pub async fn pace(&self, subject: &str, rule: &str) -> Result<Option<(i64, i64)>> {
        run_tx!(self, "pace", |tx| {
            let sql = "/* erasured:pace */ SELECT sum(l.rows)::int8, \
                    (1000 * sum(extract(epoch FROM l.ended_at - l.started_at)))::int8 \
                  FROM (SELECT r.rows, r.started_at, r.ended_at FROM erasured.retention_run r \
                         WHERE r.subject = $1 AND r.rule = $2 AND r.ended_at IS NOT NULL AND r.rows > 0 \
                         ORDER BY r.started_at DESC LIMIT 5) l";
            let row = tx.query_one(sql, &[&subject, &rule]).await?;
            Ok(row.get::<_, Option<i64>>(0).zip(row.get(1)))
        })
    }

    /// Those of these people, by the keyed hash of their key, for whom a ticket is open.
    pub async fn with_open_ticket(
        &self,
        subject: &str,
        hashes: &[String],
    ) -> Result<HashSet<String>> {
        run_tx!(self, "with_open_ticket", |tx| {
            let sql = "/* erasured:with_open_ticket */ SELECT DISTINCT t.subject_hash FROM erasured.ticket t \
                  WHERE t.subject = $1 AND t.subject_hash = ANY ($2) AND t.state NOT IN ('completed', 'rejected')";
            let rows = tx.query(sql, &[&subject, &hashes]).await?;
            Ok(rows.iter().map(|row| row.get(0)).collect())
        })
    }

    /// Tickets that a run has filed.
    pub async fn filed(&self, run: Uuid) -> Result<u64> {
        run_tx!(self, "filed", |tx| {
            let sql = "/* erasured:filed */ SELECT count(*) FROM erasured.ticket WHERE retention_run = $1";
            let count: i64 = tx.query_one(sql, &[&run]).await?.get(0);
            Ok(count.unsigned_abs())
        })
    }

    /// Files the ticket of a person who is due.
    pub async fn file_due(&self, run: Run, scope: &str, person: &Resolved) -> Result<Filed> {
        let (names, hashes): (Vec<&str>, Vec<&str>) = person
            .identifier_hashes
            .iter()
            .map(|(name, hash)| (name.as_str(), hash.as_str()))
            .unzip();
        run_tx!(self, "file_due", |tx| {
            let sql = "/* erasured:file_due */ SELECT erasured.file_due($1, $2, $3, $4, $5, $6, $7, $8, $9)";
            let row = tx
                .query_one(
                    sql,
                    &[
                        &run.id,
                        &run.token,
                        &person.id,
                        &scope,
                        &person.subject_hash,
                        &person.sealed,
                        &person.due_at,
                        &names,
                        &hashes,
                    ],
                )
                .await?;
            match row.get(0) {
                "filed" => Ok(Filed::Filed),
                "held" => Ok(Filed::Held),
                "covered" => Ok(Filed::Covered),
                _ => Err(StoreError::LeaseLost { lost: 1 }),
            }
        })
    }

    /// Ends a ticket whose person is not due any more; `false` if something has been carried out.
    pub async fn end_not_due(&self, token: Uuid, ticket: Uuid) -> Result<bool> {
        run_tx!(self, "end_not_due", |tx| {
            let sql = "/* erasured:end_not_due */ SELECT erasured.end_not_due($1, $2)";
            Ok(tx.query_one(sql, &[&ticket, &token]).await?.get(0))
        })
    }

    /// The latest runs, of one rule or of all, newest first.
    pub async fn runs(&self, rule: Option<&str>, limit: u32) -> Result<Vec<RunView>> {
        run_tx!(self, "runs", |tx| {
            let sql = format!(
                "/* erasured:runs */ SELECT {VIEW} FROM erasured.retention_run r WHERE $1::text IS NULL OR r.rule = $1 \
                  ORDER BY r.started_at DESC, r.id LIMIT $2"
            );
            let rows = tx.query(&sql, &[&rule, &i64::from(limit)]).await?;
            Ok(rows.iter().map(view).collect())
        })
    }
}

fn view(r: &tokio_postgres::Row) -> RunView {
    RunView {
        id: r.get("id"),
        subject: r.get("subject"),
        rule: r.get("rule"),
        table: r.get("table"),
        cutoff: r.get("cutoff"),
        state: r.get("state"),
        waits: r.get("waits"),
        started_at: r.get("started_at"),
        started_by: r.get("started_by"),
        ended_at: r.get("ended_at"),
        batches: r.get("batches"),
        rows: r.get("rows"),
        held: r.get("held"),
        survivors: r.get("survivors"),
        set_aside: r.get("set_aside"),
        problem_code: r.get("problem_code"),
        problem: r.get("problem"),
    }
}
