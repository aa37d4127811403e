//! `kind = "memcached"`.

use crate::config::outbox::is_loopback;
use crate::config::read::CODES;
use crate::reading::Table;
use axum::http::uri::Authority;

const HELP: &str = "write where it is: address = \"127.0.0.1:11211\"";

/// A memcached server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memcached {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

pub(super) fn read(table: &Table<'_>) -> Option<Memcached> {
    table.need("address", HELP);
    let cleartext = table.boolean("cleartext").unwrap_or(false);
    let address = table.parsed("address", CODES.bad_value, HELP, |text| {
        let memcached = parse(text)?;
        match cleartext || is_loopback(&memcached.host) {
            true => Ok(memcached),
            false => Err("identifiers would go through the network in the clear; put a TLS tunnel on this machine, or write cleartext = true".into()),
        }
    });
    address.map(|(memcached, _)| memcached)
}

fn parse(text: &str) -> Result<Memcached, String> {
    let authority: Authority = text.parse().map_err(|_| "it is not host:port")?;
    let port = authority.port_u16().ok_or("it names no port")?;
    let host = authority.host().trim_matches(['[', ']']);
    match text.contains('@') || host.is_empty() {
        true => Err("it is not host:port".into()),
        false => Ok(Memcached {
            host: host.to_ascii_lowercase(),
            port,
        }),
    }
}
