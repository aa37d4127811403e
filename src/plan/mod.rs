//! The plan: for each system, the ordered statements that erase one batch of subjects, as a
//! value that can be shown, stored and compared. What it holds is what runs.
//!
//! A plan is made for a policy, a scope and a catalog, not for a person: its statements take the
//! batch's keys as parameters, so that one plan serves every ticket of the scope and its text
//! holds no personal data.

mod build;
mod due;
mod held;
mod place;
pub mod show;
mod sql;
mod stretch;

pub use build::{build, build_capturing};
pub use due::{DueRows, WhenLocked, archived, captured_days, whole_count};
pub use held::{Comparison, Condition, HeldRows};
pub use place::{Identifiers, PlacePlan, PlacesPlan, ThingNames, Wanted, places};
pub(crate) use sql::OWN_OPERATORS;
pub use sql::{find_subject, read_changes, read_subject, rows_holding};
pub use stretch::{Between, Stretch};

use crate::catalog::Dialect;
use crate::lineage::Fate;
use crate::name::{QualifiedTable, TableName};
use crate::policy::{Covers, IdentifierKind, Period, PlaceName};
use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// What stands where [`crate::policy::Strategy::Redact`] took a text away.
pub const REDACTED: &str = "[erased]";

/// Label of the capture of a subject whose own row is gone: it claims no row, and leads on.
pub const GONE_BEFORE: &str = "the subject, gone before";

/// Everything that one scope of one policy does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The policy's file name.
    pub policy_file: String,
    /// And its content.
    pub policy_sha256: String,
    /// Subject kind.
    pub subject: String,
    /// Scope.
    pub scope: String,
    /// What the scope covers; `None` for the whole subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub covers: Option<Covers>,
    /// What goes in systems that are no databases, before any row does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub places: Vec<PlacesPlan>,
    /// In the order of execution; those that happen together when the turn of the last of them comes.
    pub systems: Vec<SystemPlan>,
    /// Systems whose parts happen all or not at all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub atomic: Vec<BTreeSet<String>>,
}

/// The part in one system: one transaction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SystemPlan {
    /// The registered name.
    pub system: String,
    /// In whose SQL the statements are.
    #[serde(default, skip_serializing_if = "Dialect::is_postgres")]
    pub dialect: Dialect,
    /// Of the definitions that the statements were made for.
    pub catalog_fingerprint: String,
    /// Keeps the definitions as they are until the end of the transaction; empty if no row changes.
    pub hold_definitions: String,
    /// The rows concerned, captured under lock before the first change; parents first.
    pub sets: Vec<RowSet>,
    /// Sets of tables that refer to each other: their captures by each other are repeated until no
    /// row is found, and what goes of them goes by one statement.
    pub rings: Vec<Vec<usize>>,
    /// What goes beforehand, in transactions of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pieces: Vec<Piece>,
    /// What must hold when all is locked, before the first change: where rows go without being asked for,
    /// that nothing keeps them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spared: Vec<Probe>,
    /// Columns of captured rows that name things in other systems, which go before the rows do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub things: Vec<Things>,
    /// The changes, children first.
    pub changes: Vec<Change>,
    /// What must hold before COMMIT.
    pub probes: Vec<Probe>,
    /// Tables left alone, with the policy's reason.
    pub exempt: BTreeMap<String, String>,
    /// Tables whose leftover rows the database itself would refuse (by an enforced foreign key to
    /// rows that go in the same transaction), so that no probe of ours is needed.
    pub probed_by_foreign_key: Vec<TableName>,
    /// Tables, of whichever system, that stay as they are for now, because legal holds cover rows of the
    /// subject there or in what hangs together with them: a later generation of the ticket does the rest.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub left: BTreeSet<QualifiedTable>,
}

/// Things in a system that is no database, named by a column of captured rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Things {
    /// Where they lie.
    pub place: PlaceName,
    /// The table whose rows name them.
    pub table: TableName,
    /// The column in which the names stand.
    pub column: String,
    /// Its position among the captured columns.
    pub at: usize,
    /// How a value is read.
    pub form: ValueForm,
    /// The rows that go, or stay and lose the name.
    pub rows: Vec<Rows>,
    /// Of each name given with a number: how many rows of the table have it, whoever's they are, up to one more
    /// than the number.
    pub count: String,
}

/// How a value becomes a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ValueForm {
    /// It is one.
    Text,
    /// In the one writing of a UUID.
    Uuid,
}

/// The rows of one table that the batch's subjects reach.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RowSet {
    /// The table.
    pub table: TableName,
    /// How one row is told from all others.
    pub key: RowKey,
    /// How many of the captured columns are the key; they come first.
    pub key_width: usize,
    /// All captured columns, key first.
    pub columns: Vec<CapturedColumn>,
    /// One for each way that leads here.
    pub captures: Vec<Capture>,
}

/// How one row is addressed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowKey {
    /// By these columns.
    Columns(Vec<String>),
    /// By its place, which holds still while the row is locked.
    Place,
    /// By partition and place.
    PartitionAndPlace,
}

/// A column that is read when a row is captured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapturedColumn {
    /// Its name, or `ctid`, `tableoid`.
    pub name: String,
    /// SQL type of a parameter holding its value.
    pub sql_type: String,
}

/// One statement that finds and locks rows, and what is claimed of the rows it finds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Capture {
    /// For people: the foreign key or link.
    pub label: String,
    /// Index of the parent set in [`SystemPlan::sets`]; `None` where a ticket enters.
    pub parent: Option<usize>,
    /// Returns the ticket's ordinal, then the captured columns, then (for retain) the end, then
    /// [`Capture::texts`].
    pub statement: Statement,
    /// Columns read as text besides: of the subject's own row its identifiers; last, of rows
    /// retained until a date, their key, by which they are found again on that date.
    pub texts: Vec<String>,
    /// Appended when it runs for real, left out for a dry run.
    pub lock: String,
    /// What happens to these rows.
    pub fate: Fate,
    /// The rule, by its index in the policy.
    pub rule: usize,
    /// What changes the rows, see [`Part::ChangedBy`]: the rule; but each link is cut by itself.
    pub claim: usize,
    /// Locks the rows and claims none: what is asked of them next is asked while they hold still.
    pub only_locks: bool,
    /// For [`Fate::Retain`]: the basis and the column and period that give the end.
    pub retained: Option<Retained>,
    /// The table refers by this to itself, or to another of its ring: repeat with the rows newly
    /// found until none is.
    pub repeats: bool,
}

/// Why rows stay and until when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retained {
    /// Code of the legal basis or the policy's words.
    pub because: String,
    /// The column and what is added to it; `None` with the row's retained parent.
    pub until: Option<(String, Period)>,
}

/// One statement with its parameters, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// The text: identifiers quoted, values as `$1`, `$2`, …
    pub sql: String,
    /// What is bound.
    pub parameters: Vec<Parameter>,
}

/// A value bound to a statement when it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Parameter {
    /// `int4[]`: ordinals of the tickets, beside [`Parameter::SubjectKey`].
    SubjectTickets,
    /// `text[]`: one column of the subjects' root keys.
    SubjectKey(usize),
    /// `int4[]`: ordinals beside [`Parameter::IdentifierValues`].
    IdentifierTickets(String),
    /// `text[]`: an identifier's values, normalised as [`find_subject`] compares them.
    IdentifierValues(String),
    /// `int4[]`: ordinals of captured rows.
    Tickets(Rows),
    /// An array of the column's type: one captured column of captured rows.
    Column(Rows, usize),
    /// `text[]`: keyed hashes of one captured column.
    Hashes(Rows, usize),
    /// `text[]`: new values made of one captured column.
    Made(Rows, usize, crate::anonymize::Maker),
    /// A constant of the policy, as text.
    Text(String),
    /// A constant, as text, that the server reads as this type before it plans.
    Value(String, String),
    /// `int8`: how many rows go in one piece, see [`Piece`].
    PieceRows,
    /// One JSON text: a list of rows, each with a value of each of these. The first is a number, the others
    /// are texts.
    Json(Vec<Parameter>),
}

impl Parameter {
    /// Itself, or what it is put together from.
    fn parts(&self) -> &[Self] {
        match self {
            Self::Json(parts) => parts,
            _ => std::slice::from_ref(self),
        }
    }
}

/// Some of the rows of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rows {
    /// Index into [`SystemPlan::sets`].
    pub set: usize,
    /// Which of them.
    pub part: Part,
}

/// Which rows of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Those whose own children belong to the subject: all but the merely detached.
    Followed,
    /// Those that go.
    Gone,
    /// The same, but of a capture that is repeated all of them, not only those newly found.
    Leaving,
    /// Those that the law keeps.
    Kept,
    /// Those that stay, for whatever reason.
    Staying,
    /// Those staying that were found with this [`Capture::claim`].
    ChangedBy(usize),
    /// All that were found with it, staying or not.
    LinkedBy(usize),
}

/// One change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// The table.
    pub table: TableName,
    /// Counted as.
    pub kind: ChangeKind,
    /// For people: how the rows are reached, what is set.
    pub label: String,
    /// The statement. For captured rows its affected count must equal theirs; else it returns
    /// ordinals and counts.
    pub statement: Statement,
    /// The captured rows it changes; `None`: found again by their parents' keys.
    pub rows: Option<Rows>,
    /// The other tables of a ring, whose rows the same statement deletes. It then returns one
    /// row: how many of each table, this one's first.
    pub ring: Vec<(TableName, Rows)>,
    /// For rows not captured: counts them without changing them (the dry run).
    pub count: Option<Statement>,
    /// For rows not captured that hang on each other: locks them, before anything changes, and
    /// returns how many and a number that tells them from others; asked until both stay the same.
    /// For large objects: holds their numbers, of all columns at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<Statement>,
    /// What must hold before it runs: no row may still refer, by a key through which the database
    /// would take or change that row by itself, to a row that goes now.
    pub before: Vec<Probe>,
    /// It moves the rows, which are known by their place: it returns old places and new ones.
    pub moves: bool,
    /// The rows stay, and so does the link by which they were found: a later generation of the ticket
    /// changes them once more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub again: bool,
}

/// Rows of one table that go before the rest, some at a time, each time in a transaction of its own:
/// the policy says `large = "batches"`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Piece {
    /// The table.
    pub table: TableName,
    /// For people: how the rows are reached.
    pub label: String,
    /// The sets that must be captured to find the rows, by their index in [`SystemPlan::sets`].
    pub sets: Vec<usize>,
    /// Deletes at most [`Parameter::PieceRows`]; returns ordinals and counts.
    pub statement: Statement,
}

/// How changed rows are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// Removed.
    Deleted,
    /// Without the person.
    Anonymized,
    /// Without the link; or with its partition, out of its table.
    Detached,
    /// Kept by law, cleaned of what the law does not need.
    Cleaned,
    /// Large objects removed with the rows that referred to them.
    Unlinked,
}

/// A statement returning one number, which must be zero, or the number of some rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// The table.
    pub table: TableName,
    /// What it would mean if it failed.
    pub label: String,
    /// The statement.
    pub statement: Statement,
    /// The number expected: that of these rows, or zero.
    pub expect: Option<Rows>,
}

/// What was done for one ticket in one system; free of personal data.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counts {
    /// Rows by table and kind of change.
    pub changed: BTreeMap<String, BTreeMap<ChangeKind, i64>>,
    /// Rows that stay.
    pub kept: Vec<KeptRows>,
    /// By table, how many transactions took part of its rows beforehand, see [`Piece`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pieces: BTreeMap<String, i64>,
    /// Partitions that went whole, by name; their rows are counted among the changed ones too.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub partitions: BTreeMap<String, Whole>,
    /// Files to which rows were written before they went.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub archived: Vec<ArchivedFile>,
    /// Tables that legal holds kept as they are, see [`SystemPlan::left`]. A step that says so is not
    /// the ticket's last on its system.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub left: BTreeSet<String>,
    /// Of rows that were chosen by their age, the first and the last day, in their rule's zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<(NaiveDate, NaiveDate)>,
}

/// Captured rows of one table that are wanted elsewhere before they go.
#[derive(Clone, Debug)]
pub struct HandedOver {
    /// The table.
    pub table: TableName,
    /// Name and SQL type of each of its columns.
    pub columns: Vec<(String, String)>,
    /// Reads all of them, as texts.
    pub statement: Statement,
    /// Which rows, as many as it returns.
    pub rows: Rows,
}

/// A partition that went whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whole {
    /// Deleted, or detached.
    pub kind: ChangeKind,
    /// How many rows it held.
    pub rows: i64,
    /// The first and the last day that its range takes in, in the rule's zone.
    pub range: Option<(NaiveDate, NaiveDate)>,
}

/// A file of an archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchivedFile {
    /// Whose rows it holds.
    pub table: String,
    /// Where it is: a path, or an address without secrets.
    pub file: String,
    /// Of its bytes, in lower-case hexadecimal.
    pub sha256: String,
    /// In it.
    pub rows: i64,
    /// The last day on which it is kept.
    pub keep_until: NaiveDate,
}

/// Rows that the law keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptRows {
    /// The table.
    pub table: String,
    /// Basis.
    pub because: String,
    /// Until when; `None` with the retained row that they hang off.
    pub until: Option<DateTime<Utc>>,
    /// How many.
    pub rows: i64,
}

impl Change {
    /// The captured rows of each table that it changes.
    pub fn captured(&self) -> impl Iterator<Item = (&TableName, Rows)> {
        let first = self.rows.map(|rows| (&self.table, rows));
        first
            .into_iter()
            .chain(self.ring.iter().map(|(table, rows)| (table, *rows)))
    }
}

impl SystemPlan {
    /// The sets in order, those of a ring together.
    pub fn groups(&self) -> Vec<Vec<usize>> {
        let mut groups = Vec::new();
        for set in 0..self.sets.len() {
            match self.rings.iter().find(|ring| ring.contains(&set)) {
                None => groups.push(vec![set]),
                Some(ring) if ring[0] == set => groups.push(ring.clone()),
                Some(_) => {}
            }
        }
        groups
    }

    /// The sets whose rows name things, those on the way to them, and the subjects' own.
    pub fn ways_to_things(&self) -> Vec<usize> {
        let named = self.things.iter().flat_map(|things| &things.rows);
        let mut ways: Vec<usize> = named.map(|rows| rows.set).collect();
        let own = self.sets.iter().enumerate().filter(|(_, set)| {
            let mut captures = set.captures.iter();
            captures.any(|capture| capture.label == crate::lineage::SUBJECT)
        });
        ways.extend(own.map(|(at, _)| at));
        let mut done = BTreeSet::new();
        while let Some(set) = ways.pop() {
            if done.insert(set) {
                let captures = self.sets[set].captures.iter();
                ways.extend(captures.filter_map(|capture| capture.parent));
            }
        }
        done.into_iter().collect()
    }

    /// Every statement.
    pub fn statements(&self) -> impl Iterator<Item = &Statement> {
        let captures = self.sets.iter().flat_map(|s| &s.captures);
        let captures = captures.map(|c| &c.statement);
        let pieces = self.pieces.iter().map(|p| &p.statement);
        let changes = self.changes.iter();
        let changes = changes.flat_map(|c| [Some(&c.statement), c.count.as_ref(), c.lock.as_ref()]);
        let probes = self.spared.iter().chain(self.all_probes());
        let probes = probes.map(|p| &p.statement);
        captures
            .chain(pieces)
            .chain(changes.flatten())
            .chain(probes)
    }

    /// Whether rows of this table may change.
    pub fn touches(&self, table: &TableName) -> bool {
        let changed = |c: &Change| c.table == *table || c.ring.iter().any(|(t, _)| t == table);
        self.changes.iter().any(changed)
    }

    /// Of each statement: the ordinals of the tickets that would change rows which a hold covers. Of
    /// `only` one table, where not all sets are captured.
    pub fn covered(&self, held: &HeldRows, only: Option<&TableName>) -> Vec<Statement> {
        self.dialect.covered(self, held, only)
    }

    /// Every probe, those before a change among them.
    pub fn all_probes(&self) -> impl Iterator<Item = &Probe> {
        let before = self.changes.iter().flat_map(|c| &c.before);
        before.chain(&self.probes)
    }
}

impl Plan {
    /// SHA-256 of the plan's JSON: the name under which it is stored.
    pub fn id(&self) -> String {
        let text = serde_json::to_vec(self).expect("a plan is always JSON");
        format!("{:x}", Sha256::digest(text))
    }

    /// The identifiers by whose values anything is found: places, and rows, be they in a table outside
    /// the scope that only leads on to rows inside.
    pub fn identifiers(&self) -> BTreeSet<String> {
        let statements = self.systems.iter().flat_map(SystemPlan::statements);
        let parameters = statements.flat_map(|s| s.parameters.iter().flat_map(Parameter::parts));
        let of_places = self.places.iter().flat_map(PlacesPlan::identifiers);
        parameters
            .filter_map(|parameter| match parameter {
                Parameter::IdentifierValues(name) => Some(name.clone()),
                _ => None,
            })
            .chain(of_places)
            .collect()
    }

    /// The parts that commit by themselves and those that commit together, in the order of execution. Of
    /// several that which comes last otherwise, the root's, is first: it holds the person's row for the others.
    pub fn units(&self) -> Vec<Vec<&SystemPlan>> {
        let mut units = Vec::new();
        for (at, part) in self.systems.iter().enumerate() {
            let together = self.atomic.iter().find(|set| set.contains(&part.system));
            let Some(together) = together else {
                units.push(vec![part]);
                continue;
            };
            let with = |other: &&SystemPlan| together.contains(&other.system);
            if !self.systems[at + 1..].iter().any(|other| with(&other)) {
                units.push(self.systems.iter().filter(with).rev().collect());
            }
        }
        units
    }

    /// Whether both do the same, statement by statement, whatever the words of their policies are.
    pub fn does_the_same_as(&self, other: &Self) -> bool {
        (&self.subject, &self.scope, &self.places) == (&other.subject, &other.scope, &other.places)
            && (&self.systems, &self.atomic) == (&other.systems, &other.atomic)
    }
}

/// An identifier as a subject is found by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FindBy {
    /// Column of the root table.
    pub column: String,
    /// How it is compared.
    pub kind: IdentifierKind,
}
