//! The control schema: every statement against it is in this module or under `sql/`.
//!
//! A [`Store`] has one door, [`Store::run_tx`]: it begins, bounds how long anything may wait,
//! repeats what failed by no fault of its own, and measures. The files below are what goes
//! through the door, in the order of a ticket's life: [`tickets`] (the desk), [`intake`] (who is
//! it?), [`lease`] (whose turn?), [`executing`], [`verifying`], [`certificates`], [`deferrals`],
//! [`ledger`]; [`census`] counts for the metrics.
//!
//! Times are the database's own, so daemons on hosts whose clocks disagree agree on leases.

pub mod census;
pub mod certificates;
pub mod deferrals;
mod error;
pub mod executing;
pub mod intake;
pub mod lease;
pub mod ledger;
mod migrate;
pub mod tickets;
pub mod verifying;

pub use error::{StoreError, is_transient};
pub use migrate::{check_version, migrate, migrate_target};

use deadpool_postgres::Pool;
use std::time::{Duration, Instant};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

/// What every function here returns.
pub type Result<T> = std::result::Result<T, StoreError>;

/// Parameters of a statement.
type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// How often a transaction is tried before its failure is the caller's.
const TRIES: u32 = 8;

/// The control database.
#[derive(Clone)]
pub struct Store {
    pool: Pool,
}

/// One transaction: statements are prepared once for each connection, and failures lose whatever
/// could hold a value before anybody sees them.
pub struct Tx<'a> {
    inner: deadpool_postgres::Transaction<'a>,
}

impl Store {
    /// A store on this pool; nothing is sent yet.
    pub fn new(pool: Pool) -> Self {
        Self { pool }
    }

    /// The pool, for LISTEN and for health checks.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Runs `body` in a transaction. It may run several times (serialization failures and
    /// deadlocks are repeated, with a growing pause), so it must have no effect but through the
    /// transaction. `name` labels the metrics.
    pub async fn run_tx<T>(
        &self,
        name: &'static str,
        body: impl AsyncFn(&Tx<'_>) -> Result<T>,
    ) -> Result<T> {
        let mut attempt = 1;
        loop {
            let started = Instant::now();
            let outcome = self.once(&body).await;
            let status = match &outcome {
                Ok(_) => "ok",
                Err(e) if e.is_retryable() => "conflict",
                Err(_) => "error",
            };
            metrics::histogram!("erasured_control_transaction_seconds", "name" => name, "status" => status)
                .record(started.elapsed().as_secs_f64());
            match outcome {
                Err(e) if e.is_retryable() && attempt < TRIES => {
                    // Jitter keeps two that collided from colliding again in step.
                    let pause = 2_u64.pow(attempt) + rand::random_range(0..8);
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                    attempt += 1;
                }
                other => return other,
            }
        }
    }

    async fn once<T>(&self, body: &impl AsyncFn(&Tx<'_>) -> Result<T>) -> Result<T> {
        let mut client = self.pool.get().await.map_err(StoreError::from)?;
        let inner = client.transaction().await?;
        // LOCAL, so that a pooler in transaction mode hands nothing of it to others.
        inner
            .batch_execute(
                "/* erasured:run_tx */ SET LOCAL lock_timeout = '5s'; \
                 SET LOCAL statement_timeout = '60s'; \
                 SET LOCAL idle_in_transaction_session_timeout = '60s'",
            )
            .await?;
        let tx = Tx { inner };
        let value = body(&tx).await?;
        tx.inner.commit().await?;
        Ok(value)
    }
}

impl Tx<'_> {
    /// All rows.
    pub(crate) async fn query(&self, sql: &str, params: Params<'_>) -> Result<Vec<Row>> {
        let statement = self.inner.prepare_cached(sql).await?;
        Ok(self.inner.query(&statement, params).await?)
    }

    /// The one row there must be.
    pub(crate) async fn query_one(&self, sql: &str, params: Params<'_>) -> Result<Row> {
        let statement = self.inner.prepare_cached(sql).await?;
        Ok(self.inner.query_one(&statement, params).await?)
    }

    /// The row, if there is one.
    pub(crate) async fn query_opt(&self, sql: &str, params: Params<'_>) -> Result<Option<Row>> {
        let statement = self.inner.prepare_cached(sql).await?;
        Ok(self.inner.query_opt(&statement, params).await?)
    }

    /// How many rows it touched.
    pub(crate) async fn execute(&self, sql: &str, params: Params<'_>) -> Result<u64> {
        let statement = self.inner.prepare_cached(sql).await?;
        Ok(self.inner.execute(&statement, params).await?)
    }
}

/// Seconds, as `make_interval(secs => …)` takes them.
fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}
