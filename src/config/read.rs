//! Reading `erasured.toml`: text in, `Config` out.

use super::mask::masked;
use super::outbox::Endpoint;
use super::place::{self, Kind};
use super::throttle::Standby;
use super::{
    CalledAt, Config, Database, Http, Keys, Limits, Log, LogFormat, PlaceSystem, SecretSource,
    System, Tls,
};
use crate::diagnostic::Diagnostic;
use crate::reading::{self, Codes, Table, amount, quoted};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(in crate::config) const CODES: Codes = Codes {
    syntax: "E0002",
    unknown_key: "E0003",
    missing_key: "E0004",
    wrong_type: "E0005",
    bad_value: "E0006",
};

/// Reads the text of the file at `path`; relative paths in it start from that file's folder.
pub fn read(path: &str, text: &str) -> Result<Config, Vec<Diagnostic>> {
    let folder = Path::new(path).parent().unwrap_or(Path::new(""));
    reading::read(path, text, &masked(text), true, CODES, |reader, top| {
        let state_dir = path_at(top, "state_dir", folder);
        let policies = path_at(top, "policies", folder);
        top.need(
            "control",
            "say where erasured keeps its own tables: [control] url = \"…\"",
        );
        let control = top.table("control").and_then(|table| {
            let database = database(&table, folder);
            table.finish();
            database
        });
        top.need("system", "register a database: [system.NAME] url = \"…\"");
        top.need(
            "keys",
            "say where the keys are: [keys] signing = { file = \"…\" }, hash = { file = \"…\" }",
        );
        let keys = top.table("keys").and_then(|table| keys(&table, folder));
        let http = http(top.table("http"), folder, keys.as_ref());
        let (systems, mariadb, places) = systems(top, folder, http.called_at.as_ref());
        let log = log(top.table("log"));
        let limits = limits(top.table("limits"));
        let outbox = super::outbox::read(top, folder);
        let api = super::api::read(top, folder);
        let opendsr = super::opendsr::read(top);
        let drop_folder = super::drop_folder::read(top, folder);
        let buckets = super::bucket::read(top, folder);
        let templates = top.table("notices").and_then(|table| {
            let templates = path_at(&table, "templates", folder);
            table.finish();
            templates
        });
        Some(Config {
            source: reader.source().clone(),
            state_dir: state_dir.unwrap_or_else(|| PathBuf::from("/var/lib/erasured")),
            policies: policies.unwrap_or_else(|| folder.join("policies")),
            control: control?,
            systems,
            mariadb,
            places,
            keys: keys?,
            http,
            log,
            limits,
            outbox,
            api,
            opendsr,
            drop_folder,
            buckets,
            templates,
        })
    })
}

pub(super) const PATH_HELP: &str = "write a path, absolute or relative to this file";

fn path_text(text: &str, folder: &Path) -> Result<PathBuf, String> {
    if text.is_empty() {
        return Err("it is empty".into());
    }
    Ok(folder.join(text))
}

pub(super) fn path_at(table: &Table<'_>, key: &'static str, folder: &Path) -> Option<PathBuf> {
    let parse = |text: &str| path_text(text, folder);
    table
        .parsed(key, CODES.bad_value, PATH_HELP, parse)
        .map(|(path, _)| path)
}

type Systems = (
    BTreeMap<String, System>,
    BTreeMap<String, Database>,
    BTreeMap<String, PlaceSystem>,
);

/// What a system is.
#[derive(Clone, Copy)]
enum Is {
    Postgres,
    MariaDb,
    Place(Kind),
}

/// The databases, and the systems of other kinds.
fn systems(file: &Table<'_>, folder: &Path, called_at: Option<&CalledAt>) -> Systems {
    let (mut systems, mut mariadb, mut places) = Systems::default();
    for (name, span, table) in file.named("system") {
        let plain = name.len() <= 63
            && name.starts_with(|c: char| c.is_ascii_lowercase())
            && name
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-'));
        if !plain {
            file.reader().error(
                CODES.bad_value,
                span,
                format!("{} is not a plain name", quoted(&name)),
                "use up to 63 lower-case letters, digits, `_` and `-`, with a letter first",
            );
        }
        match kind(&table) {
            Is::Postgres => {
                if let Some(system) = system(&table, folder) {
                    systems.insert(name, system);
                }
            }
            Is::MariaDb => {
                if let Some(server) = super::mariadb::read(&table, folder) {
                    mariadb.insert(name, server);
                }
            }
            Is::Place(kind) => {
                if let Some(place) = place::read(&table, kind, folder, called_at) {
                    places.insert(name, place);
                }
            }
        }
        table.finish();
    }
    (systems, mariadb, places)
}

fn kind(table: &Table<'_>) -> Is {
    let mut kinds = vec![("postgres", Is::Postgres), ("mariadb", Is::MariaDb)];
    kinds.extend(Kind::ALL.map(|kind| (kind.word(), Is::Place(kind))));
    let kind = table.word("kind", CODES.bad_value, &kinds);
    kind.map_or(Is::Postgres, |(kind, _)| kind)
}

fn system(table: &Table<'_>, folder: &Path) -> Option<System> {
    let database = database(table, folder);
    let sweep = table.table("sweep").map(|sweep_table| {
        let sweep = self::database(&sweep_table, folder);
        sweep_table.finish();
        sweep
    });
    let subscribers = table.strings("subscribers").unwrap_or_default();
    let subscribers = subscribers.into_iter().map(|(slot, _)| slot).collect();
    let throttle = table.table("throttle");
    let throttle = throttle.map(|table| super::throttle::read(&table, folder));
    let database = database?;
    let as_system = |other: Database| Database {
        password: other.password.or_else(|| database.password.clone()),
        tls: other.tls.or_else(|| database.tls.clone()),
        ..other
    };
    let sweep = sweep.flatten().map(as_system);
    let mut throttle = throttle.unwrap_or_default();
    for standby in &mut throttle.standbys {
        if let Standby::At(at) = standby {
            *at = as_system(at.clone());
        }
    }
    Some(System {
        database,
        sweep,
        subscribers,
        throttle,
    })
}

/// The keys of one database; the caller finishes the table.
pub(super) fn database(table: &Table<'_>, folder: &Path) -> Option<Database> {
    table.need(
        "url",
        "write a libpq URL, such as url = \"postgresql://erasured@db.example/shop\"",
    );
    let url = table.string("url");
    if let Some((text, span)) = &url
        && holds_password(text)
    {
        table.reader().hide(span.clone());
        table.reader().error(
            "E0007",
            span.clone(),
            format!("`url` in {} holds a password", table.label()),
            "take it out, change it since it was readable here, and say where it is: password_file, \
             password_credential, password_env, or .pgpass",
        );
    }
    let password = password(table, folder);
    let tls = table.table("tls").map(|tls| self::tls(&tls, folder));
    let patroni = patroni(table, tls.as_ref());
    let (url, span) = url?;
    Some(Database {
        url,
        password,
        tls,
        patroni,
        span,
    })
}

/// Nothing is told there, and nothing is believed that a server does not say itself: it may be without TLS.
fn patroni(table: &Table<'_>, tls: Option<&Tls>) -> Vec<Endpoint> {
    let mut all = Vec::new();
    for (text, at) in table.strings("patroni").unwrap_or_default() {
        match Endpoint::anywhere(&text) {
            Ok(endpoint) if !endpoint.path.contains('?') => all.push(Endpoint {
                path: endpoint.path.trim_end_matches('/').to_owned(),
                ca_file: tls.and_then(|tls| tls.ca_file.clone()),
                ..endpoint
            }),
            Ok(_) | Err(_) => {
                let message = format!("`patroni` in {} holds what is no URL", table.label());
                let help = "write where Patroni's REST API is: patroni = [\"http://a.example:8008\", \"http://b.example:8008\"]";
                table.reader().error(CODES.bad_value, at, message, help);
            }
        }
    }
    all
}

fn tls(table: &Table<'_>, folder: &Path) -> Tls {
    let tls = Tls {
        ca_file: path_at(table, "ca_file", folder),
        client_cert: path_at(table, "client_cert", folder),
        client_key_file: path_at(table, "client_key_file", folder),
    };
    if table.has("client_cert") != table.has("client_key_file") {
        table.reader().error(
            "E0008",
            table.span(),
            format!(
                "{} has only one of `client_cert` and `client_key_file`",
                table.label()
            ),
            "name both, or neither",
        );
    }
    table.finish();
    tls
}

type Parse = fn(&str, &Path) -> Result<SecretSource, String>;

fn file(text: &str, folder: &Path) -> Result<SecretSource, String> {
    path_text(text, folder).map(SecretSource::File)
}

fn credential(text: &str, _: &Path) -> Result<SecretSource, String> {
    if text.is_empty() || text.starts_with('.') || text.contains('/') {
        return Err("it is no name of a credential".into());
    }
    Ok(SecretSource::Credential(text.into()))
}

fn env(text: &str, _: &Path) -> Result<SecretSource, String> {
    if text.is_empty() || text.contains('=') {
        return Err("it is no name of an environment variable".into());
    }
    Ok(SecretSource::Env(text.into()))
}

/// The one of three keys that says where a secret is; more than one contradict each other.
fn one_source(
    table: &Table<'_>,
    keys: [(&'static str, Parse); 3],
    folder: &Path,
) -> Option<SecretSource> {
    let mut found = None;
    let mut named = 0;
    for (key, parse) in keys {
        let help = "write the secret's place, not the secret";
        let source = table.parsed(key, CODES.bad_value, help, |text| parse(text, folder));
        if let Some(at) = table.span_of(key) {
            named += 1;
            if named == 2 {
                let message = format!("{} says more than once where its secret is", table.label());
                table.reader().error("E0008", at, message, "keep one");
            }
        }
        found = found.or(source.map(|(source, _)| source));
    }
    found
}

/// Where a password is: one of three keys.
pub(in crate::config) fn password(table: &Table<'_>, folder: &Path) -> Option<SecretSource> {
    one_source(
        table,
        [
            ("password_file", file),
            ("password_credential", credential),
            ("password_env", env),
        ],
        folder,
    )
}

/// `{ file = … }`, `{ credential = … }` or `{ env = … }`.
pub(super) fn secret(table: &Table<'_>, key: &'static str, folder: &Path) -> Option<SecretSource> {
    let inner = table.table(key)?;
    let keys: [(&'static str, Parse); 3] =
        [("file", file), ("credential", credential), ("env", env)];
    let source = one_source(&inner, keys, folder);
    if !keys.iter().any(|(key, _)| inner.has(key)) {
        table.reader().error(
            CODES.missing_key,
            inner.span(),
            format!("{} does not say where the secret is", inner.label()),
            "write { file = \"…\" }, { credential = \"…\" } or { env = \"…\" }",
        );
    }
    inner.finish();
    source
}

fn keys(table: &Table<'_>, folder: &Path) -> Option<Keys> {
    let help = "name its place: { file = \"…\" }; `erasured keygen` makes one";
    table.need("signing", help).need("hash", help);
    let signing = secret(table, "signing", folder);
    let hash = secret(table, "hash", folder);
    let retired = table.strings("retired").unwrap_or_default();
    let retired = retired
        .into_iter()
        .map(|(path, _)| folder.join(path))
        .collect();
    table.finish();
    Some(Keys {
        signing: signing?,
        retired,
        hash: hash?,
    })
}

fn http(table: Option<Table<'_>>, folder: &Path, keys: Option<&Keys>) -> Http {
    let mut http = Http {
        listen: SocketAddr::from(([127, 0, 0, 1], 9187)),
        token: None,
        called_at: None,
    };
    if let Some(table) = table {
        let help = "write an address and a port, such as \"127.0.0.1:9187\" or \"[::1]:9187\"";
        let parse = |text: &str| {
            text.parse()
                .map_err(|_| format!("{} is no address", quoted(text)))
        };
        if let Some((listen, _)) = table.parsed("listen", CODES.bad_value, help, parse) {
            http.listen = listen;
        }
        http.token = secret(&table, "token", folder);
        http.called_at = called_at(&table, keys);
        table.finish();
    }
    http
}

fn called_at(table: &Table<'_>, keys: Option<&Keys>) -> Option<CalledAt> {
    let help =
        "write the URL at which services reach this daemon, such as \"https://erasured.example\"";
    let url = table.parsed("called_at", "E0134", help, |text| {
        super::place::http::base(text)?;
        Ok(text.trim_end_matches('/').to_owned())
    });
    let key = keys?.hash.clone();
    url.map(|(url, _)| CalledAt { url, key })
}

fn log(table: Option<Table<'_>>) -> Log {
    use tracing::Level;
    let mut log = Log {
        format: LogFormat::Pretty,
        level: Level::INFO,
    };
    if let Some(table) = table {
        let formats = [
            ("pretty", LogFormat::Pretty),
            ("json", LogFormat::Json),
            ("journald", LogFormat::Journald),
        ];
        let levels = [
            ("error", Level::ERROR),
            ("warn", Level::WARN),
            ("info", Level::INFO),
            ("debug", Level::DEBUG),
            ("trace", Level::TRACE),
        ];
        if let Some((format, _)) = table.word("format", CODES.bad_value, &formats) {
            log.format = format;
        }
        if let Some((level, _)) = table.word("level", CODES.bad_value, &levels) {
            log.level = level;
        }
        table.finish();
    }
    log
}

impl Default for Limits {
    fn default() -> Self {
        const fn count(number: u32) -> NonZeroU32 {
            NonZeroU32::new(number).expect("the defaults are not zero")
        }
        Self {
            batch: count(500),
            piece_rows: count(50_000),
            workers: NonZeroUsize::MIN.saturating_add(1),
            lease: Duration::from_secs(60),
            lock_timeout: Duration::from_millis(500),
            statement_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(60),
            poll: Duration::from_secs(5),
            partial: Duration::from_secs(3 * 86_400),
            sweep_bytes_per_second: None,
            attempts: count(8),
        }
    }
}

fn limits(table: Option<Table<'_>>) -> Limits {
    let mut limits = Limits::default();
    let Some(table) = table else {
        return limits;
    };
    let count = |key, most| {
        let number = table.integer(key, 1..=u64::from(most))?;
        NonZeroU32::new(u32::try_from(number).ok()?)
    };
    if let Some(batch) = count("batch", 10_000u32) {
        limits.batch = batch;
    }
    if let Some(rows) = count("piece_rows", 10_000_000) {
        limits.piece_rows = rows;
    }
    if let Some(workers) = count("workers", 256).and_then(|n| NonZeroUsize::try_from(n).ok()) {
        limits.workers = workers;
    }
    if let Some(attempts) = count("attempts", 100) {
        limits.attempts = attempts;
    }
    if let Some(bytes) = table.integer("sweep_bytes_per_second", 0..=u64::from(u32::MAX) << 8) {
        limits.sweep_bytes_per_second = NonZeroU64::new(bytes);
    }
    // PostgreSQL reads a timeout of zero as none at all, and holds its milliseconds in an int.
    let (least, day) = (Duration::from_millis(1), Duration::from_secs(86_400));
    let five = Duration::from_secs(5);
    let length = |key, least: Duration, days: u32, into: &mut Duration| {
        let parse = |text: &str| {
            let length = amount::duration(text)?;
            let fits = (least..=day * days).contains(&length);
            fits.then_some(length)
                .ok_or_else(|| format!("it must be {least:?} to {days} day(s)"))
        };
        if let Some((length, _)) = table.parsed(key, CODES.bad_value, amount::DURATION_HELP, parse)
        {
            *into = length;
        }
    };
    length("lease", five, 1, &mut limits.lease);
    length("lock_timeout", least, 1, &mut limits.lock_timeout);
    length("statement_timeout", least, 1, &mut limits.statement_timeout);
    length("idle_timeout", least, 1, &mut limits.idle_timeout);
    length("poll", Duration::from_millis(10), 1, &mut limits.poll);
    length("partial", least, 366, &mut limits.partial);
    table.finish();
    limits
}

/// Whether a libpq URL or `key=value` text carries a password; when in doubt, it does not parse
/// here but at the connection.
pub(crate) fn holds_password(url: &str) -> bool {
    if let Some((_, rest)) = url.split_once("://") {
        let (before, query) = rest.split_once('?').unwrap_or((rest, ""));
        let user = before.rsplit_once('@').map_or("", |(user, _)| user);
        return user.contains(':') || query.split('&').any(secret_parameter);
    }
    // Blanks may stand around the equals sign.
    let lower = url.to_ascii_lowercase();
    lower
        .match_indices("password")
        .any(|(at, word)| lower[at + word.len()..].trim_start().starts_with('='))
}

fn secret_parameter(parameter: &str) -> bool {
    let key = parameter.split('=').next().unwrap_or_default();
    key.eq_ignore_ascii_case("password")
        || key.eq_ignore_ascii_case("sslpassword")
        || key.contains('%')
}

#[cfg(test)]
mod tests;
