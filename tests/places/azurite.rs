//! Azurite from npm, a server that speaks as Azure's Blob Storage does, and what an application does there:
//! written by hand, with a token that is made by hand, so that nothing of ours is tried by itself.

use crate::bucket::{Said, all, send};
use crate::support::{free_port, repository, wait_until};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

pub(crate) const ACCOUNT: &str = "devstoreaccount1";
/// The same on each azurite.
pub(crate) const KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

pub(crate) struct Azurite {
    pub(crate) port: u16,
    server: Child,
    _folder: TempDir,
}

impl Azurite {
    pub(crate) fn start() -> Self {
        let program = ".cache/azurite/node_modules/azurite/dist/src/blob/main.js";
        let program = repository().join(program);
        assert!(program.exists(), "run scripts/install.sh test");
        let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
        let mut command = Command::new("node");
        command.arg(program).args(["--blobPort", &port.to_string()]);
        // Without the last it looks for the account in the host's name; without the one before it calls home.
        command.args(["--inMemoryPersistence", "--silent"]);
        command.args(["--disableTelemetry", "--disableProductStyleUrl"]);
        command.current_dir(folder.path());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let server = command.spawn().unwrap();
        let azurite = Self {
            port,
            server,
            _folder: folder,
        };
        wait_until("azurite", Duration::from_secs(60), || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        azurite
    }

    /// A request for something in the account, and it must go well.
    #[track_caller]
    pub(crate) fn well(&self, method: &str, target: &str, headers: &str, body: &str) -> Said {
        let between = if target.contains('?') { '&' } else { '?' };
        let target = format!("/{ACCOUNT}{target}{between}{}", token("rwdlacup"));
        let said = send(self.port, method, &target, headers, body);
        assert!(said.status < 300, "{target}: {} {}", said.head, said.body);
        said
    }

    #[track_caller]
    pub(crate) fn container(&self, name: &str) {
        self.well("PUT", &format!("/{name}?restype=container"), "", "");
    }

    #[track_caller]
    pub(crate) fn put(&self, target: &str) {
        self.well("PUT", target, "x-ms-blob-type: BlockBlob\r\n", "bytes");
    }

    #[track_caller]
    pub(crate) fn snapshot(&self, target: &str) {
        self.well("PUT", &format!("{target}?comp=snapshot"), "", "");
    }

    /// A block that nobody commits.
    #[track_caller]
    pub(crate) fn block(&self, target: &str) {
        let target = format!("{target}?comp=block&blockid=MQ%3D%3D");
        self.well("PUT", &target, "", "bytes");
    }

    /// Names of all blobs, snapshots and blobs that are not committed, as the server lists them.
    pub(crate) fn names(&self, container: &str) -> Vec<String> {
        let include = "include=snapshots,uncommittedblobs";
        let target = format!("/{container}?restype=container&comp=list&{include}");
        all(&self.well("GET", &target, "", "").body, "Name")
    }
}

impl Drop for Azurite {
    fn drop(&mut self) {
        self.server.kill().ok();
        self.server.wait().ok();
    }
}

/// A shared access signature of the account that may this.
pub(crate) fn token(may: &str) -> String {
    let (version, until) = ("2019-12-12", "2099-01-01T00:00:00Z");
    let said = format!("{ACCOUNT}\n{may}\nb\nsco\n\n{until}\n\n\n{version}\n");
    let key = STANDARD.decode(KEY).unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    mac.update(said.as_bytes());
    let signature = STANDARD.encode(mac.finalize().into_bytes());
    let signature = signature.replace('+', "%2B").replace('/', "%2F");
    format!("sv={version}&ss=b&srt=sco&sp={may}&se={until}&sig={signature}")
}
