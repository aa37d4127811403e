//! Connection settings as a DBA knows them from libpq.
//!
//! What is written in the connection string comes before the service file, which comes before
//! the environment, which comes before the defaults. A password is taken from
//! [`Settings::with_password_from`], then from those places in that order, then from `.pgpass`.
//! What a file says is read again for each session: a password may be changed while we run.
//!
//! One default is not libpq's. Where nothing says how TLS is to be done, a Unix socket goes
//! without it, a loopback address gets `prefer`, and any other host gets `verify-full`: what
//! passes here is personal data, and `prefer` would send it to whoever answers.

mod files;
mod options;
mod text;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_postgres::config::{Host, TargetSessionAttrs};
use zeroize::Zeroizing;

use super::connect::ConnectError;
use crate::config::SecretSource;
use crate::config::outbox::Endpoint as Api;
use text::bad;

/// Where Debian's PostgreSQL keeps its socket, and so libpq's host when none is named.
const SOCKET_FOLDER: &str = "/var/run/postgresql";

/// Who may read a file for its content to be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anybody may.
    Any,
    /// Only its owner may; a reader answers with [`io::ErrorKind::PermissionDenied`] otherwise.
    OwnerOnly,
}

/// How far the server's certificate is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SslMode {
    /// No TLS.
    Disable,
    /// TLS if the server offers it; checked only if a CA file is given.
    Prefer,
    /// TLS or no session; checked only if a CA file is given.
    Require,
    /// The certificate must come from the CA.
    VerifyCa,
    /// The certificate must come from the CA and carry the host's name.
    VerifyFull,
}

/// What the server's certificate must come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Roots {
    /// The public authorities that browsers trust (`sslrootcert=system`).
    System,
    /// The certificates of a PEM file.
    File(PathBuf),
}

/// A server that may be tried.
#[derive(Clone)]
pub struct Endpoint {
    pub(super) host: Host,
    pub(super) address: Option<IpAddr>,
    pub(super) port: u16,
    /// As it was when the settings were resolved.
    password: Option<Zeroizing<String>>,
}

impl Endpoint {
    /// The host's name, or the folder of its socket.
    pub fn host(&self) -> String {
        match &self.host {
            Host::Tcp(name) => name.clone(),
            Host::Unix(folder) => folder.display().to_string(),
        }
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    fn is_loopback(&self) -> bool {
        match (&self.host, self.address) {
            (Host::Unix(_), _) => true,
            (_, Some(address)) => address.is_loopback(),
            (Host::Tcp(name), None) => {
                name.eq_ignore_ascii_case("localhost")
                    || name.parse::<IpAddr>().is_ok_and(|a| a.is_loopback())
            }
        }
    }
}

/// `host:port`, with an IPv6 address in brackets.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Tcp(name) if name.contains(':') => write!(f, "[{name}]:{}", self.port),
            _ => write!(f, "{}:{}", self.host(), self.port),
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let password = if self.password.is_some() {
            "set"
        } else {
            "none"
        };
        write!(f, "{self} (password: {password})")
    }
}

/// Files and modes of TLS.
#[derive(Clone, Debug, Default)]
pub(super) struct Tls {
    pub(super) mode: Option<SslMode>,
    pub(super) roots: Option<Roots>,
    /// The CA file was asked for, not merely found in the home directory.
    pub(super) roots_asked: bool,
    pub(super) certificate: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
    pub(super) only_1_3: bool,
}

/// Everything needed to open a session, except the passwords' owner's patience.
///
/// `Debug` never shows a password.
#[derive(Clone, Debug)]
pub struct Settings {
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) user: String,
    pub(super) dbname: String,
    pub(super) tls: Tls,
    pub(super) connect_timeout: Option<Duration>,
    pub(super) load_balance: bool,
    /// The options that tokio-postgres handles itself, already understood.
    pub(super) session: tokio_postgres::Config,
    password_from: PasswordFrom,
    warnings: Vec<String>,
    /// Where Patroni says who leads.
    pub(super) patroni: Vec<Api>,
}

/// Where a session's password is.
#[derive(Clone, Debug)]
enum PasswordFrom {
    /// With the endpoints.
    Settings,
    /// In a file of many, as libpq reads it.
    Passfile(PathBuf),
    /// Where the configuration says.
    Source(SecretSource),
}

impl Settings {
    /// Understands a connection string, with the environment and the files around it.
    ///
    /// # Errors
    /// [`ConnectError::BadSettings`] where the text, a service or a variable makes no sense.
    pub fn resolve(
        text: &str,
        env: &dyn Fn(&str) -> Option<String>,
        read_file: &dyn Fn(&Path, Access) -> io::Result<String>,
    ) -> Result<Self, ConnectError> {
        let mut options = text::connection_string(text)?;
        let home = env("HOME")
            .filter(|home| !home.is_empty())
            .map(PathBuf::from);
        let service = options
            .get("service")
            .map(|name| name.to_string())
            .or_else(|| env("PGSERVICE"));
        if let Some(name) = service.filter(|name| !name.is_empty()) {
            for (key, value) in files::read_service(&name, home.as_deref(), env, read_file)? {
                options.entry(key).or_insert(value);
            }
        }
        for (key, variable) in text::KNOWN {
            if let Some(value) = variable
                .and_then(env)
                .filter(|value| !value.is_empty() && !value.contains('\0'))
            {
                options.entry(key).or_insert(Zeroizing::new(value));
            }
        }
        // An empty value means "the default" everywhere in libpq.
        options.retain(|_, value| !value.is_empty());
        options::refuse_unsupported(&options)?;

        let mut warnings = Vec::new();
        let user = match options.get("user") {
            Some(user) => user.to_string(),
            None => files::system_user(env, read_file).ok_or_else(|| {
                bad(
                    "no user is named, and the operating system's user has no name",
                    "add user=… to the connection settings",
                )
            })?,
        };
        let dbname = options
            .get("dbname")
            .map_or_else(|| user.clone(), |name| name.to_string());
        let mut endpoints = options::endpoints(&options)?;
        let known = options.get("password").cloned();
        let passfile = match known {
            None => files::passfile(&options, home.as_deref(), read_file, &mut warnings),
            Some(_) => None,
        };
        for endpoint in &mut endpoints {
            endpoint.password = match &passfile {
                Some((_, text)) => files::password(text, endpoint, &user, &dbname),
                None => known.clone(),
            };
        }
        let tls = options::tls(&options, home.as_deref(), read_file)?;
        Ok(Self {
            endpoints,
            tls,
            connect_timeout: options::number(&options, "connect_timeout")?
                .filter(|s| *s > 0)
                .map(Duration::from_secs),
            load_balance: options::choice(
                &options,
                "load_balance_hosts",
                &[("disable", false), ("random", true)],
            )?
            .unwrap_or(false),
            session: options::session(&options)?,
            password_from: match passfile {
                Some((path, _)) => PasswordFrom::Passfile(path),
                None => PasswordFrom::Settings,
            },
            user,
            dbname,
            warnings,
            patroni: Vec::new(),
        })
    }

    /// [`resolve`](Self::resolve) with this process's environment and files.
    ///
    /// # Errors
    /// As `resolve`.
    pub fn from_process(text: &str) -> Result<Self, ConnectError> {
        Self::resolve(text, &|name| std::env::var(name).ok(), &read_file)
    }

    /// Takes the password of every host from there, whatever else was found.
    #[must_use]
    pub fn with_password_from(mut self, source: SecretSource) -> Self {
        self.password_from = PasswordFrom::Source(source);
        self
    }

    /// Asks Patroni at these URLs who leads, before a session is opened.
    ///
    /// # Errors
    /// [`ConnectError::BadSettings`] where whoever is connected to need not take writes: Patroni alone would be believed.
    pub fn with_patroni(mut self, at: Vec<Api>) -> Result<Self, ConnectError> {
        let asks = self.session.get_target_session_attrs() == TargetSessionAttrs::ReadWrite;
        if !at.is_empty() && !asks {
            return Err(bad(
                "`patroni` says who leads, and nothing asks the server itself whether it takes writes",
                "add target_session_attrs=read-write to the url",
            ));
        }
        self.patroni = at;
        Ok(self)
    }

    /// What a server that asks for a password is told by a session that is opened now.
    ///
    /// # Errors
    /// [`ConnectError::BadSettings`] where the secret cannot be had.
    pub(super) fn password(
        &self,
        endpoint: &Endpoint,
    ) -> Result<Option<Zeroizing<String>>, ConnectError> {
        match &self.password_from {
            PasswordFrom::Settings => Ok(endpoint.password.clone()),
            PasswordFrom::Passfile(path) => Ok(match read_file(path, Access::OwnerOnly) {
                Ok(text) => {
                    files::password(&Zeroizing::new(text), endpoint, &self.user, &self.dbname)
                }
                // Between two versions of it there may be none.
                Err(_) => endpoint.password.clone(),
            }),
            PasswordFrom::Source(source) => {
                let secret = source.load().map_err(|error| {
                    bad(
                        format!("E0009: {error}"),
                        "sessions are opened again once it is there",
                    )
                })?;
                let line = secret.expose_line().unwrap_or_default();
                Ok(Some(Zeroizing::new(line.to_owned())))
            }
        }
    }

    /// Takes these files for TLS, where given; a CA file raises an unsaid mode to `verify-full`.
    #[must_use]
    pub fn with_tls(
        mut self,
        ca: Option<PathBuf>,
        certificate: Option<PathBuf>,
        key: Option<PathBuf>,
    ) -> Self {
        if let Some(ca) = ca {
            self.tls.roots = Some(Roots::File(ca));
            self.tls.roots_asked = true;
        }
        if certificate.is_some() || key.is_some() {
            self.tls.certificate = certificate;
            self.tls.key = key;
        }
        self
    }

    /// The servers, in the order in which they are tried.
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// The role that logs in.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The database.
    pub fn dbname(&self) -> &str {
        &self.dbname
    }

    /// What was found wrong and passed over, for the log (no secret in it).
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The mode of TLS towards one server, after the defaults.
    pub fn ssl_mode(&self, endpoint: &Endpoint) -> SslMode {
        match (&endpoint.host, self.tls.mode) {
            (Host::Unix(_), _) => SslMode::Disable,
            (_, Some(mode)) => mode,
            _ if self.tls.roots_asked => SslMode::VerifyFull,
            _ if endpoint.is_loopback() => SslMode::Prefer,
            _ => SslMode::VerifyFull,
        }
    }

    /// `host:port/database`, as errors name it.
    pub fn place(&self, endpoint: &Endpoint) -> String {
        format!("{endpoint}/{}", self.dbname)
    }
}

/// Reads a file of this machine, and refuses a secret one that others may read.
///
/// # Errors
/// As [`std::fs::read_to_string`]; `PermissionDenied` too where the access is too wide.
pub fn read_file(path: &Path, access: Access) -> io::Result<String> {
    use std::os::unix::fs::PermissionsExt;
    if access == Access::OwnerOnly {
        let metadata = std::fs::metadata(path)?;
        if metadata.is_file() && metadata.permissions().mode() & 0o077 != 0 {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "group or others may read it",
            ));
        }
    }
    std::fs::read_to_string(path)
}
