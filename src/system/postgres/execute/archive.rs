//! What is wanted of captured rows before they go: the rows themselves, and their days.

use super::{BeforeChange, Execution, HandOver, NotErased, Unanswered};
use crate::plan::{ArchivedFile, ChangeKind, HandedOver, Statement};
use crate::system::postgres::capture::Captured;
use chrono::NaiveDate;
use deadpool_postgres::Transaction;
use futures_util::TryStreamExt;
use std::pin::pin;
use tokio_postgres::types::ToSql;

/// Bytes of rows that are handed over in one piece; so many, and those of one row more, are in memory.
const PIECE: usize = 1 << 20;

impl Execution<'_> {
    /// Hands rows over that are to be kept elsewhere. The files in which they are then.
    pub(super) async fn hand_over(
        &self,
        tx: &Transaction<'_>,
        captured: &Captured,
        before_change: &mut dyn BeforeChange,
    ) -> Result<Vec<ArchivedFile>, NotErased> {
        let Some(taker) = before_change.hand_over() else {
            return Ok(Vec::new());
        };
        taker.begin(Unanswered::of(tx).await?).await?;
        // Texts that read the same wherever they are read; triggers see the settings that they know.
        tx.batch_execute(BEGIN).await?;
        for (of, wanted) in taker.wanted().iter().enumerate() {
            self.hand_over_one(tx, captured, (of, wanted), taker)
                .await?;
        }
        tx.batch_execute(END).await?;
        taker.end().await
    }

    async fn hand_over_one(
        &self,
        tx: &Transaction<'_>,
        captured: &Captured,
        (of, wanted): (usize, &HandedOver),
        taker: &mut dyn HandOver,
    ) -> Result<(), NotErased> {
        let matched: i64 = captured.count(wanted.rows).values().sum();
        if matched == 0 {
            return Ok(());
        }
        let bound = self.bind(captured, &wanted.statement, 0);
        let bound: Vec<&(dyn ToSql + Sync)> = bound.iter().map(|b| &**b as _).collect();
        let prepared = tx.prepare_cached(&self.text(&wanted.statement, "")).await?;
        let mut found = pin!(tx.query_raw(&prepared, bound).await?);
        let (mut piece, mut bytes, mut rows) = (Vec::new(), 0, 0_i64);
        while let Some(row) = found.try_next().await? {
            let texts: Vec<Option<String>> = (0..row.len()).map(|at| row.get(at)).collect();
            // A NULL takes up room too.
            bytes += texts.iter().flatten().map(String::len).sum::<usize>() + texts.len() * 24;
            piece.push(texts);
            rows += 1;
            if bytes >= PIECE {
                taker.rows(of, std::mem::take(&mut piece)).await?;
                bytes = 0;
            }
        }
        taker.rows(of, piece).await?;
        if rows == matched {
            return Ok(());
        }
        Err(NotErased::Mismatch {
            table: self.plan.sets[wanted.rows.set].table.clone(),
            kind: ChangeKind::Deleted,
            matched: matched.unsigned_abs(),
            affected: rows.unsigned_abs(),
        })
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
