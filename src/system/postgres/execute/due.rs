//! Whether people whom a retention rule names are due still, asked while their rows are locked.

use super::super::capture::Captured;
use super::{Execution, NotErased, position};
use crate::plan::WhenLocked;
use deadpool_postgres::Transaction;
use std::collections::BTreeSet;

/// Tickets whose subjects must be due, and how that is asked.
#[derive(Clone, Debug)]
pub struct MustBeDue {
    /// Positions in the batch.
    pub tickets: Vec<usize>,
    /// The question; `None` if the calendar has nobody yet.
    pub asked: Option<WhenLocked>,
}

impl Execution<'_> {
    /// From here on nobody can come back: their rows are locked, and so is what hangs on them and counts.
    ///
    /// # Errors
    /// [`NotErased::NotDue`].
    pub(super) async fn all_are_due(
        &self,
        tx: &Transaction<'_>,
        captured: &Captured,
        due: &[MustBeDue],
    ) -> Result<(), NotErased> {
        for must in due {
            let mut found = BTreeSet::new();
            if let Some(asked) = &must.asked {
                for lock in &asked.locks {
                    self.query(tx, captured, lock, "").await?;
                }
                let rows = self.query(tx, captured, &asked.still_due, "").await?;
                found.extend(rows.iter().map(|row| position(row.get(0))));
            }
            let mut taking_part = must.tickets.iter().filter(|t| captured.active.contains(t));
            if taking_part.any(|ticket| !found.contains(ticket)) {
                return Err(NotErased::NotDue);
            }
        }
        Ok(())
    }
}
