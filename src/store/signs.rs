//! Signs that somebody else may be asking, told to the control schema, which acts on them.

use super::tickets::{IdentifierValue, act_as};
use super::{Result, Store, StoreError, Tx, run_tx};
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
    /// Says who asks by a ticket; returns its state.
    pub async fn name_requester(
        &self,
        ticket: Uuid,
        requester: &IdentifierValue,
        actor: Option<&str>,
    ) -> Result<String> {
        if requester.expose().contains('\0') {
            return Err(StoreError::Nul("the requester"));
        }
        run_tx!(self, "name_requester", |tx| {
            act_as(tx, actor).await?;
            let sql = "/* erasured:name_requester */ SELECT erasured.name_requester($1, $2)";
            Ok(tx
                .query_one(sql, &[&ticket, &requester.expose()])
                .await?
                .get(0))
        })
    }

    /// Those who ask and are not hashed yet.
    pub async fn unread_requesters(&self, limit: u32) -> Result<Vec<(Uuid, IdentifierValue)>> {
        run_tx!(self, "unread_requesters", |tx| {
            let sql = "/* erasured:unread_requesters */ SELECT ticket_id, value FROM erasured.requester \
                        WHERE value IS NOT NULL ORDER BY ticket_id LIMIT $1";
            let rows = tx.query(sql, &[&i64::from(limit)]).await?;
            let rows = rows.iter();
            Ok(rows
                .map(|r| (r.get(0), IdentifierValue::new(r.get(1))))
                .collect())
        })
    }

    /// Puts keyed hashes in the place of who asks. Returns the tickets that this has stopped.
    pub async fn requesters_read(&self, hashed: &[(Uuid, String)]) -> Result<Vec<Uuid>> {
        let tickets: Vec<Uuid> = hashed.iter().map(|h| h.0).collect();
        let hashes: Vec<&str> = hashed.iter().map(|h| h.1.as_str()).collect();
        run_tx!(self, "requesters_read", |tx| {
            let sql = "/* erasured:requesters_read */ SELECT erasured.requester_read($1, $2)";
            let rows = tx.query(sql, &[&tickets, &hashes]).await?;
            Ok(rows.iter().map(|r| r.get(0)).collect())
        })
    }

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
