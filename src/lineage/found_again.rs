//! Rows that need not be read before they go: found again by what leads to them.

use super::{Edge, Fate, Join, Parent, Reached};
use crate::catalog::TableKind;

/// The ways by which rows that all go are found again when they do.
#[derive(Clone, Copy, Debug)]
pub struct FoundAgain<'a> {
    /// The one way into the table.
    pub entry: &'a Edge,
    /// The key by which the table refers to itself, if it does: a tree.
    pub own: Option<&'a Edge>,
}

impl Reached {
    /// How rows of this table can be found again, if they can: all go, one way leads in, none
    /// leads on but to the table itself, and no trigger could keep a row. Whether other tables'
    /// rows hang on them is not looked at.
    ///
    /// Of a tree the rows are told apart by a key, and the database itself holds its edges: once a
    /// row is locked none can come to hang on it.
    pub fn found_again(&self) -> Option<FoundAgain<'_>> {
        let ways = self
            .edges
            .iter()
            .filter(|e| e.decision.fate != Fate::Exempt);
        let (own, entries): (Vec<&Edge>, Vec<&Edge>) =
            ways.partition(|e| matches!(&e.parent, Parent::Table(p) if *p == self.table));
        let (&[entry], own) = (entries.as_slice(), own.as_slice()) else {
            return None;
        };
        let own = match own {
            [] => None,
            [own] if self.is_tree_by(own) => Some(*own),
            _ => return None,
        };
        let mut triggers = self.facts.triggers.iter();
        let vetoed = triggers.any(|t| t.on_delete && t.may_veto);
        let at_once = all_go(entry) && entry.parent != Parent::Subject;
        (at_once && !vetoed).then_some(FoundAgain { entry, own })
    }

    fn is_tree_by(&self, own: &Edge) -> bool {
        let enforced = own.foreign_key.as_ref().is_some_and(|key| key.enforced);
        let keyed = !self.facts.has_heirs
            && self.facts.kind == TableKind::Ordinary
            && !self.facts.row_key().is_empty();
        enforced && keyed && all_go(own) && matches!(own.join, Join::Columns { .. })
    }
}

fn all_go(edge: &Edge) -> bool {
    edge.decision.fate == Fate::Delete && !edge.shared && !edge.join.is_by_element()
}
