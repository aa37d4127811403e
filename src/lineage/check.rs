//! What a policy asks against what the database allows: every rule that the two must share.

mod columns;
mod keys;
mod objects;
mod pieces;
mod server;

use super::{Reached, SystemLineage};
use crate::catalog::{Catalog, Table};
use crate::diagnostic::Diagnostic;
use crate::name::{QualifiedTable, TableName};
use crate::policy::{Action, Extent, Listed, Policy, Span, TableRule};
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
        self.scopes();
        for rule in &self.policy.tables {
            self.rule(rule, systems);
        }
        for system in systems {
            self.objects_in_reach(system);
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
                    "mend the name, or create the table",
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
                columns_of(table),
            );
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
                    "add a [[table]] for it, or take it out of the scope",
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
            self.error("E0203", span, message, columns_of(facts));
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
                format!("its foreign keys: {}", keys.join(", ")),
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
                columns_of(table),
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

fn columns_of(table: &Table) -> String {
    let names: Vec<_> = table.columns.iter().map(|c| c.name.as_str()).collect();
    format!("its columns: {}", names.join(", "))
}

fn nearest(catalog: &Catalog, wanted: &TableName) -> String {
    let same_name = catalog
        .tables
        .keys()
        .find(|t| t.table.eq_ignore_ascii_case(&wanted.table));
    match same_name {
        Some(other) => format!("there is {}.{other}", catalog.system),
        None => "mend the name as the catalog spells it (case counts), or take the rule out".into(),
    }
}
