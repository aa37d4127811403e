//! By what people are named: suggestions from the columns of the root table.

use super::names::plain;
use super::personal::{Personal, by_name};
use super::{Looks, Observed, Request};
use crate::catalog::{Catalog, Column, Table};
use crate::policy::{Draft, IdentifierKind};

/// One `[identifier.NAME]`.
#[derive(Clone, Debug)]
pub(super) struct Identifier {
    pub(super) name: String,
    pub(super) column: String,
    pub(super) kind: IdentifierKind,
    pub(super) find: bool,
    pub(super) residual: bool,
    pub(super) why: &'static str,
}

/// What a policy declares already.
pub(super) fn declared(draft: &Draft) -> Vec<Identifier> {
    let declared = draft.so_far().identifiers.iter();
    declared
        .map(|(name, i)| Identifier {
            name: name.clone(),
            column: i.column.clone(),
            kind: i.kind.clone(),
            find: i.find,
            residual: i.residual,
            why: "",
        })
        .collect()
}

/// Suggestions, at least one of which finds a person.
pub(super) fn suggested(
    catalog: &Catalog,
    request: &Request,
    observed: Option<&Observed>,
) -> Vec<Identifier> {
    let Some(root) = catalog.tables.get(&request.root) else {
        return Vec::new();
    };
    let mut found: Vec<Identifier> = Vec::new();
    for column in &root.columns {
        if let Some((kind, find, residual, why)) = one(root, column, request, observed) {
            found.push(Identifier {
                name: free_name(&found, column, &kind),
                column: column.name.clone(),
                kind,
                find,
                residual,
                why,
            });
        }
    }
    if !found.iter().any(|i| i.find)
        && let Some(column) = root.row_key().first()
    {
        found.insert(
            0,
            Identifier {
                name: plain(column).unwrap_or_else(|| "key".into()),
                column: column.clone(),
                kind: IdentifierKind::Plain,
                find: true,
                residual: false,
                why: "nothing else tells one person from another: see how people will be named",
            },
        );
    }
    found
}

type Suggestion = (IdentifierKind, bool, bool, &'static str);

fn one(
    root: &Table,
    column: &Column,
    request: &Request,
    observed: Option<&Observed>,
) -> Option<Suggestion> {
    if column.category != 'S' {
        return None;
    }
    let place = (request.root.clone(), column.name.clone());
    let looks = observed
        .and_then(|o| o.contents.get(&place))
        .map(|c| c.looks);
    let phone = || IdentifierKind::Phone {
        region: request.region.clone(),
    };
    let unique = root.unique.iter().any(|set| *set == [column.name.clone()]);
    match (by_name(&column.name), looks) {
        (Some(Personal::Email), _) | (None, Some(Looks::Email)) => {
            Some((IdentifierKind::Email, true, true, ""))
        }
        (Some(Personal::Phone), _) | (None, Some(Looks::Phone)) => Some((phone(), true, true, "")),
        (Some(Personal::Secret), _) => None,
        _ if unique => Some((
            IdentifierKind::Plain,
            true,
            true,
            "unique. If its values are short or plain words, residual = false",
        )),
        (Some(Personal::Name | Personal::PerhapsName), _) if is_whole_name(&column.name) => Some((
            IdentifierKind::Name,
            false,
            false,
            "many people share a name: it neither finds one person nor can be searched for alone",
        )),
        _ => None,
    }
}

fn is_whole_name(column: &str) -> bool {
    let whole = [
        "full_name",
        "fullname",
        "name",
        "customer_name",
        "user_name",
        "shimei",
        "simei",
    ];
    let said = super::names::words(column).join("_");
    whole.contains(&said.as_str()) || column.contains("氏名") || column.contains("姓名")
}

fn free_name(taken: &[Identifier], column: &Column, kind: &IdentifierKind) -> String {
    let name = plain(&column.name).unwrap_or_else(|| {
        match kind {
            IdentifierKind::Plain => "number",
            IdentifierKind::Email => "email",
            IdentifierKind::Phone { .. } => "phone",
            IdentifierKind::Name => "name",
        }
        .to_owned()
    });
    let is_free = |name: &str| taken.iter().all(|i| i.name != name);
    if is_free(&name) {
        return name;
    }
    let stem: String = name.chars().take(50).collect();
    (2..)
        .map(|n| format!("{stem}_{n}"))
        .find(|name| is_free(name))
        .unwrap_or(name)
}
