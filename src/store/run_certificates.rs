//! Proofs of retention runs.

use super::{Result, Store, run_tx};
use chrono::{DateTime, NaiveDate, Utc};
use serde::Serialize;
use tokio_postgres::Row;
use uuid::Uuid;

/// A run that has ended and has no certificate yet.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // As in erasured.retention_run.
pub struct EndedRun {
    pub id: Uuid,
    pub subject: String,
    pub rule: String,
    pub table: String,
    pub basis: String,
    pub policy_sha256: String,
    pub cutoff: NaiveDate,
    pub timezone: String,
    pub slot: Option<DateTime<Utc>>,
    pub state: String,
    pub started_at: DateTime<Utc>,
    pub ended_at: DateTime<Utc>,
    pub held: i64,
    pub set_aside: i64,
    pub problem_code: Option<String>,
    /// What its rule was approved by, if it asks for that.
    pub approval: Option<ApprovedBy>,
}

/// Who approved a rule, in which capacity.
#[derive(Clone, Debug)]
pub struct ApprovedBy {
    /// The role.
    pub role: String,
    /// When.
    pub at: DateTime<Utc>,
    /// So many rows were due then.
    pub due: i64,
    /// Under the policy with this content.
    pub policy_sha256: String,
}

/// A certificate as it is kept.
#[derive(Clone, Debug, Serialize)]
pub struct RunCertificateRow {
    /// Its id.
    pub id: Uuid,
    /// The run that it is about.
    pub run: Uuid,
    /// The run's rule.
    pub rule: String,
    /// `retention`.
    pub kind: &'static str,
    /// When it was stored.
    pub issued_at: DateTime<Utc>,
    /// Key it is signed by.
    pub kid: String,
    /// The certificate.
    pub jws: String,
}

/// Of a run `r`: it ended, and there is something to certify.
const CERTIFIABLE: &str = "r.state <> 'running' AND (r.state = 'done' OR r.batches > 0) \
     AND NOT EXISTS (SELECT FROM erasured.run_certificate c WHERE c.run_id = r.id)";

const SELECT: &str = "SELECT c.id, c.run_id, r.rule, c.issued_at, c.kid, c.jws \
     FROM erasured.run_certificate c JOIN erasured.retention_run r ON r.id = c.run_id";

impl Store {
    /// Runs that ought to have a certificate and have none, with their tables, the oldest first.
    pub async fn uncertified_runs(&self) -> Result<Vec<(Uuid, String)>> {
        run_tx!(self, "uncertified_runs", |tx| {
            let sql = format!(
                "/* erasured:uncertified_runs */ SELECT r.id, r.\"table\" FROM erasured.retention_run r WHERE {CERTIFIABLE} ORDER BY r.ended_at, r.id"
            );
            let rows = tx.query(&sql, &[]).await?;
            Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
        })
    }

    /// A run that ought to have a certificate; `None` if it has one, or is none to certify.
    pub async fn run_to_certify(&self, run: Uuid) -> Result<Option<EndedRun>> {
        run_tx!(self, "run_to_certify", |tx| {
            let sql = format!(
                "/* erasured:run_to_certify */ SELECT r.*, a.by_role, a.at AS approved_at, a.due, a.policy_sha256 AS approved_policy \
                   FROM erasured.retention_run r LEFT JOIN erasured.retention_approval a ON a.id = r.approval WHERE r.id = $1 AND {CERTIFIABLE}"
            );
            Ok(tx.query_opt(&sql, &[&run]).await?.as_ref().map(ended))
        })
    }

    /// The codes of these holds' reasons.
    pub async fn hold_reasons(&self, holds: &[Uuid]) -> Result<Vec<(Uuid, String)>> {
        run_tx!(self, "hold_reasons", |tx| {
            let sql = "/* erasured:hold_reasons */ SELECT id, reason FROM erasured.hold WHERE id = ANY ($1) ORDER BY id";
            let rows = tx.query(sql, &[&holds]).await?;
            Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
        })
    }

    /// Keeps a run's certificate, and enters it into the ledger; `false` if another has been quicker.
    pub async fn certify_run(&self, run: Uuid, id: Uuid, kid: &str, jws: &str) -> Result<bool> {
        run_tx!(self, "certify_run", |tx| {
            let sql = "/* erasured:certify_run */ WITH issued AS ( \
                   INSERT INTO erasured.run_certificate (id, run_id, kid, jws) VALUES ($1, $2, $3, $4) \
                   ON CONFLICT (run_id) DO NOTHING RETURNING id, run_id, kid, jws) \
                 INSERT INTO erasured.event (kind, body) \
                 SELECT 'certificate', jsonb_build_object('certificate', id, 'run', run_id, 'kid', kid, \
                        'sha256', encode(sha256(convert_to(jws, 'UTF8')), 'hex')) FROM issued";
            Ok(tx.execute(sql, &[&id, &run, &kid, &jws]).await? == 1)
        })
    }

    /// One certificate, by its own id or its run's.
    pub async fn run_certificate(&self, id: Uuid) -> Result<Option<RunCertificateRow>> {
        run_tx!(self, "run_certificate", |tx| {
            let sql =
                format!("/* erasured:run_certificate */ {SELECT} WHERE c.id = $1 OR c.run_id = $1");
            Ok(tx.query_opt(&sql, &[&id]).await?.as_ref().map(row))
        })
    }

    /// Newest first.
    pub async fn run_certificates(&self, limit: u32) -> Result<Vec<RunCertificateRow>> {
        run_tx!(self, "run_certificates", |tx| {
            let sql = format!(
                "/* erasured:run_certificates */ {SELECT} ORDER BY c.issued_at DESC, c.id LIMIT $1"
            );
            let rows = tx.query(&sql, &[&i64::from(limit)]).await?;
            Ok(rows.iter().map(row).collect())
        })
    }
}

fn ended(r: &Row) -> EndedRun {
    EndedRun {
        id: r.get("id"),
        subject: r.get("subject"),
        rule: r.get("rule"),
        table: r.get("table"),
        basis: r.get("basis"),
        policy_sha256: r.get("policy_sha256"),
        cutoff: r.get("cutoff"),
        timezone: r.get("timezone"),
        slot: r.get("slot"),
        state: r.get("state"),
        started_at: r.get("started_at"),
        ended_at: r.get("ended_at"),
        held: r.get("held"),
        set_aside: r.get("set_aside"),
        problem_code: r.get("problem_code"),
        approval: r
            .get::<_, Option<String>>("by_role")
            .map(|role| ApprovedBy {
                role,
                at: r.get("approved_at"),
                due: r.get("due"),
                policy_sha256: r.get("approved_policy"),
            }),
    }
}

fn row(r: &Row) -> RunCertificateRow {
    RunCertificateRow {
        id: r.get("id"),
        run: r.get("run_id"),
        rule: r.get("rule"),
        kind: "retention",
        issued_at: r.get("issued_at"),
        kid: r.get("kid"),
        jws: r.get("jws"),
    }
}
