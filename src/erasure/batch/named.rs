//! What rows name in systems that are no databases: that nothing of it is left behind when they go.

use super::super::context::Context;
use super::super::places::Found;
use super::Work;
use crate::plan::{PlacePlan, SystemPlan};
use crate::policy::place::PlaceName;
use crate::store::StoreError;
use crate::system::postgres::execute::{Names, NotErased};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// The part of a database whose rows name what lies in a place, if the scope takes such rows.
pub(in crate::erasure) fn source<'p>(
    systems: &'p [SystemPlan],
    system: &str,
    place: &PlacePlan,
) -> Option<(&'p SystemPlan, usize)> {
    let from = place.from()?;
    let part = systems.iter().find(|s| s.system == from.table.system)?;
    let is_it = |of: &PlaceName| of.system == system && of.place == place.place;
    let at = part.things.iter().position(|things| is_it(&things.place))?;
    Some((part, at))
}

/// Under the lock on the rows: what they name must have been taken away before. Where it was not, the
/// place is looked into again by the next try.
pub(super) async fn all_are_known(
    context: &Context,
    token: Uuid,
    part: &SystemPlan,
    group: &[Work],
    names: &Names,
) -> Result<(), NotErased> {
    let hook = |e: StoreError| NotErased::Hook(e.to_string());
    let tickets: Vec<Uuid> = group.iter().map(|work| work.ticket.id).collect();
    let systems: BTreeSet<&str> = part
        .things
        .iter()
        .map(|t| t.place.system.as_str())
        .collect();
    let mut new = false;
    for system in systems {
        let known = known(context, &tickets, system).await?;
        let nothing = Found::default();
        // What is somebody else's too is asked for again behind the COMMIT: so it must be known.
        let all = names.own.iter().map(|of| (of, false));
        let all = all.chain(names.shared.iter().map(|of| (of, true)));
        let unknown = all.filter_map(|(((ticket, of), names), shared)| {
            let place = &part.things[*of].place;
            let ticket = tickets[*ticket];
            let known = known.get(&ticket).unwrap_or(&nothing);
            let known: BTreeSet<&str> = match shared {
                true => known.all_named(&place.place).collect(),
                false => known.named(&place.place).collect(),
            };
            let left = names.0.iter().any(|name| !known.contains(&**name));
            (place.system == system && left).then_some(ticket)
        });
        let unknown: BTreeSet<Uuid> = unknown.collect();
        let unknown: Vec<Uuid> = unknown.into_iter().collect();
        if !unknown.is_empty() {
            let again = context.store.look_again(token, system, &unknown);
            again.await.map_err(hook)?;
            new = true;
        }
    }
    match new {
        true => Err(NotErased::NewThing),
        false => Ok(()),
    }
}

/// All that any step of these tickets has written down of a system.
async fn known(
    context: &Context,
    tickets: &[Uuid],
    system: &str,
) -> Result<BTreeMap<Uuid, Found>, NotErased> {
    let stored = context.store.found(tickets, system).await;
    let stored = stored.map_err(|e| NotErased::Hook(e.to_string()))?;
    let mut known: BTreeMap<Uuid, Found> = BTreeMap::new();
    for found in stored {
        let opened = Found::open(&context.hash_key, found.ticket, &found.sealed);
        let opened = opened.map_err(|e| NotErased::Hook(e.to_string()))?;
        known.entry(found.ticket).or_default().unite(opened, true);
    }
    Ok(known)
}
