//! A statement of the plan with its parameters bound.

use super::super::capture::Captured;
use super::{Execution, NotErased};
use crate::plan::Statement;
use deadpool_postgres::GenericClient;
use tokio_postgres::types::ToSql;

impl Execution<'_> {
    /// Runs a statement of the plan with its parameters bound; `suffix` is its lock clause.
    pub(in crate::system::postgres) async fn query(
        &self,
        client: &impl GenericClient,
        captured: &Captured,
        statement: &Statement,
        suffix: &str,
    ) -> Result<Vec<tokio_postgres::Row>, NotErased> {
        self.query_since(client, captured, statement, suffix, 0)
            .await
    }

    /// The same with captured rows narrowed to those that changed in round `since` or later, for
    /// tables that refer to themselves.
    pub(in crate::system::postgres) async fn query_since(
        &self,
        client: &impl GenericClient,
        captured: &Captured,
        statement: &Statement,
        suffix: &str,
        since: usize,
    ) -> Result<Vec<tokio_postgres::Row>, NotErased> {
        let bound = self.bind(captured, statement, since);
        let parameters: Vec<&(dyn ToSql + Sync)> = bound.iter().map(|b| &**b as _).collect();
        let prepared = client.prepare_cached(&self.text(statement, suffix)).await?;
        Ok(client.query(&prepared, &parameters).await?)
    }

    pub(super) async fn execute(
        &self,
        client: &impl GenericClient,
        captured: &Captured,
        statement: &Statement,
    ) -> Result<u64, NotErased> {
        let bound = self.bind(captured, statement, 0);
        let parameters: Vec<&(dyn ToSql + Sync)> = bound.iter().map(|b| &**b as _).collect();
        let prepared = client.prepare_cached(&self.text(statement, "")).await?;
        Ok(client.execute(&prepared, &parameters).await?)
    }
}
