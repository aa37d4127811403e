//! `archive`: rows are written to a file before they go.

use super::{BAD_PERIOD, CODES, CONTRADICTION, Period, RetentionAction, Table, period};
use crate::reading::{amount, quoted};
use chrono::{Days, Months, NaiveDate};
use std::path::PathBuf;

/// Where rows are written to before they go, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archive {
    /// The folder.
    pub to: PathBuf,
    /// How long a file is kept there.
    pub keep: Period,
}

impl Archive {
    /// The last day on which what is written today is kept. `None` beyond the calendar.
    pub fn last_day(&self, today: NaiveDate) -> Option<NaiveDate> {
        today
            .checked_add_months(Months::new(self.keep.months))?
            .checked_add_days(Days::new(self.keep.days.into()))
    }
}

const TO_HELP: &str = "name a folder of the daemon's host, with its whole path: archive = \
     { to = \"/var/lib/erasured/archive\", keep = \"10 years\" }";

/// The rule's `archive`: `None` where it is wrong.
pub(super) fn read(table: &Table<'_>, action: Option<RetentionAction>) -> Option<Option<Archive>> {
    if !table.has("archive") {
        return Some(None);
    }
    if let (Some(at), true) = (
        table.span_of("archive"),
        action.is_some_and(|action| action != RetentionAction::Delete),
    ) {
        let message = format!("`archive` in {} is of rows that go", table.label());
        let help = "it stands beside action = \"delete\"";
        table.reader().error(CONTRADICTION, at, message, help);
    }
    let archive = table.table("archive")?;
    archive.need("to", TO_HELP).need("keep", TO_HELP);
    let to = archive.parsed("to", CODES.bad_value, TO_HELP, |text| {
        let to = PathBuf::from(text);
        if to.is_absolute() {
            Ok(to)
        } else {
            Err(format!("{} is no whole path", quoted(text)))
        }
    });
    let keep = archive.parsed("keep", BAD_PERIOD, amount::PERIOD_HELP, period);
    archive.finish();
    Some(Some(Archive {
        to: to?.0,
        keep: keep?.0,
    }))
}
