//! When rows of a rule's table are due.

use crate::catalog::{Catalog, Table};
use crate::diagnostic::Diagnostic;
use crate::lineage::{ConditionOf, DateKind, Due, Linked, condition, linked, minimum, still};
use crate::policy::Policy;
use crate::policy::retention::{Cutoff, Keep, RetentionRule};
use crate::reading::choose_or;
use chrono::{DateTime, NaiveDate, TimeZone, Utc};
use chrono_tz::Tz;

/// What must hold of a row on another day for a rule that fits; `None` beyond the calendar.
pub fn due_on(
    policy: &Policy,
    rule: &RetentionRule,
    in_force: &[&Policy],
    catalog: &Catalog,
    today: NaiveDate,
) -> Option<Vec<Due>> {
    let table = catalog.tables.get(&rule.table.table)?;
    // A time at which the day is that one in the rule's zone: rules that keep may have another.
    let noon = rule.zone.from_local_datetime(&today.and_hms_opt(12, 0, 0)?);
    let noon = noon.earliest()?.to_utc();
    times(
        (policy, rule),
        in_force,
        table,
        noon,
        catalog,
        &mut Vec::new(),
    )
    .map(|due| still::only_once(due, rule, table))
}

/// When rows of the rule's table are due, all of it; `None` if the calendar has no such day, or something is
/// wrong, which is noted.
pub(super) fn times(
    (policy, rule): (&Policy, &RetentionRule),
    in_force: &[&Policy],
    table: &Table,
    now: DateTime<Utc>,
    catalog: &Catalog,
    found: &mut Vec<Diagnostic>,
) -> Option<Vec<Due>> {
    let before = found.len();
    let mut due = vec![own_time((policy, rule), table, now, catalog, found)];
    let retained = minimum::retained(policy, rule, in_force, found);
    for (column, term) in retained {
        let keep = Keep::Since {
            columns: vec![column.clone()],
            linked: Vec::new(),
            term,
        };
        let kind = table.column(&column).and_then(|c| kind(&c.base));
        let columns = kind.map(|kind| vec![(column, kind)]).unwrap_or_default();
        due.push(at(rule.zone, &keep, now, (columns, Vec::new(), None)));
    }
    for (policy, keeper) in minimum::keepers(policy, rule, in_force, found) {
        let time = own_time((policy, keeper), table, now, catalog, found);
        due.push(time.map(|time| Due {
            exempts: true,
            ..time
        }));
    }
    match found.len() == before {
        true => due.into_iter().collect(),
        false => None,
    }
}

/// When they are by the rule itself.
fn own_time(
    (policy, rule): (&Policy, &RetentionRule),
    table: &Table,
    now: DateTime<Utc>,
    catalog: &Catalog,
    found: &mut Vec<Diagnostic>,
) -> Option<Due> {
    let mut error = |code, message: String, help: &str| {
        let diagnostic = Diagnostic::error(code, message, help);
        found.push(diagnostic.at(&policy.source, rule.span.clone()));
    };
    let kinds = kinds(rule, table, &mut error);
    let mut linked = Vec::new();
    for column in rule.keep.linked() {
        match linked::of(rule, column, catalog) {
            Ok(of) => linked.push(of),
            Err(misfits) => found.extend(told(policy, misfits)),
        }
    }
    let condition = condition_of(policy, rule, table).unwrap_or_else(|misfits| {
        found.extend(misfits);
        None
    });
    at(rule.zone, &rule.keep, now, (kinds, linked, condition))
}

type Asked = (Vec<(String, DateKind)>, Vec<Linked>, Option<ConditionOf>);

/// `None` if the calendar has no such day.
fn at(zone: Tz, keep: &Keep, now: DateTime<Utc>, asked: Asked) -> Option<Due> {
    let day = keep.cutoff(now.with_timezone(&zone).date_naive())?;
    let cutoff = Cutoff { day, zone };
    let (columns, linked, condition) = asked;
    Some(Due {
        condition,
        exempts: false,
        still: None,
        columns,
        linked,
        cutoff,
        end: cutoff.end()?,
    })
}

/// The rule's condition, if it has one.
fn condition_of(
    policy: &Policy,
    rule: &RetentionRule,
    table: &Table,
) -> Result<Option<ConditionOf>, Vec<Diagnostic>> {
    let Some(condition) = &rule.condition else {
        return Ok(None);
    };
    condition::typed(rule, &condition.condition, (&rule.table, table))
        .map(Some)
        .map_err(|misfits| told(policy, misfits))
}

fn told(policy: &Policy, misfits: Vec<condition::Misfit>) -> Vec<Diagnostic> {
    let told = misfits.into_iter().map(|(code, span, message, help)| {
        Diagnostic::error(code, message, help).at(&policy.source, span)
    });
    told.collect()
}

/// What kind of date each column of the rule holds.
fn kinds(
    rule: &RetentionRule,
    table: &Table,
    error: &mut impl FnMut(&'static str, String, &str),
) -> Vec<(String, DateKind)> {
    let mut kinds = Vec::new();
    for name in rule.keep.columns() {
        let Some(column) = table.column(name) else {
            let message = format!(
                "the retention rule {} counts from column {name:?}, which {} lacks",
                rule.name, rule.table
            );
            let names: Vec<_> = table.columns.iter().map(|c| c.name.as_str()).collect();
            error("E0203", message, &choose_or(name, &names, "its columns:"));
            continue;
        };
        match kind(&column.base) {
            Some(kind) => kinds.push((name.clone(), kind)),
            None => error(
                "E0220",
                format!(
                    "{}.{name} is {}, not a date, so the retention rule {} cannot count from it",
                    rule.table, column.sql_type, rule.name
                ),
                "name a date or timestamp column",
            ),
        }
    }
    kinds
}

pub(in crate::lineage) fn kind(base: &str) -> Option<DateKind> {
    match base {
        "date" => Some(DateKind::Date),
        "timestamp" => Some(DateKind::Local),
        "timestamptz" => Some(DateKind::Instant),
        _ => None,
    }
}
