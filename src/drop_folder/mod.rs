//! Requests as files: laid into a folder, taken by rename, filed line by line, answered by a receipt.
//!
//! ```text
//! FOLDER/requests.csv              laid there by somebody; taken when it has been left alone
//! FOLDER/.taken/ID-requests.csv    being worked on, by whoever holds its lock
//! FOLDER/.taken/ID-requests.csv.part    what became of its lines so far
//! FOLDER/receipts/requests.csv.receipt.jsonl
//! ```
//!
//! A daemon may die at any step: a file in `.taken` is gone on with behind the last line that its
//! receipt knows, and the line in between is the same ticket again by its reference. When the receipt
//! is published the file is overwritten and removed.

mod lines;
mod receipt;

use crate::config;
use crate::store::tickets::NewTicket;
use crate::store::{Store, StoreError};
use lines::Asked;
use receipt::Receipt;
use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use uuid::Uuid;

/// Why a round ended early; what is left is taken up again.
#[derive(Debug, thiserror::Error)]
pub enum DropFailed {
    /// The folder.
    #[error("the drop folder cannot be worked in: {0}")]
    Io(#[from] io::Error),
    /// The control database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A folder, and the login that files.
pub struct DropFolder {
    store: Store,
    config: config::DropFolder,
}

impl DropFolder {
    /// On a store of a login that may file.
    pub fn new(store: Store, config: config::DropFolder) -> Self {
        Self { store, config }
    }

    fn taken(&self) -> PathBuf {
        self.config.folder.join(".taken")
    }

    fn receipts(&self) -> PathBuf {
        self.config.folder.join("receipts")
    }

    /// Takes what is there and works it off; returns how many files ended.
    ///
    /// # Errors
    /// [`DropFailed`].
    pub async fn round(&self) -> Result<usize, DropFailed> {
        for (place, mode) in [(self.taken(), 0o700), (self.receipts(), 0o750)] {
            if !place.is_dir() {
                fs::DirBuilder::new().mode(mode).create(&place)?;
            }
        }
        self.take()?;
        let mut ended = 0;
        for path in files(&self.taken())? {
            if path.extension().is_none_or(|ending| ending != "part") {
                ended += usize::from(self.work(&path).await?);
            } else if !path.with_extension("").exists() {
                // Published, its file gone: all but this was done.
                removed(&path)?;
            }
        }
        Ok(ended)
    }

    /// Out of the sight of who lays files there. A name that is not plain is left where it is.
    fn take(&self) -> io::Result<()> {
        let mut left = 0;
        for path in files(&self.config.folder)? {
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
                left += 1;
                continue;
            };
            if name.starts_with('.') {
                continue;
            }
            if !is_plain(name) {
                left += 1;
                continue;
            }
            let Ok(file) = fs::symlink_metadata(&path) else {
                continue; // Somebody else took it.
            };
            // By a clock ahead of ours it was written in the future.
            let age = SystemTime::now().duration_since(file.modified()?);
            let age = age.unwrap_or_else(|ahead| ahead.duration());
            if !file.is_file() || age < self.config.settle {
                continue;
            }
            // Time-ordered ids: first come, first served.
            let to = self.taken().join(format!("{}-{name}", Uuid::now_v7()));
            match fs::rename(&path, to) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => crate::erasure::crash_point("after-take"),
            }
        }
        metrics::gauge!(crate::metrics::DROP_LEFT).set(f64::from(left));
        Ok(())
    }

    /// One taken file to its end, unless another daemon is at it.
    async fn work(&self, path: &Path) -> Result<bool, DropFailed> {
        let Some(mut file) = locked(path)? else {
            return Ok(false);
        };
        let part = PathBuf::from(format!("{}.part", path.display()));
        let mut receipt = Receipt::open(&part)?;
        if !receipt.is_whole() {
            self.file_lines(path, &mut file, &mut receipt).await?;
            receipt.finish()?;
        }
        crate::erasure::crash_point("before-publish");
        receipt.publish(&self.receipts(), name_of(path))?;
        crate::erasure::crash_point("after-publish");
        wipe(&mut file)?;
        fs::remove_file(path)?;
        crate::erasure::crash_point("after-wipe");
        removed(&part)?;
        Ok(true)
    }

    async fn file_lines(
        &self,
        path: &Path,
        file: &mut File,
        receipt: &mut Receipt,
    ) -> Result<(), DropFailed> {
        let ending = path.extension().and_then(|ending| ending.to_str());
        let lines = match whole(file)? {
            Some(bytes) => lines::read(ending.unwrap_or_default(), &bytes),
            None => Err("the file is larger than 16 MiB: part it".into()),
        };
        let (mut filed, mut refused) = (0_u64, 0_u64);
        for (number, line) in lines.unwrap_or_else(|why| vec![(0, Err(why))]) {
            if receipt.knows(number) {
                continue;
            }
            let told = match line {
                Ok(asked) => self.submit(&asked).await?.map(|id| (asked.reference, id)),
                // Line 0 is the file.
                Err(why) if number == 0 => Err(("E0649".into(), why)),
                Err(why) => Err(("E0648".into(), why)),
            };
            crate::erasure::crash_point("after-line");
            match told {
                Ok((reference, id)) => {
                    filed += 1;
                    receipt.filed(number, &reference, id)?;
                }
                Err((code, why)) => {
                    refused += 1;
                    receipt.refused(number, &code, &why)?;
                }
            }
        }
        // Not the file's name: it is somebody else's, and may be anybody's.
        tracing::info!(filed, refused, "a file of requests");
        for (outcome, n) in [("filed", filed), ("refused", refused)] {
            metrics::counter!(crate::metrics::DROP_LINES, "outcome" => outcome).increment(n);
        }
        Ok(())
    }

    /// A ticket, or why it is none; what passes by itself is tried again with the whole file.
    async fn submit(&self, asked: &Asked) -> Result<Result<Uuid, (String, String)>, StoreError> {
        let new = NewTicket {
            reference: &asked.reference,
            subject: &asked.subject,
            identifiers: &asked.identifiers,
            scope: &asked.scope,
            ground: &asked.ground,
            requested_at: asked.requested_at,
            language: asked.language.as_deref(),
        };
        match self.store.submit(&new, self.config.actor.as_deref()).await {
            Ok(id) => Ok(Ok(id)),
            Err(StoreError::Refused {
                code,
                message,
                hint,
            }) => {
                let hint = hint.map(|hint| format!(" ({hint})")).unwrap_or_default();
                Ok(Err((code, format!("{message}{hint}"))))
            }
            Err(error @ StoreError::Nul(_)) => Ok(Err(("E0648".into(), error.to_string()))),
            Err(StoreError::Database { code, message }) if code.starts_with("22") => {
                Ok(Err(("E0648".into(), message)))
            }
            Err(error) => Err(error),
        }
    }
}

/// Letters, digits, dots, dashes; an ending that says what it is.
fn is_plain(name: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    name.len() <= 120
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(good)
        && [".json", ".jsonl", ".csv"]
            .iter()
            .any(|ending| name.ends_with(ending))
}

/// The name that it was laid under.
fn name_of(path: &Path) -> &str {
    let name = path.file_name().and_then(|name| name.to_str());
    // Behind a UUID and a dash.
    name.and_then(|name| name.get(37..)).unwrap_or("requests")
}

/// Whoever was first.
fn removed(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path()));
    let mut paths = entries.collect::<io::Result<Vec<_>>>()?;
    paths.retain(|path| !path.is_dir());
    paths.sort();
    Ok(paths)
}

/// The file under its lock; `None` if another daemon has it, or had it to its end meanwhile.
fn locked(path: &Path) -> io::Result<Option<File>> {
    // Nobody but us writes in `.taken`; what was a link before the rename is one still.
    let Ok(before) = fs::symlink_metadata(path) else {
        return Ok(None);
    };
    if !before.is_file() {
        fs::remove_file(path)?;
        return Ok(None);
    }
    let file = File::options().read(true).write(true).open(path)?;
    if file.try_lock().is_err() {
        return Ok(None);
    }
    let still = fs::symlink_metadata(path).is_ok_and(|now| now.ino() == before.ino());
    Ok(still.then_some(file))
}

/// All of it, if it is not too large.
fn whole(file: &mut File) -> io::Result<Option<Vec<u8>>> {
    if file.metadata()?.len() > lines::LARGEST {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    file.rewind()?;
    file.take(lines::LARGEST).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// The values are overwritten where they lie; whether the disk kept another copy is not ours to say.
/// What has another name elsewhere is not ours to overwrite.
fn wipe(file: &mut File) -> io::Result<()> {
    let about = file.metadata()?;
    if about.nlink() > 1 {
        return Ok(());
    }
    file.rewind()?;
    let zeros = [0; 8192];
    let mut left = about.len();
    while left > 0 {
        let now = left.min(zeros.len() as u64);
        file.write_all(&zeros[..usize::try_from(now).unwrap_or(zeros.len())])?;
        left -= now;
    }
    file.sync_all()
}
