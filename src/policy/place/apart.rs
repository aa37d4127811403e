//! Templates of one system never lead to the same thing for two people, whatever policies they stand in.

use super::{Identifiers, NOT_ONE_PERSONS, Place, Sought, Template};
use crate::diagnostic::Diagnostic;
use crate::name::QualifiedTable;
use crate::policy::{Identifier, Policy};
use crate::reading::{Table, quoted};
use std::collections::{BTreeMap, BTreeSet};

/// Places with the identifiers that stand in their templates.
struct Side<'a> {
    places: &'a [Place],
    identifiers: BTreeMap<&'a str, &'a Identifier>,
    /// Whose rows the people are; not asked where both sides are one policy.
    root: Option<&'a QualifiedTable>,
}

/// A template that meets another: where it stands, what is wrong with it, what may be done.
struct Meeting<'a> {
    place: &'a Place,
    message: String,
    help: String,
}

/// Complains of those of one policy.
pub(super) fn within(file: &Table<'_>, places: &[Place], identifiers: &Identifiers) {
    let known = identifiers.iter();
    let known = known.filter_map(|(name, of)| Some((name.as_str(), of.as_ref()?)));
    let side = Side {
        places,
        identifiers: known.collect(),
        root: None,
    };
    for Meeting {
        place,
        message,
        help,
    } in side.meets(&side)
    {
        file.reader()
            .error(NOT_ONE_PERSONS, place.span.clone(), message, help);
    }
}

/// What is wrong with those of a policy beside another one's.
pub fn beside(policy: &Policy, other: &Policy) -> Vec<Diagnostic> {
    let meetings = Side::of(policy).meets(&Side::of(other));
    let told = meetings.into_iter().map(|meeting| {
        let message = format!("{} (in {})", meeting.message, other.source.path);
        Diagnostic::error(NOT_ONE_PERSONS, message, meeting.help)
            .at(&policy.source, meeting.place.span.clone())
    });
    told.collect()
}

impl<'a> Side<'a> {
    fn of(policy: &'a Policy) -> Self {
        let identifiers = policy.identifiers.iter();
        Self {
            places: &policy.places,
            identifiers: identifiers.map(|(name, of)| (name.as_str(), of)).collect(),
            root: Some(&policy.root.0),
        }
    }

    fn meets(&self, other: &Side<'_>) -> Vec<Meeting<'a>> {
        let mut meetings = Vec::new();
        for place in self.places {
            let beside = other.places.iter();
            let beside = beside.filter(|other| other.name.system == place.name.system);
            let others: Vec<_> = beside.flat_map(templates).collect();
            for (of, template) in templates(place) {
                for (_, theirs) in others.iter().filter(|(other_of, _)| *other_of == of) {
                    if let Some((message, help)) = self.meet(template, other, theirs) {
                        meetings.push(Meeting {
                            place,
                            message,
                            help,
                        });
                    }
                }
            }
        }
        meetings
    }

    /// What is wrong with one of ours beside one of the other's.
    fn meet(
        &self,
        ours: &Template,
        other: &Side<'_>,
        theirs: &Template,
    ) -> Option<(String, String)> {
        let (one, another) = (quoted(&ours.to_string()), quoted(&theirs.to_string()));
        let could = format!("{one} for one person could be {another} for another:");
        if self.people(ours) == other.people(theirs) {
            // The same value is the same person's.
            let (name, closer) = ours.may_meet(theirs)?;
            let may_hold = |of: &&Identifier| of.may_hold(closer);
            return self.identifiers.get(name).is_none_or(may_hold).then(|| {
                (
                    format!("{could} a value of {name} may hold {closer:?}"),
                    format!(
                        "if none ever does, write excludes = \"{closer}\" in [identifier.{name}]"
                    ),
                )
            });
        }
        let meet = ours.may_be(
            theirs,
            |name| self.excluded(name),
            |name| other.excluded(name),
        );
        meet.then(|| (
            format!("{could} they stand for different identifiers, whose values may be alike"),
            "keep the one by which the application names them; or say with `excludes` which characters stand in no value, if that tells them apart".into(),
        ))
    }

    fn excluded(&self, name: &str) -> String {
        let known = self.identifiers.get(name);
        known.map_or_else(String::new, |of| of.excludes.clone())
    }

    /// By which columns a template knows whose an address is.
    fn people(&self, template: &Template) -> (Option<&QualifiedTable>, BTreeSet<Option<&str>>) {
        let column = |name| self.identifiers.get(name).map(|of| of.column.as_str());
        (self.root, template.identifiers().map(column).collect())
    }
}

/// Of what members are members, and by which field.
type Of<'a> = Option<(&'a str, Option<&'a str>)>;

/// Those of a place.
fn templates(place: &Place) -> impl Iterator<Item = (Of<'_>, &Template)> {
    place.sought.iter().filter_map(|sought| match sought {
        Sought::Key(template) => Some((None, template)),
        Sought::Member { of, value, field } => Some((Some((of.as_str(), field.as_deref())), value)),
        Sought::Person(_) | Sought::Named(_) => None,
    })
}
