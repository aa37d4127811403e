//! `erasured keygen`.

use super::failure::Failure;
use super::say;
use crate::api::tokens::Scope;
use crate::keys::SigningKey;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use clap::Subcommand;
use sha2::{Digest, Sha256};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Make keys. A file that is there is never overwritten.
#[derive(Subcommand, Debug)]
#[command(after_help = "\
Examples:
  erasured keygen signing /etc/erasured/credentials/signing.pem
  erasured keygen hash /etc/erasured/credentials/hash.key
  erasured keygen token /etc/erasured/credentials/http.token
  erasured keygen api-token crm --actor hana --scopes file,verify,read

To rotate the signing key: make a new one, put the old public file under [keys] retired, restart.
The hash key is never rotated: old hashes could not be found again. Keep a copy of it apart.")]
pub(super) enum Keygen {
    /// The Ed25519 key that signs certificates; its public half goes to FILE with the ending
    /// .pub.pem, for auditors.
    Signing {
        /// Where to.
        file: PathBuf,
    },
    /// The key of the keyed hashes and of what is sealed while a ticket is open.
    Hash {
        /// Where to.
        file: PathBuf,
    },
    /// A token for the HTTP API: printed once, with the part of the file of tokens that holds its hash.
    ApiToken {
        /// Its name in the file.
        name: String,
        /// The person whose decisions are made with it.
        #[arg(long, value_name = "NAME")]
        actor: String,
        /// What it may be used for: file, verify, approve, hold, place-hold,
        /// release-hold, read, audit.
        #[arg(long, value_delimiter = ',', required = true, value_parser = scopes())]
        scopes: Vec<String>,
    },
    /// The bearer token with which certificates are fetched over HTTP.
    Token {
        /// Where to.
        file: PathBuf,
    },
}

impl Keygen {
    pub(super) fn execute(self) -> Result<(), Failure> {
        match self {
            Self::Signing { file } => {
                let key = SigningKey::from_seed(&Zeroizing::new(rand::random()));
                let public = file.with_extension("pub.pem");
                create(&file, 0o600, &key.to_pem())?;
                create(&public, 0o644, &key.public().to_pem())?;
                say!("{}: signing key {}", file.display(), key.id());
                say!("{}: its public half, for auditors", public.display());
            }
            Self::Hash { file } => {
                let secret: Zeroizing<[u8; 32]> = Zeroizing::new(rand::random());
                let text = Zeroizing::new(STANDARD.encode(*secret) + "\n");
                create(&file, 0o600, &text)?;
                say!("{}: hash key; keep a copy of it apart", file.display());
            }
            Self::ApiToken {
                name,
                actor,
                scopes,
            } => api_token(&name, &actor, &scopes),
            Self::Token { file } => {
                let secret: Zeroizing<[u8; 32]> = Zeroizing::new(rand::random());
                let text = Zeroizing::new(URL_SAFE_NO_PAD.encode(*secret) + "\n");
                create(&file, 0o600, &text)?;
                say!("{}: bearer token", file.display());
            }
        }
        Ok(())
    }
}

fn scopes() -> clap::builder::PossibleValuesParser {
    Scope::words().into()
}

fn api_token(name: &str, actor: &str, scopes: &[String]) {
    let secret: Zeroizing<[u8; 32]> = Zeroizing::new(rand::random());
    let token = Zeroizing::new(URL_SAFE_NO_PAD.encode(*secret));
    let hash = Sha256::digest(token.as_bytes());
    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    say!("The token, shown this once:\n  {}\n", *token);
    say!("[token.{name}]\nsha256 = \"{hash}\"\nactor = {actor:?}\nscopes = {scopes:?}");
}

fn create(path: &Path, mode: u32, text: &str) -> Result<(), Failure> {
    let failed = |e: std::io::Error| Failure::usage(format!("{}: {e}", path.display()));
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    file.sync_all().map_err(failed)
}
