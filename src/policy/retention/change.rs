//! `action = "anonymize"` and `"detach"`: what becomes of the columns of rows whose time is over.

use super::{CODES, CONTRADICTION, DATABASE_NAME_HELP, RetentionAction, Table, database_name};
use crate::policy::rule::{Set, strategies};
use crate::policy::{Span, Strategy};

const HELP: &str = "say what becomes of each column: set = { caller_name = \"null\" }";
const LINKS_HELP: &str =
    "name the columns by which its rows refer to somebody: detach = [\"customer_id\"]";

/// What the rule sets, nothing where rows do not stay: `None` where it is wrong.
pub(super) fn read(table: &Table<'_>, action: Option<RetentionAction>) -> Option<Set> {
    let (set, links) = (anonymized(table, action), detached(table, action));
    let mut set = set?;
    set.extend(links?);
    Some(set)
}

/// The columns of `detach`, to be emptied.
fn detached(table: &Table<'_>, action: Option<RetentionAction>) -> Option<Set> {
    let wanted = action == Some(RetentionAction::Detach);
    if wanted {
        table.need("detach", LINKS_HELP);
    }
    if !table.has("detach") {
        return (!wanted).then(Set::new);
    }
    let at = table.span_of("detach").unwrap_or_else(|| table.span());
    if !wanted {
        let message = format!("`detach` in {} is of rows that stay", table.label());
        let help = "it stands beside action = \"detach\"";
        let at = at.clone();
        table.reader().error(CONTRADICTION, at, message, help);
    }
    let mut links = Set::new();
    for (name, span) in table.strings("detach")? {
        match database_name(&name) {
            Ok(name) => drop(links.insert(name, (Strategy::Null, span))),
            Err(why) => {
                let message = format!("`detach` in {} cannot be read: {why}", table.label());
                let help = DATABASE_NAME_HELP;
                table.reader().error(CODES.bad_value, span, message, help);
                return None;
            }
        }
    }
    if links.is_empty() {
        let message = format!("`detach` in {} names no column", table.label());
        let reader = table.reader();
        reader.error(CODES.bad_value, at, message, LINKS_HELP);
        return None;
    }
    Some(links)
}

/// The rule's `set`.
fn anonymized(table: &Table<'_>, action: Option<RetentionAction>) -> Option<Set> {
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
