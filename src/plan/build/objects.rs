//! Large objects of rows that go, or lose their number: what refers to them goes first.

use super::super::sql::objects::{Holder, Numbers, hold, unlink};
use super::super::{Change, ChangeKind, Part, Probe, Rows};
use super::{Builder, edges};
use crate::lineage::{Fate, Reached};

impl<'a> Builder<'a> {
    /// The columns of a table that the policy calls large objects.
    pub(super) fn object_columns(&self, reached: &Reached) -> Vec<&'a str> {
        self.policy
            .object_columns(&self.system.system, &reached.table)
    }

    /// One change for each column, when all rows have changed.
    pub(super) fn unlink(&mut self) {
        let mut columns: Vec<(&Reached, &str, Vec<Numbers>)> = Vec::new();
        for reached in &self.system.tables {
            let Some(&set) = self.captured.get(&reached.table) else {
                continue;
            };
            for name in self.object_columns(reached) {
                let numbers = self.numbers(reached, set, name);
                if !numbers.is_empty() {
                    columns.push((reached, name, numbers));
                }
            }
        }
        let all: Vec<Numbers> = columns.iter().flat_map(|(.., n)| n.clone()).collect();
        let holders: Vec<Holder<'_>> = self
            .system
            .object_columns
            .iter()
            .map(|of| Holder {
                table: &of.table,
                column: &of.column,
                partitioned: of.partitioned,
            })
            .collect();
        let mut done = 0;
        for (reached, name, own) in columns {
            let earlier = &all[..done];
            done += own.len();
            let table = &reached.table;
            let sets = &self.plan.sets;
            // Once, for all columns: in one order, so that two tickets never wait for each other.
            let first = earlier.is_empty();
            let lock = first.then(|| hold(table, sets, &all));
            let unlink = unlink(table, sets, &own, earlier, &all, &holders);
            self.plan.changes.push(Change {
                table: table.clone(),
                kind: ChangeKind::Unlinked,
                label: format!("large objects of {name}"),
                statement: unlink.statement,
                rows: None,
                ring: Vec::new(),
                count: Some(unlink.count),
                lock,
                before: Vec::new(),
                moves: false,
                again: false,
            });
            self.plan.probes.push(Probe {
                table: table.clone(),
                label: format!("large objects of {name} are left"),
                statement: unlink.probe,
                expect: None,
            });
        }
    }

    /// Of the rows that go, and of those that stay and lose their number.
    fn numbers(&self, reached: &Reached, set: usize, name: &str) -> Vec<Numbers> {
        let columns = &self.plan.sets[set].columns;
        let Some(at) = columns.iter().position(|c| c.name == name) else {
            return Vec::new();
        };
        let mut parts = Vec::new();
        if edges(reached).any(|e| e.decision.fate.may_delete()) {
            parts.push(Part::Gone);
        }
        for edge in edges(reached).filter(|e| e.decision.fate != Fate::Untouched) {
            let part = Part::ChangedBy(self.claim(reached, edge));
            let sets_it = self.set(edge).is_some_and(|set| set.contains_key(name));
            if sets_it && !parts.contains(&part) {
                parts.push(part);
            }
        }
        let of = |part| Numbers {
            rows: Rows { set, part },
            at,
        };
        parts.into_iter().map(of).collect()
    }
}
