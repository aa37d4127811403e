//! Transactions that systems have prepared for us, and that nobody has ended: whoever comes first asks the
//! control database what was decided, and ends them so. What it does not know is shown, and left alone.

use super::context::Context;
use crate::metrics::{IN_DOUBT, IN_DOUBT_SECONDS};
use crate::store::StoreError;
use crate::store::joint::{Joint, Verdict};
use crate::system::postgres::execute::NotErased;
use crate::system::postgres::failure::Failure;
use crate::system::postgres::prepared::{self, Ended, Name, Waiting};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// The code under which it is told that one cannot be decided.
const UNDECIDED: &str = "E0551";

/// Ends one as it was decided, and writes down that it has.
///
/// # Errors
/// [`NotErased`]: the system did not answer. It may have ended all the same.
pub(super) async fn end(
    context: &Context,
    name: &Name,
    verdict: Verdict,
) -> Result<Ended, NotErased> {
    let unreachable =
        |problem: String| NotErased::Database(problem, Failure::Transient("unreachable"));
    let system = context.systems.get(&name.system);
    let system = system.ok_or_else(|| unreachable("it is not registered any more".into()))?;
    let client = system.pool.get_to_end().await;
    let client = client.map_err(|e| unreachable(e.to_string()))?;
    let ended = prepared::end(&client, name, verdict == Verdict::Committed).await?;
    fail::fail_point!("end-unanswered", |_| Err(unreachable("no answer".into())));
    written_down(context, name, ended.at).await;
    Ok(ended)
}

/// Nothing was prepared there.
pub(super) async fn none_there(context: &Context, name: &Name) {
    written_down(context, name, context.now()).await;
}

/// What is not written down is asked once more by whoever comes next, and answered in the same way.
async fn written_down(context: &Context, name: &Name, at: chrono::DateTime<chrono::Utc>) {
    let ended = context
        .store
        .joint_ended(name.joint, &name.system, at)
        .await;
    if let Err(error) = ended {
        tracing::warn!(%error, system = name.system, "that a prepared transaction has ended is not written down yet");
    }
}

/// What earlier attempts at tickets have left prepared.
#[derive(Default)]
pub(super) struct Left {
    /// What is in the way of ending it, by ticket.
    pub(super) in_the_way: BTreeMap<Uuid, String>,
    /// Tickets of which all has ended, and something was committed.
    pub(super) committed: BTreeSet<Uuid>,
}

/// Ends what these tickets have left open, for whoever holds their lease: nobody else can decide now.
///
/// # Errors
/// [`StoreError`].
pub(super) async fn of_tickets(context: &Context, tickets: &[Uuid]) -> Result<Left, StoreError> {
    let mut left = Left::default();
    for (joint, tickets) in context.store.joints_of(tickets).await? {
        let verdict = match joint.verdict {
            Some(verdict) => verdict,
            None => context.store.abort_joint(joint.id).await?,
        };
        let problem = match joint.ended {
            true => None,
            false => end_all(context, &joint, verdict).await?,
        };
        match (problem, verdict) {
            (Some(problem), _) => {
                let tickets = tickets.into_iter();
                left.in_the_way
                    .extend(tickets.map(|ticket| (ticket, problem.clone())));
            }
            (None, Verdict::Committed) => left.committed.extend(tickets),
            (None, Verdict::Aborted) => {}
        }
    }
    Ok(left)
}

/// Ends what nobody is at work on; how many of them, and what is in the way of the others.
///
/// # Errors
/// [`StoreError`].
pub async fn round(context: &Context) -> Result<(usize, Option<String>), StoreError> {
    let (mut ended, mut in_the_way) = (0, None);
    for joint in context.store.open_joints().await? {
        let verdict = match joint.verdict {
            Some(verdict) => verdict,
            None => match context.store.abort_left_joint(joint.id).await? {
                Some(verdict) => verdict,
                None => continue,
            },
        };
        match end_all(context, &joint, verdict).await? {
            None => ended += 1,
            Some(problem) => in_the_way = in_the_way.or(Some(problem)),
        }
    }
    Ok((ended, in_the_way))
}

/// What is in the way, if not all have ended.
async fn end_all(
    context: &Context,
    joint: &Joint,
    verdict: Verdict,
) -> Result<Option<String>, StoreError> {
    let installation = context.store.installation().await?;
    let mut in_the_way = None;
    for system in &joint.systems {
        let name = Name {
            installation,
            joint: joint.id,
            system: system.clone(),
        };
        match end(context, &name, verdict).await {
            Ok(_) => {
                tracing::info!(system, joint = %joint.id, outcome = ?verdict, "what was left prepared has ended");
            }
            Err(error) => {
                in_the_way = in_the_way.or(Some(format!("{system}: {error}")));
            }
        }
    }
    Ok(in_the_way)
}

/// What every system keeps prepared for us: what was decided is ended, the rest is counted and shown.
///
/// # Errors
/// [`StoreError`].
pub async fn look(context: &Context) -> Result<(), StoreError> {
    let installation = context.store.installation().await?;
    for (name, system) in &context.systems {
        // That it is away is told elsewhere, and what it was last seen to keep it keeps.
        let Ok(client) = system.pool.get().await else {
            continue;
        };
        let Ok(waiting) = prepared::waiting(&client, installation).await else {
            continue;
        };
        drop(client);
        // Two names of one database show the same; who is not registered here is shown by each.
        let here =
            |w: &&Waiting| w.name.system == *name || !context.systems.contains_key(&w.name.system);
        let (mut left, mut oldest) = (0_u32, 0.0_f64);
        for one in waiting.iter().filter(here) {
            if !ends(context, one).await? {
                left += 1;
                oldest = oldest.max(one.seconds);
            }
        }
        metrics::gauge!(IN_DOUBT, "system" => name.clone()).set(f64::from(left));
        metrics::gauge!(IN_DOUBT_SECONDS, "system" => name.clone()).set(oldest);
    }
    Ok(())
}

/// Whether it is gone now. Only what was decided, and was thought to have ended, is ended here: it was prepared
/// by somebody who came too late.
async fn ends(context: &Context, waiting: &Waiting) -> Result<bool, StoreError> {
    let name = &waiting.name;
    match context.store.joint(name.joint).await? {
        None => {
            tracing::error!(
                system = name.system,
                transaction = %name,
                code = UNDECIDED,
                "a transaction of ours is prepared, and the control database has never heard of it: nobody but a person can decide it"
            );
            Ok(false)
        }
        Some(Joint {
            verdict: Some(verdict),
            ended: true,
            ..
        }) => Ok(end(context, name, verdict).await.is_ok()),
        Some(_) => Ok(false),
    }
}
