//! Whether an index gives a retention rule its rows oldest first.

use super::check::keys::{SMALL, create_index};
use crate::catalog::Table;
use crate::diagnostic::Diagnostic;
use crate::policy::Policy;
use crate::policy::retention::RetentionRule;

/// A warning where each batch would read the whole of a large table. Of several columns the latest counts, which
/// no index says: those rows are passed by their key.
pub(super) fn unindexed(
    policy: &Policy,
    rule: &RetentionRule,
    table: &Table,
) -> Option<Diagnostic> {
    let ([column], true) = (rule.keep.columns(), rule.keep.linked().is_empty()) else {
        return None;
    };
    let column = std::slice::from_ref(column);
    if table.size.0 < SMALL || table.indexed(column, &[]) {
        return None;
    }
    let message = format!(
        "no index begins with {} of {} (about {:.0} rows): each batch of the retention rule {} reads the whole table",
        column[0], rule.table, table.size.0, rule.name
    );
    let help = create_index(&rule.table.table, table.kind, column);
    Some(Diagnostic::warning("E0221", message, help).at(&policy.source, rule.span.clone()))
}
