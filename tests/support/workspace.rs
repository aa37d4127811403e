//! A folder in which the real binary runs: configuration, keys, policies, state.

use super::demo::Demo;
use super::server::Server;
use assert_cmd::Command;
use base64::Engine;
use ed25519_dalek::pkcs8::EncodePrivateKey;
use ed25519_dalek::pkcs8::spki::EncodePublicKey;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Seed of the signing key of every workspace: tests may rebuild the key.
pub const SIGNING_SEED: [u8; 32] = [7; 32];
/// The hash key of every workspace.
pub const HASH_KEY: [u8; 32] = [9; 32];

/// The root of the repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The program under test, with a clean environment of libpq's and ours.
pub fn erasured() -> Command {
    Command::from_std(program())
}

/// The same for a process that the test does not wait for.
fn program() -> std::process::Command {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_erasured"));
    for (name, _) in std::env::vars_os() {
        let ours = name.to_string_lossy();
        if ours.starts_with("PG") || ours.starts_with("ERASURED_") {
            command.env_remove(&name);
        }
    }
    command.env("NO_COLOR", "1");
    command
}

/// A temporary folder with `erasured.toml`, `keys/`, `policies/` and `state/`; removed when dropped.
#[derive(Debug)]
pub struct Workspace {
    folder: tempfile::TempDir,
    systems: Vec<(String, String)>,
    control: String,
    http_port: u16,
    extra: String,
}

impl Workspace {
    /// For a control database and systems, given as (name, URL), by superuser; no policies yet.
    pub fn new(control_url: &str, systems: &[(&str, String)]) -> Workspace {
        let folder = tempfile::Builder::new()
            .prefix("erasured-ws-")
            .tempdir()
            .expect("a temporary folder");
        let workspace = Workspace {
            folder,
            systems: systems
                .iter()
                .map(|(name, url)| ((*name).to_owned(), url.clone()))
                .collect(),
            control: control_url.to_owned(),
            http_port: super::server::free_port(),
            extra: String::new(),
        };
        for name in ["keys", "policies", "state"] {
            std::fs::create_dir(workspace.path().join(name)).expect("a folder");
        }
        workspace.write_keys();
        workspace.write_config();
        workspace
    }

    /// For the demo company, with the shipped policies and a fresh control database.
    pub fn of_demo(server: &Server, demo: &Demo) -> Workspace {
        let control = server.fresh_database("control");
        let workspace = Workspace::new(
            &server.url(&control),
            &[
                ("shop", server.url(&demo.shop)),
                ("loyalty", server.url(&demo.loyalty)),
            ],
        );
        workspace.copy_policies(&repository().join("policies/travel"));
        workspace
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// URL of the control database.
    pub fn control_url(&self) -> &str {
        &self.control
    }

    /// Where the daemon is told to listen.
    pub fn http(&self) -> String {
        format!("127.0.0.1:{}", self.http_port)
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.path().join("erasured.toml")
    }

    /// The public key, as PEM, of the signing key.
    pub fn public_key(&self) -> PathBuf {
        self.path().join("keys/signing.pub.pem")
    }

    /// That key, as a reader of certificates has it who uses no code of ours.
    pub fn verifying_key(&self) -> ed25519_dalek::VerifyingKey {
        ed25519_dalek::SigningKey::from_bytes(&SIGNING_SEED).verifying_key()
    }

    /// Appends TOML (such as a `[limits]` section) to the configuration.
    pub fn configure(&mut self, toml: &str) {
        self.extra.push_str(toml);
        self.extra.push('\n');
        self.write_config();
    }

    /// Writes one policy file into the policies folder.
    pub fn write_policy(&self, file: &str, toml: &str) {
        std::fs::write(self.path().join("policies").join(file), toml).expect("a policy file");
    }

    /// Copies every policy of a folder.
    pub fn copy_policies(&self, from: &Path) {
        for entry in std::fs::read_dir(from).expect("a folder of policies") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().expect("a file name");
            std::fs::copy(&path, self.path().join("policies").join(name)).expect("a copy");
        }
    }

    /// Appends the rule that decides `audit_log` to the demo's policy.
    pub fn mend_demo_policy(&self) {
        let file = self.path().join("policies/customer.toml");
        let mut policy = std::fs::read_to_string(&file).expect("the demo's policy");
        let rule = repository().join("demo/audit_log_rule.toml");
        policy.push_str(&std::fs::read_to_string(rule).expect("the rule"));
        std::fs::write(file, policy).expect("the mended policy");
    }

    /// The program in this folder, with `ERASURED_CONFIG` naming the configuration.
    pub fn erasured<I, S>(&self, arguments: I) -> Command
    where
        I: IntoIterator<Item = S>,
        S: AsRef<std::ffi::OsStr>,
    {
        Command::from_std(self.process(arguments))
    }

    /// The same for a process that the test does not wait for.
    pub fn process<I, S>(&self, arguments: I) -> std::process::Command
    where
        I: IntoIterator<Item = S>,
        S: AsRef<std::ffi::OsStr>,
    {
        let mut command = program();
        command
            .current_dir(self.path())
            .env("ERASURED_CONFIG", self.config())
            .args(arguments);
        command
    }

    fn write_keys(&self) {
        let key = ed25519_dalek::SigningKey::from_bytes(&SIGNING_SEED);
        let private = key.to_pkcs8_pem(LineEnding::LF).expect("a PEM");
        let public = key
            .verifying_key()
            .to_public_key_pem(LineEnding::LF)
            .expect("a PEM");
        let hash = base64::engine::general_purpose::STANDARD.encode(HASH_KEY);
        for (name, text) in [
            ("signing.pem", private.as_str()),
            ("signing.pub.pem", &public),
            ("hash.key", &hash),
            ("http.token", "a-token-for-tests"),
        ] {
            let file = self.path().join("keys").join(name);
            std::fs::write(&file, text).expect("a key file");
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600))
                .expect("its mode");
        }
    }

    fn write_config(&self) {
        let mut toml = format!(
            "state_dir = \"state\"\npolicies = \"policies\"\n\n[control]\nurl = \"{}\"\n\n",
            self.control
        );
        for (name, url) in &self.systems {
            toml.push_str(&format!("[system.{name}]\nurl = \"{url}\"\n\n"));
        }
        toml.push_str(&format!(
            "[keys]\nsigning = {{ file = \"keys/signing.pem\" }}\nhash = {{ file = \"keys/hash.key\" }}\n\n\
             [http]\nlisten = \"127.0.0.1:{}\"\ntoken = {{ file = \"keys/http.token\" }}\n\n{}",
            self.http_port, self.extra
        ));
        std::fs::write(self.config(), toml).expect("erasured.toml");
    }
}
