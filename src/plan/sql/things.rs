//! How many rows name a thing.

use super::{EQUALS, identifier, table_name};
use crate::catalog::Column;
use crate::name::TableName;

/// Of each name given with a number: how many rows of the table have it, whoever's they are. No more are counted
/// than one above the number: what half of all rows name would be counted for minutes.
pub(in crate::plan) fn rows_that_name(table: &TableName, column: &Column) -> String {
    format!(
        "/* erasured:things */ SELECT v.name, (SELECT pg_catalog.count(*) FROM \
           (SELECT FROM {} AS t WHERE t.{} {EQUALS} v.name::{} LIMIT v.own + 1) AS l) \
         FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]), pg_catalog.unnest($2::pg_catalog.int8[])) AS v (name, own)",
        table_name(table),
        identifier(&column.name),
        column.sql_type
    )
}
