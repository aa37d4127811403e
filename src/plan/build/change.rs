//! What is done to the rows, children first.

use super::super::sql::{ParentRows, Set};
use super::super::{Change, ChangeKind, Part, Probe, RowKey, Rows, sql};
use super::{Builder, cascades, edges, labels};
use crate::anonymize::Known;
use crate::lineage::{Edge, Fate, Join, Parent, Reached};
use crate::name::TableName;
use crate::policy::{IdentifierKind, Strategy};
use std::collections::{BTreeMap, BTreeSet};

impl<'a> Builder<'a> {
    pub(super) fn change(&mut self, reached: &'a Reached) {
        let Some(&set) = self.captured.get(&reached.table) else {
            if let Some(found) = reached.found_again() {
                let columns = self.parent_columns(found.entry);
                let parent = self.parent_rows(found.entry, Part::Followed, &columns);
                let deletion = sql::delete_found_again(
                    &reached.table,
                    &reached.facts,
                    found,
                    parent.as_ref(),
                    self.system.utf8,
                );
                self.held.insert(&reached.table, None);
                self.plan.changes.push(Change {
                    table: reached.table.clone(),
                    kind: ChangeKind::Deleted,
                    label: found.entry.label.clone(),
                    statement: deletion.delete,
                    rows: None,
                    ring: Vec::new(),
                    count: Some(deletion.count),
                    lock: deletion.lock,
                    before: Vec::new(),
                    moves: false,
                    again: false,
                });
            }
            return;
        };
        let mut rules: BTreeMap<usize, &Edge> = BTreeMap::new();
        for edge in edges(reached).filter(|e| e.decision.fate != Fate::Detach) {
            rules.entry(edge.decision.rule).or_insert(edge);
        }
        for edge in rules.into_values() {
            self.change_by_rule(reached, set, edge);
        }
    }

    /// What goes of the captured rows of one table; of a ring by one statement, since each of its
    /// keys may forbid to delete one table before the others, and all are checked at the end of a
    /// statement.
    pub(super) fn delete(&mut self, group: &[&'a Reached]) {
        let goes = |t: &&&Reached| edges(t).any(|e| e.decision.fate.may_delete());
        let mut parts = Vec::new();
        for reached in group.iter().filter(goes) {
            let Some(&set) = self.captured.get(&reached.table) else {
                continue;
            };
            self.held.insert(&reached.table, None);
            let part = Part::Gone;
            parts.push((*reached, Rows { set, part }));
        }
        let Some(((first, rows), others)) = parts.split_first() else {
            return;
        };
        let deletes: Vec<_> = parts
            .iter()
            .map(|(reached, rows)| {
                let set = &self.plan.sets[rows.set];
                (&reached.table, &set.key, set.columns.as_slice(), *rows)
            })
            .collect();
        let statement = self.system.dialect.delete_by_key(&deletes);
        let labels: BTreeSet<String> = parts.iter().map(|(reached, _)| labels(reached)).collect();
        let before = parts.iter();
        let before = before.flat_map(|(reached, rows)| self.before_the_cascade(reached, *rows));
        self.plan.changes.push(Change {
            table: first.table.clone(),
            kind: ChangeKind::Deleted,
            label: labels.into_iter().collect::<Vec<_>>().join(", "),
            statement,
            rows: Some(*rows),
            ring: others
                .iter()
                .map(|(reached, rows)| (reached.table.clone(), *rows))
                .collect(),
            count: None,
            lock: None,
            before: before.collect(),
            moves: false,
            again: false,
        });
    }

    /// ON DELETE CASCADE, SET NULL and SET DEFAULT do quietly what the plan missed, and leave
    /// nothing by which a later probe could tell: so before `rows` go, nothing may refer to them.
    fn before_the_cascade(&self, reached: &Reached, rows: Rows) -> Vec<Probe> {
        let columns = &self.plan.sets[rows.set].columns;
        let parent = ParentRows { rows, columns };
        let mut probes = Vec::new();
        for (child, edge) in self.children(&reached.table) {
            if !cascades(edge, reached) {
                continue;
            }
            let Join::Columns { parent: read, .. } = &edge.join else {
                continue;
            };
            if read.iter().any(|r| columns.iter().all(|c| c.name != *r)) {
                continue;
            }
            // What refers to them and goes by the same statement is no stranger.
            let with = child.table == reached.table
                || self.system.are_in_a_ring(&child.table, &reached.table);
            let own = with.then(|| self.captured.get(&child.table)).flatten();
            let own = own.map(|&set| {
                let row_set = &self.plan.sets[set];
                let part = Part::Gone;
                (&row_set.key, row_set.columns.as_slice(), Rows { set, part })
            });
            probes.push(Probe {
                table: child.table.clone(),
                label: format!(
                    "rows that the plan missed would go, or change, by {}",
                    edge.label
                ),
                statement: self.system.dialect.strangers_by_edge(
                    &child.table,
                    &child.facts,
                    edge,
                    Some(&parent),
                    own,
                    self.system.utf8,
                ),
                expect: None,
            });
        }
        probes
    }

    /// Links are cut before anything is deleted: what they lead to may come later in the order
    /// than the rows that hold them. There even rows that go must let go first.
    pub(super) fn detach(&mut self, reached: &'a Reached) {
        let Some(&set) = self.captured.get(&reached.table) else {
            return;
        };
        for edge in edges(reached).filter(|e| e.decision.fate == Fate::Detach) {
            if edge.join.is_by_element() {
                self.drop_elements(reached, set, edge);
            } else {
                self.change_by_rule(reached, set, edge);
            }
        }
    }

    /// Of a list the elements that refer to the subjects are taken out, the others stay.
    fn drop_elements(&mut self, reached: &'a Reached, set: usize, edge: &Edge) {
        let columns = self.parent_columns(edge);
        let Some(parent) = self.parent_rows(edge, Part::Followed, &columns) else {
            return;
        };
        let part = Part::LinkedBy(self.claim(reached, edge));
        let rows = Rows { set, part };
        let row_set = &self.plan.sets[set];
        let known = (&row_set.key, row_set.columns.as_slice(), rows);
        let Some(drop) = sql::drop_elements(&reached.table, &reached.facts, edge, &parent, known)
        else {
            return;
        };
        let held = self.held.entry(&reached.table);
        held.or_insert_with(|| Some(drop.column.clone()));
        let moves = !matches!(row_set.key, RowKey::Columns(_));
        self.plan.changes.push(Change {
            table: reached.table.clone(),
            kind: ChangeKind::Detached,
            label: format!("elements of {}", drop.column),
            statement: drop.update,
            rows: Some(rows),
            ring: Vec::new(),
            count: None,
            lock: None,
            before: Vec::new(),
            moves,
            again: false,
        });
        self.plan.probes.push(Probe {
            table: reached.table.clone(),
            label: format!("elements of {} still refer to the subject", drop.column),
            statement: drop.probe,
            expect: None,
        });
    }

    /// A rule without `via` may detach by several keys: each row loses the link by which it was
    /// found, not those that lead to somebody else.
    pub(super) fn claim(&self, reached: &Reached, edge: &Edge) -> usize {
        if edge.decision.fate != Fate::Detach {
            return edge.decision.rule;
        }
        let place = reached.edges.iter().position(|e| std::ptr::eq(e, edge));
        self.policy.tables.len() + place.unwrap_or_default()
    }

    /// Whether an edge closes a ring: it leads from a table that comes later in the order.
    fn closes_a_ring(&self, reached: &Reached, edge: &Edge) -> bool {
        let place = |name: &TableName| self.system.place(name);
        matches!(&edge.parent, Parent::Table(parent) if place(parent) > place(&reached.table))
    }

    fn change_by_rule(&mut self, reached: &'a Reached, set: usize, edge: &Edge) {
        let kind = match edge.decision.fate {
            Fate::Anonymize if only_its_link(edge) => ChangeKind::Detached,
            Fate::Anonymize => ChangeKind::Anonymized,
            Fate::Detach => ChangeKind::Detached,
            Fate::Retain | Fate::RetainWithParent => ChangeKind::Cleaned,
            Fate::Delete | Fate::Exempt | Fate::Untouched => return,
        };
        let detached;
        let values = match self.set(edge) {
            Some(values) => values,
            None => {
                detached = self.detach_columns(reached, edge);
                &detached
            }
        };
        let Some(column) = values.keys().next() else {
            return;
        };
        let held = self.held.entry(&reached.table);
        held.or_insert_with(|| Some(column.clone()));
        let row_set = &self.plan.sets[set];
        let claim = self.claim(reached, edge);
        let stay = !self.closes_a_ring(reached, edge);
        let part = if stay {
            Part::ChangedBy(claim)
        } else {
            Part::LinkedBy(claim)
        };
        let rows = Rows { set, part };
        let (statement, probe) = self.system.dialect.update_by_key(
            &reached.table,
            &reached.facts,
            &row_set.key,
            &row_set.columns,
            rows,
            values,
            &self.known(),
            stay,
        );
        let columns: Vec<&str> = values.keys().map(String::as_str).collect();
        self.plan.changes.push(Change {
            table: reached.table.clone(),
            kind,
            label: columns.join(", "),
            statement,
            rows: Some(rows),
            ring: Vec::new(),
            count: None,
            lock: None,
            before: Vec::new(),
            moves: !matches!(row_set.key, RowKey::Columns(_)),
            again: kind == ChangeKind::Anonymized && keeps_its_link(edge, values),
        });
        self.plan.probes.push(Probe {
            table: reached.table.clone(),
            label: format!(
                "rows still hold the old {}, or are gone",
                columns.join(", ")
            ),
            statement: probe,
            expect: stay.then_some(rows),
        });
    }

    /// The identifiers that a free text loses: all but plain ones that are not distinctive enough to
    /// be searched for (a member number `7` in "7 nights").
    fn known(&self) -> Vec<Known> {
        self.policy
            .identifiers
            .iter()
            .filter(|(_, i)| i.residual || i.kind != IdentifierKind::Plain)
            .map(|(name, identifier)| Known {
                name: name.clone(),
                column: identifier.column.clone(),
                kind: identifier.kind.clone(),
            })
            .collect()
    }

    /// The columns of the link that may be empty, set to NULL.
    fn detach_columns(&self, reached: &Reached, edge: &Edge) -> Set {
        let child = match (&edge.foreign_key, &edge.join) {
            (Some(key), _) => key.link(),
            (None, Join::Columns { child, .. }) => child,
            _ => return Set::new(),
        };
        let span = self.policy.tables[edge.decision.rule].span.clone();
        child
            .iter()
            .filter(|c| reached.facts.column(c).is_some_and(|c| !c.not_null))
            .map(|c| (c.clone(), (Strategy::Null, span.clone())))
            .collect()
    }
}

/// Whether rows whose time is over lose their link and nothing else.
fn only_its_link(edge: &Edge) -> bool {
    let mut still = edge.due.iter().filter_map(|due| due.still.as_ref());
    still.any(|still| still.detaches)
}

/// Whether rows so changed still say to whom they belong.
fn keeps_its_link(edge: &Edge, set: &Set) -> bool {
    match &edge.join {
        Join::Columns { child, .. } => child
            .iter()
            .all(|column| !matches!(set.get(column), Some((Strategy::Null, _)))),
        _ => true,
    }
}
