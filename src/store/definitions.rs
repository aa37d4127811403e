//! The definitions for which each scope's plan was last known to fit: what `check` compares with.

use super::{Result, Store, run_tx};
use chrono::{DateTime, Utc};

/// The definitions within a scope's reach in one system.
#[derive(Clone, Debug)]
pub struct Remembered {
    /// Subject kind.
    pub subject: String,
    /// Scope.
    pub scope: String,
    /// System.
    pub system: String,
    /// Of the policy that reached them.
    pub policy_sha256: String,
    /// The plan's fingerprint of them.
    pub fingerprint: String,
    /// [`crate::lineage::Definitions`] as JSON; no personal data.
    pub body: String,
}

/// When they replace what was remembered before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// A plan is about to run on them.
    Ran,
    /// A policy was found to fit: only one that is new has been accepted by it.
    Fits,
}

impl Store {
    /// Remembers definitions in place of earlier ones of the same scopes and systems.
    pub async fn remember(&self, definitions: &[Remembered], when: When) -> Result<()> {
        let column = |of: fn(&Remembered) -> &String| -> Vec<&str> {
            definitions.iter().map(|d| of(d).as_str()).collect()
        };
        let subjects = column(|d| &d.subject);
        let scopes = column(|d| &d.scope);
        let systems = column(|d| &d.system);
        let policies = column(|d| &d.policy_sha256);
        let fingerprints = column(|d| &d.fingerprint);
        let bodies = column(|d| &d.body);
        let ran = when == When::Ran;
        run_tx!(self, "remember", |tx| {
            tx.execute(
                "/* erasured:remember */ INSERT INTO erasured.definitions AS d \
                   (subject, scope, system, policy_sha256, fingerprint, body) \
                 SELECT n.subject, n.scope, n.system, n.policy_sha256, n.fingerprint, n.body::json \
                   FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[]) \
                     AS n (subject, scope, system, policy_sha256, fingerprint, body) \
                  ORDER BY 1, 2, 3 \
                 ON CONFLICT (subject, scope, system) DO UPDATE \
                    SET policy_sha256 = excluded.policy_sha256, fingerprint = excluded.fingerprint, \
                        body = excluded.body, taken_at = now() \
                  WHERE d.policy_sha256 <> excluded.policy_sha256 \
                     OR $7 AND d.fingerprint <> excluded.fingerprint",
                &[&subjects, &scopes, &systems, &policies, &fingerprints, &bodies, &ran],
            )
            .await?;
            Ok(())
        })
    }

    /// What is remembered of all scopes, and since when.
    pub async fn remembered(&self) -> Result<Vec<(Remembered, DateTime<Utc>)>> {
        run_tx!(self, "remembered", |tx| {
            let rows = tx
                .query(
                    "/* erasured:remembered */ SELECT subject, scope, system, policy_sha256, fingerprint, body::text, taken_at \
                       FROM erasured.definitions ORDER BY subject, system, scope",
                    &[],
                )
                .await?;
            let remembered = rows.iter().map(|r| {
                let definitions = Remembered {
                    subject: r.get(0),
                    scope: r.get(1),
                    system: r.get(2),
                    policy_sha256: r.get(3),
                    fingerprint: r.get(4),
                    body: r.get(5),
                };
                (definitions, r.get(6))
            });
            Ok(remembered.collect())
        })
    }
}
