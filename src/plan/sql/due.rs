//! Rows whose time is over: the condition, and the statements that choose and count them.

use super::covered::conditions;
use super::forecast::day;
use super::stretch::compared;
use super::{Binds, EQUALS, condition, sql_type, table_name};
use crate::catalog::Table;
use crate::lineage::{DateKind, Due};
use crate::name::TableName;
use crate::plan::{HeldRows, Parameter, Statement};
use crate::system::postgres::quote::identifier;

/// All of `due` holds of `t`. Written so that an index over one column serves, and so that a row that
/// was changed while somebody waited for its lock is asked again.
pub(super) fn is_due(binds: &mut Binds, due: &[Due]) -> Vec<String> {
    let mut all = Vec::new();
    for due in due {
        all.extend(of_columns(binds, due));
        let condition = due.condition.as_ref();
        all.extend(condition.map(|condition| condition::holds(binds, condition)));
    }
    all
}

fn of_columns(binds: &mut Binds, due: &Due) -> Vec<String> {
    let column = |name: &str| format!("t.{}", identifier(name));
    let before = |binds: &mut Binds, (name, kind): &(String, DateKind)| {
        let (value, of) = match kind {
            DateKind::Date => (
                due.cutoff
                    .day
                    .succ_opt()
                    .unwrap_or(due.cutoff.day)
                    .to_string(),
                "date",
            ),
            DateKind::Local => (local(due), "timestamp"),
            DateKind::Instant => (due.end.to_rfc3339(), "timestamptz"),
        };
        let value = binds.bind(Parameter::Text(value));
        // `-infinity` is nobody's date.
        format!(
            "{0} OPERATOR(pg_catalog.<) {value}::text::{of} AND pg_catalog.isfinite({0})",
            column(name)
        )
    };
    if let [only] = due.columns.as_slice() {
        return vec![before(binds, only)];
    }
    let mut all: Vec<String> = due
        .columns
        .iter()
        .map(|c| format!("({} IS NULL OR {})", column(&c.0), before(binds, c)))
        .collect();
    let there: Vec<String> = due
        .columns
        .iter()
        .map(|c| format!("{} IS NOT NULL", column(&c.0)))
        .collect();
    all.push(format!("({})", there.join(" OR ")));
    all
}

/// Midnight behind the cutoff, as the clocks on the wall say it.
fn local(due: &Due) -> String {
    due.end
        .with_timezone(&due.cutoff.zone)
        .naive_local()
        .format("%Y-%m-%d %H:%M:%S")
        .to_string()
}

/// A row as a run passes it: by its date, if one column says it, and its key.
pub(super) fn order(facts: &Table, due: &[Due]) -> Vec<String> {
    let mut order = Vec::new();
    if let Some(Due { columns, .. }) = due.first()
        && let [(only, _)] = columns.as_slice()
    {
        order.push(only.clone());
    }
    for part in facts.row_key() {
        if !order.contains(part) {
            order.push(part.clone());
        }
    }
    order
}

/// The next rows that are due, the oldest first, and none that a hold covers: their keys as texts, and
/// behind these their places in the order, by which the next ones are asked for. Last the day, in the rule's zone.
pub(in crate::plan) fn due_rows(
    table: &TableName,
    facts: &Table,
    due: &[Due],
    held: &[&HeldRows],
    after: Option<&[String]>,
    limit: u64,
) -> Statement {
    let mut binds = Binds::default();
    let mut all = is_due(&mut binds, due);
    all.extend(held.iter().map(|held| not_held(&mut binds, held)));
    let order = order(facts, due);
    all.extend(after.map(|place| compared(&mut binds, facts, &order, ">", place)));
    let limit = binds.bind(Parameter::Text(limit.to_string()));
    let day = latest_day(&mut binds, due);
    let body = format!(
        "SELECT {}, {}, {day} FROM {} AS t WHERE {} ORDER BY {} LIMIT {limit}::text::int8",
        columns(facts.row_key(), "::text"),
        columns(&order, "::text"),
        table_name(table),
        all.join(" AND "),
        columns(&order, "")
    );
    binds.statement("due", table, &body)
}

/// The day that is a row's, in the rule's zone.
pub(super) fn latest_day(binds: &mut Binds, due: &[Due]) -> String {
    let columns = due
        .iter()
        .take(1)
        .flat_map(|due| due.columns.iter().map(|column| (column, due.cutoff.zone)));
    let days = columns.map(|((name, kind), zone)| day(binds, name, *kind, zone.name()));
    let days: Vec<String> = days.collect();
    format!("GREATEST({})", days.join(", "))
}

/// How many rows are due, and how many of them a hold covers.
pub(in crate::plan) fn due_count(table: &TableName, due: &[Due], held: &[&HeldRows]) -> Statement {
    let mut binds = Binds::default();
    let all = is_due(&mut binds, due);
    let free: Vec<String> = held.iter().map(|held| not_held(&mut binds, held)).collect();
    let covered = match free.as_slice() {
        [] => "false".to_owned(),
        free => format!("NOT ({})", free.join(" AND ")),
    };
    let body = format!(
        "SELECT pg_catalog.count(*), pg_catalog.count(*) FILTER (WHERE {covered}) FROM {} AS t WHERE {}",
        table_name(table),
        all.join(" AND ")
    );
    binds.statement("due_count", table, &body)
}

/// The day of the oldest row that is due, or of the one of this key, in the rule's zone. Of several columns
/// the latest is a row's day.
pub(in crate::plan) fn oldest(
    table: &TableName,
    facts: &Table,
    due: &[Due],
    held: &[&HeldRows],
    key: Option<&[String]>,
) -> Statement {
    let mut binds = Binds::default();
    let mut all = is_due(&mut binds, due);
    all.extend(held.iter().map(|held| not_held(&mut binds, held)));
    for (column, value) in facts.row_key().iter().zip(key.unwrap_or_default()) {
        let value = binds.bind(Parameter::Text(value.clone()));
        let of = sql_type(facts, column);
        all.push(format!(
            "t.{} {EQUALS} {value}::text::{of}",
            identifier(column)
        ));
    }
    let columns = due.first().map_or(&[][..], |due| &due.columns);
    let zone = due.first().map_or("UTC", |due| due.cutoff.zone.name());
    let zone = binds.bind(Parameter::Text(zone.to_owned()));
    // The least is taken before it is brought to its zone, so that an index gives it.
    let day = |value: &str, kind: DateKind| match kind {
        DateKind::Date | DateKind::Local => format!("({value})::date"),
        DateKind::Instant => format!("(({value}) AT TIME ZONE {zone}::text)::date"),
    };
    let days: Vec<String> = match columns {
        [(name, kind)] => vec![day(
            &format!("pg_catalog.min(t.{})", identifier(name)),
            *kind,
        )],
        several => several
            .iter()
            .map(|(name, kind)| day(&format!("t.{}", identifier(name)), *kind))
            .collect(),
    };
    let oldest = match days.as_slice() {
        [only] => only.clone(),
        several => format!("pg_catalog.min(GREATEST({}))", several.join(", ")),
    };
    let body = format!(
        "SELECT {oldest} FROM {} AS t WHERE {} AND {zone}::text IS NOT NULL",
        table_name(table),
        all.join(" AND ")
    );
    binds.statement("oldest", table, &body)
}

/// How many of the rows that the condition chooses have no date, so that they are never due.
pub(in crate::plan) fn undated(table: &TableName, due: &[Due]) -> Statement {
    let mut binds = Binds::default();
    let columns = due.first().map_or(&[][..], |due| &due.columns);
    let mut none: Vec<String> = columns
        .iter()
        .map(|(name, _)| {
            format!(
                "t.{0} IS NULL OR NOT pg_catalog.isfinite(t.{0})",
                identifier(name)
            )
        })
        .map(|none| format!("({none})"))
        .collect();
    let conditions = due.iter().filter_map(|due| due.condition.as_ref());
    none.extend(conditions.map(|condition| condition::holds(&mut binds, condition)));
    let body = format!(
        "SELECT pg_catalog.count(*) FROM {} AS t WHERE {}",
        table_name(table),
        none.join(" AND ")
    );
    binds.statement("undated", table, &body)
}

pub(super) fn not_held(binds: &mut Binds, held: &HeldRows) -> String {
    format!("NOT ({})", conditions(binds, &held.conditions))
}

fn columns(names: &[String], cast: &str) -> String {
    let columns: Vec<String> = names
        .iter()
        .map(|n| format!("t.{}{cast}", identifier(n)))
        .collect();
    columns.join(", ")
}
