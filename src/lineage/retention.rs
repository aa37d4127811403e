//! How rows hang on the rows of a retention rule: a lineage whose root is the rule's table.
//!
//! What becomes of the rows that hang on them is what the policy's own `[[table]]` rules say, so a
//! booking that goes by its age takes the same rows with it as one that goes with its customer.

use super::owners::{Owners, owners};
use super::{ConditionOf, DateKind, Due, Lineage, Parent, condition, leads_from, trace};
use crate::catalog::{Catalog, Table};
use crate::diagnostic::{Diagnostic, Severity};
use crate::name::{QualifiedTable, TableName};
use crate::policy::retention::{Cutoff, Keep, RetentionRule, Term};
use crate::policy::{Action, Extent, Policy, Scope, Span, TableRule};
use crate::reading::choose_or;
use chrono::{DateTime, Days, NaiveDate, Utc};
use std::collections::{BTreeMap, BTreeSet};

/// The one scope of the policy that a rule makes.
const SCOPE: &str = "retention";
/// A rule that the policy contradicts.
const CONTRADICTED: &str = "E0255";
/// A rule for what goes by tickets.
const OF_PEOPLE: &str = "E0256";

/// What a rule makes of its policy.
#[derive(Debug)]
pub struct OfRule {
    /// The rules for what hangs on the table, and one for the table itself.
    pub policy: Policy,
    /// Traced from the table.
    pub lineage: Lineage,
    /// Whose the rows are.
    pub owners: Owners,
    /// Other kinds of subject whose policies speak of the rows: they may be theirs too.
    pub others: Vec<String>,
    /// What must hold of a row of the table; all of it.
    pub due: Vec<Due>,
    /// What is worth knowing, though nothing stops.
    pub warnings: Vec<Diagnostic>,
}

/// Traces a rule of one of these policies in force through its system's catalog. `now` decides what is due:
/// `None` where the calendar has nothing yet that could be.
///
/// # Errors
/// All that keeps the rule from running, warnings among them.
pub fn of_rule(
    policy: &Policy,
    rule: &RetentionRule,
    in_force: &[&Policy],
    now: DateTime<Utc>,
    catalog: &Catalog,
) -> Result<Option<OfRule>, Vec<Diagnostic>> {
    let mut found = Vec::new();
    let mut error = |code, message: String, help: &str| {
        let diagnostic = Diagnostic::error(code, message, help);
        found.push(diagnostic.at(&policy.source, rule.span.clone()));
    };
    let name = &rule.name;
    let table = catalog.tables.get(&rule.table.table);
    let Some(table) = table else {
        error(
            "E0202",
            format!(
                "the retention rule {name} is for {}, which does not exist",
                rule.table
            ),
            "mend the name as the catalog spells it (case counts)",
        );
        return Err(found);
    };
    if table.row_key().is_empty() || table.has_heirs {
        error(
            "E0218",
            format!(
                "{} has no primary key, so a run could not go on where it stopped",
                rule.table
            ),
            "give it one, or a unique index over NOT NULL columns; of a table with heirs name the heirs",
        );
    }
    let kinds = kinds(rule, table, &mut error);
    let condition = condition_of(policy, rule, table);
    let minimum = minimum(policy, rule, &mut error);
    let own = of_table(policy, rule, catalog);
    let traced = trace(
        &own,
        SCOPE,
        &BTreeMap::from([(catalog.system.clone(), catalog.clone())]),
    );
    let (lineage, warnings) = match traced {
        Ok(traced) => traced,
        Err(more) => {
            found.extend(more);
            return Err(found);
        }
    };
    let condition = condition.unwrap_or_else(|misfits| {
        found.extend(misfits);
        None
    });
    let of = Hanging {
        policy,
        rule,
        own: &own,
        lineage: &lineage,
    };
    found.extend(of.mistakes(in_force));
    if found.iter().any(|d| d.severity == Severity::Error) {
        return Err(found);
    }
    let today = now.with_timezone(&rule.zone).date_naive();
    let due = due(rule, kinds, condition, minimum, table, today);
    Ok(due.map(|due| OfRule {
        owners: owners(policy, &rule.table, &lineage, catalog),
        others: others(policy, in_force, &lineage),
        lineage: with_due(lineage, &due),
        policy: own,
        due,
        warnings,
    }))
}

/// What must hold of a row on another day for a rule that fits; `None` beyond the calendar.
pub fn due_on(
    policy: &Policy,
    rule: &RetentionRule,
    table: &Table,
    today: NaiveDate,
) -> Option<Vec<Due>> {
    let mut none = |_, _, _: &str| {};
    let kinds = kinds(rule, table, &mut none);
    let minimum = minimum(policy, rule, &mut none);
    // One that does not fit is no rule for all rows.
    let condition = condition_of(policy, rule, table).ok()?;
    due(rule, kinds, condition, minimum, table, today)
}

/// Everything wrong with a policy's rules, and what is worth knowing.
pub fn check_rules(
    policy: &Policy,
    in_force: &[&Policy],
    now: DateTime<Utc>,
    catalogs: &BTreeMap<String, Catalog>,
) -> Vec<Diagnostic> {
    let check = |rule: &RetentionRule| match catalogs.get(&rule.table.system) {
        None => vec![unregistered(policy, rule)],
        Some(catalog) => match of_rule(policy, rule, in_force, now, catalog) {
            Ok(of) => of.map_or_else(Vec::new, |of| of.warnings),
            Err(found) => found,
        },
    };
    policy.retention.iter().flat_map(check).collect()
}

/// That nothing is known of the rule's system.
pub fn unregistered(policy: &Policy, rule: &RetentionRule) -> Diagnostic {
    let (name, system) = (&rule.name, &rule.table.system);
    let message = format!(
        "the retention rule {name} names the system {system:?}, which erasured.toml does not register"
    );
    let help = format!("add [system.{system}] to erasured.toml, or mend the name here");
    Diagnostic::error("E0226", message, help).at(&policy.source, rule.span.clone())
}

/// What goes with the rule's rows, or loses its link to them.
struct Hanging<'a> {
    policy: &'a Policy,
    rule: &'a RetentionRule,
    /// The policy that the rule makes.
    own: &'a Policy,
    lineage: &'a Lineage,
}

impl Hanging<'_> {
    fn mistakes(&self, in_force: &[&Policy]) -> Vec<Diagnostic> {
        let systems = self.lineage.systems.iter();
        let tables = systems.flat_map(|s| s.tables.iter().map(move |t| (&s.system, t)));
        let mut found = Vec::new();
        for (system, reached) in tables {
            let table = QualifiedTable {
                system: system.clone(),
                table: reached.table.clone(),
            };
            if in_force.iter().any(|p| p.root.0 == table) {
                found.push(self.of_people(&table));
            }
            if table == self.rule.table {
                continue;
            }
            let rules = reached
                .edges
                .iter()
                .map(|e| &self.own.tables[e.decision.rule].action);
            if rules
                .clone()
                .any(|action| matches!(action, Action::Retain(_)))
            {
                found.push(
                    self.kept_longer(&table, "which the policy retains for a time of its own"),
                );
            }
            let goes = rules
                .clone()
                .any(|action| matches!(action, Action::Delete | Action::Shared { .. }));
            let mut others = in_force.iter().flat_map(|p| &p.retention);
            let longer = others
                .find(|other| other.table == table && !ends_with(&other.keep, &self.rule.keep));
            if let (true, Some(other)) = (goes, longer) {
                let why = format!(
                    "for which the retention rule {} may keep them longer",
                    other.name
                );
                found.push(self.kept_longer(&table, &why));
            }
        }
        found
    }

    fn of_people(&self, table: &QualifiedTable) -> Diagnostic {
        let name = &self.rule.name;
        let message = match *table == self.rule.table {
            true => format!("the retention rule {name} is for {table}, whose rows are people"),
            false => format!("the retention rule {name} reaches {table}, whose rows are people"),
        };
        self.error(
            OF_PEOPLE,
            message,
            "people go by tickets, with all that is theirs and a certificate each: file one for each",
        )
    }

    fn kept_longer(&self, table: &QualifiedTable, why: &str) -> Diagnostic {
        self.error(
            CONTRADICTED,
            format!("with the rows of the retention rule {} go rows of {table}, {why}", self.rule.name),
            "make the rule keep its rows as long as what hangs on them, or take the link out of them first",
        )
    }

    fn error(&self, code: &'static str, message: String, help: &str) -> Diagnostic {
        Diagnostic::error(code, message, help).at(&self.policy.source, self.rule.span.clone())
    }
}

/// Whether rows are kept no longer by the first than by the second, which hang on each other: counted alike,
/// no column of one being known to be that of the other, only plain terms can be compared.
fn ends_with(first: &Keep, second: &Keep) -> bool {
    let (Keep::Since { term: first, .. }, Keep::Since { term: second, .. }) = (first, second)
    else {
        return false;
    };
    days().all(|day| first.last_day(day) <= second.last_day(day))
}

/// Kinds of subject, beside the policy's own, whose policies name a table of the lineage.
fn others(policy: &Policy, in_force: &[&Policy], lineage: &Lineage) -> Vec<String> {
    let names = |other: &&&Policy| {
        lineage.systems.iter().any(|system| {
            other.tables.iter().any(|rule| {
                rule.table.system == system.system && system.table(&rule.table.table).is_some()
            })
        })
    };
    let others = in_force
        .iter()
        .filter(|other| other.subject != policy.subject);
    others
        .filter(names)
        .map(|other| other.subject.clone())
        .collect()
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
    let told = |misfits: Vec<condition::Misfit>| {
        let misfits = misfits.into_iter();
        let told = misfits.map(|(code, span, message, help)| {
            Diagnostic::error(code, message, help).at(&policy.source, span)
        });
        told.collect()
    };
    condition::typed(rule, &condition.condition, table)
        .map(Some)
        .map_err(told)
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

fn kind(base: &str) -> Option<DateKind> {
    match base {
        "date" => Some(DateKind::Date),
        "timestamp" => Some(DateKind::Local),
        "timestamptz" => Some(DateKind::Instant),
        _ => None,
    }
}

/// What the policy retains for a time of its own is kept that long, whatever a rule says. One that says
/// less of the same column is a mistake of whoever wrote it.
fn minimum(
    policy: &Policy,
    rule: &RetentionRule,
    error: &mut impl FnMut(&'static str, String, &str),
) -> Vec<(String, Term)> {
    let mut minimum = Vec::new();
    let rules = policy.tables.iter().filter(|r| r.table == rule.table);
    for of_table in rules {
        let Action::Retain(retain) = &of_table.action else {
            continue;
        };
        let Some(until) = &retain.until else {
            error(
                CONTRADICTED,
                format!(
                    "the retention rule {} would take rows of {} that the policy keeps with the rows they hang on",
                    rule.name, rule.table
                ),
                "make the rule for the table they hang on, or take the `retain` out",
            );
            continue;
        };
        let least = Term::Plain(until.plus);
        if falls_short(&rule.keep, &until.column, least) {
            error(
                CONTRADICTED,
                format!(
                    "the retention rule {} lets rows of {} go before the policy's `retain` does ({})",
                    rule.name, rule.table, retain.because
                ),
                "keep them at least as long: the law's minimum stands above a rule",
            );
        }
        minimum.push((until.column.clone(), least));
    }
    minimum
}

/// Whether the rule lets a row go before the minimum, counted from the same column, is over.
fn falls_short(keep: &Keep, column: &str, least: Term) -> bool {
    let Keep::Since { columns, term } = keep else {
        return false;
    };
    columns == &[column.to_owned()] && days().any(|day| term.last_day(day) < least.last_day(day))
}

/// Of four years, so that every length of a month is met.
fn days() -> impl Iterator<Item = NaiveDate> {
    let first = NaiveDate::from_ymd_opt(2024, 1, 1).unwrap_or_default();
    (0..1461).filter_map(move |n| first.checked_add_days(Days::new(n)))
}

/// All that must be over; `None` if the calendar has no such day.
fn due(
    rule: &RetentionRule,
    columns: Vec<(String, DateKind)>,
    condition: Option<ConditionOf>,
    minimum: Vec<(String, Term)>,
    table: &Table,
    today: NaiveDate,
) -> Option<Vec<Due>> {
    let mut wanted = vec![(columns, condition, rule.keep.cutoff(today)?)];
    for (column, term) in minimum {
        let keep = Keep::Since {
            columns: vec![column.clone()],
            term,
        };
        let kind = kind(&table.column(&column)?.base)?;
        wanted.push((vec![(column, kind)], None, keep.cutoff(today)?));
    }
    let due = wanted.into_iter().map(|(columns, condition, day)| {
        let cutoff = Cutoff {
            day,
            zone: rule.zone,
        };
        let end = cutoff.end()?;
        Some(Due {
            condition,
            columns,
            cutoff,
            end,
        })
    });
    due.collect()
}

fn with_due(mut lineage: Lineage, due: &[Due]) -> Lineage {
    let systems = lineage.systems.iter_mut();
    let edges = systems.flat_map(|s| s.tables.iter_mut().flat_map(|t| t.edges.iter_mut()));
    for edge in edges.filter(|e| e.parent == Parent::Subject) {
        edge.due = due.to_vec();
    }
    lineage
}

/// The policy's rules for what can be reached from the table, which itself is deleted.
fn of_table(policy: &Policy, rule: &RetentionRule, catalog: &Catalog) -> Policy {
    let mut tables = vec![TableRule {
        table: rule.table.clone(),
        via: None,
        link: None,
        scopes: Vec::new(),
        action: Action::Delete,
        span: rule.span.clone(),
        sweep_exempt: BTreeMap::new(),
        large_objects: object_columns(policy, &rule.table),
        in_pieces: None,
        told: Box::default(),
    }];
    tables.extend(hanging_on(policy, &rule.table, catalog));
    let scopes = policy.scopes.values().take(1).map(|scope| {
        let whole = Scope {
            extent: Extent::All,
            ..scope.clone()
        };
        (SCOPE.to_owned(), whole)
    });
    Policy {
        root: (rule.table.clone(), rule.span.clone()),
        identifiers: BTreeMap::new(),
        scopes: scopes.collect(),
        tables,
        asking: crate::policy::asking::Asking::default(),
        retention: Vec::new(),
        ..policy.clone()
    }
}

fn object_columns(policy: &Policy, table: &QualifiedTable) -> Option<(Vec<String>, Span)> {
    let rules = policy.tables.iter().filter(|r| r.table == *table);
    rules.filter_map(|r| r.large_objects.clone()).next()
}

/// The rules for rows that hang on the table's, over any number of others whose rows are followed. A
/// rule of one scope alone says nothing here, and one for rows that belong to a person by a value of
/// theirs has no person.
fn hanging_on<'p>(
    policy: &'p Policy,
    table: &'p QualifiedTable,
    catalog: &Catalog,
) -> Vec<TableRule> {
    let here = |rule: &&TableRule| {
        rule.table.system == table.system && rule.table != *table && rule.scopes.is_empty()
    };
    let rules: Vec<&TableRule> = policy.tables.iter().filter(here).collect();
    let mut reached: BTreeSet<&TableName> = BTreeSet::from([&table.table]);
    let mut chosen = vec![false; rules.len()];
    loop {
        let known = chosen.clone();
        for (rule, chosen) in rules.iter().zip(&mut chosen) {
            if *chosen || !leads_to(rule, &reached, catalog) {
                continue;
            }
            *chosen = true;
            if !matches!(rule.action, Action::Detach | Action::Exempt { .. }) {
                reached.insert(&rule.table.table);
            }
        }
        if known == chosen {
            let rules = rules.into_iter().zip(chosen);
            let rules = rules.filter(|(_, chosen)| *chosen);
            return rules
                .map(|(rule, _)| with_its_row(policy, rule.clone(), table, &reached, catalog))
                .collect();
        }
    }
}

/// What the policy keeps as long as the row it hangs on goes with that row, if all such rows go: those of
/// the rule's own table, or what it keeps likewise.
fn with_its_row(
    policy: &Policy,
    rule: TableRule,
    of: &QualifiedTable,
    reached: &BTreeSet<&TableName>,
    catalog: &Catalog,
) -> TableRule {
    let goes = |table: &TableName| {
        let mut rules = policy.tables.iter();
        let here = |r: &&TableRule| r.table.system == of.system && r.table.table == *table;
        let all_go = rules.by_ref().filter(here).all(|r| match &r.action {
            Action::Retain(retain) => r.table == *of || retain.until.is_none(),
            action => matches!(action, Action::Delete),
        });
        reached.contains(table) && all_go
    };
    let retained = |table: &TableName| {
        let mut rules = policy.tables.iter();
        rules.any(|r| {
            r.table.system == of.system
                && r.table.table == *table
                && matches!(r.action, Action::Retain(_))
        })
    };
    let keys = catalog.foreign_keys.iter();
    let mut of_rule = keys.filter(|k| k.child.0 == rule.table.table);
    let all_go = of_rule.all(|k| goes(&k.parent.0) || !retained(&k.parent.0));
    match &rule.action {
        Action::Retain(retain) if retain.until.is_none() && rule.link.is_none() && all_go => {
            TableRule {
                action: Action::Delete,
                ..rule
            }
        }
        _ => rule,
    }
}

/// Whether something leads from one of these tables to the rule's rows.
fn leads_to(rule: &TableRule, from: &BTreeSet<&TableName>, catalog: &Catalog) -> bool {
    if let Some(parent) = leads_from(rule) {
        return parent.system == rule.table.system && from.contains(&parent.table);
    }
    let named = |name: &str| rule.via.as_ref().is_none_or(|(via, _)| via == name);
    rule.link.is_none()
        && catalog.foreign_keys.iter().any(|key| {
            key.child.0 == rule.table.table && from.contains(&key.parent.0) && named(&key.name)
        })
}
