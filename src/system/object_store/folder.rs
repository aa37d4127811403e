//! A folder of this machine: an object is a file, and its key the path behind the folder.
//!
//! No link is ever followed: each step of a path is opened by the one before it. A link that lies among
//! a person's files is one of them, and what it leads to is not.

use crate::plan::Wanted;
use crate::system::place::{Address, Failed, MOST};
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, openat, statat, unlinkat};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Folders within folders; more are taken for a mistake.
const DEEPEST: usize = 100;

type Adapted<T> = Result<T, Failed>;

/// A folder.
pub(super) struct Folder {
    root: PathBuf,
}

/// Ends what runs in a thread of its own once nobody waits for it any more.
struct Waiting(Arc<AtomicBool>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// A folder that is opened.
struct Opened<'o> {
    root: OwnedFd,
    over: &'o AtomicBool,
}

impl Folder {
    pub(super) fn new(root: &std::path::Path) -> Self {
        Self { root: root.into() }
    }

    pub(super) async fn check(&self) -> Adapted<()> {
        self.aside(|_| Ok(())).await
    }

    pub(super) async fn find(&self, wanted: &[Wanted]) -> Adapted<BTreeSet<Address>> {
        let wanted: Vec<Wanted> = wanted.iter().filter_map(copied).collect();
        self.aside(move |folder| {
            let mut found = BTreeSet::new();
            for wanted in &wanted {
                folder.find(wanted, &mut found)?;
            }
            Ok(found)
        })
        .await
    }

    pub(super) async fn erase(&self, found: &[Address]) -> Adapted<()> {
        let mut found = found.to_vec();
        // What lies in a folder before the folder.
        found.sort_unstable_by(|a, b| b.cmp(a));
        self.aside(move |folder| found.iter().try_for_each(|address| folder.remove(address)))
            .await
    }

    pub(super) async fn still_there(&self, erased: &[Address]) -> Adapted<Vec<Address>> {
        let erased = erased.to_vec();
        self.aside(move |folder| {
            let mut left = Vec::new();
            for address in erased {
                if folder.kind(address.bytes())?.is_some() {
                    left.push(address);
                }
            }
            Ok(left)
        })
        .await
    }

    async fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Opened<'_>) -> Adapted<T> + Send + 'static,
    ) -> Adapted<T> {
        let root = self.root.clone();
        let waiting = Waiting(Arc::default());
        let over = waiting.0.clone();
        let done = tokio::task::spawn_blocking(move || {
            let root = openat(CWD, &root, FOLDER, Mode::empty());
            let root = root.map_err(|error| problem("the folder cannot be opened", error))?;
            let opened = Opened { root, over: &over };
            opened.holds_something()?;
            work(&opened)
        });
        let done = done.await;
        drop(waiting);
        done.map_err(|_| Failed::later("the work in the folder broke off"))?
    }
}

const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);

impl Opened<'_> {
    /// Where nothing is mounted yet there is an empty folder, in which nobody would have anything.
    fn holds_something(&self) -> Adapted<()> {
        match entries(&self.root)?.is_empty() {
            false => Ok(()),
            true => Err(Failed::later(
                "the folder is empty: is what belongs there mounted? If it is, put a file of yours there, such as `.keep`",
            )),
        }
    }

    fn is_over(&self) -> Adapted<()> {
        match self.over.load(Ordering::Acquire) {
            true => Err(Failed::later("nobody waits for it any more")),
            false => Ok(()),
        }
    }

    fn find(&self, wanted: &Wanted, found: &mut BTreeSet<Address>) -> Adapted<()> {
        let begins = match wanted {
            Wanted::Key(key) => {
                return match self.kind(key.as_bytes())? {
                    None => Ok(()),
                    Some(FileType::Directory) => Err(Failed::stuck(
                        "what is named is a folder: write `prefix`, ending in a slash",
                    )),
                    Some(_) => {
                        found.insert(Address::new(key.as_bytes()));
                        Ok(())
                    }
                };
            }
            Wanted::Between { begins, .. } => begins.as_bytes(),
            Wanted::Member { .. } | Wanted::Person(_) => return Ok(()),
        };
        let end = begins.iter().rposition(|byte| *byte == b'/');
        let (folder, path) = match end {
            None => (self.root.try_clone().ok(), Vec::new()),
            Some(end) => (self.folder(&begins[..end])?, begins[..=end].to_vec()),
        };
        let Some(folder) = folder else {
            return Ok(());
        };
        self.below(&folder, &path, wanted, found, 0)?;
        if !path.is_empty() && wanted.takes(&path) {
            found.insert(Address::new(path));
        }
        Ok(())
    }

    /// What lies in this folder and those in it.
    fn below(
        &self,
        folder: &OwnedFd,
        path: &[u8],
        wanted: &Wanted,
        found: &mut BTreeSet<Address>,
        depth: usize,
    ) -> Adapted<()> {
        if depth > DEEPEST || found.len() > MOST {
            return Err(Failed::stuck(format!(
                "more than {DEEPEST} folders within each other, or {MOST} files of one person"
            )));
        }
        for name in entries(folder)? {
            self.is_over()?;
            let mut full = [path, name.as_slice()].concat();
            match kind_of(folder, &name)? {
                None => {}
                Some(FileType::Directory) => {
                    full.push(b'/');
                    if !may_lead_to(&full, wanted) {
                        continue;
                    }
                    if let Some(inner) = opened(folder, &name)? {
                        self.below(&inner, &full, wanted, found, depth + 1)?;
                    }
                    if wanted.takes(&full) {
                        found.insert(Address::new(full));
                    }
                }
                Some(_) if wanted.takes(&full) => drop(found.insert(Address::new(full))),
                Some(_) => {}
            }
        }
        Ok(())
    }

    fn remove(&self, address: &Address) -> Adapted<()> {
        self.is_over()?;
        let path = address.bytes();
        let (path, flags) = match path.strip_suffix(b"/") {
            Some(folder) => (folder, AtFlags::REMOVEDIR),
            None => (path, AtFlags::empty()),
        };
        let Some((folder, name)) = self.parent(path)? else {
            return Ok(());
        };
        match unlinkat(&folder, name, flags) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            // Something new lies there: it is found by the probe.
            Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(()),
            Err(error) => Err(problem("something cannot be removed", error)),
        }
    }

    /// What is there by this name; of a folder with a slash behind it or not.
    fn kind(&self, path: &[u8]) -> Adapted<Option<FileType>> {
        let path = path.strip_suffix(b"/").unwrap_or(path);
        match self.parent(path)? {
            Some((folder, name)) => kind_of(&folder, name),
            None => Ok(None),
        }
    }

    /// The folder in which something lies, and its name there.
    fn parent<'p>(&self, path: &'p [u8]) -> Adapted<Option<(OwnedFd, &'p [u8])>> {
        let end = path.iter().rposition(|byte| *byte == b'/');
        let (folder, name) = match end {
            None => (self.root.try_clone().ok(), path),
            Some(end) => (self.folder(&path[..end])?, &path[end + 1..]),
        };
        is_a_name(name)?;
        Ok(folder.map(|folder| (folder, name)))
    }

    /// A folder by its path; none if it is not there.
    fn folder(&self, path: &[u8]) -> Adapted<Option<OwnedFd>> {
        let mut folder = self.root.try_clone().ok();
        for name in path.split(|byte| *byte == b'/') {
            is_a_name(name)?;
            folder = match &folder {
                Some(within) => opened(within, name)?,
                None => return Ok(None),
            };
        }
        Ok(folder)
    }
}

fn copied(wanted: &Wanted) -> Option<Wanted> {
    match wanted {
        Wanted::Key(key) => Some(Wanted::Key(key.clone())),
        Wanted::Between { begins, ends } => Some(Wanted::Between {
            begins: begins.clone(),
            ends: ends.clone(),
        }),
        Wanted::Member { .. } | Wanted::Person(_) => None,
    }
}

/// Whether what is wanted can lie in this folder.
fn may_lead_to(folder: &[u8], wanted: &Wanted) -> bool {
    let Wanted::Between { begins, .. } = wanted else {
        return false;
    };
    folder.starts_with(begins.as_bytes()) || begins.as_bytes().starts_with(folder)
}

fn is_a_name(name: &[u8]) -> Adapted<()> {
    match name {
        b"" | b"." | b".." => Err(Failed::stuck(
            "a name has an empty step, or one that is `.` or `..`: no file has it",
        )),
        _ => Ok(()),
    }
}

/// A folder in another; none if it is not there.
fn opened(within: &OwnedFd, name: &[u8]) -> Adapted<Option<OwnedFd>> {
    match openat(within, name, FOLDER | OFlags::NOFOLLOW, Mode::empty()) {
        Ok(folder) => Ok(Some(folder)),
        Err(Errno::NOENT) => Ok(None),
        Err(Errno::NOTDIR | Errno::LOOP) => Err(Failed::stuck(
            "a step on the way is no folder, or a link: it is not followed",
        )),
        Err(error) => Err(problem("a folder cannot be opened", error)),
    }
}

fn kind_of(folder: &OwnedFd, name: &[u8]) -> Adapted<Option<FileType>> {
    match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(known) => Ok(Some(FileType::from_raw_mode(known.st_mode))),
        Err(Errno::NOENT | Errno::NAMETOOLONG) => Ok(None),
        Err(error) => Err(problem("a file cannot be looked at", error)),
    }
}

fn entries(folder: &OwnedFd) -> Adapted<Vec<Vec<u8>>> {
    let failed = |error| problem("a folder cannot be read", error);
    let mut names = Vec::new();
    for entry in Dir::read_from(folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(name);
        }
    }
    Ok(names)
}

/// Rights, disks and mounts are nobody's fault who is erased.
fn problem(what: &str, error: Errno) -> Failed {
    let kind = std::io::Error::from(error).kind();
    Failed::later(format!("{what}: {kind}"))
}
