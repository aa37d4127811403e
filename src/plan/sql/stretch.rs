//! Due rows between two places of the order in which a run passes them.

use super::due::{is_due, latest_day, not_held, order};
use super::{Binds, EQUALS, sql_type, table_name};
use crate::catalog::{ForeignKey, Table};
use crate::lineage::Due;
use crate::name::TableName;
use crate::plan::stretch::Between;
use crate::plan::{DueRows, HeldRows, Parameter, Statement};
use crate::system::postgres::quote::identifier;

/// Locks the next rows; how many there were, the first and the last of their days, and the place of the last, as
/// texts.
pub(in crate::plan) fn lock_stretch(
    table: &TableName,
    facts: &Table,
    due: &[Due],
    held: &[&HeldRows],
    behind: Option<&[String]>,
    limit: u64,
) -> Statement {
    let mut binds = Binds::as_values();
    let order = order(facts, due);
    let mut all = free(&mut binds, due, held);
    all.extend(behind.map(|place| compared(&mut binds, facts, &order, ">", place)));
    let limit = binds.bind(Parameter::Text(limit.to_string()));
    let day = latest_day(&mut binds, due);
    let own: Vec<String> = order
        .iter()
        .map(|c| format!("t.{}", identifier(c)))
        .collect();
    let own = own.join(", ");
    let place = |prefix: &str, suffix: &str| {
        let parts = (0..order.len()).map(|at| format!("{prefix}p{at}{suffix}"));
        parts.collect::<Vec<_>>().join(", ")
    };
    let body = format!(
        "WITH locked ({}, day) AS MATERIALIZED (SELECT {own}, {day} FROM {} AS t WHERE {} ORDER BY {own} LIMIT {limit}::text::int8 FOR UPDATE OF t) \
         SELECT s.n, s.first, s.last, {} \
           FROM locked, (SELECT pg_catalog.count(*), pg_catalog.min(day), pg_catalog.max(day) FROM locked) AS s (n, first, last) \
          ORDER BY {} LIMIT 1",
        place("", ""),
        table_name(table),
        all.join(" AND "),
        place("locked.", "::text"),
        // Qualified: a bare name would be the text that is given back.
        place("locked.", " DESC"),
    );
    binds.statement("lock", table, &body)
}

/// Deletes what refers to them.
pub(in crate::plan) fn delete_children(
    rows: &DueRows<'_>,
    key: &ForeignKey,
    between: Between<'_>,
) -> Statement {
    let mut binds = Binds::as_values();
    let referring = referring(&mut binds, rows, key, between);
    let child = table_name(&key.child.0);
    let body = format!("DELETE FROM {child} AS c WHERE {referring}");
    binds.statement("delete", &key.child.0, &body)
}

/// Counts what refers to them.
pub(in crate::plan) fn children_left(
    rows: &DueRows<'_>,
    key: &ForeignKey,
    between: Between<'_>,
) -> Statement {
    let mut binds = Binds::as_values();
    let referring = referring(&mut binds, rows, key, between);
    let child = table_name(&key.child.0);
    let body = format!("SELECT pg_catalog.count(*) FROM {child} AS c WHERE {referring}");
    binds.statement("probe", &key.child.0, &body)
}

/// Deletes the rows.
pub(in crate::plan) fn delete_stretch(rows: &DueRows<'_>, between: Between<'_>) -> Statement {
    let mut binds = Binds::as_values();
    let within = within(&mut binds, rows, between);
    let body = format!("DELETE FROM {} AS t WHERE {within}", table_name(rows.table));
    binds.statement("delete", rows.table, &body)
}

/// Counts the rows.
pub(in crate::plan) fn stretch_left(rows: &DueRows<'_>, between: Between<'_>) -> Statement {
    let mut binds = Binds::as_values();
    let within = within(&mut binds, rows, between);
    let body = format!(
        "SELECT pg_catalog.count(*) FROM {} AS t WHERE {within}",
        table_name(rows.table)
    );
    binds.statement("probe", rows.table, &body)
}

/// `c` refers to one of them. As an array, so that an index leads to each whatever the planner thinks of how
/// many there are.
fn referring(
    binds: &mut Binds,
    rows: &DueRows<'_>,
    key: &ForeignKey,
    between: Between<'_>,
) -> String {
    let within = within(binds, rows, between);
    let column = |columns: &[String]| columns.iter().map(|c| identifier(c)).collect::<String>();
    format!(
        "c.{} {EQUALS} ANY (ARRAY(SELECT t.{} FROM {} AS t WHERE {within}))",
        column(&key.child.1),
        column(&key.parent.1),
        table_name(rows.table),
    )
}

fn within(binds: &mut Binds, rows: &DueRows<'_>, between: Between<'_>) -> String {
    let DueRows { facts, due, .. } = rows;
    let order = order(facts, due);
    let mut all = free(binds, due, &rows.held());
    let behind = between.behind;
    all.extend(behind.map(|place| compared(binds, facts, &order, ">", place)));
    all.push(compared(binds, facts, &order, "<=", between.last));
    all.join(" AND ")
}

/// What a run takes.
fn free(binds: &mut Binds, due: &[Due], held: &[&HeldRows]) -> Vec<String> {
    let mut all = is_due(binds, due);
    all.extend(held.iter().map(|held| not_held(binds, held)));
    all
}

/// `t` lies so of a place.
pub(super) fn compared(
    binds: &mut Binds,
    facts: &Table,
    order: &[String],
    sign: &str,
    place: &[String],
) -> String {
    let columns: Vec<String> = order
        .iter()
        .map(|c| format!("t.{}", identifier(c)))
        .collect();
    let values = order
        .iter()
        .zip(place)
        .map(|(column, value)| binds.constant(value.clone(), &sql_type(facts, column)));
    let values: Vec<String> = values.collect();
    format!(
        "({}) OPERATOR(pg_catalog.{sign}) ({})",
        columns.join(", "),
        values.join(", ")
    )
}
