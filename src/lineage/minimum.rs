//! What must be kept at least so long: by a policy's `retain`, or by a rule that only keeps. It stands above
//! tickets and above rules by which rows go.

use super::retention::CONTRADICTED;
use crate::diagnostic::Diagnostic;
use crate::policy::retention::{Keep, RetentionAction, RetentionRule, Term};
use crate::policy::{Action, Policy, TableRule};
use chrono::{Days, NaiveDate};

/// What policies retain of the rule's table for a time of its own is kept that long, whatever a rule says. One
/// that says less of the same column is a mistake of whoever wrote it.
pub(super) fn retained(
    policy: &Policy,
    rule: &RetentionRule,
    in_force: &[&Policy],
    found: &mut Vec<Diagnostic>,
) -> Vec<(String, Term)> {
    let mut minimum = Vec::new();
    if rule.action == RetentionAction::Keep {
        return minimum;
    }
    let mut error = |message: String, help: &str| {
        let diagnostic = Diagnostic::error(CONTRADICTED, message, help);
        found.push(diagnostic.at(&policy.source, rule.span.clone()));
    };
    let others = others(policy, in_force);
    let rules = std::iter::once(policy)
        .chain(others)
        .flat_map(|of| of.tables.iter().map(move |table| (of, table)));
    for (of, of_table) in rules.filter(|(_, of_table)| of_table.table == rule.table) {
        let Action::Retain(retain) = &of_table.action else {
            continue;
        };
        let whose = whose(policy, of);
        let Some(until) = &retain.until else {
            error(
                format!(
                    "the retention rule {} would take rows of {} that {whose} keeps with the rows they hang on",
                    rule.name, rule.table
                ),
                "make the rule for the table they hang on, or take the `retain` out",
            );
            continue;
        };
        let least = Term::Plain(until.plus);
        if falls_short(&rule.keep, &until.column, least) {
            error(
                format!(
                    "the retention rule {} lets rows of {} go before the `retain` of {whose} does ({})",
                    rule.name, rule.table, retain.because
                ),
                LONGER,
            );
        }
        minimum.push((until.column.clone(), least));
    }
    minimum
}

/// Policies of other kinds of subject.
pub(super) fn others<'p>(
    policy: &Policy,
    in_force: &[&'p Policy],
) -> impl Iterator<Item = &'p Policy> {
    let others = in_force.iter().copied();
    others.filter(move |other| other.subject != policy.subject)
}

/// A policy as the messages of one of them call it.
pub(super) fn whose(policy: &Policy, of: &Policy) -> String {
    match policy.subject == of.subject {
        true => "the policy".to_owned(),
        false => format!("the policy for {}", of.subject),
    }
}

const LONGER: &str = "keep them at least as long: the law's minimum stands above a rule";

/// The rules of all policies by which rows of the rule's table are kept at least so long. One that says less of
/// the same column is a mistake.
pub(super) fn keepers<'p>(
    policy: &Policy,
    rule: &RetentionRule,
    in_force: &[&'p Policy],
    found: &mut Vec<Diagnostic>,
) -> Vec<(&'p Policy, &'p RetentionRule)> {
    if rule.action == RetentionAction::Keep {
        return Vec::new();
    }
    let rules = in_force.iter();
    let rules = rules.flat_map(|p| p.retention.iter().map(move |keeper| (*p, keeper)));
    let keepers = rules
        .filter(|(_, keeper)| keeper.action == RetentionAction::Keep && keeper.table == rule.table);
    let keepers: Vec<_> = keepers.collect();
    for (_, keeper) in &keepers {
        if keeper.condition.is_none() && less(&rule.keep, &keeper.keep) {
            let message = format!(
                "the retention rule {} lets rows of {} go before the rule {} does ({})",
                rule.name, rule.table, keeper.name, keeper.because
            );
            let diagnostic = Diagnostic::error(CONTRADICTED, message, LONGER);
            found.push(diagnostic.at(&policy.source, rule.span.clone()));
        }
    }
    keepers
}

/// What policies say of tickets and of the table of a rule that only keeps: by a ticket too its rows go only
/// when they may.
pub(super) fn against_tables(
    policy: &Policy,
    rule: &RetentionRule,
    in_force: &[&Policy],
) -> Vec<Diagnostic> {
    if rule.action != RetentionAction::Keep {
        return Vec::new();
    }
    let tables = in_force.iter();
    let tables = tables.flat_map(|p| p.tables.iter().map(move |table| (*p, table)));
    let against = tables.filter(|(_, table)| table.table == rule.table && goes_before(table, rule));
    let told = against.map(|(other, table)| {
        let message = format!(
            "the rule {} of the policy for {} keeps rows of {} ({}), and by a ticket they would go before",
            rule.name, policy.subject, rule.table, rule.because
        );
        let help = "say so to tickets: action = \"retain\", with `until` at least as long; anonymize keeps the row too";
        Diagnostic::error(CONTRADICTED, message, help).at(&other.source, table.span.clone())
    });
    told.collect()
}

/// The same for all policies in force: what one of them keeps no ticket of another takes.
pub fn kept_from_tickets(policy: &Policy, in_force: &[&Policy]) -> Vec<Diagnostic> {
    let others = others(policy, in_force);
    let rules = others.flat_map(|other| other.retention.iter().map(move |rule| (other, rule)));
    rules
        .flat_map(|(other, rule)| against_tables(other, rule, &[policy]))
        .collect()
}

/// Whether a ticket may take rows before the rule lets them go.
fn goes_before(table: &TableRule, rule: &RetentionRule) -> bool {
    match &table.action {
        Action::Delete | Action::Shared { .. } => true,
        Action::Retain(retain) => match &retain.until {
            // For how long what it hangs on is kept is said elsewhere.
            None => true,
            Some(until) => {
                let until = Keep::Since {
                    columns: vec![until.column.clone()],
                    linked: Vec::new(),
                    term: Term::Plain(until.plus),
                };
                until.columns() != rule.keep.columns()
                    || !rule.keep.linked().is_empty()
                    || less(&until, &rule.keep)
            }
        },
        Action::Anonymize { .. } | Action::Detach | Action::Exempt { .. } => false,
    }
}

/// Whether the first lets a row go before the second does, counted from the same column.
fn less(first: &Keep, second: &Keep) -> bool {
    match second {
        Keep::Since {
            columns,
            linked,
            term,
        } if linked.is_empty() => match columns.as_slice() {
            [only] => falls_short(first, only, *term),
            _ => false,
        },
        _ => false,
    }
}

/// Whether the rule lets a row go before the minimum, counted from the same column, is over.
fn falls_short(keep: &Keep, column: &str, least: Term) -> bool {
    let Keep::Since {
        columns,
        linked,
        term,
    } = keep
    else {
        return false;
    };
    linked.is_empty()
        && columns == &[column.to_owned()]
        && days().any(|day| term.last_day(day) < least.last_day(day))
}

/// Of four years, so that every length of a month is met.
fn days() -> impl Iterator<Item = NaiveDate> {
    let first = NaiveDate::from_ymd_opt(2024, 1, 1).unwrap_or_default();
    (0..1461).filter_map(move |n| first.checked_add_days(Days::new(n)))
}
