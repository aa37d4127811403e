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

/// What the outbox and the ledger are asked about a certificate.
#[derive(Clone, Debug)]
pub struct Digest {
    /// Its id.
    pub id: Uuid,
    /// SHA-256 of its JWS, lower-case hex.
    pub sha256: String,
    /// Its event is still in the outbox, not yet in the ledger.
    pub pending: bool,
}

const DIGEST: &str = "SELECT c.id, c.sha256, EXISTS ( \
       SELECT FROM erasured.event e WHERE e.kind = 'certificate' \
          AND e.body->>'certificate' = c.id::text AND e.body->>'sha256' = c.sha256) AS pending \
  FROM (SELECT id, encode(sha256(convert_to(jws, 'UTF8')), 'hex') AS sha256 FROM ( \
       SELECT id, jws FROM erasured.certificate UNION ALL SELECT id, jws FROM erasured.run_certificate) AS u";

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

    /// Those of these certificates that there are.
    pub async fn digests_of(&self, ids: &[Uuid]) -> Result<Vec<Digest>> {
        run_tx!(self, "digests_of", |tx| {
            let sql = format!("/* erasured:digests_of */ {DIGEST} WHERE id = ANY ($1)) AS c");
            Ok(tx.query(&sql, &[&ids]).await?.iter().map(digest).collect())
        })
    }

    /// Certificates behind this id, in the order of ids; an empty answer is the end.
    pub async fn digests_after(&self, id: Uuid, limit: u32) -> Result<Vec<Digest>> {
        run_tx!(self, "digests_after", |tx| {
            let sql = format!(
                "/* erasured:digests_after */ {DIGEST} WHERE id > $1 ORDER BY id LIMIT $2) AS c ORDER BY c.id"
            );
            let rows = tx.query(&sql, &[&id, &i64::from(limit)]).await?;
            Ok(rows.iter().map(digest).collect())
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

fn digest(r: &Row) -> Digest {
    Digest {
        id: r.get(0),
        sha256: r.get(1),
        pending: r.get(2),
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
