//! The policy that a rule makes: its own table, and the policy's rules for what can be reached from it.

use super::SCOPE;
use crate::catalog::Catalog;
use crate::lineage::{leads_from, still};
use crate::name::{QualifiedTable, TableName};
use crate::policy::retention::{RetentionAction, RetentionRule};
use crate::policy::{Action, Extent, Policy, Scope, Span, TableRule};
use std::collections::{BTreeMap, BTreeSet};

/// The policy's rules for what can be reached from the table, which itself is deleted.
pub(super) fn of_table(
    policy: &Policy,
    rule: &RetentionRule,
    in_force: &[&Policy],
    catalog: &Catalog,
) -> Policy {
    let mut tables = vec![TableRule {
        table: rule.table.clone(),
        via: None,
        link: None,
        scopes: Vec::new(),
        action: still::action(rule),
        span: rule.span.clone(),
        sweep_exempt: BTreeMap::new(),
        large_objects: object_columns(policy, &rule.table),
        in_pieces: None,
        told: Box::default(),
    }];
    match rule.action.rewrites() {
        true => tables.extend(still::all_stays(rule, catalog)),
        false => tables.extend(hanging_on(policy, &rule.table, in_force, catalog)),
    }
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
        // A run is one system's.
        atomic: Vec::new(),
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
    in_force: &[&Policy],
    catalog: &Catalog,
) -> Vec<TableRule> {
    let timed = go_by_themselves(in_force);
    // Of the table itself only what is said of rows that hang on others of it.
    let itself = |rule: &TableRule| {
        let mut keys = catalog.foreign_keys.iter();
        rule.via.as_ref().is_some_and(|(via, _)| {
            keys.any(|k| k.name == *via && k.child.0 == table.table && k.parent.0 == table.table)
        })
    };
    let here = |rule: &&TableRule| {
        rule.table.system == table.system
            && rule.scopes.is_empty()
            && (rule.table != *table || itself(rule))
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
                .map(|(rule, _)| {
                    with_its_row(policy, rule.clone(), table, (&reached, &timed), catalog)
                })
                .collect();
        }
    }
}

/// Tables whose rows go by rules of their own: not before any `retain` of them, and what they hang on waits for them.
pub(super) fn go_by_themselves<'p>(in_force: &[&'p Policy]) -> BTreeSet<&'p QualifiedTable> {
    let rules = in_force.iter().flat_map(|policy| &policy.retention);
    let go = rules.filter(|rule| rule.action == RetentionAction::Delete && rule.people.is_none());
    go.map(|rule| &rule.table).collect()
}

/// What the policy keeps as long as the row it hangs on goes with that row, if all such rows go: those of
/// the rule's own table, or what it keeps likewise; and what goes by a rule of its own, when its time is over.
fn with_its_row(
    policy: &Policy,
    rule: TableRule,
    of: &QualifiedTable,
    (reached, timed): (&BTreeSet<&TableName>, &BTreeSet<&QualifiedTable>),
    catalog: &Catalog,
) -> TableRule {
    let goes = |table: &TableName| {
        let mut rules = policy.tables.iter();
        let here = |r: &&TableRule| r.table.system == of.system && r.table.table == *table;
        let all_go = rules.by_ref().filter(here).all(|r| match &r.action {
            Action::Retain(retain) => {
                r.table == *of || retain.until.is_none() || timed.contains(&r.table)
            }
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
        Action::Retain(retain)
            if rule.link.is_none()
                && match retain.until {
                    None => all_go,
                    Some(_) => rule.table != *of && timed.contains(&rule.table),
                } =>
        {
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
