//! Sessions of MariaDB. Each is made for one piece of work and closed after it: what a session has
//! seen passes through its buffers, and none of it is to stay.

use crate::config::{SecretSource, Tls};
use mysql_async::{ClientIdentity, Conn, Opts, OptsBuilder, SslOpts};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;
use zeroize::Zeroizing;

/// How a session behaves, whatever the server's own settings are: literals as the standard has
/// them, nothing cut off in silence, instants as UTC, keys between tables held, one statement one
/// snapshot. Text is compared by its bytes unless a statement says otherwise.
const SESSION: &str = "/* erasured:settings */ SET SESSION \
    sql_mode = 'STRICT_ALL_TABLES,NO_BACKSLASH_ESCAPES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION', \
    time_zone = '+00:00', foreign_key_checks = 1, unique_checks = 1, check_constraint_checks = 1, autocommit = 1, \
    sql_safe_updates = 0, sql_select_limit = 18446744073709551615, max_join_size = 18446744073709551615, sql_auto_is_null = 0, \
    tx_isolation = 'READ-COMMITTED', tx_read_only = 0, completion_type = 0";

/// How long to wait for a connection.
const CONNECT: Duration = Duration::from_secs(10);

/// Where a server is and how to reach it.
#[derive(Clone)]
pub struct Address {
    opts: Opts,
    password: Option<Password>,
}

/// What lets the login in.
#[derive(Clone)]
pub enum Password {
    /// Given once.
    Typed(Zeroizing<String>),
    /// Read for each session, so that it may be changed while the daemon runs.
    From(SecretSource),
}

/// Never shows the password.
impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (host, port) = (self.opts.ip_or_hostname(), self.opts.tcp_port());
        write!(f, "{host}:{port}")
    }
}

/// Bounds on every statement of a session.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// For a lock. MariaDB counts these in whole seconds: rounded up.
    pub lock: Duration,
    /// For one statement.
    pub statement: Duration,
    /// Between two statements of a transaction, in whole seconds.
    pub idle: Duration,
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum Unreachable {
    /// The server did not answer, or not in time.
    #[error("the server cannot be reached: {0}")]
    Away(String),
    /// It is no server for this.
    #[error("{0}")]
    Unfit(String),
}

impl Address {
    /// From a URL as `mariadb://user@host:3306/`, with `?socket=/path` for a socket. Over the
    /// network TLS is asked for and the server's certificate looked at, unless it is this host, or the URL
    /// says `sslmode=disable`.
    ///
    /// # Errors
    /// What is wrong with the URL, in words.
    pub fn new(url: &str, password: Option<Password>, tls: Option<&Tls>) -> Result<Self, String> {
        let Some((scheme, rest)) = url.split_once("://") else {
            return Err("it is no URL: write mariadb://user@host:3306/".into());
        };
        if !matches!(scheme, "mariadb" | "mysql") {
            return Err(format!(
                "{scheme}:// is not MariaDB's: write mariadb://user@host:3306/"
            ));
        }
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (ours, theirs): (Vec<&str>, Vec<&str>) = query
            .split('&')
            .filter(|p| !p.is_empty())
            .partition(|p| p.starts_with("sslmode="));
        let plain = match ours.as_slice() {
            [] | ["sslmode=verify-full"] => false,
            ["sslmode=disable"] => true,
            _ => return Err("sslmode is verify-full or disable".into()),
        };
        let url = format!("mysql://{place}?{}", theirs.join("&"));
        let opts = Opts::from_url(&url).map_err(|_| "it is no URL of MariaDB's".to_owned())?;
        let local = is_here(opts.ip_or_hostname()) || opts.socket().is_some();
        let mut builder = OptsBuilder::from_opts(opts)
            .prefer_socket(false)
            .client_found_rows(true)
            .tcp_keepalive(Some(Duration::from_secs(30)))
            .stmt_cache_size(256)
            .setup(vec![
                SESSION.to_owned(),
                // What is bound is compared by its bytes.
                "SET NAMES utf8mb4 COLLATE utf8mb4_bin".to_owned(),
            ]);
        if !plain && (tls.is_some() || !local) {
            builder = builder.ssl_opts(Some(ssl(tls)));
        }
        let opts = builder.into();
        Ok(Self { opts, password })
    }

    /// With the password as it is now.
    fn now(&self) -> Result<Opts, Unreachable> {
        let read;
        let password = match &self.password {
            None => return Ok(self.opts.clone()),
            Some(Password::Typed(password)) => password.as_str(),
            Some(Password::From(source)) => {
                let loaded = source.load();
                // Between two versions of it there may be none.
                read = loaded.map_err(|error| Unreachable::Away(format!("E0009: {error}")))?;
                read.expose_line().unwrap_or_default()
            }
        };
        let builder = OptsBuilder::from_opts(self.opts.clone());
        Ok(builder.pass(Some(password)).into())
    }

    /// A session, bound so.
    ///
    /// # Errors
    /// [`Unreachable`].
    pub async fn connect(&self, bounds: Bounds) -> Result<Conn, Unreachable> {
        let opened = tokio::time::timeout(CONNECT, Conn::new(self.now()?)).await;
        let away = |e: mysql_async::Error| Unreachable::Away(super::failure::describe(&e));
        let mut conn = opened
            .map_err(|_| Unreachable::Away("it did not answer in time".into()))?
            .map_err(away)?;
        use mysql_async::prelude::Queryable;
        let version: Option<String> = conn.query_first("SELECT VERSION()").await.map_err(away)?;
        is_for_us(&version.unwrap_or_default())?;
        conn.query_drop(bounds.settings()).await.map_err(away)?;
        Ok(conn)
    }
}

fn is_here(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|a| a.is_loopback())
}

/// Numbers in one key, as `server_version_num` is: 101119 for 10.11.19.
pub(super) fn version_number(version: &str) -> i32 {
    let numbers = version.split(|c: char| !c.is_ascii_digit());
    let mut numbers = numbers.map(|n| n.parse::<i32>().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0).min(99);
    next() * 10_000 + next() * 100 + next()
}

fn is_for_us(version: &str) -> Result<(), Unreachable> {
    if !version.contains("MariaDB") {
        return Err(Unreachable::Unfit(format!(
            "the server is {version}, not MariaDB: MySQL has not been tried, so nothing is done there"
        )));
    }
    if version_number(version) < 100_600 {
        return Err(Unreachable::Unfit(format!(
            "the server is {version}: 10.6 is the oldest that has what this needs (JSON_TABLE)"
        )));
    }
    Ok(())
}

fn ssl(tls: Option<&Tls>) -> SslOpts {
    let mut ssl = SslOpts::default();
    let Some(tls) = tls else { return ssl };
    if let Some(ca) = &tls.ca_file {
        ssl = ssl
            .with_root_certs(vec![PathBuf::clone(ca).into()])
            .with_disable_built_in_roots(true);
    }
    if let (Some(cert), Some(key)) = (&tls.client_cert, &tls.client_key_file) {
        ssl = ssl.with_client_identity(Some(ClientIdentity::new(
            PathBuf::clone(cert).into(),
            PathBuf::clone(key).into(),
        )));
    }
    ssl
}

impl Bounds {
    /// For work that a person waits for: reading the catalog, migrating.
    pub const PATIENT: Self = Self {
        lock: Duration::from_secs(5),
        statement: Duration::from_secs(60),
        idle: Duration::from_secs(60),
    };

    fn settings(self) -> String {
        let seconds = |time: Duration| time.as_millis().div_ceil(1000).max(1);
        let lock = seconds(self.lock);
        format!(
            "/* erasured:settings */ SET SESSION innodb_lock_wait_timeout = {lock}, lock_wait_timeout = {lock}, \
             max_statement_time = {:.3}, idle_transaction_timeout = {}",
            self.statement.as_secs_f64(),
            seconds(self.idle),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::{Address, is_for_us, version_number};

    #[test]
    fn urls_are_mariadbs() {
        for url in [
            "mariadb://erasured@127.0.0.1:3306/",
            "mysql://erasured@db.example/?sslmode=disable",
            "mariadb://erasured@localhost/?socket=/run/mysqld/mysqld.sock",
        ] {
            assert!(Address::new(url, None, None).is_ok(), "{url}");
        }
        for url in [
            "postgresql://x/y",
            "db.example",
            "mariadb://x@y/?sslmode=maybe",
        ] {
            assert!(Address::new(url, None, None).is_err(), "{url}");
        }
    }

    #[test]
    fn another_host_is_reached_by_tls_alone() {
        let ssl = |url: &str| {
            let address = Address::new(url, None, None).unwrap();
            address.opts.ssl_opts().is_some()
        };
        assert!(ssl("mariadb://erasured@db.example/"));
        assert!(!ssl("mariadb://erasured@db.example/?sslmode=disable"));
        for here in ["127.0.0.1:3306", "localhost", "[::1]:3306"] {
            assert!(!ssl(&format!("mariadb://erasured@{here}/")), "{here}");
        }
    }

    #[test]
    fn only_what_was_tried_is_used() {
        assert_eq!(version_number("10.11.19-MariaDB-0+deb12u1"), 101_119);
        assert!(is_for_us("10.11.19-MariaDB").is_ok());
        assert!(is_for_us("10.5.2-MariaDB").is_err());
        assert!(is_for_us("8.0.36").is_err());
    }
}
