//! What a system has lost of what it had told us was committed: its server was replaced by a standby that
//! had not received it, or put back to an earlier time. The system's own rows say so; it is done again.

use super::context::Context;
use super::sweep::{Opened, SweepFailed};
use crate::store::executing::StepRow;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// The code under which it is told.
pub(super) const CODE: &str = "E0517";
pub(super) const PROBLEM: &str = "what a system had committed is not there any more: its server was replaced by one that had not received it, or put back to an earlier time; it is done again";

/// Puts tickets back to be run of whose steps one is gone. If there are any the sweep is over: what it has read
/// was read before they write again, and the others are swept anew. How many; `None` if nothing is lost.
///
/// # Errors
/// [`SweepFailed`]: nothing may be signed, as it is not known what stands.
pub(super) async fn goes_back(
    context: &Context,
    sweep: Uuid,
    tickets: &[Opened],
) -> Result<Option<usize>, SweepFailed> {
    let ids: Vec<Uuid> = tickets.iter().map(|t| t.ticket.id).collect();
    let lost = steps(context, &ids).await?;
    if lost.is_empty() {
        return Ok(None);
    }
    let again = context.store.undone(sweep, &lost, CODE, PROBLEM).await?;
    for step in lost.iter().filter(|step| again.contains(&step.ticket)) {
        tracing::error!(ticket = %step.ticket, system = step.system, code = CODE, "{PROBLEM}");
    }
    Ok(Some(again.len()))
}

/// Steps that are written down as done, and of which the system has no row. A system that is not registered
/// any more cannot be asked.
async fn steps(context: &Context, tickets: &[Uuid]) -> Result<Vec<StepRow>, SweepFailed> {
    let mut by_system: BTreeMap<String, Vec<StepRow>> = BTreeMap::new();
    for step in context.store.steps(tickets).await? {
        if step.done {
            by_system.entry(step.system.clone()).or_default().push(step);
        }
    }
    let mut lost = Vec::new();
    for (name, steps) in by_system {
        let Some(database) = context.database(&name).await else {
            continue;
        };
        let database = database?;
        let keys: Vec<(Uuid, i32)> = steps.iter().map(|s| (s.ticket, s.generation)).collect();
        let standing = database
            .applied(&name, &keys)
            .await
            .map_err(|error| SweepFailed::Reading(name.clone(), error.to_string()))?;
        let standing: BTreeSet<_> = standing.iter().map(|a| (a.ticket, a.generation)).collect();
        let gone = |step: &StepRow| !standing.contains(&(step.ticket, step.generation));
        lost.extend(steps.into_iter().filter(gone));
    }
    Ok(lost)
}
