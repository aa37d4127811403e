//! What goes beforehand in bounded pieces, because the policy says so.

use super::super::{Part, Piece, sql};
use super::{Builder, edges};
use crate::lineage::{Parent, Reached};
use std::collections::BTreeSet;

impl<'a> Builder<'a> {
    pub(super) fn piece(&mut self, reached: &'a Reached) {
        let Some(found) = reached.found_again() else {
            return;
        };
        let rule = &self.policy.tables[found.entry.decision.rule];
        if rule.in_pieces.is_none()
            || found.own.is_some()
            || self.captured.contains_key(&reached.table)
        {
            return;
        }
        let columns = self.parent_columns(found.entry);
        let parent = self.parent_rows(found.entry, Part::Followed, &columns);
        let statement = sql::delete_piece(
            &reached.table,
            &reached.facts,
            found.entry,
            parent.as_ref(),
            self.system.utf8,
        );
        self.plan.pieces.push(Piece {
            table: reached.table.clone(),
            label: found.entry.label.clone(),
            sets: self.above(reached),
            statement,
        });
    }

    /// The sets of the subjects and of all on the way from them, which must be captured to find
    /// rows of this table.
    fn above(&self, reached: &Reached) -> Vec<usize> {
        let mut sets = BTreeSet::new();
        let mut ways = vec![reached];
        // Who the subjects are is asked again before each piece.
        let subjects = self.system.tables.iter();
        ways.extend(subjects.filter(|t| edges(t).any(|e| e.parent == Parent::Subject)));
        while let Some(reached) = ways.pop() {
            if let Some(&set) = self.captured.get(&reached.table)
                && !sets.insert(set)
            {
                continue;
            }
            for edge in edges(reached) {
                if let Parent::Table(parent) = &edge.parent
                    && *parent != reached.table
                    && let Some(above) = self.system.table(parent)
                {
                    ways.push(above);
                }
            }
        }
        sets.into_iter().collect()
    }
}
