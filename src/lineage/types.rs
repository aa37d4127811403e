//! The values that lineage is made of.

use super::still::Still;
use crate::catalog::{Catalog, Dialect, ForeignKey, Table};
use crate::name::TableName;
use crate::policy::condition::Condition;
use crate::policy::retention::Cutoff;
use crate::policy::{IdentifierKind, Level};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Label of the edge by which a ticket enters at its own row.
pub const SUBJECT: &str = "subject";

/// How one scope of one policy reaches into its systems.
#[derive(Clone, Debug)]
pub struct Lineage {
    /// The policy's file.
    pub policy_file: String,
    /// And its content.
    pub policy_sha256: String,
    /// Subject kind.
    pub subject: String,
    /// Scope.
    pub scope: String,
    /// What the scope asks of the identity check.
    pub required_level: Level,
    /// And of the approval.
    pub four_eyes: bool,
    /// In the order in which they are erased: the root's system last.
    pub systems: Vec<SystemLineage>,
}

/// The part in one system.
#[derive(Clone, Debug)]
pub struct SystemLineage {
    /// The registered name.
    pub system: String,
    /// Whose server it is.
    pub dialect: Dialect,
    /// Whether the database is encoded in UTF-8.
    pub utf8: bool,
    /// Parents before children; those of a ring one after the other.
    pub tables: Vec<Reached>,
    /// Tables that refer to each other, so that none of them is before the others.
    pub rings: Vec<Vec<TableName>>,
    /// Where numbers of large objects may stand in this database, whoever's; empty if the policy
    /// names no large objects here.
    pub object_columns: Vec<ObjectColumn>,
    /// Hash of all the definitions that this lineage rests on.
    pub fingerprint: String,
    /// Where each table stands in `tables`.
    places: BTreeMap<TableName, usize>,
}

impl SystemLineage {
    pub(super) fn new(
        catalog: &Catalog,
        tables: Vec<Reached>,
        rings: Vec<Vec<TableName>>,
        object_columns: Vec<ObjectColumn>,
        fingerprint: String,
    ) -> Self {
        Self {
            system: catalog.system.clone(),
            dialect: catalog.dialect,
            utf8: catalog.utf8,
            rings,
            object_columns,
            fingerprint,
            places: places(&tables),
            tables,
        }
    }

    /// The same system with other tables.
    pub(super) fn with(&self, tables: Vec<Reached>) -> Self {
        Self {
            system: self.system.clone(),
            dialect: self.dialect,
            utf8: self.utf8,
            rings: self.rings.clone(),
            object_columns: self.object_columns.clone(),
            fingerprint: self.fingerprint.clone(),
            places: places(&tables),
            tables,
        }
    }

    /// Where a table stands in the order, if the subject reaches it.
    pub fn place(&self, table: &TableName) -> Option<usize> {
        self.places.get(table).copied()
    }

    /// A table, if the subject reaches it.
    pub fn table(&self, table: &TableName) -> Option<&Reached> {
        self.place(table).map(|at| &self.tables[at])
    }

    /// Whether each of two tables refers to the other, over any number of others; a table does not
    /// stand in a ring with itself alone.
    pub fn are_in_a_ring(&self, a: &TableName, b: &TableName) -> bool {
        let mut rings = self.rings.iter();
        rings.any(|ring| ring.contains(a) && ring.contains(b))
    }
}

/// A column of type `oid`, or of a domain over it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectColumn {
    /// Its table.
    pub table: TableName,
    /// The column.
    pub column: String,
    /// Whether the table is partitioned.
    pub partitioned: bool,
}

fn places(tables: &[Reached]) -> BTreeMap<TableName, usize> {
    let names = tables.iter().map(|t| t.table.clone());
    names.zip(0..).collect()
}

/// A table that the subject reaches.
#[derive(Clone, Debug)]
pub struct Reached {
    /// The table.
    pub table: TableName,
    /// Its definition.
    pub facts: Table,
    /// Every way by which its rows belong to the subject.
    pub edges: Vec<Edge>,
}

/// One way by which rows belong to the subject.
#[derive(Clone, Debug)]
pub struct Edge {
    /// For people: the constraint's name, or what kind of link.
    pub label: String,
    /// From where.
    pub parent: Parent,
    /// By which equality.
    pub join: Join,
    /// Further columns that must hold a constant.
    pub when: Vec<(String, String)>,
    /// Dates that must be over: where rows go without being asked for.
    pub due: Vec<Due>,
    /// Where rows go without being asked for: what hangs on them and keeps them.
    pub spared_by: Vec<Spares>,
    /// The foreign key, if it is one.
    pub foreign_key: Option<ForeignKey>,
    /// The parent's rows are owners: a row is reached only if none of its owners stays.
    pub shared: bool,
    /// What the policy says of rows reached so.
    pub decision: Decision,
}

/// Columns whose latest day must not be behind a cutoff; a row without any is not due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// What must hold besides: only of such rows the dates are asked at all.
    pub condition: Option<ConditionOf>,
    /// Rows of which the condition is false are not asked for their dates, instead of not being due.
    pub exempts: bool,
    /// Names, and what kind of date each holds.
    pub columns: Vec<(String, DateKind)>,
    /// Dates of rows that hang on the row, which count as well.
    pub linked: Vec<Linked>,
    /// The latest day.
    pub cutoff: Cutoff,
    /// The first instant behind it.
    pub end: DateTime<Utc>,
    /// Of rows that stay: only those not changed yet.
    pub still: Option<Still>,
}

impl Due {
    /// The column that alone says a row's date; `None` where several do, or what hangs on the row.
    pub fn only_column(&self) -> Option<&str> {
        match (self.columns.as_slice(), self.linked.as_slice()) {
            ([(only, _)], []) => Some(only),
            _ => None,
        }
    }
}

/// A date column of rows that hang on a row by a foreign key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Linked {
    /// From the row to them.
    pub step: Step,
    /// The column; a row without a date in it says nothing.
    pub column: String,
    /// Rows of which this is not true say nothing either.
    pub condition: Option<ConditionOf>,
    /// What kind of date it holds.
    pub kind: DateKind,
}

/// From rows to those that hang on them by a foreign key that the database holds: nothing can come to hang
/// on a row that is locked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The table whose rows hang.
    pub table: TableName,
    /// Its columns, those of the table that they hang on, and `parent op child` for each pair.
    pub ties: Vec<(String, String, String)>,
}

/// Rows that keep the row that they hang on as long as their own time is not over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spares {
    /// From the row to them, over what is between.
    pub way: Vec<Step>,
    /// In place of that: they are rows of the same table, below the row at any depth.
    pub below: Option<Below>,
    /// When their time is over. Rows of which a condition here is not true keep nothing.
    pub due: Vec<Due>,
    /// Those without a date keep nothing.
    pub dated_only: bool,
    /// Rows of which this is false are not kept by it.
    pub only: Option<ConditionOf>,
    /// What says so, for people.
    pub by: String,
}

/// Rows of a tree below a row: each keeps it that is not due itself, or is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Below {
    /// The keys by which the table refers to itself.
    pub steps: Vec<Step>,
    /// How one row is told from all others.
    pub key: Vec<String>,
    /// What keeps them.
    pub also: Vec<Spares>,
}

/// A condition that fits its table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionOf {
    /// The policy's.
    pub condition: Condition,
    /// The SQL types as which constants are read, by the columns that they are compared with.
    pub types: BTreeMap<String, String>,
}

/// What a date column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DateKind {
    /// A day.
    Date,
    /// A day and time that are read in the rule's zone.
    Local,
    /// An instant.
    Instant,
}

/// Where an edge starts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Parent {
    /// The ticket itself: this is the root table.
    Subject,
    /// Rows of another table already reached.
    Table(TableName),
    /// An identifier of the subject.
    Identifier {
        /// Its name in the policy.
        name: String,
        /// How it is compared.
        kind: IdentifierKind,
    },
}

/// The equality of an edge.
#[derive(Clone, Debug)]
pub enum Join {
    /// Column by column.
    Columns {
        /// Of the table reached.
        child: Vec<String>,
        /// Of the parent, in the same order.
        parent: Vec<String>,
        /// `parent op child`, for each pair.
        equality: Vec<String>,
    },
    /// The text at a JSON path equals the parent's column as text.
    Json {
        /// Column of the table reached.
        column: String,
        /// From the top.
        path: Vec<String>,
        /// Column of the parent.
        parent: String,
    },
    /// One of the elements of an array column, as text, equals the parent's column as text.
    Elements {
        /// Column of the table reached.
        column: String,
        /// Column of the parent.
        parent: String,
    },
    /// The text at a path of one of the elements of a JSON list equals the parent's column as text.
    JsonElements {
        /// Column of the table reached.
        column: String,
        /// Where the list is, from the top.
        list: Vec<String>,
        /// From the element.
        path: Vec<String>,
        /// Column of the parent.
        parent: String,
    },
    /// One of the keys of a JSON object equals the parent's column as text.
    JsonKeys {
        /// Column of the table reached.
        column: String,
        /// Where the object is, from the top.
        object: Vec<String>,
        /// Column of the parent.
        parent: String,
    },
    /// The column, normalised, equals the subject's identifier.
    Identifier {
        /// Column of the table reached.
        column: String,
    },
}

impl Join {
    /// Whether a row may refer to several parents at once, by the elements of a list or the keys of
    /// an object.
    pub fn is_by_element(&self) -> bool {
        matches!(
            self,
            Self::Elements { .. } | Self::JsonElements { .. } | Self::JsonKeys { .. }
        )
    }
}

/// What happens to rows reached by an edge, and the rule that says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Index into [`crate::policy::Policy::tables`].
    pub rule: usize,
    /// What happens.
    pub fate: Fate,
}

/// A disposition under a given scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// The rows go.
    Delete,
    /// The rows lose the person.
    Anonymize,
    /// The rows lose the link only.
    Detach,
    /// The rows stay until their own date; those past it go.
    Retain,
    /// The rows stay or go with the retained row they hang off.
    RetainWithParent,
    /// Left alone, with a reason.
    Exempt,
    /// Outside the ticket's scope.
    Untouched,
}

impl Fate {
    /// Whether the rows are the subject's own, so that what hangs off them is too.
    pub fn is_followed(self) -> bool {
        !matches!(self, Self::Detach | Self::Exempt)
    }

    /// Whether the rows, or some of them, are removed.
    pub fn may_delete(self) -> bool {
        matches!(self, Self::Delete | Self::Retain | Self::RetainWithParent)
    }
}
