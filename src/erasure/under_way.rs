//! Which systems the batches under way in this daemon have still before them: where all workers are at one
//! that is slow, those who need not go there go on beside.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// A batch is as a rule through all of its systems by then.
const USUAL: Duration = Duration::from_secs(2);

/// The batches that have begun, by their leases.
#[derive(Default)]
pub struct UnderWay(Mutex<BTreeMap<Uuid, Ahead>>);

struct Ahead {
    since: Instant,
    systems: BTreeSet<String>,
}

/// One batch, as long as it is under way.
pub(super) struct Batch<'u> {
    all: &'u UnderWay,
    token: Uuid,
}

impl UnderWay {
    /// A batch begins, with these systems before it.
    pub(super) fn begin(&self, token: Uuid, systems: BTreeSet<String>) -> Batch<'_> {
        let since = Instant::now();
        self.all().insert(token, Ahead { since, systems });
        Batch { all: self, token }
    }

    /// How many batches there are.
    pub fn count(&self) -> usize {
        self.all().len()
    }

    /// The systems that so many batches have before them, each of them for longer than usual.
    pub fn crowded(&self, batches: usize) -> BTreeSet<String> {
        let all = self.all();
        let mut waiting: BTreeMap<&str, usize> = BTreeMap::new();
        for batch in all.values().filter(|batch| batch.since.elapsed() > USUAL) {
            for system in &batch.systems {
                *waiting.entry(system).or_default() += 1;
            }
        }
        let crowded = waiting.into_iter().filter(|(_, many)| *many >= batches);
        crowded.map(|(system, _)| system.to_owned()).collect()
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<Uuid, Ahead>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Batch<'_> {
    /// It is through with a system.
    pub(super) fn is_past(&self, system: &str) {
        if let Some(ahead) = self.all.all().get_mut(&self.token) {
            ahead.systems.remove(system);
        }
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        self.all.all().remove(&self.token);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn systems(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn crowded_is_what_all_have_before_them_for_long() {
        let under_way = UnderWay::default();
        let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let first = under_way.begin(one, systems(&["cache", "crm"]));
        let _second = under_way.begin(other, systems(&["cache", "files"]));
        assert_eq!(under_way.crowded(2), systems(&[]), "they have only begun");
        for ahead in under_way.all().values_mut() {
            ahead.since = Instant::now().checked_sub(USUAL * 2).unwrap();
        }
        assert_eq!(under_way.crowded(2), systems(&["cache"]));
        assert_eq!(under_way.crowded(3), systems(&[]));
        first.is_past("cache");
        assert_eq!(under_way.crowded(2), systems(&[]));
        drop(first);
        assert_eq!(under_way.count(), 1);
    }
}
