//! `action = "anonymize"`: what becomes of the columns of rows whose time is over.

use super::{CONTRADICTION, RetentionAction, Table};
use crate::policy::rule::{Set, strategies};
use crate::policy::{Span, Strategy};

const HELP: &str = "say what becomes of each column: set = { caller_name = \"null\" }";

/// The rule's `set`, empty where nothing is set: `None` where it is wrong.
pub(super) fn read(table: &Table<'_>, action: Option<RetentionAction>) -> Option<Set> {
    let wanted = action == Some(RetentionAction::Anonymize);
    if wanted {
        table.need("set", HELP);
    }
    if !table.has("set") {
        return (!wanted).then(Set::new);
    }
    if let (Some(at), false) = (table.span_of("set"), wanted) {
        let message = format!("`set` in {} changes rows that stay", table.label());
        let help = "it stands beside action = \"anonymize\"";
        table.reader().error(CONTRADICTION, at, message, help);
    }
    let set = strategies(&table.table("set")?);
    let mut told = true;
    for (column, (_, at)) in set.iter().filter(|(_, value)| !tells_itself(value)) {
        let message = format!(
            "what `set` in {} makes of {column} cannot be told from a value that was never changed, so its rows would be due every night",
            table.label()
        );
        let help = "use \"null\", \"redact\", a constant, a template, truncate, mask or bucket";
        table
            .reader()
            .error(CONTRADICTION, at.clone(), message, help);
        told = false;
    }
    (told && !set.is_empty()).then_some(set)
}

/// Whether a value shows that it has been made so: made once more it stays as it is.
fn tells_itself((strategy, _): &(Strategy, Span)) -> bool {
    match strategy {
        Strategy::Null
        | Strategy::Constant(_)
        | Strategy::Redact
        | Strategy::Truncate(_)
        | Strategy::Template(_)
        | Strategy::Mask { .. }
        | Strategy::Bucket(_) => true,
        Strategy::Hash
        | Strategy::HashAs(_)
        | Strategy::Choose(_)
        | Strategy::RedactIdentifiers => false,
    }
}
