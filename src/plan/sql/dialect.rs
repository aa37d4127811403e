//! The same sentences in the SQL of whoever is spoken to.

use super::capture::{self, KnownRows};
use super::change::{self, Deletes, Set};
use super::{ParentRows, covered, hold_definitions, mariadb, probe};
use crate::anonymize::Known;
use crate::catalog::{Dialect, Table};
use crate::lineage::Edge;
use crate::name::TableName;
use crate::plan::{
    CapturedColumn, HeldRows, Retained, RowKey, RowSet, Rows, Statement, SystemPlan,
};

impl Dialect {
    /// Finds rows by one edge; see [`capture::capture`].
    #[allow(clippy::too_many_arguments)] // each is one part of the sentence
    pub(in crate::plan) fn capture(
        self,
        table: &TableName,
        facts: &Table,
        edge: &Edge,
        columns: &[CapturedColumn],
        texts: &[String],
        retained: Option<&Retained>,
        parent: Option<&ParentRows<'_>>,
        leaving: Option<&KnownRows<'_>>,
        utf8: bool,
    ) -> Statement {
        match self {
            Self::Postgres => capture::capture(
                table, facts, edge, columns, texts, retained, parent, leaving, utf8,
            ),
            Self::MariaDb => mariadb::capture(table, facts, edge, columns, texts, retained, parent),
        }
    }

    /// The keys of subjects that have no row, as if they were captured.
    pub(in crate::plan) fn capture_by_key_alone(
        self,
        table: &TableName,
        columns: &[CapturedColumn],
        key_width: usize,
    ) -> Statement {
        match self {
            Self::Postgres => capture::capture_by_key_alone(table, columns, key_width),
            Self::MariaDb => mariadb::capture_by_key_alone(table, columns, key_width),
        }
    }

    /// Rows are locked in the order of their key, so that two batches never wait for each other.
    pub(in crate::plan) fn lock_rows(self, key: &RowKey, untouched: bool) -> String {
        match (self, key) {
            (Self::MariaDb, RowKey::Columns(columns)) => mariadb::lock_rows(columns, untouched),
            _ => capture::lock_rows(key, untouched),
        }
    }

    /// Deletes captured rows by their keys.
    pub(in crate::plan) fn delete_by_key(self, tables: &[Deletes<'_>]) -> Statement {
        match (self, tables) {
            (Self::MariaDb, [(table, key, columns, rows)]) => {
                mariadb::delete_by_key(table, &columns[..width(key)], *rows)
            }
            _ => change::delete_by_key(tables),
        }
    }

    /// Sets columns of captured rows, and the probe of them; see [`change::update_by_key`].
    #[allow(clippy::too_many_arguments)] // each is one part of the sentence
    pub(in crate::plan) fn update_by_key(
        self,
        table: &TableName,
        facts: &Table,
        key: &RowKey,
        columns: &[CapturedColumn],
        rows: Rows,
        set: &Set,
        known: &[Known],
        stay: bool,
    ) -> (Statement, Statement) {
        match self {
            Self::Postgres => {
                change::update_by_key(table, facts, key, columns, rows, set, known, stay)
            }
            Self::MariaDb => {
                mariadb::update_by_key(table, facts, width(key), columns, rows, set, known, stay)
            }
        }
    }

    /// Counts captured rows that are there.
    pub(in crate::plan) fn count_by_key(
        self,
        table: &TableName,
        key: &RowKey,
        columns: &[CapturedColumn],
        rows: Rows,
    ) -> Statement {
        match self {
            Self::Postgres => probe::count_by_key(table, key, columns, rows),
            Self::MariaDb => mariadb::count_by_key(table, &columns[..width(key)], rows),
        }
    }

    /// Counts rows that an edge reaches and that are none of `known`.
    pub(in crate::plan) fn strangers_by_edge(
        self,
        table: &TableName,
        facts: &Table,
        edge: &Edge,
        parent: Option<&ParentRows<'_>>,
        known: Option<KnownRows<'_>>,
        utf8: bool,
    ) -> Statement {
        match self {
            Self::Postgres => probe::strangers_by_edge(table, facts, edge, parent, known, utf8),
            Self::MariaDb => mariadb::strangers_by_edge(table, facts, edge, parent, known),
        }
    }

    /// No definition of the tables that change does so itself until the transaction ends, and of
    /// MariaDB's none that is read.
    pub(in crate::plan) fn hold_definitions<'a>(
        self,
        changes: impl Iterator<Item = (&'a TableName, Option<&'a str>)>,
        sets: &'a [RowSet],
    ) -> String {
        match self {
            Self::Postgres => hold_definitions(changes),
            Self::MariaDb => mariadb::hold_definitions(sets.iter().map(|set| &set.table)),
        }
    }

    /// For each change of the held table: the ordinals of the tickets that reach covered rows by it.
    pub(in crate::plan) fn covered(
        self,
        part: &SystemPlan,
        held: &HeldRows,
        only: Option<&TableName>,
    ) -> Vec<Statement> {
        if self == Self::Postgres {
            return covered(part, held, only);
        }
        let changes = part.changes.iter().flat_map(|change| change.captured());
        let here = changes.filter(|(table, _)| **table == held.table);
        here.map(|(_, rows)| {
            let set = &part.sets[rows.set];
            mariadb::covered(&set.columns[..set.key_width], rows, held)
        })
        .collect()
    }
}

/// Rows of MariaDB's are known by columns alone.
fn width(key: &RowKey) -> usize {
    match key {
        RowKey::Columns(columns) => columns.len(),
        RowKey::Place | RowKey::PartitionAndPlace => 0,
    }
}
