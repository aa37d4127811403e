//! `erasured hold`.

use super::failure::Failure;
use super::identifiers::Identifiers;
use super::source::Control;
use super::table::{self, Table};
use super::{Format, print_json, say};
use crate::store::Store;
use crate::store::holds::{HoldView, NewHold, NewRowHold};
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

Examples:
  erasured hold place --matter case-2026-17 --reason court-order --subject customer \\
      --identifier member_no=TM-0000042
  erasured hold place --matter audit-q1 --reason audit --rows-of shop.public.invoice \\
      --where 'issued_on between 2026-01-01,2026-03-31'
  erasured hold list
  erasured hold release case-2026-17")]
pub(super) enum Hold {
    Place(Place),
    Release(Release),
    List(List),
}

/// Keep what belongs to a person, or rows of a table.
#[derive(Args, Debug)]
pub(super) struct Place {
    /// Code of the matter, such as case-2026-17; it stays, so it must not name the person.
    #[arg(long)]
    matter: String,
    /// Code of the reason, such as court-order or audit.
    #[arg(long)]
    reason: String,
    /// Subject kind of the policy, such as customer: keeps what belongs to the person named.
    #[arg(long, required_unless_present = "rows_of", conflicts_with = "rows_of")]
    subject: Option<String>,
    #[command(flatten)]
    identifiers: Identifiers,
    /// Keeps rows of this table, written system.schema.table; of a ticket that
    /// reaches one of them the table waits, with what hangs together with it, and the rest goes on.
    #[arg(long, value_name = "TABLE")]
    rows_of: Option<String>,
    /// Of these rows those with COLUMN OP VALUE, where a value that is NULL counts as fitting. Ops: =,
    /// <>, <, <=, >, >=, in A,B,C, between A,B, is null, is not null. May be given several times: all
    /// must fit.
    #[arg(long = "where", value_name = "CONDITION", requires = "rows_of")]
    conditions: Vec<String>,
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
        let (store, id) = match (&self.subject, &self.rows_of) {
            (Some(subject), _) => self.of_person(config, subject).await?,
            (None, Some(table)) => self.of_rows(config, table).await?,
            (None, None) => return Err(Failure::usage("name a --subject or a table: --rows-of")),
        };
        say!("{}: hold {id}", self.matter);
        let hold = read(&store, id).await?;
        let what = if hold.rows_of.is_some() {
            "nothing"
        } else {
            "nobody yet"
        };
        match (&hold.problem_code, hold.read_at) {
            (Some(code), _) => Err(Failure::found(format!(
                "{code}: the hold covers {what}: {}",
                hold.problem.as_deref().unwrap_or_default()
            ))),
            (None, Some(_)) => {
                say!("it covers {}", covers(&hold));
                Ok(())
            }
            (None, None) => {
                say!(
                    "no daemon has read it yet; until one has, nothing that it may cover is erased"
                );
                Ok(())
            }
        }
    }

    async fn of_person(&self, config: &Path, subject: &str) -> Result<(Store, Uuid), Failure> {
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
            subject,
            identifiers: &identifiers,
            until: self.until,
        };
        let id = store.place_hold(&new, self.name.as_deref()).await?;
        Ok((store, id))
    }

    async fn of_rows(&self, config: &Path, table: &str) -> Result<(Store, Uuid), Failure> {
        let conditions: Option<Vec<_>> = self.conditions.iter().map(|c| condition(c)).collect();
        let conditions = conditions.ok_or_else(|| {
            Failure::usage("--where is written COLUMN OP VALUE, such as 'issued_on >= 2026-01-01' or 'id in 5,7'")
        })?;
        let store = self.control.store(config).await?;
        let new = NewRowHold {
            matter: &self.matter,
            reason: &self.reason,
            rows_of: table,
            conditions: &conditions.into(),
            until: self.until,
        };
        let id = store.place_row_hold(&new, self.name.as_deref()).await?;
        Ok((store, id))
    }
}

/// `COLUMN OP VALUE` as the function takes it.
fn condition(text: &str) -> Option<serde_json::Value> {
    let (column, rest) = text.trim().split_once(char::is_whitespace)?;
    let rest = rest.trim();
    let json = |op: &str, values: Vec<&str>| serde_json::json!({ "column": column, "op": op, "values": values });
    if ["is null", "is not null"].contains(&rest) {
        return Some(json(rest, Vec::new()));
    }
    let (op, value) = rest.split_once(char::is_whitespace)?;
    let value = value.trim();
    let values = match op {
        "in" | "between" => value.split(',').map(str::trim).collect(),
        _ => vec![value],
    };
    (!value.is_empty()).then(|| json(op, values))
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

fn covers(hold: &HoldView) -> String {
    if let Some(table) = &hold.rows_of {
        return match hold.named_by.as_slice() {
            [] => format!("all rows of {table}"),
            conditions => format!("rows of {table} by {}", conditions.join(", ")),
        };
    }
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
                (Some(code), _) => format!("nothing ({code})"),
                (None, None) => "not read yet".to_owned(),
                (None, Some(_)) => covers(hold),
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
        return "nothing".to_owned();
    }
    let parts = parts.join(", ");
    if hold.left_whole.is_empty() {
        return parts;
    }
    // Of tickets whose rest is done.
    format!("{parts} (with {})", hold.left_whole.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_read_as_they_are_written() {
        let read = |text| condition(text).map(|c| c.to_string());
        let as_json = |text: &str| {
            Some(
                serde_json::from_str::<serde_json::Value>(text)
                    .unwrap()
                    .to_string(),
            )
        };
        assert_eq!(
            read("issued_on between 2026-01-01, 2026-03-31"),
            as_json(
                r#"{"column": "issued_on", "op": "between", "values": ["2026-01-01", "2026-03-31"]}"#
            )
        );
        assert_eq!(
            read(" state = in the  open "),
            as_json(r#"{"column": "state", "op": "=", "values": ["in the  open"]}"#)
        );
        assert_eq!(
            read("paid_on is null"),
            as_json(r#"{"column": "paid_on", "op": "is null", "values": []}"#)
        );
        for wrong in ["", "paid_on", "paid_on =", "paid_on = "] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
