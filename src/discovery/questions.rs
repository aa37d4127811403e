//! What to ask the database's rows: decided from the catalog alone, so that it can be seen.

use super::Request;
use super::identifiers::{declared, suggested};
use super::polymorphic::{Pair, pairs};
use super::soft::{Candidate, candidates};
use super::walk::{closure, is_a_table};
use crate::catalog::Catalog;
use crate::name::TableName;
use crate::policy::Draft;

/// All that is asked.
#[derive(Clone, Debug, Default)]
pub struct Questions {
    /// The table whose row is the person.
    pub root: TableName,
    /// Columns whose contents are looked at, table by table, what is reached first.
    pub contents: Vec<(TableName, Vec<String>)>,
    /// Soft links to measure.
    pub links: Vec<Candidate>,
    /// Type columns to look at.
    pub pairs: Vec<Pair>,
}

/// Wider tables are looked at in part.
const MOST_COLUMNS: usize = 60;

/// What to ask, for a new policy or for one that is there.
pub fn questions(catalog: &Catalog, request: &Request, known: Option<&Draft>) -> Questions {
    let identifiers = match known {
        Some(draft) => declared(draft),
        None => suggested(catalog, request, None),
    };
    let reached = closure(catalog, &request.root);
    let tables = catalog.tables.keys().filter(|t| is_a_table(catalog, t));
    let mut contents: Vec<(TableName, Vec<String>)> = tables
        .map(|table| (table.clone(), readable(catalog, table)))
        .filter(|(_, columns)| !columns.is_empty())
        .collect();
    contents.sort_by_key(|(table, _)| (*table != request.root, !reached.contains(table)));
    Questions {
        root: request.root.clone(),
        contents,
        links: candidates(catalog, &request.root, &identifiers),
        pairs: pairs(catalog),
    }
}

/// Columns whose text can be had without running anybody's code: types of the server's own, and
/// nothing computed.
fn readable(catalog: &Catalog, table: &TableName) -> Vec<String> {
    const BASES: &[&str] = &[
        "text", "varchar", "bpchar", "json", "jsonb", "int8", "numeric",
    ];
    let columns = catalog.tables[table].columns.iter();
    columns
        .filter(|c| BASES.contains(&c.base.as_str()) && !c.generated)
        .map(|c| c.name.clone())
        .take(MOST_COLUMNS)
        .collect()
}
