//! The same of a system that is MariaDB.

use super::Applied;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts};
use std::collections::{BTreeMap, BTreeSet};

/// As in PostgreSQL, an object for each row; times there are UTC.
const APPLIED: &str = "SELECT JSON_OBJECT('ticket_id', ticket_id, 'generation', generation, 'system', system, 'batch', batch,
    'committed_at', CONCAT(REPLACE(committed_at, ' ', 'T'), 'Z'), 'counts', JSON_COMPACT(counts)) FROM erasured.applied_step";

/// Each ordinary table, and its key as text.
const TABLES: &str = "SELECT CONCAT(t.TABLE_SCHEMA, '.', t.TABLE_NAME), CONCAT('`', t.TABLE_SCHEMA, '`.`', t.TABLE_NAME, '`'),
    GROUP_CONCAT(CONCAT('`', k.COLUMN_NAME, '`') ORDER BY k.ORDINAL_POSITION)
  FROM information_schema.TABLES AS t JOIN information_schema.KEY_COLUMN_USAGE AS k
    ON k.TABLE_SCHEMA = t.TABLE_SCHEMA AND k.TABLE_NAME = t.TABLE_NAME AND k.CONSTRAINT_NAME = 'PRIMARY'
 WHERE t.TABLE_TYPE = 'BASE TABLE' AND t.TABLE_SCHEMA NOT IN ('information_schema', 'performance_schema', 'mysql', 'sys', 'erasured')
 GROUP BY 1, 2";

/// Whether a URL names such a system.
pub(super) fn is(url: &str) -> bool {
    url.starts_with("mariadb://")
}

pub(super) async fn applied(url: &str) -> Vec<Applied> {
    let mut conn = connect(url).await;
    let rows: Vec<String> = conn.query(APPLIED).await.expect("applied_step");
    conn.disconnect().await.ok();
    let read = |row: &String| serde_json::from_str(row).expect("applied_step as it is made");
    rows.iter().map(read).collect()
}

/// Each table's keys.
pub(super) async fn keys(url: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut conn = connect(url).await;
    let tables: Vec<(String, String, String)> = conn.query(TABLES).await.expect("a list of tables");
    let mut all = BTreeMap::new();
    for (name, table, key) in tables {
        let sql = format!("SELECT CONCAT_WS(CHAR(31), {key}) FROM {table}");
        let keys: Vec<String> = conn.query(sql).await.expect("a list of keys");
        all.insert(name, keys.into_iter().collect());
    }
    conn.disconnect().await.ok();
    all
}

async fn connect(url: &str) -> Conn {
    let url = url.replacen("mariadb", "mysql", 1);
    let opts = Opts::from_url(&url).expect("a URL of MariaDB's");
    Conn::new(opts).await.expect("a session")
}
