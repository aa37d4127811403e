//! Files of rows that have gone: CSV in gzip, each beside a manifest that says what it is and how long it
//! is kept.
//!
//! A file is written and flushed before the COMMIT that deletes its rows, and its manifest is named
//! `.pending` until that COMMIT is known to have happened. So a row is never in neither place; and where it
//! is in both, the manifest still says `.pending`, and whose transaction to ask about.

use crate::system::postgres::execute::Unanswered;
use chrono::{DateTime, NaiveDate, Utc};
use flate2::{Compression, write::GzEncoder};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// What one file holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// Of this form.
    pub version: u32,
    /// Beside this one; CSV as RFC 4180 has it, in UTF-8, with a head line; an empty field is NULL, and `""` an empty text.
    pub file: String,
    /// Of that file, in hexadecimal.
    pub sha256: String,
    /// In it, the head line not counted.
    pub rows: usize,
    /// Name and SQL type of each.
    pub columns: Vec<(String, String)>,
    /// The policy's kind of subject.
    pub subject: String,
    /// The retention rule.
    pub rule: String,
    /// With its system.
    pub table: String,
    /// The run.
    pub run: Uuid,
    /// The transaction, as the system's own `erasured.applied_step` has it.
    pub step: Uuid,
    /// The latest day that was due.
    pub cutoff: NaiveDate,
    /// When it was written.
    pub archived_at: DateTime<Utc>,
    /// The last day on which it is kept.
    pub keep_until: NaiveDate,
    /// The session that was to commit.
    pub session: Unanswered,
}

const VERSION: u32 = 1;
const SETTLED: &str = "json";
const PENDING: &str = "json.pending";

/// The archive of one rule.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
    /// Which files are the rule's.
    prefix: String,
}

impl Folder {
    /// Of this rule.
    ///
    /// # Errors
    /// It is not there, or not the daemon's alone.
    pub fn open(path: &Path, subject: &str, rule: &str) -> io::Result<Self> {
        let about = std::fs::metadata(path)?;
        let own = rustix::process::geteuid().as_raw();
        if !about.is_dir() || about.uid() != own || about.mode() & 0o077 != 0 {
            return Err(io::Error::other(
                "it must be a folder of the daemon's own user, and nobody else's to read (mode 0700)",
            ));
        }
        Ok(Self {
            path: path.to_owned(),
            prefix: format!("{subject}.{rule}."),
        })
    }

    fn at(&self, step: Uuid, ending: &str) -> PathBuf {
        self.path.join(format!("{}{step}.{ending}", self.prefix))
    }

    /// Writes rows and a manifest that is pending, which it returns; over what an earlier try of the same step
    /// has left.
    ///
    /// # Errors
    /// Of the file system.
    pub fn write(
        &self,
        mut manifest: Manifest,
        rows: &[Vec<Option<String>>],
    ) -> io::Result<Manifest> {
        let names: Vec<_> = manifest
            .columns
            .iter()
            .map(|(n, _)| Some(n.clone()))
            .collect();
        let mut packed = GzEncoder::new(Vec::new(), Compression::default());
        line(&mut packed, &names)?;
        rows.iter().try_for_each(|row| line(&mut packed, row))?;
        let packed = packed.finish()?;
        let file = self.at(manifest.step, "csv.gz");
        manifest.version = VERSION;
        manifest.rows = rows.len();
        manifest.sha256 = hexadecimal(&Sha256::digest(&packed));
        manifest.file = file
            .file_name()
            .map_or_else(String::new, |n| n.to_string_lossy().into());
        let about = serde_json::to_vec_pretty(&manifest).map_err(io::Error::other)?;
        // First what says that the other is not to be trusted yet.
        put(&self.at(manifest.step, PENDING), &about)?;
        put(&file, &packed)?;
        self.flush()?;
        Ok(manifest)
    }

    /// The COMMIT has happened.
    ///
    /// # Errors
    /// Of the file system.
    pub fn settle(&self, step: Uuid) -> io::Result<()> {
        match std::fs::rename(self.at(step, PENDING), self.at(step, SETTLED)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            renamed => renamed.and_then(|()| self.flush()),
        }
    }

    /// The COMMIT has not happened, and will not: the rows are where they were.
    ///
    /// # Errors
    /// Of the file system.
    pub fn discard(&self, step: Uuid) -> io::Result<()> {
        self.remove(step, PENDING)
    }

    /// Its time is over.
    ///
    /// # Errors
    /// Of the file system.
    pub fn end(&self, step: Uuid) -> io::Result<()> {
        self.remove(step, SETTLED)
    }

    /// The rows before what says that there are some.
    fn remove(&self, step: Uuid, manifest: &str) -> io::Result<()> {
        if !self.at(step, manifest).exists() {
            return Ok(());
        }
        for ending in ["csv.gz", manifest] {
            match std::fs::remove_file(self.at(step, ending)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => self.flush()?,
            }
        }
        Ok(())
    }

    /// What is pending, and what is settled.
    ///
    /// # Errors
    /// Of the file system, or a manifest that is none.
    pub fn manifests(&self) -> io::Result<(Vec<Manifest>, Vec<Manifest>)> {
        let (mut pending, mut settled) = (Vec::new(), Vec::new());
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(rest) = name.to_str().and_then(|n| n.strip_prefix(&self.prefix)) else {
                continue;
            };
            let list = match rest.split_once('.') {
                Some((_, PENDING)) => &mut pending,
                Some((_, SETTLED)) => &mut settled,
                _ => continue,
            };
            let manifest: Manifest = serde_json::from_slice(&std::fs::read(entry.path())?)
                .map_err(|e| io::Error::other(format!("{}: {e}", entry.path().display())))?;
            list.push(manifest);
        }
        Ok((pending, settled))
    }

    fn flush(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

/// A file of the daemon's alone, on the disk when this returns.
fn put(path: &Path, bytes: &[u8]) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
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

fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
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
