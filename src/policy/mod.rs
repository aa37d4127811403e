//! Policies as values: what a TOML file says, for one subject kind, about each table.
//!
//! Reading is in [`read`]; every mistake there is a [`crate::diagnostic::Diagnostic`] with its
//! place in the file. A `Policy` that exists is well formed by itself; whether it fits a
//! database is the lineage's question.

use crate::name::{QualifiedTable, TableName};
use crate::ticket::sla::Profile;
use crate::ticket::words::Words;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

pub use atomic::Together;
pub use draft::{Draft, Open};
pub use extent::{Cover, Covers, Extent, Listed};
pub use place::{Place, PlaceName, Sought};
pub use rule::Set;

pub mod asking;
pub mod atomic;
pub mod basis;
pub mod clocks;
pub mod condition;
mod draft;
mod extent;
pub mod folder;
pub mod grounds;
mod part;
pub mod place;
pub mod proof;
pub mod read;
#[cfg(test)]
mod read_tests;
mod recheck;
pub mod retention;
mod rule;
mod scope;
pub mod slots;
pub mod timetable;

/// Bytes in the policy's text, for pointing at it.
pub type Span = Range<usize>;

/// One policy file.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Path and text of the file, for error excerpts.
    pub source: crate::diagnostic::Source,
    /// Lower-case hex SHA-256 of the file's bytes; named on certificates.
    pub sha256: String,
    /// Subject kind, such as `customer`.
    pub subject: String,
    /// The table whose row is the subject, and where the file says so.
    pub root: (QualifiedTable, Span),
    /// By name.
    pub identifiers: BTreeMap<String, Identifier>,
    /// By name.
    pub categories: BTreeMap<String, Listed>,
    /// By name.
    pub scopes: BTreeMap<String, Scope>,
    /// In the order of the file.
    pub tables: Vec<TableRule>,
    /// When and how the sweep for residuals runs.
    pub sweep: SweepPolicy,
    /// How long after a certificate it is looked whether the person has come back, the shortest first.
    pub recheck: Vec<std::time::Duration>,
    /// The legal bases that it may name.
    pub bases: std::sync::Arc<basis::Bases>,
    /// What a caller may be asked for, beside identifiers.
    pub asking: asking::Asking,
    /// Systems whose parts of a ticket happen all or not at all; no system stands in two.
    pub atomic: Vec<Together>,
    /// What lies in systems without tables, in the order of the file.
    pub places: Vec<Place>,
    /// What goes without being asked for, in the order of the file.
    pub retention: Vec<retention::RetentionRule>,
}

/// A value by which the world names the subject: a column of the root table.
#[derive(Clone, Debug)]
pub struct Identifier {
    /// Column of the root table.
    pub column: String,
    /// How values are normalised before they are compared or hashed.
    pub kind: IdentifierKind,
    /// A ticket may name the subject by it.
    pub find: bool,
    /// Distinctive enough to be searched for everywhere afterwards.
    pub residual: bool,
    /// Characters that none of its values holds.
    pub excludes: String,
    /// Where the file declares it.
    pub span: Span,
}

/// What an identifier is, hence how it is normalised.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum IdentifierKind {
    /// NFKC and case folding only (member numbers, account names).
    Plain,
    /// NFKC, case folding.
    Email,
    /// To E.164, numbers without a country code read in this ISO 3166 region.
    Phone {
        /// Two-letter region, such as `JP`.
        region: String,
    },
    /// NFKC, case folding, white space removed.
    Name,
}

/// What may be asked for, and what it takes.
#[derive(Clone, Debug)]
pub struct Scope {
    /// What it covers.
    pub extent: Extent,
    /// The least level to which identity must be verified.
    pub at_least: Level,
    /// Verifier and approver must be two people.
    pub four_eyes: bool,
    /// How long an approved ticket waits before it may run.
    pub cooling_off: chrono::Duration,
    /// The level where there are signs of an impostor; one step more, if the file says nothing.
    pub doubtful: Level,
    /// How long nothing is erased after such a sign was found; `identity.toml` says it, if this does not.
    pub doubtful_wait: Option<chrono::Duration>,
    /// The clock.
    pub sla: Arc<Profile>,
    /// More rows than this are approved at a terminal only by typing back who is meant.
    pub confirm_over: Option<i64>,
    /// Where the file declares it.
    pub span: Span,
}

/// How far an identity is verified (`../shared/law.md`, section 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Not at all.
    None,
    /// A guessable match.
    Basic,
    /// Two good points, or possession of a registered address.
    Reasonable,
    /// Possession and knowledge, or in person.
    ReasonablyHigh,
    /// A cryptographic identity card.
    High,
}

impl Level {
    /// One step further, where there is one. Where nothing need be proven nobody can be taken for another.
    pub fn raised(self) -> Self {
        match self {
            Self::None => Self::None,
            Self::Basic => Self::Reasonable,
            Self::Reasonable => Self::ReasonablyHigh,
            Self::ReasonablyHigh | Self::High => Self::High,
        }
    }
}

/// What happens to the rows of one table.
#[derive(Clone, Debug)]
pub struct TableRule {
    /// The table.
    pub table: QualifiedTable,
    /// Only for rows reached by this foreign key (constraint name) or by this rule's own link;
    /// without it, for rows reached by any foreign key that no other rule of the table names.
    pub via: Option<(String, Span)>,
    /// A link that the catalog does not know.
    pub link: Option<Link>,
    /// The scopes that it is for; empty for whatever scope no rule for the same rows names.
    pub scopes: Vec<(String, Span)>,
    /// The decision.
    pub action: Action,
    /// The rule's `name = …`, for pointing at.
    pub span: Span,
    /// Columns of the table that the sweep leaves unread, each with its reason.
    pub sweep_exempt: BTreeMap<String, String>,
    /// Its columns that are numbers of large objects, and where the file says so; `None` if it does
    /// not say. Columns of type `oid` that are not listed are then said to be none.
    pub large_objects: Option<(Vec<String>, Span)>,
    /// `large = "batches"`: of many rows some may go before the others, each time in a transaction
    /// of its own.
    pub in_pieces: Option<Span>,
    /// What the customer is told of it.
    pub told: Box<Told>,
}

/// What a rule tells the customer, in words of the policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// What they lose.
    pub loses: Option<Words>,
    /// What is kept.
    pub keeps: Option<Words>,
}

/// How rows belong to the subject where no foreign key says so.
#[derive(Clone, Debug)]
pub struct Link {
    /// What in the row refers.
    pub from: LinkFrom,
    /// What it refers to.
    pub to: LinkTo,
    /// Further equalities that must hold (polymorphic links): column to constant.
    pub when: BTreeMap<String, String>,
    /// Where the file says so.
    pub span: Span,
}

/// The referring side of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkFrom {
    /// These columns, in the order of the key they refer to.
    Columns(Vec<String>),
    /// The text at a path of a json or jsonb column.
    Json {
        /// The column.
        column: String,
        /// Object keys and array indexes from the top.
        path: Vec<String>,
    },
    /// Each element of this array column.
    Elements(String),
    /// Each key of an object in a json or jsonb column.
    JsonKeys {
        /// The column.
        column: String,
        /// Where the object is, from the top.
        object: Vec<String>,
    },
    /// The text at a path of each element of a list in a json or jsonb column.
    JsonElements {
        /// The column.
        column: String,
        /// Where the list is, from the top.
        list: Vec<String>,
        /// From the element; empty if the element itself refers.
        path: Vec<String>,
    },
}

/// The side referred to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkTo {
    /// A table's columns, by default its primary key.
    Table {
        /// The table; same system as the referring one.
        table: QualifiedTable,
        /// Its columns; empty for the primary key.
        columns: Vec<String>,
    },
    /// An identifier of the subject: the only link that crosses systems.
    Identifier(String),
}

/// A disposition with what it needs.
#[derive(Clone, Debug)]
pub enum Action {
    /// The rows go.
    Delete,
    /// The rows stay without the person.
    Anonymize {
        /// Column to strategy, never empty.
        set: BTreeMap<String, (Strategy, Span)>,
    },
    /// The rows are somebody else's and merely point at the subject: the link becomes NULL.
    Detach,
    /// The law keeps the rows until a date.
    Retain(Retain),
    /// The rows belong to several people: each goes with the last of its owners.
    Shared {
        /// Its rows are the owners: they refer to these rows, or this rule's link says how.
        through: QualifiedTable,
        /// Where the file says so.
        span: Span,
    },
    /// The rows are left alone, and what hangs off them too.
    Exempt {
        /// Why; repeated on every certificate.
        reason: String,
    },
}

/// Why, until when, and what then.
#[derive(Clone, Debug)]
pub struct Retain {
    /// The row's own date plus a period; `None` for rows that are kept as long as the retained
    /// row they hang off.
    pub until: Option<Until>,
    /// Code of a legal basis, or the policy's own words.
    pub because: String,
    /// What the law does not need, cleaned at once.
    pub set: BTreeMap<String, (Strategy, Span)>,
    /// Where the file says `until`, or the rule's name.
    pub span: Span,
}

/// `until = { column = "issued_on", plus = "7 years" }`.
#[derive(Clone, Debug)]
pub struct Until {
    /// A date or timestamp column of the row.
    pub column: String,
    /// Added to it.
    pub plus: Period,
}

/// A calendar period: months first, then days.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Period {
    /// Whole months (a year is twelve).
    pub months: u32,
    /// Days on top.
    pub days: u32,
}

/// How a column loses the person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// SQL NULL.
    Null,
    /// This text, cast to the column's type.
    Constant(String),
    /// Free text is replaced as a whole by a mark that says so.
    Redact,
    /// HMAC-SHA-256 of the value under the daemon's key, in hex: equal values stay equal.
    Hash,
    /// A date or timestamp loses what is finer than the unit.
    Truncate(TruncateTo),
    /// This text with `{key}` replaced by the row's own key.
    Template(String),
    /// The people's own identifiers are taken out of a free text, the rest stays.
    RedactIdentifiers,
    /// The hash in the format of something else.
    HashAs(HashAs),
    /// Stars for all characters but a few; all of them if the value is not twice as long as those.
    Mask {
        /// How many characters stay.
        keep: u32,
        /// The last ones, not the first.
        last: bool,
    },
    /// A number is rounded down to a multiple of this.
    Bucket(u64),
    /// One of these texts, by the keyed hash of the old value.
    Choose(Vec<String>),
}

/// Formats for [`Strategy::HashAs`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HashAs {
    /// An address at `example.invalid`.
    Email,
    /// A telephone number that is nobody's.
    Phone,
}

impl Strategy {
    /// The new value is computed from the captured old one.
    pub fn reads_old_value(&self) -> bool {
        matches!(
            self,
            Self::Hash | Self::HashAs(_) | Self::Choose(_) | Self::RedactIdentifiers
        )
    }
}

/// Units for [`Strategy::Truncate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TruncateTo {
    /// First of the month.
    Month,
    /// First of January.
    Year,
}

/// `[sweep]`: when the search for residuals runs.
#[derive(Clone, Debug)]
pub struct SweepPolicy {
    /// At once after each batch, or by the clock for all tickets since the last.
    pub when: SweepWhen,
}

/// See [`SweepPolicy`].
#[derive(Clone, Debug)]
pub enum SweepWhen {
    /// After each batch; for small databases.
    AtOnce,
    /// By a timetable.
    Schedule(timetable::Timetable),
}

impl Policy {
    /// Columns of a table that hold numbers of large objects, by any of its rules.
    pub fn object_columns(&self, system: &str, table: &TableName) -> Vec<&str> {
        let rules = self.tables.iter();
        let rules = rules.filter(|r| r.table.system == system && r.table.table == *table);
        let mut columns: Vec<&str> = rules
            .filter_map(|r| r.large_objects.as_ref())
            .flat_map(|(columns, _)| columns.iter().map(String::as_str))
            .collect();
        columns.sort_unstable();
        columns.dedup();
        columns
    }
}

impl Period {
    /// The instant this period after `from`, by the calendar; the last day of a shorter month.
    pub fn after(self, from: DateTime<Utc>) -> Option<DateTime<Utc>> {
        from.checked_add_months(chrono::Months::new(self.months))?
            .checked_add_days(chrono::Days::new(u64::from(self.days)))
    }
}
