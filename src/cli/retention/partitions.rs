//! What `erasured retention plan` says of partitions, and of the archive.

use crate::certificate::show::size;
use crate::cli::say;
use crate::retention::{Prepared, SeenPart};
use chrono::{DateTime, Utc};

/// Which partitions go whole, and why none does.
pub(super) fn tell(prepared: &Prepared, parts: &[SeenPart]) {
    if prepared.rule.partitions.is_none() {
        return;
    }
    match (prepared.partitions_obstacle(), parts) {
        (Some(why), _) => say!("  whole:    no partition, row by row: {why}"),
        (None, []) => say!(
            "  whole:    no partition is due from end to end and free of holds, views and publications"
        ),
        (None, parts) => {
            for part in parts {
                let days = match part.range {
                    Some((first, last)) => format!("{first} – {last}, "),
                    None => String::new(),
                };
                let bytes = size(u64::try_from(part.bytes).unwrap_or(0));
                say!("  whole:    {} ({days}{bytes})", part.partition);
            }
        }
    }
}

/// Where rows are written to before they go, of which tables.
pub(super) fn tell_archive(prepared: &Prepared, now: DateTime<Utc>) {
    let Some(archive) = &prepared.rule.archive else {
        return;
    };
    let tables: Vec<String> = (prepared.archived_tables().iter())
        .map(ToString::to_string)
        .collect();
    let today = now.with_timezone(&prepared.rule.zone).date_naive();
    let until = match archive.last_day(today) {
        Some(day) => format!("kept until {day}"),
        None => "kept beyond the calendar".to_owned(),
    };
    say!(
        "  archive:  rows of {} to {}, {until}",
        tables.join(", "),
        archive.to
    );
}
