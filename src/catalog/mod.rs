//! One database's catalog as a value: what lineage and plan need to know of it, and no more.
//!
//! Partitions are not tables of their own here: a partitioned table stands for all of them, as
//! it does in SQL.

mod mariadb;

pub use mariadb::MariaDbType;

use crate::name::TableName;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The catalog of one PostgreSQL database, or of one MariaDB server, as its daemon role sees it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Catalog {
    /// The registered system's name.
    pub system: String,
    /// Whose server it is.
    #[serde(default, skip_serializing_if = "Dialect::is_postgres")]
    pub dialect: Dialect,
    /// `server_version_num`, such as 150018.
    pub server_version: i32,
    /// Whether the database is encoded in UTF-8; `normalize()` needs it.
    pub utf8: bool,
    /// Every table, view and foreign table outside the system schemas.
    pub tables: BTreeMap<TableName, Table>,
    /// Every foreign key, children of partitions left out.
    pub foreign_keys: Vec<ForeignKey>,
    /// There are large objects that this role may not remove, being somebody else's.
    #[serde(skip)]
    pub objects_of_others: bool,
    /// The server can keep a transaction ready, to be committed with others' (`max_prepared_transactions`).
    #[serde(skip)]
    pub prepares: bool,
}

/// In whose SQL a system is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Dialect {
    /// PostgreSQL's.
    #[default]
    Postgres,
    /// MariaDB's.
    MariaDb,
}

impl Dialect {
    /// Whether it is PostgreSQL's.
    pub fn is_postgres(&self) -> bool {
        *self == Self::Postgres
    }
}

/// What kind of relation a [`Table`] is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TableKind {
    /// An ordinary table.
    #[default]
    Ordinary,
    /// A partitioned table, standing for its partitions.
    Partitioned,
    /// A view.
    View,
    /// A materialized view.
    MaterializedView,
    /// A foreign table.
    Foreign,
    /// A table of MariaDB's that keeps what its rows were.
    Versioned,
}

/// One table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// What it is.
    pub kind: TableKind,
    /// In order of attribute number, dropped ones left out.
    pub columns: Vec<Column>,
    /// Columns of the primary key, in its order; empty without one.
    pub primary_key: Vec<String>,
    /// Column sets with a full (not partial, not expression) unique index, the key included.
    pub unique: Vec<Vec<String>>,
    /// Leading columns of every valid, full btree or hash index.
    pub indexes: Vec<Vec<String>>,
    /// Constraint name, columns concerned and expression of every CHECK.
    pub checks: Vec<Check>,
    /// Triggers that people made, enabled ones.
    pub triggers: Vec<Trigger>,
    /// Partitioned by ranges of these columns; empty if it is not, or in another way. Changes nothing in a plan.
    #[serde(skip)]
    pub ranges_of: Vec<String>,
    /// Other tables inherit from it (not as partitions): its rows are theirs too.
    pub has_heirs: bool,
    /// The tables that it inherits from, at any height: a statement on one of them meets its rows
    /// too. They change nothing in a plan.
    #[serde(skip)]
    pub heir_of: Vec<TableName>,
    /// Has rewrite rules that change what DELETE or UPDATE do.
    pub rewrites: bool,
    /// The access method by which it, or a part of it, is stored, if not PostgreSQL's own heap.
    pub storage: Option<String>,
    /// Materialized views made from it, over any number of views; they change nothing in a plan.
    #[serde(skip)]
    pub copied_into: Vec<TableName>,
    /// What else must hold before rows may go.
    #[serde(skip)]
    pub access: Access,
    /// Planner's estimate of rows and the size on disk in bytes.
    #[serde(skip)]
    pub size: (f32, i64),
}

/// What the daemon's own role may do and see; no part of the fingerprint.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Access {
    /// Row-level security would hide rows from this role.
    pub rows_hidden: bool,
    /// May SELECT.
    pub select: bool,
    /// May UPDATE.
    pub update: bool,
    /// May DELETE.
    pub delete: bool,
    /// Has the rights of its owner.
    pub owner: bool,
    /// May INSERT, as a trigger's function does in this role's name.
    pub insert: bool,
    /// Published for DELETE without a replica identity that serves: the server would refuse.
    pub delete_unpublishable: bool,
    /// Published for UPDATE without one.
    pub update_unpublishable: bool,
}

/// One column.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type as SQL that reads the same under any search_path.
    pub sql_type: String,
    /// Bare name of the base type, domains looked through: `int8`, `text`, `jsonb`.
    pub base: String,
    /// `pg_type.typcategory` of the base type: `S` string, `N` number, `D` date, `A` array.
    pub category: char,
    /// For varchar(n) and char(n).
    pub max_chars: Option<i32>,
    /// NOT NULL, by the column or its domain.
    pub not_null: bool,
    /// Computed by the database: cannot be set.
    pub generated: bool,
    /// The database gives it a value of its own whenever its row is changed (ON UPDATE).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub touched: bool,
    /// The daemon's role may not set it; no part of the fingerprint.
    #[serde(skip)]
    pub denied: bool,
    /// Of an enumeration its labels, in its order. They change nothing in a plan.
    #[serde(skip)]
    pub labels: Vec<String>,
}

/// A CHECK constraint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Its name.
    pub name: String,
    /// The columns that it reads.
    pub columns: Vec<String>,
    /// Its expression as SQL.
    pub expression: String,
}

/// A trigger that is not the database's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trigger {
    /// Its name.
    pub name: String,
    /// Fires on DELETE.
    pub on_delete: bool,
    /// Fires on UPDATE.
    pub on_update: bool,
    /// BEFORE or INSTEAD OF each row: may make the row stay.
    pub may_veto: bool,
    /// The function runs with its owner's rights, not with those of who fires it.
    pub definer: bool,
    /// Its WHEN passes over the login that read this: it does not fire for the daemon.
    #[serde(default)]
    pub spares: bool,
    /// Schema-qualified function.
    pub function: String,
    /// Source of the function, where its language has one.
    pub body: String,
}

/// What the database does to the referring row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnDelete {
    /// Refuses at the end of the statement or transaction.
    #[default]
    NoAction,
    /// Refuses at once.
    Restrict,
    /// Takes the row along.
    Cascade,
    /// Empties the columns.
    SetNull,
    /// Fills in the defaults.
    SetDefault,
}

/// One foreign key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignKey {
    /// Constraint name.
    pub name: String,
    /// The referring table and its columns.
    pub child: (TableName, Vec<String>),
    /// The table referred to and its columns, in the same order.
    pub parent: (TableName, Vec<String>),
    /// One equality operator a column, `parent op child`, such as `OPERATOR(pg_catalog.=)`.
    pub equality: Vec<String>,
    /// What DELETE of the parent row does.
    pub on_delete: OnDelete,
    /// The columns that ON DELETE SET NULL or SET DEFAULT names; empty if it means all of them.
    pub sets: Vec<String>,
    /// MATCH FULL: its columns are NULL all together, or none is.
    pub match_full: bool,
    /// Validated, and none of its triggers is switched off: the database really holds it.
    pub enforced: bool,
}

impl Catalog {
    /// The foreign keys that refer to `parent`.
    pub fn referring_to<'a>(
        &'a self,
        parent: &'a TableName,
    ) -> impl Iterator<Item = &'a ForeignKey> {
        self.foreign_keys
            .iter()
            .filter(move |k| k.parent.0 == *parent)
    }
}

impl Column {
    /// Whether it may hold numbers of large objects: by its type nobody can tell them from others.
    pub fn may_be_large_object(&self) -> bool {
        self.base == "oid"
    }
}

impl ForeignKey {
    /// The columns that say whom the row refers to: where the key itself names those that ON DELETE
    /// empties, the others (a tenant) are the row's own.
    pub fn link(&self) -> &[String] {
        match self.on_delete {
            OnDelete::SetNull if !self.sets.is_empty() => &self.sets,
            _ => &self.child.1,
        }
    }
}

impl Table {
    /// The column of that name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|c| c.name == name)
    }

    /// Whether an index finds rows by these columns: they lead it, in any order, with none but
    /// columns held to a constant between them.
    pub fn indexed(&self, columns: &[String], constant: &[(String, String)]) -> bool {
        self.indexes.iter().any(|index| {
            let usable = |c: &&String| columns.contains(c) || constant.iter().any(|(k, _)| k == *c);
            let leading: Vec<&String> = index.iter().take_while(usable).collect();
            columns.iter().all(|c| leading.contains(&c))
        })
    }

    /// The columns by which one row is told from all others: the primary key, else a unique key
    /// whose columns are all NOT NULL, else none (then only the row's place will do).
    pub fn row_key(&self) -> &[String] {
        if !self.primary_key.is_empty() {
            return &self.primary_key;
        }
        self.unique
            .iter()
            .find(|set| {
                set.iter()
                    .all(|c| self.column(c).is_some_and(|c| c.not_null))
            })
            .map_or(&[], Vec::as_slice)
    }
}
