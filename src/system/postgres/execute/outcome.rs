//! How a batch's transaction ended, or why it did not.

use super::super::failure::{self, Failure};
use super::unanswered::Unanswered;
use crate::name::TableName;
use crate::plan::{ChangeKind, Counts};
use chrono::{DateTime, Utc};
use tokio_postgres::error::SqlState;
use uuid::Uuid;

/// The end of a batch's transaction.
pub struct Outcome {
    /// In the order of the batch.
    pub counts: Vec<Counts>,
    /// When the server committed, by its own clock.
    pub committed_at: DateTime<Utc>,
    /// The WAL position behind the commit: what a standby must have replayed to show it.
    pub wal: String,
    /// `server_version_num`.
    pub server_version: i32,
    /// Positions in the batch of tickets whose step had been committed before.
    pub repeated: Vec<usize>,
    /// It is prepared and waits to be committed: the times are those of the preparing.
    pub prepared: bool,
}

/// Why a batch did not happen. Nothing here holds personal data.
#[derive(Debug, thiserror::Error)]
pub enum NotErased {
    /// The server said no, or nothing at all.
    #[error("{0}")]
    Database(String, Failure),
    /// COMMIT was sent and its answer never came.
    #[error(
        "the connection was lost while committing; whether it happened is read from the target's own row"
    )]
    CommitUnknown(Unanswered),
    /// The definitions are not those of the plan.
    #[error("the catalog of {system} changed since the plan was made")]
    Drift {
        /// Which.
        system: String,
    },
    /// Rows matched and rows affected differ.
    #[error(
        "{table}: {matched} rows were matched and {affected} {kind:?}: a trigger, a rule or a policy of the database interferes"
    )]
    Mismatch {
        /// Where.
        table: TableName,
        /// What was to happen to them.
        kind: ChangeKind,
        /// Captured.
        matched: u64,
        /// Changed.
        affected: u64,
    },
    /// The probe found something.
    #[error("{table}: {label} ({rows})")]
    Residual {
        /// Where.
        table: TableName,
        /// What it means.
        label: String,
        /// How many, or how many too few.
        rows: i64,
    },
    /// A row to be retained has no date.
    #[error("{table}: a row to be retained has no date in {column}, so no end can be counted")]
    NoEnd {
        /// Where.
        table: TableName,
        /// The column.
        column: String,
    },
    /// What the ticket calls the subject is no longer what the row says.
    #[error("the subject's {identifier} is no longer the one that the ticket names")]
    OtherIdentity {
        /// Which identifier.
        identifier: String,
    },
    /// When something was changed that reaches the subject is another time than it was before the lock.
    #[error("what reaches the subject was changed at this moment")]
    ContactChanged,
    /// A legal hold covers what would go; of which tickets.
    #[error("a legal hold covers what would be erased")]
    Held(Vec<Uuid>),
    /// Legal holds cover rows that would change.
    #[error("a legal hold covers rows that would be erased")]
    HeldRows(Vec<HeldRow>),
    /// A hold on rows cannot be compared with the table as it is now.
    #[error("{table}: a legal hold names the column {column}, which is not there any more")]
    HoldUnfit {
        /// Where.
        table: TableName,
        /// The column.
        column: String,
    },
    /// Somebody whom a retention rule names has come back at this moment.
    #[error("a person is not due any more")]
    NotDue,
    /// What hangs on the rows keeps them.
    #[error("rows of {table} hang on these and keep them: {by}")]
    Spared {
        /// Where what keeps them stands.
        table: TableName,
        /// Why.
        by: String,
    },
    /// A legal hold was placed just now, and whom it covers is not known yet.
    #[error("a legal hold on this kind of subject has still to be read")]
    HoldUnread,
    /// Rows could not be archived.
    #[error("E0532: rows could not be archived: {0}")]
    Archive(String),
    /// What several systems have prepared is decided, and one of them has still to be told.
    #[error(
        "{system} has still to be told what became of a transaction that it has prepared: {problem}"
    )]
    InDoubt {
        /// Which system.
        system: String,
        /// What is in the way.
        problem: String,
    },
    /// The server prepares no such transaction, and so it cannot happen together with others.
    #[error("{system}: {why}")]
    CannotPrepare {
        /// Which system.
        system: String,
        /// Why not.
        why: &'static str,
    },
    /// Rows name something in another system that was not taken away before.
    #[error("rows name something in another system that was not there a moment ago")]
    NewThing,
    /// The step between capture and change could not be done.
    #[error("{0}")]
    Hook(String),
}

/// That a ticket reaches rows which a hold covers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HeldRow {
    /// The ticket.
    pub ticket: Uuid,
    /// The hold.
    pub hold: Uuid,
    /// Where the rows are.
    pub table: TableName,
}

impl From<tokio_postgres::Error> for NotErased {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Database(failure::describe(&error), failure::classify(&error))
    }
}

/// The results of what was sent together. After the first error the server only repeats that the
/// transaction is aborted, and which answer is looked at first is chance: so all are waited for,
/// and the one that says why is given.
pub(super) fn judged<T>(results: Vec<Result<T, NotErased>>) -> Result<Vec<T>, NotErased> {
    let (mut values, mut aborted) = (Vec::with_capacity(results.len()), None);
    for result in results {
        match result {
            Ok(value) => values.push(value),
            Err(error @ NotErased::Database(_, Failure::Transient("aborted"))) => {
                aborted.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    aborted.map_or(Ok(values), Err)
}

/// The same for two that were sent together.
pub(super) fn both<A, B>(
    first: Result<A, NotErased>,
    second: Result<B, NotErased>,
) -> Result<(A, B), NotErased> {
    match (first, second) {
        (Err(NotErased::Database(_, Failure::Transient("aborted"))), Err(why)) => Err(why),
        (first, second) => Ok((first?, second?)),
    }
}

pub(super) fn already_committed() -> NotErased {
    NotErased::Database(
        "another daemon committed this step meanwhile".into(),
        Failure::Transient("overtaken"),
    )
}

/// Where the subject has no rows that could be locked, two daemons meet here.
pub(super) fn overtaken(error: tokio_postgres::Error) -> NotErased {
    if error.code() == Some(&SqlState::UNIQUE_VIOLATION) {
        already_committed()
    } else {
        error.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whichever answer is looked at first: the error that says why is the one given.
    #[test]
    fn a_consequence_never_hides_its_cause() {
        let of = |cause| NotErased::Database(format!("{cause:?}"), cause);
        let aborted = || Err::<(), _>(of(Failure::Transient("aborted")));
        let deadlock = || Err(of(Failure::Transient("deadlock")));
        for results in [
            vec![Ok(()), deadlock(), aborted()],
            vec![aborted(), aborted(), deadlock()],
        ] {
            let error = judged(results).unwrap_err().to_string();
            assert!(error.contains("deadlock"), "{error}");
        }
        assert!(judged(vec![Ok(()), aborted()]).is_err());
        assert_eq!(judged(vec![Ok::<_, NotErased>(1), Ok(2)]).unwrap(), [1, 2]);
        for error in [both(aborted(), deadlock()), both(deadlock(), aborted())] {
            let error = error.unwrap_err().to_string();
            assert!(error.contains("deadlock"), "{error}");
        }
        assert!(both(Ok(()), aborted()).is_err());
        assert!(both(aborted(), Ok(())).is_err());
    }
}
