//! The certificate of one run of a retention rule: what went by its age, what stays and why. It is of
//! nobody, so it holds neither keys nor hashes of people.

use super::{LedgerPosition, Program};
use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Everything that it says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunCertificate {
    /// Version of this format: [`super::FORMAT`].
    pub format: u32,
    /// The certificate's own id.
    pub id: Uuid,
    /// When it was signed.
    pub issued_at: DateTime<Utc>,
    /// The run.
    pub run: Run,
    /// By whose word the rule took what it took; nothing where it asks for nobody's.
    pub approval: Option<Approval>,
    /// What went, and what lost its link to it, by table.
    pub tables: Vec<Gone>,
    /// Partitions that went whole; their rows are among those of `tables`.
    pub partitions: Vec<Partition>,
    /// Files to which rows were written before they went.
    pub archives: Vec<Archive>,
    /// Replication slots of logical subscribers that had applied it before this was signed.
    pub subscribers: Vec<String>,
    /// The days of what went; nothing if nothing did.
    pub days: Option<Days>,
    /// What is due and stays by legal holds.
    pub held: Held,
    /// Due rows that could not go and stay; who ran it was told their keys, which are nowhere kept.
    pub set_aside: u64,
    /// Tickets for people who were due; each has a certificate of its own.
    pub filed: u64,
    /// What was looked at afterwards; nothing where the policy was another one by then, and for people.
    pub remaining: Option<Remaining>,
    /// The program that did it.
    pub program: Program,
    /// The ledger as it stood before this certificate was entered.
    pub ledger: LedgerPosition,
}

/// The run and its rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// The run's id.
    pub id: Uuid,
    /// The rule's name.
    pub rule: String,
    /// The kind of subject whose policy it stands in.
    pub subject: String,
    /// `system.schema.table`.
    pub table: String,
    /// Code of the legal basis, or the policy's own words.
    pub basis: String,
    /// SHA-256 of the policy's bytes, in lower-case hexadecimal.
    pub policy_sha256: String,
    /// The latest day that was due.
    pub cutoff: NaiveDate,
    /// The zone in which it is one.
    pub timezone: String,
    /// The time of the schedule that it was for; nothing if a person ran it.
    pub slot: Option<DateTime<Utc>>,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub ended_at: DateTime<Utc>,
    /// `done`, `stopped`, `failed`.
    pub state: String,
    /// Code of what stopped it.
    pub problem: Option<String>,
    /// Transactions.
    pub batches: u64,
}

/// That a person has approved what a rule takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// In what capacity, not who.
    pub by_role: String,
    /// When.
    pub at: DateTime<Utc>,
    /// So many rows were due then, and were seen.
    pub due: u64,
    /// SHA-256 of the policy in which it stood then.
    pub policy_sha256: String,
}

/// A partition that went whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Partition {
    /// `schema.table`, its own name.
    pub partition: String,
    /// What became of it.
    pub fate: PartitionFate,
    /// How many rows it held.
    pub rows: u64,
    /// The days that its range takes in, in the rule's zone.
    pub range: Option<Days>,
}

/// What became of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PartitionFate {
    /// It is gone.
    Dropped,
    /// It is a table of its own.
    Detached,
}

/// A file of an archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Archive {
    /// `schema.table`, whose rows it holds.
    pub table: String,
    /// Where it was written: a path, or an address without secrets.
    pub file: String,
    /// Of its bytes, in lower-case hexadecimal.
    pub sha256: String,
    /// In it.
    pub rows: u64,
    /// The last day on which it is kept.
    pub keep_until: NaiveDate,
}

/// What became of a table's rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gone {
    /// `schema.table`.
    pub table: String,
    /// Rows deleted.
    pub deleted: u64,
    /// Rows that stay without what said whose they were.
    pub anonymized: u64,
    /// Rows that stay and no longer point at what went.
    pub detached: u64,
    /// Large objects removed with these rows.
    pub large_objects: u64,
}

/// A first and a last day, in the rule's zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Days {
    /// The first.
    pub first: NaiveDate,
    /// The last.
    pub last: NaiveDate,
}

/// Rows that stay by legal holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Held {
    /// How many.
    pub rows: u64,
    /// The holds that cover them, or may.
    pub grounds: Vec<Ground>,
}

/// A legal hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ground {
    /// Its id.
    pub hold: Uuid,
    /// The code of its reason.
    pub reason: String,
}

/// What was left when it was looked at after the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Remaining {
    /// When.
    pub checked_at: DateTime<Utc>,
    /// Rows of the cutoff and before that are still there, without those that are held or kept.
    pub rows: u64,
    /// Due rows that stay because a rule of its own keeps what hangs on them.
    pub kept: u64,
}

impl RunCertificate {
    /// Rows of all tables that were deleted.
    pub fn deleted(&self) -> u64 {
        self.tables.iter().map(|table| table.deleted).sum()
    }
}
