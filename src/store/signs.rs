//! Signs that somebody else may be asking, told to the control schema, which acts on them.

use super::{Result, Store, Tx, run_tx};
use uuid::Uuid;

/// What was changed of a ticket's person.
#[derive(Clone, Debug)]
pub struct ContactChange {
    /// The ticket.
    pub ticket: Uuid,
    /// What was changed, as the policy calls it.
    pub contact: String,
    /// A keyed hash of when: another change is another sign.
    pub mark: String,
}

impl Store {
    /// Notes changes of what reaches a ticket's person; those known already change nothing. Returns the
    /// tickets that were stopped, which were approved by somebody who did not know.
    pub async fn note_changes(&self, changes: &[ContactChange]) -> Result<Vec<Uuid>> {
        run_tx!(self, "note_changes", |tx| noted(tx, changes).await)
    }
}

pub(super) async fn noted(tx: &Tx<'_>, changes: &[ContactChange]) -> Result<Vec<Uuid>> {
    if changes.is_empty() {
        return Ok(Vec::new());
    }
    let tickets: Vec<Uuid> = changes.iter().map(|c| c.ticket).collect();
    let kinds = vec!["contact_changed"; changes.len()];
    let contacts: Vec<&str> = changes.iter().map(|c| c.contact.as_str()).collect();
    let marks: Vec<&str> = changes.iter().map(|c| c.mark.as_str()).collect();
    let sql = "/* erasured:note_signs */ SELECT erasured.note_signs($1, $2, $3, $4)";
    let rows = tx
        .query(sql, &[&tickets, &kinds, &contacts, &marks])
        .await?;
    Ok(rows.iter().map(|r| r.get(0)).collect())
}

/// What happened before to the persons of these tickets.
pub(super) async fn looked_for(tx: &Tx<'_>, tickets: &[Uuid]) -> Result<Vec<Uuid>> {
    let sql = "/* erasured:look_for_signs */ SELECT erasured.look_for_signs($1)";
    let rows = tx.query(sql, &[&tickets]).await?;
    Ok(rows.iter().map(|r| r.get(0)).collect())
}
