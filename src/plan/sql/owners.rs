//! Whose rows are: from their keys back to the people's own.

use super::{Binds, EQUALS, binds_after, sql_type, table_name};
use crate::catalog::Table;
use crate::lineage::{Edge, Join, Parent};
use crate::name::TableName;
use crate::plan::{Parameter, Statement};
use crate::system::postgres::quote::identifier;

/// The people's keys as texts behind the ordinals of the rows ([`Parameter::SubjectTickets`],
/// [`Parameter::SubjectKey`]) that are theirs by this way.
pub(in crate::plan) fn owners(
    table: &TableName,
    facts: &Table,
    way: &[Edge],
    root_key: &[String],
) -> Statement {
    let mut binds = Binds::default();
    let key = facts.row_key();
    let keys: Vec<String> = (0..key.len())
        .map(|i| {
            binds_after(
                &mut binds,
                Parameter::SubjectTickets,
                Parameter::SubjectKey(i),
            )
        })
        .map(|bound| format!("{bound}::text[]"))
        .collect();
    let tickets = binds.bind(Parameter::SubjectTickets);
    let names: Vec<String> = (0..key.len()).map(|i| format!(", k{i}")).collect();
    let same: Vec<String> = key
        .iter()
        .enumerate()
        .map(|(i, c)| {
            format!(
                "t0.{} {EQUALS} k.k{i}::{}",
                identifier(c),
                sql_type(facts, c)
            )
        })
        .collect();
    let mut from = format!(
        "unnest({tickets}::int4[], {}) AS k(n{}) JOIN {} AS t0 ON {}",
        keys.join(", "),
        names.concat(),
        table_name(table),
        same.join(" AND ")
    );
    for (at, edge) in way.iter().enumerate() {
        from += &step(at, edge);
    }
    let read: Vec<String> = root_key
        .iter()
        .map(|c| format!(", t{}.{}::text", way.len(), identifier(c)))
        .collect();
    let body = format!("SELECT DISTINCT k.n{} FROM {from}", read.concat());
    binds.statement("owners", table, &body)
}

fn step(at: usize, edge: &Edge) -> String {
    let (
        Parent::Table(parent),
        Join::Columns {
            child,
            parent: above,
            equality,
        },
    ) = (&edge.parent, &edge.join)
    else {
        return String::new();
    };
    let on: Vec<String> = child
        .iter()
        .zip(above)
        .zip(equality)
        .map(|((c, p), equal)| {
            format!(
                "t{}.{} {equal} t{at}.{}",
                at + 1,
                identifier(p),
                identifier(c)
            )
        })
        .collect();
    format!(
        " JOIN {} AS t{} ON {}",
        table_name(parent),
        at + 1,
        on.join(" AND ")
    )
}
