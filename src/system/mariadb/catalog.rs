//! Reads a server's catalog, all its databases, into a [`Catalog`] value.
//!
//! `information_schema` shows what the login may see and leaves the rest out in silence, so first
//! it is asked whether anything is hidden.

use super::quote::identifier;
use crate::catalog::{
    Access, Catalog, Check, Column, Dialect, ForeignKey, OnDelete, Table, TableKind, Trigger,
};
use crate::name::TableName;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, Row, from_value};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Databases that are the server's own, and ours.
const NOT_THEIRS: &str = "('information_schema', 'performance_schema', 'mysql', 'sys', 'erasured')";

/// The login as the lists of rights spell it.
const ME: &str = "CONCAT('''', LEFT(CURRENT_USER(), CHAR_LENGTH(CURRENT_USER()) - CHAR_LENGTH(SUBSTRING_INDEX(CURRENT_USER(), '@', -1)) - 1), \
    '''@''', SUBSTRING_INDEX(CURRENT_USER(), '@', -1), '''')";

/// What the login cannot see, so that nobody could say what hangs on a person; empty if nothing.
///
/// # Errors
/// The server's.
pub(super) async fn hidden(conn: &mut Conn) -> Result<Vec<String>, Error> {
    let global = |right: &str| {
        format!(
            "EXISTS (SELECT 1 FROM information_schema.USER_PRIVILEGES AS u WHERE u.GRANTEE = {ME} AND u.PRIVILEGE_TYPE = '{right}')"
        )
    };
    let lists: Option<i64> = conn
        .query_first(format!(
            "/* erasured:catalog */ SELECT {} OR {}",
            global("SHOW DATABASES"),
            global("SELECT")
        ))
        .await?;
    let mut hidden = Vec::new();
    if lists != Some(1) {
        hidden.push("which databases there are: GRANT SHOW DATABASES ON *.*".to_owned());
    }
    for right in ["SELECT", "TRIGGER"] {
        let blind: Vec<String> = conn
            .query(format!(
                "/* erasured:catalog */ SELECT s.SCHEMA_NAME FROM information_schema.SCHEMATA AS s \
                 WHERE s.SCHEMA_NAME NOT IN {NOT_THEIRS} AND NOT {} AND NOT EXISTS (SELECT 1 FROM information_schema.SCHEMA_PRIVILEGES AS p \
                  WHERE p.GRANTEE = {ME} AND p.PRIVILEGE_TYPE = '{right}' AND s.SCHEMA_NAME LIKE p.TABLE_SCHEMA ESCAPE '\\') ORDER BY 1",
                global(right)
            ))
            .await?;
        let told = blind.into_iter().map(|database| match right {
            "SELECT" => format!("the tables of {database}: GRANT SELECT ON {database}.*"),
            _ => format!("the triggers of {database}: GRANT TRIGGER ON {database}.*"),
        });
        hidden.extend(told);
    }
    Ok(hidden)
}

/// The whole catalog, and a stamp that changes whenever it does.
///
/// # Errors
/// The server's.
pub async fn read(conn: &mut Conn, system: &str) -> Result<(String, Catalog), Error> {
    let version: Option<String> = conn.query_first("SELECT VERSION()").await?;
    let mut tables: BTreeMap<TableName, Table> = BTreeMap::new();
    for row in rows(conn, TABLES).await? {
        tables.insert(name(&row), table(&row));
    }
    for row in rows(conn, COLUMNS).await? {
        edit(&mut tables, &row, |t| {
            let rights: String = get(&row, 10);
            t.access.select |= rights.contains("select");
            t.access.update |= rights.contains("update");
            t.columns.push(column(&row, &rights));
        });
    }
    for row in rows(conn, DELETABLE).await? {
        edit(&mut tables, &row, |t| t.access.delete = true);
    }
    for row in rows(conn, INDEXES).await? {
        edit(&mut tables, &row, |t| index(t, &row));
    }
    for row in rows(conn, CHECKS).await? {
        edit(&mut tables, &row, |t| check(t, &row));
    }
    for row in rows(conn, TRIGGERS).await? {
        edit(&mut tables, &row, |t| t.triggers.push(trigger(&row)));
    }
    let keys = foreign_keys(&rows(conn, FOREIGN_KEYS).await?);
    let catalog = Catalog {
        prepares: false,
        system: system.to_owned(),
        dialect: Dialect::MariaDb,
        server_version: super::connect::version_number(&version.unwrap_or_default()),
        // Nothing there folds full-width letters as `normalize()` does.
        utf8: false,
        tables,
        foreign_keys: keys,
        objects_of_others: false,
    };
    let text = serde_json::to_vec(&catalog).unwrap_or_default();
    Ok((format!("{:x}", Sha256::digest(text)), catalog))
}

async fn rows(conn: &mut Conn, body: &str) -> Result<Vec<Row>, Error> {
    let sql = body.replace("{theirs}", NOT_THEIRS).replace("{me}", ME);
    conn.query(format!("/* erasured:catalog */ {sql}")).await
}

const TABLES: &str = "SELECT t.TABLE_SCHEMA, t.TABLE_NAME, t.TABLE_TYPE, IFNULL(t.ENGINE, ''), \
      CAST(IFNULL(t.TABLE_ROWS, 0) AS DOUBLE), CAST(IFNULL(t.DATA_LENGTH + t.INDEX_LENGTH, 0) AS SIGNED) \
    FROM information_schema.TABLES AS t WHERE t.TABLE_SCHEMA NOT IN {theirs} \
      AND t.TABLE_TYPE IN ('BASE TABLE', 'VIEW', 'SYSTEM VERSIONED')";

const COLUMNS: &str = "SELECT c.TABLE_SCHEMA, c.TABLE_NAME, c.COLUMN_NAME, c.DATA_TYPE, c.COLUMN_TYPE, \
      IFNULL(c.CHARACTER_SET_NAME, ''), IFNULL(c.COLLATION_NAME, ''), CAST(IFNULL(c.CHARACTER_MAXIMUM_LENGTH, 0) AS SIGNED), \
      c.IS_NULLABLE, c.EXTRA, c.PRIVILEGES \
    FROM information_schema.COLUMNS AS c WHERE c.TABLE_SCHEMA NOT IN {theirs} \
    ORDER BY c.TABLE_SCHEMA, c.TABLE_NAME, c.ORDINAL_POSITION";

/// Of rights that come by a role the lists say nothing.
const DELETABLE: &str = "SELECT t.TABLE_SCHEMA, t.TABLE_NAME FROM information_schema.TABLES AS t \
    WHERE t.TABLE_SCHEMA NOT IN {theirs} AND ( \
      EXISTS (SELECT 1 FROM information_schema.USER_PRIVILEGES AS u WHERE u.GRANTEE = {me} AND u.PRIVILEGE_TYPE = 'DELETE') \
      OR EXISTS (SELECT 1 FROM information_schema.SCHEMA_PRIVILEGES AS p WHERE p.GRANTEE = {me} AND p.PRIVILEGE_TYPE = 'DELETE' \
        AND t.TABLE_SCHEMA LIKE p.TABLE_SCHEMA ESCAPE '\\') \
      OR EXISTS (SELECT 1 FROM information_schema.TABLE_PRIVILEGES AS p WHERE p.GRANTEE = {me} AND p.PRIVILEGE_TYPE = 'DELETE' \
        AND p.TABLE_SCHEMA = t.TABLE_SCHEMA AND p.TABLE_NAME = t.TABLE_NAME))";

/// Of an index a row for each column; prefixes of columns tell no row from others.
const INDEXES: &str = "SELECT s.TABLE_SCHEMA, s.TABLE_NAME, s.INDEX_NAME, CAST(MAX(s.NON_UNIQUE) AS SIGNED), \
      CAST(SUM(s.SUB_PART IS NOT NULL) AS SIGNED), JSON_ARRAYAGG(s.COLUMN_NAME ORDER BY s.SEQ_IN_INDEX) \
    FROM information_schema.STATISTICS AS s WHERE s.TABLE_SCHEMA NOT IN {theirs} \
      AND s.INDEX_TYPE IN ('BTREE', 'HASH') \
    GROUP BY s.TABLE_SCHEMA, s.TABLE_NAME, s.INDEX_NAME ORDER BY 1, 2, 3";

const CHECKS: &str = "SELECT k.CONSTRAINT_SCHEMA, k.TABLE_NAME, k.CONSTRAINT_NAME, k.CHECK_CLAUSE \
    FROM information_schema.CHECK_CONSTRAINTS AS k WHERE k.CONSTRAINT_SCHEMA NOT IN {theirs} ORDER BY 1, 2, 3";

const TRIGGERS: &str = "SELECT g.EVENT_OBJECT_SCHEMA, g.EVENT_OBJECT_TABLE, g.TRIGGER_NAME, g.EVENT_MANIPULATION, g.ACTION_TIMING, \
      g.ACTION_STATEMENT FROM information_schema.TRIGGERS AS g WHERE g.EVENT_OBJECT_SCHEMA NOT IN {theirs} ORDER BY 1, 2, 3";

const FOREIGN_KEYS: &str = "SELECT r.CONSTRAINT_SCHEMA, r.TABLE_NAME, r.CONSTRAINT_NAME, r.DELETE_RULE, \
      k.COLUMN_NAME, k.REFERENCED_TABLE_SCHEMA, k.REFERENCED_TABLE_NAME, k.REFERENCED_COLUMN_NAME \
    FROM information_schema.REFERENTIAL_CONSTRAINTS AS r JOIN information_schema.KEY_COLUMN_USAGE AS k \
      ON k.CONSTRAINT_SCHEMA = r.CONSTRAINT_SCHEMA AND k.TABLE_NAME = r.TABLE_NAME AND k.CONSTRAINT_NAME = r.CONSTRAINT_NAME \
    WHERE r.CONSTRAINT_SCHEMA NOT IN {theirs} AND k.REFERENCED_COLUMN_NAME IS NOT NULL \
    ORDER BY r.CONSTRAINT_SCHEMA, r.TABLE_NAME, r.CONSTRAINT_NAME, k.ORDINAL_POSITION";

fn get<T: mysql_async::prelude::FromValue>(row: &Row, at: usize) -> T {
    from_value(row[at].clone())
}

fn name(row: &Row) -> TableName {
    TableName::new(get::<String>(row, 0), get::<String>(row, 1))
}

fn edit(tables: &mut BTreeMap<TableName, Table>, row: &Row, change: impl FnOnce(&mut Table)) {
    if let Some(table) = tables.get_mut(&name(row)) {
        change(table);
    }
}

fn table(row: &Row) -> Table {
    let (kind, engine): (String, String) = (get(row, 2), get(row, 3));
    let kind = match kind.as_str() {
        "VIEW" => TableKind::View,
        "SYSTEM VERSIONED" => TableKind::Versioned,
        _ => TableKind::Ordinary,
    };
    let foreign = kind != TableKind::View && engine != "InnoDB";
    let rows: f64 = get(row, 4);
    Table {
        kind,
        storage: foreign.then_some(engine),
        #[allow(clippy::cast_possible_truncation)] // an estimate
        size: (rows as f32, get(row, 5)),
        access: Access::default(),
        ..Table::default()
    }
}

fn column(row: &Row, rights: &str) -> Column {
    let (data_type, full): (String, String) = (get(row, 3), get(row, 4));
    let (charset, collation): (String, String) = (get(row, 5), get(row, 6));
    let (length, nullable, extra): (i64, String, String) = (get(row, 7), get(row, 8), get(row, 9));
    let extra = extra.to_lowercase();
    let (base, category) = like_postgres(&data_type);
    let sized = matches!(data_type.as_str(), "char" | "varchar");
    Column {
        name: get(row, 2),
        sql_type: match charset.as_str() {
            "" => full,
            _ => format!("{full} CHARACTER SET {charset} COLLATE {collation}"),
        },
        base: base.into(),
        category,
        max_chars: sized.then(|| i32::try_from(length).unwrap_or(i32::MAX)),
        not_null: nullable == "NO",
        generated: extra.contains("generated"),
        touched: extra.contains("on update"),
        denied: !rights.contains("update"),
        labels: Vec::new(),
    }
}

/// The base type and category under which the checks know such a type.
fn like_postgres(data_type: &str) -> (&'static str, char) {
    match data_type {
        "char" => ("bpchar", 'S'),
        "varchar" => ("varchar", 'S'),
        "tinytext" | "text" | "mediumtext" | "longtext" => ("text", 'S'),
        "enum" => ("enum", 'E'),
        "set" => ("set", 'E'),
        "tinyint" | "smallint" | "year" => ("int2", 'N'),
        "mediumint" | "int" => ("int4", 'N'),
        "bigint" => ("int8", 'N'),
        "decimal" => ("numeric", 'N'),
        "float" => ("float4", 'N'),
        "double" => ("float8", 'N'),
        "date" => ("date", 'D'),
        "datetime" => ("timestamp", 'D'),
        "timestamp" => ("timestamptz", 'D'),
        "time" => ("time", 'D'),
        "uuid" => ("uuid", 'U'),
        "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => ("bytea", 'U'),
        _ => ("other", 'X'),
    }
}

fn index(table: &mut Table, row: &Row) {
    let index: String = get(row, 2);
    let (not_unique, prefixes): (i64, i64) = (get(row, 3), get(row, 4));
    let columns: String = get(row, 5);
    let columns: Vec<String> = serde_json::from_str(&columns).unwrap_or_default();
    if prefixes == 0 {
        if index == "PRIMARY" {
            table.primary_key.clone_from(&columns);
        }
        if not_unique == 0 {
            table.unique.push(columns.clone());
        }
    }
    table.indexes.push(columns);
}

/// Names in the clause stand between backticks.
fn check(table: &mut Table, row: &Row) {
    let clause: String = get(row, 3);
    let reads = |c: &&Column| clause.contains(&identifier(&c.name));
    let columns = table.columns.iter().filter(reads);
    let columns = columns.map(|c| c.name.clone()).collect();
    table.checks.push(Check {
        name: get(row, 2),
        columns,
        expression: clause,
    });
}

fn trigger(row: &Row) -> Trigger {
    let (event, timing): (String, String) = (get(row, 3), get(row, 4));
    let name: String = get(row, 2);
    Trigger {
        function: name.clone(),
        name,
        on_delete: event == "DELETE",
        on_update: event == "UPDATE",
        may_veto: timing == "BEFORE",
        body: get(row, 5),
        definer: true,
        spares: false,
    }
}

/// A session may have switched them off while it wrote, so none of them is taken for enforced.
fn foreign_keys(rows: &[Row]) -> Vec<ForeignKey> {
    let mut keys: Vec<ForeignKey> = Vec::new();
    for row in rows {
        let (child, constraint): (TableName, String) = (name(row), get(row, 2));
        let same = keys
            .last()
            .is_some_and(|k| k.child.0 == child && k.name == constraint);
        if !same {
            let rule: String = get(row, 3);
            keys.push(ForeignKey {
                name: constraint,
                child: (child, Vec::new()),
                parent: (
                    TableName::new(get::<String>(row, 5), get::<String>(row, 6)),
                    Vec::new(),
                ),
                equality: Vec::new(),
                on_delete: match rule.as_str() {
                    "CASCADE" => OnDelete::Cascade,
                    "SET NULL" => OnDelete::SetNull,
                    "SET DEFAULT" => OnDelete::SetDefault,
                    "RESTRICT" => OnDelete::Restrict,
                    _ => OnDelete::NoAction,
                },
                sets: Vec::new(),
                match_full: false,
                enforced: false,
            });
        }
        if let Some(key) = keys.last_mut() {
            key.child.1.push(get(row, 4));
            key.parent.1.push(get(row, 7));
            key.equality.push("=".into());
        }
    }
    keys
}
