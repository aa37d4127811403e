//! Probes: what must be gone, or must still be there, before COMMIT.

use super::super::capture::Captured;
use super::outcome::{both, judged};
use super::{Execution, NotErased};
use crate::plan::Probe;
use deadpool_postgres::Transaction;
use futures_util::future::{join, join_all};

impl Execution<'_> {
    pub(super) async fn probe(
        &self,
        tx: &Transaction<'_>,
        captured: &Captured,
    ) -> Result<(), NotErased> {
        // What the database put off until COMMIT happens first, where the probes can see it.
        let now = async {
            let all = "/* erasured:constraints */ SET CONSTRAINTS ALL IMMEDIATE";
            Ok(tx.batch_execute(all).await?)
        };
        let probes = join_all(
            self.plan
                .probes
                .iter()
                .map(|probe| self.one_probe(tx, captured, probe)),
        );
        let (now, probes): (Result<(), NotErased>, _) = join(now, probes).await;
        both(now, judged(probes))?;
        Ok(())
    }

    pub(super) async fn one_probe(
        &self,
        tx: &Transaction<'_>,
        captured: &Captured,
        probe: &Probe,
    ) -> Result<(), NotErased> {
        let expected: i64 = probe
            .expect
            .map_or(0, |rows| captured.count(rows).values().sum());
        let found = self.query(tx, captured, &probe.statement, "").await?;
        let found: i64 = found.first().map_or(0, |row| row.get(0));
        if found == expected {
            return Ok(());
        }
        Err(NotErased::Residual {
            table: probe.table.clone(),
            label: probe.label.clone(),
            rows: (found - expected).abs(),
        })
    }
}
