//! How rows hang on the rows of a retention rule: a lineage whose root is the rule's table.
//!
//! What becomes of the rows that hang on them is what the policy's own `[[table]]` rules say, so a
//! booking that goes by its age takes the same rows with it as one that goes with its customer.

mod hanging;
mod reach;
mod time;

pub use time::due_on;
pub(super) use {hanging::step, time::kind};

use super::owners::{Owners, owners};
use super::{Due, Lineage, Parent, Spares, archive, minimum, partition, still, trace};
use crate::catalog::{Catalog, Dialect, Table};
use crate::diagnostic::{Diagnostic, Severity};
use crate::name::TableName;
use crate::policy::retention::{RetentionAction, RetentionRule};
use crate::policy::{Action, Level, Policy, TableRule};
use chrono::{DateTime, Utc};
use hanging::Hanging;
use reach::of_table;
use std::collections::{BTreeMap, BTreeSet};
use time::times;

/// The one scope of the policy that a rule makes.
const SCOPE: &str = "retention";
/// A rule that the policy contradicts.
pub(super) const CONTRADICTED: &str = "E0255";
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
    /// What hangs on its rows and keeps them.
    pub spared_by: Vec<Spares>,
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
    if catalog.dialect == Dialect::MariaDb {
        return Err(vec![not_on_mariadb(policy, rule)]);
    }
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
    if let Some(column) = table.row_key().iter().find(|c| has_own_order(table, c)) {
        error(
            "E0218",
            format!(
                "the key of {} has the column {column:?} of a type with an order of its own, by which a run could not go on where it stopped",
                rule.table
            ),
            "give the table a unique index over NOT NULL columns of PostgreSQL's own types, or write the rule for another table",
        );
    }
    let due = times((policy, rule), in_force, table, now, catalog, &mut found);
    if rule.people.is_some() {
        return of_people(policy, rule, due, found);
    }
    found.extend(partition::misfit(policy, rule, table));
    found.extend(still::no_links(policy, rule, table, catalog));
    let own = of_table(policy, rule, in_force, catalog);
    let traced = trace(
        &own,
        SCOPE,
        &BTreeMap::from([(catalog.system.clone(), catalog.clone())]),
    );
    let (lineage, mut warnings) = match traced {
        Ok(traced) => traced,
        Err(more) => {
            found.extend(more);
            return Err(found);
        }
    };
    let of = Hanging {
        policy,
        rule,
        own: &own,
        lineage: &lineage,
        in_force,
        catalog,
        now,
    };
    let mut spared_by = Vec::new();
    if rule.action == RetentionAction::Keep {
        // What its own policy says stops the tickets too: `trace` looks.
        let others = in_force.iter().filter(|p| p.subject != policy.subject);
        let others: Vec<&Policy> = others.copied().collect();
        found.extend(minimum::against_tables(policy, rule, &others));
    } else {
        let (mut mistakes, due) = (of.mistakes(), due.as_deref().unwrap_or_default());
        spared_by = of.spared_by(due, &mut mistakes);
        // Of what is only counted nothing goes with it.
        if rule.action.changes() {
            found.extend(mistakes);
        }
    }
    if found.iter().any(|d| d.severity == Severity::Error) {
        return Err(found);
    }
    warnings.extend(super::age_index::unindexed(policy, rule, table));
    let due = due.map(|due| still::only_once(due, rule, table));
    let changed = changed(rule, &lineage);
    Ok(due.map(|due| {
        let mut of = OfRule {
            owners: owners(policy, &rule.table, &changed, catalog),
            others: others(policy, rule, in_force, &changed),
            lineage: with_due(lineage, &due, &spared_by),
            policy: own,
            due,
            spared_by,
            warnings,
        };
        let more = partition::warnings(policy, rule, &of, catalog);
        of.warnings.extend(more);
        let more = archive::warnings(policy, rule, &of);
        of.warnings.extend(more);
        of
    }))
}

/// Whether a column's type is an extension's or the application's own, enumerations aside: rows would be passed
/// in one order and compared in another.
fn has_own_order(table: &Table, column: &str) -> bool {
    const KNOWN: [&str; 24] = [
        "bool",
        "bpchar",
        "bytea",
        "char",
        "cidr",
        "date",
        "float4",
        "float8",
        "inet",
        "int2",
        "int4",
        "int8",
        "interval",
        "macaddr",
        "macaddr8",
        "name",
        "numeric",
        "oid",
        "text",
        "time",
        "timestamp",
        "timestamptz",
        "uuid",
        "varchar",
    ];
    let column = table.column(column);
    column.is_some_and(|c| c.category != 'E' && !KNOWN.contains(&c.base.as_str()))
}

/// A rule for people: what becomes of theirs is their tickets'.
fn of_people(
    policy: &Policy,
    rule: &RetentionRule,
    due: Option<Vec<Due>>,
    mut found: Vec<Diagnostic>,
) -> Result<Option<OfRule>, Vec<Diagnostic>> {
    if rule.table != policy.root.0 {
        let message = format!(
            "the retention rule {} is for people, and {} are not those of the policy",
            rule.name, rule.table
        );
        let help = format!("name the policy's root: table = \"{}\"", policy.root.0);
        let diagnostic = Diagnostic::error(OF_PEOPLE, message, help);
        found.push(diagnostic.at(&policy.source, rule.span.clone()));
    }
    let mut not = |message: String, help: &str| {
        let diagnostic = Diagnostic::error(OF_PEOPLE, message, help);
        found.push(diagnostic.at(&policy.source, rule.span.clone()));
    };
    let scope = rule.people.as_ref().map(|people| people.scope.as_str());
    let under = policy.under(scope.unwrap_or_default());
    let root = |of: &&TableRule| of.table == policy.root.0;
    if !under
        .tables
        .iter()
        .filter(root)
        .any(|of| matches!(of.action, Action::Delete))
    {
        not(
            format!(
                "the retention rule {} is for people, and its scope does not delete them: they would be due again the next night",
                rule.name
            ),
            "name a scope under which the policy's root is deleted",
        );
    }
    if found.iter().any(|d| d.severity == Severity::Error) {
        return Err(found);
    }
    let scope = scope.and_then(|scope| policy.scopes.get(scope));
    if !rule.approval && scope.is_none_or(|scope| scope.cooling_off.is_zero()) {
        let message = format!(
            "nobody is asked before people go by the retention rule {}, and they have no time to object",
            rule.name
        );
        let help = "say approval = \"first\" in the rule, or cooling_off in `verify` of its scope";
        let warning = Diagnostic::warning("E0267", message, help);
        found.push(warning.at(&policy.source, rule.span.clone()));
    }
    Ok(due.map(|due| OfRule {
        policy: policy.clone(),
        lineage: Lineage {
            policy_file: policy.source.path.to_string(),
            policy_sha256: policy.sha256.clone(),
            subject: policy.subject.clone(),
            scope: SCOPE.to_owned(),
            required_level: Level::None,
            four_eyes: false,
            systems: Vec::new(),
        },
        // Each row is a person's own.
        owners: Owners::Ways(vec![Vec::new()]),
        others: Vec::new(),
        due,
        spared_by: Vec::new(),
        warnings: found,
    }))
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

/// That rows of a MariaDB system go by tickets only.
pub fn not_on_mariadb(policy: &Policy, rule: &RetentionRule) -> Diagnostic {
    let (name, table) = (&rule.name, &rule.table);
    let message = format!(
        "the retention rule {name} is for {table}, in a MariaDB system: rows go there by tickets only"
    );
    let help = "take the rule out: what goes by its age is the application's own business there";
    Diagnostic::error("E0290", message, help).at(&policy.source, rule.span.clone())
}

/// Tables of the rule's system whose rows go, or change, by it: where its own rows stay, no others do.
fn changed(rule: &RetentionRule, lineage: &Lineage) -> BTreeSet<TableName> {
    let mut changed = BTreeSet::from([rule.table.table.clone()]);
    if !rule.action.rewrites() {
        let systems = lineage.systems.iter();
        let here = systems.filter(|s| s.system == rule.table.system);
        changed.extend(here.flat_map(|s| s.tables.iter().map(|t| t.table.clone())));
    }
    changed
}

/// Kinds of subject, beside the policy's own, whose policies name one of these tables.
fn others(
    policy: &Policy,
    rule: &RetentionRule,
    in_force: &[&Policy],
    tables: &BTreeSet<TableName>,
) -> Vec<String> {
    let names = |other: &&&Policy| {
        let mut named = other.tables.iter().map(|of| &of.table);
        named.any(|of| of.system == rule.table.system && tables.contains(&of.table))
    };
    let others = in_force
        .iter()
        .filter(|other| other.subject != policy.subject);
    others
        .filter(names)
        .map(|other| other.subject.clone())
        .collect()
}

fn with_due(mut lineage: Lineage, due: &[Due], spared_by: &[Spares]) -> Lineage {
    let systems = lineage.systems.iter_mut();
    let edges = systems.flat_map(|s| s.tables.iter_mut().flat_map(|t| t.edges.iter_mut()));
    for edge in edges.filter(|e| e.parent == Parent::Subject) {
        edge.due = due.to_vec();
        edge.spared_by = spared_by.to_vec();
    }
    lineage
}
