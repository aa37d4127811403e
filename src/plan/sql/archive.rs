//! Rows to be written elsewhere before they go.

use super::{Binds, by_key, table_name};
use crate::catalog::Table;
use crate::plan::{HandedOver, Part, RowSet, Rows};
use crate::system::postgres::quote::identifier;

/// Every column of the captured rows that go, as texts.
pub(in crate::plan) fn archived(of: &RowSet, set: usize, facts: &Table) -> HandedOver {
    let rows = Rows {
        set,
        part: Part::Gone,
    };
    let mut binds = Binds::default();
    let tie = by_key(&mut binds, &of.key, &of.columns, rows, &[]);
    let columns: Vec<String> = facts
        .columns
        .iter()
        .map(|column| format!("t.{}::text", identifier(&column.name)))
        .collect();
    let body = format!(
        "SELECT {} FROM {} JOIN {} AS t ON {}",
        columns.join(", "),
        tie.from,
        table_name(&of.table),
        tie.on
    );
    let columns = facts.columns.iter();
    HandedOver {
        table: of.table.clone(),
        columns: columns
            .map(|column| (column.name.clone(), column.sql_type.clone()))
            .collect(),
        statement: binds.statement("archive", &of.table, &body),
        rows,
    }
}
