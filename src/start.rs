//! From `erasured.toml` to a [`Context`]: reads policies and keys, makes the pools. No database
//! is asked yet.

use crate::config::secret::SecretError;
use crate::config::{self, Config, Database, SecretSource};
use crate::diagnostic::{Diagnostic, Severity};
use crate::erasure::context::{Clock, Context, Policies, System};
use crate::keys::{BadKey, HashKey, KeyRing, PublicKey, SigningKey};
use crate::notice::Templates;
use crate::policy::folder::Beside;
use crate::policy::{Draft, Policy, folder};
use crate::store::Store;
use crate::system::mariadb::connect::{Address, Password};
use crate::system::postgres::connect::{self, ConnectError, Pool, Timeouts};
use crate::system::postgres::libpq::Settings;
use crate::system::{mariadb, place};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Why nothing can start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Mistakes in the configuration or the policies.
    #[error("{} mistake(s) in configuration or policies", .0.len())]
    Mistakes(Vec<Diagnostic>),
    /// A secret cannot be had.
    #[error("{0}")]
    Secret(#[from] SecretError),
    /// A key is not what it should be.
    #[error("{place}: {error}")]
    Key {
        /// Which setting names it.
        place: String,
        /// What is wrong with it.
        error: BadKey,
    },
    /// A file cannot be read.
    #[error("{path} cannot be read: {error}")]
    File {
        /// Which.
        path: String,
        /// Why not.
        error: std::io::Error,
    },
    /// A connection string or its files are wrong.
    #[error("{0}")]
    Connection(#[from] ConnectError),
    /// A URL of MariaDB's is wrong.
    #[error("the url of system {system}: {problem}")]
    Address {
        /// Which.
        system: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// Reads the configuration; `secrets` are not looked at.
///
/// # Errors
/// [`StartError::Mistakes`].
pub fn configuration(path: &Path) -> Result<Config, StartError> {
    config::load(path).map_err(StartError::Mistakes)
}

/// Reads the policy folder.
///
/// # Errors
/// [`StartError::Mistakes`], all of them.
pub fn policies(config: &Config) -> Result<Policies, StartError> {
    let read = folder::read_folder(&config.policies).map_err(StartError::Mistakes)?;
    Ok(by_subject(read))
}

/// Reads the data files in the policy folder.
///
/// # Errors
/// [`StartError::Mistakes`], all of them.
pub fn beside(config: &Config) -> Result<Beside, StartError> {
    folder::beside(&config.policies).map_err(StartError::Mistakes)
}

/// Reads the policy folder, unfinished policies as they are: for those who only look.
///
/// # Errors
/// [`StartError::Mistakes`], all of them.
pub fn drafts(config: &Config) -> Result<Vec<Draft>, StartError> {
    folder::read_drafts(&config.policies).map_err(StartError::Mistakes)
}

fn by_subject(policies: Vec<Policy>) -> Policies {
    policies
        .into_iter()
        .map(|p| (p.subject.clone(), Arc::new(p)))
        .collect()
}

/// A pool on the control database, of at most `size` sessions.
///
/// # Errors
/// [`StartError::Secret`], [`StartError::Connection`].
pub fn control_pool(config: &Config, role: &str, size: usize) -> Result<Pool, StartError> {
    Ok(connect::pool(
        &settings(&config.control)?,
        role,
        size,
        Timeouts::default(),
    )?)
}

/// A pool on the control database under a door's own login.
///
/// # Errors
/// [`StartError::Secret`], [`StartError::Connection`].
pub fn filing_pool(control: &Database, role: &str, size: usize) -> Result<Pool, StartError> {
    let settings = settings(control)?;
    Ok(connect::pool(&settings, role, size, Timeouts::default())?)
}

/// Where and how to connect.
///
/// # Errors
/// [`StartError::Secret`], [`StartError::Connection`].
pub fn settings(database: &Database) -> Result<Settings, StartError> {
    let mut settings = Settings::from_process(&database.url)?;
    for warning in settings.warnings() {
        tracing::warn!("{warning}");
    }
    if let Some(source) = &database.password {
        // What cannot be had is told before anything begins; each session reads it again.
        source.load()?;
        settings = settings.with_password_from(source.clone());
    }
    if let Some(tls) = &database.tls {
        settings = settings.with_tls(
            tls.ca_file.clone(),
            tls.client_cert.clone(),
            tls.client_key_file.clone(),
        );
    }
    Ok(settings.with_patroni(database.patroni.clone())?)
}

/// Puts everything together for work: policies, keys, pools.
///
/// # Errors
/// [`StartError`].
pub fn context(config: Config, clock: Clock) -> Result<Context, StartError> {
    let policies = policies(&config)?;
    with_policies(config, policies, clock)
}

/// The same with policies already read.
///
/// # Errors
/// [`StartError`].
pub fn with_policies(
    config: Config,
    policies: Policies,
    clock: Clock,
) -> Result<Context, StartError> {
    let beside = beside(&config)?;
    let signing = signing_key(&config)?;
    let ring = key_ring(&config, &signing)?;
    let hash = hash_key(&config)?;
    let workers = config.limits.workers.get();
    // Each group of people in a place asks for a permit, and while it has that writes.
    let groups = groups_at_once(&config);
    let store = Store::new(
        control_pool(
            &config,
            "control",
            (workers + config.stand_ins() + groups) * 2 + 4,
        )?
        .inner()
        .clone(),
    );
    let systems = systems(&config)?;
    let mariadb = mariadb(&config)?;
    let places = places(&config);
    Ok(Context::new(
        config, store, systems, mariadb, places, hash, signing, ring, policies, beside, clock,
    ))
}

/// Groups of people whose rows may be held at the same time, for what they have in systems that are no databases.
fn groups_at_once(config: &Config) -> usize {
    let places = config.places.values();
    places.map(|place| place.concurrency.get()).sum()
}

/// The registered systems, each with its pools. Nothing is asked yet, and no key is needed.
///
/// # Errors
/// [`StartError::Secret`], [`StartError::Connection`].
pub fn systems(config: &Config) -> Result<BTreeMap<String, System>, StartError> {
    let workers = config.limits.workers.get();
    let timeouts = Timeouts::of_statements(config.limits.longest_statement());
    let mut systems = BTreeMap::new();
    for (name, system) in &config.systems {
        let pool = connect::pool(
            &settings(&system.database)?,
            "worker",
            workers + config.stand_ins() + groups_at_once(config) + 3,
            timeouts,
        )?;
        let sweep = system.sweep.as_ref().map(settings).transpose()?;
        let sweep = sweep
            .map(|s| connect::pool(&s, "sweep", 2, timeouts))
            .transpose()?;
        systems.insert(name.clone(), System::new(name, pool, sweep));
    }
    Ok(systems)
}

/// The registered MariaDB servers. Nothing is asked yet, and no key is needed.
///
/// # Errors
/// [`StartError::Secret`], [`StartError::Address`].
pub fn mariadb(config: &Config) -> Result<BTreeMap<String, mariadb::System>, StartError> {
    let servers = config.mariadb.iter();
    let system = |(name, server): (&String, &Database)| {
        let address = address(name, server)?;
        Ok((name.clone(), mariadb::System::new(name, address)))
    };
    servers.map(system).collect()
}

/// Where and how to connect to a MariaDB server.
///
/// # Errors
/// [`StartError::Secret`], [`StartError::Address`].
pub fn address(name: &str, server: &Database) -> Result<Address, StartError> {
    let password = server.password.clone();
    // One that is not there is said at the start; it is read again for each session.
    password.as_ref().map(SecretSource::load).transpose()?;
    let password = password.map(Password::From);
    Address::new(&server.url, password, server.tls.as_ref()).map_err(|problem| {
        StartError::Address {
            system: name.to_owned(),
            problem,
        }
    })
}

/// The registered systems that are no databases. Nothing is asked yet.
pub fn places(config: &Config) -> BTreeMap<String, place::System> {
    let places = config.places.iter();
    places
        .map(|(name, settings)| (name.clone(), place::System::new(name, settings)))
        .collect()
}

/// The key that signs.
///
/// # Errors
/// [`StartError::Secret`], [`StartError::Key`].
pub fn signing_key(config: &Config) -> Result<SigningKey, StartError> {
    let secret = config.keys.signing.load()?;
    SigningKey::from_pem(secret.expose_line().unwrap_or_default()).map_err(|error| {
        StartError::Key {
            place: "[keys] signing".into(),
            error,
        }
    })
}

/// The key that hashes and seals.
///
/// # Errors
/// [`StartError::Secret`], [`StartError::Key`].
pub fn hash_key(config: &Config) -> Result<HashKey, StartError> {
    let secret = config.keys.hash.load()?;
    HashKey::read(secret.expose()).map_err(|error| StartError::Key {
        place: "[keys] hash".into(),
        error,
    })
}

/// The public key of now and those of before.
///
/// # Errors
/// [`StartError::File`], [`StartError::Key`].
pub fn key_ring(config: &Config, signing: &SigningKey) -> Result<KeyRing, StartError> {
    let mut ring = KeyRing::default();
    ring.add(signing.public());
    for path in &config.keys.retired {
        ring.add(public_key(path)?);
    }
    Ok(ring)
}

/// A public key as a PEM file.
///
/// # Errors
/// [`StartError::File`], [`StartError::Key`].
pub fn public_key(path: &Path) -> Result<PublicKey, StartError> {
    let shown = path.display().to_string();
    let pem = std::fs::read_to_string(path).map_err(|error| StartError::File {
        path: shown.clone(),
        error,
    })?;
    PublicKey::from_pem(&pem).map_err(|error| StartError::Key {
        place: shown,
        error,
    })
}

impl StartError {
    /// The mistakes behind it, as diagnostics; one made of it where it has none of its own.
    pub fn diagnostics(&self) -> Vec<Diagnostic> {
        match self {
            Self::Mistakes(found) => found.clone(),
            Self::Secret(error) => vec![Diagnostic::error(
                "E0009",
                error.to_string(),
                "see [keys] and password_* in docs/operations.md",
            )],
            Self::Key { error, .. } => vec![Diagnostic::error(
                error.code(),
                self.to_string(),
                "make one with `erasured keygen`",
            )],
            Self::File { .. } => vec![Diagnostic::error(
                "E0009",
                self.to_string(),
                "mend the path or the rights",
            )],
            Self::Connection(_) | Self::Address { .. } => vec![Diagnostic::error(
                "E0301",
                self.to_string(),
                "mend the url in erasured.toml",
            )],
        }
    }
}

/// Whether any of them stops the work.
pub fn stops(diagnostics: &[Diagnostic]) -> bool {
    diagnostics.iter().any(|d| d.severity == Severity::Error)
}

/// The words for customers: ours, and in their place those of a folder.
///
/// # Errors
/// E0130, which file cannot be read and why.
pub fn templates(folder: Option<&Path>) -> Result<Templates, String> {
    let mut templates = Templates::built_in();
    let Some(folder) = folder else {
        return Ok(templates);
    };
    let names: Vec<String> = templates.names().map(str::to_owned).collect();
    for name in names {
        let path = folder.join(&name);
        match std::fs::read_to_string(&path) {
            Ok(text) => templates.replace(&name, text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                let path = path.display();
                return Err(format!(
                    "E0130: the template {path} cannot be read: {error}"
                ));
            }
        }
    }
    Ok(templates)
}
