//! What must hold before COMMIT.

use super::capture::no_owner_left;
use super::{Binds, KnownRows, ParentRows, by_key, table_name, tie};
use crate::catalog::Table;
use crate::lineage::Edge;
use crate::name::TableName;
use crate::plan::{CapturedColumn, RowKey, Rows, Statement};

/// Counts captured rows that are there.
pub(in crate::plan) fn count_by_key(
    table: &TableName,
    key: &RowKey,
    columns: &[CapturedColumn],
    rows: Rows,
) -> Statement {
    let mut binds = Binds::default();
    let tie = by_key(&mut binds, key, columns, rows, &[]);
    let body = format!(
        "SELECT count(*) FROM {} JOIN {} AS t ON {}",
        tie.from,
        table_name(table),
        tie.on
    );
    binds.statement("probe", table, &body)
}

/// Counts rows that an edge reaches and that are none of `known`: what came, or was left, behind
/// the plan's back. By a query path of its own: a semi-join from the table, not a join from the
/// keys.
pub(in crate::plan) fn strangers_by_edge(
    table: &TableName,
    facts: &Table,
    edge: &Edge,
    parent: Option<&ParentRows<'_>>,
    known: Option<KnownRows<'_>>,
    utf8: bool,
) -> Statement {
    let mut binds = Binds::default();
    let reach = tie(&mut binds, edge, facts, parent, utf8);
    let alone = if edge.shared {
        no_owner_left(&mut binds, edge, facts, parent, None)
    } else {
        String::new()
    };
    let except = known.map_or_else(String::new, |(key, columns, rows)| {
        let tie = by_key(&mut binds, key, columns, rows, &[]);
        format!(
            " AND NOT EXISTS (SELECT FROM {} WHERE {})",
            tie.from, tie.on
        )
    });
    let body = if reach.elements.is_empty() {
        format!(
            "SELECT count(*) FROM {} AS t WHERE EXISTS (SELECT FROM {} WHERE {}){alone}{except}",
            table_name(table),
            reach.from,
            reach.on
        )
    } else {
        // Asked row by row, each row's elements would be held against every key.
        format!(
            "SELECT count(DISTINCT (t.tableoid, t.ctid)) FROM {} JOIN {} ON {}{alone}{except}",
            reach.from,
            reach.table(table),
            reach.on
        )
    };
    binds.statement("probe", table, &body)
}
