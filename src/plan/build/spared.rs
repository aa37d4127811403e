//! Where rows go without being asked for: what is asked of those that hang on them.

use super::super::{Part, Probe, Rows, sql};
use super::Builder;
use crate::lineage::{Due, Edge, Parent, Reached, Spares};

impl Builder<'_> {
    /// Locks what hangs on the rows, counts what of it keeps them, and whether they are due all the same.
    pub(super) fn spared(&mut self, reached: &Reached) {
        let (Some(edge), Some(&set)) = (entry(reached), self.captured.get(&reached.table)) else {
            return;
        };
        let linked = linked(edge);
        let row_set = &self.plan.sets[set];
        let part = Part::Gone;
        let going = (&row_set.key, row_set.columns.as_slice(), Rows { set, part });
        // What is below a row in a tree is captured with it.
        let trees = edge.spared_by.iter().any(|s| s.below.is_some());
        let beside = edge.spared_by.iter().filter(|s| s.below.is_none());
        let by = beside.chain(&linked);
        let mut probes: Vec<Probe> = by
            .map(|spares| Probe {
                table: spares
                    .way
                    .last()
                    .map_or_else(|| reached.table.clone(), |step| step.table.clone()),
                label: spares.by.clone(),
                statement: sql::keepers(&reached.table, &going, spares),
                expect: None,
            })
            .collect();
        if trees || !linked.is_empty() {
            probes.push(Probe {
                table: reached.table.clone(),
                label: "they are not due".into(),
                statement: sql::not_due(&reached.table, &going, &edge.due),
                expect: None,
            });
        }
        self.plan.spared.extend(probes);
    }
}

/// Whether its rows must be locked before what hangs on them is asked.
pub(super) fn may_be_spared(reached: &Reached) -> bool {
    entry(reached).is_some_and(|edge| !edge.spared_by.is_empty() || !linked(edge).is_empty())
}

fn entry(reached: &Reached) -> Option<&Edge> {
    reached.edges.iter().find(|e| e.parent == Parent::Subject)
}

/// Rows by whose date it is counted, as such that keep what they hang on.
fn linked(edge: &Edge) -> Vec<Spares> {
    let of = |due: &Due| -> Vec<Spares> {
        let linked = due.linked.iter();
        let spares = linked.map(|linked| Spares {
            way: vec![linked.step.clone()],
            below: None,
            due: vec![Due {
                condition: linked.condition.clone(),
                exempts: false,
                columns: vec![(linked.column.clone(), linked.kind)],
                linked: Vec::new(),
                ..due.clone()
            }],
            dated_only: true,
            only: due.condition.clone().filter(|_| due.exempts),
            by: format!("the date in {} is not over", linked.column),
        });
        spares.collect()
    };
    edge.due.iter().flat_map(of).collect()
}
