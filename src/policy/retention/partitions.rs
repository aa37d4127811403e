//! `partitions`: what happens to a partition all of whose rows are due.

use super::{CONTRADICTION, RetentionAction, Table, UNKNOWN_WORD};

/// What happens to a partition all of whose rows are due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Partitions {
    /// It is dropped.
    Drop,
    /// It becomes a table of its own, with its rows.
    Detach,
}

/// The rule's `partitions`: `None` where it is wrong.
pub(super) fn read(
    table: &Table<'_>,
    action: Option<RetentionAction>,
) -> Option<Option<Partitions>> {
    if !table.has("partitions") {
        return Some(None);
    }
    let known = [("drop", Partitions::Drop), ("detach", Partitions::Detach)];
    let (partitions, at) = table.word("partitions", UNKNOWN_WORD, &known)?;
    if action.is_some_and(|action| action != RetentionAction::Delete) {
        let message = format!(
            "`partitions` in {} says what becomes of rows that are deleted",
            table.label()
        );
        let help = "it stands beside action = \"delete\"";
        table.reader().error(CONTRADICTION, at, message, help);
    }
    Some(Some(partitions))
}
