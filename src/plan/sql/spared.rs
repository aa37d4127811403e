//! Rows that stay because something hangs on them whose own time is not over.
//!
//! They are left out when rows are chosen, and asked for once more when all is locked, in a statement of its
//! own: a condition with a subquery in it is not asked again when a lock was waited for.

use super::due::{conditions, dates, is_due, is_due_of};
use super::{Binds, EQUALS, Tie, by_key, condition, sql_type, table_name};
use crate::catalog::Table;
use crate::lineage::{Below, Due, Spares, Step};
use crate::name::TableName;
use crate::plan::{CapturedColumn, Parameter, RowKey, Rows, Statement};
use crate::system::postgres::quote::identifier;

/// The tables on the way from `t`, each under a name of its own with the equality to the one before.
pub(super) fn walk(from: &str, way: &[Step]) -> Vec<(String, String, String)> {
    let mut tables = Vec::new();
    let mut above = from.to_owned();
    for (at, step) in way.iter().enumerate() {
        let name = format!("{from}_{at}");
        let ties = ties(&above, &name, step);
        tables.push((table_name(&step.table), name.clone(), ties));
        above = name;
    }
    tables
}

/// That the row `name` hangs on the row `above`.
fn ties(above: &str, name: &str, step: &Step) -> String {
    let ties = step.ties.iter().map(|(child, parent, equal)| {
        format!(
            "{above}.{} {equal} {name}.{}",
            identifier(parent),
            identifier(child)
        )
    });
    ties.collect::<Vec<_>>().join(" AND ")
}

/// Whether a row hangs on `from` by this way of which all of this holds.
pub(super) fn exists(
    from: &str,
    way: &[Step],
    of_last: impl FnOnce(&str) -> Vec<String>,
) -> String {
    let tables = walk(from, way);
    let names: Vec<String> = tables
        .iter()
        .map(|(t, n, _)| format!("{t} AS {n}"))
        .collect();
    let last = tables.last().map_or(from, |(_, name, _)| name.as_str());
    let mut all: Vec<String> = tables.iter().map(|(_, _, ties)| ties.clone()).collect();
    all.extend(of_last(last));
    format!(
        "EXISTS (SELECT FROM {} WHERE {})",
        names.join(", "),
        all.join(" AND ")
    )
}

/// That the row `name` keeps what it hangs on.
fn keeps(binds: &mut Binds, name: &str, spares: &Spares) -> Vec<String> {
    let mut all = conditions(binds, name, &spares.due);
    if spares.dated_only {
        let columns = spares.due.iter().flat_map(|due| &due.columns);
        all.extend(columns.map(|(c, _)| format!("{name}.{} IS NOT NULL", identifier(c))));
    }
    let over = dates(binds, name, &spares.due);
    let over = match over.is_empty() {
        true => "false".to_owned(),
        false => over.join(" AND "),
    };
    all.push(format!("({over}) IS NOT TRUE"));
    all
}

/// That something keeps the row `name`.
pub(super) fn spared(binds: &mut Binds, name: &str, by: &[Spares]) -> String {
    let mut any = Vec::new();
    for spares in by {
        any.push(match &spares.below {
            None => exists(name, &spares.way, |last| keeps(binds, last, spares)),
            Some(below) => exists_below(binds, name, below, &spares.due),
        });
    }
    match any.is_empty() {
        true => "false".to_owned(),
        false => format!("({})", any.join(" OR ")),
    }
}

/// That a row of the same table is below the row `name` that is not due, or is kept.
fn exists_below(binds: &mut Binds, name: &str, below: &Below, due: &[Due]) -> String {
    let Some(table) = below.steps.first().map(|step| table_name(&step.table)) else {
        return "false".to_owned();
    };
    let hangs = |from: &str, on: &str| {
        let ways = below.steps.iter().map(|step| ties(from, on, step));
        format!("({})", ways.collect::<Vec<_>>().join(" OR "))
    };
    let key: Vec<String> = below.key.iter().map(|c| identifier(c)).collect();
    let of = |row: &str| {
        let columns = key.iter().map(|c| format!("{row}.{c}"));
        columns.collect::<Vec<_>>().join(", ")
    };
    let names: Vec<String> = (0..key.len()).map(|at| format!("k{at}")).collect();
    let is = |row: &str| {
        let same = key.iter().zip(&names);
        let same = same.map(|(c, k)| format!("{row}.{c} {EQUALS} below.{k}"));
        same.collect::<Vec<_>>().join(" AND ")
    };
    let (first, up, next, row) = ("b_first", "b_up", "b_next", "b_row");
    let due = is_due_of(binds, row, due).join(" AND ");
    let kept = spared(binds, row, &below.also);
    format!(
        "EXISTS (WITH RECURSIVE below ({}) AS (SELECT {} FROM {table} AS {first} WHERE {} \
         UNION SELECT {} FROM below JOIN {table} AS {up} ON {} JOIN {table} AS {next} ON {}) \
         SELECT FROM below JOIN {table} AS {row} ON {} WHERE ({due}) IS NOT TRUE OR {kept})",
        names.join(", "),
        of(first),
        hangs(name, first),
        of(next),
        is(up),
        hangs(up, next),
        is(row)
    )
}

/// Of rows of these keys ([`Parameter::SubjectTickets`], [`Parameter::SubjectKey`]) the ordinals of those
/// that are due and that nothing keeps, and of those that are due all the same.
pub(in crate::plan) fn still_due(
    table: &TableName,
    facts: &Table,
    due: &[Due],
    by: &[Spares],
) -> Statement {
    let mut binds = Binds::default();
    let from = keyed(&mut binds, table, facts);
    let due = is_due(&mut binds, due).join(" AND ");
    let body = format!(
        "SELECT k.n, NOT {} FROM {from} WHERE {due}",
        spared(&mut binds, "t", by),
    );
    binds.statement("still due", table, &body)
}

/// Locks the rows of these keys as if they were to go: where they stay, capturing them has locked only their keys.
pub(in crate::plan) fn lock_subjects(table: &TableName, facts: &Table) -> Statement {
    let mut binds = Binds::default();
    let from = keyed(&mut binds, table, facts);
    let key = facts.row_key().iter();
    let key: Vec<String> = key.map(|c| format!("t.{}", identifier(c))).collect();
    let body = format!(
        "SELECT FROM {from} ORDER BY {} FOR UPDATE OF t",
        key.join(", ")
    );
    binds.statement("lock subjects", table, &body)
}

/// Locks what hangs on the rows of these keys by this step: neither it nor its date changes from here on, and as long as
/// the rows are locked too nothing comes to hang on them.
pub(in crate::plan) fn lock_linked(table: &TableName, facts: &Table, step: &Step) -> Statement {
    let mut binds = Binds::default();
    let from = keyed(&mut binds, table, facts);
    let (of, name) = (table_name(&step.table), "t_0");
    let body = format!(
        "SELECT FROM {from} JOIN {of} AS {name} ON {} FOR UPDATE OF {name}",
        ties("t", name, step)
    );
    binds.statement("lock linked", &step.table, &body)
}

/// Rows `t` of a table by the keys of the subjects, whose ordinals are `k.n`.
pub(super) fn keyed(binds: &mut Binds, table: &TableName, facts: &Table) -> String {
    let tickets = binds.bind(Parameter::SubjectTickets);
    let key = facts.row_key();
    let keys: Vec<String> = (0..key.len())
        .map(|i| format!(", {}::text[]", binds.bind(Parameter::SubjectKey(i))))
        .collect();
    let names: Vec<String> = (0..key.len()).map(|i| format!(", k{i}")).collect();
    let same = key.iter().enumerate().map(|(i, c)| {
        format!(
            "t.{} {EQUALS} k.k{i}::{}",
            identifier(c),
            sql_type(facts, c)
        )
    });
    let same: Vec<String> = same.collect();
    format!(
        "unnest({tickets}::int4[]{}) AS k(n{}) JOIN {} AS t ON {}",
        keys.concat(),
        names.concat(),
        table_name(table),
        same.join(" AND ")
    )
}

/// The captured rows that are to go: how they are told apart, what of them is captured, which they are.
pub(in crate::plan) type Going<'a> = (&'a RowKey, &'a [CapturedColumn], Rows);

/// Locks what hangs on the rows that are to go, and counts what of it keeps them.
pub(in crate::plan) fn keepers(table: &TableName, going: &Going<'_>, spares: &Spares) -> Statement {
    let mut binds = Binds::default();
    let Tie { from, on, .. } = by_key(&mut binds, going.0, going.1, going.2, &[]);
    let tables = walk("t", &spares.way);
    let last = tables.last().map_or("t", |(_, name, _)| name.as_str());
    let mut keeps = keeps(&mut binds, last, spares);
    if let Some(only) = &spares.only {
        let holds = condition::holds(&mut binds, "t", only);
        keeps.push(format!("({holds}) IS NOT FALSE"));
    }
    let keeps = keeps.join(" AND ");
    let joined = tables
        .iter()
        .map(|(of, name, ties)| format!(" JOIN {of} AS {name} ON {ties}"));
    let body = format!(
        "WITH asked AS MATERIALIZED (SELECT ({keeps}) AS keeps FROM {from} JOIN {} AS t ON {on}{} FOR UPDATE OF {last}) \
         SELECT count(*) FROM asked WHERE keeps",
        table_name(table),
        joined.collect::<String>(),
    );
    binds.statement("keepers", table, &body)
}

/// Counts those of the rows that are to go that are not due any more.
pub(in crate::plan) fn not_due(table: &TableName, going: &Going<'_>, due: &[Due]) -> Statement {
    let mut binds = Binds::default();
    let Tie { from, on, .. } = by_key(&mut binds, going.0, going.1, going.2, &[]);
    let due = is_due(&mut binds, due).join(" AND ");
    let body = format!(
        "SELECT count(*) FROM {from} JOIN {} AS t ON {on} WHERE ({due}) IS NOT TRUE",
        table_name(table)
    );
    binds.statement("not due", table, &body)
}
