//! Rows whose time is over: the condition, and the statements that choose and count them.

use super::change::differs;
use super::forecast::days;
use super::spared::{exists, keyed, spared, walk};
use super::stretch::compared;
use super::{Binds, by_key, condition, covered, table_name};
use crate::catalog::Table;
use crate::lineage::{DateKind, Due, Linked, Spares};
use crate::name::TableName;
use crate::plan::{HeldRows, Parameter, Part, RowSet, Rows, Statement};
use crate::system::postgres::quote::identifier;

/// All of `due` holds of `t`. Written so that an index over one column serves, and so that a row that
/// was changed while somebody waited for its lock is asked again.
pub(super) fn is_due(binds: &mut Binds, due: &[Due]) -> Vec<String> {
    let mut all = is_due_of(binds, "t", due);
    let still = due.iter().filter_map(|due| due.still.as_ref());
    all.extend(still.map(|still| differs(binds, still)));
    all
}

/// All of `due` holds of the row `name`, whether it was changed before or not.
pub(super) fn is_due_of(binds: &mut Binds, name: &str, due: &[Due]) -> Vec<String> {
    let mut all = dates(binds, name, due);
    all.extend(conditions(binds, name, due));
    all
}

/// The conditions hold of the row `name`.
pub(super) fn conditions(binds: &mut Binds, name: &str, due: &[Due]) -> Vec<String> {
    let due = due.iter().filter(|due| !due.exempts);
    let conditions = due.filter_map(|due| due.condition.as_ref());
    conditions
        .map(|of| condition::holds(binds, name, of))
        .collect()
}

/// The dates of the row `name` are over.
pub(super) fn dates(binds: &mut Binds, name: &str, due: &[Due]) -> Vec<String> {
    let mut all = Vec::new();
    for due in due {
        let dates = of_columns(binds, name, due);
        match due.condition.as_ref().filter(|_| due.exempts) {
            None => all.extend(dates),
            Some(of) => {
                let holds = condition::holds(binds, name, of);
                all.push(format!("(({holds}) IS FALSE OR ({}))", dates.join(" AND ")));
            }
        }
    }
    all
}

fn of_columns(binds: &mut Binds, name: &str, due: &Due) -> Vec<String> {
    let column = |of: &str| format!("{name}.{}", identifier(of));
    if let ([(only, kind)], []) = (due.columns.as_slice(), due.linked.as_slice()) {
        return vec![before(binds, due, &column(only), *kind)];
    }
    let mut all: Vec<String> = due
        .columns
        .iter()
        .map(|(of, kind)| {
            let of = column(of);
            format!("({of} IS NULL OR {})", before(binds, due, &of, *kind))
        })
        .collect();
    let mut there: Vec<String> = due
        .columns
        .iter()
        .map(|(of, _)| format!("{} IS NOT NULL", column(of)))
        .collect();
    for linked in &due.linked {
        let way = std::slice::from_ref(&linked.step);
        let of = identifier(&linked.column);
        let later = exists(name, way, |last| {
            let over = before(binds, due, &format!("{last}.{of}"), linked.kind);
            let mut later = vec![format!("{last}.{of} IS NOT NULL"), format!("NOT ({over})")];
            later.extend(counts(binds, last, linked));
            later
        });
        all.push(format!("NOT {later}"));
        there.push(exists(name, way, |last| {
            let mut there = vec![format!("{last}.{of} IS NOT NULL")];
            there.extend(counts(binds, last, linked));
            there
        }));
    }
    all.push(format!("({})", there.join(" OR ")));
    all
}

/// That the date of the row `name` counts for the row on which it hangs.
pub(super) fn counts(binds: &mut Binds, name: &str, linked: &Linked) -> Option<String> {
    let of = linked.condition.as_ref()?;
    Some(condition::holds(binds, name, of))
}

/// That a date is over. `-infinity` is nobody's date.
fn before(binds: &mut Binds, due: &Due, date: &str, kind: DateKind) -> String {
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
    let value = binds.constant(value, of);
    format!("{date} OPERATOR(pg_catalog.<) {value} AND pg_catalog.isfinite({date})")
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
    let date = due.first().and_then(Due::only_column);
    let mut order: Vec<String> = date.map(str::to_owned).into_iter().collect();
    for part in facts.row_key() {
        if !order.contains(part) {
            order.push(part.clone());
        }
    }
    order
}

/// The next rows that are due, the oldest first, and none that a hold covers: their keys as texts, and
/// behind these their places in the order, by which the next ones are asked for.
pub(in crate::plan) fn due_rows(
    table: &TableName,
    facts: &Table,
    due: &[Due],
    (held, by): (&[&HeldRows], &[Spares]),
    after: Option<&[String]>,
    limit: u64,
) -> Statement {
    let mut binds = Binds::default();
    let mut all = is_due(&mut binds, due);
    all.extend(free(&mut binds, held, by));
    let order = order(facts, due);
    all.extend(after.map(|place| compared(&mut binds, facts, &order, ">", place)));
    let limit = binds.bind(Parameter::Text(limit.to_string()));
    let body = format!(
        "SELECT {}, {} FROM {} AS t WHERE {} ORDER BY {} LIMIT {limit}::text::int8",
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
    let days: Vec<String> = due
        .iter()
        .take(1)
        .flat_map(|due| days(binds, due))
        .collect();
    format!("GREATEST({})", days.join(", "))
}

/// The first and the last day of the captured rows of a set, as they stand under their locks.
pub(in crate::plan) fn captured_days(of: &RowSet, set: usize, due: &[Due]) -> Statement {
    let rows = Rows {
        set,
        part: Part::Followed,
    };
    let mut binds = Binds::default();
    let tie = by_key(&mut binds, &of.key, &of.columns, rows, &[]);
    let day = latest_day(&mut binds, due);
    let body = format!(
        "SELECT pg_catalog.min(d.day), pg_catalog.max(d.day) FROM (SELECT {day} AS day FROM {} JOIN {} AS t ON {}) AS d",
        tie.from,
        table_name(&of.table),
        tie.on
    );
    binds.statement("days", &of.table, &body)
}

/// How many rows are due, how many of them a hold covers, and how many of the others something keeps that
/// hangs on them.
pub(in crate::plan) fn due_count(
    table: &TableName,
    due: &[Due],
    (held, by): (&[&HeldRows], &[Spares]),
) -> Statement {
    let mut binds = Binds::default();
    let all = is_due(&mut binds, due);
    let free: Vec<String> = held.iter().map(|held| not_held(&mut binds, held)).collect();
    let covered = match free.as_slice() {
        [] => "false".to_owned(),
        free => format!("NOT ({})", free.join(" AND ")),
    };
    let spared = spared(&mut binds, "t", by);
    let body = format!(
        "SELECT pg_catalog.count(*), pg_catalog.count(*) FILTER (WHERE {covered}), \
                pg_catalog.count(*) FILTER (WHERE NOT ({covered}) AND {spared}) FROM {} AS t WHERE {}",
        table_name(table),
        all.join(" AND ")
    );
    binds.statement("due_count", table, &body)
}

/// The day of the oldest row that is due, or of those of the given keys, in the rule's zone. Of several columns
/// the latest is a row's day.
pub(in crate::plan) fn oldest(
    table: &TableName,
    facts: &Table,
    due: &[Due],
    (held, by): (&[&HeldRows], &[Spares]),
    given: bool,
) -> Statement {
    let mut binds = Binds::default();
    let from = match given {
        true => keyed(&mut binds, table, facts),
        false => format!("{} AS t", table_name(table)),
    };
    let mut all = is_due(&mut binds, due);
    all.extend(free(&mut binds, held, by));
    let columns = due.first().map_or(&[][..], |due| &due.columns);
    let linked = due.first().map_or(&[][..], |due| &due.linked);
    let zone = due.first().map_or("UTC", |due| due.cutoff.zone.name());
    let zone = binds.bind(Parameter::Text(zone.to_owned()));
    // The least is taken before it is brought to its zone, so that an index gives it.
    let day = |value: &str, kind: DateKind| match kind {
        DateKind::Date | DateKind::Local => format!("({value})::date"),
        DateKind::Instant => format!("(({value}) AT TIME ZONE {zone}::text)::date"),
    };
    let mut of_linked = Vec::new();
    for linked in linked {
        of_linked.push(day(&latest(&mut binds, linked), linked.kind));
    }
    let mut days: Vec<String> = match columns {
        [(name, kind)] if linked.is_empty() => vec![day(
            &format!("pg_catalog.min(t.{})", identifier(name)),
            *kind,
        )],
        several => several
            .iter()
            .map(|(name, kind)| day(&format!("t.{}", identifier(name)), *kind))
            .collect(),
    };
    days.extend(of_linked);
    let oldest = match days.as_slice() {
        [only] if linked.is_empty() => only.clone(),
        several => format!("pg_catalog.min(GREATEST({}))", several.join(", ")),
    };
    let body = format!(
        "SELECT {oldest} FROM {from} WHERE {} AND {zone}::text IS NOT NULL",
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
    let linked = due.first().map_or(&[][..], |due| &due.linked);
    for linked in linked {
        let of = identifier(&linked.column);
        let dated = exists("t", std::slice::from_ref(&linked.step), |last| {
            let mut dated = vec![format!("pg_catalog.isfinite({last}.{of})")];
            dated.extend(counts(&mut binds, last, linked));
            dated
        });
        none.push(format!("NOT {dated}"));
    }
    none.extend(conditions(&mut binds, "t", due));
    let body = format!(
        "SELECT pg_catalog.count(*) FROM {} AS t WHERE {}",
        table_name(table),
        none.join(" AND ")
    );
    binds.statement("undated", table, &body)
}

/// The latest date of the rows that hang on `t` and count.
pub(super) fn latest(binds: &mut Binds, linked: &Linked) -> String {
    let column = identifier(&linked.column);
    let tables = walk("t", std::slice::from_ref(&linked.step));
    let mut of = String::new();
    for (table, name, ties) in tables {
        let mut all = vec![ties];
        all.extend(counts(binds, &name, linked));
        of += &format!(
            "(SELECT pg_catalog.max({name}.{column}) FROM {table} AS {name} WHERE {})",
            all.join(" AND ")
        );
    }
    of
}

/// No hold covers the row, and nothing that hangs on it keeps it.
fn free(binds: &mut Binds, held: &[&HeldRows], by: &[Spares]) -> Vec<String> {
    let mut all: Vec<String> = held.iter().map(|held| not_held(binds, held)).collect();
    if !by.is_empty() {
        all.push(format!("NOT {}", spared(binds, "t", by)));
    }
    all
}

pub(super) fn not_held(binds: &mut Binds, held: &HeldRows) -> String {
    format!("NOT ({})", covered::conditions(binds, &held.conditions))
}

fn columns(names: &[String], cast: &str) -> String {
    let columns: Vec<String> = names
        .iter()
        .map(|n| format!("t.{}{cast}", identifier(n)))
        .collect();
    columns.join(", ")
}
