//! Places: what lies in systems that are no databases goes before any row does.
//!
//! Nothing there is undone and nothing is counted by the system, so what is found is written down
//! before anything is taken away: as keyed hashes, sealed, which every later try adds to. Whatever
//! dies when, each thing is counted once. The root's rows are held while things are taken away.

use super::super::context::{Context, Planned};
use super::super::crash_point;
use super::super::holds::Gate;
use super::super::places::{Found, NOT_BELIEVED, nobodys_things, unbelievable, values};
use super::super::record::PlacesRecord;
use super::due::must_be_due;
use super::keep::still_theirs;
use super::named::source;
use super::setback::{Setback, away, setback, shared};
use super::{Late, Run, Work};
use crate::plan::{
    ChangeKind, Counts, HeldRows, Identifiers, KeptRows, PlacePlan, PlacesPlan, SystemPlan,
};
use crate::store::StoreError;
use crate::system::place::{Address, Erased, Failed, Person, System};
use crate::system::postgres::execute::{Execution, Names, NotErased, Seen, Subject};
use deadpool_postgres::Transaction;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// People whose rows are held for one call.
const AT_ONCE: usize = 50;
/// How long the mark that something is about to go may take, while no hold can be placed.
const MARKING: Duration = Duration::from_secs(10);
/// How often what has come back meanwhile is taken away, before the rest is left to a later try.
const ROUNDS: usize = 3;

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

/// What is done while rows are held.
#[derive(Clone, Copy)]
enum What<'w> {
    /// Nothing: what they say is compared.
    Look,
    /// It is read what they name in a place.
    Name(&'w PlacePlan),
    /// What was found is taken away.
    Take(&'w PlacePlan, &'w [Vec<Address>]),
}

impl<'w> What<'w> {
    fn place(self) -> Option<&'w PlacePlan> {
        match self {
            Self::Look => None,
            Self::Name(place) | Self::Take(place, _) => Some(place),
        }
    }
}

/// One group of people in one system.
struct Taking<'a> {
    context: &'a Context,
    run: &'a Run<'a>,
    planned: &'a Planned,
    part: &'a PlacesPlan,
    system: &'a System,
    group: &'a mut [Work],
    /// Of each, what has been found by this try and those before.
    found: Vec<Found>,
    /// By place and position what the system keeps of somebody, and why.
    kept: BTreeMap<(String, usize), (String, usize)>,
    /// Whose order the system has taken and not yet done.
    pending: BTreeSet<Uuid>,
}

impl<'a> Taking<'a> {
    async fn begin(
        run: &'a Run<'a>,
        planned: &'a Planned,
        part: &'a PlacesPlan,
        group: &'a mut [Work],
    ) -> Result<Self, Setback> {
        let context = run.context;
        let system = context.places.get(&part.system).ok_or_else(|| {
            let problem = format!("{} is not in the configuration any more", part.system);
            Setback::Later("drift", problem)
        })?;
        let tickets: Vec<Uuid> = group.iter().map(|w| w.ticket.id).collect();
        let stored = context.store.found(&tickets, &part.system).await;
        let stored = stored.map_err(control)?;
        let mut found: Vec<Found> = group.iter().map(|_| Found::default()).collect();
        for stored in stored {
            let at = tickets.iter().position(|id| *id == stored.ticket);
            let opened = Found::open(&context.hash_key, stored.ticket, &stored.sealed);
            let opened = opened.map_err(|e| Setback::Stuck("E0507", e.to_string()))?;
            if let Some(found) = at.and_then(|at| found.get_mut(at)) {
                found.unite(opened, stored.open);
            }
        }
        let mut taking = Self {
            context,
            run,
            planned,
            part,
            system,
            group,
            found,
            kept: BTreeMap::new(),
            pending: BTreeSet::new(),
        };
        // Whatever the person is called today is looked for too.
        taking.while_held(What::Look).await?;
        Ok(taking)
    }

    async fn all(&mut self) -> Result<(), Setback> {
        for place in &self.part.places {
            self.one_place(place).await?;
        }
        Ok(())
    }

    /// What names something of somebody who does not exist would have us erase anybody's.
    async fn is_believed(&self, place: &PlacePlan) -> Result<(), Setback> {
        let policy = &self.planned.policy;
        let like = self.group.first().map(|w| values(policy, &w.identity));
        let like = like.unwrap_or_else(|| Identifiers(BTreeMap::new()));
        let named = nobodys_things(self.system, policy, place, &like.0).await;
        match named.map_err(failed)? {
            0 => Ok(()),
            _ => Err(Setback::Stuck(
                NOT_BELIEVED,
                unbelievable(&self.part.system, &place.place),
            )),
        }
    }

    /// Until nothing is found any more: what takes a while to fall silent may put something back.
    async fn one_place(&mut self, place: &PlacePlan) -> Result<(), Setback> {
        self.is_believed(place).await?;
        for _ in 0..ROUNDS {
            if place.from().is_some() {
                self.while_held(What::Name(place)).await?;
                crash_point("after-named");
            }
            let people = self.people(place)?;
            let found = self.system.find(&place.place, &people).await;
            let found = self.open_ones(place, found.map_err(failed)?);
            if found.iter().all(Vec::is_empty) {
                return Ok(());
            }
            self.remember(place, &found).await?;
            crash_point("after-found");
            self.while_held(What::Take(place, &found)).await?;
            crash_point("after-place-erased");
            let left = self.system.probe(&place.place, &people, &found).await;
            let left = left.map_err(failed)?;
            self.stays(place, &left);
            let left = self.open_ones(place, left);
            if left.iter().all(Vec::is_empty) {
                return Ok(());
            }
        }
        let problem = format!(
            "{}.{}: what was erased is there again",
            self.part.system, place.place
        );
        Err(Setback::Later("refilled", problem))
    }

    /// Where a system keeps some of somebody's things, the rest is gone.
    fn stays(&mut self, place: &PlacePlan, left: &[Vec<Address>]) {
        for (at, left) in left.iter().enumerate().filter(|(_, left)| !left.is_empty()) {
            if let Some((_, stays)) = self.kept.get_mut(&(place.place.clone(), at)) {
                *stays = left.len();
            }
        }
    }

    /// What to look for of each.
    fn people(&self, place: &PlacePlan) -> Result<Vec<Person>, Setback> {
        let people = self.group.iter().zip(&self.found).map(|(work, found)| {
            let values = values(&self.planned.policy, &work.identity);
            let wanted = place.wanted(&values.0);
            let mut wanted = wanted.map_err(|unfit| Setback::Stuck("E0540", unfit.to_string()))?;
            wanted.extend(found.wanted(place));
            let request = work.ticket.id;
            Ok(Person { request, wanted })
        });
        people.collect()
    }

    /// Without those whose things the system keeps, or has still to take away.
    fn open_ones(&self, place: &PlacePlan, mut found: Vec<Vec<Address>>) -> Vec<Vec<Address>> {
        for (at, found) in found.iter_mut().enumerate() {
            let kept = self.kept.contains_key(&(place.place.clone(), at));
            if kept || self.pending.contains(&self.group[at].ticket.id) {
                found.clear();
            }
        }
        found
    }

    /// Before anything is taken away.
    async fn remember(&mut self, place: &PlacePlan, found: &[Vec<Address>]) -> Result<(), Setback> {
        let mut grown = Vec::new();
        for (at, addresses) in found.iter().enumerate() {
            let key = &self.context.hash_key;
            if self.found[at].add(key, &place.place, addresses) {
                grown.push(at);
            }
        }
        self.write_down(&grown).await
    }

    /// What is known of these.
    async fn write_down(&self, grown: &[usize]) -> Result<(), Setback> {
        if grown.is_empty() {
            return Ok(());
        }
        let sealed = grown.iter().map(|at| {
            let ticket = &self.group[*at].ticket;
            let found = &self.found[*at];
            let sealed = found.seal(&self.context.hash_key, ticket.id, rand::random());
            (ticket.id, ticket.generation, sealed)
        });
        let sealed: Vec<_> = sealed.collect();
        let store = &self.context.store;
        let kept = store.keep_found(self.run.token, &self.part.system, &sealed);
        kept.await.map_err(control)
    }

    /// Compares the people with their rows under lock, and does something while that is held.
    async fn while_held(&mut self, what: What<'_>) -> Result<(), Setback> {
        let place = what.place();
        let source =
            place.and_then(|place| source(&self.planned.plan.systems, &self.part.system, place));
        // The rows that name things may be the root's, or lie beside them.
        let holder = source.map_or(self.part.system.as_str(), |(part, _)| &part.system);
        let gate = Gate::open(self.context, &self.run.door, holder, |table| {
            source.is_some_and(|(part, _)| part.touches(table))
        });
        let mut gate = gate.await.map_err(setback)?;
        let subjects = self.subjects();
        let mut root = self
            .run
            .root_of(self.planned, holder)
            .await
            .map_err(setback)?;
        let mut namer = self.namer(source).await?;
        let hash = |text: &str| self.context.hash_key.hash("column", text);
        let (mut held, mut seen) = (Vec::new(), Vec::new());
        if let Some((root_part, client)) = &mut root {
            let execution = self.execution(root_part, &subjects, &[], &hash);
            let due = must_be_due(root_part, self.group);
            let holding = execution.hold_subjects(client, &due).await;
            let (tx, said) = holding.map_err(setback)?;
            held.push(tx);
            seen.extend(said);
        }
        let mut names = None;
        if let (Some((part, of)), Some(client)) = (source, &mut namer) {
            let execution = self.execution(part, &subjects, &gate.rows, &hash);
            let due = match part.system == self.planned.policy.root.0.system {
                true => must_be_due(part, self.group),
                false => Vec::new(),
            };
            let known = self.known_names(place, of);
            let holding = execution.hold_things(client, &due, &known).await;
            let (tx, said, named) = holding.map_err(setback)?;
            held.push(tx);
            seen.extend(said);
            names = Some(named);
        }
        still_theirs(self.planned, self.group, &seen).map_err(setback)?;
        self.meet(&seen).await?;
        let renamed = match (place, names) {
            (Some(place), Some(names)) => self.learn_names(place, names).await?,
            _ => false,
        };
        match what {
            What::Take(..) if renamed => Err(setback(NotErased::NewThing)),
            What::Take(place, found) => self.take(place, found, &held, &mut gate).await,
            What::Look | What::Name(_) => Ok(()),
        }
    }

    fn subjects(&self) -> Vec<Subject> {
        let subjects = self.group.iter().map(|w| Subject {
            ticket: w.ticket.id,
            generation: w.ticket.generation,
            keys: vec![w.identity.key.clone()],
            identifiers: w.identity.forms(&self.planned.policy),
        });
        subjects.collect()
    }

    fn execution<'e>(
        &'e self,
        part: &'e SystemPlan,
        subjects: &'e [Subject],
        held: &'e [HeldRows],
        hash: &'e (dyn Fn(&str) -> String + Sync),
    ) -> Execution<'e> {
        let stamp = self.planned.stamps.get(&part.system);
        let mut timeouts = self.context.timeouts(self.group.len());
        timeouts.idle = timeouts.idle.max(MARKING + self.system.patience());
        Execution {
            plan: part,
            held,
            subjects,
            now: self.context.now(),
            timeouts,
            piece_rows: self.context.config.limits.piece_rows.get().into(),
            stamp: stamp.map_or("", String::as_str),
            batch: self.run.token,
            prepare: None,
            dry: false,
            hash,
        }
    }

    /// A session where the rows are that name things.
    async fn namer(
        &self,
        source: Option<(&SystemPlan, usize)>,
    ) -> Result<Option<deadpool_postgres::Client>, Setback> {
        let Some((part, _)) = source else {
            return Ok(None);
        };
        let system = self.context.systems.get(&part.system).ok_or_else(|| {
            let system = part.system.clone();
            setback(NotErased::Drift { system })
        })?;
        let client = system.pool.get().await;
        let client = client.map_err(|e| Setback::Later(e.cause(), e.to_string()))?;
        Ok(Some(client))
    }

    /// What is known to have been named in a place, for the column of the plan's that names it.
    fn known_names(&self, place: Option<&PlacePlan>, of: usize) -> Names {
        let mut known = Names::default();
        for (at, found) in self.found.iter().enumerate() {
            let names = place
                .into_iter()
                .flat_map(|place| found.named(&place.place));
            let names: BTreeSet<String> = names.map(str::to_owned).collect();
            if !names.is_empty() {
                known.0.insert((at, of), names);
            }
        }
        known
    }

    /// Writes down what rows name by now; whether that is new.
    async fn learn_names(&mut self, place: &PlacePlan, mut names: Names) -> Result<bool, Setback> {
        let mut grown = Vec::new();
        for ((at, _), names) in std::mem::take(&mut names.0) {
            if self.found[at].name(&place.place, names) {
                grown.push(at);
            }
        }
        self.write_down(&grown).await?;
        Ok(!grown.is_empty())
    }
}

impl Taking<'_> {
    /// What a row says by now is looked for by the next try, which first asks whose it is.
    async fn meet(&mut self, seen: &[Seen]) -> Result<(), Setback> {
        let mut grown = Vec::new();
        for seen in seen {
            let key = self.group[seen.ticket].identity.key.clone();
            for work in self.group.iter_mut().filter(|w| w.identity.key == key) {
                let met = work.identity.meet(&self.planned.policy, &seen.values);
                let grew =
                    met.map_err(|identifier| setback(NotErased::OtherIdentity { identifier }))?;
                if grew {
                    let key = &self.context.hash_key;
                    let sealed = work.identity.seal(key, work.ticket.id, rand::random());
                    grown.push((work.ticket.id, sealed));
                }
            }
        }
        if grown.is_empty() {
            return Ok(());
        }
        let sealed = self.context.store.seal(self.run.token, &grown).await;
        sealed.map_err(control)?;
        Err(setback(NotErased::ContactChanged))
    }

    async fn take(
        &mut self,
        place: &PlacePlan,
        found: &[Vec<Address>],
        held: &[Transaction<'_>],
        gate: &mut Gate,
    ) -> Result<(), Setback> {
        let of: Vec<usize> = (0..found.len())
            .filter(|at| !found[*at].is_empty())
            .collect();
        let people = self.people(place)?.into_iter().enumerate();
        let people: Vec<Person> = people
            .filter(|(at, _)| of.contains(at))
            .map(|(_, p)| p)
            .collect();
        let addresses: Vec<Vec<Address>> = of.iter().map(|at| found[*at].clone()).collect();
        let tickets: Vec<Uuid> = of.iter().map(|at| self.group[*at].ticket.id).collect();
        let time = MARKING + self.system.patience();
        let asked = gate.ask(self.context, &tickets, time).await;
        asked.map_err(setback)?;
        crash_point("before-place-mark");
        self.mark(&of, &tickets).await?;
        // These sessions have said nothing meanwhile: the server may have ended them, and with them the locks.
        for tx in held {
            let still = tx.batch_execute("/* erasured:still held */ SELECT").await;
            still.map_err(|error| setback(error.into()))?;
        }
        crash_point("before-place-erase");
        let erased = self.system.erase(&place.place, &people, &addresses).await;
        gate.close().await;
        for (at, erased) in of.into_iter().zip(erased.map_err(failed)?) {
            match erased {
                Erased::Gone => {}
                Erased::Pending => drop(self.pending.insert(self.group[at].ticket.id)),
                Erased::Kept(reason) if !place.may_be_kept_for(self.part.kind, &reason) => {
                    return Err(Setback::Stuck("E0543", unlisted(&self.part.system, place)));
                }
                Erased::Kept(reason) => {
                    let kept = (reason, found[at].len());
                    self.kept.insert((place.place.clone(), at), kept);
                }
            }
        }
        Ok(())
    }

    /// Behind the last question: from now on these people are half erased, and asked about no more.
    async fn mark(&mut self, of: &[usize], tickets: &[Uuid]) -> Result<(), Setback> {
        let store = &self.context.store;
        let marked = store.will_take(self.run.token, &self.part.system, tickets);
        let marked = tokio::time::timeout(MARKING, marked).await.map_err(|_| {
            let problem = "that something is about to go could not be written down in time";
            Setback::Later("control", problem.to_owned())
        })?;
        marked.map_err(control)?;
        for at in of {
            self.group[*at].has_begun();
        }
        Ok(())
    }

    /// What was done for those who are through, as it is kept.
    fn records(&self, copies: Option<&str>) -> Vec<(Uuid, i32, PlacesRecord)> {
        let through = self.group.iter().enumerate();
        let through = through.filter(|(_, work)| !self.pending.contains(&work.ticket.id));
        let records = through.map(|(at, work)| {
            let record = PlacesRecord {
                kind: self.part.kind,
                counts: self.counts(at),
                copies: copies.map(str::to_owned),
            };
            (work.ticket.id, work.ticket.generation, record)
        });
        records.collect()
    }

    fn counts(&self, at: usize) -> Counts {
        let mut counts = Counts::default();
        for place in self.part.places.iter().map(|place| &place.place) {
            let number = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
            let found = self.found[at].count(place);
            let kept = self.kept.get(&(place.clone(), at));
            let stays = kept.map_or(0, |(_, stays)| (*stays).min(found));
            let deleted = number(found - stays);
            let kinds = BTreeMap::from([(ChangeKind::Deleted, deleted)]);
            counts.changed.insert(place.clone(), kinds);
            counts.kept.extend(kept.map(|(reason, _)| KeptRows {
                table: place.clone(),
                because: reason.clone(),
                until: None,
                rows: number(stays),
            }));
        }
        counts
    }
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

/// The reason itself may be a value: it is not repeated.
fn unlisted(system: &str, place: &PlacePlan) -> String {
    format!(
        "{system}.{}: it keeps something for a reason that the policy does not list",
        place.place
    )
}

fn control(error: StoreError) -> Setback {
    setback(NotErased::Hook(error.to_string()))
}

fn failed(failed: Failed) -> Setback {
    match failed.transient {
        true => Setback::Later("unreachable", failed.to_string()),
        false => Setback::Stuck("E0541", failed.to_string()),
    }
}
