//! Whose the rows of a retention rule are: the ways back from its table to the people.

use super::{Edge, Join, Lineage, Parent, SystemLineage, trace};
use crate::catalog::Catalog;
use crate::name::{QualifiedTable, TableName};
use crate::policy::{Extent, Policy, Scope};
use std::collections::{BTreeMap, BTreeSet};

/// More ways back than this are not looked up row by row.
const MOST_WAYS: usize = 16;

/// How it can be told whose the rows are.
#[derive(Clone, Debug)]
pub enum Owners {
    /// They are nobody's: nothing leads to them, or to what hangs on them, from the policy's people.
    Nobody,
    /// Ways from the table back to the people's own, each an edge a step; by none of them a row is
    /// somebody's.
    Ways(Vec<Vec<Edge>>),
    /// They may be people's, and it cannot be asked of each row whose.
    Unknown,
}

/// Whose the rows of `table` are, by all rules of the policy whatever their scope; `changed` are the tables of its system
/// whose rows go, or change, with them, itself among them.
pub(super) fn owners(
    policy: &Policy,
    table: &QualifiedTable,
    changed: &BTreeSet<TableName>,
    catalog: &Catalog,
) -> Owners {
    let Some(people) = people(policy, catalog) else {
        return Owners::Unknown;
    };
    let system = people.systems.iter().find(|s| s.system == table.system);
    let Some(system) = system else {
        return Owners::Nobody;
    };
    let rows = changed;
    if !rows.iter().any(|t| system.table(t).is_some()) {
        return Owners::Nobody;
    }
    // What hangs on a row and is somebody else's too goes with it: whose, no way back from the row says.
    let elsewhere = |t: &TableName| {
        *t != table.table
            && system.table(t).is_some_and(|reached| {
                let mut edges = reached.edges.iter();
                edges.any(|e| !matches!(&e.parent, Parent::Table(p) if rows.contains(p)))
            })
    };
    if rows.iter().any(elsewhere) {
        return Owners::Unknown;
    }
    let root = (policy.root.0.system == table.system).then_some(&policy.root.0.table);
    match (system.table(&table.table), root) {
        (None, _) => Owners::Nobody,
        (Some(_), None) => Owners::Unknown,
        (Some(_), Some(root)) => {
            let mut ways = Vec::new();
            match back(system, &table.table, root, &mut Vec::new(), &mut ways) {
                Some(()) => Owners::Ways(ways),
                None => Owners::Unknown,
            }
        }
    }
}

/// The lineage of the people of this system, as if everything were asked for.
fn people(policy: &Policy, catalog: &Catalog) -> Option<Lineage> {
    const ALL: &str = "all";
    let scope = policy.scopes.values().next()?.clone();
    let mut whole = policy.clone();
    let here = &catalog.system;
    whole.tables.retain(|rule| rule.table.system == *here);
    for rule in &mut whole.tables {
        rule.scopes.clear();
    }
    let scope = Scope {
        extent: Extent::All,
        ..scope
    };
    whole.scopes = BTreeMap::from([(ALL.to_owned(), scope)]);
    let catalogs = BTreeMap::from([(here.clone(), catalog.clone())]);
    trace(&whole, ALL, &catalogs)
        .ok()
        .map(|(lineage, _)| lineage)
}

/// All ways from a table up to the root; `None` where one of them cannot be asked.
pub(super) fn back(
    system: &SystemLineage,
    from: &TableName,
    root: &TableName,
    way: &mut Vec<Edge>,
    ways: &mut Vec<Vec<Edge>>,
) -> Option<()> {
    for edge in &system.table(from)?.edges {
        let Parent::Table(parent) = &edge.parent else {
            // A value of theirs stands in the row, or the table is the people's own.
            return None;
        };
        if !can_be_asked(system, from, edge) || parent == from || ways.len() >= MOST_WAYS {
            return None;
        }
        // A ring leads back to where it came from.
        if way.iter().any(|e| e.parent == edge.parent) {
            return None;
        }
        way.push(edge.clone());
        if parent == root {
            ways.push(way.clone());
        } else {
            back(system, parent, root, way, ways)?;
        }
        way.pop();
    }
    Some(())
}

/// Column by column, of like types, whatever else the row says, and not through owners.
fn can_be_asked(system: &SystemLineage, child: &TableName, edge: &Edge) -> bool {
    let (
        Join::Columns {
            child: from,
            parent: to,
            ..
        },
        Parent::Table(parent),
    ) = (&edge.join, &edge.parent)
    else {
        return false;
    };
    let (Some(child), Some(parent)) = (system.table(child), system.table(parent)) else {
        return false;
    };
    let alike = |(c, p): (&String, &String)| {
        let types = (child.facts.column(c), parent.facts.column(p));
        matches!(types, (Some(c), Some(p)) if edge.foreign_key.is_some() || c.sql_type == p.sql_type)
    };
    !edge.shared && edge.when.is_empty() && from.iter().zip(to).all(alike)
}
