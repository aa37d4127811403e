//! Things that rows of a database name: which columns, of which of the captured rows.

use super::super::{Part, Rows, Things, ValueForm};
use super::{Builder, edges};
use crate::lineage::{Fate, Reached};
use crate::plan::sql;

impl<'a> Builder<'a> {
    /// The columns of a table that name things which go with its rows.
    pub(super) fn thing_columns(&self, reached: &Reached) -> Vec<&'a str> {
        let system = &self.system.system;
        let of = self
            .sources
            .iter()
            .filter(|(_, from)| from.table.system == *system && from.table.table == reached.table);
        let mut columns: Vec<&str> = of.map(|(_, from)| from.column.as_str()).collect();
        columns.sort_unstable();
        columns.dedup();
        columns
    }

    /// For each place whose things are named here.
    pub(super) fn things(&mut self) {
        for (place, from) in &self.sources {
            let tables = &self.system.tables;
            let reached = tables.iter().find(|reached| {
                from.table.system == self.system.system && from.table.table == reached.table
            });
            let Some(reached) = reached else { continue };
            let Some(&set) = self.captured.get(&reached.table) else {
                continue;
            };
            let columns = &self.plan.sets[set].columns;
            let Some(at) = columns.iter().position(|c| c.name == from.column) else {
                continue;
            };
            let rows = self.naming(reached, set, &from.column);
            let column = reached.facts.column(&from.column);
            let (Some(column), false) = (column, rows.is_empty()) else {
                continue;
            };
            let form = match column.base.as_str() {
                "uuid" => ValueForm::Uuid,
                _ => ValueForm::Text,
            };
            self.plan.things.push(Things {
                place: (*place).clone(),
                table: reached.table.clone(),
                column: from.column.clone(),
                at,
                form,
                rows,
                count: sql::things::rows_that_name(&reached.table, column),
            });
        }
    }

    /// Rows that go, and those that stay and lose the name.
    fn naming(&self, reached: &Reached, set: usize, name: &str) -> Vec<Rows> {
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
        parts.into_iter().map(|part| Rows { set, part }).collect()
    }
}
