//! Rows that have gone: a file for each table, and one manifest beside them that says what they are and how long
//! they are kept.
//!
//! The files are written and flushed before the COMMIT that deletes their rows, and their manifest is named
//! `.pending` until that COMMIT is known to have happened. So a row is never in neither place; and where it is in
//! both, the manifest still says `.pending`, and whose transaction to ask about.

mod csv;
mod folder;

use crate::system::postgres::execute::Unanswered;
use chrono::{DateTime, NaiveDate, Utc};
use csv::Csv;
use folder::Folder;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use uuid::Uuid;

/// What the files of one transaction are.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// Of this form.
    pub version: u32,
    /// The policy's kind of subject.
    pub subject: String,
    /// The retention rule.
    pub rule: String,
    /// The run.
    pub run: Uuid,
    /// The transaction, as the system's own `erasured.applied_step` has it.
    pub step: Uuid,
    /// The latest day that was due.
    pub cutoff: NaiveDate,
    /// When it was written.
    pub archived_at: DateTime<Utc>,
    /// The last day on which the files are kept.
    pub keep_until: NaiveDate,
    /// The session that was to commit.
    pub session: Unanswered,
    /// Beside this one; the rule's own table first.
    pub files: Vec<OneTable>,
}

/// Rows of one table.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OneTable {
    /// The file's name.
    pub file: String,
    /// With its system.
    pub table: String,
    /// Name and SQL type of each.
    pub columns: Vec<(String, String)>,
    /// In it.
    pub rows: u64,
    /// Of its bytes, in lower-case hexadecimal; empty as long as they are being written.
    pub sha256: String,
}

/// The form of manifests that this program writes.
pub const VERSION: u32 = 1;
const SETTLED: &str = "json";
const PENDING: &str = "json.pending";

/// The archive of one rule.
#[derive(Clone, Debug)]
pub struct Archive {
    place: Folder,
    /// Which files are the rule's.
    prefix: String,
}

impl Archive {
    /// Of this rule.
    ///
    /// # Errors
    /// The folder is not there, or not the daemon's alone.
    pub fn open(path: &Path, subject: &str, rule: &str) -> io::Result<Self> {
        Ok(Self {
            place: Folder::open(path)?,
            prefix: format!("{subject}.{rule}."),
        })
    }

    fn name(&self, step: Uuid, ending: &str) -> String {
        format!("{}{step}.{ending}", self.prefix)
    }

    /// The name of the file of a transaction's table; `at` tells those apart whose names look alike.
    pub fn file_name(&self, step: Uuid, at: usize, table: &str) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        let table: String = table.chars().map(plain).take(60).collect();
        self.name(step, &format!("{at}.{table}.{}", csv::ENDING))
    }

    /// Begins to write: first what says that the files are not to be trusted yet, over what an earlier try of
    /// the same transaction has left.
    ///
    /// # Errors
    /// Of the file system.
    pub fn begin(self, manifest: Manifest) -> io::Result<Writing> {
        self.say(&manifest)?;
        Ok(Writing {
            archive: self,
            manifest,
            open: None,
        })
    }

    fn say(&self, manifest: &Manifest) -> io::Result<()> {
        let about = serde_json::to_vec_pretty(manifest).map_err(io::Error::other)?;
        self.place.put(&self.name(manifest.step, PENDING), &about)
    }

    /// The COMMIT has happened.
    ///
    /// # Errors
    /// Of the file system.
    pub fn settle(&self, step: Uuid) -> io::Result<()> {
        let (from, to) = (self.name(step, PENDING), self.name(step, SETTLED));
        self.place.rename(&from, &to)
    }

    /// The COMMIT has not happened, and will not: the rows are where they were.
    ///
    /// # Errors
    /// Of the file system.
    pub fn discard(&self, manifest: &Manifest) -> io::Result<()> {
        self.remove(manifest, PENDING)
    }

    /// Its time is over.
    ///
    /// # Errors
    /// Of the file system.
    pub fn end(&self, manifest: &Manifest) -> io::Result<()> {
        self.remove(manifest, SETTLED)
    }

    /// The rows before what says that there are some.
    fn remove(&self, manifest: &Manifest, ending: &str) -> io::Result<()> {
        let mut files = manifest.files.iter();
        files.try_for_each(|of| self.place.remove(&of.file))?;
        self.place.remove(&self.name(manifest.step, ending))
    }

    /// The manifest of a transaction, if it is pending.
    ///
    /// # Errors
    /// Of the file system, or a manifest that is none.
    pub fn pending(&self, step: Uuid) -> io::Result<Option<Manifest>> {
        self.read(&self.name(step, PENDING))
    }

    /// What is pending, and what is settled.
    ///
    /// # Errors
    /// Of the file system, or a manifest that is none.
    pub fn manifests(&self) -> io::Result<(Vec<Manifest>, Vec<Manifest>)> {
        let (mut pending, mut settled) = (Vec::new(), Vec::new());
        for name in self.place.names(&self.prefix)? {
            let rest = name[self.prefix.len()..].split_once('.');
            let list = match rest {
                Some((_, PENDING)) => &mut pending,
                Some((_, SETTLED)) => &mut settled,
                _ => continue,
            };
            list.extend(self.read(&name)?);
        }
        Ok((pending, settled))
    }

    fn read(&self, name: &str) -> io::Result<Option<Manifest>> {
        let Some(bytes) = self.place.get(name)? else {
            return Ok(None);
        };
        let manifest = serde_json::from_slice(&bytes);
        let none = |e| io::Error::other(format!("{}: {e}", self.place.address(name)));
        manifest.map(Some).map_err(none)
    }
}

/// Files of one transaction that are being written.
pub struct Writing {
    archive: Archive,
    manifest: Manifest,
    open: Option<Open>,
}

struct Open {
    /// Of the manifest's files.
    at: usize,
    packed: Csv,
    body: Body,
}

/// The bytes of a file.
struct Body {
    file: File,
    sum: Sha256,
}

impl Writing {
    /// More rows of one of the manifest's files. They are written one after the other.
    ///
    /// # Errors
    /// Of the file system.
    pub fn rows(&mut self, at: usize, rows: &[Vec<Option<String>>]) -> io::Result<()> {
        if self.open.as_ref().is_none_or(|open| open.at != at) {
            self.close()?;
            let of = &self.manifest.files[at];
            let body = Body {
                file: self.archive.place.create(&of.file)?,
                sum: Sha256::new(),
            };
            let packed = Csv::new(of.columns.iter().map(|(name, _)| name))?;
            self.open = Some(Open { at, packed, body });
        }
        if let Some(Open { packed, body, .. }) = &mut self.open {
            body.write(&packed.add(rows)?)?;
            self.manifest.files[at].rows += rows.len() as u64;
        }
        Ok(())
    }

    fn close(&mut self) -> io::Result<()> {
        let Some(Open {
            at,
            packed,
            mut body,
        }) = self.open.take()
        else {
            return Ok(());
        };
        body.write(&packed.end()?)?;
        self.archive.place.close(&body.file)?;
        self.manifest.files[at].sha256 = format!("{:x}", body.sum.finalize());
        Ok(())
    }

    /// All files are on the disk, and what is pending says their sums; those without a row are not there.
    ///
    /// # Errors
    /// Of the file system.
    pub fn end(&mut self) -> io::Result<&Manifest> {
        self.close()?;
        self.manifest.files.retain(|of| of.rows > 0);
        self.archive.say(&self.manifest)?;
        Ok(&self.manifest)
    }

    /// Where a file of this name is, for people.
    pub fn address(&self, of: &OneTable) -> String {
        self.archive.place.address(&of.file)
    }
}

impl Body {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sum.update(bytes);
        self.file.write_all(bytes)
    }
}
