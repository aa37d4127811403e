//! CSV in gzip: as RFC 4180 has it, in UTF-8, with a head line; an empty field is NULL, and `""` an empty text.

use flate2::{Compression, write::GzEncoder};
use std::io::{self, Write};

/// How the file's name ends.
pub(super) const ENDING: &str = "csv.gz";

/// A file that is being written.
pub(super) struct Csv(GzEncoder<Vec<u8>>);

impl Csv {
    /// With its head line.
    pub(super) fn new<'n>(columns: impl Iterator<Item = &'n String>) -> io::Result<Self> {
        let names: Vec<_> = columns.map(|name| Some(name.clone())).collect();
        let mut packed = GzEncoder::new(Vec::new(), Compression::default());
        line(&mut packed, &names)?;
        Ok(Self(packed))
    }

    /// Takes more rows; the bytes that are ready by now.
    pub(super) fn add(&mut self, rows: &[Vec<Option<String>>]) -> io::Result<Vec<u8>> {
        rows.iter().try_for_each(|row| line(&mut self.0, row))?;
        Ok(std::mem::take(self.0.get_mut()))
    }

    /// The last bytes.
    pub(super) fn end(self) -> io::Result<Vec<u8>> {
        self.0.finish()
    }
}

/// One record: NULL is nothing, and an empty text is in quotes.
fn line(out: &mut impl Write, fields: &[Option<String>]) -> io::Result<()> {
    for (at, field) in fields.iter().enumerate() {
        if at > 0 {
            out.write_all(b",")?;
        }
        match field.as_deref() {
            None => {}
            Some(text) if text.is_empty() || text.contains(['"', ',', '\r', '\n']) => {
                write!(out, "\"{}\"", text.replace('"', "\"\""))?;
            }
            Some(text) => out.write_all(text.as_bytes())?,
        }
    }
    out.write_all(b"\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_and_nothing_are_told_apart_and_quotes_hold() {
        let mut out = Vec::new();
        let some = |text: &str| Some(text.to_owned());
        line(&mut out, &[some("a"), None, some(""), some("x\"y,\r\nz")]).unwrap();
        assert_eq!(out, b"a,,\"\",\"x\"\"y,\r\nz\"\r\n");
    }
}
