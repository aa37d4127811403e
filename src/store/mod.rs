//! The control schema: every statement against it is in this module or under `sql/`.
//!
//! A [`Store`] has one door, the macro `run_tx`: it begins, bounds how long anything may wait,
//! repeats what failed by no fault of its own, and measures. The files below are what goes
//! through the door, in the order of a ticket's life: [`tickets`] and [`desk`] (the
//! desk), [`intake`] (who is it?), [`clock`] (until when?), [`lease`] (whose turn?), [`executing`], [`joint`] (all or none), [`verifying`], [`certificates`],
//! [`deferrals`], [`ledger`]; [`holds`] stop any of it, [`signs`] make it harder, [`outbox`] tells others, [`opendsr`] knows requests by their controllers' ids, [`census`] counts for the
//! metrics, [`definitions`] remembers what plans were made for.
//!
//! Times are the database's own, so daemons on hosts whose clocks disagree agree on leases.

pub mod approvals;
pub mod census;
pub mod certificates;
pub mod clock;
pub mod deferrals;
pub mod definitions;
pub mod desk;
mod error;
pub mod executing;
pub mod forecast;
pub mod grounds;
pub mod holds;
pub mod identity;
pub mod intake;
pub mod joint;
pub mod lease;
pub mod ledger;
mod listing;
mod migrate;
mod notice;
pub mod opendsr;
pub mod outbox;
pub mod recheck;
pub mod retention;
pub mod rule_health;
pub mod run_certificates;
pub mod signs;
pub mod systems;
pub mod throttle;
pub mod tickets;
pub mod verifying;

pub use error::{StoreError, is_transient};
pub use migrate::{check_version, migrate, migrate_target, target_problem};

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
}

/// The pause before the next try and what the metrics hear: the part of [`run_tx`] that is the
/// same for every body.
struct Door {
    name: &'static str,
    attempt: u32,
    started: Instant,
}

impl Door {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            attempt: 1,
            started: Instant::now(),
        }
    }

    /// What to return, or `None` to try once more.
    async fn settle<T>(&mut self, outcome: Result<T>) -> Option<Result<T>> {
        let conflict = outcome.as_ref().is_err_and(StoreError::is_retryable);
        let status = match &outcome {
            Ok(_) => "ok",
            Err(_) if conflict => "conflict",
            Err(_) => "error",
        };
        metrics::histogram!("erasured_control_transaction_seconds", "name" => self.name, "status" => status)
            .record(self.started.elapsed().as_secs_f64());
        if !conflict || self.attempt == TRIES {
            return Some(outcome);
        }
        // Jitter keeps two that collided from colliding again in step.
        let pause = 2_u64.pow(self.attempt) + rand::random_range(0..8);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        self.attempt += 1;
        self.started = Instant::now();
        None
    }
}

/// `run_tx!(store, "name", |tx| { … })`: runs the body in a transaction and gives its `Result`.
///
/// The body may run several times (serialization failures and deadlocks are repeated, with a
/// growing pause), so it must have no effect but through the transaction. `name` labels the
/// metrics. A macro because the future of an async closure cannot be promised to be `Send` on
/// stable Rust, and daemons run on many threads.
macro_rules! run_tx {
    ($store:expr, $name:expr, |$tx:ident| $body:expr) => {{
        let mut door = $crate::store::Door::new($name);
        loop {
            let outcome = async {
                let mut client = $store.pool().get().await?;
                let tx = $crate::store::Tx::begin(&mut client).await?;
                let outcome = async {
                    let $tx = &tx;
                    $body
                };
                match $crate::store::checked(outcome.await) {
                    Ok(value) => {
                        tx.inner.commit().await?;
                        $crate::store::Result::Ok(value)
                    }
                    // Waited for: who hears of the refusal must not find its locks still held.
                    Err(refused) => {
                        tx.inner.rollback().await.ok();
                        Err(refused)
                    }
                }
            };
            if let Some(outcome) = door.settle(outcome.await).await {
                break outcome;
            }
        }
    }};
}
use run_tx;

/// Tells the compiler the error's type inside [`run_tx`].
fn checked<T>(outcome: Result<T>) -> Result<T> {
    outcome
}

impl<'a> Tx<'a> {
    async fn begin(client: &'a mut deadpool_postgres::Object) -> Result<Self> {
        let inner = client.transaction().await?;
        // LOCAL, so that a pooler in transaction mode hands nothing of it to others.
        inner
            .batch_execute(
                "/* erasured:begin_tx */ SET LOCAL lock_timeout = '5s'; \
                 SET LOCAL statement_timeout = '60s'; \
                 SET LOCAL idle_in_transaction_session_timeout = '60s'",
            )
            .await?;
        Ok(Self { inner })
    }

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
