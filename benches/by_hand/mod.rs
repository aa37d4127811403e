//! The hand-written SQL that the erasure is held against, and how a script would send it.

pub(crate) mod across;

use futures_util::future::try_join_all;
use tokio_postgres::{Client, Error, Statement};

/// Statements end with `;` at the end of a line.
fn statements(file: &str) -> impl Iterator<Item = &str> {
    file.split(";\n").map(str::trim).filter(|s| !s.is_empty())
}

async fn prepared(client: &Client, file: &str) -> Vec<Statement> {
    let all = try_join_all(statements(file).map(|sql| client.prepare(sql))).await;
    all.expect("the hand-written SQL is right")
}

/// One connection of a DBA's script.
pub(crate) struct ByHand {
    client: Client,
    batch: Vec<Statement>,
    finds: Vec<Statement>,
}

impl ByHand {
    pub(crate) async fn new(client: Client) -> Self {
        let batch = prepared(&client, include_str!("batch.sql")).await;
        let finds = prepared(&client, include_str!("by_row.sql")).await;
        Self {
            client,
            batch,
            finds,
        }
    }

    /// All of them in one transaction, sent without waiting; returns the rows touched.
    pub(crate) async fn batch(&self, customers: &[i64]) -> Result<u64, Error> {
        let work = self
            .batch
            .iter()
            .map(|statement| async move { self.client.execute(statement, &[&customers]).await });
        let ((), rows, ()) = futures_util::future::try_join3(
            self.client.batch_execute("BEGIN"),
            try_join_all(work),
            self.client.batch_execute("COMMIT"),
        )
        .await?;
        Ok(rows.iter().sum())
    }

    /// One in a transaction of its own, statement after statement.
    pub(crate) async fn one(&self, customer: i64) -> Result<u64, Error> {
        let mut rows = 0;
        self.client.batch_execute("BEGIN").await?;
        for statement in &self.batch {
            rows += self.client.execute(statement, &[&vec![customer]]).await?;
        }
        self.client.batch_execute("COMMIT").await?;
        Ok(rows)
    }

    /// One, each row in a transaction of its own.
    pub(crate) async fn by_row(&self, customer: i64) -> Result<u64, Error> {
        let mut rows = 0;
        for find in &self.finds {
            for change in self.client.query(find, &[&customer]).await? {
                self.client.batch_execute(change.get(0)).await?;
                rows += 1;
            }
        }
        Ok(rows)
    }
}
