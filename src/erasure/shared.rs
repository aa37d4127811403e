//! Things that rows of several people named, all of whom are gone: whoever was erased first left them to the
//! others, and the others to them. Looked for before the certificate, when no transaction can hide a row.

use super::batch::source;
use super::context::Context;
use super::places::{Elsewhere, Found};
use super::sweep::{Opened, SweepFailed};
use crate::plan::{Plan, ThingNames, Things};
use crate::store::StoreError;
use crate::store::executing::StepRow;
use crate::system::postgres::execute::named_yet;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// The code under which it is told.
const CODE: &str = "E0544";
const PROBLEM: &str =
    "what rows of several people named is nobody's any more: it is looked for once more, and taken";
/// Names asked for in one statement.
const AT_ONCE: usize = 500;

/// What is nobody's any more.
#[derive(Default)]
pub(super) struct Orphans {
    /// The steps that take it when they are done once more.
    again: Vec<StepRow>,
    /// In a place that the ticket's plan has no more: no step comes back to it.
    pub(super) elsewhere: Elsewhere,
    /// Tickets of which it cannot be told: the database whose rows named things is not registered any more.
    pub(super) untold: Vec<Uuid>,
}

impl Orphans {
    fn goes_back_for(&mut self, step: StepRow) {
        let same = |of: &StepRow| (of.ticket, &of.system) == (step.ticket, &step.system);
        if !self.again.iter().any(same) {
            self.again.push(step);
        }
    }

    /// Whether a ticket gets no certificate now.
    pub(super) fn concern(&self, ticket: Uuid) -> bool {
        self.untold.contains(&ticket) || self.again.iter().any(|step| step.ticket == ticket)
    }

    /// Puts the tickets back whose steps are to be done once more. How many.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(super) async fn go_back(
        &self,
        context: &Context,
        sweep: Uuid,
    ) -> Result<usize, StoreError> {
        if self.again.is_empty() {
            return Ok(0);
        }
        let store = &context.store;
        let again = store.redo(sweep, &self.again, CODE, PROBLEM).await?;
        for ticket in &again {
            tracing::info!(%ticket, code = CODE, "{PROBLEM}");
        }
        Ok(again.len())
    }
}

/// What these tickets had left to others, and is nobody's any more.
///
/// # Errors
/// [`SweepFailed`]: nothing may be signed, as it is not known what is nobody's.
pub(super) async fn orphans(context: &Context, tickets: &[Opened]) -> Result<Orphans, SweepFailed> {
    let mut orphans = Orphans::default();
    for left in left_to_others(context, tickets).await? {
        left.add_to(&mut orphans, context).await?;
    }
    Ok(orphans)
}

/// What was left in one place, and whose rows had named it.
struct Left {
    place: String,
    /// Where these rows are.
    database: String,
    things: Things,
    /// By the step that left it; whether that can be done again.
    names: Vec<(StepRow, bool, ThingNames)>,
}

async fn left_to_others(context: &Context, tickets: &[Opened]) -> Result<Vec<Left>, SweepFailed> {
    let ids: Vec<Uuid> = tickets.iter().map(|t| t.ticket.id).collect();
    let last: BTreeMap<Uuid, i32> = tickets
        .iter()
        .map(|t| (t.ticket.id, t.ticket.generation))
        .collect();
    let mut plans: BTreeMap<String, Option<Plan>> = BTreeMap::new();
    let mut left: BTreeMap<(String, String, String), Left> = BTreeMap::new();
    let mut steps = context.store.steps(&ids).await?;
    // The last plan's first: what it has, none before it is asked for.
    steps.sort_by_key(|step| std::cmp::Reverse(step.generation));
    let mut asked = BTreeSet::new();
    for step in steps {
        if !plans.contains_key(&step.plan_id) {
            let stored = context.store.plan(&step.plan_id).await?;
            let plan = stored.and_then(|stored| serde_json::from_str(&stored.body).ok());
            plans.insert(step.plan_id.clone(), plan);
        }
        // One that cannot be read fails the ticket where its places are looked into again.
        let Some(plan) = &plans[&step.plan_id] else {
            continue;
        };
        let mut known = None;
        let parts = plan.places.iter().filter(|part| part.system == step.system);
        for place in parts.flat_map(|part| &part.places) {
            let Some((part, at)) = source(&plan.systems, &step.system, place) else {
                continue;
            };
            if !asked.insert((step.ticket, step.system.clone(), place.place.clone())) {
                continue;
            }
            let known = match &mut known {
                Some(known) => known,
                none => none.insert(found(context, &step).await?),
            };
            let names = known.shared(&place.place).map(str::to_owned);
            let names = ThingNames(names.collect());
            if names.0.is_empty() {
                continue;
            }
            let key = (
                step.plan_id.clone(),
                step.system.clone(),
                place.place.clone(),
            );
            let left = left.entry(key).or_insert_with(|| Left {
                place: place.place.clone(),
                database: part.system.clone(),
                things: part.things[at].clone(),
                names: Vec::new(),
            });
            let again = last.get(&step.ticket) == Some(&step.generation);
            left.names.push((step.clone(), again, names));
        }
    }
    Ok(left.into_values().collect())
}

/// What the last try has written down of a ticket in a system: it knew what those before had.
async fn found(context: &Context, step: &StepRow) -> Result<Found, SweepFailed> {
    let stored = context.store.found(&[step.ticket], &step.system).await?;
    let Some(last) = stored.last() else {
        return Ok(Found::default());
    };
    let opened = Found::open(&context.hash_key, step.ticket, &last.sealed);
    opened.map_err(|e| SweepFailed::Reading(step.system.clone(), e.to_string()))
}

impl Left {
    async fn add_to(self, orphans: &mut Orphans, context: &Context) -> Result<(), SweepFailed> {
        let Some(system) = context.systems.get(&self.database) else {
            let tickets = self.names.iter().map(|(step, ..)| step.ticket);
            orphans.untold.extend(tickets);
            return Ok(());
        };
        let mut client = system.pool.get().await?;
        let all: BTreeSet<&str> = self
            .names
            .iter()
            .flat_map(|(.., names)| names.0.iter().map(String::as_str))
            .collect();
        let all: Vec<&str> = all.into_iter().collect();
        let mut yet = Vec::new();
        for some in all.chunks(AT_ONCE) {
            let named = named_yet(&mut client, &self.things, some, context.timeouts(1)).await;
            yet.push(
                named.map_err(|e| SweepFailed::Reading(self.database.clone(), e.to_string()))?,
            );
        }
        let is_named = |name: &String| yet.iter().any(|some| some.0.contains(name));
        for (step, again, mut names) in self.names {
            names.0.retain(|name| !is_named(name));
            if names.0.is_empty() {
                continue;
            }
            match again {
                true => orphans.goes_back_for(step),
                false => {
                    let of = (step.system.clone(), self.place.clone(), step.ticket);
                    orphans.elsewhere.insert(of, names);
                }
            }
        }
        Ok(())
    }
}
