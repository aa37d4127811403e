//! What a failure means for the tickets of a batch: another try, or a person.

use crate::plan::SystemPlan;
use crate::system::postgres::execute::{HeldRow, NotErased};
use crate::system::postgres::failure::Failure;
use std::time::Duration;
use uuid::Uuid;

/// Why a group of tickets did not get through one system.
pub(super) enum Setback {
    /// Another try may succeed; nothing need be split.
    Later(&'static str, String),
    /// The same will happen again until somebody changes something.
    Stuck(&'static str, String),
    /// Legal holds cover these tickets whole; the others of the group may go on.
    Held(Vec<Uuid>),
    /// Legal holds cover rows that these tickets reach; the rest of them may go on beside, and so may
    /// the others.
    HeldRows(Vec<HeldRow>),
}

impl Setback {
    /// Where rows go in pieces, some may have gone before the rest did not.
    pub(super) fn after_pieces(self, part: &SystemPlan) -> Self {
        match self {
            Self::Stuck(code, said) if !part.pieces.is_empty() => {
                let tables = part.pieces.iter().map(|p| p.table.to_string());
                let tables: Vec<String> = tables.collect();
                Self::Stuck(
                    code,
                    format!(
                        "{said}; pieces of {} may have gone before, and stay gone: a retry goes on from there",
                        tables.join(", ")
                    ),
                )
            }
            other => other,
        }
    }
}

/// What keeps one ticket of a batch from going keeps all of them. A connection that breaks at work
/// is not among it: one row may be what breaks it each time, and must be found.
pub(super) fn shared(cause: &str) -> bool {
    matches!(
        cause,
        "unreachable"
            | "maintenance"
            | "read_only"
            | "out_of_resources"
            | "too_many_connections"
            | "clock"
            | "drift"
            | "overtaken"
            | "control"
            | "commit_unknown"
            | "in_doubt"
            | "legal_hold"
            | "pending"
    )
}

/// The system is away, whatever the ticket: others may be there.
pub(super) fn away(cause: &str) -> bool {
    matches!(
        cause,
        "unreachable" | "maintenance" | "read_only" | "out_of_resources" | "too_many_connections"
    )
}

/// One second, doubling to ten minutes; `chance` moves it by up to a half.
pub(super) fn backoff(attempt: i32, chance: u16) -> Duration {
    let seconds = 2_u64
        .saturating_pow(u32::try_from(attempt.clamp(0, 20)).unwrap_or(0))
        .min(600);
    Duration::from_millis(seconds * 1000 + seconds * 500 * u64::from(chance) / u64::from(u16::MAX))
}

pub(super) fn setback(error: NotErased) -> Setback {
    let said = error.to_string();
    match error {
        NotErased::Database(_, Failure::Transient(cause)) => Setback::Later(cause, said),
        NotErased::Database(_, Failure::Permanent) => Setback::Stuck("E0508", said),
        NotErased::CommitUnknown(_) => Setback::Later("commit_unknown", said),
        NotErased::InDoubt { .. } => Setback::Later("in_doubt", said),
        NotErased::CannotPrepare { .. } => Setback::Stuck("E0550", said),
        NotErased::Drift { .. } => Setback::Later("drift", said),
        NotErased::Mismatch { .. } => Setback::Stuck("E0502", said),
        NotErased::Residual { .. } => Setback::Stuck("E0503", said),
        // Of rules alone; a ticket's rows nothing spares.
        NotErased::NoEnd { .. } | NotErased::Spared { .. } => Setback::Stuck("E0504", said),
        NotErased::OtherIdentity { .. } => Setback::Stuck("E0506", said),
        NotErased::Held(tickets) => Setback::Held(tickets),
        NotErased::HeldRows(found) => Setback::HeldRows(found),
        NotErased::NotDue => Setback::Later("not_due", said),
        NotErased::NewThing => Setback::Later("new_thing", said),
        NotErased::ContactChanged => Setback::Later("contact_changed", said),
        NotErased::HoldUnfit { .. } => Setback::Stuck("E0523", said),
        NotErased::HoldUnread => Setback::Later("legal_hold", said),
        // No ticket archives anything.
        NotErased::Archive(_) | NotErased::Hook(_) => Setback::Later("control", said),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_grows_and_is_bounded() {
        assert_eq!(backoff(0, 0), Duration::from_secs(1));
        assert_eq!(backoff(5, 0), Duration::from_secs(32));
        assert!(backoff(1000, u16::MAX) <= Duration::from_secs(900));
    }
}
