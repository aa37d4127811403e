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
    /// Those of the others that something keeps that hangs on them.
    pub survivors: i64,
    /// Of people those for whom a ticket is open.
    pub under_way: i64,
    /// Those without a date, which never are.
    pub undated: i64,
}

impl DueCount {
    /// Those that would go.
    pub fn free(&self) -> i64 {
        self.due - self.held - self.survivors - self.under_way
    }
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
    let found = query(&tx, &rows.next(behind, limit), &[]).await?;
    tx.rollback().await?;
    let width = rows.key_width();
    let found = found.iter().map(|row| {
        let mut key: Vec<String> = (0..row.len()).map(|i| row.get(i)).collect();
        let place = key.split_off(width);
        DueRow { key, place }
    });
    Ok(found.collect())
}

/// Counts them all, in one snapshot, and those without a date if they are wanted.
///
/// # Errors
/// [`NotErased::Database`].
pub async fn count(
    client: &mut Client,
    rows: &DueRows<'_>,
    undated: bool,
    timeouts: Timeouts,
) -> Result<DueCount, NotErased> {
    let tx = begin(client, timeouts).await?;
    let counted = query(&tx, &rows.count(), &[]).await?;
    // Reads the whole table.
    let undated = match undated {
        true => query(&tx, &rows.undated(), &[]).await?,
        false => Vec::new(),
    };
    tx.rollback().await?;
    let number = |rows: &[Row], at| rows.first().map_or(0, |row| row.get(at));
    Ok(DueCount {
        due: number(&counted, 0),
        held: number(&counted, 1),
        survivors: number(&counted, 2),
        under_way: 0,
        undated: number(&undated, 0),
    })
}

/// Counts those that ought to be gone, by a statement apart from those that choose rows.
///
/// # Errors
/// [`NotErased::Database`].
pub async fn overdue(
    client: &mut Client,
    rows: &DueRows<'_>,
    timeouts: Timeouts,
) -> Result<i64, NotErased> {
    let tx = begin(client, timeouts).await?;
    let counted = query(&tx, &rows.overdue(), &[]).await?;
    tx.rollback().await?;
    Ok(counted.first().map_or(0, |row| row.get(0)))
}

/// Whose the rows with these keys are: positions among them, each with the key of a person, as texts.
///
/// # Errors
/// [`NotErased::Database`].
pub async fn owners(
    client: &mut Client,
    statements: &[Statement],
    keys: &[&[String]],
    timeouts: Timeouts,
) -> Result<Vec<(usize, Vec<String>)>, NotErased> {
    let tx = begin(client, timeouts).await?;
    let mut owners = Vec::new();
    for statement in statements {
        for row in query(&tx, statement, keys).await? {
            let at = usize::try_from(row.get::<_, i32>(0)).unwrap_or(usize::MAX);
            owners.push((at, (1..row.len()).map(|i| row.get(i)).collect()));
        }
    }
    tx.rollback().await?;
    Ok(owners)
}

/// Which of the rows with these keys are still due: positions among them, and whether nothing keeps them.
///
/// # Errors
/// [`NotErased::Database`].
pub async fn still_due(
    client: &mut Client,
    rows: &DueRows<'_>,
    keys: &[&[String]],
    timeouts: Timeouts,
) -> Result<Vec<(usize, bool)>, NotErased> {
    let tx = begin(client, timeouts).await?;
    let found = query(&tx, &rows.still_due(), keys).await?;
    tx.rollback().await?;
    let of = |row: &Row| {
        let at = usize::try_from(row.get::<_, i32>(0)).unwrap_or(usize::MAX);
        (at, row.get(1))
    };
    Ok(found.iter().map(of).collect())
}

/// The day of the oldest of them, or of those with these keys.
///
/// # Errors
/// [`NotErased::Database`].
pub async fn oldest(
    client: &mut Client,
    rows: &DueRows<'_>,
    keys: Option<&[&[String]]>,
    timeouts: Timeouts,
) -> Result<Option<NaiveDate>, NotErased> {
    let tx = begin(client, timeouts).await?;
    let statement = rows.oldest(keys.is_some());
    let found = query(&tx, &statement, keys.unwrap_or_default()).await?;
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

pub(super) async fn begin(
    client: &mut Client,
    timeouts: Timeouts,
) -> Result<Transaction<'_>, NotErased> {
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
pub(super) async fn query(
    tx: &Transaction<'_>,
    statement: &Statement,
    keys: &[&[String]],
) -> Result<Vec<Row>, NotErased> {
    let value = |parameter: &Parameter| -> Box<dyn ToSql + Sync + Send> {
        match parameter {
            Parameter::Text(text) | Parameter::Value(text, _) => Box::new(text.clone()),
            Parameter::SubjectKey(part) => {
                let parts = keys.iter().map(|key| key.get(*part).cloned());
                Box::new(parts.collect::<Vec<Option<String>>>())
            }
            // No other stands in these statements.
            _ => Box::new((0..).take(keys.len()).collect::<Vec<i32>>()),
        }
    };
    let values: Vec<_> = statement.parameters.iter().map(value).collect();
    let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(|v| &**v as _).collect();
    Ok(tx.query(&statement.sql, &values).await?)
}
