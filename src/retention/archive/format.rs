//! What an archive's files are.

use super::csv::{self, Csv};
use super::parquet::{self, Parquet};
use crate::policy::retention::Format;
use std::io;

/// A file that is being written.
pub(super) enum Packed {
    Csv(Csv),
    Parquet(Box<Parquet>),
}

/// How the names of such files end.
pub(super) fn ending(format: Format) -> &'static str {
    match format {
        Format::Csv => csv::ENDING,
        Format::Parquet => parquet::ENDING,
    }
}

impl Packed {
    /// Of a table with these columns, of names and types as the server says them.
    pub(super) fn new(format: Format, columns: &[(String, String)]) -> io::Result<Self> {
        match format {
            Format::Csv => Csv::new(columns.iter().map(|(name, _)| name)).map(Self::Csv),
            Format::Parquet => Ok(Self::Parquet(Box::new(Parquet::new(columns)?))),
        }
    }

    /// Takes more rows; the bytes that are ready by now.
    pub(super) fn add(&mut self, rows: Vec<Vec<Option<String>>>) -> io::Result<Vec<u8>> {
        match self {
            Self::Csv(csv) => csv.add(&rows),
            Self::Parquet(parquet) => parquet.add(rows),
        }
    }

    /// The last bytes.
    pub(super) fn end(self) -> io::Result<Vec<u8>> {
        match self {
            Self::Csv(csv) => csv.end(),
            Self::Parquet(parquet) => parquet.end(),
        }
    }
}
