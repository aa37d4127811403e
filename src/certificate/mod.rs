//! The certificate: the signed record, free of personal data, of what was erased, kept and
//! checked for one ticket.
//!
//! Its JSON is the serialisation of [`Certificate`], fields in the order of declaration, every
//! field present (`null` where there is nothing). It travels as a JWS ([`jws`]); what it says and
//! does not say is written for auditors in `docs/audit.md`.

pub mod jws;
pub mod run;
pub mod show;

use crate::config::place::Kind;
use crate::ledger::{Hash, Head};
use crate::policy::{Covers, Level};
use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use jws::{Document, NotGenuine, read_by, sign, sign_run, verify, verify_by};

/// The version of the format that this program writes, and the only one it reads.
pub const FORMAT: u32 = 1;

/// Everything a certificate says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// Version of this format: [`FORMAT`].
    pub format: u32,
    /// The certificate's own id.
    pub id: Uuid,
    /// When it was signed.
    pub issued_at: DateTime<Utc>,
    /// The earlier certificate of the same ticket that this one completes: what was kept then by
    /// law has now been dealt with.
    pub supplements: Option<Uuid>,
    /// The request and its clock.
    pub ticket: Ticket,
    /// Keyed hash of the subject's key; the same for all certificates of one person.
    pub subject_hash: String,
    /// Keyed hashes of the identifiers that the ticket named the person by.
    pub identifiers: Vec<IdentifierHash>,
    /// The policy that decided.
    pub policy: Policy,
    /// What was done, for each database.
    pub systems: Vec<System>,
    /// What was done, for each system that is no database; left out where there was none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub places: Vec<Places>,
    /// What was read afterwards in search of the identifiers, for each system.
    pub sweep: Vec<Sweep>,
    /// Who the requester proved to be, and who stood behind it.
    pub identity: Identity,
    /// What is put off, and until when.
    pub deferrals: Vec<Deferral>,
    /// How far "gone" has been checked.
    pub assurance: Assurance,
    /// The program that did it.
    pub program: Program,
    /// The ledger as it stood before this certificate was entered.
    pub ledger: LedgerPosition,
}

/// The request and its clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ticket {
    /// The ticket's id.
    pub id: Uuid,
    /// The desk's own reference; the desk keeps names out of it.
    pub reference: String,
    /// Kind of subject, as the policy names it.
    pub subject: String,
    /// The scope asked for, as the policy names it.
    pub scope: String,
    /// The part of the subject that the scope covers; nothing where it is the whole.
    pub covers: Option<Covers>,
    /// Parts of the scope that were refused, and why; they and what hangs together with them stay.
    pub refused: Vec<Refused>,
    /// The legal ground of the request.
    pub ground: String,
    /// When the person asked.
    pub requested_at: DateTime<Utc>,
    /// When it was due; nothing where the clock has no last day.
    pub due_at: Option<DateTime<Utc>>,
    /// End of the cooling-off time, if there was one.
    pub not_before: Option<DateTime<Utc>>,
    /// When the erasure began.
    pub started_at: DateTime<Utc>,
    /// When the last check was done.
    pub finished_at: DateTime<Utc>,
    /// The clock it ran against.
    pub sla_profile: String,
    /// Whether it was finished by `due_at`; nothing where there was no last day.
    pub sla_met: Option<bool>,
    /// What `due_at` is to that clock.
    pub when_due: WhenDue,
}

/// What happens to an open request on the day that its clock names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WhenDue {
    /// It is late.
    Late,
    /// It is not late, but from then on the person is owed an explanation.
    Explain,
}

/// A part of the scope that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refused {
    /// `system.schema.table`, `system.schema.table.column`, or the name of one of the policy's categories.
    pub part: String,
    /// Code of the ground.
    pub ground: String,
    /// The ground in Japanese.
    pub ja: String,
    /// And in English.
    pub en: String,
}

/// A value that is not here, by its keyed hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentifierHash {
    /// The identifier's name in the policy.
    pub kind: String,
    /// [`crate::keys::HashKey::hash`] of kind and normalised value.
    pub hash: String,
}

/// The policy that decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Name of its file.
    pub file: String,
    /// SHA-256 of its bytes, in lower-case hexadecimal.
    pub sha256: String,
    /// The kind of subject it is for.
    pub subject: String,
}

/// What was done in one system, in one transaction but for [`Table::pieces`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct System {
    /// The system's registered name.
    pub system: String,
    /// What the server says of itself.
    pub server_version: String,
    /// Fingerprint of the parts of the catalog that the plan rests on.
    pub catalog_fingerprint: String,
    /// When the transaction committed.
    pub committed_at: DateTime<Utc>,
    /// Replication slots of logical subscribers that had applied it before this was signed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subscribers: Vec<String>,
    /// The tables, in the order of the plan.
    pub tables: Vec<Table>,
    /// The probes inside the transaction, all of them clean.
    pub probes: Probes,
}

/// What was done in one table; counts are rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// `schema.table`.
    pub table: String,
    /// Rows deleted.
    pub deleted: u64,
    /// How many transactions took a part of these beforehand; 0 where all went in one with the rest.
    pub pieces: u64,
    /// Rows that stay without what said whose they were.
    pub anonymized: u64,
    /// Rows that stay and no longer point at the subject.
    pub detached: u64,
    /// Large objects removed with these rows; left out where there were none.
    #[serde(default, skip_serializing_if = "none")]
    pub large_objects: u64,
    /// Rows kept by law.
    pub kept: Vec<Kept>,
    /// Why the policy leaves the table alone, if it does.
    pub exempt: Option<String>,
}

/// Rows kept by law.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// How many.
    pub rows: u64,
    /// Code of the legal basis, or the policy's own words.
    pub basis: String,
    /// The article, where the code is a known one.
    pub citation: Option<String>,
    /// Until when; nothing where the rows go with the row that they hang off.
    pub until: Option<NaiveDate>,
}

/// What was done in one system that is no database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Places {
    /// The system's registered name.
    pub system: String,
    /// What it is.
    pub kind: Kind,
    /// When it was done. It was looked into once more before this certificate was made.
    pub erased_at: DateTime<Utc>,
    /// Its places by name.
    pub found: Vec<Place>,
    /// What was not and cannot be seen there.
    pub not_promised: String,
    /// What the system said of copies that it keeps for a while.
    pub copies: Option<String>,
}

/// What became of what lay in one place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// The policy's name of it.
    pub place: String,
    /// Things taken away; as the system has them: keys, objects, entries.
    pub erased: u64,
    /// Things that the system keeps.
    pub stays: Vec<Stays>,
}

/// Things that a system keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stays {
    /// How many.
    pub things: u64,
    /// The system's own word for why.
    pub reason: String,
}

/// How the transaction looked for rows that were left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probes {
    /// By a query with the keys captured before the first deletion.
    pub by_query: u64,
    /// By a validated foreign key, which the database itself tested.
    pub by_foreign_key: u64,
}

/// What was read in one system in search of the identifiers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sweep {
    /// The system's registered name.
    pub system: String,
    /// Which server was read.
    pub read_from: ReadFrom,
    /// Columns read.
    pub columns: u64,
    /// Rows read.
    pub rows: u64,
    /// Bytes read.
    pub bytes: u64,
    /// When the first table was read.
    pub first_read_at: DateTime<Utc>,
    /// When the last table was read.
    pub last_read_at: DateTime<Utc>,
    /// Names of the identifiers searched for.
    pub identifiers: Vec<String>,
    /// The tables read.
    pub tables: Vec<TableRead>,
    /// Columns left unread because the policy says so.
    pub exempt: Vec<ExemptColumn>,
    /// Tables that could not be read.
    pub not_covered: Vec<NotCovered>,
}

/// The server that a sweep reads from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReadFrom {
    /// The server that the erasure ran on.
    Primary,
    /// A standby that had replayed the erasure.
    Standby,
}

/// A table that the sweep has read whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableRead {
    /// `schema.table`.
    pub table: String,
    /// When its snapshot was taken.
    pub read_at: DateTime<Utc>,
}

/// A column that the policy keeps the sweep from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExemptColumn {
    /// `schema.table`.
    pub table: String,
    /// The column.
    pub column: String,
    /// The policy's reason.
    pub reason: String,
}

/// A table that the sweep could not read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotCovered {
    /// `schema.table`.
    pub table: String,
    /// Why not.
    pub reason: String,
}

/// Who the requester proved to be, and who stood behind it: roles, never names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// How it was proved.
    pub method: String,
    /// The level reached.
    pub level: Level,
    /// The level that the policy asks for.
    pub required_level: Level,
    /// Role of who verified.
    pub verified_by_role: String,
    /// Role of who approved, where approval was asked for.
    pub approved_by_role: Option<String>,
    /// Whether two different people had to stand behind it, and did.
    pub four_eyes: bool,
}

/// Rows that are put off to a known date.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deferral {
    /// The system's registered name.
    pub system: String,
    /// `schema.table`.
    pub table: String,
    /// How many rows.
    pub rows: u64,
    /// Code of the legal basis, or the policy's own words.
    pub basis: String,
    /// The day from which they may go.
    pub until: NaiveDate,
}

/// How far "gone" has been checked, and when that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assurance {
    /// The level.
    pub level: AssuranceLevel,
    /// When.
    pub reached_at: DateTime<Utc>,
}

/// Five meanings of "gone", each including those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AssuranceLevel {
    /// No live row says it.
    Logical,
    /// No copy that the database derives says it.
    Derived,
    /// No dead tuple holds it.
    Reclaimed,
    /// The relation files do not hold it.
    Rewritten,
    /// WAL and backups that held it are past their retention.
    Expired,
}

/// The program that did it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// A place in the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LedgerPosition {
    /// Number of the last entry.
    pub height: i64,
    /// Hash of the last entry.
    pub head: Hash,
}

impl From<Head> for LedgerPosition {
    fn from(head: Head) -> Self {
        Self {
            height: head.seq,
            head: head.hash,
        }
    }
}

impl From<LedgerPosition> for Head {
    fn from(position: LedgerPosition) -> Self {
        Self {
            seq: position.height,
            hash: position.head,
        }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's way
fn none(count: &u64) -> bool {
    *count == 0
}

/// Rows of a certificate, added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Deleted.
    pub deleted: u64,
    /// Anonymized.
    pub anonymized: u64,
    /// Detached.
    pub detached: u64,
    /// Kept by law.
    pub kept: u64,
}

impl Certificate {
    /// Adds up the rows of all systems.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for table in self.systems.iter().flat_map(|system| &system.tables) {
            totals.deleted += table.deleted;
            totals.anonymized += table.anonymized;
            totals.detached += table.detached;
            totals.kept += table.kept();
        }
        totals
    }
}

impl Places {
    /// What stays, with the place where it does.
    pub fn stays(&self) -> impl Iterator<Item = (&str, &Stays)> {
        let places = self.found.iter();
        places.flat_map(|place| {
            place
                .stays
                .iter()
                .map(|stays| (place.place.as_str(), stays))
        })
    }
}

impl Table {
    /// Rows kept by law, on whatever basis.
    pub fn kept(&self) -> u64 {
        self.kept.iter().map(|kept| kept.rows).sum()
    }
}
