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

/// Between two looks whether they have caught up.
const BETWEEN: Duration = Duration::from_millis(500);

/// For how long they are waited for before another round begins.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Half a minute.
    Long,
    /// Some seconds: others wait behind it.
    Short,
    /// Not at all: they have just been waited for in vain.
    None,
}

impl Patience {
    /// At most so long.
    pub(crate) fn time(self) -> Duration {
        BETWEEN * self.looks()
    }

    fn looks(self) -> u32 {
        match self {
            Self::Long => 60,
            Self::Short => 6,
            Self::None => 1,
        }
    }
}

/// Waits until the subscribers that the configuration names for these systems have applied all that is
/// committed there by now.
///
/// # Errors
/// [`SweepFailed::NotApplied`] if one has not in that time, or is not there.
pub(crate) async fn have_applied(
    context: &Context,
    systems: &BTreeSet<String>,
    patience: Patience,
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
        let mut left = patience.looks();
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
            tokio::time::sleep(BETWEEN).await;
        }
    }
    Ok(())
}

/// These systems with the names of the subscribers that have been waited for.
pub(super) fn named(context: &Context, mut systems: Vec<System>) -> Vec<System> {
    for system in &mut systems {
        system.subscribers = of(context, &system.system);
    }
    systems
}

/// The subscribers that are waited for where this system is concerned.
pub(crate) fn of(context: &Context, system: &str) -> Vec<String> {
    let config = context.config.systems.get(system);
    config.map_or_else(Vec::new, |config| config.subscribers.clone())
}

/// The first that has not caught up, and whether there is such a slot.
const BEHIND: &str = "/* erasured:subscribers */ SELECT n.name, r.slot_name IS NOT NULL FROM unnest($1::text[]) WITH ORDINALITY AS n (name, at) \
     LEFT JOIN pg_replication_slots r ON r.slot_name = n.name AND r.slot_type = 'logical' AND r.database = current_database() \
    WHERE r.confirmed_flush_lsn IS NULL OR r.confirmed_flush_lsn < $2::text::pg_lsn ORDER BY n.at LIMIT 1";
