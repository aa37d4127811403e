//! What is wanted of captured rows before they go: the rows themselves, and their days.

use super::{BeforeChange, Execution, NotErased, Unanswered};
use crate::plan::{ArchivedFile, ChangeKind, Statement};
use crate::system::postgres::capture::Captured;
use chrono::NaiveDate;
use deadpool_postgres::Transaction;

impl Execution<'_> {
    pub(super) async fn hand_over(
        &self,
        tx: &Transaction<'_>,
        captured: &Captured,
        before_change: &mut dyn BeforeChange,
    ) -> Result<Vec<ArchivedFile>, NotErased> {
        let Some((statement, of)) = before_change.wants() else {
            return Ok(Vec::new());
        };
        let session = Unanswered::of(tx).await?;
        // Texts that read the same wherever they are read; triggers see the settings that they know.
        tx.batch_execute(BEGIN).await?;
        let rows = self.query(tx, captured, &statement, "").await?;
        tx.batch_execute(END).await?;
        let matched: i64 = captured.count(of).values().sum();
        if i64::try_from(rows.len()).ok() != Some(matched) {
            return Err(NotErased::Mismatch {
                table: self.plan.sets[of.set].table.clone(),
                kind: ChangeKind::Deleted,
                matched: matched.unsigned_abs(),
                affected: rows.len() as u64,
            });
        }
        let texts = |row: &tokio_postgres::Row| (0..row.len()).map(|at| row.get(at)).collect();
        let rows = rows.iter().map(texts).collect();
        before_change.given(rows, session).await
    }

    /// Of captured rows the first and the last day, now that they hold still.
    pub(super) async fn days(
        &self,
        tx: &Transaction<'_>,
        captured: &Captured,
        dated: Option<Statement>,
    ) -> Result<Option<(NaiveDate, NaiveDate)>, NotErased> {
        let Some(statement) = dated else {
            return Ok(None);
        };
        let found = self.query(tx, captured, &statement, "").await?;
        let found = found.first();
        Ok(found.and_then(|row| row.get::<_, Option<_>>(0).zip(row.get(1))))
    }
}

const BEGIN: &str = "/* erasured:archive */ SAVEPOINT archive; SET LOCAL datestyle = 'ISO, YMD'; \
     SET LOCAL intervalstyle = 'iso_8601'; SET LOCAL bytea_output = 'hex'; SET LOCAL extra_float_digits = 1; \
     SET LOCAL xmloption = 'content'; SET LOCAL lc_monetary = 'C'";
const END: &str = "/* erasured:archive */ ROLLBACK TO archive; RELEASE archive";
