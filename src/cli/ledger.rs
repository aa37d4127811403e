//! `erasured ledger`.

use super::failure::Failure;
use super::say;
use super::source::Control;
use crate::daemon::head_file;
use crate::ledger::{self, Hash, Head, Stored, Walk};
use crate::start;
use crate::store::Store;
use crate::store::ledger::LedgerRow;
use clap::{Args, Subcommand};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use uuid::Uuid;

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
Each certificate is held against its entry, and each entry of a certificate against the certificate.
Exit code 1 if an entry was changed, dropped, swapped or cut off, or a certificate changed, removed
or added.")]
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
        let mut reading = Reading {
            walk: Walk::new(self.known(config)?),
            store,
            next: 1,
            recorded: HashSet::new(),
            faults: 0,
        };
        reading.entries().await?;
        let pending = reading.certificates().await?;
        match reading.walk.finish() {
            Ok(_) if reading.faults > 0 => Err(Failure::found(format!(
                "E0623: {} certificate(s) and the ledger do not agree",
                reading.faults
            ))),
            Ok(head) => {
                say!("the ledger is whole: {} entries, head {head}", head.seq);
                say!(
                    "its {} certificates are there and no others{}",
                    reading.recorded.len(),
                    match pending {
                        0 => String::new(),
                        n => format!(", but for {n} whose entry is still to come"),
                    }
                );
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

/// The ledger and the certificates, page by page.
struct Reading {
    store: Store,
    walk: Walk,
    /// Number of the next entry to read.
    next: i64,
    /// Certificates that the ledger records, as far as it was read.
    recorded: HashSet<Uuid>,
    /// Certificates that do not agree with the ledger.
    faults: usize,
}

impl Reading {
    /// Reads to the ledger's end, and whether each certificate that it records is there as it was.
    async fn entries(&mut self) -> Result<(), Failure> {
        loop {
            let rows = self.store.walk(self.next, PAGE).await?;
            let Some(last) = rows.last() else {
                return Ok(());
            };
            self.next = last.seq + 1;
            let mut certified = Vec::new();
            for row in &rows {
                self.entry(row)?;
                certified.extend(ledger::certified(&row.entry).map(|(id, sha)| (row.seq, id, sha)));
            }
            self.compare(certified).await?;
        }
    }

    fn entry(&mut self, row: &LedgerRow) -> Result<(), Failure> {
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
        if let Err(fault) = self.walk.step(&stored) {
            say!("{}: {fault}", fault.code());
        }
        Ok(())
    }

    async fn compare(&mut self, certified: Vec<(i64, Uuid, String)>) -> Result<(), Failure> {
        let ids: Vec<Uuid> = certified.iter().map(|c| c.1).collect();
        let kept: HashMap<Uuid, String> = self
            .store
            .digests_of(&ids)
            .await?
            .into_iter()
            .map(|d| (d.id, d.sha256))
            .collect();
        for (seq, id, sha256) in certified {
            self.recorded.insert(id);
            match kept.get(&id) {
                Some(kept) if *kept == sha256 => {}
                Some(_) => self.fault(&format!("certificate {id} is not as entry {seq} has it")),
                None => self.fault(&format!("certificate {id} of entry {seq} is gone")),
            }
        }
        Ok(())
    }

    /// Whether there are certificates that the ledger does not record; how many are to come.
    async fn certificates(&mut self) -> Result<usize, Failure> {
        let (mut after, mut pending, mut unknown) = (Uuid::nil(), 0, Vec::new());
        loop {
            let page = self.store.digests_after(after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = last.id;
            for kept in page.iter().filter(|d| !self.recorded.contains(&d.id)) {
                if kept.pending {
                    pending += 1;
                } else {
                    unknown.push(kept.id);
                }
            }
        }
        // Those issued since the walk have come into the ledger behind it.
        self.entries().await?;
        unknown.retain(|id| !self.recorded.contains(id));
        for id in unknown {
            self.fault(&format!(
                "certificate {id} was never recorded in the ledger"
            ));
        }
        Ok(pending)
    }

    fn fault(&mut self, what: &str) {
        self.faults += 1;
        say!("E0623: {what}");
    }
}
