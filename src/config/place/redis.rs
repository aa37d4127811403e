//! `kind = "redis"`.

use crate::config::SecretSource;
use crate::config::outbox::is_loopback;
use crate::config::read::{CODES, password};
use crate::reading::{Table, quoted};
use std::path::Path;

const URL_HELP: &str = "write where it is: url = \"redis://cache.example:6379/0\"";

/// A Redis server.
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
}

pub(super) fn read(table: &Table<'_>, folder: &Path) -> Option<Redis> {
    table.need("url", URL_HELP);
    let cleartext = table.boolean("cleartext").unwrap_or(false);
    let url = table.parsed("url", CODES.bad_value, URL_HELP, |text| {
        let redis = parse(text)?;
        match cleartext || is_loopback(&redis.host) {
            true => Ok(redis),
            false => Err("identifiers would go through the network in the clear; put a TLS tunnel on this machine, or write cleartext = true".into()),
        }
    });
    let user = table.string("user");
    let password = password(table, folder);
    Some(Redis {
        user: user.map(|(user, _)| user),
        password,
        ..url?.0
    })
}

fn parse(text: &str) -> Result<Redis, String> {
    let uri: axum::http::Uri = text
        .parse()
        .map_err(|_| format!("{} is no URL", quoted(text)))?;
    let authority = uri.authority().ok_or("it names no host")?;
    if uri.scheme_str() != Some("redis") {
        return Err("it does not begin with redis://".into());
    }
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
    })
}
