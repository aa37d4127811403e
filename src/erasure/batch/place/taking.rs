//! A few people in one system.
//!
//! Nothing there is undone and nothing is counted by the system, so what is found is written down
//! before anything is taken away: as keyed hashes, sealed, which every later try adds to. Whatever
//! dies when, each thing is counted once. The root's rows are held while things are taken away.

use super::super::due::must_be_due;
use super::super::keep::still_theirs;
use super::super::named::source;
use super::super::setback::{Setback, setback};
use super::super::{Run, Work};
use crate::erasure::context::{Context, Planned};
use crate::erasure::crash_point;
use crate::erasure::holds::Gate;
use crate::erasure::places::{Found, NOT_BELIEVED, nobodys_things, unbelievable, values};
use crate::erasure::record::PlacesRecord;
use crate::plan::{
    ChangeKind, Counts, HeldRows, Identifiers, KeptRows, PlacePlan, PlacesPlan, SystemPlan,
    ThingNames,
};
use crate::store::StoreError;
use crate::system::place::{Address, Erased, Failed, Person, System};
use crate::system::postgres::execute::{ByColumn, Execution, Names, NotErased, Seen, Subject};
use deadpool_postgres::Transaction;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use uuid::Uuid;

/// How long the mark that something is about to go may take, while no hold can be placed.
const MARKING: Duration = Duration::from_secs(10);
/// How often what has come back meanwhile is taken away, before the rest is left to a later try.
const ROUNDS: usize = 3;

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
pub(super) struct Taking<'a> {
    context: &'a Context,
    run: &'a Run<'a>,
    planned: &'a Planned,
    part: &'a PlacesPlan,
    pub(super) system: &'a System,
    group: &'a mut [Work],
    /// Of each, what has been found by this try and those before.
    found: Vec<Found>,
    /// By place and position what the system keeps of somebody, and why.
    kept: BTreeMap<(String, usize), (String, BTreeSet<Address>)>,
    /// Whose order the system has taken and not yet done.
    pub(super) pending: BTreeSet<Uuid>,
}

impl<'a> Taking<'a> {
    pub(super) async fn begin(
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

    pub(super) async fn all(&mut self) -> Result<(), Setback> {
        for place in &self.part.places {
            self.one_place(place).await?;
        }
        self.remember_kept().await
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

    /// Of what a system has said that it keeps what is there yet: the rest is gone. If it shows nothing of it any
    /// more it is believed what it has said.
    fn stays(&mut self, place: &PlacePlan, left: &[Vec<Address>]) {
        for (at, left) in left.iter().enumerate() {
            let Some((_, kept)) = self.kept.get_mut(&(place.place.clone(), at)) else {
                continue;
            };
            let left: BTreeSet<&Address> = left.iter().collect();
            if kept.iter().any(|address| left.contains(address)) {
                kept.retain(|address| left.contains(address));
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

    /// Without what the system keeps, and those whose things it has still to take away.
    fn open_ones(&self, place: &PlacePlan, mut found: Vec<Vec<Address>>) -> Vec<Vec<Address>> {
        for (at, found) in found.iter_mut().enumerate() {
            if self.pending.contains(&self.group[at].ticket.id) {
                found.clear();
            }
            if let Some((_, kept)) = self.kept.get(&(place.place.clone(), at)) {
                found.retain(|address| !kept.contains(address));
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

    /// By which things it stays the second look tells it from others.
    async fn remember_kept(&mut self) -> Result<(), Setback> {
        let mut grown = BTreeSet::new();
        for place in self.part.places.iter().map(|place| &place.place) {
            for (at, found) in self.found.iter_mut().enumerate() {
                let kept = self.kept.get(&(place.clone(), at));
                let kept = kept.into_iter().flat_map(|(_, kept)| kept);
                if found.keep(&self.context.hash_key, place, kept) {
                    grown.insert(at);
                }
            }
        }
        let grown: Vec<usize> = grown.into_iter().collect();
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
            names = Some((of, named));
        }
        still_theirs(self.planned, self.group, &seen).map_err(setback)?;
        self.meet(&seen).await?;
        let renamed = match (place, names) {
            (Some(place), Some((of, names))) => self.learn_names(place, of, names).await?,
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
    fn known_names(&self, place: Option<&PlacePlan>, of: usize) -> ByColumn {
        let mut known = ByColumn::new();
        for (at, found) in self.found.iter().enumerate() {
            let names = place
                .into_iter()
                .flat_map(|place| found.all_named(&place.place));
            let names = ThingNames(names.map(str::to_owned).collect());
            if !names.0.is_empty() {
                known.insert((at, of), names);
            }
        }
        known
    }

    /// Writes down what rows name by now in the column that names what lies there; whether what is nobody else's
    /// is new.
    async fn learn_names(
        &mut self,
        place: &PlacePlan,
        column: usize,
        names: Names,
    ) -> Result<bool, Setback> {
        let (mut grown, mut new) = (BTreeSet::new(), false);
        let of = |names: ByColumn| names.into_iter().filter(move |((_, of), _)| *of == column);
        for ((at, _), names) in of(names.shared) {
            if self.found[at].share(&place.place, names) {
                grown.insert(at);
            }
        }
        for ((at, _), names) in of(names.own) {
            if self.found[at].name(&place.place, names) {
                grown.insert(at);
                new = true;
            }
        }
        let grown: Vec<usize> = grown.into_iter().collect();
        self.write_down(&grown).await?;
        Ok(new)
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
                    let of = self.kept.entry((place.place.clone(), at));
                    let (_, kept) = of.or_insert_with(|| (reason, BTreeSet::new()));
                    kept.extend(found[at].iter().cloned());
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
    pub(super) fn records(&self, copies: Option<&str>) -> Vec<(Uuid, i32, PlacesRecord)> {
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
            let stays = kept.map_or(0, |(_, stays)| stays.len().min(found));
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
        true if failed.of_them => Setback::Later("not_yet", failed.to_string()),
        true => Setback::Later("unreachable", failed.to_string()),
        false => Setback::Stuck("E0541", failed.to_string()),
    }
}
