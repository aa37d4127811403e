//! Whether something keeps the rows that are to go, asked while they are locked and nothing has changed.

use super::super::capture::Captured;
use super::{Execution, NotErased};
use deadpool_postgres::Transaction;

impl Execution<'_> {
    /// # Errors
    /// [`NotErased::Spared`].
    pub(super) async fn nothing_spares(
        &self,
        tx: &Transaction<'_>,
        captured: &Captured,
    ) -> Result<(), NotErased> {
        for probe in &self.plan.spared {
            self.one_probe(tx, captured, probe)
                .await
                .map_err(|error| match error {
                    NotErased::Residual { table, label, .. } => {
                        let by = label;
                        NotErased::Spared { table, by }
                    }
                    other => other,
                })?;
        }
        Ok(())
    }
}
