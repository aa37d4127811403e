//! From the bytes of a file to requests, line by line. No complaint repeats what stood there: a header
//! that is missing is a row of values.

use crate::store::tickets::IdentifierValue;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use std::collections::BTreeMap;

/// The largest file.
pub(super) const LARGEST: u64 = 16 << 20;
/// The longest line.
const LONGEST: usize = 64 << 10;

/// What one line asks for.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) reference: String,
    pub(super) subject: String,
    pub(super) scope: String,
    pub(super) ground: String,
    pub(super) identifiers: Vec<(String, IdentifierValue)>,
    pub(super) requested_at: Option<DateTime<Utc>>,
    pub(super) language: Option<String>,
}

/// A line's number, from 1, and what it asks for or why that cannot be read.
pub(super) type Line = (u64, Result<Asked, String>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    reference: String,
    subject: String,
    scope: String,
    ground: String,
    identifiers: BTreeMap<String, String>,
    #[serde(default)]
    requested_at: Option<DateTime<Utc>>,
    #[serde(default)]
    language: Option<String>,
}

impl From<Written> for Asked {
    fn from(w: Written) -> Self {
        let identifiers = w.identifiers.into_iter();
        Self {
            reference: w.reference,
            subject: w.subject,
            scope: w.scope,
            ground: w.ground,
            identifiers: identifiers
                .map(|(name, value)| (name, IdentifierValue::new(value)))
                .collect(),
            requested_at: w.requested_at,
            language: w.language,
        }
    }
}

/// Reads a file of this ending.
///
/// # Errors
/// What is wrong with the file as a whole.
pub(super) fn read(ending: &str, bytes: &[u8]) -> Result<Vec<Line>, String> {
    let text = text(bytes)?;
    match ending {
        "csv" => csv_lines(text),
        "json" => match serde_json::from_str::<Written>(text) {
            Ok(one) => Ok(vec![(1, Ok(one.into()))]),
            Err(_) => Ok(json_lines(text)),
        },
        _ => Ok(json_lines(text)),
    }
}

fn text(bytes: &[u8]) -> Result<&str, String> {
    if bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF]) {
        return Err("the file is UTF-16: save it as UTF-8".into());
    }
    let bytes = bytes.strip_prefix(&[0xEF, 0xBB, 0xBF]).unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|_| match is_cp932(bytes) {
        true => {
            "the file looks like CP932 (Shift_JIS): save it as UTF-8, in Excel as \"CSV UTF-8\""
        }
        false => "the file is not UTF-8",
    })?;
    match text.trim().is_empty() {
        true => Err("the file is empty".into()),
        false => Ok(text),
    }
}

/// Whether all of it could be CP932: single bytes, half-width katakana, or a lead and a trail byte.
fn is_cp932(bytes: &[u8]) -> bool {
    let mut rest = bytes.iter();
    while let Some(byte) = rest.next() {
        let fits = match byte {
            0x00..=0x7F | 0xA1..=0xDF => true,
            0x81..=0x9F | 0xE0..=0xFC => {
                matches!(rest.next(), Some(0x40..=0x7E | 0x80..=0xFC))
            }
            _ => false,
        };
        if !fits {
            return false;
        }
    }
    true
}

fn json_lines(text: &str) -> Vec<Line> {
    let lines = (1..).zip(text.lines());
    let lines = lines.filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(number, line)| {
            if line.len() > LONGEST {
                return (number, Err("the line is longer than 64 KiB".to_owned()));
            }
            let read = serde_json::from_str::<Written>(line);
            let read = read.map(Asked::from).map_err(|error| {
                let what = match error.classify() {
                    serde_json::error::Category::Data => "is not a request",
                    _ => "is not JSON",
                };
                format!("the line {what}: column {}", error.column())
            });
            (number, read)
        })
        .collect()
}

/// Columns that are the same in every file; the others are `identifier.NAME`.
const COLUMNS: [&str; 6] = [
    "reference",
    "subject",
    "scope",
    "ground",
    "requested_at",
    "language",
];

fn csv_lines(text: &str) -> Result<Vec<Line>, String> {
    let mut reader = csv::ReaderBuilder::new().from_reader(text.as_bytes());
    let header = reader.headers().map_err(|_| "the header cannot be read")?;
    let header: Vec<String> = header.iter().map(|name| name.trim().to_owned()).collect();
    for (at, name) in header.iter().enumerate() {
        if !COLUMNS.contains(&name.as_str()) && !name.starts_with("identifier.") {
            return Err(format!(
                "column {} of the header is none of {} or identifier.NAME (columns are parted by commas)",
                at + 1,
                COLUMNS.join(", ")
            ));
        }
        if header[..at].contains(name) {
            return Err(format!("column {} of the header is there twice", at + 1));
        }
    }
    let mut lines = Vec::new();
    let mut record = csv::StringRecord::new();
    loop {
        match reader.read_record(&mut record) {
            Ok(false) => return Ok(lines),
            Ok(true) => {
                let number = line_of(text, record.position());
                lines.push((number, row(&header, &record)));
            }
            Err(error) => {
                let number = line_of(text, error.position());
                lines.push((
                    number,
                    Err("the line has not as many cells as the header".into()),
                ));
            }
        }
    }
}

/// The line on which a record begins: the reader counts the end of the line before as its beginning,
/// or half of it.
fn line_of(text: &str, position: Option<&csv::Position>) -> u64 {
    let at = position.and_then(|at| usize::try_from(at.byte()).ok());
    let bytes = text.as_bytes();
    let mut at = at.unwrap_or(0).min(bytes.len());
    while matches!(bytes.get(at), Some(b'\r' | b'\n')) {
        at += 1;
    }
    1 + bytes[..at].iter().filter(|byte| **byte == b'\n').count() as u64
}

fn row(header: &[String], record: &csv::StringRecord) -> Result<Asked, String> {
    if record.as_slice().len() > LONGEST {
        return Err("the line is longer than 64 KiB".into());
    }
    // An empty cell is none.
    let cells = header
        .iter()
        .zip(record)
        .filter(|(_, cell)| !cell.is_empty());
    let cells: BTreeMap<&str, &str> = cells.map(|(name, cell)| (name.as_str(), cell)).collect();
    let need = |name: &str| {
        let cell = cells.get(name).map(|cell| (*cell).to_owned());
        cell.ok_or_else(|| format!("{name} is empty"))
    };
    let requested_at = cells.get("requested_at").map(|cell| {
        let read = DateTime::parse_from_rfc3339(cell);
        read.map(|at| at.to_utc())
            .map_err(|_| "requested_at is not a time such as 2026-11-27T09:00:00+09:00".to_owned())
    });
    let identifiers = cells.iter().filter_map(|(name, cell)| {
        let name = name.strip_prefix("identifier.")?;
        Some((name.to_owned(), IdentifierValue::new((*cell).to_owned())))
    });
    Ok(Asked {
        reference: need("reference")?,
        subject: need("subject")?,
        scope: need("scope")?,
        ground: need("ground")?,
        identifiers: identifiers.collect(),
        requested_at: requested_at.transpose()?,
        language: cells.get("language").map(|cell| (*cell).to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_line_by_line_and_complaints_repeat_nothing() {
        let json = r#"{"reference": "A", "subject": "s", "scope": "c", "ground": "g", "identifiers": {"email": "taro@example.jp"}}"#;
        let whole = json.replace(", ", ",\n");
        assert_eq!(read("json", whole.as_bytes()).unwrap().len(), 1);
        let lines = format!("\u{feff}{json}\n\n{{\"taro@example.jp\"\n{json}\n");
        let read_lines = read("json", lines.as_bytes()).unwrap();
        let good: Vec<_> = read_lines
            .iter()
            .map(|(n, line)| (*n, line.is_ok()))
            .collect();
        assert_eq!(good, [(1, true), (3, false), (4, true)]);
        let csv = "reference,subject,scope,ground,identifier.email,language\r\n\
                   A,s,c,g,\"taro,\r\nyamada@example.jp\",ja\r\nB,s,c,g\r\nC,s,,g,x,\r\nD,s,c,g,x,\r\n";
        let rows = read("csv", csv.as_bytes()).unwrap();
        let good: Vec<_> = rows.iter().map(|(n, row)| (*n, row.is_ok())).collect();
        assert_eq!(good, [(2, true), (4, false), (5, false), (6, true)]);
        let first = rows[0].1.as_ref().unwrap();
        assert_eq!(
            first.identifiers[0].1.expose(),
            "taro,\r\nyamada@example.jp"
        );
        assert_eq!(first.language.as_deref(), Some("ja"));
        let no_header = read("csv", b"A,s,c,g,taro@example.jp\n").unwrap_err();
        let complaints = read_lines
            .iter()
            .chain(&rows)
            .filter_map(|(_, line)| line.as_ref().err());
        for complaint in complaints.chain([&no_header]) {
            assert!(!complaint.contains("taro"), "{complaint}");
        }
    }

    #[test]
    fn other_encodings_are_told_by_name() {
        let complaint = |bytes: &[u8]| read("csv", bytes).unwrap_err();
        // 山田 in CP932.
        assert!(complaint(b"reference\n\x8e\x52\x93\x63\n").contains("CP932"));
        assert!(complaint(b"\xff\xfer\0e\0").contains("UTF-16"));
        assert_eq!(complaint(b"\xff\xff\xff"), "the file is not UTF-8");
        assert_eq!(complaint(b" \n"), "the file is empty");
        let long = format!("{{\"a\": \"{}\"}}", "x".repeat(LONGEST));
        assert!(read("jsonl", long.as_bytes()).unwrap()[0].1.is_err());
    }
}
