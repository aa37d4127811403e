//! The meaning of each option, once it is known where its value comes from.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_postgres::config::{
    ChannelBinding, Host, LoadBalanceHosts, SslNegotiation, TargetSessionAttrs,
};
use zeroize::Zeroizing;

use super::text::{Options, bad};
use super::{Access, Endpoint, Roots, SOCKET_FOLDER, SslMode, Tls};
use crate::system::postgres::connect::ConnectError;

/// What libpq could do and we cannot is refused rather than quietly weaker.
pub(super) fn refuse_unsupported(options: &Options) -> Result<(), ConnectError> {
    let refused = [
        ("sslcrl", "revocation lists are not supported"),
        ("sslcrldir", "revocation lists are not supported"),
        (
            "sslpassword",
            "an encrypted client key is not supported; use an unencrypted key that only its owner can read",
        ),
        (
            "require_auth",
            "the method of authentication cannot be forced; use sslmode=verify-full",
        ),
    ];
    for (key, help) in refused {
        if options.contains_key(key) {
            return Err(bad(format!("`{key}` cannot be honoured"), help));
        }
    }
    // tokio-postgres-rustls 0.13 reads the server's certificate wrongly and never binds (its pull
    // request 32; right in 0.14), so that `require` could only end in a riddle at login.
    for key in ["gssencmode", "channel_binding"] {
        if options
            .get(key)
            .is_some_and(|mode| mode.as_str() == "require")
        {
            return Err(bad(
                format!("`{key}=require` cannot be honoured"),
                "use sslmode=verify-full, which tells the server from an impostor",
            ));
        }
    }
    Ok(())
}

fn list<'a>(options: &'a Options, key: &str) -> Vec<&'a str> {
    options
        .get(key)
        .map(|value| value.split(',').map(str::trim).collect())
        .unwrap_or_default()
}

pub(super) fn endpoints(options: &Options) -> Result<Vec<Endpoint>, ConnectError> {
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

pub(super) fn tls(
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

pub(super) fn choice<T: Copy>(
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

pub(super) fn number(options: &Options, key: &str) -> Result<Option<u64>, ConnectError> {
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

pub(super) fn session(options: &Options) -> Result<tokio_postgres::Config, ConnectError> {
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
