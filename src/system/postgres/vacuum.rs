//! What a purge leaves behind in tables, and asking the server to tidy it.

use super::connect::{self, Client, ConnectError, Timeouts, own_process};
use super::libpq::Settings;
use super::quote::identifier;
use crate::name::TableName;
use std::time::Duration;

/// How a table stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Dead rows, of all its partitions, as far as the server has counted them by now.
    pub dead: i64,
    /// Live rows, as far as it knows: by what it has counted since its statistics began, which a crash or a failover
    /// ends, or by what the last VACUUM or ANALYZE saw.
    pub live: i64,
    /// Whether this role may vacuum it, and in this session: behind a pooler what bounds it could not be set.
    pub may: bool,
}

/// The longest that a table's VACUUM may take.
const LONGEST: Duration = Duration::from_secs(30 * 60);

/// A session in which to vacuum. It waits for no lock for longer than `lock`, and works as gently as
/// autovacuum does.
///
/// # Errors
/// As [`connect::connect`].
pub async fn session(settings: &Settings, lock: Duration) -> Result<Client, ConnectError> {
    let timeouts = Timeouts::of_statements(LONGEST);
    let client = connect::connect(settings, "vacuum", timeouts).await?;
    let bounds = format!(
        "/* erasured:settings */ SET search_path = pg_catalog, pg_temp; SET lock_timeout = {}; \
         SET statement_timeout = {}; SET vacuum_cost_delay = '2ms'",
        lock.as_millis(),
        LONGEST.as_millis()
    );
    let set = async {
        if !connect::through_pooler(&client).await? {
            client.batch_execute(&bounds).await?;
        }
        Ok(())
    };
    set.await
        .map_err(|error: tokio_postgres::Error| ConnectError::Other {
            at: String::new(),
            what: super::failure::describe(&error),
        })?;
    Ok(client)
}

/// How a table stands; `None` if it is not there.
///
/// # Errors
/// What the server says.
pub async fn standing(
    client: &Client,
    table: &TableName,
) -> Result<Option<Standing>, tokio_postgres::Error> {
    let own = own_process(client).await.unwrap_or_default();
    let row = client
        .query_opt(STANDING, &[&table.schema, &table.table, &own])
        .await?;
    Ok(row.map(|row| Standing {
        dead: row.get(0),
        live: row.get(1),
        may: row.get(2),
    }))
}

/// The statement, fit to be run by whoever may.
pub fn statement(table: &TableName) -> String {
    format!(
        "VACUUM (ANALYZE) {}.{}",
        identifier(&table.schema),
        identifier(&table.table)
    )
}

/// Vacuums and analyzes a table.
///
/// # Errors
/// What the server says; that a lock was not to be had, for one.
pub async fn vacuum(client: &Client, table: &TableName) -> Result<(), tokio_postgres::Error> {
    client.batch_execute(&statement(table)).await
}

/// Before version 17 there is no MAINTAIN, and to ask for it is an error.
const STANDING: &str = "/* erasured:standing */ SELECT \
    coalesce((SELECT sum(pg_stat_get_dead_tuples(p.relid))::int8 FROM pg_partition_tree(c.oid) p WHERE p.isleaf), pg_stat_get_dead_tuples(c.oid)), \
    coalesce((SELECT sum(greatest(pg_stat_get_live_tuples(l.oid), l.reltuples::int8))::int8 FROM pg_partition_tree(c.oid) p JOIN pg_class l ON l.oid = p.relid WHERE p.isleaf), \
             greatest(pg_stat_get_live_tuples(c.oid), c.reltuples::int8)), \
    pg_backend_pid() = $3 AND (pg_has_role(c.relowner, 'USAGE') \
        OR (SELECT pg_has_role(d.datdba, 'USAGE') FROM pg_database d WHERE d.datname = current_database()) \
        OR CASE WHEN current_setting('server_version_num')::int >= 170000 THEN has_table_privilege(c.oid, 'MAINTAIN') ELSE false END) \
   FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2";
