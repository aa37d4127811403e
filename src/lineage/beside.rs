//! What goes on beside a legal hold: a row that is held means nothing without those on which it hangs
//! and those which hang on it, so they stay too; tables of neither kind may go.

use super::check::written_to;
use super::{Lineage, Parent};
use crate::name::QualifiedTable;
use crate::policy::Policy;
use std::collections::{BTreeMap, BTreeSet};

/// The tables that stay whole where rows of `held` are covered by legal holds: these, whatever hangs
/// on them, and all on which either hangs, up to the root. So no row that stays has lost one above it.
///
/// A table whose triggers write to one that stays stays as well: what is held would change behind the
/// plan's back. Triggers are read from their source, naming too many rather than too few.
pub fn kept_whole(
    policy: &Policy,
    lineage: &Lineage,
    held: &BTreeSet<QualifiedTable>,
) -> BTreeSet<QualifiedTable> {
    let family = Family::of(policy, lineage);
    let mut kept = BTreeSet::new();
    let mut more = held.clone();
    while !more.is_empty() {
        let below = reach(&family.children, more);
        kept.extend(reach(&family.parents, below));
        more = family.disturb(&kept);
    }
    kept
}

struct Family {
    parents: BTreeMap<QualifiedTable, BTreeSet<QualifiedTable>>,
    children: BTreeMap<QualifiedTable, BTreeSet<QualifiedTable>>,
    /// Of each table the bare names that its triggers write to.
    written: BTreeMap<QualifiedTable, BTreeSet<String>>,
}

impl Family {
    fn of(policy: &Policy, lineage: &Lineage) -> Self {
        let mut family = Self {
            parents: BTreeMap::new(),
            children: BTreeMap::new(),
            written: BTreeMap::new(),
        };
        for system in &lineage.systems {
            let name = |table: &crate::name::TableName| QualifiedTable {
                system: system.system.clone(),
                table: table.clone(),
            };
            for reached in &system.tables {
                let child = name(&reached.table);
                for edge in &reached.edges {
                    let parent = match &edge.parent {
                        Parent::Subject => continue,
                        Parent::Table(parent) => name(parent),
                        // What an identifier leads to belongs to the subject's own row.
                        Parent::Identifier { .. } => policy.root.0.clone(),
                    };
                    let above = family.parents.entry(child.clone()).or_default();
                    above.insert(parent.clone());
                    let below = family.children.entry(parent).or_default();
                    below.insert(child.clone());
                }
                let firing = reached.facts.triggers.iter().filter(|t| !t.spares);
                let written = firing.flat_map(|t| written_to(&t.body)).collect();
                family.written.insert(child, written);
            }
        }
        family
    }

    /// Tables that do not stay and whose triggers write to one that does.
    fn disturb(&self, kept: &BTreeSet<QualifiedTable>) -> BTreeSet<QualifiedTable> {
        let others = self
            .written
            .iter()
            .filter(|(table, _)| !kept.contains(table));
        let disturbing = others.filter(|(table, written)| {
            let mut here = kept.iter().filter(|k| k.system == table.system);
            here.any(|k| written.contains(&k.table.table.to_lowercase()))
        });
        disturbing.map(|(table, _)| table.clone()).collect()
    }
}

/// These and all that `next` leads to from them.
fn reach(
    next: &BTreeMap<QualifiedTable, BTreeSet<QualifiedTable>>,
    from: BTreeSet<QualifiedTable>,
) -> BTreeSet<QualifiedTable> {
    let mut queue: Vec<QualifiedTable> = from.iter().cloned().collect();
    let mut reached = from;
    while let Some(table) = queue.pop() {
        for other in next.get(&table).into_iter().flatten() {
            if reached.insert(other.clone()) {
                queue.push(other.clone());
            }
        }
    }
    reached
}
