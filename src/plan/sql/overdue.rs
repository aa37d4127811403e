//! Rows that ought to be gone, asked in another way than when they are chosen: by the server's own calendar.

use super::change::differs;
use super::due::counts;
use super::forecast::days;
use super::spared::exists;
use super::{Binds, condition, table_name};
use crate::lineage::{DateKind, Due};
use crate::name::TableName;
use crate::plan::{Parameter, Statement};
use crate::system::postgres::quote::identifier;

/// How many there are.
pub(in crate::plan) fn overdue(table: &TableName, due: &[Due]) -> Statement {
    let mut binds = Binds::default();
    let all: Vec<String> = due.iter().map(|due| over(&mut binds, due)).collect();
    let body = format!(
        "SELECT pg_catalog.count(*) FROM {} AS t WHERE {}",
        table_name(table),
        all.join(" AND ")
    );
    binds.statement("overdue", table, &body)
}

/// The latest day lies on or before the cutoff, and no date is infinite; the rule is for such rows.
fn over(binds: &mut Binds, due: &Due) -> String {
    let cutoff = binds.bind(Parameter::Text(due.cutoff.day.to_string()));
    let zone = due.cutoff.zone.name();
    let mut all = vec![match (due.columns.as_slice(), due.linked.as_slice()) {
        ([(name, kind)], []) => before(binds, name, *kind, &cutoff, zone),
        _ => format!(
            "GREATEST({}) OPERATOR(pg_catalog.<=) {cutoff}::text::date",
            days(binds, due).join(", ")
        ),
    }];
    all.extend(
        due.columns
            .iter()
            .map(|(name, _)| format!("pg_catalog.isfinite(t.{}) IS NOT FALSE", identifier(name))),
    );
    for linked in &due.linked {
        let of = identifier(&linked.column);
        let infinite = exists("t", std::slice::from_ref(&linked.step), |last| {
            let mut infinite = vec![format!("NOT pg_catalog.isfinite({last}.{of})")];
            infinite.extend(counts(binds, last, linked));
            infinite
        });
        all.push(format!("NOT {infinite}"));
    }
    all.extend(due.still.iter().map(|still| differs(binds, still)));
    let over = all.join(" AND ");
    let Some(of) = &due.condition else {
        return over;
    };
    let holds = condition::holds(binds, "t", of);
    match due.exempts {
        false => format!("{over} AND ({holds})"),
        true => format!("(({holds}) IS FALSE OR ({over}))"),
    }
}

/// As a bound of the column itself, so that an index serves.
fn before(binds: &mut Binds, name: &str, kind: DateKind, cutoff: &str, zone: &str) -> String {
    let column = format!("t.{}", identifier(name));
    let next = format!("({cutoff}::text::date OPERATOR(pg_catalog.+) 1)");
    let bound = match kind {
        DateKind::Date => next,
        DateKind::Local => format!("{next}::timestamp"),
        DateKind::Instant => {
            let zone = binds.bind(Parameter::Text(zone.to_owned()));
            format!("({next}::timestamp AT TIME ZONE {zone}::text)")
        }
    };
    format!("{column} OPERATOR(pg_catalog.<) {bound}")
}
