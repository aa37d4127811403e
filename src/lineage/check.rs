//! What a policy asks against what the database allows: every rule that the two must share.

mod columns;
pub(super) mod keys;
mod mariadb;
mod objects;
mod pieces;
mod server;
mod things;
mod together;

pub(super) use server::written_to;

use super::{Reached, SystemLineage};
use crate::catalog::{Catalog, Table};
use crate::diagnostic::Diagnostic;
use crate::name::{QualifiedTable, TableName};
use crate::policy::{Action, Extent, Listed, Policy, Span, TableRule};
use crate::reading::{choose_or, did_you_mean, how_near};
use std::collections::BTreeMap;

pub(super) fn policy_against_lineage(
    whole: &Policy,
    policy: &Policy,
    scope: &str,
    systems: &[SystemLineage],
    catalogs: &BTreeMap<String, Catalog>,
    found: &mut Vec<Diagnostic>,
) {
    Check {
        whole,
        policy,
        scope,
        catalogs,
        found,
    }
    .all(systems);
}

struct Check<'a> {
    /// The policy under whatever scope.
    whole: &'a Policy,
    /// And what of it is in force under the scope that was traced.
    policy: &'a Policy,
    /// The name of the scope that was traced.
    scope: &'a str,
    catalogs: &'a BTreeMap<String, Catalog>,
    found: &'a mut Vec<Diagnostic>,
}

impl Check<'_> {
    fn all(&mut self, systems: &[SystemLineage]) {
        self.identifiers();
        self.together();
        self.scopes();
        self.things();
        for rule in &self.policy.tables {
            self.rule(rule, systems);
        }
        for system in systems {
            self.objects_in_reach(system);
            self.on_mariadb(system);
            for reached in &system.tables {
                self.table(system, reached);
                self.objects_decided(system, reached);
                self.in_pieces(system, reached);
                for edge in &reached.edges {
                    self.edge(system, reached, edge);
                }
            }
        }
    }

    fn error(&mut self, code: &'static str, span: &Span, message: String, help: impl Into<String>) {
        self.found
            .push(Diagnostic::error(code, message, help).at(&self.policy.source, span.clone()));
    }

    fn warn(&mut self, code: &'static str, span: &Span, message: String, help: impl Into<String>) {
        self.found
            .push(Diagnostic::warning(code, message, help).at(&self.policy.source, span.clone()));
    }

    fn identifiers(&mut self) {
        let (root, span) = &self.policy.root;
        let Some(table) = self
            .catalogs
            .get(&root.system)
            .and_then(|c| c.tables.get(&root.table))
        else {
            if self.catalogs.contains_key(&root.system) {
                self.error(
                    "E0202",
                    span,
                    format!("the root table {root} does not exist"),
                    nearest(&self.catalogs[&root.system], &root.table),
                );
            }
            return;
        };
        if table.row_key().is_empty() {
            self.error(
                "E0218",
                span,
                format!("the root table {root} has no primary key, so no ticket could say which row it means"),
                "give it one, or a unique index over NOT NULL columns",
            );
        }
        let missing: Vec<_> = self
            .policy
            .identifiers
            .iter()
            .filter(|(_, i)| table.column(&i.column).is_none())
            .map(|(name, i)| (name.clone(), i.column.clone(), i.span.clone()))
            .collect();
        for (name, column, span) in missing {
            self.error(
                "E0203",
                &span,
                format!("identifier {name} names column {column:?}, which {root} lacks"),
                columns_of(table, &column),
            );
        }
        let points = self.policy.asking.points.iter();
        let missing: Vec<_> = points
            .filter(|(_, point)| table.column(&point.column).is_none())
            .map(|(name, point)| (name.clone(), point.column.clone(), point.span.clone()))
            .collect();
        for (name, column, span) in missing {
            self.error(
                "E0203",
                &span,
                format!("point {name} names column {column:?}, which {root} lacks"),
                columns_of(table, &column),
            );
        }
        for (name, changed) in &self.whole.asking.changed {
            match table.column(&changed.column) {
                Some(column) if matches!(&*column.base, "timestamptz" | "timestamp" | "date") => {}
                Some(_) => self.error(
                    "E0220",
                    &changed.span,
                    format!("[identity.changed.{name}] names column {:?} of {root}, which is neither a date nor a time", changed.column),
                    "name the column that says when it was changed",
                ),
                None => self.error(
                    "E0203",
                    &changed.span,
                    format!("[identity.changed.{name}] names column {:?}, which {root} lacks", changed.column),
                    columns_of(table, &changed.column),
                ),
            }
        }
    }

    /// What each scope covers must be decided, or it would be left out in silence.
    fn scopes(&mut self) {
        let whole = self.whole;
        for (name, scope) in &whole.scopes {
            if let Extent::Listed(listed) = &scope.extent {
                self.listed(name, listed, &whole.under(name));
            }
        }
    }

    fn listed(&mut self, scope: &str, listed: &Listed, policy: &Policy) {
        let columns = listed.columns.iter();
        let first = columns.filter_map(|(table, c)| Some((table, c.values().next()?)));
        for (table, span) in listed.tables.iter().chain(first) {
            if !policy.tables.iter().any(|r| r.table == *table) {
                self.error(
                    "E0219",
                    span,
                    format!(
                        "the scope {scope} names {table}, which no [[table]] of this policy decides for it"
                    ),
                    decided_like(policy, table),
                );
            }
        }
        for (table, columns) in &listed.columns {
            for (column, span) in columns {
                self.covered_column(scope, (table, column, span), policy);
            }
        }
    }

    /// Each rule for rows that are the person's own must say what becomes of the column.
    fn covered_column(
        &mut self,
        scope: &str,
        (table, column, span): (&QualifiedTable, &String, &Span),
        policy: &Policy,
    ) {
        let catalog = self.catalogs.get(&table.system);
        let facts = catalog.and_then(|c| c.tables.get(&table.table));
        if let Some(facts) = facts.filter(|facts| facts.column(column).is_none()) {
            let message = format!("the scope {scope} names column {column:?}, which {table} lacks");
            self.error("E0203", span, message, columns_of(facts, column));
            return;
        }
        let mut own = policy.tables.iter().filter(|rule| {
            rule.table == *table && !matches!(rule.action, Action::Detach | Action::Exempt { .. })
        });
        let says = |rule: &TableRule| match &rule.action {
            Action::Anonymize { set } => set.contains_key(column),
            _ => false,
        };
        let there = policy.tables.iter().any(|rule| rule.table == *table);
        let decided = own.clone().next().is_some() && own.all(says);
        if there && !decided {
            self.error(
                "E0234",
                span,
                format!(
                    "the scope {scope} covers {}, and not every rule for rows of the person says what becomes of the column",
                    table.column(column)
                ),
                format!(
                    "add {column} = … to the set of the rule, or a [[table]] with name = \"{table}\", scopes = [\"{scope}\"], action = \"anonymize\" and set = {{ {column} = … }}"
                ),
            );
        }
    }

    /// A rule by itself: its table, its columns, whether anything leads to it.
    fn rule(&mut self, rule: &TableRule, systems: &[SystemLineage]) {
        let Some(catalog) = self.catalogs.get(&rule.table.system) else {
            return;
        };
        let Some(table) = catalog.tables.get(&rule.table.table) else {
            self.error(
                "E0202",
                &rule.span,
                format!("{} does not exist", rule.table),
                nearest(catalog, &rule.table.table),
            );
            return;
        };
        if let Some((via, span)) = &rule.via
            && rule.link.is_none()
            && !catalog
                .foreign_keys
                .iter()
                .any(|k| k.child.0 == rule.table.table && k.name == *via)
        {
            let keys: Vec<_> = catalog
                .foreign_keys
                .iter()
                .filter(|k| k.child.0 == rule.table.table)
                .map(|k| k.name.as_str())
                .collect();
            self.error(
                "E0204",
                span,
                format!("{} has no foreign key {via:?}", rule.table),
                match keys.as_slice() {
                    [] => "it has none: take via out, or give it a link".into(),
                    keys => choose_or(via, keys, "its foreign keys:"),
                },
            );
        }
        self.link_columns(rule, table);
        let exempt: Vec<_> = rule
            .sweep_exempt
            .keys()
            .filter(|c| table.column(c).is_none())
            .cloned()
            .collect();
        for column in exempt {
            self.error(
                "E0203",
                &rule.span,
                format!(
                    "sweep_exempt names column {column:?}, which {} lacks",
                    rule.table
                ),
                columns_of(table, &column),
            );
        }
        self.action_columns(rule, table, catalog);
        self.objects_of_rule(rule, table);
        let reached = systems
            .iter()
            .filter(|s| s.system == rule.table.system)
            .any(|s| s.table(&rule.table.table).is_some());
        if !reached && systems.iter().any(|s| s.system == rule.table.system) {
            self.error(
                "E0219",
                &rule.span,
                format!("nothing leads from the subject to {}: no foreign key, and no link in this policy", rule.table),
                "add a link = { columns = […], to = … } or identifier = …, or take the rule out",
            );
        }
    }
}

fn table_of<'a>(system: &'a SystemLineage, name: &TableName) -> Option<&'a Reached> {
    system.table(name)
}

fn columns_of(table: &Table, wanted: &str) -> String {
    let names: Vec<_> = table.columns.iter().map(|c| c.name.as_str()).collect();
    choose_or(wanted, &names, "its columns:")
}

/// Help for a table that the policy does not decide.
fn decided_like(policy: &Policy, wanted: &QualifiedTable) -> String {
    let rules = policy.tables.iter().map(|r| &r.table);
    let here = rules.filter(|t| t.system == wanted.system);
    match likely(here.map(|t| &t.table), &wanted.table) {
        Some(near) => did_you_mean(&format!("{}.{near}", wanted.system)),
        None => "add a [[table]] for it, or take it out of the scope".into(),
    }
}

/// Help for a table that is not there: one of the same name elsewhere, or one of nearly the same.
fn nearest(catalog: &Catalog, wanted: &TableName) -> String {
    let same = |t: &&TableName| t.table.eq_ignore_ascii_case(&wanted.table);
    if let Some(other) = catalog.tables.keys().find(same) {
        return format!("there is {}.{other}", catalog.system);
    }
    match likely(catalog.tables.keys(), wanted) {
        Some(near) => did_you_mean(&format!("{}.{near}", catalog.system)),
        None => "mend the name as the catalog spells it (case counts), or take the rule out".into(),
    }
}

/// The table that is likely meant: both parts of its name must be near, since what they have in
/// common says little.
pub(super) fn likely<'t>(
    known: impl Iterator<Item = &'t TableName>,
    wanted: &TableName,
) -> Option<&'t TableName> {
    let near = known.filter_map(|t| {
        let distance = how_near(&wanted.schema, &t.schema)? + how_near(&wanted.table, &t.table)?;
        Some((distance, t))
    });
    near.min_by_key(|(distance, _)| *distance).map(|(_, t)| t)
}
