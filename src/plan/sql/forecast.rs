//! What comes due when: rows counted by the stage at which their time is over.

use super::due::{is_due, latest};
use super::{Binds, condition, table_name};
use crate::lineage::{DateKind, Due};
use crate::name::TableName;
use crate::plan::{Parameter, Statement};
use crate::system::postgres::quote::{identifier, literal};

/// Rows by the first stage at which they are due. Which rows are due at all is asked as a run asks it.
pub(in crate::plan) fn comes_due(
    table: &TableName,
    stages: &[Vec<Due>],
    one_in: Option<u32>,
) -> Statement {
    let mut binds = Binds::default();
    let last = stages.last().map_or(&[][..], Vec::as_slice);
    let at_all = is_due(&mut binds, last);
    let of: Vec<String> = (0..last.len())
        .map(|at| stage(&mut binds, at, stages))
        .collect();
    let sample = one_in.map_or_else(String::new, |part| {
        let part = binds.bind(Parameter::Text(part.to_string()));
        format!(" TABLESAMPLE SYSTEM ((100.0 / {part}::text::int8)::float4) REPEATABLE (0)")
    });
    let body = format!(
        "SELECT CASE WHEN {} THEN GREATEST({}) END, pg_catalog.count(*) FROM {} AS t{sample} GROUP BY 1",
        at_all.join(" AND "),
        of.join(", "),
        table_name(table),
    );
    binds.statement("comes_due", table, &body)
}

/// At which stage a row's time is over by one of the conditions: how many of the cutoffs lie before its day.
/// Where some are the same day, as those of a fiscal year are, all of these do or none.
fn stage(binds: &mut Binds, at: usize, stages: &[Vec<Due>]) -> String {
    let of = stages.iter().filter_map(|stage| stage.get(at));
    let first_kept: Vec<String> = of
        .clone()
        .map(|due| {
            let day = due.cutoff.day;
            day.succ_opt().unwrap_or(day).to_string()
        })
        .collect();
    let first_kept = binds.bind(Parameter::Text(format!("{{{}}}", first_kept.join(","))));
    let Some(due) = of.clone().next() else {
        return "0".to_owned();
    };
    // NULLs are passed over.
    let stage = format!(
        "pg_catalog.width_bucket(GREATEST({}), {first_kept}::text::date[])",
        days(binds, due).join(", ")
    );
    match due.condition.as_ref().filter(|_| due.exempts) {
        None => stage,
        Some(of) => {
            let holds = condition::holds(binds, "t", of);
            format!("CASE WHEN ({holds}) IS NOT FALSE THEN {stage} END")
        }
    }
}

/// The days of a row that count by a condition, in the rule's zone; NULL where there is none.
pub(super) fn days(binds: &mut Binds, due: &Due) -> Vec<String> {
    let zone = due.cutoff.zone.name();
    let own = due.columns.iter();
    let mut days: Vec<String> = own
        .map(|(name, kind)| day(binds, &format!("t.{}", identifier(name)), *kind, zone))
        .collect();
    for linked in &due.linked {
        let date = latest(binds, linked);
        days.push(day(binds, &date, linked.kind, zone));
    }
    days
}

/// The day of a date in the rule's zone.
pub(super) fn day(binds: &mut Binds, date: &str, kind: DateKind, zone: &str) -> String {
    match kind {
        DateKind::Date => date.to_owned(),
        DateKind::Local => format!("{date}::date"),
        DateKind::Instant => {
            let zone = binds.bind(Parameter::Text(zone.to_owned()));
            format!("({date} AT TIME ZONE {zone}::text)::date")
        }
    }
}

/// Of all partitions together; a table that is none and has none is no tree. A table that was never analyzed may have a row for every 64 bytes.
pub(in crate::plan) fn table_size(table: &TableName) -> Statement {
    let body = format!(
        "SELECT coalesce(pg_catalog.sum(CASE WHEN c.reltuples OPERATOR(pg_catalog.<) 0 \
                THEN pg_catalog.pg_relation_size(c.oid) OPERATOR(pg_catalog./) 64 ELSE c.reltuples END), 0)::int8, \
                coalesce(pg_catalog.sum(pg_catalog.pg_total_relation_size(c.oid)), 0)::int8 \
           FROM pg_catalog.pg_class AS c \
          WHERE c.relkind OPERATOR(pg_catalog.=) 'r' AND (c.oid OPERATOR(pg_catalog.=) {0}::pg_catalog.regclass \
             OR c.oid IN (SELECT p.relid FROM pg_catalog.pg_partition_tree({0}::pg_catalog.regclass) AS p))",
        literal(&table_name(table))
    );
    Binds::default().statement("table_size", table, &body)
}
