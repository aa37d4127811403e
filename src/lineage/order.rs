//! Parents before children, or the ring that makes it impossible.

use super::{Edge, Parent};
use crate::name::TableName;
use std::collections::BTreeMap;

/// Indexes of `tables` with every parent before its children; a table that refers to itself is
/// no obstacle, nor is a key whose rows are left alone or only lose the link: it leads no further.
///
/// # Errors
/// The tables of one ring, in its order.
pub(super) fn parents_first(
    tables: &[(TableName, Vec<Edge>)],
) -> Result<Vec<usize>, Vec<TableName>> {
    let index: BTreeMap<_, _> = tables
        .iter()
        .enumerate()
        .map(|(i, (name, _))| (name, i))
        .collect();
    let parents: Vec<Vec<usize>> = tables
        .iter()
        .map(|(name, edges)| {
            let mut parents: Vec<usize> = edges
                .iter()
                .filter(|e| e.decision.fate.is_followed())
                .filter_map(|e| match &e.parent {
                    Parent::Table(parent) if parent != name => index.get(parent).copied(),
                    _ => None,
                })
                .collect();
            parents.sort_unstable();
            parents.dedup();
            parents
        })
        .collect();
    let mut placed = vec![false; tables.len()];
    let mut order = Vec::with_capacity(tables.len());
    loop {
        let ready: Vec<usize> = (0..tables.len())
            .filter(|&t| !placed[t] && parents[t].iter().all(|&p| placed[p]))
            .collect();
        if ready.is_empty() {
            break;
        }
        for t in ready {
            placed[t] = true;
            order.push(t);
        }
    }
    if order.len() == tables.len() {
        return Ok(order);
    }
    Err(ring(&parents, &placed)
        .into_iter()
        .map(|t| tables[t].0.clone())
        .collect())
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
