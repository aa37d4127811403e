//! What has committed on a target though the daemon died before it wrote that down: the target's
//! own rows say so, whatever has become of the plan.

use super::context::Context;
use super::record::StepRecord;
use crate::plan::Plan;
use crate::store::StoreError;
use crate::store::executing::StepRow;
use crate::system::postgres::execute::NotErased;
use crate::system::postgres::failure::Failure;
use std::collections::BTreeMap;
use uuid::Uuid;

/// Steps of these tickets whose result is not known.
///
/// # Errors
/// [`StoreError`].
pub(super) async fn planned(
    context: &Context,
    tickets: &[Uuid],
    which: impl Fn(&StepRow) -> bool,
) -> Result<Vec<StepRow>, StoreError> {
    let mut steps = context.store.steps(tickets).await?;
    steps.retain(|step| !step.done && which(step));
    Ok(steps)
}

/// Asks the targets about these steps, and writes down the results of those that have committed.
///
/// # Errors
/// Outer: the lease was lost or the control database went away. Inner: a target did not answer,
/// or its answer cannot be used; what became of the steps is not known then.
pub(super) async fn steps(
    context: &Context,
    token: Uuid,
    steps: &[StepRow],
) -> Result<Result<(), NotErased>, StoreError> {
    let mut by_system: BTreeMap<&str, Vec<&StepRow>> = BTreeMap::new();
    for step in steps {
        by_system.entry(&step.system).or_default().push(step);
    }
    let mut plans = BTreeMap::new();
    for step in steps {
        if !plans.contains_key(&step.plan_id)
            && let Some(stored) = context.store.plan(&step.plan_id).await?
        {
            let plan = serde_json::from_str::<Plan>(&stored.body);
            plans.insert(step.plan_id.clone(), plan.ok());
        }
    }
    for (system, steps) in by_system {
        // Nobody there knows what was done: it is done again.
        if context.places.contains_key(system) {
            continue;
        }
        let done = match of_system(context, system, &steps, &plans).await {
            Ok(done) => done,
            Err(error) => return Ok(Err(error)),
        };
        if !done.is_empty() {
            context.store.step_done(token, system, &done).await?;
        }
    }
    Ok(Ok(()))
}

type Done = (Uuid, i32, serde_json::Value, chrono::DateTime<chrono::Utc>);

async fn of_system(
    context: &Context,
    name: &str,
    steps: &[&StepRow],
    plans: &BTreeMap<String, Option<Plan>>,
) -> Result<Vec<Done>, NotErased> {
    let stuck = |problem: String| NotErased::Database(problem, Failure::Permanent);
    let database = context.database(name).await.ok_or_else(|| {
        stuck(format!(
            "an earlier attempt may have committed on {name}, which is not in the configuration any more"
        ))
    })?;
    let database =
        database.map_err(|e| NotErased::Database(e.to_string(), Failure::Transient(e.cause())))?;
    let keys: Vec<(Uuid, i32)> = steps.iter().map(|s| (s.ticket, s.generation)).collect();
    let mut done = Vec::new();
    for applied in database.applied(name, &keys).await? {
        let step = steps
            .iter()
            .find(|s| (s.ticket, s.generation) == (applied.ticket, applied.generation));
        let part = step
            .and_then(|s| plans.get(&s.plan_id)?.as_ref())
            .and_then(|plan| plan.systems.iter().find(|p| p.system == name))
            .ok_or_else(|| {
                stuck(format!(
                    "the plan of a committed step on {name} cannot be read"
                ))
            })?;
        let record = StepRecord::new(part, applied.counts, applied.server_version);
        let record = serde_json::to_value(record).expect("a record is always JSON");
        done.push((
            applied.ticket,
            applied.generation,
            record,
            applied.committed_at,
        ));
    }
    Ok(done)
}
