//! Which rows are read and locked before the first change, and which of their columns.

use super::super::sql::{KnownRows, ParentRows};
use super::super::{Capture, CapturedColumn, GONE_BEFORE, Part, Retained, RowKey, RowSet, Rows};
use super::{Builder, edges};
use crate::catalog::TableKind;
use crate::lineage::{Edge, Fate, Join, Parent, Reached};
use crate::name::TableName;
use crate::policy::Action;
use std::collections::BTreeSet;

impl<'a> Builder<'a> {
    /// What can be found again need not be read, unless rows of other tables hang on it.
    pub(super) fn must_be_captured(
        &self,
        reached: &Reached,
        needed: &BTreeSet<&TableName>,
    ) -> bool {
        let mut children = self.children(&reached.table);
        let leads = children
            .any(|(child, _)| child.table != reached.table && needed.contains(&child.table));
        leads
            || self.capture_all
            || super::spared::may_be_spared(reached)
            || reached.found_again().is_none()
            || !self.object_columns(reached).is_empty()
            || !self.thing_columns(reached).is_empty()
    }

    pub(super) fn add_set(&mut self, reached: &'a Reached, needed: &BTreeSet<&TableName>) {
        let key = row_key(reached);
        let columns = self.columns(reached, &key, needed);
        self.captured.insert(&reached.table, self.plan.sets.len());
        self.plan.sets.push(RowSet {
            table: reached.table.clone(),
            key_width: key_width(&key),
            key,
            columns,
            captures: Vec::new(),
        });
    }

    pub(super) fn capture(&mut self, reached: &'a Reached) {
        let Some(&at) = self.captured.get(&reached.table) else {
            return;
        };
        let RowSet {
            key,
            columns,
            key_width,
            ..
        } = self.plan.sets[at].clone();
        for edge in edges(reached) {
            for (part, fate) in self.ways(edge) {
                let retained = self.retained(edge);
                let parent_columns = self.parent_columns(edge);
                let parent = self.parent_rows(edge, part, &parent_columns);
                let texts = self.texts(reached, edge, retained.as_ref(), &columns[..key_width]);
                let statement = |leaving| {
                    self.system.dialect.capture(
                        &reached.table,
                        &reached.facts,
                        edge,
                        &columns,
                        &texts,
                        retained.as_ref(),
                        parent.as_ref(),
                        leaving,
                        self.system.utf8,
                    )
                };
                let parent_set = parent.as_ref().map(|p| p.rows.set);
                let repeats = matches!(&edge.parent, Parent::Table(p)
                    if *p == reached.table || self.system.are_in_a_ring(p, &reached.table));
                let leaving = edge.shared.then(|| self.leaving(parent.as_ref())).flatten();
                let capture = Capture {
                    label: edge.label.clone(),
                    parent: parent_set,
                    statement: statement(leaving.as_ref()),
                    texts: texts.clone(),
                    lock: self.system.dialect.lock_rows(&key, fate == Fate::Untouched),
                    fate,
                    rule: edge.decision.rule,
                    claim: self.claim(reached, edge),
                    only_locks: false,
                    retained: retained.clone(),
                    repeats,
                };
                // Two tickets that each take an owner must not both find that the other is left:
                // the second waits at the lock, and asks when it has it.
                let locked = edge.shared.then(|| Capture {
                    statement: statement(None),
                    only_locks: true,
                    ..capture.clone()
                });
                let captures = &mut self.plan.sets[at].captures;
                captures.extend(locked.into_iter().chain([capture]));
            }
        }
        self.capture_by_key_alone(reached, at);
    }

    /// Links lead on from a person whose own row is gone already: erased by the plan of before, when
    /// what is left was found. Their key is known; more than the key is not.
    fn capture_by_key_alone(&mut self, reached: &Reached, at: usize) {
        let Some(entry) = edges(reached).find(|e| e.parent == Parent::Subject) else {
            return;
        };
        let objects = [self.object_columns(reached), self.thing_columns(reached)].concat();
        let dialect = self.system.dialect;
        let set = &mut self.plan.sets[at];
        let RowKey::Columns(key) = &set.key else {
            return;
        };
        let more = &set.columns[key.len()..];
        if more.iter().any(|c| !objects.contains(&c.name.as_str())) {
            return;
        }
        set.captures.push(Capture {
            label: GONE_BEFORE.into(),
            parent: None,
            statement: dialect.capture_by_key_alone(&reached.table, &set.columns, key.len()),
            texts: Vec::new(),
            lock: String::new(),
            fate: Fate::Untouched,
            rule: entry.decision.rule,
            claim: entry.decision.rule,
            only_locks: false,
            retained: None,
            repeats: false,
        });
    }

    fn texts(
        &self,
        reached: &Reached,
        edge: &Edge,
        retained: Option<&Retained>,
        key: &[CapturedColumn],
    ) -> Vec<String> {
        // On its date a retained table is where the ticket enters: the person is long gone then.
        let root = &self.policy.root.0;
        let mut texts = Vec::new();
        if edge.parent == Parent::Subject
            && root.system == self.system.system
            && root.table == reached.table
        {
            texts.extend(self.policy.identifiers.values().map(|i| i.column.clone()));
            let changed = self.policy.asking.changed.values();
            texts.extend(changed.map(|c| c.column.clone()));
        }
        if retained.is_some_and(|r| r.until.is_some()) {
            texts.extend(key.iter().map(|c| c.name.clone()));
        }
        texts
    }

    /// Rows kept with their parent are captured twice: those of parents that stay, which stay,
    /// and those of parents whose time is over, which go.
    pub(super) fn ways(&self, edge: &Edge) -> Vec<(Part, Fate)> {
        match edge.decision.fate {
            Fate::RetainWithParent => vec![
                (Part::Kept, Fate::RetainWithParent),
                (Part::Gone, Fate::Delete),
            ],
            fate if edge.shared => vec![(Part::Gone, fate)],
            fate => vec![(Part::Followed, fate)],
        }
    }

    fn retained(&self, edge: &Edge) -> Option<Retained> {
        let Action::Retain(retain) = &self.policy.tables[edge.decision.rule].action else {
            return None;
        };
        matches!(edge.decision.fate, Fate::Retain | Fate::RetainWithParent).then(|| Retained {
            because: retain.because.clone(),
            until: retain.until.as_ref().map(|u| (u.column.clone(), u.plus)),
        })
    }

    /// Key, then what children refer to, then what is hashed; the root's identifiers come along.
    fn columns(
        &self,
        reached: &Reached,
        key: &RowKey,
        needed: &BTreeSet<&TableName>,
    ) -> Vec<CapturedColumn> {
        let mut names: Vec<String> = match key {
            RowKey::Columns(columns) => columns.clone(),
            RowKey::Place => vec!["ctid".into()],
            RowKey::PartitionAndPlace => vec!["tableoid".into(), "ctid".into()],
        };
        let mut add = |name: &String| {
            if !names.contains(name) {
                names.push(name.clone());
            }
        };
        for (_, edge) in self
            .children(&reached.table)
            .filter(|(child, _)| needed.contains(&child.table))
        {
            match &edge.join {
                Join::Columns { parent, .. } => parent.iter().for_each(&mut add),
                Join::Json { parent, .. }
                | Join::Elements { parent, .. }
                | Join::JsonElements { parent, .. }
                | Join::JsonKeys { parent, .. } => add(parent),
                Join::Identifier { .. } => {}
            }
        }
        for edge in edges(reached) {
            for (column, (strategy, _)) in self.set(edge).into_iter().flatten() {
                if strategy.reads_old_value() {
                    add(column);
                }
            }
        }
        for column in [self.object_columns(reached), self.thing_columns(reached)].concat() {
            add(&column.to_owned());
        }
        names
            .into_iter()
            .map(|name| CapturedColumn {
                sql_type: match name.as_str() {
                    "ctid" => "tid".into(),
                    "tableoid" => "oid".into(),
                    _ => reached
                        .facts
                        .column(&name)
                        .map_or_else(|| "text".into(), |c| c.sql_type.clone()),
                },
                name,
            })
            .collect()
    }

    pub(super) fn parent_columns(&self, edge: &Edge) -> Vec<CapturedColumn> {
        match &edge.parent {
            Parent::Table(parent) => self
                .captured
                .get(parent)
                .map_or_else(Vec::new, |set| self.plan.sets[*set].columns.clone()),
            _ => Vec::new(),
        }
    }

    /// The owners that go.
    fn leaving(&self, owners: Option<&ParentRows<'_>>) -> Option<KnownRows<'_>> {
        let set = owners?.rows.set;
        let owners = &self.plan.sets[set];
        let part = Part::Leaving;
        Some((&owners.key, &owners.columns, Rows { set, part }))
    }

    pub(super) fn parent_rows<'c>(
        &self,
        edge: &Edge,
        part: Part,
        columns: &'c [CapturedColumn],
    ) -> Option<ParentRows<'c>> {
        let Parent::Table(parent) = &edge.parent else {
            return None;
        };
        let set = *self.captured.get(parent)?;
        Some(ParentRows {
            rows: Rows { set, part },
            columns,
        })
    }
}

fn row_key(reached: &Reached) -> RowKey {
    // A key holds in each child table by itself, not across them.
    if reached.facts.has_heirs {
        return RowKey::PartitionAndPlace;
    }
    match (reached.facts.row_key(), reached.facts.kind) {
        ([], TableKind::Partitioned) => RowKey::PartitionAndPlace,
        ([], _) => RowKey::Place,
        (columns, _) => RowKey::Columns(columns.to_vec()),
    }
}

fn key_width(key: &RowKey) -> usize {
    match key {
        RowKey::Columns(columns) => columns.len(),
        RowKey::Place => 1,
        RowKey::PartitionAndPlace => 2,
    }
}
