//! `erasured system`.

use super::failure::Failure;
use super::source::Control;
use super::table::{Table, time};
use super::{Format, print_json, say};
use crate::start;
use crate::store::systems::{Maintenance, Partial};
use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

/// The registered systems: which of them wait, and have daemons leave one alone.
#[derive(Subcommand, Debug)]
#[command(after_help = "\
In a system that is paused daemons begin nothing, within `limits.poll` (5 s): no erasing, no sweep, no
retention. What is under way there ends first. Tickets go on in the other systems and wait for this one
as long as it takes. For approvers and erasured_admin; in SQL: erasured.pause_system, resume_system, and the
view erasured.partial_ticket.

Examples:
  erasured system list
  erasured system pause shop --reason 'disk change'
  erasured system pause shop --reason 'disk change' --until 2026-12-01T06:00:00+09:00
  erasured system resume shop")]
pub(super) enum System {
    List(List),
    Pause(Pause),
    Resume(Resume),
}

/// List systems: who rests and why, and for whom tickets wait that are done in others.
#[derive(Args, Debug)]
pub(super) struct List {
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    control: Control,
}

/// Have daemons leave a system alone.
#[derive(Args, Debug)]
pub(super) struct Pause {
    /// Its registered name.
    system: String,
    /// Why, in a few words for colleagues; nothing of a person.
    #[arg(long)]
    reason: String,
    /// Until when (RFC 3339); without it until `erasured system resume`.
    #[arg(long, value_name = "TIME")]
    until: Option<DateTime<Utc>>,
    /// Act for this person; counts only for logins in erasured_trusted.
    #[arg(long = "as", value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    control: Control,
}

/// Let daemons work there again; what waited goes on at once.
#[derive(Args, Debug)]
pub(super) struct Resume {
    /// Its registered name.
    system: String,
    /// Act for this person; counts only for logins in erasured_trusted.
    #[arg(long = "as", value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    control: Control,
}

/// One line of the list.
#[derive(Default, Serialize)]
struct Line {
    kind: Option<&'static str>,
    maintenance: Option<Maintenance>,
    partial: Option<Partial>,
}

impl System {
    pub(super) async fn execute(self, config: &Path) -> Result<(), Failure> {
        match self {
            Self::List(list) => list.execute(config).await,
            Self::Pause(pause) => pause.execute(config).await,
            Self::Resume(resume) => resume.execute(config).await,
        }
    }
}

impl List {
    async fn execute(self, config: &Path) -> Result<(), Failure> {
        let store = self.control.store(config).await?;
        let mut lines: BTreeMap<String, Line> = BTreeMap::new();
        if !self.control.is_given() {
            let config = start::configuration(config)?;
            for system in config.systems.keys() {
                lines.entry(system.clone()).or_default().kind = Some("postgres");
            }
            for system in config.mariadb.keys() {
                lines.entry(system.clone()).or_default().kind = Some("mariadb");
            }
            for (system, kind) in config.kinds() {
                lines.entry(system).or_default().kind = Some(kind.word());
            }
        }
        for rests in store.maintenance().await? {
            let line = lines.entry(rests.system.clone()).or_default();
            line.maintenance = Some(rests);
        }
        for partial in store.partial(None).await? {
            let line = lines.entry(partial.system.clone()).or_default();
            line.partial = Some(partial);
        }
        if self.format == Format::Json {
            print_json(&lines);
            return Ok(());
        }
        let mut table = Table::new(["SYSTEM", "KIND", "MAINTENANCE", "WAITED FOR", "SINCE"]);
        for (system, line) in lines {
            let rests = line.maintenance.map_or_else(
                || "-".to_owned(),
                |m| {
                    let until = m.until.map(|until| format!(" until {}", time(Some(until))));
                    format!("{}{} ({})", m.reason, until.unwrap_or_default(), m.set_by)
                },
            );
            let partial = line.partial.as_ref();
            table.row([
                system,
                line.kind.unwrap_or("-").to_owned(),
                rests,
                partial.map_or_else(|| "-".to_owned(), |p| tickets(p.tickets)),
                time(partial.map(|p| p.since)),
            ]);
        }
        table.print();
        Ok(())
    }
}

fn tickets(n: i64) -> String {
    format!("{n} ticket{}", if n == 1 { "" } else { "s" })
}

impl Pause {
    async fn execute(self, config: &Path) -> Result<(), Failure> {
        let store = self.control.store(config).await?;
        let (system, reason) = (&self.system, &self.reason);
        let actor = self.name.as_deref();
        let met = store
            .pause_system(system, reason, self.until, actor)
            .await?;
        let known = self.control.is_given() || {
            let config = start::configuration(config)?;
            [
                config.systems.contains_key(system),
                config.mariadb.contains_key(system),
                config.places.contains_key(system),
            ]
            .contains(&true)
        };
        if !met && !known {
            eprintln!(
                "warning: no system {system:?} is registered here and no ticket has met one: is its name right? (erasured system list)"
            );
        }
        say!("{system}: daemons leave it alone from their next look on (`limits.poll`)");
        Ok(())
    }
}

impl Resume {
    async fn execute(self, config: &Path) -> Result<(), Failure> {
        let store = self.control.store(config).await?;
        let system = &self.system;
        if store.resume_system(system, self.name.as_deref()).await? {
            say!("{system}: what waited for it goes on");
        } else {
            say!("{system} was not in maintenance");
        }
        Ok(())
    }
}
