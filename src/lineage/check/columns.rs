//! The columns that a rule names, and the values that it sets.

use super::super::{Fate, Reached};
use super::{Check, columns_of};
use crate::anonymize::SHORTEST_EMAIL;
use crate::catalog::{Catalog, Column, Table};
use crate::name::TableName;
use crate::policy::{Action, HashAs, IdentifierKind, LinkFrom, LinkTo, Span, Strategy, TableRule};
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
            LinkFrom::Json { column, .. }
            | LinkFrom::JsonElements { column, .. }
            | LinkFrom::JsonKeys { column, .. } => {
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
                    columns_of(table, column),
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
                            columns_of(table, &until.column),
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
        let keys = catalog.foreign_keys.iter();
        for key in keys.filter(|k| k.child.0 == rule.table.table) {
            let emptied = |c: &String| matches!(set.get(c), Some((Strategy::Null, _)));
            self.match_full(&rule.table, key, &emptied, &rule.span);
        }
        for (name, (strategy, span)) in set {
            let Some(column) = table.column(name) else {
                self.error(
                    "E0203",
                    span,
                    format!("set names column {name:?}, which {} lacks", rule.table),
                    columns_of(table, name),
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
            _ => self.error(
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
            Strategy::Redact
            | Strategy::Hash
            | Strategy::HashAs(_)
            | Strategy::RedactIdentifiers
            | Strategy::Mask { .. }
            | Strategy::Template(_)
                if column.category != 'S' =>
            {
                Some((
                "E0205",
                format!(
                    "{place} is {}: only text can be redacted, hashed, masked or made from a template",
                    column.sql_type
                ),
                "choose null, a constant or truncate",
            ))
            }
            Strategy::Bucket(_)
                if !matches!(column.base.as_str(), "int2" | "int4" | "int8" | "numeric") =>
            {
                Some((
                    "E0205",
                    format!("{place} is {}: only integers and numeric have buckets", column.sql_type),
                    "choose null or a constant",
                ))
            }
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
            Strategy::Choose(texts) => column
                .max_chars
                .filter(|max| texts.iter().any(|t| t.chars().count() > *max as usize))
                .map(|max| {
                    (
                        "E0205",
                        format!("{place} holds {max} characters and a text of the list is longer"),
                        "shorten it",
                    )
                }),
            Strategy::Redact | Strategy::RedactIdentifiers => column
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
            Strategy::HashAs(HashAs::Email) => column
                .max_chars
                .filter(|max| *max < SHORTEST_EMAIL)
                .map(|max| {
                    (
                        "E0222",
                        format!("{place} holds {max} characters: too few for a hashed address, which could meet another"),
                        "choose null, or widen the column to 32 or more",
                    )
                }),
            Strategy::Template(text) => self.template(table, column, &place, text, span),
            Strategy::Truncate(_)
            | Strategy::HashAs(HashAs::Phone)
            | Strategy::Mask { .. }
            | Strategy::Bucket(_) => None,
        };
        if let Some((code, message, help)) = misfit {
            self.error(code, span, message, help);
        }
        self.recoverable(rule, table, column, strategy, span);
        let unique = table.unique.iter().any(|set| set.contains(&column.name));
        if unique && repeats(strategy, table) {
            self.error(
                "E0207",
                span,
                format!("{place} is UNIQUE: the second subject would get the value of the first"),
                "choose null, hash, { hash = \"email\" } or a template with {key}",
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
                    format!(
                        "CHECK {} on {} reads {}: whether it takes the new value is not known",
                        check.name, rule.table, column.name
                    ),
                    format!(
                        "make sure it accepts the new value: CHECK {}",
                        check.expression
                    ),
                );
            }
        }
    }

    /// Whether a template fits, as far as can be known.
    fn template(
        &mut self,
        table: &Table,
        column: &Column,
        place: &str,
        text: &str,
        span: &Span,
    ) -> Option<(&'static str, String, &'static str)> {
        let times = text.matches("{key}").count();
        let key = table.row_key();
        if times > 0 && key.is_empty() {
            let message = format!("{place}: the table has no key to put into the template");
            return Some(("E0205", message, "choose null, hash or a constant"));
        }
        let max = column.max_chars? as usize;
        let fixed = text.replace("{key}", "").chars().count();
        let joins = key.len().saturating_sub(1);
        let lengths: Vec<(usize, Option<usize>)> = key
            .iter()
            .map(|c| table.column(c).map_or((0, None), key_length))
            .collect();
        let least = lengths.iter().map(|(least, _)| least).sum::<usize>() + joins;
        if fixed + times * least > max {
            let message = format!("{place} holds {max} characters and the template is longer");
            return Some(("E0205", message, "shorten it"));
        }
        let most: Option<usize> = lengths.iter().map(|(_, most)| *most).sum();
        if times > 0 && most.is_none_or(|most| fixed + times * (most + joins) > max) {
            self.warn(
                "E0205",
                span,
                format!("{place} holds {max} characters: the template with a long key may not fit, and then the ticket stops"),
                "shorten it",
            );
        }
        None
    }

    /// What would still say who it is: the value is a declared identifier, and too much of it stays.
    fn recoverable(
        &mut self,
        rule: &TableRule,
        table: &Table,
        column: &Column,
        strategy: &Strategy,
        span: &Span,
    ) {
        let place = format!("{}.{}", rule.table, column.name);
        let identifier = self.identifier_in(rule, &column.name);
        let problem = match (strategy, identifier) {
            (Strategy::Mask { keep, last }, Some((name, kind))) => {
                let phone = matches!(kind, IdentifierKind::Phone { .. });
                let most = if phone { 4 } else { 2 };
                (*keep > most || phone && !*last && *keep > 3).then(|| {
                    (
                        format!("{place} is the identifier {name}, and {keep} characters of it would say who it is: the rest can be guessed one by one"),
                        "keep at most 2 characters (of a phone number the first 3 or the last 4), or choose hash or null",
                    )
                })
            }
            (Strategy::Bucket(_), Some((name, _))) => Some((
                format!(
                    "{place} is the identifier {name}: the few numbers of one bucket can be tried one by one"
                ),
                "choose hash (of a text), null or a constant",
            )),
            (Strategy::Template(text), _) if text.contains("{key}") => {
                let personal = table
                    .row_key()
                    .iter()
                    .find_map(|c| self.identifier_in(rule, c));
                personal.map(|(name, _)| (
                    format!("{place} would repeat the identifier {name}, which is part of the row's key"),
                    "choose hash or null",
                ))
            }
            _ => None,
        };
        if let Some((message, help)) = problem {
            self.error("E0232", span, message, help);
        }
    }

    /// The identifier that a column holds: by declaration in the root table, by a link elsewhere.
    fn identifier_in(&self, rule: &TableRule, column: &str) -> Option<(String, IdentifierKind)> {
        let policy = self.policy;
        let by_link = policy
            .tables
            .iter()
            .filter(|other| other.table == rule.table)
            .filter_map(|other| other.link.as_ref())
            .find_map(|link| match (&link.from, &link.to) {
                (LinkFrom::Columns(from), LinkTo::Identifier(name)) if from[..] == [column] => {
                    policy.identifiers.get_key_value(name)
                }
                _ => None,
            });
        let root = rule.table == policy.root.0;
        let declared = policy
            .identifiers
            .iter()
            .find(|(_, i)| root && i.column == column);
        let (name, identifier) = declared.or(by_link)?;
        Some((name.clone(), identifier.kind.clone()))
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

/// Whether two rows may get the same value.
fn repeats(strategy: &Strategy, table: &Table) -> bool {
    match strategy {
        Strategy::Null | Strategy::Hash | Strategy::HashAs(HashAs::Email) => false,
        // Parts of several texts may be joined to the same text in two ways.
        Strategy::Template(text) => {
            let key = table.row_key();
            let texts = key
                .iter()
                .filter(|c| table.column(c).is_some_and(|c| c.category == 'S'));
            !text.contains("{key}") || key.len() > 1 && texts.count() > 0
        }
        _ => true,
    }
}

/// The least and the greatest length of a key column's text, the latter if it is known.
fn key_length(column: &Column) -> (usize, Option<usize>) {
    match column.base.as_str() {
        "int2" => (1, Some(6)),
        "int4" => (1, Some(11)),
        "int8" => (1, Some(20)),
        "uuid" => (36, Some(36)),
        _ => (
            0,
            column.max_chars.and_then(|max| usize::try_from(max).ok()),
        ),
    }
}
