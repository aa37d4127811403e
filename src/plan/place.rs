//! The part of a plan in a system without tables: places, and what is sought there.

use crate::config::place::Kind;
use crate::identifier::nobody;
use crate::policy::place::{FromRows, Template, Unfit};
use crate::policy::{Policy, Sought};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// What one scope does in one such system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacesPlan {
    /// The registered name.
    pub system: String,
    /// What it is.
    pub kind: Kind,
    /// Its places, in the order of the policy.
    pub places: Vec<PlacePlan>,
}

/// One place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacePlan {
    /// What the policy calls it.
    pub place: String,
    /// By what is found what lies there.
    pub sought: Vec<Sought>,
    /// By identifier the characters that stand in no value which becomes part of an address.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub excluded: BTreeMap<String, String>,
    /// For which reasons the system may say that it keeps something.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<String>,
}

/// Something of one person to look for. It holds values of identifiers: no Debug.
#[derive(PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub enum Wanted {
    /// Exactly this.
    Key(String),
    /// All that begins and ends so, and is as long as both.
    Between {
        /// The beginning; holds a value of the person.
        begins: String,
        /// The end; empty where anything may follow.
        ends: String,
    },
    /// This member of something that is everybody's.
    Member {
        /// What it is a member of.
        of: String,
        /// The member.
        value: String,
        /// The field that says it, where members are entries of a log.
        field: Option<String>,
    },
    /// Whatever the system knows of the person with these identifiers.
    Person(
        /// By name, all values; never empty, nor is one of the lists.
        #[zeroize(skip)]
        Identifiers,
    ),
}

/// Names under which rows of a person name things: theirs, so no Debug, and wiped when dropped.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ThingNames(pub BTreeSet<String>);

impl Drop for ThingNames {
    fn drop(&mut self) {
        let names = std::mem::take(&mut self.0).into_iter();
        names.for_each(|mut name| name.zeroize());
    }
}

/// Values of identifiers by name, wiped when dropped.
#[derive(PartialEq, Eq)]
pub struct Identifiers(pub BTreeMap<String, Vec<String>>);

impl Drop for Identifiers {
    fn drop(&mut self) {
        self.0.values_mut().for_each(Zeroize::zeroize);
    }
}

impl Wanted {
    /// Whether an address is among what a [`Wanted::Key`] or [`Wanted::Between`] wants: systems that
    /// list more than was asked for are asked nothing by which they could be wrong.
    pub fn takes(&self, address: &[u8]) -> bool {
        match self {
            Self::Key(key) => address == key.as_bytes(),
            Self::Between { begins, ends } => {
                address.len() >= begins.len() + ends.len()
                    && address.starts_with(begins.as_bytes())
                    && address.ends_with(ends.as_bytes())
            }
            Self::Member { .. } | Self::Person(_) => false,
        }
    }
}

impl PlacePlan {
    /// What to look for of a person with these values, by identifier.
    ///
    /// # Errors
    /// [`Unfit`]: a value makes an address that could be somebody else's.
    pub fn wanted(&self, values: &BTreeMap<String, Vec<String>>) -> Result<Vec<Wanted>, Unfit> {
        let mut wanted = Vec::new();
        for sought in &self.sought {
            if let Sought::Key(template)
            | Sought::Member {
                value: template, ..
            } = sought
            {
                self.holds_nothing_excluded(template, values)?;
            }
            match sought {
                Sought::Key(template) => {
                    let made = template.render(values)?.into_iter();
                    wanted.extend(made.map(|one| match one.ends {
                        None => Wanted::Key(one.begins.to_string()),
                        Some(ends) => Wanted::Between {
                            begins: one.begins.to_string(),
                            ends,
                        },
                    }));
                }
                Sought::Member { of, value, field } => {
                    let made = value.render(values)?.into_iter();
                    wanted.extend(made.map(|one| Wanted::Member {
                        of: of.clone(),
                        value: one.begins.to_string(),
                        field: field.clone(),
                    }));
                }
                Sought::Person(names) => wanted.extend(person(names, values)),
                // Not by what the person is called.
                Sought::Named(_) => {}
            }
        }
        Ok(wanted)
    }
}

impl PlacePlan {
    fn holds_nothing_excluded(
        &self,
        template: &Template,
        values: &BTreeMap<String, Vec<String>>,
    ) -> Result<(), Unfit> {
        for name in template.identifiers() {
            let excluded = self.excluded.get(name).map_or("", String::as_str);
            let values = values.get(name).map_or(&[][..], Vec::as_slice);
            let closer = values
                .iter()
                .find_map(|v| v.chars().find(|c| excluded.contains(*c)));
            if let Some(closer) = closer {
                return Err(Unfit::Closer {
                    identifier: name.to_owned(),
                    closer,
                    template: template.to_string(),
                });
            }
        }
        Ok(())
    }

    /// The column in which names of things stand, if they are found so.
    pub fn from(&self) -> Option<&FromRows> {
        self.sought.iter().find_map(|sought| match sought {
            Sought::Named(from) => Some(from),
            _ => None,
        })
    }

    /// Whether something may stay there for this reason. Those of a store of objects are words of ours.
    pub fn may_be_kept_for(&self, kind: Kind, reason: &str) -> bool {
        kind == Kind::ObjectStore || self.kept.iter().any(|known| known == reason)
    }

    /// Values that nobody has of the identifiers by which a system itself knows people here, of the form
    /// of these; `None` where it is always told by whole names what to look for.
    pub fn nobody(
        &self,
        policy: &Policy,
        like: &BTreeMap<String, Vec<String>>,
        seed: [u8; 16],
    ) -> Option<BTreeMap<String, Vec<String>>> {
        let names = self.sought.iter().filter_map(|sought| match sought {
            Sought::Person(names) => Some(names),
            _ => None,
        });
        let made = names.flatten().filter_map(|name| {
            let kind = &policy.identifiers.get(name)?.kind;
            let like = like.get(name).and_then(|values| values.first());
            let value = nobody(kind, like.map_or("", String::as_str), seed);
            Some((name.clone(), vec![value]))
        });
        let made: BTreeMap<String, Vec<String>> = made.collect();
        (!made.is_empty()).then_some(made)
    }
}

/// Somebody without a value for any of the names is nobody there.
fn person(names: &[String], values: &BTreeMap<String, Vec<String>>) -> Option<Wanted> {
    let known = names.iter().filter_map(|name| {
        let values = values.get(name)?.iter();
        let values: Vec<String> = values.filter(|v| !v.trim().is_empty()).cloned().collect();
        (!values.is_empty()).then(|| (name.clone(), values))
    });
    let known: BTreeMap<String, Vec<String>> = known.collect();
    (!known.is_empty()).then_some(Wanted::Person(Identifiers(known)))
}

impl PlacesPlan {
    /// The identifiers by which anything is found.
    pub fn identifiers(&self) -> BTreeSet<String> {
        let sought = self.places.iter().flat_map(|place| &place.sought);
        let names = sought.flat_map(Sought::identifiers);
        names.map(str::to_owned).collect()
    }
}

fn excluded(policy: &Policy, sought: &[Sought]) -> BTreeMap<String, String> {
    let templates = sought.iter().filter(|s| !matches!(s, Sought::Person(_)));
    let names = templates.flat_map(Sought::identifiers);
    let excluded = names.filter_map(|name| {
        let excludes = &policy.identifiers.get(name)?.excludes;
        (!excludes.is_empty()).then(|| (name.to_owned(), excludes.clone()))
    });
    excluded.collect()
}

/// The places of a scope by system; systems that are not registered are left out, for
/// [`crate::policy::place::misfits`] has told them.
pub fn places(policy: &Policy, scope: &str, kinds: &BTreeMap<String, Kind>) -> Vec<PlacesPlan> {
    let mut systems: BTreeMap<&str, PlacesPlan> = BTreeMap::new();
    for place in policy.places_of(scope) {
        let system = place.name.system.as_str();
        let Some(kind) = kinds.get(system) else {
            continue;
        };
        let plan = systems.entry(system).or_insert_with(|| PlacesPlan {
            system: system.to_owned(),
            kind: *kind,
            places: Vec::new(),
        });
        plan.places.push(PlacePlan {
            place: place.name.place.clone(),
            sought: place.sought.clone(),
            excluded: excluded(policy, &place.sought),
            kept: place.kept.clone(),
        });
    }
    systems.into_values().collect()
}
