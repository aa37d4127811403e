//! From a name to a person: tickets whose subject is not found yet.

use super::forecast;
use super::signs::{self, ContactChange};
use super::tickets::IdentifierValue;
use super::{Result, Store, run_tx};
use chrono::{DateTime, Utc};
use uuid::Uuid;

/// A ticket whose person has still to be found.
#[derive(Debug)]
pub struct Unresolved {
    /// The ticket.
    pub id: Uuid,
    /// Subject kind.
    pub subject: String,
    /// Scope.
    pub scope: String,
    /// When the person asked: where the clock starts.
    pub requested_at: DateTime<Utc>,
    /// Name and value.
    pub identifiers: Vec<(String, IdentifierValue)>,
}

/// By what one ticket names its person.
#[derive(Debug)]
pub struct Naming {
    /// The person as found, encrypted; `None` before and after.
    pub sealed: Option<Vec<u8>>,
    /// As typed by the desk; empty once the ticket is closed.
    pub identifiers: Vec<(String, IdentifierValue)>,
}

/// A ticket whose person is found.
#[derive(Debug)]
pub struct Resolved {
    /// The ticket.
    pub id: Uuid,
    /// Keyed hash of the root key, lower-case hex.
    pub subject_hash: String,
    /// Name and keyed hash of every identifier by which the person may be asked for later, given
    /// by the desk or found in the root row.
    pub identifier_hashes: Vec<(String, String)>,
    /// Root key and residual identifiers, encrypted.
    pub sealed: Vec<u8>,
    /// By the SLA profile; counts only where none is counted yet.
    pub due_at: DateTime<Utc>,
    /// Not before this, if later than the cooling-off time demands.
    pub not_before: Option<DateTime<Utc>>,
    /// What of them was changed of late: name, and keyed hash of when.
    pub changes: Vec<(String, String)>,
}

/// What became of tickets whose persons were found.
#[derive(Debug)]
pub struct Taken {
    /// How many were taken; others had been resolved meanwhile, or rejected.
    pub tickets: u64,
    /// Approved ones that signs of an impostor have stopped.
    pub stopped: Vec<Uuid>,
}

impl Store {
    /// Tickets to find a person for, oldest request first.
    pub async fn unresolved(&self, limit: u32) -> Result<Vec<Unresolved>> {
        run_tx!(self, "unresolved", |tx| {
            let rows = tx
                .query(
                    "/* erasured:unresolved */ SELECT t.id, t.subject, t.scope, t.requested_at, i.names, i.texts \
                       FROM (SELECT id, subject, scope, requested_at FROM erasured.ticket \
                              WHERE state IN ('received', 'verified', 'approved') \
                                AND subject_hash IS NULL AND problem_code IS NULL \
                              ORDER BY requested_at LIMIT $1) t, \
                            LATERAL (SELECT coalesce(array_agg(x.name ORDER BY x.name), '{}') AS names, \
                                            coalesce(array_agg(x.value ORDER BY x.name), '{}') AS texts \
                                       FROM erasured.ticket_identifier x \
                                      WHERE x.ticket_id = t.id AND x.value IS NOT NULL) i",
                    &[&i64::from(limit)],
                )
                .await?;
            Ok(rows
                .iter()
                .map(|r| {
                    let values = r
                        .get::<_, Vec<String>>("texts")
                        .into_iter()
                        .map(IdentifierValue::new);
                    Unresolved {
                        id: r.get("id"),
                        subject: r.get("subject"),
                        scope: r.get("scope"),
                        requested_at: r.get("requested_at"),
                        identifiers: r
                            .get::<_, Vec<String>>("names")
                            .into_iter()
                            .zip(values)
                            .collect(),
                    }
                })
                .collect())
        })
    }

    /// By what a ticket names its person: for showing its plan.
    pub async fn naming(&self, ticket: Uuid) -> Result<Naming> {
        run_tx!(self, "naming", |tx| {
            let sealed = tx
                .query_one(
                    "/* erasured:naming */ SELECT sealed FROM erasured.ticket WHERE id = $1",
                    &[&ticket],
                )
                .await?
                .get(0);
            let typed = tx
                .query(
                    "/* erasured:naming */ SELECT name, value FROM erasured.ticket_identifier \
                      WHERE ticket_id = $1 AND value IS NOT NULL ORDER BY name",
                    &[&ticket],
                )
                .await?;
            Ok(Naming {
                sealed,
                identifiers: typed
                    .iter()
                    .map(|r| (r.get(0), IdentifierValue::new(r.get(1))))
                    .collect(),
            })
        })
    }

    /// Records who was found. Tickets that another daemon has resolved meanwhile, or that were
    /// rejected, are left as they are.
    pub async fn resolve(&self, resolved: &[Resolved]) -> Result<Taken> {
        let ids: Vec<Uuid> = resolved.iter().map(|r| r.id).collect();
        let subjects: Vec<&str> = resolved.iter().map(|r| r.subject_hash.as_str()).collect();
        let sealed: Vec<&[u8]> = resolved.iter().map(|r| r.sealed.as_slice()).collect();
        let due: Vec<DateTime<Utc>> = resolved.iter().map(|r| r.due_at).collect();
        let not_before: Vec<Option<DateTime<Utc>>> =
            resolved.iter().map(|r| r.not_before).collect();
        let hashes = || {
            resolved
                .iter()
                .flat_map(|r| r.identifier_hashes.iter().map(move |(n, h)| (r.id, n, h)))
        };
        let of: Vec<Uuid> = hashes().map(|h| h.0).collect();
        let names: Vec<&str> = hashes().map(|h| h.1.as_str()).collect();
        let values: Vec<&str> = hashes().map(|h| h.2.as_str()).collect();
        run_tx!(self, "resolve", |tx| {
            let taken: Vec<Uuid> = tx
                .query(
                    "/* erasured:resolve */ WITH open AS MATERIALIZED ( \
                       SELECT id FROM erasured.ticket WHERE id = ANY ($1) AND subject_hash IS NULL \
                          AND state IN ('received', 'verified', 'approved', 'on_hold') ORDER BY id FOR UPDATE) \
                     UPDATE erasured.ticket t SET subject_hash = n.subject_hash, sealed = n.sealed, due_at = coalesce(t.due_at, n.due_at), \
                            not_before = greatest(t.not_before, n.not_before), \
                            next_attempt_at = CASE WHEN t.state = 'approved' \
                              THEN greatest(t.not_before, n.not_before) ELSE t.next_attempt_at END, \
                            problem_code = NULL, problem = NULL \
                       FROM open, unnest($1::uuid[], $2::text[], $3::bytea[], $4::timestamptz[], $5::timestamptz[]) \
                            AS n (id, subject_hash, sealed, due_at, not_before) \
                      WHERE t.id = open.id AND n.id = open.id RETURNING t.id",
                    &[&ids, &subjects, &sealed, &due, &not_before],
                )
                .await?
                .iter()
                .map(|r| r.get(0))
                .collect();
            tx.execute(
                "/* erasured:resolve */ INSERT INTO erasured.ticket_identifier (ticket_id, name, hash, given) \
                 SELECT n.ticket_id, n.name, n.hash, false FROM unnest($1::uuid[], $2::text[], $3::text[]) \
                        AS n (ticket_id, name, hash) WHERE n.ticket_id = ANY ($4) \
                 ON CONFLICT (ticket_id, name) DO UPDATE SET hash = excluded.hash",
                &[&of, &names, &values, &taken],
            )
            .await?;
            forecast::awaits(tx, &taken).await?;
            let changes: Vec<ContactChange> = resolved
                .iter()
                .filter(|r| taken.contains(&r.id))
                .flat_map(|r| {
                    r.changes.iter().map(|(contact, mark)| ContactChange {
                        ticket: r.id,
                        contact: contact.clone(),
                        mark: mark.clone(),
                    })
                })
                .collect();
            let mut stopped = signs::noted(tx, &changes).await?;
            stopped.extend(signs::looked_for(tx, &taken).await?);
            Ok(Taken {
                tickets: taken.len() as u64,
                stopped,
            })
        })
    }

    /// The reference of the ticket that erased whoever had all of this: name and keyed hash.
    pub async fn erased_before(
        &self,
        subject: &str,
        hashes: &[(String, String)],
    ) -> Result<Option<String>> {
        let names: Vec<&str> = hashes.iter().map(|h| h.0.as_str()).collect();
        let hashes: Vec<&str> = hashes.iter().map(|h| h.1.as_str()).collect();
        run_tx!(self, "erased_before", |tx| {
            let sql = "/* erasured:erased_before */ SELECT erasured.erased_before($1, $2, $3)";
            Ok(tx
                .query_one(sql, &[&subject, &names, &hashes])
                .await?
                .get(0))
        })
    }

    /// Nobody, or more than one, was found: the ticket stays where it is with this problem until
    /// somebody retries or rejects it. `problem` must be free of personal data.
    pub async fn unresolvable(&self, id: Uuid, code: &str, problem: &str) -> Result<()> {
        run_tx!(self, "unresolvable", |tx| {
            tx.execute(
                "/* erasured:unresolvable */ WITH stopped AS ( \
                   UPDATE erasured.ticket SET problem_code = $2, problem = $3, attempt = attempt + 1 \
                    WHERE id = $1 AND subject_hash IS NULL AND problem_code IS NULL \
                      AND state IN ('received', 'verified', 'approved') RETURNING id) \
                 INSERT INTO erasured.event (kind, ticket_id, body) \
                 SELECT 'unresolvable', id, jsonb_build_object('code', $2::text) FROM stopped",
                &[&id, &code, &problem],
            )
            .await?;
            Ok(())
        })
    }
}
