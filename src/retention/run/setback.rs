//! What becomes of a batch that failed: again, in halves, or not.

use crate::system::postgres::execute::NotErased;
use crate::system::postgres::failure::Failure;

/// Rows that are few.
const FEW: usize = 10;

/// Whether the same batch may fare better in a moment: a hold that was placed meanwhile is known then.
pub(super) fn passes(error: &NotErased) -> bool {
    matches!(
        error,
        NotErased::Database(_, Failure::Transient(_))
            | NotErased::CommitUnknown(_)
            | NotErased::HoldUnread
            | NotErased::Held(_)
    )
}

/// Of what was not done in time the same again would take as long: down to how many rows half of them are
/// tried. One row is what somebody locks; a statement that does not end with a few is not about one of them.
pub(super) fn fewest_in_time(error: &NotErased) -> Option<usize> {
    match error {
        NotErased::Database(_, Failure::Transient("lock_timeout")) => Some(1),
        NotErased::Database(_, Failure::Transient("statement_timeout")) => Some(FEW),
        _ => None,
    }
}

/// Whether fewer rows may fare better: something is about one of them.
pub(super) fn is_of_rows(error: &NotErased) -> bool {
    match error {
        // Some row is locked for longer than we wait.
        NotErased::Database(_, Failure::Transient(cause)) => *cause == "lock_timeout",
        NotErased::Database(_, Failure::Permanent)
        | NotErased::NoEnd { .. }
        | NotErased::OtherIdentity { .. }
        | NotErased::Mismatch { .. }
        | NotErased::Residual { .. }
        | NotErased::Spared { .. }
        | NotErased::HeldRows(_) => true,
        _ => false,
    }
}
