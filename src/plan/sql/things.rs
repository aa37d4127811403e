//! How many rows name a thing.

use super::{EQUALS, identifier, table_name};
use crate::catalog::Column;
use crate::name::TableName;

/// Of each name given how many rows of the table have it, whoever's they are.
pub(in crate::plan) fn rows_that_name(table: &TableName, column: &Column) -> String {
    let name = identifier(&column.name);
    format!(
        "/* erasured:things */ SELECT v.name, pg_catalog.count(*) FROM pg_catalog.unnest($1::pg_catalog.text[]) AS v(name) \
         JOIN {} AS t ON t.{name} {EQUALS} v.name::{} GROUP BY v.name",
        table_name(table),
        column.sql_type
    )
}
