//! `[api]`: the desk over HTTP.

use super::outbox::length;
use super::read::{CODES, database, path_at, secret};
use super::{Database, SecretSource};
use crate::reading::{Table, quoted};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// `[api]`.
#[derive(Clone, Debug)]
pub struct Api {
    /// Where it listens.
    pub listen: Listen,
    /// Its certificate and key; needed to listen to other machines.
    pub tls: Option<ServerTls>,
    /// Its own login at the control database: not the daemon's, which may decide nothing.
    pub control: Database,
    /// The file of tokens.
    pub tokens: PathBuf,
    /// Requests a second of one token; twice as many at once.
    pub rate: NonZeroU32,
    /// Longest time of one request.
    pub timeout: Duration,
}

/// An address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// Address and port.
    Tcp(SocketAddr),
    /// A socket in the file system.
    Unix(PathBuf),
}

/// `certificate` and `key`.
#[derive(Clone, Debug)]
pub struct ServerTls {
    /// PEM of the certificate and its chain.
    pub certificate: PathBuf,
    /// PEM of the key.
    pub key: SecretSource,
}

/// Reads the table.
pub(super) fn read(top: &Table<'_>, folder: &Path) -> Option<Api> {
    let table = top.table("api")?;
    let help = "write an address such as \"127.0.0.1:9443\", or \"unix:/run/erasured/api.sock\"";
    table
        .need("listen", help)
        .need(
            "tokens",
            "name the file of tokens: tokens = \"tokens.toml\"",
        )
        .need(
            "control",
            "name a login of its own: [api.control] url = \"postgresql://erasured_api@…\"",
        );
    let listen = table.parsed("listen", CODES.bad_value, help, |text| listen(text, folder));
    let certificate = path_at(&table, "certificate", folder);
    let key = secret(&table, "key", folder);
    if table.has("certificate") != table.has("key") {
        let message = "[api] has only one of `certificate` and `key`";
        table
            .reader()
            .error("E0136", table.span(), message, "name both, or neither");
    }
    if let Some((Listen::Tcp(address), at)) = &listen
        && !address.ip().is_loopback()
        && !table.has("certificate")
    {
        table.reader().error(
            "E0136",
            at.clone(),
            "[api] would listen to other machines without TLS",
            "add `certificate` and `key`, or listen on 127.0.0.1 behind a proxy that has them",
        );
    }
    let control = table.table("control").and_then(|control| {
        let read = database(&control, folder);
        control.finish();
        read
    });
    let tokens = path_at(&table, "tokens", folder);
    let rate = table.integer("rate", 1..=10_000);
    let rate = rate.and_then(|n| NonZeroU32::new(u32::try_from(n).ok()?));
    let bounds = Duration::from_millis(100)..=Duration::from_secs(300);
    let timeout = length(&table, "timeout", bounds);
    table.finish();
    Some(Api {
        listen: listen?.0,
        tls: certificate
            .zip(key)
            .map(|(certificate, key)| ServerTls { certificate, key }),
        control: control?,
        tokens: tokens?,
        rate: rate.unwrap_or(NonZeroU32::new(20).expect("not zero")),
        timeout: timeout.unwrap_or(Duration::from_secs(15)),
    })
}

fn listen(text: &str, folder: &Path) -> Result<Listen, String> {
    match text.strip_prefix("unix:") {
        Some("") => Err("it names no file".into()),
        Some(path) => Ok(Listen::Unix(folder.join(path))),
        None => text
            .parse()
            .map(Listen::Tcp)
            .map_err(|_| format!("{} is no address", quoted(text))),
    }
}
