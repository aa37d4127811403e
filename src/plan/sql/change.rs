//! Changing captured rows.

use super::{Binds, EQUALS, by_key, sql_type, table_name};
use crate::anonymize::{Known, Maker};
use crate::catalog::Table;
use crate::lineage::Still;
use crate::name::TableName;
use crate::plan::{CapturedColumn, Parameter, Part, REDACTED, RowKey, Rows, Statement};
use crate::policy::{HashAs, Span, Strategy, TruncateTo};
use crate::system::postgres::quote::identifier;
use std::collections::BTreeMap;

/// What one table loses: itself, how its rows are told apart, which they are.
pub(in crate::plan) type Deletes<'a> = (&'a TableName, &'a RowKey, &'a [CapturedColumn], Rows);

/// Deletes captured rows by their keys. Of several tables by one statement, after which the keys
/// between them are checked; that returns how many of each.
pub(in crate::plan) fn delete_by_key(tables: &[Deletes<'_>]) -> Statement {
    let mut binds = Binds::default();
    let mut bodies: Vec<String> = tables
        .iter()
        .map(|table| delete_body(&mut binds, table))
        .collect();
    let names: Vec<String> = tables.iter().map(|t| t.0.to_string()).collect();
    if bodies.len() == 1 {
        return binds.statement("delete", &names[0], &bodies.remove(0));
    }
    let (mut gone, mut counts) = (Vec::new(), Vec::new());
    for (at, body) in bodies.iter().enumerate() {
        gone.push(format!("d{at} AS ({body} RETURNING 1)"));
        counts.push(format!("(SELECT pg_catalog.count(*) FROM d{at})"));
    }
    let body = format!("WITH {} SELECT {}", gone.join(", "), counts.join(", "));
    binds.statement("delete", names.join(", "), &body)
}

fn delete_body(binds: &mut Binds, (table, key, columns, rows): &Deletes<'_>) -> String {
    let table = table_name(table);
    match (key, columns) {
        (RowKey::Columns(names), [column, ..]) if names.len() == 1 => {
            let keys = binds.bind(Parameter::Column(*rows, 0));
            let (name, of) = (identifier(&column.name), &column.sql_type);
            format!("DELETE FROM {table} AS t WHERE t.{name} {EQUALS} ANY ({keys}::{of}[])")
        }
        _ => {
            let tie = by_key(binds, key, columns, *rows, &[]);
            format!(
                "DELETE FROM {table} AS t USING {} WHERE {}",
                tie.from, tie.on
            )
        }
    }
}

/// What a rule sets: column to strategy.
pub(in crate::plan) type Set = BTreeMap<String, (Strategy, Span)>;

/// The new value of each column, and how to tell a row that does not have it.
struct NewValues {
    assignments: Vec<String>,
    differs: Vec<String>,
    arrays: Vec<String>,
}

fn new_values(
    binds: &mut Binds,
    facts: &Table,
    columns: &[CapturedColumn],
    rows: Rows,
    set: &Set,
    known: &[Known],
) -> NewValues {
    let mut new = NewValues {
        assignments: Vec::new(),
        differs: Vec::new(),
        arrays: Vec::new(),
    };
    for (name, (strategy, _)) in set {
        let (column, ty) = (identifier(name), sql_type(facts, name));
        let (value, differs) = match strategy {
            Strategy::Null => ("NULL".into(), format!("t.{column} IS NOT NULL")),
            Strategy::Constant(text) => {
                let value = format!("{}::text::{ty}", binds.bind(Parameter::Text(text.clone())));
                let differs = format!("t.{column}::text IS DISTINCT FROM ({value})::text");
                (value, differs)
            }
            Strategy::Redact => {
                let mark = binds.bind(Parameter::Text(REDACTED.into()));
                (
                    format!("CASE WHEN t.{column} IS NOT NULL THEN {mark}::text::{ty} END"),
                    format!("t.{column}::text <> {mark}::text"),
                )
            }
            Strategy::Truncate(unit) => {
                let unit = match unit {
                    TruncateTo::Month => "month",
                    TruncateTo::Year => "year",
                };
                let value = format!("pg_catalog.date_trunc('{unit}', t.{column})::{ty}");
                let differs = format!("t.{column} <> {value}");
                (value, differs)
            }
            Strategy::Template(text) => {
                let text = binds.bind(Parameter::Text(text.clone()));
                let key: Vec<String> = facts
                    .row_key()
                    .iter()
                    .map(|c| format!(", t.{}::text", identifier(c)))
                    .collect();
                let key = format!("pg_catalog.concat_ws('-'{})", key.concat());
                // Not cast: a cast would cut off in silence what the column has no room for.
                let value = format!("pg_catalog.replace({text}::text, '{{key}}', {key})");
                let differs = format!("t.{column}::text IS DISTINCT FROM {value}");
                (value, differs)
            }
            Strategy::Mask { keep, last } => {
                let value = masked(&format!("t.{column}::text"), *keep, *last);
                let differs = format!("t.{column}::text IS DISTINCT FROM ({value})");
                (format!("({value})::{ty}"), differs)
            }
            Strategy::Bucket(width) => {
                let value = format!(
                    "(pg_catalog.floor(t.{column}::numeric OPERATOR(pg_catalog./) {width}::numeric) \
                     OPERATOR(pg_catalog.*) {width}::numeric)::{ty}"
                );
                let differs = format!("t.{column} IS DISTINCT FROM {value}");
                (value, differs)
            }
            Strategy::Hash
            | Strategy::HashAs(_)
            | Strategy::Choose(_)
            | Strategy::RedactIdentifiers => {
                let at = columns
                    .iter()
                    .position(|c| c.name == *name)
                    .expect("a column whose old value is read is captured");
                let longest = facts.column(name).and_then(|c| c.max_chars);
                let bound = binds.bind(made(strategy, rows, at, longest, known));
                let v = new.arrays.len();
                new.arrays.push(format!("{bound}::text[]"));
                (
                    format!("k.v{v}::{ty}"),
                    format!("t.{column}::text IS DISTINCT FROM k.v{v}::{ty}::text"),
                )
            }
        };
        new.assignments.push(format!("{column} = {value}"));
        new.differs.push(differs);
    }
    new
}

/// Of `t`: some column has not the value that it is to have. Of strategies that SQL can make alone.
pub(super) fn differs(binds: &mut Binds, still: &Still) -> String {
    let facts = Table {
        columns: still.columns.clone(),
        primary_key: still.key.clone(),
        ..Table::default()
    };
    let none = Rows {
        set: 0,
        part: Part::Staying,
    };
    let new = new_values(binds, &facts, &[], none, &still.set, &[]);
    format!("({})", new.differs.join(" OR "))
}

/// What is bound where we make the value ourselves.
pub(super) fn made(
    strategy: &Strategy,
    rows: Rows,
    at: usize,
    longest: Option<i32>,
    known: &[Known],
) -> Parameter {
    let maker = match strategy {
        Strategy::HashAs(HashAs::Email) => Maker::Email(longest),
        Strategy::HashAs(HashAs::Phone) => Maker::Phone,
        Strategy::Choose(texts) => Maker::Choose(texts.clone()),
        Strategy::RedactIdentifiers => Maker::Redact(known.to_vec(), longest),
        _ => return Parameter::Hashes(rows, at),
    };
    Parameter::Made(rows, at, maker)
}

/// All characters but the first or last few as stars; every one if no more would be hidden than
/// stays.
fn masked(text: &str, keep: u32, last: bool) -> String {
    let length = format!("pg_catalog.char_length({text})");
    let hidden = format!("pg_catalog.repeat('*', {length} OPERATOR(pg_catalog.-) {keep})");
    let parts = if last {
        format!("{hidden}, pg_catalog.\"right\"({text}, {keep})")
    } else {
        format!("pg_catalog.\"left\"({text}, {keep}), {hidden}")
    };
    format!(
        "CASE WHEN {length} OPERATOR(pg_catalog.>) {} THEN pg_catalog.concat({parts}) \
         ELSE pg_catalog.repeat('*', {length}) END",
        u64::from(keep) * 2
    )
}

/// Sets columns of captured rows, and the probe that counts those of them which are there: with
/// the new values if they are to stay, else with any other.
#[allow(clippy::too_many_arguments)] // each is one part of the sentence
pub(in crate::plan) fn update_by_key(
    table: &TableName,
    facts: &Table,
    key: &RowKey,
    columns: &[CapturedColumn],
    rows: Rows,
    set: &Set,
    known: &[Known],
    stay: bool,
) -> (Statement, Statement) {
    let mut binds = Binds::default();
    let new = new_values(&mut binds, facts, columns, rows, set, known);
    let tie = by_key(&mut binds, key, columns, rows, &new.arrays);
    let body = format!(
        "UPDATE {} AS t SET {} FROM {} WHERE {}{}",
        table_name(table),
        new.assignments.join(", "),
        tie.from,
        tie.on,
        moved(key)
    );
    let update = binds.statement("update", table, &body);
    let mut binds = Binds::default();
    let new = new_values(&mut binds, facts, columns, rows, set, known);
    let tie = by_key(&mut binds, key, columns, rows, &new.arrays);
    let body = format!(
        "SELECT count(*) FROM {} JOIN {} AS t ON {} WHERE ({}) IS {}TRUE",
        tie.from,
        table_name(table),
        tie.on,
        new.differs.join(" OR "),
        if stay { "NOT " } else { "" }
    );
    (update, binds.statement("probe", table, &body))
}

/// What an UPDATE returns of rows that are known by their place.
pub(super) fn moved(key: &RowKey) -> &'static str {
    match key {
        RowKey::Columns(_) => "",
        RowKey::Place => " RETURNING k.k0, t.ctid",
        RowKey::PartitionAndPlace => " RETURNING k.k0, k.k1, t.tableoid, t.ctid",
    }
}
