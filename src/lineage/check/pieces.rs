//! `large = "batches"`: whether a table's rows can go in pieces at all.

use super::super::{Fate, Parent, Reached, SystemLineage};
use super::Check;

impl Check<'_> {
    /// A piece is found by its parents' keys and goes alone: nothing may hang on it, and nothing
    /// but the one way may lead to it.
    pub(super) fn in_pieces(&mut self, system: &SystemLineage, reached: &Reached) {
        let goes = reached
            .edges
            .iter()
            .find(|e| e.decision.fate == Fate::Delete);
        let Some(edge) = goes else { return };
        let Some(span) = self.policy.tables[edge.decision.rule].in_pieces.clone() else {
            return;
        };
        let objects = &self.policy.tables[edge.decision.rule].large_objects;
        let has_objects = objects
            .as_ref()
            .is_some_and(|(columns, _)| !columns.is_empty());
        let name = format!("{}.{}", system.system, reached.table);
        let hangs = system.tables.iter().find(|t| {
            let mut ways = t.edges.iter().filter(|e| e.decision.fate != Fate::Exempt);
            t.table != reached.table
                && ways.any(|e| matches!(&e.parent, Parent::Table(p) if *p == reached.table))
        });
        let problem = match (reached.found_again(), hangs) {
            (Some(found), None) if found.own.is_none() && !has_objects => return,
            (Some(found), _) if found.own.is_some() => {
                "its rows refer to each other".to_owned()
            }
            (_, Some(child)) => format!("rows of {} hang on its rows", child.table),
            _ if has_objects => {
                "its rows lead to large objects".to_owned()
            }
            _ if reached.edges.iter().any(|e| e.parent == Parent::Subject) => {
                "its rows are the subjects themselves".to_owned()
            }
            _ => "its rows are reached by more than one way, by the elements of a list or as what is shared, or a trigger may keep them".to_owned(),
        };
        self.error(
            "E0248",
            &span,
            format!("{name} cannot go in pieces: {problem}"),
            "take large out: all rows then go in the one transaction",
        );
    }
}
