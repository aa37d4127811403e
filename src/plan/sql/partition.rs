//! A partition that is to go whole.

use super::due::is_due;
use super::{Binds, table_name};
use crate::lineage::Due;
use crate::name::TableName;
use crate::plan::Statement;

/// All rows of a table, and those of them that are due.
pub(in crate::plan) fn whole_count(table: &TableName, due: &[Due]) -> Statement {
    let mut binds = Binds::default();
    let all = is_due(&mut binds, due);
    let body = format!(
        "SELECT pg_catalog.count(*), pg_catalog.count(*) FILTER (WHERE {}) FROM {} AS t",
        all.join(" AND "),
        table_name(table)
    );
    binds.statement("whole", table, &body)
}
