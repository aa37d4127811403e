//! The search for what is left of people on a MariaDB server.
//!
//! Each table is read in the order of its key, some rows at a time, in one snapshot throughout: nothing moves
//! from what is still to be read to what has been. A table without a key is read in one go.

use super::catalog;
use super::connect::Bounds;
use super::quote::identifier;
use super::system::System;
use crate::catalog::{Column, MariaDbType, Table, TableKind};
use crate::name::TableName;
use crate::system::postgres::quote::comment;
use crate::system::postgres::sweep::{Finding, KEYS, Pace, TableRead};
use crate::verify::{FieldKind, Scratch, Seek};
use chrono::{DateTime, Utc};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, Row, Value};
use std::collections::BTreeMap;
use std::num::NonZeroU64;

/// Rows read by one statement.
const ROWS: u64 = 5_000;

/// Engines whose rows lie on this server.
const HERE: [&str; 5] = ["Aria", "MyISAM", "MEMORY", "ARCHIVE", "CSV"];

/// What a sweep is asked to do.
pub struct Sweep<'a> {
    /// Why a column is left unread, if it is.
    pub exempt: &'a (dyn Fn(&TableName, &str) -> Option<String> + Sync),
    /// What is sought.
    pub matcher: &'a dyn Seek,
    /// Bytes a second at most.
    pub pace: Option<NonZeroU64>,
    /// What time it is.
    pub clock: &'a (dyn Fn() -> DateTime<Utc> + Sync),
}

/// A table with columns worth reading.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its name.
    pub table: TableName,
    /// The columns worth reading.
    pub columns: Vec<Column>,
    /// The columns by which one row is told from all others; empty without any.
    pub key: Vec<Column>,
    /// Its size on disk, with its indexes.
    pub bytes: u64,
    /// Tells it from another table that bears its name later: when it was made.
    pub made: u32,
}

impl Target {
    /// The name, and which table bore it when this was listed.
    pub fn identity(&self) -> (TableName, u32) {
        (self.table.clone(), self.made)
    }
}

/// What a sweep can read of a server, and what not, each with the reason.
#[derive(Clone, Debug, Default)]
pub struct Readable {
    /// By name.
    pub targets: Vec<Target>,
    /// By name.
    pub not_covered: Vec<(TableName, String)>,
}

/// Reads from the catalog what a sweep would read: all databases but the server's own and ours.
///
/// # Errors
/// The server's.
pub async fn readable(conn: &mut Conn) -> Result<Readable, Error> {
    let (_, catalog) = catalog::read(conn, "").await?;
    let made: Vec<(String, String, Option<u32>)> = conn
        .query(
            "/* erasured:sweep relations */ SELECT TABLE_SCHEMA, TABLE_NAME, CAST(UNIX_TIMESTAMP(CREATE_TIME) AS UNSIGNED) \
             FROM information_schema.TABLES",
        )
        .await?;
    let made: BTreeMap<TableName, u32> = made
        .into_iter()
        .map(|(schema, table, at)| (TableName::new(schema, table), at.unwrap_or(0)))
        .collect();
    let mut readable = Readable::default();
    for (name, table) in &catalog.tables {
        let columns = worth_reading(table);
        if table.kind == TableKind::View || columns.is_empty() {
            continue;
        }
        if let Some(engine) = &table.storage
            && !HERE.contains(&engine.as_str())
        {
            let reason = format!("stored by {engine}: its data may be in another system");
            readable.not_covered.push((name.clone(), reason));
            continue;
        }
        let key = table.row_key().iter().filter_map(|c| table.column(c));
        let key: Vec<Column> = key.cloned().collect();
        let orderly = |c: &Column| MariaDbType::of(&c.sql_type) != MariaDbType::Other;
        readable.targets.push(Target {
            table: name.clone(),
            columns,
            key: if key.iter().all(orderly) {
                key
            } else {
                Vec::new()
            },
            bytes: table.size.1.max(0).unsigned_abs(),
            made: made.get(name).copied().unwrap_or(0),
        });
        if table.kind == TableKind::Versioned {
            let reason = "system-versioned: what its rows were is not read".to_owned();
            readable.not_covered.push((name.clone(), reason));
        }
    }
    Ok(readable)
}

/// All but numbers, dates and the like.
fn worth_reading(table: &Table) -> Vec<Column> {
    let holds_text = |c: &&Column| !matches!(c.category, 'N' | 'D') && c.base != "uuid";
    let bits = |c: &&Column| !c.sql_type.starts_with("bit") && !c.sql_type.starts_with("inet");
    let columns = table.columns.iter().filter(holds_text).filter(bits);
    columns.cloned().collect()
}

/// Reads a table to its end; `None` if it is not there any more.
///
/// # Errors
/// The server's.
pub async fn read(
    system: &System,
    bounds: Bounds,
    sweep: &Sweep<'_>,
    target: &Target,
) -> Result<Option<(TableRead, Vec<Finding>)>, super::Unread> {
    let away = |e: super::connect::Unreachable| super::Unread {
        problem: e.to_string(),
        transient: true,
    };
    let mut conn = system.connect(bounds).await.map_err(away)?;
    let mut reader = Reader::new(sweep, target);
    let started_at = (sweep.clock)();
    match reader.all(&mut conn).await {
        Ok(()) => {}
        // Under this name nothing is there to be read any more.
        Err(Error::Server(error)) if matches!(error.code, 1049 | 1146) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    conn.disconnect().await.ok();
    let table = &target.table;
    let columns = reader.columns;
    let findings = reader.hits.into_iter().map(|((tag, at), hits)| Finding {
        tag,
        table: table.clone(),
        column: columns[at].name.clone(),
        row_keys: hits.keys,
        rows: hits.rows,
    });
    let findings = findings.collect();
    let read = TableRead {
        table: table.clone(),
        columns: columns.iter().map(|c| c.name.clone()).collect(),
        exempt: reader.exempt,
        rows: reader.rows,
        bytes: reader.bytes,
        started_at,
        finished_at: (sweep.clock)(),
    };
    Ok(Some((read, findings)))
}

/// Rows of one identifier in one column.
#[derive(Default)]
struct Hits {
    rows: u64,
    keys: Vec<String>,
    /// The row that was counted last.
    last: u64,
}

struct Reader<'a> {
    sweep: &'a Sweep<'a>,
    target: &'a Target,
    columns: Vec<&'a Column>,
    exempt: Vec<(String, String)>,
    /// What is selected behind the key, the column that it is of, and how it is read.
    read: Vec<(String, usize, FieldKind)>,
    /// By tag and number of the column.
    hits: BTreeMap<(u32, usize), Hits>,
    rows: u64,
    bytes: u64,
    scratch: Scratch,
}

impl<'a> Reader<'a> {
    fn new(sweep: &'a Sweep<'a>, target: &'a Target) -> Self {
        let (mut columns, mut exempt, mut read) = (Vec::new(), Vec::new(), Vec::new());
        for column in &target.columns {
            if let Some(reason) = (sweep.exempt)(&target.table, &column.name) {
                exempt.push((column.name.clone(), reason));
                continue;
            }
            let at = columns.len();
            columns.push(column);
            let name = format!("t.{}", identifier(&column.name));
            match MariaDbType::of(&column.sql_type) {
                MariaDbType::Text { charset, .. } => {
                    read.push((
                        format!("CONVERT({name} USING utf8mb4)"),
                        at,
                        FieldKind::Text,
                    ));
                    // Old applications keep UTF-8 in columns that are said to be latin1.
                    if !charset.starts_with("utf8") {
                        read.push((format!("CAST({name} AS BINARY)"), at, FieldKind::Bytes));
                    }
                }
                _ => read.push((format!("CAST({name} AS BINARY)"), at, FieldKind::Bytes)),
            }
        }
        Self {
            sweep,
            target,
            columns,
            exempt,
            read,
            hits: BTreeMap::new(),
            rows: 0,
            bytes: 0,
            scratch: Scratch::default(),
        }
    }

    async fn all(&mut self, conn: &mut Conn) -> Result<(), Error> {
        if self.columns.is_empty() {
            return Ok(());
        }
        for begin in [
            "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
            "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
        ] {
            conn.query_drop(begin).await?;
        }
        let mut pace = Pace::new(self.sweep.pace);
        let mut last: Option<Vec<String>> = None;
        loop {
            let (rows, bytes) = (self.rows, self.bytes);
            last = self.some(conn, last.as_deref()).await?;
            pace.passed(self.bytes - bytes).await;
            let full = self.rows - rows == ROWS;
            if self.target.key.is_empty() || !full || last.is_none() {
                return Ok(());
            }
        }
    }

    /// The rows behind a key, looked at as they come; the key of the last of them.
    async fn some(
        &mut self,
        conn: &mut Conn,
        after: Option<&[String]>,
    ) -> Result<Option<Vec<String>>, Error> {
        let (sql, values) = self.statement(after);
        let values: Vec<Value> = values.into_iter().map(Value::from).collect();
        let mut result = conn.exec_iter(sql, values).await?;
        let mut last = None;
        while let Some(row) = result.next().await? {
            last = Some(self.row(row));
        }
        Ok(last)
    }

    fn statement(&self, after: Option<&[String]>) -> (String, Vec<String>) {
        let table = &self.target.table;
        let key = &self.target.key;
        let of = |c: &Column| format!("t.{}", identifier(&c.name));
        let mut read: Vec<String> = key
            .iter()
            .map(|c| match MariaDbType::of(&c.sql_type) {
                MariaDbType::Bytes => format!("HEX({})", of(c)),
                _ => format!("CAST({} AS CHAR CHARACTER SET utf8mb4)", of(c)),
            })
            .collect();
        read.extend(self.read.iter().map(|(sql, ..)| sql.clone()));
        let mut values = Vec::new();
        let mut behind = Vec::new();
        for at in 0..after.map_or(0, <[String]>::len) {
            // Equal in all before this one, greater in this one.
            let mut all = Vec::new();
            for (column, text) in key.iter().zip(after.unwrap_or_default()).take(at + 1) {
                let op = if all.len() == at { ">" } else { "=" };
                all.push(format!("{} {op} {}", of(column), bound(column)));
                values.push(text.clone());
            }
            behind.push(format!("({})", all.join(" AND ")));
        }
        let filter = match behind.is_empty() {
            true => String::new(),
            false => format!(" WHERE {}", behind.join(" OR ")),
        };
        let order: Vec<String> = key.iter().map(of).collect();
        let order = match order.is_empty() {
            true => String::new(),
            false => format!(" ORDER BY {} LIMIT {ROWS}", order.join(", ")),
        };
        let sql = format!(
            "/* erasured:sweep {} */ SELECT {} FROM {}.{} AS t{filter}{order}",
            comment(&table.to_string()),
            read.join(", "),
            identifier(&table.schema),
            identifier(&table.table)
        );
        (sql, values)
    }

    /// Looks at one row; its key.
    fn row(&mut self, row: Row) -> Vec<String> {
        self.rows += 1;
        let mut values = row.unwrap().into_iter();
        let key: Vec<String> = values
            .by_ref()
            .take(self.target.key.len())
            .map(text)
            .collect();
        let (rows, sweep) = (self.rows, self.sweep);
        for ((_, at, kind), value) in self.read.iter().zip(values) {
            let Value::Bytes(image) = value else { continue };
            self.bytes += image.len() as u64;
            let (hits, target) = (&mut self.hits, self.target);
            let mut found = Vec::new();
            sweep
                .matcher
                .scan(&image, kind, &mut self.scratch, &mut |tag| found.push(tag));
            for tag in found {
                let hits = hits.entry((tag, *at)).or_default();
                // One column may be read in two ways.
                if hits.last == rows {
                    continue;
                }
                hits.last = rows;
                hits.rows += 1;
                if hits.keys.len() < KEYS {
                    let shown = shown(target, &key);
                    let says_it = sweep.matcher.finds_any(&shown, &mut self.scratch);
                    hits.keys.push(match says_it || key.is_empty() {
                        true => format!("the row at {rows} in the order of the key"),
                        false => shown,
                    });
                }
            }
        }
        key
    }
}

/// How a part of a key is bound: as what it is, else whole numbers would be compared as floating ones.
fn bound(column: &Column) -> String {
    match MariaDbType::of(&column.sql_type) {
        MariaDbType::Integer { unsigned: true } => "CAST(? AS UNSIGNED)".into(),
        MariaDbType::Integer { unsigned: false } => "CAST(? AS SIGNED)".into(),
        MariaDbType::Decimal(_) => "CAST(? AS DECIMAL(65, 30))".into(),
        MariaDbType::Time(of) => format!("CAST(? AS {of})"),
        MariaDbType::Bytes => "UNHEX(?)".into(),
        MariaDbType::Uuid => "CAST(? AS UUID)".into(),
        MariaDbType::Text { .. } | MariaDbType::Other => "?".into(),
    }
}

fn shown(target: &Target, key: &[String]) -> String {
    let parts = target.key.iter().zip(key);
    let parts: Vec<String> = parts.map(|(c, v)| format!("{}={v}", c.name)).collect();
    parts.join(", ")
}

fn text(value: Value) -> String {
    match value {
        Value::Bytes(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        _ => "NULL".into(),
    }
}
