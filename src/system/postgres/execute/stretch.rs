//! A stretch of due rows, in one transaction.

use super::super::value::AsText;
use super::change::{OURS, THEIRS, path};
use super::outcome::{both, judged};
use super::{BeforeChange, Execution, NotErased};
use crate::name::TableName;
use crate::plan::{Between, ChangeKind, Counts, Parameter, Statement, Stretch};
use chrono::NaiveDate;
use deadpool_postgres::{Client, Transaction};
use futures_util::future::{join, join_all, join4};
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

/// What has gone.
#[derive(Debug)]
pub struct Went {
    /// Rows by table.
    pub counts: Counts,
    /// The place of the last row that went; `None` where that is not known any more.
    pub last: Option<Vec<String>>,
}

impl Execution<'_> {
    /// Lets the next rows of a stretch go, at most `limit`. The execution has one subject, whose ticket is the
    /// step. `None` if there are no more.
    ///
    /// # Errors
    /// [`NotErased`]; except for [`NotErased::CommitUnknown`] nothing has happened.
    pub async fn stretch(
        &self,
        client: &mut Client,
        stretch: &Stretch<'_>,
        behind: Option<&[String]>,
        limit: u64,
        before_change: &mut dyn BeforeChange,
    ) -> Result<Option<Went>, NotErased> {
        let tx = client.transaction().await?;
        self.settings(&tx).await?;
        // Its COMMIT may have had no answer.
        let repeated = self.repeated(&tx).await?;
        if !repeated.is_empty() {
            let outcome = self.recall(&tx, repeated).await?;
            tx.rollback().await?;
            let counts = outcome.counts.into_iter().next().unwrap_or_default();
            return Ok(Some(Went { counts, last: None }));
        }
        // Places go to and fro as texts. How many rows lie between two of them the planner must see, and the
        // server's own queries for foreign keys are planned once a session.
        let sql = "/* erasured:settings */ SET LOCAL plan_cache_mode = auto; SET LOCAL datestyle = 'ISO, YMD'; \
                   SET LOCAL intervalstyle = 'postgres'";
        tx.batch_execute(sql).await?;
        let locked = query(&tx, &stretch.lock(behind, limit)).await?;
        let Some(locked) = locked.first() else {
            tx.rollback().await?;
            return Ok(None);
        };
        let rows: i64 = locked.get(0);
        let days = locked.get::<_, Option<NaiveDate>>(1).zip(locked.get(2));
        let last: Vec<String> = (3..locked.len()).map(|i| locked.get(i)).collect();
        fail::fail_point!("before-change");
        let between = Between {
            behind,
            last: &last,
        };
        let mut counts = Counts {
            days,
            ..Counts::default()
        };
        for (table, gone) in self.delete(&tx, stretch, between, rows).await? {
            if gone > 0 {
                let kinds = counts.changed.entry(table.to_string()).or_default();
                *kinds.entry(ChangeKind::Deleted).or_default() += gone;
            }
        }
        // What the database put off until COMMIT happens first, where the probe can see it.
        let all = "/* erasured:constraints */ SET CONSTRAINTS ALL IMMEDIATE";
        tx.batch_execute(all).await?;
        let counts = [counts];
        let left = stretch.left(between);
        let left = nothing(
            &tx,
            stretch.table(),
            "rows that had to go are still there",
            &left,
        );
        let (left, recorded) = join(left, self.record(&tx, &[0], &counts)).await;
        both(left, recorded)?;
        self.commit(tx, before_change).await?;
        let [counts] = counts;
        Ok(Some(Went {
            counts,
            last: Some(last),
        }))
    }

    /// What hangs on the locked rows goes first; how many of each table. The rows are as many as were locked.
    async fn delete<'s>(
        &self,
        tx: &Transaction<'_>,
        stretch: &Stretch<'s>,
        between: Between<'_>,
        locked: i64,
    ) -> Result<Vec<(&'s TableName, i64)>, NotErased> {
        // Sent without waiting for each other; the server does one after the other.
        let children = stretch.children(between);
        let of = children
            .iter()
            .map(|(table, delete, left)| child(tx, table, delete, left.as_ref()));
        let delete = stretch.delete(between);
        let own = execute(tx, &delete);
        let (theirs, gone, own, ours) =
            join4(path(tx, THEIRS), join_all(of), own, path(tx, OURS)).await;
        let ((), (mut gone, (own, ()))) = both(theirs, both(judged(gone), both(own, ours)))?;
        if own != locked {
            return Err(NotErased::Mismatch {
                table: stretch.table().clone(),
                kind: ChangeKind::Deleted,
                matched: locked.unsigned_abs(),
                affected: own.unsigned_abs(),
            });
        }
        gone.push((stretch.table(), own));
        Ok(gone)
    }
}

/// Deletes what hangs on the locked rows by one key; how many there were.
async fn child<'t>(
    tx: &Transaction<'_>,
    table: &'t TableName,
    delete: &Statement,
    left: Option<&Statement>,
) -> Result<(&'t TableName, i64), NotErased> {
    let left = async {
        let label = "rows are left, and the database would take or change them by itself";
        match left {
            Some(left) => nothing(tx, table, label, left).await,
            None => Ok(()),
        }
    };
    let (gone, left) = join(execute(tx, delete), left).await;
    let (gone, ()) = both(gone, left)?;
    Ok((table, gone))
}

async fn nothing(
    tx: &Transaction<'_>,
    table: &TableName,
    label: &str,
    probe: &Statement,
) -> Result<(), NotErased> {
    let found = query(tx, probe).await?;
    let rows: i64 = found.first().map_or(0, |row| row.get(0));
    if rows == 0 {
        return Ok(());
    }
    Err(NotErased::Residual {
        table: table.clone(),
        label: label.to_owned(),
        rows,
    })
}

/// Texts and values are all that stands in a stretch's statements. Of a value the statement says the type.
fn bound(statement: &Statement) -> Vec<(AsText<'_>, Type)> {
    statement.parameters.iter().filter_map(as_text).collect()
}

fn as_text(parameter: &Parameter) -> Option<(AsText<'_>, Type)> {
    match parameter {
        Parameter::Text(text) => Some((AsText(text), Type::TEXT)),
        Parameter::Value(text, _) => Some((AsText(text), Type::UNKNOWN)),
        _ => None,
    }
}

fn given<'b>(bound: &'b [(AsText<'_>, Type)]) -> Vec<(&'b (dyn ToSql + Sync), Type)> {
    let given = bound.iter();
    given
        .map(|(value, of)| (value as &(dyn ToSql + Sync), of.clone()))
        .collect()
}

/// Not kept prepared: the places are other ones each time, and the planner must see them. Sent in one go.
async fn query(tx: &Transaction<'_>, statement: &Statement) -> Result<Vec<Row>, NotErased> {
    let bound = bound(statement);
    Ok(tx.query_typed(&statement.sql, &given(&bound)).await?)
}

async fn execute(tx: &Transaction<'_>, statement: &Statement) -> Result<i64, NotErased> {
    let bound = bound(statement);
    let rows = tx.execute_typed(&statement.sql, &given(&bound)).await?;
    Ok(i64::try_from(rows).unwrap_or(i64::MAX))
}
