//! Reads which rows of a table are due: short statements in read-only transactions that lock nothing.

use super::execute::{NotErased, Timeouts, counts};
use crate::plan::{Counts, DueRows, Parameter, Statement};
use chrono::NaiveDate;
use deadpool_postgres::{Client, Transaction};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

/// A row that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueRow {
    /// Its key, each part as text.
    pub key: Vec<String>,
    /// Where it stands in the order in which rows go.
    pub place: Vec<String>,
}

/// How many rows of a table are due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DueCount {
    /// Those that are, whether a hold covers them or not.
    pub due: i64,
    /// Those of them that a hold covers.
    pub held: i64,
    /// Those without a date, which never are.
    pub undated: i64,
}

/// The next rows behind a place, the oldest first.
///
/// # Errors
/// [`NotErased::Database`].
pub async fn next(
    client: &mut Client,
    rows: &DueRows<'_>,
    behind: Option<&[String]>,
    limit: u64,
    timeouts: Timeouts,
) -> Result<Vec<DueRow>, NotErased> {
    let tx = begin(client, timeouts).await?;
    let found = query(&tx, &rows.next(behind, limit)).await?;
    tx.rollback().await?;
    let width = rows.key_width();
    let texts = |row: &Row| (0..row.len()).map(|i| row.get(i)).collect::<Vec<String>>();
    let found = found.iter().map(texts).map(|mut key| {
        let place = key.split_off(width);
        DueRow { key, place }
    });
    Ok(found.collect())
}

/// Counts them all, in one snapshot.
///
/// # Errors
/// [`NotErased::Database`].
pub async fn count(
    client: &mut Client,
    rows: &DueRows<'_>,
    timeouts: Timeouts,
) -> Result<DueCount, NotErased> {
    let tx = begin(client, timeouts).await?;
    let counted = query(&tx, &rows.count()).await?;
    let undated = query(&tx, &rows.undated()).await?;
    tx.rollback().await?;
    let number = |rows: &[Row], at| rows.first().map_or(0, |row| row.get(at));
    Ok(DueCount {
        due: number(&counted, 0),
        held: number(&counted, 1),
        undated: number(&undated, 0),
    })
}

/// The day of the oldest of them.
///
/// # Errors
/// [`NotErased::Database`].
pub async fn oldest(
    client: &mut Client,
    rows: &DueRows<'_>,
    timeouts: Timeouts,
) -> Result<Option<NaiveDate>, NotErased> {
    let tx = begin(client, timeouts).await?;
    let found = query(&tx, &rows.oldest()).await?;
    tx.rollback().await?;
    Ok(found.first().and_then(|row| row.get(0)))
}

/// What the batches of a run have done, by the target's own rows.
///
/// # Errors
/// [`NotErased::Database`].
pub async fn applied(client: &Client, run: Uuid) -> Result<Vec<Counts>, NotErased> {
    let sql = "/* erasured:applied */ SELECT counts FROM erasured.applied_step WHERE batch = $1";
    let rows = client.query(sql, &[&run]).await?;
    rows.iter().map(|row| counts(row.get(0))).collect()
}

async fn begin(client: &mut Client, timeouts: Timeouts) -> Result<Transaction<'_>, NotErased> {
    let tx = client
        .build_transaction()
        .isolation_level(tokio_postgres::IsolationLevel::RepeatableRead)
        .read_only(true)
        .start()
        .await?;
    // Texts of keys and dates are read back by the next statement, in another session perhaps.
    tx.batch_execute(&format!(
        "/* erasured:settings */ SET LOCAL search_path = pg_catalog, pg_temp; SET LOCAL row_security = off; \
         SET LOCAL timezone = 'UTC'; SET LOCAL datestyle = 'ISO, YMD'; SET LOCAL intervalstyle = 'postgres'; \
         SET LOCAL lock_timeout = {}; SET LOCAL statement_timeout = {}; \
         SET LOCAL idle_in_transaction_session_timeout = {}",
        timeouts.lock.as_millis(),
        timeouts.statement.as_millis(),
        timeouts.idle.as_millis(),
    ))
    .await?;
    Ok(tx)
}

/// Not prepared: the plan should know how much lies behind the cutoff.
async fn query(tx: &Transaction<'_>, statement: &Statement) -> Result<Vec<Row>, NotErased> {
    let texts: Vec<&String> = statement
        .parameters
        .iter()
        .filter_map(|parameter| match parameter {
            Parameter::Text(text) => Some(text),
            _ => None,
        })
        .collect();
    let values: Vec<&(dyn ToSql + Sync)> = texts.iter().map(|t| *t as _).collect();
    Ok(tx.query(&statement.sql, &values).await?)
}
