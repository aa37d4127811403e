//! `erasured.toml` as a value. A `Config` that exists is well formed; whether the databases
//! answer is somebody else's question. It names secrets' places and holds none.

use crate::diagnostic::{Diagnostic, Source};
use crate::reading::Span;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub mod api;
pub mod bucket;
pub mod drop_folder;
pub mod mariadb;
mod mask;
pub mod opendsr;
pub mod outbox;
pub mod place;
mod read;
pub mod secret;
pub mod throttle;

pub use api::Api;
pub use bucket::Bucket;
pub use drop_folder::DropFolder;
pub use opendsr::OpenDsr;
pub use outbox::Outbox;
pub use place::PlaceSystem;
pub(crate) use read::holds_password;
pub use read::read;
pub use secret::SecretSource;
pub use throttle::Throttle;

/// The whole file.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file, for error excerpts.
    pub source: Source,
    /// Where the daemon keeps the last ledger head.
    pub state_dir: PathBuf,
    /// The folder of policies.
    pub policies: PathBuf,
    /// The control database.
    pub control: Database,
    /// The PostgreSQL databases, by name.
    pub systems: BTreeMap<String, System>,
    /// The MariaDB servers, by name.
    pub mariadb: BTreeMap<String, Database>,
    /// The other systems, by name.
    pub places: BTreeMap<String, PlaceSystem>,
    /// Signing and hashing.
    pub keys: Keys,
    /// Where the daemon listens.
    pub http: Http,
    /// How it speaks.
    pub log: Log,
    /// Bounds of its work.
    pub limits: Limits,
    /// Who is told.
    pub outbox: Outbox,
    /// The desk over HTTP, if it is served.
    pub api: Option<Api>,
    /// Requests as files, if they are taken.
    pub drop_folder: Option<DropFolder>,
    /// Requests in the words of OpenDSR, if they are served.
    pub opendsr: Option<OpenDsr>,
    /// Where rules may archive besides this host, by name.
    pub buckets: BTreeMap<String, Bucket>,
    /// `notices.templates`: a folder whose texts replace the built-in ones.
    pub templates: Option<PathBuf>,
}

/// How to reach one PostgreSQL database, or one MariaDB server.
#[derive(Clone, Debug)]
pub struct Database {
    /// libpq URL or `key=value` text, or a URL of MariaDB's; without password.
    pub url: String,
    /// Where the password is, if not in `.pgpass` and the like.
    pub password: Option<SecretSource>,
    /// Certificates, if not the system's.
    pub tls: Option<Tls>,
    /// Where Patroni says which of its servers leads.
    pub patroni: Vec<outbox::Endpoint>,
    /// Where the file says `url`.
    pub span: Span,
}

/// `tls = { … }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// PEM of the authorities to trust.
    pub ca_file: Option<PathBuf>,
    /// PEM of the client's certificate; there is a key exactly if there is this.
    pub client_cert: Option<PathBuf>,
    /// PEM of its key.
    pub client_key_file: Option<PathBuf>,
}

/// `[system.NAME]` of a PostgreSQL database.
#[derive(Clone, Debug)]
pub struct System {
    /// Where it is.
    pub database: Database,
    /// Where the sweep reads, if not there; password and tls are the system's unless it names
    /// its own.
    pub sweep: Option<Database>,
    /// Replication slots of logical subscribers that must have applied a deletion before it is certified.
    pub subscribers: Vec<String>,
    /// When retention waits for it.
    pub throttle: Throttle,
}

/// `[keys]`.
#[derive(Clone, Debug)]
pub struct Keys {
    /// Ed25519 key that signs certificates, PKCS#8 PEM.
    pub signing: SecretSource,
    /// Public keys of older certificates.
    pub retired: Vec<PathBuf>,
    /// Key of the keyed hashes, 32 bytes or more, base64 or raw.
    pub hash: SecretSource,
}

/// `[http]`.
#[derive(Clone, Debug)]
pub struct Http {
    /// Address and port.
    pub listen: SocketAddr,
    /// Bearer token for certificates; without it they are not served.
    pub token: Option<SecretSource>,
    /// Where services call back; without it no call is taken.
    pub called_at: Option<CalledAt>,
}

/// Where services say that an order is done, and by what each knows which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CalledAt {
    /// The URL that leads to this daemon's `[http]`; it ends in no slash.
    pub url: String,
    /// The key of hashes.
    pub key: SecretSource,
}

impl CalledAt {
    /// The path of calls, behind the URL.
    pub const PATH: &str = "/called";
}

/// `[log]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// For whom.
    pub format: LogFormat,
    /// How much.
    pub level: tracing::Level,
}

/// Shapes of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people at a terminal.
    Pretty,
    /// One JSON object a line.
    Json,
    /// With journald's priority, without the time that journald has already.
    Journald,
}

/// `[limits]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Tickets in one transaction.
    pub batch: NonZeroU32,
    /// Rows of one piece, where a policy lets a table's rows go in pieces.
    pub piece_rows: NonZeroU32,
    /// Batches at the same time.
    pub workers: NonZeroUsize,
    /// How long a batch is a worker's own without a sign of life.
    pub lease: Duration,
    /// PostgreSQL's `lock_timeout`.
    pub lock_timeout: Duration,
    /// PostgreSQL's `statement_timeout`.
    pub statement_timeout: Duration,
    /// PostgreSQL's `idle_in_transaction_session_timeout`.
    pub idle_timeout: Duration,
    /// How often to look for work without being told.
    pub poll: Duration,
    /// How long a person may be erased in some systems and not yet in others before that counts as late.
    pub partial: Duration,
    /// What the sweep may read; `None` is as fast as it goes.
    pub sweep_bytes_per_second: Option<NonZeroU64>,
    /// Tries of a ticket before a person is needed.
    pub attempts: NonZeroU32,
}

impl Config {
    /// The kinds of the systems in which policies may declare places.
    pub fn kinds(&self) -> BTreeMap<String, place::Kind> {
        let places = self.places.iter();
        places
            .map(|(name, place)| (name.clone(), place.kind()))
            .collect()
    }

    /// How many batches may go on while workers are held up at a system where others need not go: as many as there are
    /// workers, where there are several systems.
    pub fn stand_ins(&self) -> usize {
        let systems = self.systems.len() + self.mariadb.len() + self.places.len();
        match systems {
            0 | 1 => 0,
            _ => self.limits.workers.get(),
        }
    }
}

/// The longest that reading a system's catalog may take, and waiting for a partition to be let go.
const CATALOG: Duration = Duration::from_secs(60);

impl Limits {
    /// The longest that any statement in a system may take.
    pub fn longest_statement(&self) -> Duration {
        self.statement_timeout.max(CATALOG)
    }
}

/// Reads the file from disk, and it.
pub fn load(path: &Path) -> Result<Config, Vec<Diagnostic>> {
    let shown = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => read(&shown, &text),
        Err(error) => Err(vec![Diagnostic::error(
            "E0001",
            format!("{shown} cannot be read: {error}"),
            "name the configuration with --config; it is UTF-8 text that erasured may read",
        )]),
    }
}
