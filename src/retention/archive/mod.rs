//! Rows that have gone: a file for each table, and one manifest beside them that says what they are and how long
//! they are kept.
//!
//! The files are written and flushed before the COMMIT that deletes their rows, and their manifest is named
//! `.pending` until that COMMIT is known to have happened. So a row is never in neither place; and where it is in
//! both, the manifest still says `.pending`, and whose transaction to ask about.

mod bucket;
mod csv;
mod folder;
mod format;
mod http;
mod parquet;
mod place;

use crate::config::Bucket;
use crate::diagnostic::Diagnostic;
use crate::policy::Policy;
use crate::policy::retention::{self as policy, Format, RetentionRule};
use crate::system::postgres::execute::Unanswered;
use chrono::{DateTime, NaiveDate, Utc};
use format::Packed;
use futures_util::future::try_join_all;
use place::{Body, Place};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
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
/// Manifests that are read at a time.
const AT_A_TIME: usize = 16;
const SETTLED: &str = "json";
const PENDING: &str = "json.pending";

/// The archive of one rule.
#[derive(Clone, Debug)]
pub struct Archive {
    place: Place,
    format: Format,
    /// Which files are the rule's.
    prefix: String,
}

impl Archive {
    /// Of this rule.
    ///
    /// # Errors
    /// The folder is not there, or not the daemon's alone; the bucket is not known, or its keys cannot be read.
    pub fn open(
        of: &policy::Archive,
        buckets: &BTreeMap<String, Bucket>,
        subject: &str,
        rule: &str,
    ) -> io::Result<Self> {
        Ok(Self {
            place: Place::open(&of.to, buckets)?,
            format: of.format,
            prefix: format!("{subject}.{rule}."),
        })
    }

    /// Whether a rule's rows could not be archived, as far as it shows before a run: of a folder.
    pub fn warning(policy: &Policy, rule: &RetentionRule) -> Option<Diagnostic> {
        let policy::Place::Folder(to) = &rule.archive.as_ref()?.to else {
            return None;
        };
        let error = folder::Folder::open(to).err()?;
        let message = format!(
            "no row of the retention rule {} would go, for none could be archived here: {}: {error}",
            rule.name,
            to.display()
        );
        let help = format!(
            "install -d -m 0700 -o erasured {}; for who is not the daemon's user this says nothing",
            to.display()
        );
        let warning = Diagnostic::warning("E0532", message, help);
        Some(warning.at(&policy.source, rule.span.clone()))
    }

    fn name(&self, step: Uuid, ending: &str) -> String {
        format!("{}{step}.{ending}", self.prefix)
    }

    /// The name of the file of a transaction's table; `at` tells those apart whose names look alike.
    pub fn file_name(&self, step: Uuid, at: usize, table: &str) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        let table: String = table.chars().map(plain).take(60).collect();
        self.name(
            step,
            &format!("{at}.{table}.{}", format::ending(self.format)),
        )
    }

    /// Begins to write: first what says that the files are not to be trusted yet, over what an earlier try of
    /// the same transaction has left.
    ///
    /// # Errors
    /// Of the place.
    pub async fn begin(self, manifest: Manifest) -> io::Result<Writing> {
        self.say(&manifest).await?;
        Ok(Writing {
            archive: self,
            manifest,
            open: None,
        })
    }

    async fn say(&self, manifest: &Manifest) -> io::Result<()> {
        let about = serde_json::to_vec_pretty(manifest).map_err(io::Error::other)?;
        let name = self.name(manifest.step, PENDING);
        self.place.put(&name, &about).await
    }

    /// The COMMIT has happened.
    ///
    /// # Errors
    /// Of the place.
    pub async fn settle(&self, step: Uuid) -> io::Result<()> {
        let (from, to) = (self.name(step, PENDING), self.name(step, SETTLED));
        self.place.rename(&from, &to).await
    }

    /// The COMMIT has not happened, and will not: the rows are where they were.
    ///
    /// # Errors
    /// Of the place.
    pub async fn discard(&self, manifest: &Manifest) -> io::Result<()> {
        self.remove(manifest, PENDING).await
    }

    /// Its time is over.
    ///
    /// # Errors
    /// Of the place.
    pub async fn end(&self, manifest: &Manifest) -> io::Result<()> {
        self.remove(manifest, SETTLED).await
    }

    /// The rows before what says that there are some.
    async fn remove(&self, manifest: &Manifest, ending: &str) -> io::Result<()> {
        for of in &manifest.files {
            self.place.remove(&of.file).await?;
        }
        self.place.remove(&self.name(manifest.step, ending)).await
    }

    /// The manifest of a transaction, if it is pending.
    ///
    /// # Errors
    /// Of the place, or a manifest that is none.
    pub async fn pending(&self, step: Uuid) -> io::Result<Option<Manifest>> {
        self.read(&self.name(step, PENDING)).await
    }

    /// What is pending, and what is settled.
    ///
    /// # Errors
    /// Of the place, or a manifest that is none.
    pub async fn manifests(&self) -> io::Result<(Vec<Manifest>, Vec<Manifest>)> {
        let (mut pending, mut settled) = (Vec::new(), Vec::new());
        for name in self.place.names(&self.prefix).await? {
            match name[self.prefix.len()..].split_once('.') {
                Some((_, PENDING)) => pending.push(name),
                Some((_, SETTLED)) => settled.push(name),
                _ => {}
            }
        }
        Ok((
            self.read_all(&pending).await?,
            self.read_all(&settled).await?,
        ))
    }

    /// Some at a time: a bucket takes its while for each.
    async fn read_all(&self, names: &[String]) -> io::Result<Vec<Manifest>> {
        let mut all = Vec::new();
        for some in names.chunks(AT_A_TIME) {
            let found = try_join_all(some.iter().map(|name| self.read(name))).await?;
            all.extend(found.into_iter().flatten());
        }
        Ok(all)
    }

    async fn read(&self, name: &str) -> io::Result<Option<Manifest>> {
        let Some(bytes) = self.place.get(name).await? else {
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
    packed: Packed,
    body: Body,
}

impl Writing {
    /// More rows of one of the manifest's files. They are written one after the other.
    ///
    /// # Errors
    /// Of the place.
    pub async fn rows(&mut self, at: usize, rows: Vec<Vec<Option<String>>>) -> io::Result<()> {
        if self.open.as_ref().is_none_or(|open| open.at != at) {
            self.close().await?;
            let of = &self.manifest.files[at];
            let body = self.archive.place.create(&of.file)?;
            let packed = Packed::new(self.archive.format, &of.columns)?;
            self.open = Some(Open { at, packed, body });
        }
        if let Some(Open { packed, body, .. }) = &mut self.open {
            self.manifest.files[at].rows += rows.len() as u64;
            body.write(packed.add(rows)?).await?;
        }
        Ok(())
    }

    async fn close(&mut self) -> io::Result<()> {
        let Some(Open {
            at,
            packed,
            mut body,
        }) = self.open.take()
        else {
            return Ok(());
        };
        body.write(packed.end()?).await?;
        self.manifest.files[at].sha256 = self.archive.place.close(body).await?;
        Ok(())
    }

    /// All files are there, and what is pending says their sums; those without a row are not there.
    ///
    /// # Errors
    /// Of the place.
    pub async fn end(&mut self) -> io::Result<&Manifest> {
        self.close().await?;
        self.manifest.files.retain(|of| of.rows > 0);
        self.archive.say(&self.manifest).await?;
        Ok(&self.manifest)
    }

    /// Nothing more is written. What is there already is removed with its manifest.
    pub async fn abort(self) {
        if let Some(open) = self.open {
            open.body.abort().await;
        }
    }

    /// Where a file is, for people.
    pub fn address(&self, of: &OneTable) -> String {
        self.archive.place.address(&of.file)
    }
}
