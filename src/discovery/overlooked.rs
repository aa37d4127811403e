//! What a policy that fits may still have overlooked: it follows foreign keys and the links that
//! somebody wrote down, and a live schema grows others. Found by name and type alone.

use super::identifiers::Identifier;
use super::names::joined;
use super::personal::by_name;
use super::soft::{Target, candidates};
use super::walk::{is_a_table, links_column, one_row};
use crate::catalog::{Catalog, Table};
use crate::diagnostic::Diagnostic;
use crate::name::TableName;
use crate::policy::{Action, Policy, TableRule};
use std::collections::BTreeMap;

/// Warnings on one policy: tables that name the person and that no rule speaks of, lists of ids in
/// a text, and columns of anonymized tables that look personal and are not set.
pub fn overlooked(policy: &Policy, catalogs: &BTreeMap<String, Catalog>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    if let Some(catalog) = catalogs.get(&policy.root.0.system) {
        found.extend(unlinked(policy, catalog));
        found.extend(lists(policy, catalog));
    }
    for catalog in catalogs.values() {
        found.extend(not_set(policy, catalog));
    }
    found
}

fn rules<'p>(
    policy: &'p Policy,
    catalog: &'p Catalog,
    table: &'p TableName,
) -> impl Iterator<Item = &'p TableRule> {
    let rules = policy.tables.iter();
    rules.filter(move |r| r.table.system == catalog.system && r.table.table == *table)
}

/// Columns called like the root's key, or an identifier, in tables without any rule.
fn unlinked(policy: &Policy, catalog: &Catalog) -> Vec<Diagnostic> {
    let identifiers: Vec<Identifier> = policy
        .identifiers
        .iter()
        .map(|(name, i)| Identifier {
            name: name.clone(),
            column: i.column.clone(),
            kind: i.kind.clone(),
            find: i.find,
            residual: i.residual,
            why: "",
        })
        .collect();
    let candidates = candidates(catalog, &policy.root.0.table, &identifiers);
    let undecided = candidates
        .into_iter()
        .filter(|c| c.exact && rules(policy, catalog, &c.table).next().is_none());
    undecided
        .map(|c| {
            let table = format!("{}.{}", catalog.system, c.table);
            let (called, to) = match &c.target {
                Target::Key { .. } => ("the key", format!("to = {:?}", policy.root.0.to_string())),
                Target::Identifier { name, .. } => {
                    ("an identifier", format!("identifier = {name:?}"))
                }
            };
            Diagnostic::warning(
                "E0251",
                format!(
                    "{table}.{} is called like {called} of {}, no foreign key says what it refers to, and no rule decides {table}",
                    c.column, policy.root.0
                ),
                format!(
                    "add a [[table]] with link = {{ columns = [{:?}], {to} }} and an action: exempt, with a reason, if it means something else",
                    c.column
                ),
            )
            .at(&policy.source, policy.root.1.clone())
        })
        .collect()
}

/// `customer_ids`: lists of the root's key in a text, which no link can follow.
fn lists(policy: &Policy, catalog: &Catalog) -> Vec<Diagnostic> {
    let root = &policy.root.0.table;
    let said = format!("_{}_ids_", one_row(root));
    let tables = catalog.tables.iter();
    let columns = tables
        .filter(|(name, _)| is_a_table(catalog, name))
        .flat_map(|(name, table)| table.columns.iter().map(move |c| (name, c)));
    columns
        .filter(|(_, c)| c.category == 'S' && joined(&c.name).ends_with(&said))
        .filter(|(table, c)| {
            // Somebody has looked at it already.
            let mut rules = rules(policy, catalog, table);
            !rules.any(|r| r.sweep_exempt.contains_key(&c.name) || matches!(r.action, Action::Exempt { .. }))
        })
        .map(|(table, c)| {
            Diagnostic::warning(
                "E0253",
                format!(
                    "{}.{table}.{} seems to hold a list of keys of {root} in one text: no link can follow it, so nothing is taken out of it",
                    catalog.system, c.name
                ),
                "make it an array (link = { elements = … }) or a table with a row for each; if it is none, name it in sweep_exempt with the reason",
            )
            .at(&policy.source, policy.root.1.clone())
        })
        .collect()
}

/// Columns of tables whose rows stay without the person, and that look as if they still said who
/// it was.
fn not_set(policy: &Policy, catalog: &Catalog) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for (name, table) in &catalog.tables {
        let set: Vec<_> = rules(policy, catalog, name)
            .filter_map(|r| match &r.action {
                Action::Anonymize { set } => Some((r, set)),
                _ => None,
            })
            .collect();
        let Some((first, _)) = set.first() else {
            continue;
        };
        let known = |column: &str| {
            set.iter().any(|(_, set)| set.contains_key(column))
                || rules(policy, catalog, name).any(|r| {
                    let linked = r.link.as_ref().is_some_and(|l| links_column(l, column));
                    linked || r.sweep_exempt.contains_key(column)
                })
        };
        let left = personal_columns(table);
        let left: Vec<String> = left
            .filter(|(column, _)| !known(column))
            .map(|(column, says)| format!("{column} ({says})"))
            .collect();
        if !left.is_empty() {
            found.push(
                Diagnostic::warning(
                    "E0252",
                    format!(
                        "{}.{name} is anonymized, and what its rows keep looks personal: {}",
                        catalog.system,
                        left.join(", ")
                    ),
                    "name each column in set; if one is nobody's, name it in sweep_exempt with the reason",
                )
                .at(&policy.source, first.span.clone()),
            );
        }
    }
    found
}

fn personal_columns(table: &Table) -> impl Iterator<Item = (&str, &'static str)> {
    let columns = table.columns.iter().filter(|c| !c.generated);
    columns.filter_map(|column| {
        let personal = by_name(&column.name).filter(|p| p.is_strong())?;
        Some((column.name.as_str(), personal.says()))
    })
}
