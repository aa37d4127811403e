//! Answers of a caller, compared with the subject's row. What comes out is match or no match: never a
//! stored value, nor which answer was wrong. Nothing that was answered is kept.

use super::context::{Context, Unplanned};
use super::identity::Identity;
use crate::catalog::Table;
use crate::plan::read_subject;
use crate::policy::Policy;
use crate::policy::asking::PointKind;
use crate::policy::proof::Method;
use crate::store::StoreError;
use crate::store::identity::{Agent, Ended, Turn};
use crate::store::tickets::IdentifierValue;
use crate::system::postgres::failure;
use chrono::{DateTime, Utc};
use tokio_postgres::types::ToSql;
use uuid::Uuid;
use zeroize::Zeroizing;

/// What the desk is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All answers agree with the subject's row. The method may be recorded now.
    Match,
    /// They do not.
    NoMatch,
    /// Too many have failed: nothing was compared.
    Locked {
        /// When to try again.
        until: DateTime<Utc>,
    },
}

/// Why nothing could be compared.
#[derive(Debug, thiserror::Error)]
pub enum Unproven {
    /// The request cannot be taken as it is; free of values.
    #[error("{0}: {1}")]
    Refused(&'static str, String),
    /// The control database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A system.
    #[error(transparent)]
    System(#[from] Unplanned),
}

/// One answer, and where what it is compared with stands.
struct Asked {
    name: String,
    column: String,
    kind: PointKind,
    answer: Zeroizing<String>,
}

/// Compares a caller's answers, by the name of the point each answers.
///
/// # Errors
/// [`Unproven`]; no attempt is counted then, but for a system that went away, which counts for nothing.
pub async fn prove(
    context: &Context,
    ticket: Uuid,
    method: &str,
    answers: &[(String, IdentifierValue)],
    by: &Agent,
) -> Result<Outcome, Unproven> {
    let beside = context.beside();
    let proofs = &beside.proofs;
    let method_of = proofs.methods.get(method).filter(|m| !m.compare.is_empty());
    let Some(method_of) = method_of else {
        let comparing = proofs.methods.iter().filter(|(_, m)| !m.compare.is_empty());
        let codes: Vec<&str> = comparing.map(|(code, _)| code.as_str()).collect();
        let said = format!(
            "no answers are compared by this method; they are by {}",
            codes.join(", ")
        );
        return Err(Unproven::Refused("E0415", said));
    };
    let asked_for = context.store.ticket(&ticket.to_string()).await?;
    let policies = context.policies();
    let policy = policies.get(&asked_for.subject);
    let policy = policy.ok_or_else(|| Unplanned::NoPolicy(asked_for.subject.clone()))?;
    let asked = understand(policy, method_of, answers)?;
    let identity = identity(context, ticket).await?;
    let attempt = match context.store.begin_attempt(ticket, method, by).await? {
        Turn::Begun(attempt) => attempt,
        Turn::Locked(until) => return Ok(Outcome::Locked { until }),
    };
    super::crash_point("before-comparing");
    match agree(context, policy, &identity, &asked).await {
        Ok(true) => context.store.end_attempt(attempt, Ended::Match).await?,
        Ok(false) => {
            context.store.end_attempt(attempt, Ended::NoMatch).await?;
            return Ok(Outcome::NoMatch);
        }
        Err(error) => {
            context.store.end_attempt(attempt, Ended::Undone).await?;
            return Err(error.into());
        }
    }
    Ok(Outcome::Match)
}

/// Whom the ticket names, as found at intake.
async fn identity(context: &Context, ticket: Uuid) -> Result<Identity, Unproven> {
    let Some(sealed) = context.store.naming(ticket).await?.sealed else {
        let said = "the ticket's person is not found yet, or the ticket is closed";
        return Err(Unproven::Refused("E0417", said.into()));
    };
    Identity::open(&context.hash_key, ticket, &sealed).map_err(|error| {
        let said = format!("the ticket's sealed identity does not open: {error}");
        Unproven::Refused("E0507", said)
    })
}

/// Whether these answers may be compared at all. Says nothing that depends on what is stored.
fn understand(
    policy: &Policy,
    method: &Method,
    answers: &[(String, IdentifierValue)],
) -> Result<Vec<Asked>, Unproven> {
    let misfit = |said: String| Err(Unproven::Refused("E0418", said));
    let known = method.compare.join(", ");
    let mut asked: Vec<Asked> = Vec::new();
    for (name, answer) in answers {
        // What is not known might be a value: it is not repeated.
        if !method.compare.contains(name) || asked.iter().any(|a| a.name == *name) {
            return misfit(format!("each answer is to one of {known}, once"));
        }
        let Some((column, kind)) = policy.point(name) else {
            let said = format!(
                "the policy does not say where {name} stands: [identity.point.{name}] column = …"
            );
            return Err(Unproven::Refused("E0416", said));
        };
        let answer = match kind.normalise(answer.expose()) {
            Ok(answer) => answer,
            Err(error) => return misfit(format!("{name}: {error}")),
        };
        asked.push(Asked {
            name: name.clone(),
            column: column.to_owned(),
            kind,
            answer,
        });
    }
    match asked.len() < method.points {
        true => misfit(format!("it takes {} of {known}", method.points)),
        false => Ok(asked),
    }
}

/// Reads the subject's row in a transaction that cannot write, and compares all points, whichever
/// differs: by keyed hashes, so that the time taken tells nothing either.
async fn agree(
    context: &Context,
    policy: &Policy,
    identity: &Identity,
    asked: &[Asked],
) -> Result<bool, Unplanned> {
    let root = &policy.root.0;
    let no_policy = || Unplanned::NoPolicy(policy.subject.clone());
    let system = context.systems.get(&root.system).ok_or_else(no_policy)?;
    let (_, catalog) = system.catalog().await?;
    let table = catalog.tables.get(&root.table).ok_or_else(no_policy)?;
    let key = typed_key(table).filter(|key| !key.is_empty() && key.len() == identity.key.len());
    let key = key.ok_or_else(no_policy)?;
    let read: Vec<&str> = asked.iter().map(|a| a.column.as_str()).collect();
    let failed = |e: tokio_postgres::Error| Unplanned::Failed {
        system: system.name.clone(),
        problem: failure::describe(&e),
        transient: matches!(failure::classify(&e), failure::Failure::Transient(_)),
    };
    let mut client = system.pool.get().await?;
    let reading = client.build_transaction().read_only(true);
    let tx = reading.start().await.map_err(failed)?;
    let timeout = context.config.limits.statement_timeout.as_millis();
    tx.batch_execute(&format!(
        "/* erasured:compare */ SET LOCAL search_path = pg_catalog; SET LOCAL row_security = off; \
         SET LOCAL datestyle = 'ISO'; SET LOCAL statement_timeout = {timeout}"
    ))
    .await
    .map_err(failed)?;
    let bound: Vec<&(dyn ToSql + Sync)> = identity.key.iter().map(|k| k as _).collect();
    let sql = read_subject(&root.table, &key, &read);
    let row = tx.query_opt(&sql, &bound).await.map_err(failed)?;
    let stored = asked.iter().enumerate().map(|(at, a)| {
        let text = row
            .as_ref()
            .and_then(|row| row.get::<_, Option<String>>(at));
        stored_value(table, a, text.map(Zeroizing::new))
    });
    let same = asked.iter().zip(stored).fold(true, |so_far, (a, stored)| {
        let hash = |value: &str| context.hash_key.hash(&format!("point:{}", a.name), value);
        let agrees =
            stored.is_some() & (hash(stored.as_deref().map_or("", |s| s)) == hash(&a.answer));
        so_far & agrees
    });
    Ok(same)
}

/// The columns of the key with their types.
pub(super) fn typed_key(table: &Table) -> Option<Vec<(&str, &str)>> {
    let typed = |column: &String| {
        let found = table.column(column)?;
        Some((found.name.as_str(), found.sql_type.as_str()))
    };
    table.row_key().iter().map(typed).collect()
}

/// In the writing in which it is compared; what is no such value agrees with nothing.
fn stored_value(
    table: &Table,
    asked: &Asked,
    text: Option<Zeroizing<String>>,
) -> Option<Zeroizing<String>> {
    let text = text?;
    let of_time = table
        .column(&asked.column)
        .is_some_and(|c| c.category == 'D');
    let text = match (&asked.kind, of_time) {
        // Of a time the day alone.
        (PointKind::Date, true) => text.split(' ').next().unwrap_or_default(),
        _ => &text,
    };
    asked.kind.normalise(text).ok()
}
