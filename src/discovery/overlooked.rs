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
use crate::policy::{Action, Cover, Extent, Policy, Span, TableRule};
use std::collections::{BTreeMap, BTreeSet};

/// Warnings on one policy: tables that name the person and that no rule speaks of, lists of ids in
/// a text, and columns that look personal of tables that are anonymized, or kept whole under a legal
/// basis, and are not set.
pub fn overlooked(policy: &Policy, catalogs: &BTreeMap<String, Catalog>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    if let Some(catalog) = catalogs.get(&policy.root.0.system) {
        found.extend(unlinked(policy, catalog));
        found.extend(lists(policy, catalog));
    }
    for catalog in catalogs.values() {
        found.extend(not_set(policy, catalog));
        found.extend(kept_whole(policy, catalog));
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
        .filter(|c| c.exact && !is_decided(policy, catalog, &c.table, &c.column));
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

/// Whether a rule speaks of the table, or of one that it inherits from and has the column from: the
/// statements for that one meet its rows too.
fn is_decided(policy: &Policy, catalog: &Catalog, table: &TableName, column: &str) -> bool {
    let ruled = |table: &TableName| rules(policy, catalog, table).next().is_some();
    let has_it = |above: &&TableName| {
        let facts = catalog.tables.get(*above);
        facts.is_some_and(|t| t.column(column).is_some())
    };
    let mut above = catalog.tables[table].heir_of.iter().filter(has_it);
    ruled(table) || above.any(ruled)
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
                format!(
                    "make it an array (link = {{ elements = … }}) or a table with a row for each; if it is none, {}",
                    left_alone(policy, catalog, table, &c.name)
                ),
            )
            .at(&policy.source, policy.root.1.clone())
        })
        .collect()
}

/// How to say that a column is to be left alone. A table without a rule needs a link for one, since
/// nothing else leads there (`E0219`); of a rule that only exempts, any will do.
fn left_alone(policy: &Policy, catalog: &Catalog, table: &TableName, column: &str) -> String {
    if rules(policy, catalog, table).next().is_some() {
        return format!("add sweep_exempt = {{ {column:?} = … }} to its rule, with the reason");
    }
    let root = catalog.tables.get(&policy.root.0.table);
    let in_text = |of: &str| {
        root.and_then(|r| r.column(of))
            .is_some_and(|c| c.category == 'S')
    };
    let texts = policy
        .identifiers
        .iter()
        .filter(|(_, i)| in_text(&i.column));
    let to = match texts.map(|(name, _)| name).next() {
        Some(name) => format!("identifier = {name:?}"),
        None => format!("to = {:?}", policy.root.0.to_string()),
    };
    format!(
        "add a [[table]] with name = {:?}, link = {{ columns = [{column:?}], {to} }}, action = \"exempt\" and a reason",
        format!("{}.{table}", catalog.system)
    )
}

/// Columns of tables whose rows stay without the person, and that look as if they still said who
/// it was.
fn not_set(policy: &Policy, catalog: &Catalog) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for (name, table) in &catalog.tables {
        let kept: Vec<_> = policy
            .scopes
            .iter()
            .filter_map(|(scope, s)| kept_under(policy, (scope, &s.extent), catalog, name))
            .collect();
        let Some((span, _)) = kept.first() else {
            continue;
        };
        let left = personal_columns(table);
        let left: Vec<String> = left
            .filter(|(column, _)| kept.iter().any(|(_, named)| !named.contains(*column)))
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
                .at(&policy.source, span.clone()),
            );
        }
    }
    found
}

/// Rows that a legal basis keeps whole: it covers named fields, and the rest of the row goes now.
fn kept_whole(policy: &Policy, catalog: &Catalog) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for rule in policy
        .tables
        .iter()
        .filter(|r| r.table.system == catalog.system)
    {
        let Action::Retain(retain) = &rule.action else {
            continue;
        };
        let (Some(basis), Some(table)) = (
            policy.bases.get(&retain.because),
            catalog.tables.get(&rule.table.table),
        ) else {
            continue;
        };
        let spoken_of = |column: &str| {
            let linked = rule.link.as_ref().is_some_and(|l| links_column(l, column));
            linked || rule.sweep_exempt.contains_key(column)
        };
        let left: Vec<String> = personal_columns(table)
            .filter(|(column, _)| !spoken_of(column))
            .map(|(column, says)| format!("{column} ({says})"))
            .collect();
        if retain.set.is_empty() && !left.is_empty() {
            found.push(
                Diagnostic::warning(
                    "E0126",
                    format!(
                        "{} is kept whole under {}, which covers {}; a basis covers named columns, not the customer: {}",
                        rule.table,
                        retain.because,
                        basis.covers_en,
                        left.join(", ")
                    ),
                    "take away now what it does not cover: set = { … }; name what it does cover in sweep_exempt, with the reason",
                )
                .at(&policy.source, rule.span.clone()),
            );
        }
    }
    found
}

/// If a scope leaves rows of the table without the person: the rule that does, and the columns of
/// which some rule says something. What a scope does not cover is meant to stay, and so is what a
/// rule for some narrow scopes does not set.
fn kept_under(
    policy: &Policy,
    (scope, extent): (&str, &Extent),
    catalog: &Catalog,
    table: &TableName,
) -> Option<(Span, BTreeSet<String>)> {
    let under = policy.under(scope);
    let anonymizes = rules(&under, catalog, table).filter_map(|r| match &r.action {
        Action::Anonymize { set } => Some((r, set)),
        _ => None,
    });
    let whole = |rule: &TableRule| {
        extent.is_all() || rule.scopes.is_empty() && matches!(extent.of(&rule.table), Cover::Whole)
    };
    let anonymizes: Vec<_> = anonymizes.filter(|(r, _)| whole(r)).collect();
    let (first, _) = anonymizes.first()?;
    let set = anonymizes.iter().flat_map(|(_, set)| set.keys());
    let spoken_of = table_columns(catalog, table).filter(|column| {
        rules(policy, catalog, table).any(|r| {
            let linked = r.link.as_ref().is_some_and(|l| links_column(l, column));
            linked || r.sweep_exempt.contains_key(*column)
        })
    });
    let named = set.cloned().chain(spoken_of.map(String::from)).collect();
    Some((first.span.clone(), named))
}

fn table_columns<'c>(catalog: &'c Catalog, table: &TableName) -> impl Iterator<Item = &'c str> {
    let columns = catalog.tables.get(table).map_or(&[][..], |t| &t.columns);
    columns.iter().map(|c| c.name.as_str())
}

fn personal_columns(table: &Table) -> impl Iterator<Item = (&str, &'static str)> {
    let columns = table.columns.iter().filter(|c| !c.generated);
    columns.filter_map(|column| {
        let personal = by_name(&column.name).filter(|p| p.is_strong())?;
        Some((column.name.as_str(), personal.says()))
    })
}
