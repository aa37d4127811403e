//! Who is asking: what the loaded files say about proof, told to the control schema.

use super::{Result, Store, Tx, run_tx};
use crate::policy::proof::{Limits, Proofs, Signs};
use chrono::{DateTime, Utc};
use uuid::Uuid;

/// Who has answers compared: a person of the desk, and the door they came through.
#[derive(Clone, Debug)]
pub struct Agent {
    /// The login, or whom a trusted application names; the same that verifies afterwards.
    pub name: String,
    /// The application's token or login, or `console`.
    pub desk: String,
}

/// An attempt that has been counted and must be ended.
#[derive(Debug)]
pub struct Attempt(i64);

/// Whether answers may be compared now.
#[derive(Debug)]
pub enum Turn {
    /// They may.
    Begun(Attempt),
    /// The subject, the agent or the desk is locked out until then.
    Locked(DateTime<Utc>),
}

/// How an attempt ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All answers agree.
    Match,
    /// They do not.
    NoMatch,
    /// The system did not answer; it does not count.
    Undone,
}

impl Store {
    /// Tells the control schema by which methods people may be verified, and how far each reaches;
    /// what is not among them is known no more.
    ///
    /// # Errors
    /// The control database's.
    pub async fn publish_methods(&self, proofs: &Proofs) -> Result<()> {
        let codes: Vec<&str> = proofs.methods.keys().map(String::as_str).collect();
        run_tx!(self, "publish_methods", |tx| {
            tx.execute(
                "/* erasured:publish_methods */ DELETE FROM erasured.method WHERE code <> ALL ($1)",
                &[&codes],
            )
            .await?;
            for (code, m) in &proofs.methods {
                tx.execute(
                    "/* erasured:publish_methods */ INSERT INTO erasured.method AS m \
                       (code, level, demands, ask, compare, ja, en) VALUES ($1, $2, $3, $4, $5, $6, $7) \
                     ON CONFLICT (code) DO UPDATE SET level = excluded.level, demands = excluded.demands, \
                       ask = excluded.ask, compare = excluded.compare, ja = excluded.ja, en = excluded.en, \
                       published_at = now() \
                     WHERE (m.level, m.demands, m.ask, m.compare, m.ja, m.en) IS DISTINCT FROM \
                       (excluded.level, excluded.demands, excluded.ask, excluded.compare, excluded.ja, excluded.en)",
                    &[code, &(m.level as i16), &m.demands.word(), &m.ask, &m.compare, &m.ja, &m.en],
                )
                .await?;
            }
            publish_limits(tx, &proofs.limits).await?;
            publish_signs(tx, &proofs.signs).await?;
            publish_never(tx, proofs).await
        })
    }

    /// Counts an attempt before anything is compared.
    ///
    /// # Errors
    /// The control database's: the ticket is not to be verified, or nobody has been found for it.
    pub async fn begin_attempt(&self, ticket: Uuid, method: &str, by: &Agent) -> Result<Turn> {
        run_tx!(self, "begin_attempt", |tx| {
            let row = tx
                .query_one(
                    "/* erasured:begin_attempt */ SELECT attempt, locked_until FROM erasured.begin_attempt($1, $2, $3, $4)",
                    &[&ticket, &method, &by.name, &by.desk],
                )
                .await?;
            Ok(match row.get::<_, Option<i64>>("attempt") {
                Some(attempt) => Turn::Begun(Attempt(attempt)),
                None => Turn::Locked(row.get("locked_until")),
            })
        })
    }

    /// What came of it.
    ///
    /// # Errors
    /// The control database's.
    pub async fn end_attempt(&self, attempt: Attempt, ended: Ended) -> Result<()> {
        let outcome = match ended {
            Ended::Match => "match",
            Ended::NoMatch => "no_match",
            Ended::Undone => "undone",
        };
        run_tx!(self, "end_attempt", |tx| {
            tx.query_one(
                "/* erasured:end_attempt */ SELECT erasured.end_attempt($1, $2)",
                &[&attempt.0, &outcome],
            )
            .await?;
            Ok(())
        })
    }
}

async fn publish_never(tx: &Tx<'_>, proofs: &Proofs) -> Result<()> {
    let codes: Vec<&str> = proofs.never.keys().map(String::as_str).collect();
    tx.execute(
        "/* erasured:publish_methods */ DELETE FROM erasured.never WHERE code <> ALL ($1)",
        &[&codes],
    )
    .await?;
    for (code, never) in &proofs.never {
        tx.execute(
            "/* erasured:publish_methods */ INSERT INTO erasured.never AS n (code, ja, en, source) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (code) DO UPDATE SET ja = excluded.ja, en = excluded.en, source = excluded.source \
             WHERE (n.ja, n.en, n.source) IS DISTINCT FROM (excluded.ja, excluded.en, excluded.source)",
            &[code, &never.ja, &never.en, &never.source],
        )
        .await?;
    }
    Ok(())
}

async fn publish_signs(tx: &Tx<'_>, signs: &Signs) -> Result<()> {
    tx.execute(
        "/* erasured:publish_methods */ INSERT INTO erasured.sign_rule AS l (failed, failed_within, contested_within, subjects, subjects_within) \
         VALUES ($1, make_interval(secs => $2), make_interval(secs => $3), $4, make_interval(secs => $5)) \
         ON CONFLICT (singleton) DO UPDATE SET failed = excluded.failed, failed_within = excluded.failed_within, \
           contested_within = excluded.contested_within, subjects = excluded.subjects, subjects_within = excluded.subjects_within \
         WHERE (l.failed, l.failed_within, l.contested_within, l.subjects, l.subjects_within) IS DISTINCT FROM \
           (excluded.failed, excluded.failed_within, excluded.contested_within, excluded.subjects, excluded.subjects_within)",
        &[
            &i32::try_from(signs.failed).unwrap_or(i32::MAX),
            &signs.failed_within.as_secs_f64(),
            &signs.contested_within.as_secs_f64(),
            &i32::try_from(signs.subjects).unwrap_or(i32::MAX),
            &signs.subjects_within.as_secs_f64(),
        ],
    )
    .await?;
    Ok(())
}

async fn publish_limits(tx: &Tx<'_>, limits: &Limits) -> Result<()> {
    let number = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
    tx.execute(
        "/* erasured:publish_methods */ INSERT INTO erasured.identity_limit AS l \
           (time_span, by_subject, by_agent, by_desk, lock_out, longest) \
         VALUES (make_interval(secs => $1), $2, $3, $4, make_interval(secs => $5), make_interval(secs => $6)) \
         ON CONFLICT (singleton) DO UPDATE SET time_span = excluded.time_span, by_subject = excluded.by_subject, \
           by_agent = excluded.by_agent, by_desk = excluded.by_desk, lock_out = excluded.lock_out, longest = excluded.longest \
         WHERE (l.time_span, l.by_subject, l.by_agent, l.by_desk, l.lock_out, l.longest) IS DISTINCT FROM \
           (excluded.time_span, excluded.by_subject, excluded.by_agent, excluded.by_desk, excluded.lock_out, excluded.longest)",
        &[
            &limits.window.as_secs_f64(),
            &number(limits.by_subject),
            &number(limits.by_agent),
            &number(limits.by_desk),
            &limits.lock_out.as_secs_f64(),
            &limits.longest.as_secs_f64(),
        ],
    )
    .await?;
    Ok(())
}
