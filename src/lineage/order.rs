//! Parents before children, or the ring that makes it impossible.

use super::{Edge, Fate, Parent};
use crate::name::TableName;
use std::collections::BTreeMap;

/// Indexes of `tables` with every parent before its children; a table that refers to itself is
/// no obstacle, nor is a key whose rows are left alone. A key whose rows only lose the link leads
/// no further: it is kept in order too where it can be, and where it closes a ring it is not.
///
/// # Errors
/// The tables of one ring, in its order.
pub(super) fn parents_first(
    tables: &[(TableName, Vec<Edge>)],
) -> Result<Vec<usize>, Vec<TableName>> {
    let must = parents(tables, Fate::is_followed);
    let should = parents(tables, |fate| fate == Fate::Detach);
    let mut placed = vec![false; tables.len()];
    let mut order = Vec::with_capacity(tables.len());
    loop {
        let after = |t: usize, of: &[Vec<usize>]| of[t].iter().all(|&p| placed[p]);
        let may: Vec<usize> = (0..tables.len())
            .filter(|&t| !placed[t] && after(t, &must))
            .collect();
        let best = may.iter().copied().find(|&t| after(t, &should));
        let Some(next) = best.or(may.first().copied()) else {
            break;
        };
        placed[next] = true;
        order.push(next);
    }
    if order.len() == tables.len() {
        return Ok(order);
    }
    Err(ring(&must, &placed)
        .into_iter()
        .map(|t| tables[t].0.clone())
        .collect())
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

/// Walks from an unplaced table to unplaced parents until one comes round again.
fn ring(parents: &[Vec<usize>], placed: &[bool]) -> Vec<usize> {
    let mut path: Vec<usize> = Vec::new();
    let mut at = placed.iter().position(|p| !p).unwrap_or(0);
    loop {
        if let Some(start) = path.iter().position(|&t| t == at) {
            return path.split_off(start);
        }
        path.push(at);
        match parents[at].iter().find(|&&p| !placed[p]) {
            Some(&next) => at = next,
            None => return path,
        }
    }
}
