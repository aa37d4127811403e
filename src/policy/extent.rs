//! What a scope covers, and what of a policy is in force under it.

use super::{Action, PlaceName, Policy, Span, TableRule};
use crate::name::QualifiedTable;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// What a scope covers.
#[derive(Clone, Debug)]
pub enum Extent {
    /// Whatever the subject reaches.
    All,
    /// Only what is listed.
    Listed(Listed),
}

/// Tables and columns, by themselves and by category.
#[derive(Clone, Debug, Default)]
pub struct Listed {
    /// Tables whose rows are dealt with as their rules say, and where the file names them.
    pub tables: BTreeMap<QualifiedTable, Span>,
    /// Tables whose rows stay and lose what stands in these columns; never one of `tables`.
    pub columns: BTreeMap<QualifiedTable, BTreeMap<String, Span>>,
    /// Places, and where the file names them.
    pub places: BTreeMap<PlaceName, Span>,
    /// The categories that brought some of them.
    pub categories: Vec<String>,
}

/// What an extent covers of one table.
#[derive(Clone, Copy, Debug)]
pub enum Cover<'a> {
    /// Its rows.
    Whole,
    /// Columns of them.
    Columns(&'a BTreeMap<String, Span>),
    /// Nothing.
    Nothing,
}

/// A [`Listed`] in words, for plans and certificates.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Covers {
    /// Names of the policy's categories.
    pub categories: Vec<String>,
    /// `system.schema.table`, and of a place `system.name`.
    pub tables: Vec<String>,
    /// `system.schema.table.column`.
    pub columns: Vec<String>,
}

impl Cover<'_> {
    /// Whether nothing is covered.
    pub fn is_nothing(self) -> bool {
        matches!(self, Self::Nothing)
    }
}

impl Extent {
    /// Whether it is the whole subject.
    pub fn is_all(&self) -> bool {
        matches!(self, Self::All)
    }

    /// What it covers of a table.
    pub fn of(&self, table: &QualifiedTable) -> Cover<'_> {
        match self {
            Self::All => Cover::Whole,
            Self::Listed(listed) if listed.tables.contains_key(table) => Cover::Whole,
            Self::Listed(listed) => match listed.columns.get(table) {
                Some(columns) => Cover::Columns(columns),
                None => Cover::Nothing,
            },
        }
    }

    /// Whether it covers a place.
    pub fn has_place(&self, place: &PlaceName) -> bool {
        match self {
            Self::All => true,
            Self::Listed(listed) => listed.places.contains_key(place),
        }
    }

    /// In words; `None` for the whole subject.
    pub fn covers(&self) -> Option<Covers> {
        let Self::Listed(listed) = self else {
            return None;
        };
        let columns = listed.columns.iter().flat_map(|(table, columns)| {
            let columns = columns.keys();
            columns.map(|column| table.column(column))
        });
        let tables = listed.tables.keys().map(ToString::to_string);
        let places = listed.places.keys().map(ToString::to_string);
        Some(Covers {
            categories: listed.categories.clone(),
            tables: tables.chain(places).collect(),
            columns: columns.collect(),
        })
    }
}

impl Policy {
    /// The policy as it is in force under a scope: a rule that names the scope stands before one for
    /// the same rows that names none, and one that names other scopes alone is not there. Of a table
    /// of which the scope covers columns the rows stay, and the rules set these columns only.
    ///
    /// Doing it again changes nothing.
    pub fn under(&self, scope: &str) -> Cow<'_, Self> {
        let Some(extent) = self.scopes.get(scope).map(|s| &s.extent) else {
            return Cow::Borrowed(self);
        };
        let by_columns = matches!(extent, Extent::Listed(listed) if !listed.columns.is_empty());
        if !by_columns && self.tables.iter().all(|rule| rule.scopes.is_empty()) {
            return Cow::Borrowed(self);
        }
        let mut policy = self.clone();
        policy.tables.retain(|rule| self.is_in_force(rule, scope));
        for rule in &mut policy.tables {
            if let Cover::Columns(columns) = extent.of(&rule.table) {
                rule.keep_to(columns);
            }
        }
        Cow::Owned(policy)
    }

    /// The policy with a scope that covers these tables no more, as if it listed all the others that
    /// have a rule in force under it.
    pub fn without(&self, scope: &str, tables: &BTreeSet<QualifiedTable>) -> Self {
        let in_force = self.under(scope);
        let mut policy = self.clone();
        let Some(scope) = policy.scopes.get_mut(scope) else {
            return policy;
        };
        let mut listed = match &scope.extent {
            Extent::Listed(listed) => listed.clone(),
            Extent::All => Listed {
                tables: (in_force.tables.iter())
                    .map(|rule| (rule.table.clone(), rule.span.clone()))
                    .collect(),
                places: (self.places.iter())
                    .map(|place| (place.name.clone(), place.span.clone()))
                    .collect(),
                ..Listed::default()
            },
        };
        listed.tables.retain(|table, _| !tables.contains(table));
        listed.columns.retain(|table, _| !tables.contains(table));
        scope.extent = Extent::Listed(listed);
        policy
    }

    fn is_in_force(&self, rule: &TableRule, scope: &str) -> bool {
        if !rule.scopes.is_empty() {
            return rule.is_for(scope);
        }
        let mut others = self.tables.iter();
        !others.any(|other| other.is_for(scope) && other.speaks_of_the_rows_of(rule))
    }
}

impl TableRule {
    /// Whether the rule names this scope.
    pub fn is_for(&self, scope: &str) -> bool {
        self.scopes.iter().any(|(named, _)| named == scope)
    }

    /// Whether both speak of one table reached in one way.
    fn speaks_of_the_rows_of(&self, other: &Self) -> bool {
        let via = |rule: &Self| rule.via.as_ref().map(|(name, _)| name.clone());
        let link = |rule: &Self| {
            let link = rule.link.as_ref();
            link.map(|l| (l.from.clone(), l.to.clone(), l.when.clone()))
        };
        self.table == other.table && via(self) == via(other) && link(self) == link(other)
    }

    /// What is set stays with these columns. A row that the law keeps is kept by being left alone:
    /// what its rule cleans of it, the law does not need.
    fn keep_to(&mut self, columns: &BTreeMap<String, Span>) {
        let set = match &mut self.action {
            Action::Anonymize { set } => set,
            Action::Retain(retain) => &mut retain.set,
            _ => return,
        };
        let mut set = std::mem::take(set);
        set.retain(|column, _| columns.contains_key(column));
        self.action = Action::Anonymize { set };
    }
}
