//! `[system.NAME.throttle]`: what production must not suffer while rows go by their age.

use super::Database;
use super::read::{CODES, PATH_HELP, holds_password, path_at};
use crate::reading::{Table, amount, quoted};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Above any of these a run waits. What is not given does not matter.
#[derive(Clone, Debug, Default)]
pub struct Throttle {
    /// Whose lag counts.
    pub standbys: Vec<Standby>,
    /// How far the one that is furthest behind may lag; given exactly if there are standbys.
    pub lag: Option<Duration>,
    /// Sessions of the server that wait for a lock.
    pub lock_waits: Option<u64>,
    /// Sessions of the server that are at work.
    pub active_sessions: Option<u64>,
    /// Bytes of WAL a second, ours among them.
    pub wal: Option<u64>,
    /// A number that something else measures.
    pub load: Option<Load>,
}

/// A standby of the system.
#[derive(Clone, Debug)]
pub enum Standby {
    /// It is asked itself.
    At(Database),
    /// Its `application_name` in the system's `pg_stat_replication`.
    Named(String),
}

/// `load = { … }`.
#[derive(Clone, Debug)]
pub struct Load {
    /// Where the number comes from: the first one in this text.
    pub source: LoadSource,
    /// What it may not go above.
    pub above: f64,
    /// How old a file may be; `None` where its age says nothing, as under `/proc`.
    pub fresh: Option<Duration>,
}

/// Where a number is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadSource {
    /// A file.
    File(PathBuf),
    /// What a program writes to standard output; no shell reads its arguments.
    Command(Vec<String>),
}

const STANDBYS_HELP: &str = "list standbys: by a libpq URL without password, which is connected to, or by \
     application_name in pg_stat_replication";
const LOAD_HELP: &str = "name one place of the number: load = { file = \"/proc/loadavg\", above = 4 }, or command = [\"/path\", \"argument\"]";

/// Reads the table; of standbys by URL password and TLS are the caller's to fill in.
pub(super) fn read(table: &Table<'_>, folder: &Path) -> Throttle {
    if table.has("standbys") {
        table.need("lag", "say how far a standby may lag: lag = \"10 seconds\"");
    }
    if table.has("lag") {
        table.need("standbys", STANDBYS_HELP);
    }
    let lag = table.parsed("lag", CODES.bad_value, amount::DURATION_HELP, |text| {
        let lag = amount::duration(text)?;
        // Looked at once a second, less cannot be told from none.
        let fits = (Duration::from_secs(2)..=Duration::from_secs(86_400)).contains(&lag);
        fits.then_some(lag)
            .ok_or_else(|| "it must be two seconds to one day".into())
    });
    let standbys = table.strings("standbys").unwrap_or_default();
    let standbys = standbys
        .into_iter()
        .filter_map(|(text, span)| standby(table, text, span));
    let wal = table.parsed("wal", CODES.bad_value, RATE_HELP, rate);
    let throttle = Throttle {
        standbys: standbys.collect(),
        lag: lag.map(|(lag, _)| lag),
        lock_waits: table.integer("lock_waits", 0..=1_000_000),
        active_sessions: table.integer("active_sessions", 0..=1_000_000),
        wal: wal.map(|(rate, _)| rate),
        load: table.table("load").and_then(|table| load(&table, folder)),
    };
    table.finish();
    throttle
}

fn standby(table: &Table<'_>, text: String, span: crate::reading::Span) -> Option<Standby> {
    if !text.contains("://") && !text.contains('=') {
        return Some(Standby::Named(text));
    }
    if holds_password(&text) {
        table.reader().hide(span.clone());
        table.reader().error(
            "E0007",
            span,
            format!("`standbys` in {} holds a password", table.label()),
            "take it out, and change it since it was readable here: a standby takes the system's, or .pgpass",
        );
        return None;
    }
    Some(Standby::At(Database {
        url: text,
        password: None,
        tls: None,
        patroni: Vec::new(),
        span,
    }))
}

fn load(table: &Table<'_>, folder: &Path) -> Option<Load> {
    let file = path_at(table, "file", folder);
    let command = table.strings("command");
    let source = match (table.has("file"), table.has("command")) {
        (true, false) => file.map(LoadSource::File),
        (false, true) => command.and_then(|words| program(table, words)),
        _ => {
            let message = format!("{} names no place of its number, or two", table.label());
            table
                .reader()
                .error(CODES.bad_value, table.span(), message, LOAD_HELP);
            None
        }
    };
    table.need("above", "say what it may not go above: above = 4");
    let above = table.decimal("above");
    let fresh = table.parsed("fresh", CODES.bad_value, amount::DURATION_HELP, |text| {
        amount::duration(text)
    });
    table.finish();
    Some(Load {
        source: source?,
        above: above?,
        fresh: fresh.map(|(fresh, _)| fresh),
    })
}

fn program(table: &Table<'_>, words: Vec<(String, crate::reading::Span)>) -> Option<LoadSource> {
    let words: Vec<String> = words.into_iter().map(|(word, _)| word).collect();
    if words.first().is_some_and(|p| p.starts_with('/')) {
        return Some(LoadSource::Command(words));
    }
    let at = table.span_of("command").unwrap_or_else(|| table.span());
    let message = format!(
        "`command` in {} does not begin with a program's whole path",
        table.label()
    );
    table
        .reader()
        .error(CODES.bad_value, at, message, PATH_HELP);
    None
}

const RATE_HELP: &str = "write a number, a unit (kB, MB, GB, each 1024 of the one before) and \"/s\", such as \"50 MB/s\"";

/// Bytes a second.
fn rate(text: &str) -> Result<u64, String> {
    let wrong = || format!("{} is no rate", quoted(text));
    let amount = text.trim().strip_suffix("/s").ok_or_else(wrong)?;
    let digits = amount
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(amount.len());
    let unit: u64 = match amount[digits..].trim() {
        "kB" => 1 << 10,
        "MB" => 1 << 20,
        "GB" => 1 << 30,
        _ => return Err(wrong()),
    };
    let number: u64 = amount[..digits].parse().map_err(|_| wrong())?;
    number
        .checked_mul(unit)
        .filter(|rate| (1..=1 << 50).contains(rate))
        .ok_or_else(|| "it is out of bounds".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_as_people_write_them() {
        assert_eq!(rate("50 MB/s"), Ok(50 << 20));
        assert_eq!(rate("1GB/s"), Ok(1 << 30));
        for bad in [
            "",
            "50",
            "50 MB",
            "MB/s",
            "0 MB/s",
            "50 mb/s",
            "-1 MB/s",
            "99999999999999999999 kB/s",
        ] {
            assert!(rate(bad).is_err(), "{bad}");
        }
    }
}
