//! Where a secret comes from, and fetching it.

use crate::secret::SecretBytes;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A secret's place; never the secret, never a command-line argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// A file.
    File(PathBuf),
    /// A file of this name in systemd's `$CREDENTIALS_DIRECTORY` (`LoadCredential=`).
    Credential(String),
    /// An environment variable.
    Env(String),
}

/// Why a secret could not be fetched (code E0009).
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file is not there or may not be read.
    #[error("the secret file {path} cannot be read: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Somebody else could have put their own secret there.
    #[error(
        "the secret file {path} can be changed by its group or by others: run chmod go-w on it"
    )]
    Writable {
        /// The file.
        path: PathBuf,
    },
    /// Nothing in it, or too much for a secret.
    #[error("{place} is empty or larger than 64 KiB: it holds no secret")]
    Size {
        /// The file or variable.
        place: String,
    },
    /// systemd did not start this process with credentials.
    #[error(
        "there is no $CREDENTIALS_DIRECTORY for the credential {name}: add LoadCredential={name}:… to the unit"
    )]
    NoCredentials {
        /// The credential.
        name: String,
    },
    /// The variable is not set.
    #[error("the environment variable {name} is not set")]
    NoVariable {
        /// The variable.
        name: String,
    },
}

const LARGEST: usize = 64 << 10;

impl SecretSource {
    /// Fetches the secret. A file that others may write is refused; one that others may read is
    /// used, with a warning in the log.
    pub fn load(&self) -> Result<SecretBytes, SecretError> {
        match self {
            Self::File(path) => from_file(path),
            Self::Credential(name) => match std::env::var_os("CREDENTIALS_DIRECTORY") {
                Some(folder) => from_file(&Path::new(&folder).join(name)),
                None => Err(SecretError::NoCredentials { name: name.clone() }),
            },
            Self::Env(name) => {
                let Some(value) = std::env::var_os(name) else {
                    return Err(SecretError::NoVariable { name: name.clone() });
                };
                let secret = SecretBytes::new(value.into_encoded_bytes());
                sized(secret, || format!("the environment variable {name}"))
            }
        }
    }
}

fn from_file(path: &Path) -> Result<SecretBytes, SecretError> {
    let unreadable = |source| SecretError::Unreadable {
        path: path.into(),
        source,
    };
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mode = file.metadata().map_err(unreadable)?.permissions().mode();
    if mode & 0o022 != 0 {
        return Err(SecretError::Writable { path: path.into() });
    }
    if mode & 0o004 != 0 {
        tracing::warn!(path = %path.display(), "everybody on this machine can read this secret file: run chmod o-r on it");
    }
    // Room for all of it from the start: growing would leave copies behind.
    let mut bytes = Vec::with_capacity(LARGEST + 1);
    let read = file.take(LARGEST as u64 + 1).read_to_end(&mut bytes);
    let secret = SecretBytes::new(bytes);
    read.map_err(unreadable)?;
    sized(secret, || format!("the secret file {}", path.display()))
}

fn sized(secret: SecretBytes, place: impl Fn() -> String) -> Result<SecretBytes, SecretError> {
    if (1..=LARGEST).contains(&secret.expose().len()) {
        Ok(secret)
    } else {
        Err(SecretError::Size { place: place() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_checked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pw");
        let source = SecretSource::File(path.clone());
        let set =
            |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        assert!(matches!(source.load(), Err(SecretError::Unreadable { .. })));
        std::fs::write(&path, "").unwrap();
        set(0o600);
        assert!(matches!(source.load(), Err(SecretError::Size { .. })));
        std::fs::write(&path, "geheim\n").unwrap();
        assert_eq!(source.load().unwrap().expose_line(), Some("geheim"));
        set(0o644);
        assert!(source.load().is_ok());
        for mode in [0o620, 0o602] {
            set(mode);
            assert!(matches!(source.load(), Err(SecretError::Writable { .. })));
        }
        set(0o600);
        std::fs::write(&path, vec![b'x'; LARGEST + 1]).unwrap();
        assert!(matches!(source.load(), Err(SecretError::Size { .. })));
        let missing = SecretSource::Env("ERASURED_TEST_NO_SUCH_VARIABLE".into());
        assert!(matches!(
            missing.load(),
            Err(SecretError::NoVariable { .. })
        ));
    }
}
