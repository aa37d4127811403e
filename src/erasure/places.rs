//! What of a person lies in systems that are no databases: what is looked for, what has been found,
//! and the second look before a certificate.

use super::context::{Context, Unplanned};
use super::foresee::Unforeseen;
use super::identity::Identity;
use super::record::PlacesRecord;
use super::sweep::{Opened, SweepFailed, fail_waiting};
use crate::keys::{HashKey, Unsealable};
use crate::plan::{
    ChangeKind, Counts, Identifiers, PlacePlan, PlacesPlan, Plan, ThingNames, Wanted,
};
use crate::policy::Policy;
use crate::store::StoreError;
use crate::store::verifying::LeftThere;
use crate::system::place::{Address, Failed, Person, System};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use uuid::Uuid;
use zeroize::Zeroizing;

pub(super) const NOT_SEEN: &str = "a system that is no database could not be looked into again before the certificate; see the log for why";

/// People asked about in one call when nobody's row is held.
const AT_ONCE: usize = 500;

/// Every value known of a person by identifier, as it is stored and in its one writing.
pub(super) fn values(policy: &Policy, identity: &Identity) -> Identifiers {
    let mut values = identity.values.clone();
    for (name, normalised) in identity.normalised(policy) {
        let known = values.entry(name).or_default();
        if known.iter().all(|value| value != normalised.value()) {
            known.push(normalised.value().to_owned());
        }
    }
    Identifiers(values)
}

/// What has been found of one person in one system. The same thing found twice is one.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Found {
    /// Keyed hashes of addresses, by place.
    things: BTreeMap<String, BTreeSet<String>>,
    /// By place the names under which rows of the person's name things: when the rows have gone it is
    /// known by them what to look for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    named: BTreeMap<String, ThingNames>,
    /// By place the names that rows of somebody else's had too: they stay for as long as one has them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    shared: BTreeMap<String, ThingNames>,
    /// Of the things those that the system has said it keeps, and that were there afterwards.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    kept: BTreeMap<String, BTreeSet<String>>,
}

/// Half of a keyed hash tells a hundred thousand things apart.
fn known_by(key: &HashKey, address: &Address) -> String {
    let mut hash = key.hash("address", &hex(address.bytes()));
    hash.truncate(32);
    hash
}

impl Found {
    /// Adds what was found in a place; whether anything of it is new.
    pub(super) fn add(&mut self, key: &HashKey, place: &str, addresses: &[Address]) -> bool {
        if addresses.is_empty() {
            return false;
        }
        let known = self.things.entry(place.to_owned()).or_default();
        let before = known.len();
        known.extend(addresses.iter().map(|address| known_by(key, address)));
        known.len() > before
    }

    /// Adds what an earlier try has found: to what is counted only if it was not counted before. What is kept is
    /// what the last one said.
    pub(super) fn unite(&mut self, mut other: Self, counts: bool) {
        for (place, names) in &mut other.named {
            let known = self.named.entry(place.clone()).or_default();
            known.0.append(&mut names.0);
        }
        for (place, names) in &mut other.shared {
            let known = self.shared.entry(place.clone()).or_default();
            known.0.append(&mut names.0);
        }
        for (place, addresses) in std::mem::take(&mut other.things) {
            if counts {
                self.things.entry(place).or_default().extend(addresses);
            }
        }
        self.kept = other.kept;
    }

    /// The system keeps these of what was found in a place; whether that is new.
    pub(super) fn keep<'a>(
        &mut self,
        key: &HashKey,
        place: &str,
        addresses: impl Iterator<Item = &'a Address>,
    ) -> bool {
        let kept: BTreeSet<String> = addresses.map(|address| known_by(key, address)).collect();
        let before = match kept.is_empty() {
            true => self.kept.remove(place).unwrap_or_default(),
            false => {
                let before = self.kept.insert(place.to_owned(), kept.clone());
                before.unwrap_or_default()
            }
        };
        before != kept
    }

    /// Whether it has said that of this one.
    fn keeps(&self, key: &HashKey, place: &str, address: &Address) -> bool {
        let kept = self.kept.get(place);
        kept.is_some_and(|kept| kept.contains(&known_by(key, address)))
    }

    /// How many things were found in a place.
    pub(super) fn count(&self, place: &str) -> usize {
        self.things.get(place).map_or(0, BTreeSet::len)
    }

    /// What rows name in a place.
    pub(super) fn named(&self, place: &str) -> impl Iterator<Item = &str> {
        let names = self.named.get(place).into_iter();
        names.flat_map(|names| names.0.iter().map(String::as_str))
    }

    /// What rows name there that is, or was, somebody else's too.
    pub(super) fn shared(&self, place: &str) -> impl Iterator<Item = &str> {
        let names = self.shared.get(place).into_iter();
        names.flat_map(|names| names.0.iter().map(String::as_str))
    }

    /// Both.
    pub(super) fn all_named(&self, place: &str) -> impl Iterator<Item = &str> {
        self.named(place).chain(self.shared(place))
    }

    /// Rows name this by now, and nothing else that is nobody else's; whether that is new.
    pub(super) fn name(&mut self, place: &str, names: ThingNames) -> bool {
        replace(&mut self.named, place, names)
    }

    /// The same of what is somebody else's too.
    pub(super) fn share(&mut self, place: &str, names: ThingNames) -> bool {
        replace(&mut self.shared, place, names)
    }

    /// What to look for under these names.
    pub(super) fn wanted(&self, place: &PlacePlan) -> Vec<Wanted> {
        let from = place.from().into_iter();
        let keys = from.flat_map(|from| self.named(&place.place).map(|name| from.name(name)));
        keys.map(Wanted::Key).collect()
    }

    /// Encrypts it, bound to the ticket.
    pub(super) fn seal(&self, key: &HashKey, ticket: Uuid, nonce: [u8; 24]) -> Vec<u8> {
        let plain = serde_json::to_vec(self).expect("texts are always JSON");
        let plain = Zeroizing::new(plain);
        key.seal(ticket.as_bytes(), &plain, nonce)
    }

    /// Decrypts it.
    ///
    /// # Errors
    /// [`Unsealable`]: another key, another ticket, or bytes that were changed.
    pub(super) fn open(key: &HashKey, ticket: Uuid, sealed: &[u8]) -> Result<Self, Unsealable> {
        let plain = key.open(ticket.as_bytes(), sealed)?;
        serde_json::from_slice(plain.expose()).map_err(|_| Unsealable::Format)
    }
}

/// Puts these in the place of those that were known; whether they are others.
fn replace(known: &mut BTreeMap<String, ThingNames>, place: &str, names: ThingNames) -> bool {
    let known = known.entry(place.to_owned()).or_default();
    let is_new = *known != names;
    *known = names;
    is_new
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Said of a system that names things of somebody who does not exist.
pub const NOT_BELIEVED: &str = "E0542";

/// Why such a system is not asked about anybody.
pub fn unbelievable(system: &str, place: &str) -> String {
    format!(
        "{system}.{place}: asked about somebody who does not exist it names things, so whose they are cannot be told"
    )
}

/// How many things a system names of somebody who does not exist, whose values are of the form of these.
/// It is asked only where it knows itself what it has of a person.
///
/// # Errors
/// [`Failed`], if it cannot be asked just now.
pub async fn nobodys_things(
    system: &System,
    policy: &Policy,
    place: &PlacePlan,
    like: &BTreeMap<String, Vec<String>>,
) -> Result<usize, Failed> {
    let Some(nobody) = place.nobody(policy, like, rand::random()) else {
        return Ok(0);
    };
    let wanted = place.wanted(&nobody);
    let nobody = Person {
        request: Uuid::nil(),
        wanted: wanted.map_err(|unfit| Failed::stuck(unfit.to_string()))?,
    };
    system.names_of_nobody(&place.place, nobody).await
}

/// By system what rows of one person name there.
pub(super) type NamedThings = BTreeMap<String, Found>;

/// How much lies in each place, for one person. Changes nothing.
///
/// # Errors
/// [`Unforeseen`].
pub(super) async fn count(
    context: &Context,
    policy: &Policy,
    part: &PlacesPlan,
    identity: &Identity,
    named: &NamedThings,
) -> Result<Counts, Unforeseen> {
    let values = values(policy, identity);
    let mut counts = Counts::default();
    let Some(system) = context.places.get(&part.system) else {
        return Ok(counts);
    };
    for place in &part.places {
        let mut wanted = place
            .wanted(&values.0)
            .map_err(|unfit| Unforeseen::Unfound("E0540", unfit.to_string()))?;
        if let Some(found) = named.get(&part.system) {
            wanted.extend(found.wanted(place));
        }
        let person = [Person {
            request: Uuid::nil(),
            wanted,
        }];
        let found = system.find(&place.place, &person).await;
        let found = found.map_err(|failed| Unplanned::Failed {
            system: part.system.clone(),
            transient: failed.transient,
            problem: failed.problem,
        })?;
        let things = found.iter().map(Vec::len).sum::<usize>();
        let things = i64::try_from(things).unwrap_or(i64::MAX);
        let kinds = BTreeMap::from([(ChangeKind::Deleted, things)]);
        counts.changed.insert(place.place.clone(), kinds);
    }
    Ok(counts)
}

/// One place to look into again, for some people.
struct Look {
    part: PlacesPlan,
    place: PlacePlan,
    /// Positions of their tickets.
    people: Vec<usize>,
}

/// Names of things that rows named and nobody's does any more, by system, place and ticket: in a place that
/// the ticket's plan has no more.
pub(super) type Elsewhere = BTreeMap<(String, String, Uuid), ThingNames>;

/// Looks once more, by connections of its own, into every place in which something was done for these
/// tickets; what is left is written down as a finding. Returns the tickets that get no certificate for
/// now: they wait for a place that is down, or have failed because one will not answer.
///
/// # Errors
/// [`SweepFailed`]; [`SweepFailed::Away`] if all of them wait.
pub(super) async fn look_again(
    context: &Context,
    policy: &Policy,
    token: Uuid,
    tickets: &[Opened],
    elsewhere: &Elsewhere,
) -> Result<BTreeSet<Uuid>, SweepFailed> {
    let (looks, mut stuck) = looks(context, tickets, elsewhere).await?;
    let known = known(context, &looks, tickets).await?;
    let mut away = BTreeSet::new();
    let mut problem = String::new();
    for look in looks {
        let system = context.places.get(&look.part.system);
        let bears = system.map_or(usize::MAX, |system| system.people_at_once());
        let at_once = AT_ONCE.min(bears.max(1));
        let mut groups: Vec<&[usize]> = look.people.chunks(at_once).collect();
        while let Some(some) = groups.pop() {
            match look
                .at(context, policy, tickets, some, (&known, elsewhere))
                .await
            {
                Ok(left) => context.store.left_there(token, &left).await?,
                Err(failed) => {
                    let ids = some.iter().map(|at| tickets[*at].ticket.id);
                    tracing::warn!(
                        system = look.part.system,
                        place = look.place.place,
                        problem = failed.problem,
                        "a place could not be looked into again"
                    );
                    match (failed.transient, some) {
                        (true, _) => {
                            away.extend(ids);
                            problem = failed.problem;
                        }
                        (false, [_]) => stuck.extend(ids),
                        (false, some) => groups.extend(some.chunks(some.len().div_ceil(2))),
                    }
                }
            }
        }
    }
    fail_waiting(context, token, &stuck, "E0541", NOT_SEEN).await?;
    if !away.is_empty() && away.len() + stuck.len() >= tickets.len() {
        return Err(SweepFailed::Away(problem));
    }
    away.extend(stuck);
    Ok(away)
}

/// Every place of a step of these tickets, and the tickets of which that cannot be read.
async fn looks(
    context: &Context,
    tickets: &[Opened],
    elsewhere: &Elsewhere,
) -> Result<(Vec<Look>, Vec<Uuid>), StoreError> {
    let mut unreadable = Vec::new();
    let ids: Vec<Uuid> = tickets.iter().map(|t| t.ticket.id).collect();
    let mut plans: BTreeMap<String, Option<Plan>> = BTreeMap::new();
    let mut looks: BTreeMap<(String, String, String), Look> = BTreeMap::new();
    for step in context.store.steps(&ids).await? {
        let record = step
            .counts
            .and_then(|counts| serde_json::from_value::<PlacesRecord>(counts).ok());
        let left = |of: &(String, String, Uuid)| of.0 == step.system && of.2 == step.ticket;
        let Some(at) = ids.iter().position(|id| *id == step.ticket) else {
            continue;
        };
        if record.is_none() && !elsewhere.keys().any(left) {
            continue;
        }
        if !plans.contains_key(&step.plan_id) {
            let stored = context.store.plan(&step.plan_id).await?;
            let plan = stored.and_then(|stored| serde_json::from_str(&stored.body).ok());
            plans.insert(step.plan_id.clone(), plan);
        }
        let plan = plans.get(&step.plan_id).and_then(Option::as_ref);
        let part = plan.and_then(|plan| plan.places.iter().find(|p| p.system == step.system));
        let Some(part) = part else {
            unreadable.push(step.ticket);
            continue;
        };
        for place in &part.places {
            let of = (step.system.clone(), place.place.clone(), step.ticket);
            if record.is_none() && !elsewhere.contains_key(&of) {
                continue;
            }
            let key = (
                step.plan_id.clone(),
                step.system.clone(),
                place.place.clone(),
            );
            let look = looks.entry(key).or_insert_with(|| Look {
                part: part.clone(),
                place: place.clone(),
                people: Vec::new(),
            });
            if !look.people.contains(&at) {
                look.people.push(at);
            }
        }
    }
    Ok((looks.into_values().collect(), unreadable))
}

/// What is written down of each ticket, by system and ticket.
pub(super) type Known = BTreeMap<(String, Uuid), Found>;

/// What rows named is known by nothing else when they have gone, nor is what a system keeps.
async fn known(
    context: &Context,
    looks: &[Look],
    tickets: &[Opened],
) -> Result<Known, SweepFailed> {
    let systems: BTreeSet<&str> = looks.iter().map(|look| &*look.part.system).collect();
    let ids: Vec<Uuid> = tickets.iter().map(|t| t.ticket.id).collect();
    let mut known = Known::new();
    for system in systems {
        for found in context.store.found(&ids, system).await? {
            let opened = Found::open(&context.hash_key, found.ticket, &found.sealed);
            let opened =
                opened.map_err(|e| SweepFailed::Reading(system.to_owned(), e.to_string()))?;
            // The last try knew what those before had, and what has become somebody else's since.
            known.insert((system.to_owned(), found.ticket), opened);
        }
    }
    Ok(known)
}

impl Look {
    /// What is left of some people.
    async fn at(
        &self,
        context: &Context,
        policy: &Policy,
        tickets: &[Opened],
        which: &[usize],
        (known, elsewhere): (&Known, &Elsewhere),
    ) -> Result<Vec<LeftThere>, Failed> {
        let system = &self.part.system;
        let asked = context.places.get(system).ok_or_else(|| {
            Failed::stuck(format!("{system} is not in the configuration any more"))
        })?;
        let mut people = Vec::with_capacity(which.len());
        for at in which {
            let values = values(policy, &tickets[*at].identity);
            let wanted = self.place.wanted(&values.0);
            let mut wanted = wanted.map_err(|unfit| Failed::stuck(unfit.to_string()))?;
            let request = tickets[*at].ticket.id;
            if let Some(found) = known.get(&(system.clone(), request)) {
                wanted.extend(found.wanted(&self.place));
            }
            let of = (system.clone(), self.place.place.clone(), request);
            if let (Some(from), Some(names)) = (self.place.from(), elsewhere.get(&of)) {
                wanted.extend(names.0.iter().map(|name| Wanted::Key(from.name(name))));
            }
            people.push(Person { request, wanted });
        }
        let nothing: Vec<Vec<Address>> = people.iter().map(|_| Vec::new()).collect();
        let place = &self.place.place;
        let found = asked.probe(place, &people, &nothing).await?;
        let key = &context.hash_key;
        let more = |at: usize, found: &[Address]| {
            let known = known.get(&(system.clone(), tickets[at].ticket.id));
            let kept = |address: &&Address| known.is_some_and(|k| k.keeps(key, place, address));
            found.iter().filter(|address| !kept(address)).count()
        };
        let left = which.iter().zip(&found);
        let left = left.map(|(at, found)| (*at, more(*at, found)));
        let left = left.filter(|(_, things)| *things > 0);
        let left = left.map(|(at, things)| LeftThere {
            ticket: tickets[at].ticket.id,
            system: system.clone(),
            place: place.clone(),
            things: i64::try_from(things).unwrap_or(i64::MAX),
        });
        Ok(left.collect())
    }
}
