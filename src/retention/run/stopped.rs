//! Why a run ends before its end.

use crate::store::StoreError;
use crate::system::postgres::execute::NotErased;

/// Why a run did not come to its end. What is gone by then is counted in the control database.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    /// It runs already, here or elsewhere.
    #[error("the rule runs already: `erasured retention runs` says since when")]
    Running,
    /// It was told to stop; the next run goes on.
    #[error("stopped before its end; the next run takes what is left")]
    Early,
    /// The daemon ends; another takes the run up.
    #[error("left for another daemon")]
    Left,
    /// More rows are due than the policy wants to see gone unasked.
    #[error("E0530: {due} rows are due, and the rule stops above {most}")]
    TooMany {
        /// Due.
        due: i64,
        /// `stop_above`.
        most: u64,
    },
    /// Nobody has approved what the rule takes now.
    #[error(
        "E0526: {due} rows are due, and nobody has approved what the rule takes{}: `erasured retention approve` shows it",
        since_approved(more)
    )]
    Unapproved {
        /// Due.
        due: i64,
        /// In what it takes more than was approved; nothing if nobody has approved it yet.
        more: Vec<&'static str>,
    },
    /// More rows are due than whoever approved the rule could foresee.
    #[error(
        "E0527: {due} rows are due, and about {expected} were foreseen when the rule was approved: `erasured retention approve` shows them"
    )]
    OverForecast {
        /// Due.
        due: i64,
        /// What the forecast says, without what has gone since.
        expected: i64,
    },
    /// A legal hold on a person whose rows these may be.
    #[error("E0521: a legal hold on a {0} is in force, and rows of this table may be theirs")]
    Held(String),
    /// A batch failed in a way that no other row would fare better.
    #[error(transparent)]
    Batch(#[from] NotErased),
    /// The control database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The rule does not fit its system, or the system is away.
    #[error(transparent)]
    Unplanned(#[from] crate::erasure::context::Unplanned),
    /// The system.
    #[error(transparent)]
    Unreachable(#[from] crate::system::postgres::connect::ConnectError),
    /// What went is not known to be gone from a logical subscriber too.
    #[error(transparent)]
    NotApplied(#[from] crate::erasure::sweep::SweepFailed),
}

fn since_approved(more: &[&str]) -> String {
    match more {
        [] => String::new(),
        more => format!(" ({} than was approved)", more.join(", ")),
    }
}

impl Stopped {
    /// Under which code it is told.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooMany { .. } => "E0530",
            Self::Unapproved { .. } => "E0526",
            Self::OverForecast { .. } => "E0527",
            Self::Held(_) => "E0521",
            Self::Batch(error) => crate::retention::code(error),
            Self::Unplanned(error) => error.code(),
            Self::Running
            | Self::Early
            | Self::Left
            | Self::Store(_)
            | Self::Unreachable(_)
            | Self::NotApplied(_) => "E0301",
        }
    }
}
