//! A COMMIT whose answer never came: is it over?

use super::NotErased;
use deadpool_postgres::{Client, Transaction};
use serde::{Deserialize, Serialize};
use tokio_postgres::error::SqlState;

/// A transaction that was told to commit, and whose session is lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unanswered {
    backend: i32,
    transaction: String,
    /// Of MariaDB's, where the others say nothing: the lock that its session holds as long as it lives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lock: Option<String>,
}

impl Unanswered {
    /// Of this transaction, should its COMMIT come to have no answer.
    pub(in crate::system::postgres) async fn of(tx: &Transaction<'_>) -> Result<Self, NotErased> {
        let statement = tx.prepare_cached(WHO).await?;
        let row = tx.query_one(&statement, &[]).await?;
        Ok(Self {
            backend: row.get(0),
            transaction: row.get(1),
            lock: None,
        })
    }

    /// Of a session on MariaDB that holds a lock of this name.
    pub(in crate::system) fn holding(lock: String) -> Self {
        Self {
            backend: 0,
            transaction: String::new(),
            lock: Some(lock),
        }
    }

    /// The lock that a session on MariaDB holds as long as it lives; `None` on PostgreSQL.
    pub fn lock(&self) -> Option<&str> {
        self.lock.as_deref()
    }

    /// Whether it has committed or never will. If neither, its session is ended: a COMMIT that the server
    /// has not received by then does not reach it any more, and the next answer says what became of it.
    ///
    /// # Errors
    /// [`NotErased`]: the server did not answer.
    pub async fn is_over(&self, client: &Client) -> Result<bool, NotErased> {
        let status = match client.query_one(STATUS, &[&self.transaction]).await {
            Ok(row) => row.get::<_, Option<String>>(0),
            // This server has never come so far: it was put back to an earlier time.
            Err(e) if e.code() == Some(&SqlState::INVALID_PARAMETER_VALUE) => return Ok(true),
            Err(e) => return Err(e.into()),
        };
        if status.as_deref() != Some("in progress") {
            return Ok(true);
        }
        client
            .query(END, &[&self.backend, &self.transaction])
            .await?;
        Ok(false)
    }
}

const WHO: &str =
    "/* erasured:step */ SELECT pg_catalog.pg_backend_pid(), pg_catalog.pg_current_xact_id()::text";

const STATUS: &str = "/* erasured:unanswered */ SELECT pg_catalog.pg_xact_status($1::pg_catalog.text::pg_catalog.xid8)";

/// The number of a session may be another's by now.
const END: &str = "/* erasured:unanswered */ SELECT pg_catalog.pg_terminate_backend(a.pid) FROM pg_catalog.pg_stat_activity AS a \
     WHERE a.pid OPERATOR(pg_catalog.=) $1 \
       AND a.backend_xid OPERATOR(pg_catalog.=) ($2::pg_catalog.text::pg_catalog.xid8)::pg_catalog.xid";
