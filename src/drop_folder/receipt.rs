//! What became of each line: written while the file is worked on, so that a daemon that dies goes on
//! behind the last line that is known, and published when all are.

use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// The last line of one that is whole.
const END: &str = "{\"end\":true}";

/// A receipt in the making.
pub(super) struct Receipt {
    path: PathBuf,
    file: File,
    told: BTreeSet<u64>,
    whole: bool,
}

impl Receipt {
    /// The one at this path, taken up where a daemon left it; a line that was cut off does not count.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let (mut told, mut whole, mut good) = (BTreeSet::new(), false, 0);
        if let Ok(file) = File::open(path) {
            for line in BufReader::new(file).split(b'\n') {
                let line = line?;
                let Ok(value) = serde_json::from_slice::<Value>(&line) else {
                    break;
                };
                whole = value["end"] == true;
                told.extend(value["line"].as_u64());
                good += line.len() as u64 + 1;
            }
        }
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o640)
            .open(path)?;
        if file.metadata()?.len() > good {
            file.set_len(good)?;
        }
        Ok(Self {
            path: path.into(),
            file,
            told,
            whole,
        })
    }

    /// Whether every line has been told of.
    pub(super) fn is_whole(&self) -> bool {
        self.whole
    }

    /// Whether this line has been.
    pub(super) fn knows(&self, line: u64) -> bool {
        self.told.contains(&line)
    }

    /// A line is a ticket.
    pub(super) fn filed(&mut self, line: u64, reference: &str, ticket: Uuid) -> io::Result<()> {
        self.write(&json!({"line": line, "reference": reference, "ticket": ticket}))
    }

    /// A line is none. Its reference is not repeated: it may be what is wrong with it.
    pub(super) fn refused(&mut self, line: u64, code: &str, message: &str) -> io::Result<()> {
        self.write(&json!({"line": line, "code": code, "message": message}))
    }

    fn write(&mut self, line: &Value) -> io::Result<()> {
        self.file.write_all(format!("{line}\n").as_bytes())
    }

    /// That was all; it is on the disk.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        if !self.whole {
            writeln!(self.file, "{END}")?;
            self.whole = true;
        }
        self.file.sync_all()
    }

    /// Shows it under the file's name. A second link, so that it can be seen whether that was done;
    /// one of another file of this name is not overwritten.
    pub(super) fn publish(&self, folder: &Path, name: &str) -> io::Result<()> {
        let ours = self.file.metadata()?.ino();
        for n in 1.. {
            let number = if n == 1 {
                String::new()
            } else {
                format!("-{n}")
            };
            let place = folder.join(format!("{name}.receipt{number}.jsonl"));
            match std::fs::hard_link(&self.path, &place) {
                Ok(()) => break,
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                    if std::fs::symlink_metadata(&place)?.ino() == ours {
                        break;
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
