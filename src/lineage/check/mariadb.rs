//! What cannot be traced or done in a MariaDB system, refused by name before anything runs.

use super::super::{Fate, Join, Parent, Reached, SystemLineage};
use super::Check;
use crate::catalog::{Column, Dialect, MariaDbType, TableKind};
use crate::policy::{Action, Span, Strategy, TableRule};

/// What a rule asks that is not done there.
const NOT_DONE: &str = "E0290";
/// A table that cannot be erased from there.
const NO_TABLE: &str = "E0291";

impl Check<'_> {
    pub(super) fn on_mariadb(&mut self, system: &SystemLineage) {
        if system.dialect != Dialect::MariaDb {
            return;
        }
        let (root, span) = self.policy.root.clone();
        if root.system == system.system {
            self.error(
                NOT_DONE,
                &span,
                format!("the root table {root} is in a MariaDB system: people are found in PostgreSQL only"),
                "let the root be a table of a PostgreSQL system, and link this one by an identifier",
            );
        }
        if let Some(ring) = system.rings.first() {
            let names: Vec<String> = ring.iter().map(ToString::to_string).collect();
            self.error(
                NOT_DONE,
                &span,
                format!("{} of the MariaDB system {} refer to each other: no order in which their rows could go", names.join(" and "), system.system),
                "exempt one of them with a reason, or drop a key",
            );
        }
        for reached in &system.tables {
            let touched = |e: &&super::super::Edge| e.decision.fate != Fate::Exempt;
            let Some(first) = reached.edges.iter().find(touched) else {
                continue;
            };
            let span = self.policy.tables[first.decision.rule].span.clone();
            self.mariadb_table(system, reached, &span);
            for edge in reached.edges.iter().filter(touched) {
                let rule = self.policy.tables[edge.decision.rule].clone();
                self.mariadb_rule(&rule, edge.shared);
                self.mariadb_join(system, reached, &edge.join, &edge.parent, &rule);
            }
        }
    }

    fn mariadb_table(&mut self, system: &SystemLineage, reached: &Reached, span: &Span) {
        let name = format!("{}.{}", system.system, reached.table);
        let facts = &reached.facts;
        let mut refuse = |message: String, help: &str| self.error(NO_TABLE, span, message, help);
        if let Some(engine) = &facts.storage {
            refuse(
                format!(
                    "{name} is stored by {engine}, which knows no transactions: what was deleted could not be taken back"
                ),
                "ALTER TABLE … ENGINE = InnoDB, or exempt it with a reason and erase there by other means",
            );
        }
        if facts.kind == TableKind::Versioned {
            refuse(
                format!(
                    "{name} is system-versioned: it keeps what its rows were, the person with them"
                ),
                "ALTER TABLE … DROP SYSTEM VERSIONING, or exempt it with a reason and erase there by other means",
            );
        }
        if facts.row_key().is_empty() {
            refuse(
                format!(
                    "{name} has no primary key and no unique key over NOT NULL columns, so its rows cannot be told apart"
                ),
                "give it one",
            );
        }
        let fires = |t: &&crate::catalog::Trigger| t.on_delete || t.on_update;
        if let Some(trigger) = facts.triggers.iter().find(fires) {
            refuse(
                format!(
                    "{name} has the trigger {}, which would do what no plan says and no certificate counts",
                    trigger.name
                ),
                "drop it, or exempt the table with a reason and erase there by other means",
            );
        }
        for column in facts.row_key().iter().filter_map(|c| facts.column(c)) {
            self.mariadb_compared(&name, column, span);
        }
    }

    /// By its bytes, or as a number or a time: else nobody could say whose row it is.
    fn mariadb_compared(&mut self, table: &str, column: &Column, span: &Span) {
        if MariaDbType::of(&column.sql_type) == MariaDbType::Other {
            let message = format!(
                "{table}.{} is {}, by which rows cannot be told apart safely",
                column.name, column.sql_type
            );
            let help = "let the key be of whole numbers, decimals, texts, bytes, dates or UUIDs";
            self.error(NO_TABLE, span, message, help);
        }
    }

    fn mariadb_rule(&mut self, rule: &TableRule, shared: bool) {
        let set = match &rule.action {
            Action::Anonymize { set } => Some(set),
            Action::Retain(retain) => Some(&retain.set),
            _ => None,
        };
        for (column, (strategy, span)) in set.into_iter().flatten() {
            if let Some(word) = not_done(strategy) {
                self.error(
                    NOT_DONE,
                    span,
                    format!(
                        "{}.{column}: {word} is not done in a MariaDB system",
                        rule.table
                    ),
                    "choose null, redact, hash, a list to choose from, or a constant",
                );
            }
        }
        let objects = rule.large_objects.as_ref();
        let asks = [
            (shared, "action = \"shared\""),
            (rule.in_pieces.is_some(), "large = \"batches\""),
            (
                objects.is_some_and(|(columns, _)| !columns.is_empty()),
                "large_objects",
            ),
        ];
        for (_, word) in asks.iter().filter(|(asked, _)| *asked) {
            self.error(
                NOT_DONE,
                &rule.span,
                format!(
                    "the rule for {}: {word} is not done in a MariaDB system",
                    rule.table
                ),
                "take it out, or exempt the table with a reason",
            );
        }
    }

    fn mariadb_join(
        &mut self,
        system: &SystemLineage,
        reached: &Reached,
        join: &Join,
        parent: &Parent,
        rule: &TableRule,
    ) {
        let name = format!("{}.{}", system.system, reached.table);
        let above = match parent {
            Parent::Table(above) => system.table(above),
            _ => None,
        };
        match join {
            Join::Columns { child, parent, .. } => {
                for (at, column) in child.iter().enumerate() {
                    let Some(column) = reached.facts.column(column) else {
                        continue;
                    };
                    self.mariadb_compared(&name, column, &rule.span);
                    let of = |c: &Column| MariaDbType::of(&c.sql_type) == MariaDbType::Bytes;
                    let other = above.and_then(|a| a.facts.column(parent.get(at)?));
                    if let Some(other) = other
                        && of(other) != of(column)
                    {
                        let message = format!(
                            "{name}.{} is {} and {} is {}: bytes and texts are not compared",
                            column.name, column.sql_type, other.name, other.sql_type
                        );
                        self.error("E0217", &rule.span, message, "link columns of the same type");
                    }
                }
            }
            Join::Identifier { column } => {
                let column = reached.facts.column(column);
                if let Some(column) = column.filter(|c| c.category != 'S') {
                    let message = format!(
                        "{name}.{} is {}: only a text is compared with an identifier in a MariaDB system",
                        column.name, column.sql_type
                    );
                    self.error(NOT_DONE, &rule.span, message, "name a char, varchar or text column");
                }
            }
            _ => self.error(
                NOT_DONE,
                &rule.span,
                format!("the rule for {}: a link by JSON or by the elements of a list is not done in a MariaDB system", rule.table),
                "link by columns, or exempt the table with a reason",
            ),
        }
    }
}

fn not_done(strategy: &Strategy) -> Option<&'static str> {
    match strategy {
        Strategy::Null
        | Strategy::Constant(_)
        | Strategy::Redact
        | Strategy::Hash
        | Strategy::HashAs(_)
        | Strategy::Choose(_)
        | Strategy::RedactIdentifiers => None,
        Strategy::Truncate(_) => Some("truncate"),
        Strategy::Template(_) => Some("a template"),
        Strategy::Mask { .. } => Some("mask"),
        Strategy::Bucket(_) => Some("bucket"),
    }
}
