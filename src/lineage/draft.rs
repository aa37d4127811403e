//! Checking a policy that is not finished: what is decided must fit the database; what is not
//! is left out, with everything that only it leads to.

use super::{systems_of, trace_all};
use crate::catalog::{Catalog, ForeignKey};
use crate::diagnostic::Diagnostic;
use crate::name::{QualifiedTable, TableName};
use crate::policy::{Action, Draft, Extent, LinkTo, Policy, Span};
use std::collections::{BTreeMap, BTreeSet};

/// The systems that a draft names, each once.
pub fn systems_of_draft(draft: &Draft) -> BTreeSet<String> {
    let open = draft.open().iter().map(|o| o.table.system.clone());
    systems_of(draft.so_far()).into_iter().chain(open).collect()
}

/// Everything wrong with what a draft has decided. What it leaves open is not repeated here
/// ([`Draft::left_to_decide`]); for a finished policy this is all that [`trace_all`] finds.
pub fn check_draft(draft: &Draft, catalogs: &BTreeMap<String, Catalog>) -> Vec<Diagnostic> {
    let policy = draft.so_far();
    if draft.open().is_empty() {
        return trace_all(policy, catalogs).1;
    }
    if draft
        .open()
        .iter()
        .any(|o| is_the_root(draft, &o.table) && o.via.is_none() && o.link.is_none())
    {
        return Vec::new();
    }
    let decided: BTreeMap<String, Catalog> = catalogs
        .iter()
        .map(|(name, catalog)| (name.clone(), without_the_open(draft, catalog)))
        .collect();
    let behind = behind_the_open(draft, catalogs);
    let excused = spans(policy, &behind);
    let mut found = trace_all(policy, &decided).1;
    found.retain(|d| {
        let at = d.place.as_ref().map(|(_, span)| span);
        !(matches!(d.code, "E0219" | "E0234")
            && at.is_some_and(|at| excused.contains(&(at.start, at.end))))
    });
    found
}

fn is_the_root(draft: &Draft, table: &QualifiedTable) -> bool {
    *table == draft.so_far().root.0
}

/// The catalog without the foreign keys that open rules speak of: they are not followed, and
/// nobody is asked about them twice.
fn without_the_open(draft: &Draft, catalog: &Catalog) -> Catalog {
    let mut catalog = catalog.clone();
    let system = catalog.system.clone();
    catalog
        .foreign_keys
        .retain(|key| !is_open(draft, &system, key));
    catalog
}

/// Whether an open rule is the one that speaks of this key.
fn is_open(draft: &Draft, system: &str, key: &ForeignKey) -> bool {
    let here = |table: &QualifiedTable| table.system == system && table.table == key.child.0;
    let open = || draft.open().iter().filter(|o| here(&o.table));
    let named = |via: &Option<(String, Span)>| via.as_ref().is_some_and(|(v, _)| *v == key.name);
    if open().any(|o| named(&o.via)) {
        return true;
    }
    let decided = || draft.so_far().tables.iter().filter(|r| here(&r.table));
    let root = &draft.so_far().root.0;
    let of_the_same_kind =
        key.child.0 == key.parent.0 || root.system == system && root.table == key.child.0;
    if decided().any(|r| named(&r.via)) || of_the_same_kind {
        return false;
    }
    open().any(|o| o.via.is_none()) && !decided().any(|r| r.via.is_none())
}

/// The open tables and all that is reached through them: that nothing else leads there is no
/// mistake yet.
fn behind_the_open(
    draft: &Draft,
    catalogs: &BTreeMap<String, Catalog>,
) -> BTreeSet<QualifiedTable> {
    let mut behind: BTreeSet<QualifiedTable> =
        draft.open().iter().map(|o| o.table.clone()).collect();
    let mut queue: Vec<QualifiedTable> = behind.iter().cloned().collect();
    while let Some(parent) = queue.pop() {
        let keys = catalogs.get(&parent.system).into_iter().flat_map(|c| {
            c.referring_to(&parent.table)
                .map(|k| qualified(&c.system, &k.child.0))
        });
        let rules = draft.so_far().tables.iter().filter(|r| {
            matches!(r.link.as_ref().map(|l| &l.to), Some(LinkTo::Table { table, .. }) if *table == parent)
                || matches!(&r.action, Action::Shared { through, .. } if *through == parent)
        });
        let links = rules.map(|r| r.table.clone());
        for child in keys.chain(links).collect::<Vec<_>>() {
            if behind.insert(child.clone()) {
                queue.push(child);
            }
        }
    }
    behind
}

fn qualified(system: &str, table: &TableName) -> QualifiedTable {
    QualifiedTable {
        system: system.to_owned(),
        table: table.clone(),
    }
}

/// Where the policy names these tables.
fn spans(policy: &Policy, tables: &BTreeSet<QualifiedTable>) -> BTreeSet<(usize, usize)> {
    let rules = policy.tables.iter().map(|r| (&r.table, &r.span));
    let listed = policy
        .scopes
        .values()
        .filter_map(|scope| match &scope.extent {
            Extent::Listed(listed) => Some(listed),
            Extent::All => None,
        });
    let named = listed.flat_map(|listed| {
        let columns = listed.columns.iter();
        let columns =
            columns.flat_map(|(table, columns)| columns.values().map(move |span| (table, span)));
        listed.tables.iter().chain(columns)
    });
    rules
        .chain(named)
        .filter(|(table, _)| tables.contains(*table))
        .map(|(_, span)| (span.start, span.end))
        .collect()
}
