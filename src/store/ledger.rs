//! The outbox and the chain it is moved into.
//!
//! Workers write events with their own changes and never touch the chain. One daemon at a time
//! moves what has committed; since a ticket's row lock orders its events, the chain has them in
//! the order in which they happened.

use super::{Result, Store, run_tx};
use crate::ledger::{self, Event, Hash, Head};
use chrono::{DateTime, Utc};
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
            let head = read_head(tx).await?;
            let mut events = tx
                .query(
                    "/* erasured:append_pending */ DELETE FROM erasured.event WHERE id = ANY (ARRAY( \
                       SELECT id FROM erasured.event ORDER BY id LIMIT $1)) RETURNING id, at, kind, ticket_id, body",
                    &[&i64::from(limit)],
                )
                .await?;
            events.sort_by_key(|e| e.get::<_, i64>("id"));
            let entries = ledger::append(
                Head {
                    seq: head.seq,
                    hash: Hash::new(head.hash),
                },
                events.iter().map(event),
            );
            let Some(last) = entries.last() else {
                return Ok(Some((head, 0)));
            };
            let head = LedgerHead {
                seq: last.seq,
                hash: *last.hash.as_bytes(),
            };
            let seqs: Vec<i64> = entries.iter().map(|e| e.seq).collect();
            let times: Vec<DateTime<Utc>> = entries.iter().map(|e| e.event.at).collect();
            let texts: Vec<&str> = entries.iter().map(|e| e.text.as_str()).collect();
            let prevs: Vec<&[u8]> = entries.iter().map(|e| &e.prev.as_bytes()[..]).collect();
            let hashes: Vec<&[u8]> = entries.iter().map(|e| &e.hash.as_bytes()[..]).collect();
            tx.execute(
                "/* erasured:append_pending */ INSERT INTO erasured.ledger (seq, at, entry, prev, hash) \
                 SELECT * FROM unnest($1::int8[], $2::timestamptz[], $3::text[], $4::bytea[], $5::bytea[])",
                &[&seqs, &times, &texts, &prevs, &hashes],
            )
            .await?;
            Ok(Some((head, entries.len() as u64)))
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

fn event(row: &tokio_postgres::Row) -> Event {
    Event {
        at: row.get("at"),
        kind: row.get("kind"),
        ticket: row.get("ticket_id"),
        body: row.get("body"),
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
