//! A retention rule that anonymizes or detaches: what it makes of its policy, and how a row that has been changed is
//! told from one that is still as it was.

use super::Due;
use crate::catalog::{Catalog, Column, Table};
use crate::diagnostic::Diagnostic;
use crate::policy::Set;
use crate::policy::retention::{RetentionAction, RetentionRule};
use crate::policy::{Action, LinkFrom, Policy, TableRule};
use std::collections::BTreeMap;

/// A rule that detaches by a column which is no link.
const NO_LINK: &str = "E0269";

/// The columns of a table that are to be changed; once they are, a row is due no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Still {
    /// What is set.
    pub set: Set,
    /// That is their link to somebody, and nothing else.
    pub detaches: bool,
    /// All columns.
    pub columns: Vec<Column>,
    /// By which its rows are told apart.
    pub key: Vec<String>,
}

/// Rows that have been changed are not due again.
pub(super) fn only_once(mut due: Vec<Due>, rule: &RetentionRule, table: &Table) -> Vec<Due> {
    if let (true, Some(first)) = (rule.action.rewrites(), due.first_mut()) {
        first.still = Some(Still {
            set: rule.set.clone(),
            detaches: rule.action == RetentionAction::Detach,
            columns: table.columns.clone(),
            key: table.row_key().to_vec(),
        });
    }
    due
}

/// What becomes of the rule's own rows.
pub(super) fn action(rule: &RetentionRule) -> Action {
    match rule.action.rewrites() {
        true => Action::Anonymize {
            set: rule.set.clone(),
        },
        false => Action::Delete,
    }
}

/// Columns that a rule which detaches would empty, though they refer to nothing: what is counted as detached has lost its
/// link and nothing besides.
pub(super) fn no_links(
    policy: &Policy,
    rule: &RetentionRule,
    table: &Table,
    catalog: &Catalog,
) -> Vec<Diagnostic> {
    if rule.action != RetentionAction::Detach {
        return Vec::new();
    }
    let keys = catalog.foreign_keys.iter();
    let keys = keys.filter(|key| key.child.0 == rule.table.table);
    let mut links: Vec<&String> = keys.flat_map(|key| &key.child.1).collect();
    let of_table = policy.tables.iter().filter(|of| of.table == rule.table);
    for link in of_table.filter_map(|of| of.link.as_ref()) {
        if let LinkFrom::Columns(columns) = &link.from {
            links.extend(columns);
        }
    }
    let named = rule.set.iter().filter(|(column, _)| {
        let there = table.column(column).is_some();
        there && !links.contains(column)
    });
    let told = named.map(|(column, (_, span))| {
        let message = format!(
            "the retention rule {} detaches rows of {} by {column:?}, which refers to nothing",
            rule.name, rule.table
        );
        let help = "name columns of a foreign key, or of a `link` of the policy; what else rows lose is said with action = \"anonymize\"";
        Diagnostic::error(NO_LINK, message, help).at(&policy.source, span.clone())
    });
    told.collect()
}

/// What hangs on rows that stay, stays.
pub(super) fn all_stays(rule: &RetentionRule, catalog: &Catalog) -> Vec<TableRule> {
    let of = |key: &crate::catalog::ForeignKey| TableRule {
        table: crate::name::QualifiedTable {
            system: rule.table.system.clone(),
            table: key.child.0.clone(),
        },
        via: Some((key.name.clone(), rule.span.clone())),
        link: None,
        scopes: Vec::new(),
        action: Action::Exempt {
            reason: "the row on which it hangs stays".into(),
        },
        span: rule.span.clone(),
        sweep_exempt: BTreeMap::new(),
        large_objects: None,
        in_pieces: None,
        told: Box::default(),
    };
    catalog.referring_to(&rule.table.table).map(of).collect()
}
