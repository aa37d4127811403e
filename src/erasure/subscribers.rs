//! Logical subscribers: databases that copy a system's changes, the deletions too, a moment later.
//!
//! What is a deletion here is one there when the slot's `confirmed_flush_lsn` has passed it: the subscriber says
//! so once what it has applied is on its disk. Nothing is signed before.

use super::context::Context;
use super::sweep::SweepFailed;
use crate::certificate::System;
use crate::system::postgres::failure;
use std::collections::BTreeSet;
use std::time::Duration;

/// How often it is looked whether they have caught up, a half second apart, before another round begins.
const LOOKS: usize = 60;

/// Waits until the subscribers that the configuration names for these systems have applied all that is
/// committed there by now.
///
/// # Errors
/// [`SweepFailed::NotApplied`] if one has not within half a minute, or is not there.
pub(super) async fn have_applied(
    context: &Context,
    systems: &BTreeSet<String>,
) -> Result<(), SweepFailed> {
    for name in systems {
        let of = context.config.systems.get(name);
        let Some((system, config)) = context.systems.get(name).zip(of) else {
            continue;
        };
        if config.subscribers.is_empty() {
            continue;
        }
        let failed =
            |e: tokio_postgres::Error| SweepFailed::Reading(name.clone(), failure::describe(&e));
        let client = system.pool.get().await?;
        let written = "/* erasured:subscribers */ SELECT pg_current_wal_insert_lsn()::text";
        let written: String = client.query_one(written, &[]).await.map_err(failed)?.get(0);
        let mut left = LOOKS;
        loop {
            let behind = client
                .query_opt(BEHIND, &[&config.subscribers, &written])
                .await
                .map_err(failed)?;
            let Some(behind) = behind else { break };
            left -= 1;
            if left == 0 || !behind.get::<_, bool>(1) {
                return Err(SweepFailed::NotApplied {
                    system: name.clone(),
                    slot: behind.get(0),
                    known: behind.get(1),
                });
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
    Ok(())
}

/// These systems with the names of the subscribers that have been waited for.
pub(super) fn named(context: &Context, mut systems: Vec<System>) -> Vec<System> {
    for system in &mut systems {
        if let Some(config) = context.config.systems.get(&system.system) {
            system.subscribers.clone_from(&config.subscribers);
        }
    }
    systems
}

/// The first that has not caught up, and whether there is such a slot.
const BEHIND: &str = "/* erasured:subscribers */ SELECT n.name, r.slot_name IS NOT NULL FROM unnest($1::text[]) WITH ORDINALITY AS n (name, at) \
     LEFT JOIN pg_replication_slots r ON r.slot_name = n.name AND r.slot_type = 'logical' AND r.database = current_database() \
    WHERE r.confirmed_flush_lsn IS NULL OR r.confirmed_flush_lsn < $2::text::pg_lsn ORDER BY n.at LIMIT 1";
