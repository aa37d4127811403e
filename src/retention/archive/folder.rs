//! An archive's files in a folder of the daemon's host.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A folder that is the daemon's alone.
#[derive(Clone, Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    /// # Errors
    /// It is not there, or not the daemon's alone.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let about = std::fs::metadata(path)?;
        let own = rustix::process::geteuid().as_raw();
        if !about.is_dir() || about.uid() != own || about.mode() & 0o077 != 0 {
            return Err(io::Error::other(
                "it must be a folder of the daemon's own user, and nobody else's to read (mode 0700)",
            ));
        }
        Ok(Self(path.to_owned()))
    }

    /// Where a file of this name is, for people.
    pub(super) fn address(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    /// A whole file, on the disk when this returns, in place of one of the same name.
    pub(super) fn put(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut file = self.create(name)?;
        file.write_all(bytes)?;
        self.close(&file)
    }

    /// A file of the daemon's alone, in place of one of the same name.
    pub(super) fn create(&self, name: &str) -> io::Result<File> {
        self.remove(name)?;
        let mut options = OpenOptions::new();
        let options = options.write(true).create_new(true).mode(0o600);
        options.open(self.0.join(name))
    }

    /// On the disk, and its name too, when this returns.
    pub(super) fn close(&self, file: &File) -> io::Result<()> {
        file.sync_all()?;
        self.flush()
    }

    /// `None` if there is none.
    pub(super) fn get(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        match std::fs::read(self.0.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            read => read.map(Some),
        }
    }

    /// Nothing happens to one that is not there.
    pub(super) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        match std::fs::rename(self.0.join(from), self.0.join(to)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            renamed => renamed.and_then(|()| self.flush()),
        }
    }

    /// Nor to one that is not there.
    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        match std::fs::remove_file(self.0.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.and_then(|()| self.flush()),
        }
    }

    /// Names that begin so.
    pub(super) fn names(&self, prefix: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.0)? {
            let name = entry?.file_name();
            names.extend(
                name.to_str()
                    .filter(|n| n.starts_with(prefix))
                    .map(str::to_owned),
            );
        }
        Ok(names)
    }

    fn flush(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }
}
