//! Finding rows, and holding them.

use super::{Binds, EQUALS, ParentRows, by_key_as, cast, table_name, tie};
use crate::catalog::Table;
use crate::lineage::{Edge, Join, Parent};
use crate::name::TableName;
use crate::plan::{CapturedColumn, Parameter, Retained, RowKey, Rows, Statement};
use crate::system::postgres::quote::identifier;

/// Finds rows by one edge. Rows retained until a date also say when.
#[allow(clippy::too_many_arguments)] // each is one part of the sentence
pub(in crate::plan) fn capture(
    table: &TableName,
    facts: &Table,
    edge: &Edge,
    columns: &[CapturedColumn],
    texts: &[String],
    retained: Option<&Retained>,
    parent: Option<&ParentRows<'_>>,
    leaving: Option<&KnownRows<'_>>,
    utf8: bool,
) -> Statement {
    let mut binds = Binds::default();
    let tie = tie(&mut binds, edge, facts, parent, utf8);
    let alone = leaving.map_or_else(String::new, |leaving| {
        no_owner_left(&mut binds, edge, facts, parent, Some(leaving))
    });
    let mut read: Vec<String> = columns
        .iter()
        .map(|c| format!("t.{}", identifier(&c.name)))
        .collect();
    if let Some((column, plus)) = retained.and_then(|r| r.until.as_ref()) {
        read.push(format!(
            "(t.{} + make_interval(months => {}, days => {}))::timestamptz",
            identifier(column),
            plus.months,
            plus.days
        ));
    }
    read.extend(texts.iter().map(|c| format!("t.{}::text", identifier(c))));
    let body = format!(
        "SELECT k.n, {} FROM {} JOIN {} ON {}{alone}",
        read.join(", "),
        tie.from,
        tie.table(table),
        tie.on
    );
    binds.statement("capture", table, &body)
}

/// Captured rows of a table: how they are told apart, what of them is captured, which they are.
pub(in crate::plan) type KnownRows<'a> = (&'a RowKey, &'a [CapturedColumn], Rows);

/// Nobody but these owners has the row `t`.
pub(super) fn no_owner_left(
    binds: &mut Binds,
    edge: &Edge,
    facts: &Table,
    owners: Option<&ParentRows<'_>>,
    leaving: Option<&KnownRows<'_>>,
) -> String {
    let (
        Join::Columns {
            child,
            parent,
            equality,
        },
        Parent::Table(table),
        Some(owners),
    ) = (&edge.join, &edge.parent, owners)
    else {
        return String::new();
    };
    let mut owns: Vec<String> = child
        .iter()
        .zip(parent)
        .zip(equality)
        .map(|((c, p), equal)| {
            let cast = cast(facts, owners, c, p, equal);
            format!("o.{}{cast} {equal} t.{}", identifier(p), identifier(c))
        })
        .collect();
    if let Some((key, columns, rows)) = leaving {
        let leave = by_key_as(binds, ["o", "g"], key, columns, *rows, &[]);
        owns.push(format!(
            "NOT EXISTS (SELECT FROM {} WHERE {})",
            leave.from, leave.on
        ));
    }
    format!(
        " AND NOT EXISTS (SELECT FROM {} AS o WHERE {})",
        table_name(table),
        owns.join(" AND ")
    )
}

/// The keys of subjects that have no row, as if they were captured.
pub(in crate::plan) fn capture_by_key_alone(
    table: &TableName,
    columns: &[CapturedColumn],
    key_width: usize,
) -> Statement {
    let mut binds = Binds::default();
    let tickets = binds.bind(Parameter::SubjectTickets);
    let (mut arrays, mut names, mut read, mut same) = (vec![], vec![], vec![], vec![]);
    for (at, column) in columns.iter().enumerate() {
        if at >= key_width {
            read.push(format!("NULL::{}", column.sql_type));
            continue;
        }
        arrays.push(format!("{}::text[]", binds.bind(Parameter::SubjectKey(at))));
        names.push(format!("k{at}"));
        read.push(format!("k.k{at}::{}", column.sql_type));
        same.push(format!(
            "t.{} {EQUALS} k.k{at}::{}",
            identifier(&column.name),
            column.sql_type
        ));
    }
    let body = format!(
        "SELECT k.n, {} FROM unnest({tickets}::int4[], {}) AS k(n, {}) \
         WHERE NOT EXISTS (SELECT FROM {} AS t WHERE {})",
        read.join(", "),
        arrays.join(", "),
        names.join(", "),
        table_name(table),
        same.join(" AND ")
    );
    binds.statement("capture", table, &body)
}

/// Rows are locked in the order of their key, so that two batches never wait for each other.
pub(in crate::plan) fn lock_rows(key: &RowKey, untouched: bool) -> String {
    let by = match key {
        RowKey::Columns(columns) => columns
            .iter()
            .map(|c| format!("t.{}", identifier(c)))
            .collect::<Vec<_>>()
            .join(", "),
        RowKey::Place => "t.ctid".into(),
        RowKey::PartitionAndPlace => "t.tableoid, t.ctid".into(),
    };
    let strength = if untouched { "KEY SHARE" } else { "UPDATE" };
    format!(" ORDER BY {by} FOR {strength} OF t")
}
