//! Which tables hang off the person, and by which keys: any depth, cycles and all.

use super::names;
use super::suggest::{Verdict, behind, suggest};
use crate::catalog::{Catalog, ForeignKey, TableKind};
use crate::name::TableName;
use crate::policy::{Action, Draft, Link, LinkTo, TableRule};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Suggestions that did not hold, by table and key, each with the reason. The root's own rule
/// stands under an empty key.
pub(super) type Overrides = BTreeMap<(TableName, String), String>;

/// One foreign key by which rows of a table are reached.
#[derive(Debug)]
pub(super) struct Way<'a> {
    pub(super) key: &'a ForeignKey,
    pub(super) verdict: Verdict,
    /// Somebody has ruled on it already, if only that it is to be decided.
    pub(super) known: bool,
}

/// What is reached, in the order in which the walk came to it.
#[derive(Debug, Default)]
pub(super) struct Walked<'a> {
    pub(super) tables: Vec<(TableName, Vec<Way<'a>>)>,
    /// Tables with rows that are the person's, as far as anybody has said.
    pub(super) own: BTreeSet<TableName>,
}

/// Where a walk through one system begins, and what it is told.
pub(super) struct Start<'a> {
    pub(super) catalog: &'a Catalog,
    /// The person's table, in its own system.
    pub(super) root: Option<&'a TableName>,
    /// What a policy says already.
    pub(super) known: Option<&'a Draft>,
    pub(super) overrides: &'a Overrides,
    /// Tables that a link leads to which nobody has decided yet.
    pub(super) linked: BTreeSet<TableName>,
}

/// What somebody has said of a way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ruling {
    Followed,
    Stops,
    Open,
}

impl<'a> Start<'a> {
    pub(super) fn walk(&self) -> Walked<'a> {
        let own = self.own();
        let mut reached: Vec<TableName> = own.iter().cloned().collect();
        if let Some(root) = self.root {
            reached.retain(|t| t != root);
            reached.insert(0, root.clone());
        }
        reached.extend(self.open_links().into_iter().filter(|t| !own.contains(t)));
        let mut seen: BTreeSet<TableName> = reached.iter().cloned().collect();
        let mut queue: VecDeque<TableName> = reached.into();
        let mut ways: Vec<(TableName, Vec<Way<'a>>)> = Vec::new();
        while let Some(parent) = queue.pop_front() {
            for key in self.referring_to(&parent) {
                let way = self.way(key, own.contains(&parent));
                let child = &key.child.0;
                if !way.verdict.stops() && seen.insert(child.clone()) {
                    queue.push_back(child.clone());
                }
                match ways.iter_mut().find(|(table, _)| table == child) {
                    Some((_, ways)) => ways.push(way),
                    None => ways.push((child.clone(), vec![way])),
                }
            }
        }
        Walked { tables: ways, own }
    }

    /// Tables whose rows go, or stay by a decision that speaks of the person's rows.
    fn own(&self) -> BTreeSet<TableName> {
        let mut own: BTreeSet<TableName> = self.root.cloned().into_iter().collect();
        own.extend(self.followed_links());
        let mut queue: Vec<TableName> = own.iter().cloned().collect();
        while let Some(parent) = queue.pop() {
            for key in self.referring_to(&parent) {
                if self.way(key, true).verdict.is_followed() && own.insert(key.child.0.clone()) {
                    queue.push(key.child.0.clone());
                }
            }
        }
        own
    }

    fn referring_to(&self, parent: &TableName) -> impl Iterator<Item = &'a ForeignKey> {
        let keys = self.catalog.foreign_keys.iter();
        keys.filter(move |key| key.parent.0 == *parent)
    }

    fn way(&self, key: &'a ForeignKey, of_own: bool) -> Way<'a> {
        if let Some(ruling) = self.ruling(key) {
            return Way {
                key,
                verdict: Verdict::known(ruling == Ruling::Followed, ruling == Ruling::Stops),
                known: true,
            };
        }
        let place = (key.child.0.clone(), key.name.clone());
        let verdict = if let Some(why) = self.overrides.get(&place) {
            Verdict::decide(why.clone())
        } else if of_own {
            suggest(self.catalog, self.root, key)
        } else {
            behind(self.catalog, self.root, key)
        };
        Way {
            key,
            verdict,
            known: false,
        }
    }

    /// What the policy says of rows reached by this key: as lineage reads it.
    fn ruling(&self, key: &ForeignKey) -> Option<Ruling> {
        let draft = self.known?;
        let system = &self.catalog.system;
        let is_here = |table: &crate::name::QualifiedTable| {
            table.system == *system && table.table == key.child.0
        };
        let decided = draft.so_far().tables.iter();
        // What a shared table's rule says of owners it does not say of the table's own keys.
        let of_keys =
            |r: &&TableRule| r.via.is_some() || !matches!(r.action, Action::Shared { .. });
        let decided = decided
            .filter(|r| is_here(&r.table))
            .filter(of_keys)
            .map(|r| {
                let ruling = match r.action {
                    Action::Detach | Action::Exempt { .. } => Ruling::Stops,
                    _ => Ruling::Followed,
                };
                (r.via.as_ref().map(|(via, _)| via.as_str()), ruling)
            });
        let open = draft.open().iter().filter(|o| is_here(&o.table));
        let open = open.map(|o| (o.via.as_ref().map(|(via, _)| via.as_str()), Ruling::Open));
        let rules: Vec<(Option<&str>, Ruling)> = decided.chain(open).collect();
        let named = rules
            .iter()
            .find(|(via, _)| *via == Some(key.name.as_str()));
        if let Some((_, ruling)) = named {
            return Some(*ruling);
        }
        if key.child.0 == key.parent.0 || self.root == Some(&key.child.0) {
            return None;
        }
        let general = rules.iter().find(|(via, _)| via.is_none());
        general.map(|(_, ruling)| *ruling)
    }

    fn followed_links(&self) -> Vec<TableName> {
        let Some(draft) = self.known else {
            return Vec::new();
        };
        let rules = draft.so_far().tables.iter();
        rules
            .filter(|r| r.table.system == self.catalog.system && r.link.is_some())
            .filter(|r| !matches!(r.action, Action::Detach | Action::Exempt { .. }))
            .map(|r| r.table.table.clone())
            .collect()
    }

    fn open_links(&self) -> BTreeSet<TableName> {
        let open = self.known.map(Draft::open).unwrap_or_default().iter();
        let open = open
            .filter(|o| o.table.system == self.catalog.system && o.link.is_some())
            .map(|o| o.table.table.clone());
        self.linked.iter().cloned().chain(open).collect()
    }
}

/// Every table that foreign keys lead to from the root, whatever becomes of it.
pub(super) fn closure(catalog: &Catalog, root: &TableName) -> BTreeSet<TableName> {
    let mut reached = BTreeSet::from([root.clone()]);
    let mut queue = vec![root.clone()];
    while let Some(parent) = queue.pop() {
        for key in catalog.referring_to(&parent) {
            if reached.insert(key.child.0.clone()) {
                queue.push(key.child.0.clone());
            }
        }
    }
    reached
}

/// Whether rows can be erased from it, or looked at to any purpose.
pub(super) fn is_a_table(catalog: &Catalog, table: &TableName) -> bool {
    catalog.tables.get(table).is_some_and(|t| {
        matches!(t.kind, TableKind::Ordinary | TableKind::Partitioned) && !t.rewrites
    })
}

/// Whether a policy links this column already.
pub(super) fn links_column(link: &Link, column: &str) -> bool {
    match &link.from {
        crate::policy::LinkFrom::Columns(columns) => columns.iter().any(|c| c == column),
        crate::policy::LinkFrom::Elements(elements) => elements == column,
        crate::policy::LinkFrom::Json { .. }
        | crate::policy::LinkFrom::JsonElements { .. }
        | crate::policy::LinkFrom::JsonKeys { .. } => false,
    }
}

/// Whether the link leads to that identifier or table.
pub(super) fn leads_to(link: &Link, identifier: Option<&str>, table: &TableName) -> bool {
    match (&link.to, identifier) {
        (LinkTo::Identifier(name), Some(wanted)) => name == wanted,
        (LinkTo::Table { table: to, .. }, None) => to.table == *table,
        _ => false,
    }
}

/// The row's name of a table: `customer` for `app."Customers"`.
pub(super) fn one_row(table: &TableName) -> String {
    names::row_name(&table.table)
}
