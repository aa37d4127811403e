//! Rows that a legal hold covers, looked for while all rows of the batch are locked and none has
//! changed.

use super::super::capture::{self, Captured};
use super::{Execution, HeldRow, NotErased, position};
use crate::name::TableName;
use deadpool_postgres::{Client, GenericClient};
use std::collections::BTreeSet;

impl Execution<'_> {
    /// # Errors
    /// [`NotErased::HeldRows`]: these tickets reach rows that these holds cover.
    pub(super) async fn nothing_is_covered(
        &self,
        client: &impl GenericClient,
        captured: &Captured,
        only: Option<&TableName>,
    ) -> Result<(), NotErased> {
        let mut found = BTreeSet::new();
        for held in self.held {
            for statement in self.plan.covered(held, only) {
                for row in self.query(client, captured, &statement, "").await? {
                    let ticket = self.subjects[position(row.get(0))].ticket;
                    found.insert(HeldRow {
                        ticket,
                        hold: held.hold,
                        table: held.table.clone(),
                    });
                }
            }
        }
        if found.is_empty() {
            return Ok(());
        }
        Err(NotErased::HeldRows(found.into_iter().collect()))
    }

    /// Pieces go before the rest is locked: a covered row anywhere stops them too.
    pub(super) async fn look_before_pieces(&self, client: &mut Client) -> Result<(), NotErased> {
        if self.held.is_empty() {
            return Ok(());
        }
        let tx = client.transaction().await?;
        self.settings(&tx).await?;
        let repeated = self.repeated(&tx).await?;
        let active: Vec<usize> = (0..self.subjects.len())
            .filter(|i| !repeated.contains(i))
            .collect();
        let mut captured = Captured::new(self.plan);
        capture::all(&tx, self, &active, &mut captured, None).await?;
        self.nothing_is_covered(&tx, &captured, None).await?;
        tx.rollback().await?;
        Ok(())
    }
}
