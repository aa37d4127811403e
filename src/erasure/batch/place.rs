//! Places: what lies in systems that are no databases goes before any row does. A few people at a time are
//! taken through all of them, system after system.

mod taking;

use super::super::context::Planned;
use super::super::crash_point;
use super::super::places::NOT_BELIEVED;
use super::super::record::PlacesRecord;
use super::setback::{Setback, away, shared};
use super::{Late, Run, Work};
use crate::plan::PlacesPlan;
use crate::store::StoreError;
use crate::system::place::System;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;
use taking::Taking;
use uuid::Uuid;

/// People whose rows are held for one call.
const AT_ONCE: usize = 50;

impl Run<'_> {
    /// All places of these tickets, a few people at a time and system after system: while one group waits for a
    /// system another asks the next, and each system is asked about as many groups at once as it bears. Groups
    /// have nobody in common, so they lock nothing of each other's; but rows that name things may be several
    /// people's, so where there are such, one group goes after the other. Returns those that are through all
    /// of them; who waits for one system goes on in the others first.
    pub(super) async fn all_places(
        &self,
        planned: &Planned,
        mut work: Vec<Work>,
        done: &BTreeSet<(Uuid, i32, String)>,
    ) -> Result<Vec<Work>, StoreError> {
        let systems = planned.plan.places.iter();
        let systems = systems.filter_map(|part| self.context.places.get(&part.system));
        let side_by_side: usize = systems.map(System::concurrency).sum();
        let mut places = planned.plan.places.iter().flat_map(|part| &part.places);
        let side_by_side = match places.any(|place| place.from().is_some()) {
            true => 1,
            false => side_by_side.max(1),
        };
        let down = Down::default();
        let mut groups = Vec::new();
        while !work.is_empty() {
            let group = work.split_off(work.len().saturating_sub(AT_ONCE));
            groups.push(self.places_of_group(planned, group, done, &down));
        }
        let groups = stream::iter(groups.into_iter().rev());
        // None is cut short where another fails: what it has asked of a system may be on its way.
        let ended: Vec<_> = groups.buffered(side_by_side).collect().await;
        let mut late = Late::new();
        for group in ended {
            let (through, waits) = group?;
            work.extend(through);
            late.extend(waits);
        }
        self.put_off(work, late).await
    }

    /// A few people, system after system. Returns those that may go on, and for what some of them wait.
    fn places_of_group<'r>(
        &'r self,
        planned: &'r Planned,
        mut work: Vec<Work>,
        done: &'r BTreeSet<(Uuid, i32, String)>,
        down: &'r Down,
    ) -> BoxFuture<'r, Result<(Vec<Work>, Late), StoreError>> {
        Box::pin(async move {
            let mut late = Late::new();
            for part in &planned.plan.places {
                let (finished, pending): (Vec<Work>, Vec<Work>) = work.into_iter().partition(|w| {
                    done.contains(&(w.ticket.id, w.ticket.generation, part.system.clone()))
                });
                work = finished;
                let there = self.places_of(planned, part, pending, (&mut late, down));
                work.extend(there.await?);
            }
            Ok((work, late))
        })
    }

    /// One system for all, a few people at a time, then for halves of those that failed. Returns
    /// those that may go on elsewhere.
    async fn places_of(
        &self,
        planned: &Planned,
        part: &PlacesPlan,
        mut work: Vec<Work>,
        (late, down): (&mut Late, &Down),
    ) -> Result<Vec<Work>, StoreError> {
        let mut through = Vec::with_capacity(work.len());
        let mut groups = Vec::new();
        let system = self.context.places.get(&part.system);
        let bears = system.map_or(usize::MAX, |system| system.people_at_once());
        let at_once = AT_ONCE.min(bears.max(1));
        while !work.is_empty() {
            groups.push(work.split_off(work.len().saturating_sub(at_once)));
        }
        while let Some(mut group) = groups.pop() {
            if group.is_empty() {
                continue;
            }
            let taken = self.one_place_group(planned, part, &mut group, down);
            match taken.await? {
                Ok(pending) => {
                    let problem = || ("pending", format!("{} has not finished yet", part.system));
                    late.extend(pending.into_iter().map(|ticket| (ticket, problem())));
                    through.extend(group);
                }
                // What is down for one group is down for those that have not been asked yet.
                Err(Setback::Later(cause, problem)) if shared(cause) => {
                    if away(cause) {
                        down.note(&part.system, cause, &problem);
                    }
                    through.extend(groups.drain(..).flatten().chain(group).inspect(|work| {
                        late.insert(work.ticket.id, (cause, problem.clone()));
                    }));
                }
                // Whose names have changed is asked first by the next try.
                Err(Setback::Later(cause, problem))
                    if group.len() == 1 || cause == "contact_changed" =>
                {
                    let ids = group.iter().map(|work| work.ticket.id);
                    late.extend(ids.map(|id| (id, (cause, problem.clone()))));
                    through.extend(group);
                }
                Err(Setback::Stuck(code, problem)) if group.len() == 1 || code == NOT_BELIEVED => {
                    for work in &group {
                        self.fail(&work.ticket, code, &problem).await?;
                    }
                }
                Err(Setback::Held(tickets)) => {
                    let (held, free): (Vec<Work>, Vec<Work>) = group
                        .into_iter()
                        .partition(|w| tickets.contains(&w.ticket.id));
                    if held.is_empty() {
                        wait_for_holds(&free, late);
                        through.extend(free);
                        continue;
                    }
                    self.suspend(&held).await?;
                    groups.push(free);
                }
                // Nothing there goes beside what is held, so all of it waits.
                Err(Setback::HeldRows(found)) => {
                    let held = |w: &Work| found.iter().any(|row| row.ticket == w.ticket.id);
                    let none = !group.iter().any(held);
                    let (held, free): (Vec<Work>, Vec<Work>) =
                        group.into_iter().partition(|w| none || held(w));
                    wait_for_holds(&held, late);
                    through.extend(held);
                    groups.push(free);
                }
                // More than one: a single one's setback has its own way above.
                Err(_) => {
                    let half = group.split_off(group.len() / 2);
                    groups.push(half);
                    groups.push(group);
                }
            }
        }
        Ok(through)
    }

    /// Returns those of whom the system has taken the order and not yet done it.
    async fn one_place_group(
        &self,
        planned: &Planned,
        part: &PlacesPlan,
        group: &mut [Work],
        down: &Down,
    ) -> Result<Result<BTreeSet<Uuid>, Setback>, StoreError> {
        self.under_plan(planned, &part.system, group).await?;
        let _at = self.context.under_way.at(self.token, &part.system);
        // Before anything is held.
        let system = self.context.places.get(&part.system);
        let _turn = match system {
            Some(system) => system.turn().await,
            None => None,
        };
        if let Some(setback) = down.setback(&part.system) {
            return Ok(Err(setback));
        }
        let started = Instant::now();
        let mut taking = match Taking::begin(self, planned, part, group).await {
            Ok(taking) => taking,
            Err(setback) => return Ok(Err(setback)),
        };
        let taken = taking.all().await;
        metrics::histogram!(crate::metrics::STEP_SECONDS, "system" => part.system.clone())
            .record(started.elapsed().as_secs_f64());
        if let Err(setback) = taken {
            return Ok(Err(setback));
        }
        crash_point("before-place-done");
        let copies = taking.system.copies().await;
        let records = taking.records(copies.as_deref());
        let pending = std::mem::take(&mut taking.pending);
        let done: Vec<_> = records
            .iter()
            .map(|(ticket, generation, record)| {
                let record = serde_json::to_value(record).expect("a record is always JSON");
                (*ticket, *generation, record, self.context.now())
            })
            .collect();
        self.context
            .store
            .step_done(self.token, &part.system, &done)
            .await?;
        crash_point("after-place-done");
        count(&part.system, &records);
        Ok(Ok(pending))
    }
}

/// Why a system takes none of this batch just now, by the system: no group need find that out for itself.
#[derive(Default)]
struct Down(Mutex<BTreeMap<String, (&'static str, String)>>);

impl Down {
    fn note(&self, system: &str, cause: &'static str, problem: &str) {
        let mut down = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        down.insert(system.to_owned(), (cause, problem.to_owned()));
    }

    fn setback(&self, system: &str) -> Option<Setback> {
        let down = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (cause, problem) = down.get(system)?;
        Some(Setback::Later(cause, problem.clone()))
    }
}

/// These tickets wait until what is held is released.
fn wait_for_holds(work: &[Work], late: &mut Late) {
    let why = (
        "legal_hold",
        "a legal hold covers what would be erased".to_owned(),
    );
    late.extend(work.iter().map(|work| (work.ticket.id, why.clone())));
}

fn count(system: &str, records: &[(Uuid, i32, PlacesRecord)]) {
    let mut things: BTreeMap<(&str, &'static str), u64> = BTreeMap::new();
    for (_, _, record) in records {
        for (place, kinds) in &record.counts.changed {
            let gone: i64 = kinds.values().sum();
            *things.entry((place, "deleted")).or_default() += gone.unsigned_abs();
        }
        for kept in &record.counts.kept {
            *things.entry((&kept.table, "kept")).or_default() += kept.rows.unsigned_abs();
        }
    }
    for ((place, action), n) in things {
        metrics::counter!(crate::metrics::ROWS, "system" => system.to_owned(), "table" => place.to_owned(), "action" => action).increment(n);
    }
}
