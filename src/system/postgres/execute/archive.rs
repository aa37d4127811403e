//! Hands over the rows that are wanted elsewhere before they go.

use super::{BeforeChange, Execution, NotErased, Unanswered};
use crate::plan::ChangeKind;
use crate::system::postgres::capture::Captured;
use deadpool_postgres::Transaction;

impl Execution<'_> {
    pub(super) async fn hand_over(
        &self,
        tx: &Transaction<'_>,
        captured: &Captured,
        before_change: &mut dyn BeforeChange,
    ) -> Result<(), NotErased> {
        let Some((statement, of)) = before_change.wants() else {
            return Ok(());
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
}

const BEGIN: &str = "/* erasured:archive */ SAVEPOINT archive; SET LOCAL datestyle = 'ISO, YMD'; \
     SET LOCAL intervalstyle = 'iso_8601'; SET LOCAL bytea_output = 'hex'; SET LOCAL extra_float_digits = 1; \
     SET LOCAL xmloption = 'content'; SET LOCAL lc_monetary = 'C'";
const END: &str = "/* erasured:archive */ ROLLBACK TO archive; RELEASE archive";
