//! `kind = "redis"`.

use crate::config::SecretSource;
use crate::config::outbox::is_loopback;
use crate::config::read::{CODES, password, path_at};
use crate::reading::{Table, quoted};
use std::path::{Path, PathBuf};

const URL_HELP: &str = "write where it is: url = \"rediss://cache.example:6379/0\"";

/// A Redis server, or a cluster of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redis {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Number of the database.
    pub database: i64,
    /// The ACL's user, if not the default one.
    pub user: Option<String>,
    /// Where the password is, if one is needed.
    pub password: Option<SecretSource>,
    /// TLS, if it is spoken.
    pub tls: Option<Tls>,
    /// Whether identifiers may go through the network in the clear.
    pub cleartext: bool,
    /// Whether it is one node of a cluster, all of which is meant.
    pub cluster: bool,
}

/// How the server is known to be the one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Authorities to trust; the public ones if none is named.
    pub ca_file: Option<PathBuf>,
}

impl Redis {
    /// Whether what is said to this host is said to nobody else.
    pub fn may_be_told(&self, host: &str) -> bool {
        self.tls.is_some() || self.cleartext || is_loopback(host)
    }
}

pub(super) fn read(table: &Table<'_>, folder: &Path) -> Option<Redis> {
    table.need("url", URL_HELP);
    let cleartext = table.boolean("cleartext").unwrap_or(false);
    let cluster = table.boolean("cluster").unwrap_or(false);
    let ca_file = path_at(table, "ca_file", folder);
    let url = table.parsed("url", CODES.bad_value, URL_HELP, |text| {
        let redis = parse(text)?;
        let redis = Redis {
            cleartext,
            cluster,
            ..redis
        };
        if cluster && redis.database != 0 {
            return Err("a cluster has one database, number 0".into());
        }
        match (redis.may_be_told(&redis.host), &redis.tls, &ca_file) {
            (false, _, _) => Err("identifiers would go through the network in the clear; write rediss://, put a TLS tunnel on this machine, or write cleartext = true".into()),
            (true, None, Some(_)) => Err("it does not speak TLS, and a ca_file is named; write rediss://".into()),
            (true, _, _) => Ok(redis),
        }
    });
    let user = table.string("user");
    let password = password(table, folder);
    let (redis, _) = url?;
    Some(Redis {
        user: user.map(|(user, _)| user),
        password,
        tls: redis.tls.is_some().then_some(Tls { ca_file }),
        ..redis
    })
}

fn parse(text: &str) -> Result<Redis, String> {
    let uri: axum::http::Uri = text
        .parse()
        .map_err(|_| format!("{} is no URL", quoted(text)))?;
    let authority = uri.authority().ok_or("it names no host")?;
    let tls = match uri.scheme_str() {
        Some("redis") => None,
        Some("rediss") => Some(Tls::default()),
        _ => return Err("it begins with neither redis:// nor rediss://".into()),
    };
    if authority.as_str().contains('@') {
        return Err(
            "it holds a user or a password; write user, and password_file or the like".into(),
        );
    }
    let path = uri.path().trim_matches('/');
    let database = match path {
        "" => 0,
        path => path
            .parse()
            .map_err(|_| "its path is no number of a database")?,
    };
    Ok(Redis {
        host: authority
            .host()
            .trim_matches(['[', ']'])
            .to_ascii_lowercase(),
        port: authority.port_u16().unwrap_or(6379),
        database,
        user: None,
        password: None,
        tls,
        cleartext: false,
        cluster: false,
    })
}
