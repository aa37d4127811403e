//! Connection settings as a DBA knows them from libpq.
//!
//! What is written in the connection string comes before the service file, which comes before
//! the environment, which comes before the defaults. A password is taken from
//! [`Settings::with_password`], then from those places in that order, then from `.pgpass`.
//!
//! One default is not libpq's. Where nothing says how TLS is to be done, a Unix socket goes
//! without it, a loopback address gets `prefer`, and any other host gets `verify-full`: what
//! passes here is personal data, and `prefer` would send it to whoever answers.

mod text;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_postgres::config::{
    ChannelBinding, Host, LoadBalanceHosts, SslNegotiation, TargetSessionAttrs,
};
use zeroize::Zeroizing;

use super::connect::ConnectError;
use text::{Options, bad};

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
    pub(super) password: Option<Zeroizing<String>>,
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
    warnings: Vec<String>,
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
            for (key, value) in read_service(&name, home.as_deref(), env, read_file)? {
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
        refuse_unsupported(&options)?;

        let mut warnings = Vec::new();
        let user = match options.get("user") {
            Some(user) => user.to_string(),
            None => system_user(env, read_file).ok_or_else(|| {
                bad(
                    "no user is named, and the operating system's user has no name",
                    "add user=… to the connection settings",
                )
            })?,
        };
        let dbname = options
            .get("dbname")
            .map_or_else(|| user.clone(), |name| name.to_string());
        let mut endpoints = endpoints(&options)?;
        let known = options.get("password").cloned();
        if known.is_none() {
            find_passwords(
                &mut endpoints,
                &options,
                &user,
                &dbname,
                home.as_deref(),
                read_file,
                &mut warnings,
            );
        } else {
            endpoints
                .iter_mut()
                .for_each(|endpoint| endpoint.password.clone_from(&known));
        }
        let tls = tls(&options, home.as_deref(), read_file)?;
        Ok(Self {
            endpoints,
            tls,
            connect_timeout: number(&options, "connect_timeout")?
                .filter(|s| *s > 0)
                .map(Duration::from_secs),
            load_balance: choice(
                &options,
                "load_balance_hosts",
                &[("disable", false), ("random", true)],
            )?
            .unwrap_or(false),
            session: session(&options)?,
            user,
            dbname,
            warnings,
        })
    }

    /// [`resolve`](Self::resolve) with this process's environment and files.
    ///
    /// # Errors
    /// As `resolve`.
    pub fn from_process(text: &str) -> Result<Self, ConnectError> {
        Self::resolve(text, &|name| std::env::var(name).ok(), &read_file)
    }

    /// Takes this password for every host, whatever else was found.
    #[must_use]
    pub fn with_password(mut self, password: Zeroizing<String>) -> Self {
        for endpoint in &mut self.endpoints {
            endpoint.password = Some(password.clone());
        }
        self
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

fn read_service(
    name: &str,
    home: Option<&Path>,
    env: &dyn Fn(&str) -> Option<String>,
    read_file: &dyn Fn(&Path, Access) -> io::Result<String>,
) -> Result<Options, ConnectError> {
    let own = env("PGSERVICEFILE")
        .filter(|path| !path.is_empty())
        .map(PathBuf::from);
    let shared =
        env("PGSYSCONFDIR").map_or_else(|| PathBuf::from("/etc/postgresql-common"), PathBuf::from);
    let files = [
        own.or_else(|| home.map(|home| home.join(".pg_service.conf"))),
        Some(shared.join("pg_service.conf")),
    ];
    for path in files.iter().flatten() {
        let Ok(file) = read_file(path, Access::Any) else {
            continue;
        };
        if let Some(options) = text::service(&file, name)? {
            return Ok(options);
        }
    }
    let looked = files
        .iter()
        .flatten()
        .map(|path| path.display().to_string())
        .collect::<Vec<_>>()
        .join(", ");
    Err(bad(
        format!(
            "no service `{}` was found in {looked}",
            name.escape_default()
        ),
        "add a section of that name to one of these files, or set PGSERVICEFILE",
    ))
}

/// What libpq could do and we cannot is refused rather than quietly weaker.
fn refuse_unsupported(options: &Options) -> Result<(), ConnectError> {
    let refused = [
        ("sslcrl", "revocation lists are not supported"),
        ("sslcrldir", "revocation lists are not supported"),
        (
            "sslpassword",
            "an encrypted client key is not supported; use an unencrypted key that only its owner can read",
        ),
        (
            "require_auth",
            "the method of authentication cannot be forced; use channel_binding=require or verify-full",
        ),
    ];
    for (key, help) in refused {
        if options.contains_key(key) {
            return Err(bad(format!("`{key}` cannot be honoured"), help));
        }
    }
    if options
        .get("gssencmode")
        .is_some_and(|mode| mode.as_str() == "require")
    {
        return Err(bad(
            "`gssencmode=require` cannot be honoured",
            "use TLS: sslmode=verify-full",
        ));
    }
    Ok(())
}

/// The name of the effective user, from the files that every Linux has; else what the
/// environment claims (systemd's DynamicUser is not in /etc/passwd).
fn system_user(
    env: &dyn Fn(&str) -> Option<String>,
    read_file: &dyn Fn(&Path, Access) -> io::Result<String>,
) -> Option<String> {
    let from_passwd = || {
        let status = read_file(Path::new("/proc/self/status"), Access::Any).ok()?;
        let effective = status
            .lines()
            .find_map(|line| line.strip_prefix("Uid:"))?
            .split_whitespace()
            .nth(1)?
            .to_owned();
        let passwd = read_file(Path::new("/etc/passwd"), Access::Any).ok()?;
        passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1)? == effective).then(|| name.to_owned())
        })
    };
    from_passwd()
        .or_else(|| env("USER"))
        .or_else(|| env("LOGNAME"))
        .filter(|name| !name.is_empty())
}

fn list<'a>(options: &'a Options, key: &str) -> Vec<&'a str> {
    options
        .get(key)
        .map(|value| value.split(',').map(str::trim).collect())
        .unwrap_or_default()
}

fn endpoints(options: &Options) -> Result<Vec<Endpoint>, ConnectError> {
    let (hosts, addresses, ports) = (
        list(options, "host"),
        list(options, "hostaddr"),
        list(options, "port"),
    );
    let count = hosts.len().max(addresses.len()).max(1);
    if !hosts.is_empty() && !addresses.is_empty() && hosts.len() != addresses.len() {
        return Err(bad(
            "`host` and `hostaddr` name different numbers of servers",
            "give one hostaddr for each host",
        ));
    }
    if ports.len() > 1 && ports.len() != count {
        return Err(bad(
            "`port` and `host` name different numbers of servers",
            "give one port, or one for each host",
        ));
    }
    (0..count)
        .map(|i| {
            let address = match addresses.get(i).filter(|text| !text.is_empty()) {
                Some(text) => Some(text.parse::<IpAddr>().map_err(|_| {
                    bad(
                        "`hostaddr` is not an IP address",
                        "write a number such as 192.0.2.1, or use host",
                    )
                })?),
                None => None,
            };
            let host = match (hosts.get(i).filter(|name| !name.is_empty()), address) {
                (Some(path), None) if path.starts_with('/') => Host::Unix(PathBuf::from(path)),
                (Some(name), _) => Host::Tcp((*name).to_owned()),
                (None, Some(address)) => Host::Tcp(address.to_string()),
                (None, None) => Host::Unix(PathBuf::from(SOCKET_FOLDER)),
            };
            let port = match ports.get(i).or(if ports.len() == 1 {
                ports.first()
            } else {
                None
            }) {
                None | Some(&"") => 5432,
                Some(text) => text
                    .parse::<u16>()
                    .ok()
                    .filter(|port| *port > 0)
                    .ok_or_else(|| {
                        bad(
                            "a port is not a number from 1 to 65535",
                            "check it; in a URL, percent-encode : / ? # @ in the password",
                        )
                    })?,
            };
            Ok(Endpoint {
                host,
                address,
                port,
                password: None,
            })
        })
        .collect()
}

fn find_passwords(
    endpoints: &mut [Endpoint],
    options: &Options,
    user: &str,
    dbname: &str,
    home: Option<&Path>,
    read_file: &dyn Fn(&Path, Access) -> io::Result<String>,
    warnings: &mut Vec<String>,
) {
    let asked = options
        .get("passfile")
        .map(|path| PathBuf::from(path.as_str()));
    let Some(path) = asked
        .clone()
        .or_else(|| home.map(|home| home.join(".pgpass")))
    else {
        return;
    };
    let file = match read_file(&path, Access::OwnerOnly) {
        Ok(file) => Zeroizing::new(file),
        Err(error) => {
            // A password file that nobody asked for may well be absent.
            if asked.is_some() || error.kind() == io::ErrorKind::PermissionDenied {
                let path = path.display();
                warnings.push(format!(
                    "password file {path} is ignored: {error}; it must exist with mode 0600 or less"
                ));
            }
            return;
        }
    };
    for endpoint in endpoints {
        let name = endpoint.host();
        let hosts = if name == SOCKET_FOLDER || name == "/run/postgresql" || name == "/tmp" {
            vec!["localhost", name.as_str()]
        } else {
            vec![name.as_str()]
        };
        endpoint.password = text::password(
            &file,
            &text::Wanted {
                hosts: &hosts,
                port: endpoint.port,
                dbname,
                user,
            },
        );
    }
}

fn tls(
    options: &Options,
    home: Option<&Path>,
    read_file: &dyn Fn(&Path, Access) -> io::Result<String>,
) -> Result<Tls, ConnectError> {
    let mut mode = choice(
        options,
        "sslmode",
        &[
            ("disable", SslMode::Disable),
            // libpq's `allow` tries plain text first; TLS first is never worse.
            ("allow", SslMode::Prefer),
            ("prefer", SslMode::Prefer),
            ("require", SslMode::Require),
            ("verify-ca", SslMode::VerifyCa),
            ("verify-full", SslMode::VerifyFull),
        ],
    )?;
    let path = |key: &str| options.get(key).map(|value| PathBuf::from(value.as_str()));
    // What libpq would find by itself, if it is there.
    let found = |name: &str| {
        let path = home?.join(".postgresql").join(name);
        read_file(&path, Access::Any)
            .ok()
            .map(|text| drop(Zeroizing::new(text)))
            .map(|()| path)
    };
    let roots = match path("sslrootcert") {
        Some(path) if path == Path::new("system") => {
            if mode.is_some_and(|mode| mode != SslMode::VerifyFull) {
                return Err(bad(
                    "`sslrootcert=system` needs `sslmode=verify-full`",
                    "anybody can get a certificate of a public authority; only the host's name tells them apart",
                ));
            }
            mode = Some(SslMode::VerifyFull);
            Some(Roots::System)
        }
        Some(path) => Some(Roots::File(path)),
        None => found("root.crt").map(Roots::File),
    };
    let (certificate, key) = match (path("sslcert"), path("sslkey")) {
        (None, None) => found("postgresql.crt").zip(found("postgresql.key")).unzip(),
        given => given,
    };
    let only_1_3 = choice(
        options,
        "ssl_min_protocol_version",
        &[
            ("TLSv1", false),
            ("TLSv1.1", false),
            ("TLSv1.2", false),
            ("TLSv1.3", true),
        ],
    )?;
    Ok(Tls {
        mode,
        roots,
        roots_asked: options.contains_key("sslrootcert"),
        certificate,
        key,
        only_1_3: only_1_3.unwrap_or(false),
    })
}

fn choice<T: Copy>(
    options: &Options,
    key: &str,
    choices: &[(&str, T)],
) -> Result<Option<T>, ConnectError> {
    let Some(value) = options.get(key) else {
        return Ok(None);
    };
    match choices.iter().find(|(name, _)| *name == value.as_str()) {
        Some((_, choice)) => Ok(Some(*choice)),
        None => {
            let names = choices
                .iter()
                .map(|(name, _)| *name)
                .collect::<Vec<_>>()
                .join(", ");
            Err(bad(
                format!("the value of `{key}` is not one that is known here"),
                format!("use one of {names}"),
            ))
        }
    }
}

fn number(options: &Options, key: &str) -> Result<Option<u64>, ConnectError> {
    let Some(value) = options.get(key) else {
        return Ok(None);
    };
    // Negative numbers mean "none" to libpq, as zero does.
    let number = value
        .trim()
        .parse::<i64>()
        .ok()
        .filter(|n| n.abs() <= 86_400_000);
    let number = number.ok_or_else(|| {
        bad(
            format!("`{key}` is not a number in its range"),
            "write a whole number",
        )
    })?;
    Ok(Some(u64::try_from(number).unwrap_or(0)))
}

fn session(options: &Options) -> Result<tokio_postgres::Config, ConnectError> {
    let mut config = tokio_postgres::Config::new();
    if let Some(value) = options.get("options") {
        config.options(value.as_str());
    }
    let target = [
        ("any", TargetSessionAttrs::Any),
        ("read-write", TargetSessionAttrs::ReadWrite),
        ("primary", TargetSessionAttrs::ReadWrite),
        ("read-only", TargetSessionAttrs::ReadOnly),
        ("standby", TargetSessionAttrs::ReadOnly),
    ];
    if let Some(target) = choice(options, "target_session_attrs", &target)? {
        config.target_session_attrs(target);
    }
    let binding = [
        ("disable", ChannelBinding::Disable),
        ("prefer", ChannelBinding::Prefer),
        ("require", ChannelBinding::Require),
    ];
    if let Some(binding) = choice(options, "channel_binding", &binding)? {
        config.channel_binding(binding);
    }
    let negotiation = [
        ("postgres", SslNegotiation::Postgres),
        ("direct", SslNegotiation::Direct),
    ];
    if let Some(negotiation) = choice(options, "sslnegotiation", &negotiation)? {
        config.ssl_negotiation(negotiation);
    }
    if choice(
        options,
        "load_balance_hosts",
        &[("disable", false), ("random", true)],
    )? == Some(true)
    {
        config.load_balance_hosts(LoadBalanceHosts::Random);
    }
    if let Some(on) = number(options, "keepalives")? {
        config.keepalives(on != 0);
    }
    if let Some(seconds) = number(options, "keepalives_idle")?.filter(|n| *n > 0) {
        config.keepalives_idle(Duration::from_secs(seconds));
    }
    if let Some(seconds) = number(options, "keepalives_interval")?.filter(|n| *n > 0) {
        config.keepalives_interval(Duration::from_secs(seconds));
    }
    if let Some(count) = number(options, "keepalives_count")?.filter(|n| *n > 0) {
        config.keepalives_retries(u32::try_from(count).unwrap_or(u32::MAX));
    }
    // libpq counts this one in milliseconds.
    if let Some(millis) = number(options, "tcp_user_timeout")?.filter(|n| *n > 0) {
        config.tcp_user_timeout(Duration::from_millis(millis));
    }
    Ok(config)
}
