//! `erasured sweep`.

use super::failure::Failure;
use super::identifiers::{self, Named};
use super::table::Table;
use super::{Format, print_json, say};
use crate::config::Config;
use crate::identifier::{self, Normalised};
use crate::policy::{Draft, IdentifierKind};
use crate::start;
use crate::system::mariadb;
use crate::system::mariadb::connect::Bounds;
use crate::system::postgres::connect::{self, Timeouts as Connecting};
use crate::system::postgres::{readable, sweep as reading};
use crate::verify::{Matcher, Needle};
use chrono::Utc;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

/// Search every text column of every registered database for somebody's identifiers.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  printf 'email=taro@example.jp\\nplain=TM-0000042\\n' | erasured sweep --identifier-file -

NAME is an identifier of a policy, or one of plain, email, name. Reads in short transactions and
within [limits] sweep_bytes_per_second. Values are never printed: a finding says which line of the
file, and where. Exit code 1 if something was found.")]
pub(super) struct Sweep {
    /// A file of NAME=VALUE lines; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    identifier_file: PathBuf,
    /// Only these systems; may be given several times.
    #[arg(long = "system", value_name = "NAME")]
    systems: Vec<String>,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// One identifier in one column of one table.
#[derive(Serialize)]
struct Found {
    system: String,
    table: String,
    column: String,
    identifier: String,
    rows: u64,
    row_keys: Vec<String>,
}

impl Sweep {
    pub(super) async fn execute(self, config: &Path) -> Result<(), Failure> {
        let config = start::configuration(config)?;
        // Whoever still decides wants to know where people stand.
        let drafts = start::drafts(&config)?;
        let text = identifiers::text(&self.identifier_file)?;
        let named = identifiers::from_text(&text, &self.identifier_file)?;
        let sought = sought(&drafts, &named)?;
        let needles = sought
            .iter()
            .zip(0..)
            .map(|((_, value), tag)| Needle::new(value, tag));
        let matcher = Matcher::new(needles.collect());
        for name in &self.systems {
            if !config.systems.contains_key(name) && !config.mariadb.contains_key(name) {
                return Err(Failure::usage(format!("there is no system {name:?}")));
            }
        }
        let mut found = Vec::new();
        for name in config.systems.keys() {
            if self.systems.is_empty() || self.systems.contains(name) {
                found.extend(one_system(&config, name, &matcher, &sought).await?);
            }
        }
        for (name, system) in start::mariadb(&config)? {
            if self.systems.is_empty() || self.systems.contains(&name) {
                found.extend(one_mariadb(&config, &system, &matcher, &sought).await?);
            }
        }
        self.tell(&found)
    }

    fn tell(&self, found: &[Found]) -> Result<(), Failure> {
        if self.format == Format::Json {
            print_json(&found);
        } else if found.is_empty() {
            say!("nothing was found");
        } else {
            let mut table = Table::new(["SYSTEM", "TABLE", "COLUMN", "WHAT", "ROWS", "FIRST ROW"]);
            for f in found {
                table.row([
                    f.system.clone(),
                    f.table.clone(),
                    f.column.clone(),
                    f.identifier.clone(),
                    f.rows.to_string(),
                    f.row_keys.first().cloned().unwrap_or_default(),
                ]);
            }
            table.print();
        }
        if found.is_empty() {
            Ok(())
        } else {
            Err(Failure::Found)
        }
    }
}

/// What each line of the file is called in the answer, and its value as it is compared.
fn sought(drafts: &[Draft], named: &Named) -> Result<Vec<(String, Normalised)>, Failure> {
    if named.is_empty() {
        return Err(Failure::usage(
            "the file names nobody: write lines such as email=taro@example.jp",
        ));
    }
    let one = |(at, (name, value)): (usize, &(String, _))| {
        let value: &crate::store::tickets::IdentifierValue = value;
        let kind = kind(drafts, name).ok_or_else(|| {
            Failure::usage(format!(
                "{name:?} is neither an identifier of a policy nor one of plain, email, name"
            ))
        })?;
        let value = identifier::normalise(&kind, value.expose())
            .map_err(|e| Failure::usage(format!("{name}: {e}")))?;
        Ok((format!("{name} ({})", at + 1), value))
    };
    named.iter().enumerate().map(one).collect()
}

fn kind(drafts: &[Draft], name: &str) -> Option<IdentifierKind> {
    let of_policy = drafts.iter().find_map(|d| d.so_far().identifiers.get(name));
    match (of_policy, name) {
        (Some(identifier), _) => Some(identifier.kind.clone()),
        (None, "plain") => Some(IdentifierKind::Plain),
        (None, "email") => Some(IdentifierKind::Email),
        (None, "name") => Some(IdentifierKind::Name),
        (None, _) => None,
    }
}

fn connecting(config: &Config) -> Connecting {
    Connecting::of_statements(config.limits.statement_timeout)
}

async fn one_system(
    config: &Config,
    name: &str,
    matcher: &Matcher,
    sought: &[(String, Normalised)],
) -> Result<Vec<Found>, Failure> {
    let system = &config.systems[name];
    let database = system.sweep.as_ref().unwrap_or(&system.database);
    let client = connect::connect(&start::settings(database)?, "sweep", connecting(config)).await?;
    let timeouts = reading::Timeouts {
        statement: config.limits.statement_timeout,
        lock: config.limits.lock_timeout,
        idle: config.limits.idle_timeout,
    };
    let readable = readable::readable(&client, timeouts).await.map_err(|e| {
        let said = crate::system::postgres::failure::describe(&e);
        Failure::unreachable(format!("{name}: {said}"))
    })?;
    let bar = bar(name, readable::forecast(&readable.targets));
    let sweep = reading::Sweep {
        targets: &readable.targets,
        exempt: &|_, _| None,
        matcher,
        pace: config.limits.sweep_bytes_per_second,
        timeouts,
        clock: &Utc::now,
    };
    let report = reading::sweep(&client, &sweep, |progress| {
        if let reading::Progress::Bytes(_, bytes) = progress {
            bar.inc(bytes);
        }
    })
    .await
    .map_err(|e| Failure::unreachable(format!("{name}: {e}")))?;
    bar.finish_and_clear();
    for (table, reason) in readable.not_covered.iter().chain(&report.not_covered) {
        eprintln!("not read: {name}.{table}: {reason}");
    }
    let found = report.findings.into_iter().map(|f| Found {
        system: name.to_owned(),
        table: f.table.to_string(),
        column: f.column,
        identifier: sought[f.tag as usize].0.clone(),
        rows: f.rows,
        row_keys: f.row_keys,
    });
    Ok(found.collect())
}

async fn one_mariadb(
    config: &Config,
    system: &mariadb::System,
    matcher: &Matcher,
    sought: &[(String, Normalised)],
) -> Result<Vec<Found>, Failure> {
    let name = &system.name;
    let failed = |e: mariadb::Unread| Failure::unreachable(format!("{name}: {e}"));
    let bounds = Bounds {
        lock: config.limits.lock_timeout,
        statement: config.limits.statement_timeout,
        idle: config.limits.idle_timeout,
    };
    let readable = system.readable(bounds).await.map_err(failed)?;
    let bar = bar(name, readable.targets.iter().map(|t| t.bytes).sum());
    let sweep = mariadb::sweep::Sweep {
        exempt: &|_, _| None,
        matcher,
        pace: config.limits.sweep_bytes_per_second,
        clock: &Utc::now,
    };
    let mut found = Vec::new();
    for target in &readable.targets {
        let read = mariadb::sweep::read(system, bounds, &sweep, target).await;
        match read.map_err(failed)? {
            Some((_, findings)) => found.extend(findings),
            None => eprintln!("not read: {name}.{}: dropped or renamed", target.table),
        }
        bar.inc(target.bytes);
    }
    bar.finish_and_clear();
    for (table, reason) in &readable.not_covered {
        eprintln!("not read: {name}.{table}: {reason}");
    }
    let found = found.into_iter().map(|f| Found {
        system: name.clone(),
        table: f.table.to_string(),
        column: f.column,
        identifier: sought[f.tag as usize].0.clone(),
        rows: f.rows,
        row_keys: f.row_keys,
    });
    Ok(found.collect())
}

/// Bytes read of those on disk: the two are not the same, so the end is only near.
fn bar(name: &str, bytes: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{msg} {wide_bar} {bytes} of about {total_bytes}")
        .expect("the template is a constant");
    ProgressBar::new(bytes)
        .with_style(style)
        .with_message(name.to_owned())
}
