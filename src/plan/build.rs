//! From lineage to plan.

mod capture;
mod change;
mod objects;
mod piece;
mod probe;
mod spared;
mod things;

use super::sql::Set;
use super::{Plan, SystemPlan};
use crate::catalog::OnDelete;
use crate::lineage::{Edge, Fate, Lineage, Parent, Reached, SystemLineage};
use crate::name::TableName;
use crate::policy::place::{FromRows, PlaceName};
use crate::policy::{Action, Policy, Sought};
use std::collections::{BTreeMap, BTreeSet};

/// Builds the plan of a traced scope. The policy must be the one that was traced.
pub fn build(policy: &Policy, lineage: &Lineage) -> Plan {
    build_so(policy, lineage, false)
}

/// The same, with all rows captured, and so locked, before the first one changes: also those that would be found
/// again when they go. So they can be read before, and what was read is what goes.
pub fn build_capturing(policy: &Policy, lineage: &Lineage) -> Plan {
    build_so(policy, lineage, true)
}

fn build_so(policy: &Policy, lineage: &Lineage, capture_all: bool) -> Plan {
    let policy = &*policy.under(&lineage.scope);
    Plan {
        // Without its folder: a daemon on another host, with its files elsewhere, must know the
        // plan again that this one began.
        policy_file: std::path::Path::new(&lineage.policy_file)
            .file_name()
            .map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
        policy_sha256: lineage.policy_sha256.clone(),
        subject: lineage.subject.clone(),
        scope: lineage.scope.clone(),
        covers: policy
            .scopes
            .get(&lineage.scope)
            .and_then(|scope| scope.extent.covers()),
        places: Vec::new(),
        atomic: atomic(policy, lineage),
        systems: lineage
            .systems
            .iter()
            .map(|system| Builder::new(policy, &lineage.scope, system, capture_all).build())
            .collect(),
    }
}

/// Of the systems that go together those in which something is to be done, where these are several.
fn atomic(policy: &Policy, lineage: &Lineage) -> Vec<BTreeSet<String>> {
    let here = |name: &&String| lineage.systems.iter().any(|s| s.system == **name);
    let sets = policy.atomic.iter();
    let sets = sets.map(|together| together.systems.iter().filter(here).cloned().collect());
    sets.filter(|set: &BTreeSet<String>| set.len() > 1)
        .collect()
}

/// What is decided about one table before any SQL is written.
struct Builder<'a> {
    policy: &'a Policy,
    system: &'a SystemLineage,
    /// Places of the scope whose things rows name.
    sources: Vec<(&'a PlaceName, &'a FromRows)>,
    /// Nothing is left to be found again.
    capture_all: bool,
    /// Index into `sets` of the tables whose rows are captured.
    captured: BTreeMap<&'a TableName, usize>,
    /// The edges that lead on from each table.
    children: BTreeMap<&'a TableName, Vec<(&'a Reached, &'a Edge)>>,
    /// Tables that change, each with a column that is set where no row is deleted.
    held: BTreeMap<&'a TableName, Option<String>>,
    plan: SystemPlan,
}

impl<'a> Builder<'a> {
    fn new(policy: &'a Policy, scope: &str, system: &'a SystemLineage, capture_all: bool) -> Self {
        let places = policy.places_of(scope);
        let sources = places.flat_map(|place| {
            let named = place.sought.iter().filter_map(|sought| match sought {
                Sought::Named(from) => Some(from),
                _ => None,
            });
            named.map(|from| (&place.name, from))
        });
        let mut children: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for reached in &system.tables {
            for edge in edges(reached) {
                if let Parent::Table(parent) = &edge.parent {
                    children.entry(parent).or_default().push((reached, edge));
                }
            }
        }
        Self {
            policy,
            system,
            sources: sources.collect(),
            // What is found again is so by statements that MariaDB has not.
            capture_all: capture_all || !system.dialect.is_postgres(),
            children,
            captured: BTreeMap::new(),
            held: BTreeMap::new(),
            plan: SystemPlan {
                system: system.system.clone(),
                dialect: system.dialect,
                catalog_fingerprint: system.fingerprint.clone(),
                hold_definitions: String::new(),
                sets: Vec::new(),
                rings: Vec::new(),
                pieces: Vec::new(),
                spared: Vec::new(),
                things: Vec::new(),
                changes: Vec::new(),
                probes: Vec::new(),
                exempt: BTreeMap::new(),
                probed_by_foreign_key: Vec::new(),
                left: BTreeSet::new(),
            },
        }
    }

    fn build(mut self) -> SystemPlan {
        let needed = self.needed();
        let system = self.system;
        let tables: Vec<&Reached> = system
            .tables
            .iter()
            .filter(|t| needed.contains(&t.table))
            .collect();
        for reached in &tables {
            if self.must_be_captured(reached, &needed) {
                self.add_set(reached, &needed);
            }
        }
        self.rings();
        for reached in &tables {
            self.capture(reached);
        }
        for reached in &tables {
            self.detach(reached);
        }
        for group in tables
            .chunk_by(|a, b| system.are_in_a_ring(&a.table, &b.table))
            .rev()
        {
            group.iter().rev().for_each(|reached| {
                self.piece(reached);
                self.change(reached);
            });
            self.delete(group);
            group.iter().for_each(|reached| self.probe(reached));
        }
        self.unlink();
        self.things();
        tables.iter().for_each(|reached| self.spared(reached));
        let held = self
            .held
            .iter()
            .map(|(table, column)| (*table, column.as_deref()));
        let hold = system.dialect.hold_definitions(held, &self.plan.sets);
        self.plan.hold_definitions = hold;
        self.exempt();
        self.plan
    }

    /// Tables whose rows change, and those on the way to them.
    fn needed(&self) -> BTreeSet<&'a TableName> {
        let acts = |t: &&Reached| edges(t).any(|e| e.decision.fate != Fate::Untouched);
        let mut ways: Vec<&Reached> = self.system.tables.iter().filter(acts).collect();
        let mut needed: BTreeSet<&TableName> = ways.iter().map(|t| &t.table).collect();
        while let Some(reached) = ways.pop() {
            for edge in edges(reached) {
                let Parent::Table(parent) = &edge.parent else {
                    continue;
                };
                if let Some(above) = self.system.table(parent)
                    && needed.insert(&above.table)
                {
                    ways.push(above);
                }
            }
        }
        needed
    }

    /// The rings as far as their tables are captured, which all on the way are.
    fn rings(&mut self) {
        for ring in &self.system.rings {
            let sets = ring.iter().filter_map(|t| self.captured.get(t).copied());
            let sets: Vec<usize> = sets.collect();
            if sets.len() > 1 {
                self.plan.rings.push(sets);
            }
        }
    }

    /// The edges that lead on from a table, in the order of the tables that they lead to.
    fn children(&self, table: &TableName) -> impl Iterator<Item = (&'a Reached, &'a Edge)> + '_ {
        self.children.get(table).into_iter().flatten().copied()
    }

    fn set(&self, edge: &Edge) -> Option<&'a Set> {
        match &self.policy.tables[edge.decision.rule].action {
            Action::Anonymize { set } => Some(set),
            Action::Retain(retain) => Some(&retain.set),
            _ => None,
        }
    }

    fn exempt(&mut self) {
        for reached in &self.system.tables {
            for edge in &reached.edges {
                if let Action::Exempt { reason } = &self.policy.tables[edge.decision.rule].action {
                    self.plan
                        .exempt
                        .insert(reached.table.to_string(), reason.clone());
                }
            }
        }
    }
}

/// The edges by which rows are looked at: exempt ones lead nowhere.
fn edges(reached: &Reached) -> impl Iterator<Item = &Edge> {
    reached
        .edges
        .iter()
        .filter(|e| e.decision.fate != Fate::Exempt)
}

/// Whether deleting rows of `parent` makes the database delete or change rows by this edge.
fn cascades(edge: &Edge, parent: &Reached) -> bool {
    let key = edge.foreign_key.as_ref();
    key.is_some_and(|k| {
        k.parent.0 == parent.table
            && matches!(
                k.on_delete,
                OnDelete::Cascade | OnDelete::SetNull | OnDelete::SetDefault
            )
    })
}

fn labels(reached: &Reached) -> String {
    edges(reached)
        .map(|e| e.label.as_str())
        .collect::<Vec<_>>()
        .join(", ")
}
