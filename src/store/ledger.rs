//! The outbox and the chain it is moved into.
//!
//! Workers write events with their own changes and never touch the chain. One daemon at a time
//! moves what has committed; since a ticket's row lock orders its events, the chain has them in
//! the order in which they happened.

use super::{Result, Store, run_tx};
use chrono::{DateTime, SecondsFormat, Utc};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// The chain's end; `seq` 0 and zeros for an empty one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LedgerHead {
    /// Number of the last entry.
    pub seq: i64,
    /// Its hash.
    pub hash: [u8; 32],
}

/// One entry, as it is kept.
#[derive(Clone, Debug)]
pub struct LedgerRow {
    /// From 1, without gaps.
    pub seq: i64,
    /// What is hashed.
    pub entry: String,
    /// Hash of the entry before.
    pub prev: Vec<u8>,
    /// SHA-256 of 0x00, `prev` and `entry`.
    pub hash: Vec<u8>,
}

impl Store {
    /// Moves up to `limit` events from the outbox into the chain and returns the new end with how
    /// many were moved. `None` if another daemon is doing so just now.
    pub async fn append_pending(&self, limit: u32) -> Result<Option<(LedgerHead, u64)>> {
        run_tx!(self, "append_pending", |tx| {
            // Of the transaction, so that a pooler cannot strand it.
            let alone: bool = tx
                .query_one(
                    "/* erasured:append_pending */ SELECT pg_try_advisory_xact_lock(hashtextextended('erasured.ledger', 0))",
                    &[],
                )
                .await?
                .get(0);
            if !alone {
                return Ok(None);
            }
            let mut head = read_head(tx).await?;
            let mut events = tx
                .query(
                    "/* erasured:append_pending */ DELETE FROM erasured.event WHERE id = ANY (ARRAY( \
                       SELECT id FROM erasured.event ORDER BY id LIMIT $1)) RETURNING id, at, kind, ticket_id, body",
                    &[&i64::from(limit)],
                )
                .await?;
            if events.is_empty() {
                return Ok(Some((head, 0)));
            }
            events.sort_by_key(|e| e.get::<_, i64>("id"));
            let (mut seqs, mut times, mut texts, mut prevs, mut hashes) =
                (vec![], vec![], vec![], vec![], vec![]);
            for event in &events {
                let at: DateTime<Utc> = event.get("at");
                let text = entry_text(
                    head.seq + 1,
                    at,
                    event.get("kind"),
                    event.get("ticket_id"),
                    &event.get("body"),
                );
                let next = LedgerHead {
                    seq: head.seq + 1,
                    hash: chain(&head.hash, &text),
                };
                seqs.push(next.seq);
                times.push(at);
                texts.push(text);
                prevs.push(head.hash.to_vec());
                hashes.push(next.hash.to_vec());
                head = next;
            }
            tx.execute(
                "/* erasured:append_pending */ INSERT INTO erasured.ledger (seq, at, entry, prev, hash) \
                 SELECT * FROM unnest($1::int8[], $2::timestamptz[], $3::text[], $4::bytea[], $5::bytea[])",
                &[&seqs, &times, &texts, &prevs, &hashes],
            )
            .await?;
            Ok(Some((head, events.len() as u64)))
        })
    }

    /// The chain's end.
    pub async fn head(&self) -> Result<LedgerHead> {
        run_tx!(self, "head", |tx| read_head(tx).await)
    }

    /// Entries from `seq` on, in order; an empty answer is the end.
    pub async fn walk(&self, seq: i64, limit: u32) -> Result<Vec<LedgerRow>> {
        run_tx!(self, "walk", |tx| {
            let rows = tx
                .query(
                    "/* erasured:walk */ SELECT seq, entry, prev, hash FROM erasured.ledger WHERE seq >= $1 ORDER BY seq LIMIT $2",
                    &[&seq, &i64::from(limit)],
                )
                .await?;
            Ok(rows
                .iter()
                .map(|r| LedgerRow {
                    seq: r.get(0),
                    entry: r.get(1),
                    prev: r.get(2),
                    hash: r.get(3),
                })
                .collect())
        })
    }

    /// Writes an event that no change of a ticket writes by itself. `body` must be free of
    /// personal data: nothing is ever removed from the ledger.
    pub async fn record(
        &self,
        kind: &str,
        ticket: Option<Uuid>,
        body: &serde_json::Value,
    ) -> Result<()> {
        run_tx!(self, "record", |tx| {
            let sql = "/* erasured:record */ INSERT INTO erasured.event (kind, ticket_id, body) VALUES ($1, $2, $3)";
            tx.execute(sql, &[&kind, &ticket, body]).await?;
            Ok(())
        })
    }
}

async fn read_head(tx: &super::Tx<'_>) -> Result<LedgerHead> {
    let row = tx
        .query_opt(
            "/* erasured:head */ SELECT seq, hash FROM erasured.ledger ORDER BY seq DESC LIMIT 1",
            &[],
        )
        .await?;
    Ok(row.map_or(
        LedgerHead {
            seq: 0,
            hash: [0; 32],
        },
        |r| {
            let mut hash = [0; 32];
            hash.copy_from_slice(r.get(1)); // The table's CHECK says 32 bytes.
            LedgerHead {
                seq: r.get(0),
                hash,
            }
        },
    ))
}

// To be replaced by crate::ledger when that is merged.
fn entry_text(
    seq: i64,
    at: DateTime<Utc>,
    kind: &str,
    ticket: Option<Uuid>,
    body: &serde_json::Value,
) -> String {
    let at = at.to_rfc3339_opts(SecondsFormat::Micros, true);
    let ticket = serde_json::json!(ticket);
    let kind = serde_json::json!(kind);
    format!(r#"{{"seq":{seq},"at":"{at}","kind":{kind},"ticket":{ticket},"body":{body}}}"#)
}

// To be replaced by crate::ledger when that is merged.
fn chain(prev: &[u8; 32], text: &str) -> [u8; 32] {
    Sha256::new()
        .chain_update([0])
        .chain_update(prev)
        .chain_update(text)
        .finalize()
        .into()
}
