//! At which systems the batches under way in this daemon are, and since when: where one is at a system that is
//! slow, tickets that need not go there go on beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// A batch is as a rule through with a system by then.
const USUAL: Duration = Duration::from_secs(2);

/// Where batches are, by their leases.
#[derive(Default)]
pub struct UnderWay {
    at: Mutex<BTreeMap<(Uuid, String), Stay>>,
    stand_ins: AtomicUsize,
}

/// How many groups of a batch are there, and since when there was always one.
struct Stay {
    groups: usize,
    since: Instant,
}

/// One group of a batch, as long as it is at a system.
pub(super) struct At<'u> {
    all: &'u UnderWay,
    of: (Uuid, String),
}

/// One batch more than there are workers.
pub struct StandIn<'u>(&'u UnderWay);

impl UnderWay {
    /// A group of a batch comes to a system.
    pub(super) fn at(&self, token: Uuid, system: &str) -> At<'_> {
        let of = (token, system.to_owned());
        let since = Instant::now();
        let mut at = self.stays();
        let stay = at.entry(of.clone()).or_insert(Stay { groups: 0, since });
        stay.groups += 1;
        At { all: self, of }
    }

    /// Whether no batch is anywhere.
    pub fn is_empty(&self) -> bool {
        self.stays().is_empty()
    }

    /// One batch may begin beside the workers' for each that has been at one system for longer than usual;
    /// the systems where it must not go. `None` if none may.
    pub fn stand_in(&self) -> Option<(StandIn<'_>, BTreeSet<String>)> {
        let at = self.stays();
        let slow = at.iter().filter(|(_, stay)| stay.since.elapsed() > USUAL);
        let slow: Vec<&(Uuid, String)> = slow.map(|(of, _)| of).collect();
        let batches: BTreeSet<Uuid> = slow.iter().map(|(token, _)| *token).collect();
        // Under the lock, so that no two take one place.
        if self.stand_ins.load(Ordering::SeqCst) >= batches.len() {
            return None;
        }
        self.stand_ins.fetch_add(1, Ordering::SeqCst);
        let systems = slow.into_iter().map(|(_, system)| system.clone());
        Some((StandIn(self), systems.collect()))
    }

    fn stays(&self) -> MutexGuard<'_, BTreeMap<(Uuid, String), Stay>> {
        self.at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for At<'_> {
    fn drop(&mut self) {
        let mut at = self.all.stays();
        if let Some(stay) = at.get_mut(&self.of) {
            stay.groups -= 1;
            if stay.groups == 0 {
                at.remove(&self.of);
            }
        }
    }
}

impl Drop for StandIn<'_> {
    fn drop(&mut self) {
        self.0.stand_ins.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_batch_that_stays_for_long_has_one_stand_in() {
        let under_way = UnderWay::default();
        let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let first = under_way.at(one, "cache");
        let again = under_way.at(one, "cache");
        assert!(under_way.stand_in().is_none(), "it has only come");
        for stay in under_way.stays().values_mut() {
            stay.since = Instant::now().checked_sub(USUAL * 2).unwrap();
        }
        let _quick = under_way.at(other, "crm");
        drop(first);
        let (stand_in, slow) = under_way.stand_in().unwrap();
        assert_eq!(slow, BTreeSet::from(["cache".to_owned()]));
        assert!(under_way.stand_in().is_none(), "one for one");
        drop(stand_in);
        assert!(under_way.stand_in().is_some());
        drop(again);
        assert!(under_way.stand_in().is_none());
        assert!(!under_way.is_empty());
    }
}
