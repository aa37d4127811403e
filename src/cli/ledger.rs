//! `erasured ledger`.

use super::failure::Failure;
use super::say;
use super::source::Control;
use crate::daemon::head_file;
use crate::ledger::{Hash, Head, Stored, Walk};
use crate::start;
use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};

/// The chain of everything that happened.
#[derive(Subcommand, Debug)]
pub(super) enum Ledger {
    Verify(Verify),
    /// Print the ledger's head, seq:hash, to be kept elsewhere.
    Head {
        #[command(flatten)]
        control: Control,
    },
}

/// Walk the ledger from its first entry: is it whole, and is it still the one known before?
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  erasured ledger verify
  erasured ledger verify --head 1042:5f3c…      a head noted earlier, or from a certificate

With the configuration at hand the head in the daemon's state directory is tested too.
Exit code 1 if an entry was changed, dropped, swapped or cut off.")]
pub(super) struct Verify {
    /// A head that the ledger once had, seq:hash; may be given several times.
    #[arg(long = "head", value_name = "SEQ:HASH")]
    heads: Vec<Head>,
    /// A file with such a head.
    #[arg(long, value_name = "FILE")]
    head_file: Option<PathBuf>,
    #[command(flatten)]
    control: Control,
}

/// Rows fetched at once.
const PAGE: u32 = 5_000;

impl Ledger {
    pub(super) async fn execute(self, config: &Path) -> Result<(), Failure> {
        match self {
            Self::Verify(verify) => verify.execute(config).await,
            Self::Head { control } => {
                let head = control.store(config).await?.head().await?;
                say!("{}:{}", head.seq, Hash::new(head.hash));
                Ok(())
            }
        }
    }
}

impl Verify {
    async fn execute(self, config: &Path) -> Result<(), Failure> {
        let store = self.control.store(config).await?;
        let mut walk = Walk::new(self.known(config)?);
        let mut at = 1;
        loop {
            let rows = store.walk(at, PAGE).await?;
            let Some(last) = rows.last() else { break };
            at = last.seq + 1;
            for row in &rows {
                let (Ok(prev), Ok(hash)) = (
                    Hash::try_from(row.prev.as_slice()),
                    Hash::try_from(row.hash.as_slice()),
                ) else {
                    return Err(Failure::found(format!(
                        "E0621: entry {} has a hash that is not 32 bytes",
                        row.seq
                    )));
                };
                let stored = Stored {
                    seq: row.seq,
                    prev,
                    hash,
                    text: &row.entry,
                };
                if let Err(fault) = walk.step(&stored) {
                    say!("{}: {fault}", fault.code());
                }
            }
        }
        match walk.finish() {
            Ok(head) => {
                say!("the ledger is whole: {} entries, head {head}", head.seq);
                Ok(())
            }
            Err(fault) => Err(Failure::found(format!("{}: {fault}", fault.code()))),
        }
    }

    fn known(&self, config: &Path) -> Result<Vec<Head>, Failure> {
        let mut known = self.heads.clone();
        if let Some(file) = &self.head_file {
            let text = std::fs::read_to_string(file)
                .map_err(|e| Failure::usage(format!("{}: {e}", file.display())))?;
            let head = text
                .trim()
                .parse()
                .map_err(|e| Failure::usage(format!("{}: {e}", file.display())))?;
            known.push(head);
        }
        // An auditor has no configuration, and need not.
        if !self.control.is_given() {
            let seen = head_file::read(&start::configuration(config)?.state_dir);
            known.extend(seen.map_err(|e| Failure::usage(format!("the state directory: {e}")))?);
        }
        Ok(known)
    }
}
