//! What must hold before COMMIT.

use super::super::{Part, Probe, Rows};
use super::{Builder, cascades, edges};
use crate::catalog::OnDelete;
use crate::lineage::{Edge, Fate, Parent, Reached};

impl<'a> Builder<'a> {
    pub(super) fn probe(&mut self, reached: &'a Reached) {
        let set = self.captured.get(&reached.table).copied();
        let mut guarded = true;
        for edge in edges(reached)
            .filter(|e| e.decision.fate != Fate::Untouched && e.parent != Parent::Subject)
        {
            if self.guarded_by_foreign_key(reached, edge) || self.gone_with_its_tree(reached, edge)
            {
                continue;
            }
            guarded = false;
            if self.probed_before_cascade(reached, edge) {
                continue;
            }
            for (part, _) in self.ways(edge) {
                let columns = self.parent_columns(edge);
                let parent = self.parent_rows(edge, part, &columns);
                let known = set.map(|set| {
                    let row_set = &self.plan.sets[set];
                    (
                        &row_set.key,
                        row_set.columns.as_slice(),
                        Rows {
                            set,
                            part: Part::Staying,
                        },
                    )
                });
                let statement = self.system.dialect.strangers_by_edge(
                    &reached.table,
                    &reached.facts,
                    edge,
                    parent.as_ref(),
                    known,
                    self.system.utf8,
                );
                self.plan.probes.push(Probe {
                    table: reached.table.clone(),
                    label: format!("rows are left, or came meanwhile, by {}", edge.label),
                    statement,
                    expect: None,
                });
            }
        }
        if guarded
            && edges(reached)
                .any(|e| e.decision.fate == Fate::Delete && e.parent != Parent::Subject)
        {
            self.plan.probed_by_foreign_key.push(reached.table.clone());
        }
        let entry = edges(reached).any(|e| e.parent == Parent::Subject);
        if let Some(set) = set {
            self.probe_captured(reached, set, guarded && !entry);
        }
    }

    /// Rows that had to go are gone, rows that had to stay are there.
    fn probe_captured(&mut self, reached: &Reached, set: usize, guarded: bool) {
        let row_set = &self.plan.sets[set];
        let count = |part| {
            self.system.dialect.count_by_key(
                &reached.table,
                &row_set.key,
                &row_set.columns,
                Rows { set, part },
            )
        };
        let mut probes = Vec::new();
        if !guarded && edges(reached).any(|e| e.decision.fate.may_delete()) {
            probes.push((
                "rows that had to go are still there",
                count(Part::Gone),
                None,
            ));
        }
        if edges(reached).any(|e| matches!(e.decision.fate, Fate::Retain | Fate::RetainWithParent))
        {
            probes.push((
                "rows that must be kept are gone",
                count(Part::Kept),
                Some(Rows {
                    set,
                    part: Part::Kept,
                }),
            ));
        }
        for (label, statement, expect) in probes {
            self.plan.probes.push(Probe {
                table: reached.table.clone(),
                label: label.into(),
                statement,
                expect,
            });
        }
    }

    /// Whether the database itself would refuse the deletion of the parents if a row of this
    /// table were left: an enforced key, no cascade, and parents that all go.
    fn guarded_by_foreign_key(&self, reached: &Reached, edge: &Edge) -> bool {
        let refuses = edge
            .foreign_key
            .as_ref()
            .is_some_and(|k| matches!(k.on_delete, OnDelete::NoAction | OnDelete::Restrict));
        refuses && edge.decision.fate == Fate::Delete && self.ends_with_its_parents(reached, edge)
    }

    /// Nothing can come to hang on a tree's rows once they are locked, and what hung on them then
    /// was of the tree.
    fn gone_with_its_tree(&self, reached: &Reached, edge: &Edge) -> bool {
        let own = edge.parent == Parent::Table(reached.table.clone());
        own && !self.captured.contains_key(&reached.table)
    }

    /// Whether [`Builder::before_the_cascade`] has looked already, and nothing can come since.
    fn probed_before_cascade(&self, reached: &Reached, edge: &Edge) -> bool {
        let Parent::Table(parent) = &edge.parent else {
            return false;
        };
        let above = self.system.table(parent);
        above.is_some_and(|above| cascades(edge, above))
            && self.ends_with_its_parents(reached, edge)
    }

    /// An enforced key from another table, all of whose rows concerned go: once they have gone
    /// nothing can refer to them.
    fn ends_with_its_parents(&self, reached: &Reached, edge: &Edge) -> bool {
        let (Some(key), Parent::Table(parent)) = (&edge.foreign_key, &edge.parent) else {
            return false;
        };
        let Some(parent) = self.system.table(parent) else {
            return false;
        };
        let all_go = edges(parent).all(|e| e.decision.fate == Fate::Delete);
        key.enforced && all_go && parent.table != reached.table
    }
}
