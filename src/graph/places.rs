//! Places: what of a person lies in systems without tables, and by what it is found.

use super::{Group, Look, Way, entry, node};
use crate::policy::Policy;
use crate::policy::place::{Place, Sought};
use std::collections::BTreeMap;

/// One for each system in which the scope has places.
pub(super) fn groups(policy: &Policy, scope: &str) -> Vec<Group> {
    let mut systems: BTreeMap<&str, Vec<&Place>> = BTreeMap::new();
    for place in policy.places_of(scope) {
        let of = systems.entry(&place.name.system).or_default();
        of.push(place);
    }
    let groups = systems.into_iter().map(|(system, places)| Group {
        system: system.to_owned(),
        nodes: {
            let mut nodes = Vec::new();
            let mut entries = BTreeMap::new();
            for place in places {
                let mut ways = Vec::new();
                for sought in &place.sought {
                    for name in by(sought) {
                        let from = *entries.entry(name).or_insert_with_key(|name| {
                            nodes.push(entry(name.clone()));
                            nodes.len() - 1
                        });
                        ways.push(way(from, sought));
                    }
                }
                let mut drawn = node(place.name.place.clone(), None);
                drawn.looks.push(Look::Delete);
                if !place.kept.is_empty() {
                    drawn.looks.push(Look::Keep);
                }
                drawn.under = ways.first().map(|way| way.from);
                drawn.ways = ways;
                nodes.push(drawn);
            }
            nodes
        },
    });
    groups.collect()
}

/// What must be known for it.
fn by(sought: &Sought) -> Vec<String> {
    match sought {
        Sought::Named(rows) => vec![format!("{}.{}", rows.table, rows.column)],
        sought => {
            let names = sought.identifiers();
            let names = names.into_iter();
            names.map(|name| format!("the ticket's {name}")).collect()
        }
    }
}

fn way(from: usize, sought: &Sought) -> Way {
    let (label, cardinality) = match sought {
        Sought::Key(template) => {
            let template = template.to_string();
            let one = !template.ends_with('*');
            (template, if one { "1:1" } else { "1:n" })
        }
        Sought::Member { of, value, .. } => (format!("{value} in {of}"), "1:n"),
        Sought::Person(_) => ("asked of the system".to_owned(), "1:n"),
        Sought::Named(rows) => (rows.name("…"), "1:1"),
    };
    Way {
        from,
        label,
        cardinality,
        key: false,
        look: Look::Delete,
    }
}
