//! Proofs: looked up, never changed.

use super::{Result, Store, run_tx};
use chrono::{DateTime, Utc};
use serde::Serialize;
use tokio_postgres::Row;
use uuid::Uuid;

/// A certificate as it is kept.
#[derive(Clone, Debug, Serialize)]
pub struct CertificateRow {
    /// Its id.
    pub id: Uuid,
    /// The ticket it is about.
    pub ticket: Uuid,
    /// The ticket's reference.
    pub reference: String,
    /// `erasure`, or `supplement` for a deferral that ended.
    pub kind: String,
    /// When it was stored.
    pub issued_at: DateTime<Utc>,
    /// Key it is signed by.
    pub kid: String,
    /// Keyed hash of the root key.
    pub subject_hash: String,
    /// The certificate.
    pub jws: String,
}

// The status view, because an auditor may read that and not the table of tickets.
const SELECT: &str = "SELECT c.id, c.ticket_id, t.reference, c.kind, c.issued_at, c.kid, c.subject_hash, c.jws \
                        FROM erasured.certificate c JOIN erasured.ticket_status t ON t.id = c.ticket_id";

impl Store {
    /// One certificate.
    pub async fn certificate(&self, id: Uuid) -> Result<Option<CertificateRow>> {
        run_tx!(self, "certificate", |tx| {
            let sql = format!("/* erasured:certificate */ {SELECT} WHERE c.id = $1");
            Ok(tx.query_opt(&sql, &[&id]).await?.as_ref().map(row))
        })
    }

    /// Newest first.
    pub async fn certificates(&self, limit: u32) -> Result<Vec<CertificateRow>> {
        run_tx!(self, "certificates", |tx| {
            let sql = format!(
                "/* erasured:certificates */ {SELECT} ORDER BY c.issued_at DESC, c.id LIMIT $1"
            );
            Ok(tx
                .query(&sql, &[&i64::from(limit)])
                .await?
                .iter()
                .map(row)
                .collect())
        })
    }

    /// Was this person erased, and when? By the keyed hash of the root key or of an identifier;
    /// oldest first.
    pub async fn find_by_hash(&self, hash: &str) -> Result<Vec<CertificateRow>> {
        run_tx!(self, "find_by_hash", |tx| {
            let sql = format!(
                "/* erasured:find_by_hash */ {SELECT} WHERE c.ticket_id IN ( \
                   SELECT id FROM erasured.ticket WHERE subject_hash = $1 \
                   UNION SELECT ticket_id FROM erasured.ticket_identifier WHERE hash = $1) ORDER BY c.issued_at, c.id"
            );
            Ok(tx.query(&sql, &[&hash]).await?.iter().map(row).collect())
        })
    }
}

fn row(r: &Row) -> CertificateRow {
    CertificateRow {
        id: r.get("id"),
        ticket: r.get("ticket_id"),
        reference: r.get("reference"),
        kind: r.get("kind"),
        issued_at: r.get("issued_at"),
        kid: r.get("kid"),
        subject_hash: r.get("subject_hash"),
        jws: r.get("jws"),
    }
}
