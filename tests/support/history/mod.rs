//! What happened, told again from what is written down, by somebody who trusts nobody: the control database's
//! ledger and tickets, every system's own `erasured.applied_step`, and the certificates.
//!
//! Nothing of the product's code is used: its own SQL, its own reading of ledger and certificates, its own
//! arithmetic. All databases are taken to be on machines whose clocks agree.

mod certificates;
mod chain;
mod gone;
mod mariadb;
mod rest;
mod steps;
mod way;

use super::server::{blocking, connect};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

pub use gone::Before;

/// All that was read.
#[derive(Clone, Debug)]
pub struct History {
    pub control: Control,
    /// By the system's name; a system that is no database keeps nothing of ours.
    pub applied: BTreeMap<String, Vec<Applied>>,
}

/// Of one moment.
#[derive(Clone, Debug, Deserialize)]
pub struct Control {
    pub ledger: Vec<Link>,
    /// Not in the ledger yet.
    pub waiting: Vec<Happened>,
    pub tickets: Vec<Ticket>,
    pub steps: Vec<Step>,
    pub plans: Vec<Plan>,
    pub certificates: Vec<Issued>,
    pub deferrals: Vec<Deferral>,
    pub runs: Vec<Run>,
    pub searched: Vec<Searched>,
    /// What ought to be empty once nothing is left to do: name, and how many.
    pub rest: BTreeMap<String, i64>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Link {
    pub seq: i64,
    pub entry: String,
    pub prev: String,
    pub hash: String,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Happened {
    pub at: DateTime<Utc>,
    pub kind: String,
    #[serde(alias = "ticket_id")]
    pub ticket: Option<Uuid>,
    pub body: Value,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Ticket {
    pub id: Uuid,
    pub reference: String,
    pub state: String,
    pub generation: i32,
    pub subject: String,
    pub subject_hash: Option<String>,
    pub duplicate_of: Option<Uuid>,
    pub finished_at: Option<DateTime<Utc>>,
    pub due_at: Option<DateTime<Utc>>,
    pub sla_met: Option<bool>,
    pub clock: String,
}

impl Ticket {
    /// Whether it ended with what was asked for.
    pub fn is_done(&self) -> bool {
        ["completed", "deferred"].contains(&self.state.as_str())
    }
}

#[derive(Clone, Debug, Deserialize)]
pub struct Step {
    pub ticket_id: Uuid,
    pub generation: i32,
    pub system: String,
    pub ordinal: i32,
    pub plan_id: String,
    pub state: String,
    pub counts: Option<Value>,
    pub committed_at: Option<DateTime<Utc>>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Plan {
    pub id: String,
    pub body: String,
    pub created_at: DateTime<Utc>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Issued {
    pub id: Uuid,
    pub ticket_id: Option<Uuid>,
    pub run_id: Option<Uuid>,
    pub deferral_id: Option<Uuid>,
    pub jws: String,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Deferral {
    pub id: Uuid,
    pub ticket_id: Uuid,
    pub state: String,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Run {
    pub id: Uuid,
    pub state: String,
    /// `system.schema.table`.
    pub table: String,
}

/// A table that a sweep has read for a ticket.
#[derive(Clone, Debug, Deserialize)]
pub struct Searched {
    pub ticket_id: Uuid,
    pub generation: i32,
    pub system: String,
    pub started_at: DateTime<Utc>,
}

/// A system's own row.
#[derive(Clone, Debug, Deserialize)]
pub struct Applied {
    /// A ticket's id, a deferral's (generation 0), or a batch's of a run.
    pub ticket_id: Uuid,
    pub generation: i32,
    pub system: String,
    pub batch: Uuid,
    pub committed_at: DateTime<Utc>,
    pub counts: Value,
}

const CONTROL: &str = "SELECT jsonb_build_object(
  'ledger', (SELECT coalesce(jsonb_agg(jsonb_build_object('seq', seq, 'entry', entry, 'prev', encode(prev, 'hex'), 'hash', encode(hash, 'hex'))
                ORDER BY seq), '[]') FROM erasured.ledger),
  'waiting', (SELECT coalesce(jsonb_agg(to_jsonb(e) ORDER BY e.id), '[]') FROM erasured.event e),
  'tickets', (SELECT coalesce(jsonb_agg(to_jsonb(t) - 'sealed' ORDER BY t.id), '[]') FROM erasured.ticket t),
  'steps', (SELECT coalesce(jsonb_agg(to_jsonb(s)), '[]') FROM erasured.step s),
  'plans', (SELECT coalesce(jsonb_agg(jsonb_build_object('id', id, 'body', body::text, 'created_at', created_at)), '[]') FROM erasured.plan),
  'certificates', (SELECT coalesce(jsonb_agg(to_jsonb(c)), '[]') FROM (
      SELECT id, ticket_id, NULL::uuid AS run_id, deferral_id, jws FROM erasured.certificate
      UNION ALL SELECT id, NULL, run_id, NULL, jws FROM erasured.run_certificate) c),
  'deferrals', (SELECT coalesce(jsonb_agg(to_jsonb(d) - 'sealed'), '[]') FROM erasured.deferral d),
  'runs', (SELECT coalesce(jsonb_agg(to_jsonb(r)), '[]') FROM erasured.retention_run r),
  'searched', (SELECT coalesce(jsonb_agg(to_jsonb(x)), '[]') FROM (
      SELECT t.ticket_id, t.generation, p.system, min(p.started_at) AS started_at
        FROM erasured.sweep_ticket t JOIN erasured.sweep_progress p USING (sweep_id)
       GROUP BY t.sweep_id, t.ticket_id, t.generation, p.system) x),
  'rest', jsonb_build_object(
      'event that is not in the ledger', (SELECT count(*) FROM erasured.event),
      'lease of a ticket', (SELECT count(*) FROM erasured.lease),
      'sealed copy of a person', (SELECT count(*) FROM erasured.ticket WHERE sealed IS NOT NULL),
      'value that names a person', (SELECT count(*) FROM erasured.ticket_identifier WHERE value IS NOT NULL),
      'sealed list of what was found', (SELECT count(*) FROM erasured.found),
      'lease of a sweep', (SELECT count(*) FROM erasured.sweep WHERE finished_at IS NULL AND lease_until > now()),
      'run that has not ended', (SELECT count(*) FROM erasured.retention_run WHERE state = 'running'),
      'run without a certificate', (SELECT count(*) FROM erasured.retention_run r WHERE state <> 'running'
           AND NOT EXISTS (SELECT FROM erasured.run_certificate c WHERE c.run_id = r.id)),
      'lease of a deferral', (SELECT count(*) FROM erasured.deferral WHERE lease_token IS NOT NULL)))::text";

const APPLIED: &str =
    "SELECT coalesce(jsonb_agg(to_jsonb(s)), '[]')::text FROM erasured.applied_step s";

impl History {
    /// Reads control and systems, given as (name, URL); of these one moment each, the control database first:
    /// what it says is done must stand there, and what has been done since it need not know.
    pub fn read(control: &str, systems: &[(&str, String)]) -> History {
        blocking(async {
            let text = one(control, CONTROL).await;
            let control = serde_json::from_str(&text).expect("the control database as it is made");
            let mut applied = BTreeMap::new();
            for (name, url) in systems {
                let rows = match mariadb::is(url) {
                    true => mariadb::applied(url).await,
                    false => serde_json::from_str(&one(url, APPLIED).await)
                        .expect("applied_step as it is made"),
                };
                applied.insert((*name).to_owned(), rows);
            }
            History { control, applied }
        })
    }

    /// What is not as it must be at any time, in words; `key` is the public one of certificates.
    pub fn wrong(&self, key: &ed25519_dalek::VerifyingKey) -> Vec<String> {
        let (events, mut wrong) = chain::events(&self.control);
        wrong.extend(way::wrong(&self.control, &events));
        wrong.extend(steps::wrong(self, &events));
        wrong.extend(certificates::wrong(self, &events, key));
        wrong
    }

    /// What is not as it must be when nothing is left to do, beside `wrong`.
    pub fn unsettled(&self) -> Vec<String> {
        rest::wrong(&self.control)
    }

    /// Rows whose going nobody answers for, and rows that are said to have gone and have not.
    pub fn gone(&self, before: &Before, hash_key: &[u8]) -> Vec<String> {
        gone::wrong(self, before, hash_key)
    }

    fn reference(&self, id: Uuid) -> String {
        let ticket = self.control.tickets.iter().find(|t| t.id == id);
        ticket.map_or_else(|| id.to_string(), |t| t.reference.clone())
    }
}

async fn one(url: &str, sql: &str) -> String {
    let client = connect(url).await;
    let row = client.query_one(sql, &[]).await;
    row.unwrap_or_else(|error| panic!("{}", super::server::told(&error)))
        .get(0)
}

/// What must not be there twice, and is.
fn twice<T: Ord + Clone>(all: impl Iterator<Item = T>) -> BTreeSet<T> {
    let mut seen = BTreeSet::new();
    all.filter(|x| !seen.insert(x.clone())).collect()
}
