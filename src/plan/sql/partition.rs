//! A partition that is to go whole.

use super::due::{is_due, latest_day};
use super::{Binds, table_name};
use crate::lineage::Due;
use crate::name::TableName;
use crate::plan::Statement;

/// All rows of a table, those of them that are due, and the first and the last of their days.
pub(in crate::plan) fn whole_count(table: &TableName, due: &[Due]) -> Statement {
    let mut binds = Binds::default();
    let all = is_due(&mut binds, due);
    let day = latest_day(&mut binds, due);
    let body = format!(
        "SELECT pg_catalog.count(*), pg_catalog.count(*) FILTER (WHERE {}), pg_catalog.min({day}), pg_catalog.max({day}) FROM {} AS t",
        all.join(" AND "),
        table_name(table)
    );
    binds.statement("whole", table, &body)
}
