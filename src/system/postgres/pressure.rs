//! Reads how a system and its standbys fare: one short statement each, in sessions of its own.

use super::connect::{self, Client, ConnectError, Timeouts};
use super::libpq::Settings;
use std::time::Duration;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

/// What is asked of a system, besides where its WAL is.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Sessions that wait for a lock.
    pub lock_waits: bool,
    /// Sessions at work.
    pub active_sessions: bool,
    /// Standbys by `application_name`.
    pub standbys: Vec<String>,
}

/// What a system says.
#[derive(Clone, Debug)]
pub struct Pressure {
    /// Which cluster it is.
    pub cluster: i64,
    /// Up to where its WAL is on disk.
    pub wal: u64,
    /// As asked for.
    pub lock_waits: Option<i64>,
    /// As asked for; `None` too where the role may not see the others' sessions.
    pub active_sessions: Option<i64>,
    /// For each name up to where it has replayed; `None` where nobody of that name is connected, or the role
    /// may not see it. Of several of one name the one that is furthest behind.
    pub replayed: Vec<Option<u64>>,
}

/// What a standby says.
#[derive(Clone, Copy, Debug)]
pub struct Replay {
    /// Which cluster it is of.
    pub cluster: i64,
    /// Up to where it has replayed; `None` of a server that is no standby.
    pub replayed: Option<u64>,
}

/// A session in which to ask.
///
/// # Errors
/// As [`connect::connect`].
pub async fn session(settings: &Settings) -> Result<Client, ConnectError> {
    let timeouts = Timeouts::of_statements(Duration::from_secs(5));
    connect::connect(settings, "throttle", timeouts).await
}

/// Asks a system.
///
/// # Errors
/// What the server says; a standby, for one, has no WAL of its own.
pub async fn of_system(
    client: &Client,
    wanted: &Wanted,
) -> Result<Pressure, tokio_postgres::Error> {
    let parameters: [&(dyn ToSql + Sync); 3] = [
        &wanted.lock_waits,
        &wanted.active_sessions,
        &wanted.standbys,
    ];
    let row = asked(client, SYSTEM, &parameters).await?;
    let replayed: Vec<Option<i64>> = row.get(4);
    Ok(Pressure {
        cluster: row.get(0),
        wal: position(row.get(1)),
        lock_waits: row.get(2),
        active_sessions: row.get(3),
        replayed: replayed.into_iter().map(|at| at.map(position)).collect(),
    })
}

/// Asks a standby.
///
/// # Errors
/// What the server says.
pub async fn of_standby(client: &Client) -> Result<Replay, tokio_postgres::Error> {
    let row = asked(client, STANDBY, &[]).await?;
    Ok(Replay {
        cluster: row.get(0),
        replayed: row.get::<_, Option<i64>>(1).map(position),
    })
}

/// In a transaction of its own, whose settings end with it: a pooler may give the session to others.
async fn asked(
    client: &Client,
    sql: &str,
    parameters: &[&(dyn ToSql + Sync)],
) -> Result<Row, tokio_postgres::Error> {
    let begin = "/* erasured:settings */ BEGIN READ ONLY; SET LOCAL search_path = pg_catalog, pg_temp; \
                 SET LOCAL statement_timeout = '5s'; SET LOCAL lock_timeout = '1s'";
    client.batch_execute(begin).await?;
    let row = client.query_one(sql, parameters).await;
    client.batch_execute("ROLLBACK").await?;
    row
}

fn position(lsn: i64) -> u64 {
    u64::try_from(lsn).unwrap_or(0)
}

/// Whoever may not see the others' sessions sees none at work, and no standby's position.
const SYSTEM: &str = "/* erasured:pressure */ SELECT \
    (SELECT system_identifier FROM pg_control_system()), \
    (pg_current_wal_flush_lsn() - '0/0'::pg_lsn)::int8, \
    CASE WHEN $1::bool THEN (SELECT count(DISTINCT l.pid) FROM pg_locks l WHERE NOT l.granted) END, \
    CASE WHEN $2::bool AND pg_has_role('pg_read_all_stats', 'USAGE') THEN \
        (SELECT count(*) FROM pg_stat_activity a WHERE a.state = 'active' AND a.backend_type = 'client backend' AND a.pid <> pg_backend_pid()) END, \
    CASE WHEN cardinality($3::text[]) > 0 THEN ARRAY(SELECT (SELECT CASE WHEN bool_and(r.replay_lsn IS NOT NULL) \
            THEN (min(r.replay_lsn) - '0/0'::pg_lsn)::int8 END FROM pg_stat_replication r WHERE r.application_name = w.name) \
        FROM unnest($3::text[]) WITH ORDINALITY w (name, n) ORDER BY w.n) ELSE '{}'::int8[] END";

const STANDBY: &str = "/* erasured:pressure */ SELECT (SELECT system_identifier FROM pg_control_system()), \
    CASE WHEN pg_is_in_recovery() THEN (pg_last_wal_replay_lsn() - '0/0'::pg_lsn)::int8 END";
