//! What would happen to one person: the plan, the rows counted by its own statements in one
//! read-only snapshot, and what the sweep will read.

use super::context::{Context, Planned, Unplanned};
use super::database::Database;
use super::identity::Identity;
use super::intake::{self, IntakeFailed};
use super::places::{self, NamedThings};
use crate::plan::Counts;
use crate::policy::Policy;
use crate::store::StoreError;
use crate::store::tickets::IdentifierValue;
use crate::system::postgres::connect::ConnectError;
use crate::system::postgres::execute::{ByColumn, Execution, NotErased, Subject};
use crate::system::postgres::failure::Failure;
use crate::system::postgres::{failure, readable};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;
use std::sync::Arc;
use uuid::Uuid;

/// Bytes a second that an unthrottled sweep reads at the least: half of what `make bench` shows
/// on a laptop's two cores. For forecasts only.
const USUAL_PACE: u64 = 100 << 20;

/// The plan for one person.
pub struct Foreseen {
    /// The plan.
    pub planned: Arc<Planned>,
    /// System to the rows.
    pub counts: BTreeMap<String, Counts>,
    /// What the sweep will read, system by system; empty where the scope has no sweep.
    pub sweep: Vec<SweepForecast>,
}

/// What a sweep of one system reads.
#[derive(Debug, Serialize)]
pub struct SweepForecast {
    /// The system.
    pub system: String,
    /// Tables with columns that can hold a text.
    pub tables: usize,
    /// Their size on disk.
    pub bytes: u64,
}

/// Why nothing can be foreseen.
#[derive(Debug, thiserror::Error)]
pub enum Unforeseen {
    /// The control database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No plan.
    #[error(transparent)]
    Unplanned(#[from] Unplanned),
    /// A system.
    #[error(transparent)]
    Unreachable(#[from] ConnectError),
    /// The ticket or the identifiers lead to nobody: a code and words for the desk.
    #[error("{0}: {1}")]
    Unfound(&'static str, String),
    /// The dry run.
    #[error("{0}: {1}")]
    NotCounted(String, NotErased),
}

impl Unforeseen {
    /// Whether waiting may help.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Store(error) => error.is_transient(),
            Self::Unplanned(unplanned) => unplanned.is_transient(),
            Self::Unreachable(_) => true,
            Self::Unfound(..) => false,
            Self::NotCounted(_, error) => {
                matches!(error, NotErased::Database(_, Failure::Transient(_)))
            }
        }
    }
}

impl SweepForecast {
    /// For people: how much, and how long under this limit on bytes a second.
    pub fn line(&self, limit: Option<NonZeroU64>) -> String {
        let pace = limit.map_or(USUAL_PACE, NonZeroU64::get);
        let seconds = self.bytes.div_ceil(pace).max(1);
        let limited = if limit.is_some() {
            "the configured limit"
        } else {
            "100 MiB/s"
        };
        format!(
            "afterwards the sweep reads {} tables of {}, {} MiB: about {seconds} s at {limited}",
            self.tables,
            self.system,
            self.bytes.div_ceil(1 << 20)
        )
    }
}

/// For a ticket, by id or reference: of the person it names now.
///
/// # Errors
/// [`Unforeseen`].
pub async fn ticket(context: &Context, id_or_reference: &str) -> Result<Foreseen, Unforeseen> {
    let ticket = context.store.ticket(id_or_reference).await?;
    let named = context.store.naming(ticket.id).await?;
    let policies = context.policies();
    let policy = policies.get(&ticket.subject);
    let policy = policy.ok_or_else(|| Unplanned::NoPolicy(ticket.subject.clone()))?;
    let refused: BTreeSet<String> = ticket.refused.keys().cloned().collect();
    if let Some(sealed) = &named.sealed {
        let identity = Identity::open(&context.hash_key, ticket.id, sealed).map_err(|e| {
            Unforeseen::Unfound(
                "E0507",
                format!("the ticket's sealed identity does not open: {e}"),
            )
        })?;
        return of(context, policy, &ticket.scope, &refused, &identity).await;
    }
    if named.identifiers.is_empty() {
        let state = &ticket.state;
        let said = format!("the ticket is {state}, so nobody knows any more whom it named");
        return Err(Unforeseen::Unfound("E0406", said));
    }
    let identity = find(context, policy, &ticket.scope, named.identifiers).await?;
    of(context, policy, &ticket.scope, &refused, &identity).await
}

/// For a person named by identifiers.
///
/// # Errors
/// [`Unforeseen`].
pub async fn subject(
    context: &Context,
    policy: &Policy,
    scope: &str,
    identifiers: Vec<(String, IdentifierValue)>,
) -> Result<Foreseen, Unforeseen> {
    let identity = find(context, policy, scope, identifiers).await?;
    of(context, policy, scope, &BTreeSet::new(), &identity).await
}

async fn find(
    context: &Context,
    policy: &Policy,
    scope: &str,
    identifiers: Vec<(String, IdentifierValue)>,
) -> Result<Identity, Unforeseen> {
    let found = intake::find(context, policy, scope, identifiers).await;
    let found = found.map_err(|error| match error {
        IntakeFailed::Store(error) => Unforeseen::Store(error),
        IntakeFailed::System(error) => Unforeseen::Unplanned(error),
    })?;
    found.map_err(|(code, problem)| Unforeseen::Unfound(code, problem))
}

async fn of(
    context: &Context,
    policy: &Policy,
    scope: &str,
    refused: &BTreeSet<String>,
    identity: &Identity,
) -> Result<Foreseen, Unforeseen> {
    let (planned, counts) = counted(context, policy, scope, refused, identity).await?;
    let sweep = if super::sweep::is_swept(policy, scope) && refused.is_empty() {
        forecast(context).await?
    } else {
        Vec::new()
    };
    Ok(Foreseen {
        planned,
        counts,
        sweep,
    })
}

/// The plan, and by system the rows that it would touch.
pub(super) async fn counted(
    context: &Context,
    policy: &Policy,
    scope: &str,
    refused: &BTreeSet<String>,
    identity: &Identity,
) -> Result<(Arc<Planned>, BTreeMap<String, Counts>), Unforeseen> {
    let mut planned = context.planned(&policy.subject, scope).await?;
    if !refused.is_empty() {
        planned = Arc::new(context.planned_without(&planned, refused).await?);
    }
    let subjects = [Subject {
        ticket: Uuid::nil(),
        generation: 0,
        keys: vec![identity.key.clone()],
        identifiers: identity.forms(&planned.policy),
    }];
    let hash = |text: &str| context.hash_key.hash("column", text);
    let (mut counts, mut named) = (BTreeMap::new(), NamedThings::new());
    for part in &planned.plan.systems {
        let execution = Execution {
            plan: part,
            subjects: &subjects,
            now: context.now(),
            timeouts: context.timeouts(1),
            piece_rows: context.config.limits.piece_rows.get().into(),
            stamp: planned.stamps.get(&part.system).map_or("", String::as_str),
            batch: Uuid::nil(),
            held: &[],
            prepare: None,
            dry: true,
            hash: &hash,
        };
        let failed = |e| Unforeseen::NotCounted(part.system.clone(), e);
        let mut database = context.database_of(&part.system).await.map_err(failed)?;
        let counted = database.dry_run(&execution).await;
        let mut counted = counted.map_err(failed)?;
        counts.insert(part.system.clone(), counted.remove(0));
        let Database::Postgres(client) = &mut database else {
            continue;
        };
        if part.things.is_empty() {
            continue;
        }
        let none = ByColumn::new();
        let held = execution.hold_things(client, &[], &none).await;
        let (tx, _, names) = held.map_err(failed)?;
        drop(tx);
        for ((_, of), names) in &names.own {
            let place = &part.things[*of].place;
            let found = named.entry(place.system.clone()).or_default();
            found.name(&place.place, names.clone());
        }
    }
    for part in &planned.plan.places {
        let found = places::count(context, &planned.policy, part, identity, &named).await?;
        counts.insert(part.system.clone(), found);
    }
    Ok((planned, counts))
}

/// Every registered system is swept, whether the policy names it or not.
async fn forecast(context: &Context) -> Result<Vec<SweepForecast>, Unforeseen> {
    let mut forecasts = Vec::new();
    for system in context.systems.values() {
        let client = system.pool.get().await?;
        let readable = readable::readable(&client, super::sweep::timeouts(context)).await;
        let readable = readable.map_err(|e| Unplanned::Failed {
            system: system.name.clone(),
            problem: failure::describe(&e),
            transient: true,
        })?;
        forecasts.push(SweepForecast {
            system: system.name.clone(),
            tables: readable.targets.len(),
            bytes: readable::forecast(&readable.targets),
        });
    }
    for system in context.mariadb.values() {
        let readable = system
            .readable(super::sweep::mariadb::bounds(context))
            .await;
        let readable = readable.map_err(|e| Unplanned::Failed {
            system: system.name.clone(),
            problem: e.problem,
            transient: true,
        })?;
        forecasts.push(SweepForecast {
            system: system.name.clone(),
            tables: readable.targets.len(),
            bytes: readable.targets.iter().map(|t| t.bytes).sum(),
        });
    }
    Ok(forecasts)
}
