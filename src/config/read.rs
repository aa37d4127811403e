//! Reading `erasured.toml`: text in, `Config` out.

use super::mask::masked;
use super::{
    Config, Database, Http, Keys, Limits, Log, LogFormat, SecretSource, System, SystemKind, Tls,
};
use crate::diagnostic::Diagnostic;
use crate::reading::{self, Codes, Span, Table, amount, quoted};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::time::Duration;

const CODES: Codes = Codes {
    syntax: "E0002",
    unknown_key: "E0003",
    missing_key: "E0004",
    wrong_type: "E0005",
    bad_value: "E0006",
};

/// Reads the text of the file at `path`; relative paths in it start from that file's folder.
pub fn read(path: &str, text: &str) -> Result<Config, Vec<Diagnostic>> {
    let folder = Path::new(path).parent().unwrap_or(Path::new(""));
    reading::read(path, text, &masked(text), true, CODES, |reader, file| {
        let state_dir = path_at(file, "state_dir", folder);
        let policies = path_at(file, "policies", folder);
        file.need("control", "say where erasured keeps its own tables: [control] url = \"…\"");
        let control = file.table("control").and_then(|table| {
            let database = database(&table, folder);
            table.finish();
            database
        });
        file.need("system", "register a database: [system.NAME] url = \"…\"");
        let systems = systems(file, folder);
        file.need("keys", "say where the keys are: [keys] signing = { file = \"…\" }, hash = { file = \"…\" }");
        let keys = file.table("keys").and_then(|table| keys(&table, folder));
        let http = http(file.table("http"), folder);
        let log = log(file.table("log"));
        let limits = limits(file.table("limits"));
        Some(Config {
            source: reader.source().clone(),
            state_dir: state_dir.unwrap_or_else(|| PathBuf::from("/var/lib/erasured")),
            policies: policies.unwrap_or_else(|| folder.join("policies")),
            control: control?,
            systems,
            keys: keys?,
            http,
            log,
            limits,
        })
    })
}

const PATH_HELP: &str = "write a path, absolute or relative to this file";

fn path_text(text: &str, folder: &Path) -> Result<PathBuf, String> {
    if text.is_empty() {
        return Err("it is empty".into());
    }
    Ok(folder.join(text))
}

fn path_at(table: &Table<'_>, key: &'static str, folder: &Path) -> Option<PathBuf> {
    let parse = |text: &str| path_text(text, folder);
    table.parsed(key, CODES.bad_value, PATH_HELP, parse).map(|(path, _)| path)
}

fn systems(file: &Table<'_>, folder: &Path) -> BTreeMap<String, System> {
    let mut systems = BTreeMap::new();
    for (name, span, table) in file.named("system") {
        let plain = name.len() <= 63
            && name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-'));
        if !plain {
            file.reader().error(
                CODES.bad_value,
                span,
                format!("{} is not a plain name", quoted(&name)),
                "use up to 63 lower-case letters, digits, `_` and `-`, with a letter first",
            );
        }
        let kinds = [("postgres", SystemKind::Postgres)];
        let kind = table.word("kind", CODES.bad_value, &kinds).map_or(SystemKind::Postgres, |(kind, _)| kind);
        let database = database(&table, folder);
        let sweep = table.table("sweep").map(|sweep_table| {
            let sweep = self::database(&sweep_table, folder);
            sweep_table.finish();
            sweep
        });
        table.finish();
        let Some(database) = database else {
            continue;
        };
        let sweep = sweep.flatten().map(|sweep| Database {
            password: sweep.password.or_else(|| database.password.clone()),
            tls: sweep.tls.or_else(|| database.tls.clone()),
            ..sweep
        });
        systems.insert(name, System { kind, database, sweep });
    }
    systems
}

/// The keys of one database; the caller finishes the table.
fn database(table: &Table<'_>, folder: &Path) -> Option<Database> {
    table.need("url", "write a libpq URL, such as url = \"postgresql://erasured@db.example/shop\"");
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
    let password = one_source(
        table,
        [("password_file", file_source(folder)), ("password_credential", credential), ("password_env", env)],
        folder,
    );
    let tls = table.table("tls").map(|tls| self::tls(&tls, folder));
    let (url, span) = url?;
    Some(Database { url, password, tls, span })
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
            format!("{} has only one of `client_cert` and `client_key_file`", table.label()),
            "name both, or neither",
        );
    }
    table.finish();
    tls
}

type Parse = fn(&str, &Path) -> Result<SecretSource, String>;

fn file_source(_: &Path) -> Parse {
    |text, folder| path_text(text, folder).map(SecretSource::File)
}

const credential: Parse = |text, _| {
    if text.is_empty() || text.starts_with('.') || text.contains('/') {
        return Err("it is no name of a credential".into());
    }
    Ok(SecretSource::Credential(text.into()))
};

const env: Parse = |text, _| {
    if text.is_empty() || text.contains('=') {
        return Err("it is no name of an environment variable".into());
    }
    Ok(SecretSource::Env(text.into()))
};
