//! What goes on elsewhere while a batch's transaction is open.

use super::{MustBeDue, Names, NotErased, Unanswered};
use crate::name::TableName;
use crate::plan::{ArchivedFile, HandedOver, Statement};
use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use std::collections::BTreeMap;

/// The keys of rows that stay, for coming back on their date.
pub struct Deferred {
    /// Position of the ticket in the batch.
    pub ticket: usize,
    /// The table.
    pub table: TableName,
    /// Until when.
    pub until: DateTime<Utc>,
    /// Basis.
    pub because: String,
    /// One key a row, each part as text.
    pub keys: Vec<Vec<String>>,
}

/// What the root rows said when they were locked, ticket by ticket, before anything changed.
pub struct Seen {
    /// Position in the batch.
    pub ticket: usize,
    /// Column of the root table to its value as text; NULLs left out.
    pub values: BTreeMap<String, String>,
}

/// What goes on elsewhere: written down between the capture and the first change, held until
/// COMMIT.
pub trait BeforeChange: Send {
    /// Positions of the tickets that take part: the step of the others had been committed before, and
    /// what was written down for them then stands. Called before [`BeforeChange::ready`].
    fn take_part(&mut self, _active: &[usize]) {}

    /// Is given what the locked root rows say and the rows to come back for; may stop the batch.
    /// What it writes must bear being written twice.
    fn ready(
        &mut self,
        seen: Vec<Seen>,
        deferred: Vec<Deferred>,
    ) -> BoxFuture<'_, Result<(), NotErased>>;

    /// Is given what the captured rows name in other systems: it must be known, for it goes with them.
    fn named(&mut self, _names: Names) -> BoxFuture<'_, Result<(), NotErased>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Of which tickets the subjects must be due, whose rows this plan locks.
    fn must_be_due(&self) -> Vec<MustBeDue> {
        Vec::new()
    }

    /// Who takes captured rows, as texts, before the first of them changes; nobody by default.
    fn hand_over(&mut self) -> Option<&mut dyn HandOver> {
        None
    }

    /// The last word before every COMMIT, of a piece too, with all rows locked: whether what was held
    /// elsewhere for this is held still, and no legal hold covers what goes. Has no default: whoever
    /// erases must say who was asked.
    fn last_word(&mut self) -> BoxFuture<'_, Result<(), NotErased>>;

    /// Brings those who happen together with this one as far as this one is: all is done and probed, and they
    /// are prepared. Asked in place of the last word, which whoever decides asks once for all.
    fn the_others(&mut self) -> BoxFuture<'_, Result<(), NotErased>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// The COMMIT has been answered: what the last word has taken may be let go.
    fn committed(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    /// Asks for the first and the last day of captured rows that were chosen by their age; recorded with the counts.
    fn dated(&self) -> Option<Statement> {
        None
    }

    /// Whether an earlier step of this ticket has put this row off already: then it is not put off
    /// again, nor counted among the kept.
    fn put_off(&self, _ticket: usize, _table: &TableName, _key: &[String]) -> bool {
        false
    }
}

/// Takes rows before they go, to keep them elsewhere.
pub trait HandOver: Send {
    /// What of the captured rows.
    fn wanted(&self) -> Vec<HandedOver>;

    /// Rows follow; this session is to commit.
    fn begin(&mut self, session: Unanswered) -> BoxFuture<'_, Result<(), NotErased>>;

    /// Some rows of one that is wanted, by its position; all of it come one after the other.
    fn rows(
        &mut self,
        of: usize,
        rows: Vec<Vec<Option<String>>>,
    ) -> BoxFuture<'_, Result<(), NotErased>>;

    /// That was all: where it is to be kept it is when this returns. The files are recorded with the counts.
    fn end(&mut self) -> BoxFuture<'_, Result<Vec<ArchivedFile>, NotErased>>;
}

/// Nothing is to be written down, and nobody is asked: where nothing is erased, and in tests.
pub struct Nothing;

impl BeforeChange for Nothing {
    fn ready(&mut self, _: Vec<Seen>, _: Vec<Deferred>) -> BoxFuture<'_, Result<(), NotErased>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn last_word(&mut self) -> BoxFuture<'_, Result<(), NotErased>> {
        Box::pin(std::future::ready(Ok(())))
    }
}
