//! `erasured hold`.

use super::failure::Failure;
use super::identifiers::Identifiers;
use super::source::Control;
use super::table::{self, Table};
use super::{Format, print_json, say};
use crate::store::Store;
use crate::store::holds::{HoldView, NewHold};
use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use std::path::Path;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// How long to wait for the daemon to say whom a hold covers.
const PATIENCE: Duration = Duration::from_secs(10);

/// Order that something is kept, whatever tickets and dates say.
#[derive(Subcommand, Debug)]
#[command(after_help = "\
What a hold covers is not erased from the moment `place` returns, in tickets under way too, until it is
released or its day has come. What waited then goes on by itself. For approvers and erasured_admin; in
SQL: erasured.place_hold, release_hold, release_matter, and the view erasured.hold_status.

Example:
  erasured hold place --matter case-2026-17 --reason court-order --subject customer \\
      --identifier member_no=TM-0000042
  erasured hold list
  erasured hold release case-2026-17")]
pub(super) enum Hold {
    Place(Place),
    Release(Release),
    List(List),
}

/// Keep what belongs to a person.
#[derive(Args, Debug)]
pub(super) struct Place {
    /// Code of the matter, such as case-2026-17; it stays, so it must not name the person.
    #[arg(long)]
    matter: String,
    /// Code of the reason, such as court-order or audit.
    #[arg(long)]
    reason: String,
    /// Subject kind of the policy, such as customer.
    #[arg(long)]
    subject: String,
    #[command(flatten)]
    identifiers: Identifiers,
    /// Its last moment (RFC 3339); without it the hold lasts until it is released.
    #[arg(long, value_name = "TIME")]
    until: Option<DateTime<Utc>>,
    /// Act for this person; counts only for logins in erasured_trusted.
    #[arg(long = "as", value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    control: Control,
}

/// Release one hold, or all of a matter; what waited for it goes on.
#[derive(Args, Debug)]
pub(super) struct Release {
    /// A hold's id, or a matter's code.
    hold: String,
    /// Act for this person; counts only for logins in erasured_trusted.
    #[arg(long = "as", value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    control: Control,
}

/// List holds, and what each keeps waiting and since when.
#[derive(Args, Debug)]
pub(super) struct List {
    /// Those that have ended too.
    #[arg(long)]
    all: bool,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    control: Control,
}

impl Hold {
    pub(super) async fn execute(self, config: &Path) -> Result<(), Failure> {
        match self {
            Self::Place(place) => place.execute(config).await,
            Self::Release(release) => release.execute(config).await,
            Self::List(list) => list.execute(config).await,
        }
    }
}

impl Place {
    async fn execute(self, config: &Path) -> Result<(), Failure> {
        let identifiers = self.identifiers.read()?;
        if identifiers.is_empty() {
            return Err(Failure::usage(
                "name the person: --identifier NAME=VALUE or --identifier-file FILE",
            ));
        }
        let store = self.control.store(config).await?;
        let new = NewHold {
            matter: &self.matter,
            reason: &self.reason,
            subject: &self.subject,
            identifiers: &identifiers,
            until: self.until,
        };
        let id = store.place_hold(&new, self.name.as_deref()).await?;
        say!("{}: hold {id}", self.matter);
        let hold = read(&store, id).await?;
        match (&hold.problem_code, hold.read_at) {
            (Some(code), _) => Err(Failure::found(format!(
                "{code}: the hold covers nobody yet: {}; it stays, and covers whoever a later ticket finds by that",
                hold.problem.as_deref().unwrap_or_default()
            ))),
            (None, Some(_)) => {
                say!("it covers {}", people(&hold));
                Ok(())
            }
            (None, None) => {
                say!(
                    "no daemon has read it yet; until one has, nothing of any {} is erased",
                    self.subject
                );
                Ok(())
            }
        }
    }
}

/// The hold once the daemon has found whom it covers, or as it is when that takes long.
async fn read(store: &Store, id: Uuid) -> Result<HoldView, Failure> {
    let end = Instant::now() + PATIENCE;
    loop {
        let hold = store.hold(id).await?;
        if hold.read_at.is_some() || Instant::now() > end {
            return Ok(hold);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn people(hold: &HoldView) -> String {
    match hold.people {
        1 => "1 person".to_owned(),
        n => format!("{n} people"),
    }
}

impl Release {
    async fn execute(self, config: &Path) -> Result<(), Failure> {
        let store = self.control.store(config).await?;
        let n = store.release_hold(&self.hold, self.name.as_deref()).await?;
        say!("{}: {n} hold(s) released", self.hold);
        Ok(())
    }
}

impl List {
    async fn execute(self, config: &Path) -> Result<(), Failure> {
        let holds = self.control.store(config).await?.holds(self.all).await?;
        if self.format == Format::Json {
            print_json(&holds);
            return Ok(());
        }
        let mut table = Table::new([
            "MATTER", "REASON", "COVERS", "PLACED", "BY", "UNTIL", "WAITING", "SINCE", "HOLD",
        ]);
        for hold in &holds {
            let covers = match (&hold.problem_code, hold.read_at) {
                (Some(code), _) => format!("nobody ({code})"),
                (None, None) => format!("any {} (not read yet)", hold.subject),
                (None, Some(_)) => people(hold),
            };
            let until = match (hold.released_at, hold.until) {
                (Some(at), _) => format!("ended {}", table::time(Some(at))),
                (None, until) => table::time(until),
            };
            table.row([
                hold.matter.clone(),
                hold.reason.clone(),
                covers,
                table::time(Some(hold.placed_at)),
                hold.placed_by.clone(),
                until,
                waiting(hold),
                table::time(hold.since),
                hold.id.to_string(),
            ]);
        }
        table.print();
        Ok(())
    }
}

/// Tickets by their reference, as many as a line bears, and how many deferrals.
fn waiting(hold: &HoldView) -> String {
    const SHOWN: usize = 3;
    let mut parts: Vec<String> = hold.tickets.iter().take(SHOWN).cloned().collect();
    if hold.tickets.len() > SHOWN {
        parts.push(format!("{} more", hold.tickets.len() - SHOWN));
    }
    if hold.deferrals > 0 {
        parts.push(format!("{} deferral(s)", hold.deferrals));
    }
    if parts.is_empty() {
        "nothing".to_owned()
    } else {
        parts.join(", ")
    }
}
