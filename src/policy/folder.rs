//! Reading a folder of policy files.

use super::basis::{self, Bases};
use super::clocks::{self, Clocks};
use super::grounds::{self, Grounds};
use super::proof::{self, Proofs};
use super::{Draft, Policy, place, read};
use crate::diagnostic::Diagnostic;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Larger files are no policies.
const LARGEST: u64 = 4 << 20;

/// Every `*.toml` of the folder itself, in the order of their names. One that leaves something
/// to decide is a mistake: its policy cannot run.
pub fn read_folder(folder: &Path) -> Result<Vec<Policy>, Vec<Diagnostic>> {
    let mut policies = Vec::new();
    let mut mistakes = Vec::new();
    for draft in read_drafts(folder)? {
        match draft.decided() {
            Ok(policy) => policies.push(policy),
            Err(open) => mistakes.extend(open),
        }
    }
    if mistakes.is_empty() {
        Ok(policies)
    } else {
        Err(mistakes)
    }
}

/// The same, for those who only look: policies that are not finished are taken as they are.
///
/// # Errors
/// All mistakes of all files.
pub fn read_drafts(folder: &Path) -> Result<Vec<Draft>, Vec<Diagnostic>> {
    let paths = paths(folder).map_err(|error| vec![unreadable(folder, &error)])?;
    let mut drafts: Vec<Draft> = Vec::new();
    let mut mistakes = Vec::new();
    let clocks = clocks(folder).unwrap_or_else(|more| {
        mistakes.extend(more);
        clocks::built_in().clone()
    });
    let bases = bases(folder).unwrap_or_else(|more| {
        mistakes.extend(more);
        basis::built_in().clone()
    });
    mistakes.extend(beside(folder).err().unwrap_or_default());
    for path in &paths {
        let text = match text(path) {
            Ok(text) => text,
            Err(error) => {
                mistakes.push(unreadable(path, &error));
                continue;
            }
        };
        match read::draft_under(&path.display().to_string(), &text, &clocks, &bases) {
            Ok(draft) => drafts.push(draft),
            Err(more) => mistakes.extend(more),
        }
    }
    let policies = || drafts.iter().map(Draft::so_far);
    for (at, policy) in policies().enumerate() {
        if let Some(first) = policies()
            .take(at)
            .find(|first| first.subject == policy.subject)
        {
            let subject = &policy.subject;
            mistakes.push(
                Diagnostic::error(
                    "E0116",
                    format!(
                        "two policies for the subject `{subject}`: {} and {}",
                        first.source.path, policy.source.path
                    ),
                    "a subject kind has one policy: remove one file, or name another subject",
                )
                .at(&policy.source, 0..0),
            );
        }
    }
    for policy in policies() {
        let others = policies().filter(|other| other.subject != policy.subject);
        mistakes.extend(others.flat_map(|other| place::beside(policy, other)));
    }
    if paths.is_empty() {
        mistakes.push(Diagnostic::error(
            "E0101",
            format!("there is no policy in {}", folder.display()),
            "put a policy there, as a file that ends in .toml",
        ));
    }
    if mistakes.is_empty() {
        Ok(drafts)
    } else {
        Err(mistakes)
    }
}

/// The clocks that policies of this folder may name.
///
/// # Errors
/// The mistakes of its `sla.toml`.
pub fn clocks(folder: &Path) -> Result<Clocks, Vec<Diagnostic>> {
    data(folder, clocks::FILE, clocks::read, clocks::built_in)
}

/// The legal bases that policies of this folder may name.
///
/// # Errors
/// The mistakes of its `bases.toml`.
pub fn bases(folder: &Path) -> Result<Arc<Bases>, Vec<Diagnostic>> {
    data(folder, basis::FILE, basis::read, basis::built_in)
}

/// What the desk goes by that is no policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beside {
    /// `identity.toml`: the ways to prove who is asking.
    pub proofs: Proofs,
    /// `grounds.toml`: why people may ask and companies refuse.
    pub grounds: Grounds,
}

/// The data files that hold in this folder.
///
/// # Errors
/// The mistakes of all of them.
pub fn beside(folder: &Path) -> Result<Beside, Vec<Diagnostic>> {
    let proofs = data(folder, proof::FILE, proof::read, proof::built_in);
    let grounds = data(folder, grounds::FILE, grounds::read, grounds::built_in);
    match (proofs, grounds) {
        (Ok(proofs), Ok(grounds)) => Ok(Beside { proofs, grounds }),
        (proofs, grounds) => {
            let mistakes = [proofs.err(), grounds.err()].into_iter().flatten();
            Err(mistakes.flatten().collect())
        }
    }
}

/// A file that need not be there; what is built in then.
fn data<T: Clone + 'static>(
    folder: &Path,
    name: &str,
    read: impl FnOnce(&str, &str) -> Result<T, Vec<Diagnostic>>,
    built_in: impl FnOnce() -> &'static T,
) -> Result<T, Vec<Diagnostic>> {
    let path = folder.join(name);
    match text(&path) {
        Ok(text) => read(&path.display().to_string(), &text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(built_in().clone()),
        Err(error) => Err(vec![unreadable(&path, &error)]),
    }
}

/// Files beside the policies that are none.
const DATA: &[&str] = &[clocks::FILE, proof::FILE, grounds::FILE, basis::FILE];

/// Writes a policy where there is none.
///
/// # Errors
/// That there is one, or the system's.
pub fn write_new(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = std::fs::File::create_new(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Puts another text in a policy's place, whole or not at all; mode and owner's rights stay.
///
/// # Errors
/// The system's; the file is as it was then.
pub fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    // A link stays a link.
    let path = std::fs::canonicalize(path)?;
    let mode = std::fs::metadata(&path)?.permissions();
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}", std::process::id()));
    let beside = path.with_file_name(name);
    let written = write_new(&beside, text)
        .and_then(|()| std::fs::set_permissions(&beside, mode))
        .and_then(|()| std::fs::rename(&beside, &path));
    if written.is_err() {
        std::fs::remove_file(&beside).ok();
    }
    written
}

fn paths(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let no_policy = path.file_name().is_some_and(|name| {
            name.as_encoded_bytes().starts_with(b".") || DATA.iter().any(|data| name == *data)
        });
        if !no_policy && path.extension().is_some_and(|end| end == "toml") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn text(path: &Path) -> std::io::Result<String> {
    if std::fs::metadata(path)?.len() > LARGEST {
        return Err(std::io::Error::other("the file is larger than 4 MiB"));
    }
    std::fs::read_to_string(path)
}

fn unreadable(path: &Path, error: &std::io::Error) -> Diagnostic {
    Diagnostic::error(
        "E0101",
        format!("{} cannot be read: {error}", path.display()),
        "see that it is there, is UTF-8 text, and that the user erasured runs as may read it",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = r#"
        subject = "customer"
        root = "shop.public.customer"
        identifier.member_no = { column = "member_no", find = true }
        scope.all = { tables = "all", verify = { at_least = "basic" }, sla = "jp-appi" }
        [[table]]
        name = "shop.public.customer"
        action = "delete"
    "#;

    #[test]
    fn a_subject_has_one_policy() {
        let folder = tempfile::tempdir().unwrap();
        let codes = || {
            read_folder(folder.path()).map_err(|all| all.iter().map(|d| d.code).collect::<Vec<_>>())
        };
        assert_eq!(codes().unwrap_err(), ["E0101"]);
        std::fs::write(folder.path().join("a.toml"), SMALL).unwrap();
        std::fs::write(folder.path().join("ignored.txt"), "x").unwrap();
        assert_eq!(codes().unwrap().len(), 1);
        std::fs::write(folder.path().join("b.toml"), SMALL).unwrap();
        let message = read_folder(folder.path()).unwrap_err().remove(0).message;
        assert!(
            message.contains("a.toml") && message.contains("b.toml"),
            "{message}"
        );
        std::fs::write(folder.path().join("b.toml"), b"\xff").unwrap();
        assert_eq!(codes().unwrap_err(), ["E0101"]);
        assert!(read_folder(&folder.path().join("none")).is_err());
    }

    /// The member 5's session is the clerk 5's, as far as anybody can tell by its key.
    #[test]
    fn templates_of_two_policies_name_no_two_people_alike() {
        let folder = tempfile::tempdir().unwrap();
        let with = |file: &str, text: String| {
            std::fs::write(folder.path().join(file), text).unwrap();
        };
        let codes = || {
            let read = read_folder(folder.path());
            read.map_err(|all| all.iter().map(|d| d.code).collect::<Vec<_>>())
                .map(|_| ())
        };
        let place = |key: &str| {
            format!("[[place]]\nsystem = \"cache\"\nname = \"sessions\"\nkeys = [{key:?}]\n")
        };
        with("a.toml", format!("{SMALL}{}", place("s:{member_no}")));
        let clerks = SMALL
            .replace("subject = \"customer\"", "subject = \"clerk\"")
            .replace("public.customer", "public.clerk");
        for (key, expected) in [
            ("clerk:{member_no}", Ok(())),
            ("s:{member_no}", Err(vec!["E0150", "E0150"])),
            ("s:{member_no}-cart", Err(vec!["E0150", "E0150"])),
        ] {
            with("b.toml", format!("{clerks}{}", place(key)));
            assert_eq!(codes(), expected, "{key}");
        }
        // The same people by the same column.
        let same = SMALL.replace("subject = \"customer\"", "subject = \"client\"");
        with("b.toml", format!("{same}{}", place("s:{member_no}")));
        assert_eq!(codes(), Ok(()));
    }
}
