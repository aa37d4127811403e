//! A database at work for tickets, whosever server it is.

use super::context::Context;
use crate::plan::Counts;
use crate::system::mariadb;
use crate::system::postgres::connect::ConnectError;
use crate::system::postgres::execute::{
    Applied, BeforeChange, Execution, NotErased, Outcome, Unanswered, applied,
};
use crate::system::postgres::failure::Failure;
use deadpool_postgres::Client;
use uuid::Uuid;

/// A registered database, reached.
pub(super) enum Database<'c> {
    /// A session of PostgreSQL's.
    Postgres(Box<Client>),
    /// A MariaDB server, which is connected to for each piece of work.
    MariaDb(&'c mariadb::System),
}

impl Context {
    /// The database of that name; `None` if it is not registered.
    pub(super) async fn database(&self, name: &str) -> Option<Result<Database<'_>, ConnectError>> {
        if let Some(system) = self.mariadb.get(name) {
            return Some(Ok(Database::MariaDb(system)));
        }
        let system = self.systems.get(name)?;
        let client = system.pool.get().await;
        Some(client.map(|client| Database::Postgres(Box::new(client))))
    }

    /// The same for ending what has begun there, also where an operator has it left alone.
    pub(super) async fn database_to_end(
        &self,
        name: &str,
    ) -> Option<Result<Database<'_>, ConnectError>> {
        if let Some(system) = self.mariadb.get(name) {
            return Some(Ok(Database::MariaDb(system)));
        }
        let system = self.systems.get(name)?;
        let client = system.pool.get_to_end().await;
        Some(client.map(|client| Database::Postgres(Box::new(client))))
    }

    /// The database of a plan's part.
    ///
    /// # Errors
    /// [`NotErased`]: it is not registered any more, or does not answer.
    pub(super) async fn database_of(&self, name: &str) -> Result<Database<'_>, NotErased> {
        let reached = self.database(name).await.ok_or_else(|| NotErased::Drift {
            system: name.to_owned(),
        })?;
        reached.map_err(|e| NotErased::Database(e.to_string(), Failure::Transient(e.cause())))
    }
}

impl Database<'_> {
    /// Runs a part of a plan, see [`Execution::run`].
    ///
    /// # Errors
    /// [`NotErased`].
    pub(super) async fn run(
        &mut self,
        execution: &Execution<'_>,
        before: &mut dyn BeforeChange,
    ) -> Result<Outcome, NotErased> {
        match self {
            Self::Postgres(client) => execution.run(client, before).await,
            Self::MariaDb(system) => mariadb::execute::run(execution, system, before).await,
        }
    }

    /// Counts what [`Database::run`] would do.
    ///
    /// # Errors
    /// [`NotErased`].
    pub(super) async fn dry_run(
        &mut self,
        execution: &Execution<'_>,
    ) -> Result<Vec<Counts>, NotErased> {
        match self {
            Self::Postgres(client) => execution.dry_run(client).await,
            Self::MariaDb(system) => mariadb::execute::dry_run(execution, system).await,
        }
    }

    /// Which of these steps (ticket and generation) have committed there.
    ///
    /// # Errors
    /// [`NotErased`].
    pub(super) async fn applied(
        &self,
        name: &str,
        steps: &[(Uuid, i32)],
    ) -> Result<Vec<Applied>, NotErased> {
        match self {
            Self::Postgres(client) => applied(client, name, steps).await,
            Self::MariaDb(system) => mariadb::applied(system, steps).await,
        }
    }

    /// Whether a transaction whose COMMIT had no answer is over, see [`Unanswered::is_over`].
    ///
    /// # Errors
    /// [`NotErased`].
    pub(super) async fn is_over(&self, lost: &Unanswered) -> Result<bool, NotErased> {
        match (self, lost.lock()) {
            (Self::Postgres(client), _) => lost.is_over(client).await,
            (Self::MariaDb(system), Some(lock)) => mariadb::execute::is_over(system, lock).await,
            (Self::MariaDb(_), None) => Ok(false),
        }
    }
}
