//! The last ledger head, kept outside the database: a control database that comes back older
//! (restored from a backup) has forgotten erasures, and must not be worked on unseen.

use super::DaemonError;
use crate::erasure::context::Context;
use crate::ledger::{Hash, Head};
use crate::store::ledger::LedgerHead;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Where it is kept.
pub fn path(state_dir: &Path) -> PathBuf {
    state_dir.join("ledger-head")
}

/// The head seen last; `None` on the first start.
///
/// # Errors
/// The file is there and cannot be read, or holds something else.
pub fn read(state_dir: &Path) -> Result<Option<Head>, std::io::Error> {
    match std::fs::read_to_string(path(state_dir)) {
        Ok(text) => text.trim().parse().map(Some).map_err(|_| {
            std::io::Error::other(format!(
                "{} does not hold a ledger head",
                path(state_dir).display()
            ))
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// At the start: whether the ledger still holds the head seen last.
pub(super) async fn check(context: &Context) -> Result<(), DaemonError> {
    tidy(&context.config.state_dir);
    known_and_held(context).await.map(|_| ())
}

/// The head seen last, if the ledger still holds it.
async fn known_and_held(context: &Context) -> Result<Option<Head>, DaemonError> {
    let Some(known) = read(&context.config.state_dir).map_err(DaemonError::State)? else {
        return Ok(None);
    };
    // The entry before the end: cut off between the two questions it is found, or the end is older.
    let there = match known.seq {
        0 => None,
        seq => context
            .store
            .walk(seq, 1)
            .await?
            .into_iter()
            .find(|row| row.seq == seq),
    };
    let there = there.and_then(|row| Hash::try_from(row.hash.as_slice()).ok());
    let head = context.store.head().await?;
    known
        .is_held(head.seq, there)
        .map_err(|fault| DaemonError::Ledger { fault })?;
    Ok(Some(known))
}

/// Writes a new head down, never an older one, and never over one that the ledger has lost: a
/// database may be put back to an older state while the daemon runs, too.
pub(super) async fn advance(context: &Context, head: LedgerHead) -> Result<(), DaemonError> {
    let known = known_and_held(context).await?;
    // Another daemon on this host may be a little ahead.
    if known.is_some_and(|known| known.seq >= head.seq) {
        return Ok(());
    }
    let head = Head {
        seq: head.seq,
        hash: Hash::new(head.hash),
    };
    replace(&context.config.state_dir, &head.to_string()).map_err(DaemonError::State)
}

/// What a head is called that is not written to its end.
const FRESH: &str = ".ledger-head.";

/// Removes what daemons have left that were killed while they wrote. Other things may lie there.
fn tidy(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let writer = name.to_str().and_then(|name| name.strip_prefix(FRESH));
        let gone = |pid: u32| !Path::new("/proc").join(pid.to_string()).exists();
        if writer.and_then(|pid| pid.parse().ok()).is_some_and(gone) {
            // Whoever starts beside us may have been quicker.
            std::fs::remove_file(entry.path()).ok();
        }
    }
}

/// All or nothing, and on disk before it counts.
fn replace(folder: &Path, text: &str) -> std::io::Result<()> {
    let fresh = folder.join(format!("{FRESH}{}", std::process::id()));
    let mut file = File::create(&fresh)?;
    writeln!(file, "{text}")?;
    file.sync_all()?;
    std::fs::rename(&fresh, path(folder))?;
    File::open(folder)?.sync_all()
}
