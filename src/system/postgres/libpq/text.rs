//! The texts of libpq: URLs, `key=value` strings, service files and password files.
//!
//! No message of this file repeats any part of its input: a forgotten percent-encoding moves
//! pieces of a password into the host, the port or the name of an option.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use crate::system::postgres::connect::ConnectError;

/// Options by libpq's name for them. Every value is wiped, since one of them is the password.
pub(super) type Options = BTreeMap<&'static str, Zeroizing<String>>;

/// Options that mean something here, each with the environment variable that sets it.
pub(super) const KNOWN: &[(&str, Option<&str>)] = &[
    ("channel_binding", Some("PGCHANNELBINDING")),
    ("connect_timeout", Some("PGCONNECT_TIMEOUT")),
    ("dbname", Some("PGDATABASE")),
    ("gssencmode", Some("PGGSSENCMODE")),
    ("host", Some("PGHOST")),
    ("hostaddr", Some("PGHOSTADDR")),
    ("keepalives", None),
    ("keepalives_count", None),
    ("keepalives_idle", None),
    ("keepalives_interval", None),
    ("load_balance_hosts", Some("PGLOADBALANCEHOSTS")),
    ("options", Some("PGOPTIONS")),
    ("passfile", Some("PGPASSFILE")),
    ("password", Some("PGPASSWORD")),
    ("port", Some("PGPORT")),
    ("require_auth", Some("PGREQUIREAUTH")),
    ("service", Some("PGSERVICE")),
    ("ssl_min_protocol_version", Some("PGSSLMINPROTOCOLVERSION")),
    ("sslcert", Some("PGSSLCERT")),
    ("sslcrl", Some("PGSSLCRL")),
    ("sslcrldir", Some("PGSSLCRLDIR")),
    ("sslkey", Some("PGSSLKEY")),
    ("sslmode", Some("PGSSLMODE")),
    ("sslnegotiation", Some("PGSSLNEGOTIATION")),
    ("sslpassword", None),
    ("sslrootcert", Some("PGSSLROOTCERT")),
    ("target_session_attrs", Some("PGTARGETSESSIONATTRS")),
    ("tcp_user_timeout", None),
    ("user", Some("PGUSER")),
];

/// Options that libpq has and that change nothing here: we name our own sessions, always speak
/// UTF-8, and have neither GSSAPI nor TLS compression.
const WITHOUT_EFFECT: &[&str] = &[
    "application_name",
    "client_encoding",
    "fallback_application_name",
    "gssdelegation",
    "gsslib",
    "krbsrvname",
    "sslcompression",
    "sslsni",
];

/// What people write for the option that they mean.
const MISTAKEN: &[(&str, &str)] = &[
    ("cafile", "sslrootcert"),
    ("database", "dbname"),
    ("db", "dbname"),
    ("hostname", "host"),
    ("pass", "password"),
    ("passwd", "password"),
    ("server", "host"),
    ("sslca", "sslrootcert"),
    ("timeout", "connect_timeout"),
    ("username", "user"),
];

pub(super) fn bad(what: impl Into<String>, help: impl Into<String>) -> ConnectError {
    ConnectError::BadSettings {
        what: what.into(),
        help: help.into(),
    }
}

fn put(options: &mut Options, key: &str, value: Zeroizing<String>) -> Result<(), ConnectError> {
    if value.contains('\0') {
        return Err(bad(
            "a value contains a NUL character",
            "PostgreSQL cannot take one; remove it",
        ));
    }
    if let Some((known, _)) = KNOWN.iter().find(|(known, _)| *known == key) {
        options.insert(known, value);
        return Ok(());
    }
    if WITHOUT_EFFECT.contains(&key) {
        return Ok(());
    }
    let plain: String = key
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect::<String>()
        .to_ascii_lowercase();
    let meant = MISTAKEN
        .iter()
        .find(|(wrong, _)| *wrong == plain)
        .map(|(_, right)| *right)
        .or_else(|| {
            KNOWN
                .iter()
                .map(|(known, _)| *known)
                .find(|known| !plain.is_empty() && known.replace('_', "") == plain)
        });
    Err(bad(
        "an option has a name that libpq does not know (it is not repeated here, in case it is part of a password)",
        match meant {
            Some(known) => format!("did you mean `{known}`?"),
            None => "check the names of the options; in a URL, percent-encode : / ? # @ & = and % inside the password; in key=value, quote a value that has spaces".into(),
        },
    ))
}

/// Reads a connection string of either form.
pub(super) fn connection_string(text: &str) -> Result<Options, ConnectError> {
    let text = text.trim();
    match text
        .strip_prefix("postgresql://")
        .or_else(|| text.strip_prefix("postgres://"))
    {
        Some(rest) => url(rest),
        // After an equals sign it may be part of a value.
        None if text.split('=').next().is_some_and(|t| t.contains("://")) => Err(bad(
            "the URL's scheme is not one of PostgreSQL's",
            "begin it with postgresql://",
        )),
        None => key_value(text),
    }
}

fn url(text: &str) -> Result<Options, ConnectError> {
    let mut options = Options::new();
    let authority_end = text.find(['/', '?']).unwrap_or(text.len());
    let (authority, mut rest) = text.split_at(authority_end);
    // libpq stops at the first `@`; the last one forgives a password with an unencoded `@`.
    let hosts = match authority.rsplit_once('@') {
        None => authority,
        Some((credentials, hosts)) => {
            let (user, password) = match credentials.split_once(':') {
                Some((user, password)) => (user, Some(password)),
                None => (credentials, None),
            };
            if !user.is_empty() {
                put(&mut options, "user", decode(user)?)?;
            }
            if let Some(password) = password.filter(|p| !p.is_empty()) {
                put(&mut options, "password", decode(password)?)?;
            }
            hosts
        }
    };
    let (mut names, mut ports) = (Vec::new(), Vec::new());
    for chunk in hosts.split(',') {
        let (host, port) = match chunk.strip_prefix('[') {
            Some(bracketed) => {
                let (host, after) = bracketed.split_once(']').ok_or_else(|| {
                    bad(
                        "an IPv6 address in the URL has no closing `]`",
                        "write it as [::1] or [::1]:5432",
                    )
                })?;
                match after.strip_prefix(':') {
                    Some(port) => (host, port),
                    None if after.is_empty() => (host, ""),
                    None => {
                        return Err(bad(
                            "something follows the `]` of an IPv6 address",
                            "only :port may follow it",
                        ));
                    }
                }
            }
            None => chunk.split_once(':').unwrap_or((chunk, "")),
        };
        names.push(decode(host)?);
        ports.push(decode(port)?);
    }
    if names.iter().any(|name| !name.is_empty()) {
        put(&mut options, "host", join(&names))?;
    }
    if ports.iter().any(|port| !port.is_empty()) {
        put(&mut options, "port", join(&ports))?;
    }
    if let Some(path) = rest.strip_prefix('/') {
        let end = path.find('?').unwrap_or(path.len());
        if end > 0 {
            put(&mut options, "dbname", decode(&path[..end])?)?;
        }
        rest = &path[end..];
    }
    for pair in rest
        .trim_start_matches('?')
        .split('&')
        .filter(|pair| !pair.is_empty())
    {
        let (key, value) = pair.split_once('=').ok_or_else(|| {
            bad(
                "an option after the `?` of the URL has no `=`",
                "write ?name=value&name=value, and percent-encode the password",
            )
        })?;
        let (key, value) = (decode(key)?, decode(value)?);
        // As libpq does, for those who come from JDBC.
        if key.as_str() == "ssl" && value.as_str() == "true" {
            put(&mut options, "sslmode", Zeroizing::new("require".into()))?;
        } else {
            put(&mut options, &key, value)?;
        }
    }
    Ok(options)
}

fn join(parts: &[Zeroizing<String>]) -> Zeroizing<String> {
    Zeroizing::new(
        parts
            .iter()
            .map(|part| part.as_str())
            .collect::<Vec<_>>()
            .join(","),
    )
}

fn decode(text: &str) -> Result<Zeroizing<String>, ConnectError> {
    let wrong = || {
        bad(
            "the URL has a `%` that is not followed by two hexadecimal digits of UTF-8 text",
            "write a percent sign itself as %25",
        )
    };
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        if *first != b'%' {
            bytes.push(*first);
            rest = tail;
            continue;
        }
        let [high, low, tail @ ..] = tail else {
            return Err(wrong());
        };
        let digit = |b: u8| {
            char::from(b)
                .to_digit(16)
                .and_then(|d| u8::try_from(d).ok())
        };
        let (Some(high), Some(low)) = (digit(*high), digit(*low)) else {
            return Err(wrong());
        };
        bytes.push(high * 16 + low);
        rest = tail;
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| wrong())?;
    Ok(Zeroizing::new(text.to_owned()))
}

fn key_value(text: &str) -> Result<Options, ConnectError> {
    let mut options = Options::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let at = text.len() - rest.len();
        let (key, after) = rest.split_once('=').ok_or_else(|| {
            bad(
                format!("an option at byte {at} has no `=`"),
                "write name=value name='value with spaces'",
            )
        })?;
        let key = key.trim_end();
        if key.is_empty() || key.contains(char::is_whitespace) {
            return Err(bad(
                format!("an option at byte {at} has no `=`"),
                "write name=value name='value with spaces'",
            ));
        }
        let mut chars = after.trim_start().chars();
        let quoted = chars.as_str().starts_with('\'');
        if quoted {
            chars.next();
        }
        let mut value = Zeroizing::new(String::with_capacity(chars.as_str().len()));
        let mut closed = !quoted;
        while let Some(c) = chars.next() {
            match c {
                '\\' => value.extend(chars.next()),
                '\'' if quoted => {
                    closed = true;
                    break;
                }
                c if !quoted && c.is_whitespace() => break,
                c => value.push(c),
            }
        }
        if !closed {
            return Err(bad(
                format!("the quote of the value at byte {at} is never closed"),
                "end it with ', and write a quote inside it as \\'",
            ));
        }
        put(&mut options, key, value)?;
        rest = chars.as_str().trim_start();
    }
    Ok(options)
}

/// The options of one service, or nothing where the file does not have it.
pub(super) fn service(file: &str, name: &str) -> Result<Option<Options>, ConnectError> {
    let mut found: Option<Options> = None;
    for (index, line) in file.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(section) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            if found.is_some() {
                break;
            }
            if section == name {
                found = Some(Options::new());
            }
            continue;
        }
        let Some(options) = found.as_mut() else {
            continue;
        };
        let place = || format!("line {} of the service file", index + 1);
        let (key, value) = line.split_once('=').ok_or_else(|| {
            bad(
                format!("{} has no `=`", place()),
                "write name=value, without spaces or quotes",
            )
        })?;
        if key.trim() == "service" {
            return Err(bad(
                format!("{} names another service", place()),
                "a service cannot stand on another",
            ));
        }
        put(options, key.trim(), Zeroizing::new(value.trim().to_owned()))?;
    }
    Ok(found)
}

/// What a line of a password file is compared with. Several host texts may stand for one server.
pub(super) struct Wanted<'a> {
    pub(super) hosts: &'a [&'a str],
    pub(super) port: u16,
    pub(super) dbname: &'a str,
    pub(super) user: &'a str,
}

/// The password of the first line that fits, as libpq reads `.pgpass`.
pub(super) fn password(file: &str, wanted: &Wanted<'_>) -> Option<Zeroizing<String>> {
    let port = wanted.port.to_string();
    file.lines()
        .filter(|line| !line.starts_with('#'))
        .find_map(|line| {
            let mut rest = line.trim_end_matches('\r');
            for candidates in [
                wanted.hosts,
                &[port.as_str()],
                &[wanted.dbname],
                &[wanted.user],
            ] {
                let (field, after) = field(rest);
                // A star counts as a wildcard only bare; `\*` is the name `*`.
                let any = rest.starts_with("*:");
                if !any && !candidates.contains(&field.as_str()) {
                    return None;
                }
                rest = after?;
            }
            Some(field(rest).0).filter(|password| !password.is_empty())
        })
}

/// One field up to its unescaped colon, and what follows that colon.
fn field(text: &str) -> (Zeroizing<String>, Option<&str>) {
    let mut value = Zeroizing::new(String::with_capacity(text.len()));
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            ':' => return (value, Some(chars.as_str())),
            '\\' => value.push(chars.next().unwrap_or('\\')),
            c => value.push(c),
        }
    }
    (value, None)
}
