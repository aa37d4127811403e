//! What `erasured retention plan` says of partitions.

use crate::cli::failure::Failure;
use crate::cli::say;
use crate::erasure::context::Context;
use crate::retention::Prepared;

/// The names of the partitions that would go whole.
pub(super) async fn names(context: &Context, prepared: &Prepared) -> Result<Vec<String>, Failure> {
    let parts = prepared.partitions_due(context).await;
    let parts = parts.map_err(super::run::failed)?;
    Ok(parts.iter().map(|part| part.table.to_string()).collect())
}

/// Which partitions go whole, and why none does.
pub(super) fn tell(prepared: &Prepared, names: &[String]) {
    if prepared.rule.partitions.is_none() {
        return;
    }
    match (prepared.partitions_obstacle(), names) {
        (Some(why), _) => say!("  whole:    no partition, row by row: {why}"),
        (None, []) => say!(
            "  whole:    no partition is due from end to end and free of holds, views and publications"
        ),
        (None, names) => say!("  whole:    {}", names.join(", ")),
    }
}
