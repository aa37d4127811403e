//! What people have approved of retention rules, and what waits for them.

use super::retention::Run;
use super::tickets::act_as;
use super::{Result, Store, StoreError, run_tx};
use chrono::{DateTime, Utc};
use serde::Serialize;
use uuid::Uuid;

/// What a rule would take.
pub struct Proposal<'a> {
    /// The policy's subject kind.
    pub subject: &'a str,
    /// The rule.
    pub rule: &'a str,
    /// Its table, with the system.
    pub table: &'a str,
    /// The policy's content.
    pub policy_sha256: &'a str,
    /// What decides which rows it takes.
    pub terms: serde_json::Value,
    /// What comes due when.
    pub forecast: serde_json::Value,
    /// Rows due now that no hold covers.
    pub due: i64,
}

/// A rule that waits for a person.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)] // As in erasured.retention_proposal.
pub struct ProposalView {
    pub id: Uuid,
    pub subject: String,
    pub rule: String,
    pub table: String,
    pub terms: serde_json::Value,
    pub forecast: serde_json::Value,
    pub due: i64,
    pub proposed_at: DateTime<Utc>,
}

/// What was approved last of a rule.
#[derive(Clone, Debug)]
pub struct Approval {
    /// Its number.
    pub id: i64,
    /// As [`Proposal::terms`].
    pub terms: serde_json::Value,
    /// As [`Proposal::forecast`].
    pub forecast: serde_json::Value,
    /// When.
    pub at: DateTime<Utc>,
}

impl Store {
    /// Writes down what somebody is asked to approve, in place of what they were asked before.
    pub async fn propose_retention(&self, new: &Proposal<'_>) -> Result<()> {
        run_tx!(self, "propose_retention", |tx| {
            let sql = "/* erasured:propose_retention */ INSERT INTO erasured.retention_proposal \
                     (subject, rule, \"table\", policy_sha256, terms, forecast, due) VALUES ($1, $2, $3, $4, $5, $6, $7) \
                  ON CONFLICT (subject, rule) DO UPDATE SET id = gen_random_uuid(), \"table\" = excluded.\"table\", \
                     policy_sha256 = excluded.policy_sha256, terms = excluded.terms, forecast = excluded.forecast, \
                     due = excluded.due, proposed_at = now()";
            tx.execute(
                sql,
                &[
                    &new.subject,
                    &new.rule,
                    &new.table,
                    &new.policy_sha256,
                    &new.terms,
                    &new.forecast,
                    &new.due,
                ],
            )
            .await?;
            Ok(())
        })
    }

    /// Nothing of this rule waits any more: it may run as it is now.
    pub async fn withdraw_proposal(&self, subject: &str, rule: &str) -> Result<()> {
        run_tx!(self, "withdraw_proposal", |tx| {
            let sql = "/* erasured:withdraw_proposal */ DELETE FROM erasured.retention_proposal WHERE subject = $1 AND rule = $2";
            tx.execute(sql, &[&subject, &rule]).await?;
            Ok(())
        })
    }

    /// What waits to be approved, the oldest first.
    pub async fn retention_proposals(&self, rule: Option<&str>) -> Result<Vec<ProposalView>> {
        run_tx!(self, "retention_proposals", |tx| {
            let sql = "/* erasured:retention_proposals */ SELECT id, subject, rule, \"table\", terms, forecast, due, proposed_at \
                  FROM erasured.retention_proposal WHERE $1::text IS NULL OR rule = $1 ORDER BY proposed_at, subject, rule";
            let rows = tx.query(sql, &[&rule]).await?;
            let view = |r: &tokio_postgres::Row| ProposalView {
                id: r.get(0),
                subject: r.get(1),
                rule: r.get(2),
                table: r.get(3),
                terms: r.get(4),
                forecast: r.get(5),
                due: r.get(6),
                proposed_at: r.get(7),
            };
            Ok(rows.iter().map(view).collect())
        })
    }

    /// Approves what was proposed, by who has seen that so many rows are due.
    pub async fn approve_retention(
        &self,
        proposal: Uuid,
        rows: i64,
        actor: Option<&str>,
    ) -> Result<()> {
        run_tx!(self, "approve_retention", |tx| {
            act_as(tx, actor).await?;
            let sql = "/* erasured:approve_retention */ SELECT erasured.approve_retention($1, $2)";
            tx.execute(sql, &[&proposal, &rows]).await?;
            Ok(())
        })
    }

    /// What was approved last of a rule.
    pub async fn retention_approval(&self, subject: &str, rule: &str) -> Result<Option<Approval>> {
        run_tx!(self, "retention_approval", |tx| {
            let sql = "/* erasured:retention_approval */ SELECT id, terms, forecast, at FROM erasured.retention_approval \
                  WHERE subject = $1 AND rule = $2 ORDER BY id DESC LIMIT 1";
            let row = tx.query_opt(sql, &[&subject, &rule]).await?;
            Ok(row.map(|row| Approval {
                id: row.get(0),
                terms: row.get(1),
                forecast: row.get(2),
                at: row.get(3),
            }))
        })
    }

    /// Writes down by which approval a run takes rows.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`].
    pub async fn run_approved(&self, run: Run, approval: i64) -> Result<()> {
        run_tx!(self, "run_approved", |tx| {
            let sql = "/* erasured:run_approved */ UPDATE erasured.retention_run SET approval = $3 \
                        WHERE id = $1 AND lease_token = $2 AND state = 'running'";
            match tx.execute(sql, &[&run.id, &run.token, &approval]).await? {
                1 => Ok(()),
                _ => Err(StoreError::LeaseLost { lost: 1 }),
            }
        })
    }

    /// Rows of the rule's table that its runs have taken which began since then.
    pub async fn taken_since(
        &self,
        subject: &str,
        rule: &str,
        since: DateTime<Utc>,
    ) -> Result<i64> {
        run_tx!(self, "taken_since", |tx| {
            let sql = "/* erasured:taken_since */ SELECT coalesce(sum(rows), 0)::int8 FROM erasured.retention_run \
                  WHERE subject = $1 AND rule = $2 AND started_at > $3";
            Ok(tx.query_one(sql, &[&subject, &rule, &since]).await?.get(0))
        })
    }
}
