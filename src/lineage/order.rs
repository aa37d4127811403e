//! Parents before children; tables that refer to each other in a ring stand together.

use super::{Edge, Fate, Parent};
use crate::name::TableName;
use petgraph::algo::tarjan_scc;
use petgraph::graph::DiGraph;
use std::collections::BTreeMap;

/// Indexes of `tables` in groups: every parent before its children, but tables that refer to each
/// other, over any number of others, in one group. A table that refers to itself is no obstacle,
/// nor is a key whose rows are left alone. A key whose rows only lose the link leads no further:
/// it is kept in order too where it can be, and where it closes a ring it is not.
pub(super) fn parents_first(tables: &[(TableName, Vec<Edge>)]) -> Vec<Vec<usize>> {
    let must = parents(tables, Fate::is_followed);
    let should = parents(tables, |fate| fate == Fate::Detach);
    let mut groups = rings(&must);
    let mut placed = vec![false; tables.len()];
    let mut order = Vec::with_capacity(groups.len());
    while !groups.is_empty() {
        let after = |group: &[usize], of: &[Vec<usize>]| {
            let mut above = group.iter().flat_map(|&t| &of[t]);
            above.all(|p| placed[*p] || group.contains(p))
        };
        let may = |group: &&Vec<usize>| after(group, &must);
        let best = groups.iter().position(|g| may(&g) && after(g, &should));
        let next = best
            .or_else(|| groups.iter().position(|g| may(&g)))
            .expect("between rings there is no ring");
        let group = groups.remove(next);
        group.iter().for_each(|&t| placed[t] = true);
        order.push(group);
    }
    order
}

/// The strongly connected parts, each in the order of its indexes and all by their first.
fn rings(parents: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let mut graph: DiGraph<(), ()> = DiGraph::new();
    let nodes: Vec<_> = parents.iter().map(|_| graph.add_node(())).collect();
    for (child, parents) in parents.iter().enumerate() {
        for &parent in parents {
            graph.add_edge(nodes[child], nodes[parent], ());
        }
    }
    let mut rings: Vec<Vec<usize>> = tarjan_scc(&graph)
        .into_iter()
        .map(|ring| {
            let mut ring: Vec<usize> = ring.into_iter().map(|n| n.index()).collect();
            ring.sort_unstable();
            ring
        })
        .collect();
    rings.sort_unstable();
    rings
}

/// For each table the others to which it refers by edges of such a fate.
fn parents(tables: &[(TableName, Vec<Edge>)], counts: impl Fn(Fate) -> bool) -> Vec<Vec<usize>> {
    let index: BTreeMap<_, _> = tables
        .iter()
        .enumerate()
        .map(|(i, (name, _))| (name, i))
        .collect();
    let of = |name: &TableName, edges: &[Edge]| {
        let mut parents: Vec<usize> = edges
            .iter()
            .filter(|e| counts(e.decision.fate))
            .filter_map(|e| match &e.parent {
                Parent::Table(parent) if parent != name => index.get(parent).copied(),
                _ => None,
            })
            .collect();
        parents.sort_unstable();
        parents.dedup();
        parents
    };
    tables.iter().map(|(name, edges)| of(name, edges)).collect()
}
