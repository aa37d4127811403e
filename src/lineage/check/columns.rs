//! The columns that a rule names, and the values that it sets.

use super::super::{Fate, Reached};
use super::{Check, columns_of};
use crate::catalog::{Catalog, Column, Table};
use crate::name::TableName;
use crate::policy::{Action, LinkFrom, Span, Strategy, TableRule};
use crate::system::postgres::quote::identifier;
use std::collections::BTreeMap;

impl Check<'_> {
    pub(super) fn link_columns(&mut self, rule: &TableRule, table: &Table) {
        let Some(link) = &rule.link else { return };
        let named: Vec<&String> = match &link.from {
            LinkFrom::Columns(columns) => columns.iter().collect(),
            LinkFrom::Elements(column) => {
                if let Some(c) = table.column(column)
                    && c.category != 'A'
                {
                    self.error(
                        "E0217",
                        &link.span,
                        format!("{}.{column} is {}, not an array", rule.table, c.sql_type),
                        "a list written into a text cannot be told from another text that holds the same digits: make it an array, or a table of its own",
                    );
                }
                vec![column]
            }
            LinkFrom::Json { column, .. } | LinkFrom::JsonElements { column, .. } => {
                if table
                    .column(column)
                    .is_some_and(|c| !matches!(c.base.as_str(), "json" | "jsonb"))
                {
                    self.error(
                        "E0217",
                        &link.span,
                        format!(
                            "{}.{column} is not json or jsonb, so it has no path",
                            rule.table
                        ),
                        "use columns = […] for a plain column",
                    );
                }
                vec![column]
            }
        };
        for column in named.into_iter().chain(link.when.keys()) {
            if table.column(column).is_none() {
                self.error(
                    "E0203",
                    &link.span,
                    format!(
                        "the link names column {column:?}, which {} lacks",
                        rule.table
                    ),
                    columns_of(table),
                );
            }
        }
    }

    pub(super) fn action_columns(&mut self, rule: &TableRule, table: &Table, catalog: &Catalog) {
        match &rule.action {
            Action::Anonymize { set } => self.set(rule, table, catalog, set),
            Action::Retain(retain) => {
                self.set(rule, table, catalog, &retain.set);
                if retain.until.is_some() && (table.row_key().is_empty() || table.has_heirs) {
                    self.error(
                        "E0218",
                        &retain.span,
                        format!("{} has no primary key, so its rows could not be found again on their date", rule.table),
                        "give it one, or a unique index over NOT NULL columns",
                    );
                }
                if let Some(until) = &retain.until {
                    match table.column(&until.column) {
                        None => self.error(
                            "E0203",
                            &retain.span,
                            format!(
                                "until names column {:?}, which {} lacks",
                                until.column, rule.table
                            ),
                            columns_of(table),
                        ),
                        Some(c)
                            if !matches!(c.base.as_str(), "date" | "timestamp" | "timestamptz") =>
                        {
                            self.error(
                                "E0220",
                                &retain.span,
                                format!(
                                    "{}.{} is {}, not a date, so no end can be counted from it",
                                    rule.table, c.name, c.sql_type
                                ),
                                "name a date or timestamp column",
                            )
                        }
                        Some(_) => {}
                    }
                }
            }
            Action::Shared { through, span } => self.shared(rule, catalog, through, span),
            Action::Delete | Action::Detach | Action::Exempt { .. } => {}
        }
    }

    fn set(
        &mut self,
        rule: &TableRule,
        table: &Table,
        catalog: &Catalog,
        set: &BTreeMap<String, (Strategy, Span)>,
    ) {
        for (name, (strategy, span)) in set {
            let Some(column) = table.column(name) else {
                self.error(
                    "E0203",
                    span,
                    format!("set names column {name:?}, which {} lacks", rule.table),
                    columns_of(table),
                );
                continue;
            };
            self.strategy(rule, table, column, strategy, span);
            let key = table.row_key().contains(name)
                || catalog
                    .referring_to(&rule.table.table)
                    .any(|k| k.parent.1.contains(name));
            if key {
                self.error(
                    "E0224",
                    span,
                    format!(
                        "{}.{name} is part of a key that other rows may refer to",
                        rule.table
                    ),
                    "leave it, or delete the row; anonymize the columns that say who it is",
                );
            }
            self.refers(rule, catalog, name, strategy, span);
        }
    }

    /// A column that refers to another table takes nothing but NULL and values that stand there.
    fn refers(
        &mut self,
        rule: &TableRule,
        catalog: &Catalog,
        column: &String,
        strategy: &Strategy,
        span: &Span,
    ) {
        let Some(key) = catalog
            .foreign_keys
            .iter()
            .find(|k| k.child.0 == rule.table.table && k.child.1.contains(column))
        else {
            return;
        };
        let place = format!("{}.{column}", rule.table);
        let parent = &key.parent.0;
        match strategy {
            Strategy::Null => {}
            Strategy::Constant(_) => self.warn(
                "E0228",
                span,
                format!(
                    "{place} refers to {parent} by {}: the constant must stand there",
                    key.name
                ),
                "make sure that it does, or choose null",
            ),
            Strategy::Redact | Strategy::Hash | Strategy::Truncate(_) => self.error(
                "E0228",
                span,
                format!(
                    "{place} refers to {parent} by {}: the new value would not stand there",
                    key.name
                ),
                "choose null, or a constant that stands there",
            ),
        }
    }

    fn strategy(
        &mut self,
        rule: &TableRule,
        table: &Table,
        column: &Column,
        strategy: &Strategy,
        span: &Span,
    ) {
        let place = format!("{}.{}", rule.table, column.name);
        if column.generated {
            self.error(
                "E0205",
                span,
                format!("{place} is generated by the database and cannot be set"),
                "set the columns that it is made from",
            );
            return;
        }
        self.may_set(&rule.table.table, column, span);
        let misfit = match strategy {
            Strategy::Null => column.not_null.then(|| {
                (
                    "E0206",
                    format!("{place} is NOT NULL"),
                    "choose a constant (for a text also redact or hash), or drop the NOT NULL",
                )
            }),
            Strategy::Redact | Strategy::Hash if column.category != 'S' => Some((
                "E0205",
                format!(
                    "{place} is {}: only text can be redacted or hashed",
                    column.sql_type
                ),
                "choose null, a constant or truncate",
            )),
            Strategy::Truncate(_)
                if !matches!(column.base.as_str(), "date" | "timestamp" | "timestamptz") =>
            {
                Some((
                    "E0205",
                    format!(
                        "{place} is {}: only dates can be truncated",
                        column.sql_type
                    ),
                    "choose null or a constant",
                ))
            }
            Strategy::Constant(text) => column
                .max_chars
                .filter(|max| text.chars().count() > *max as usize)
                .map(|max| {
                    (
                        "E0205",
                        format!("{place} holds {max} characters and the constant is longer"),
                        "shorten it",
                    )
                }),
            Strategy::Redact => column
                .max_chars
                .filter(|max| crate::plan::REDACTED.chars().count() > *max as usize)
                .map(|max| {
                    (
                        "E0205",
                        format!(
                            "{place} holds {max} characters: too few for the mark {:?}",
                            crate::plan::REDACTED
                        ),
                        "choose null or a shorter constant",
                    )
                }),
            Strategy::Hash => column.max_chars.filter(|max| *max < 16).map(|max| {
                (
                    "E0222",
                    format!("{place} holds {max} characters: a hash that short could meet another"),
                    "choose null, or widen the column to 16 or more",
                )
            }),
            Strategy::Truncate(_) => None,
        };
        if let Some((code, message, help)) = misfit {
            self.error(code, span, message, help);
        }
        let unique = table.unique.iter().any(|set| set.contains(&column.name));
        if unique
            && matches!(
                strategy,
                Strategy::Constant(_) | Strategy::Redact | Strategy::Truncate(_)
            )
        {
            self.error(
                "E0207",
                span,
                format!("{place} is UNIQUE: the second subject would get the value of the first"),
                "choose null or hash",
            );
        }
        let nulls = matches!(strategy, Strategy::Null);
        for check in table
            .checks
            .iter()
            .filter(|c| c.columns.contains(&column.name))
        {
            let refuses_null = nulls && check.expression.to_lowercase().contains("is not null");
            if refuses_null && check.columns.len() == 1 {
                self.error(
                    "E0208",
                    span,
                    format!(
                        "CHECK {} on {} refuses NULL in {}",
                        check.name, rule.table, column.name
                    ),
                    "choose a constant that it accepts",
                );
            } else if !nulls || check.columns.len() > 1 {
                self.warn(
                    "E0208",
                    span,
                    format!("CHECK {} on {} reads {}; `erasured check` tries the value only where the constraint reads no other column", check.name, rule.table, column.name),
                    format!("make sure it accepts the new value: CHECK {}", check.expression),
                );
            }
        }
    }

    pub(super) fn may_set(&mut self, table: &TableName, column: &Column, span: &Span) {
        if column.denied {
            let name = identifier(&column.name);
            self.error(
                "E0214",
                span,
                format!("the daemon's role may not set {table}.{}", column.name),
                format!("GRANT UPDATE ({name}) ON {table} TO erasured_daemon"),
            );
        }
    }

    /// A row reached both ways would have to have both values.
    pub(super) fn two_values(&mut self, name: &str, reached: &Reached) {
        let mut values: BTreeMap<&String, (&Strategy, usize)> = BTreeMap::new();
        let policy = self.policy;
        for edge in &reached.edges {
            let rule = edge.decision.rule;
            let set = match &policy.tables[rule].action {
                Action::Anonymize { set } => set,
                Action::Retain(retain) => &retain.set,
                _ => continue,
            };
            if edge.decision.fate == Fate::Untouched {
                continue;
            }
            for (column, (strategy, span)) in set {
                let (first, by) = *values.entry(column).or_insert((strategy, rule));
                if by != rule && first != strategy {
                    self.error(
                        "E0210",
                        span,
                        format!("two rules set {name}.{column} to different values; a row that both reach could not have both"),
                        "set it to the same in both",
                    );
                }
            }
        }
    }
}
