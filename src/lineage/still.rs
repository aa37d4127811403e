//! A retention rule that anonymizes: what it makes of its policy, and how a row that has been changed is
//! told from one that is still as it was.

use super::Due;
use crate::catalog::{Catalog, Column, Table};
use crate::policy::Set;
use crate::policy::retention::{RetentionAction, RetentionRule};
use crate::policy::{Action, TableRule};
use std::collections::BTreeMap;

/// The columns of a table that are to be changed; once they are, a row is due no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Still {
    /// What is set.
    pub set: Set,
    /// All columns.
    pub columns: Vec<Column>,
    /// By which its rows are told apart.
    pub key: Vec<String>,
}

/// Rows that have been changed are not due again.
pub(super) fn only_once(mut due: Vec<Due>, rule: &RetentionRule, table: &Table) -> Vec<Due> {
    if let (RetentionAction::Anonymize, Some(first)) = (rule.action, due.first_mut()) {
        first.still = Some(Still {
            set: rule.set.clone(),
            columns: table.columns.clone(),
            key: table.row_key().to_vec(),
        });
    }
    due
}

/// What becomes of the rule's own rows.
pub(super) fn action(rule: &RetentionRule) -> Action {
    match rule.action {
        RetentionAction::Anonymize => Action::Anonymize {
            set: rule.set.clone(),
        },
        _ => Action::Delete,
    }
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
