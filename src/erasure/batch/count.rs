//! Rows for the metrics.

use crate::plan::{ChangeKind, SystemPlan};
use crate::system::postgres::execute::Outcome;
use std::collections::BTreeMap;

pub(super) fn count(part: &SystemPlan, outcome: &Outcome) {
    let mut rows: BTreeMap<(String, &'static str), u64> = BTreeMap::new();
    for (at, counts) in outcome.counts.iter().enumerate() {
        if outcome.repeated.contains(&at) {
            continue;
        }
        for (table, kinds) in &counts.changed {
            for (kind, n) in kinds {
                *rows.entry((table.clone(), action(*kind))).or_default() += n.unsigned_abs();
            }
        }
        for kept in &counts.kept {
            *rows.entry((kept.table.clone(), "kept")).or_default() += kept.rows.unsigned_abs();
        }
    }
    for ((table, action), n) in rows {
        metrics::counter!(crate::metrics::ROWS, "system" => part.system.clone(), "table" => table, "action" => action).increment(n);
    }
}

fn action(kind: ChangeKind) -> &'static str {
    match kind {
        ChangeKind::Deleted => "deleted",
        ChangeKind::Anonymized => "anonymized",
        ChangeKind::Detached => "detached",
        ChangeKind::Cleaned => "cleaned",
        ChangeKind::Unlinked => "unlinked",
    }
}
