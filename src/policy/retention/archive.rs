//! `archive`: rows are written elsewhere before they go.

use super::{BAD_PERIOD, CODES, CONTRADICTION, Period, RetentionAction, Table, period};
use crate::config::bucket::is_bucket;
use crate::reading::{amount, quoted};
use chrono::{Days, Months, NaiveDate};
use std::fmt;
use std::path::PathBuf;

/// Where rows are written to before they go, as what, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archive {
    /// Where.
    pub to: Place,
    /// As what.
    pub format: Format,
    /// How long a file is kept there.
    pub keep: Period,
}

/// Where an archive is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a folder of the daemon's host.
    Folder(PathBuf),
    /// In a bucket that the configuration knows.
    Bucket {
        /// Its name.
        bucket: String,
        /// What the names of the files begin with: folders, or nothing.
        prefix: String,
    },
}

/// What an archive's files are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// CSV in gzip.
    #[default]
    Csv,
    /// Parquet.
    Parquet,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => path.display().fmt(f),
            Self::Bucket { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::Bucket { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

fn place(text: &str) -> Result<Place, String> {
    let Some(rest) = text.strip_prefix("s3://") else {
        let to = PathBuf::from(text);
        return if to.is_absolute() {
            Ok(Place::Folder(to))
        } else {
            Err(format!("{} is no whole path", quoted(text)))
        };
    };
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let prefix = prefix.trim_end_matches('/');
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '=');
    let folder = |part: &str| !part.is_empty() && part.chars().all(plain) && !part.starts_with('.');
    if !is_bucket(bucket) {
        Err(format!("{} is no name of a bucket", quoted(bucket)))
    } else if !prefix.is_empty() && !prefix.split('/').all(folder) {
        Err(format!(
            "{} is not made of plain names: letters, digits, `-`, `_`, `.`, `=`",
            quoted(prefix)
        ))
    } else {
        Ok(Place::Bucket {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
        })
    }
}

impl Archive {
    /// The last day on which what is written today is kept. `None` beyond the calendar.
    pub fn last_day(&self, today: NaiveDate) -> Option<NaiveDate> {
        today
            .checked_add_months(Months::new(self.keep.months))?
            .checked_add_days(Days::new(self.keep.days.into()))
    }
}

const TO_HELP: &str = "name a folder of the daemon's host, with its whole path, or a bucket of erasured.toml: archive = \
     { to = \"/var/lib/erasured/archive\", keep = \"10 years\" }, or to = \"s3://our-archive/calls\"";

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
    let to = archive.parsed("to", CODES.bad_value, TO_HELP, place);
    let formats = [("csv.gz", Format::Csv), ("parquet", Format::Parquet)];
    let format = archive.word("format", CODES.bad_value, &formats);
    let keep = archive.parsed("keep", BAD_PERIOD, amount::PERIOD_HELP, period);
    archive.finish();
    Some(Some(Archive {
        to: to?.0,
        format: format.map_or(Format::Csv, |(format, _)| format),
        keep: keep?.0,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_whole_path_or_plain_names_in_a_bucket() {
        for text in [
            "/a/folder",
            "s3://our-archive",
            "s3://our.archive/a/b=1/c_d-e",
        ] {
            assert_eq!(place(text).unwrap().to_string(), text);
        }
        assert_eq!(
            place("s3://our-archive/").unwrap().to_string(),
            "s3://our-archive"
        );
        for text in [
            "a/folder",
            "s3://",
            "s3://a/b",
            "s3://user:secret@host/b",
            "s3://our-archive/../x",
            "s3://our-archive//x",
            "s3://our-archive/a?b=c",
            "s3://Our-Archive/x",
            "http://169.254.169.254/x",
        ] {
            assert!(place(text).is_err(), "{text}");
        }
    }
}
