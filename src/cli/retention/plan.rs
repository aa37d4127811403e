//! `erasured retention plan`.

use super::list::kept;
use crate::certificate::show::size;
use crate::cli::failure::Failure;
use crate::cli::{Format, print, print_json, say};
use crate::erasure::context::Context;
use crate::plan::show;
use crate::policy::retention::RetentionAction;
use crate::retention::forecast::{self, Forecast};
use crate::retention::{self, Prepared, SeenPart, Stopped};
use crate::start;
use crate::system::postgres::due::DueCount;
use chrono::{DateTime, NaiveDate, Utc};
use clap::Args;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Show what a rule would do now: how many rows are due, what comes due within a year, and the statements.
/// Nothing is locked or changed.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  erasured retention plan
  erasured retention plan call-recordings
  erasured retention plan call-recordings --svg call-recordings.svg
  erasured retention plan call-recordings --sql

Of a table with more than a million rows only some blocks are read for what comes due later; --exact reads all.")]
pub(in crate::cli) struct Plan {
    /// The rule; without it all of them.
    rule: Option<String>,
    /// The exact statements, with what is bound to each parameter.
    #[arg(long)]
    sql: bool,
    /// Draw what comes due each week into this file.
    #[arg(long, value_name = "FILE", requires = "rule")]
    svg: Option<PathBuf>,
    /// Read the whole table, however large.
    #[arg(long)]
    exact: bool,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// What is told of a rule.
struct Seen {
    /// The latest day that is due.
    cutoff: NaiveDate,
    counted: DueCount,
    oldest: Option<NaiveDate>,
    forecast: Forecast,
    /// Rows of the last runs, and the milliseconds that they took.
    pace: Option<(i64, i64)>,
    barred_by: Option<String>,
    /// Those that would go whole.
    partitions: Vec<SeenPart>,
    /// For whose word it waits.
    waits_for: Option<Stopped>,
}

impl Plan {
    pub(super) async fn execute(self, config: &Path) -> Result<(), Failure> {
        let context = start::context(start::configuration(config)?, Arc::new(Utc::now))?;
        let mut shown = Vec::new();
        for prepared in chosen(&context, self.rule.as_deref()).await? {
            if self.sql {
                if let Some(plan) = &prepared.plan {
                    print(&show::statements(plan));
                }
                continue;
            }
            let seen = look(&context, &prepared, self.exact).await?;
            if let (Some(file), Some(seen)) = (&self.svg, &seen) {
                draw(file, &prepared, &seen.forecast)?;
            }
            match self.format {
                Format::Json => shown.push(json(&prepared, seen.as_ref(), context.now())),
                Format::Table => {
                    tell(&prepared, seen.as_ref(), self.rule.is_some(), context.now());
                }
            }
        }
        if self.format == Format::Json && !self.sql {
            print_json(&shown);
        }
        Ok(())
    }
}

/// `None` if the calendar has nothing yet.
async fn look(
    context: &Context,
    prepared: &Prepared,
    exact: bool,
) -> Result<Option<Seen>, Failure> {
    let Some(of) = &prepared.of else {
        return Ok(None);
    };
    let cutoff = of.due[0].cutoff.day;
    let failed = super::run::failed;
    let counted = prepared.count(context).await.map_err(failed)?;
    let oldest = prepared.oldest(context).await.map_err(failed)?;
    let forecast = prepared.forecast(context, exact).await.map_err(failed)?;
    let waits_for = prepared.waits_for(context, counted.free());
    Ok(Some(Seen {
        cutoff,
        counted,
        oldest,
        forecast: match forecast {
            Some(forecast) => forecast,
            None => return Ok(None),
        },
        pace: prepared.pace(context).await?,
        barred_by: prepared.barred_by(context).await?,
        partitions: prepared.partitions_seen(context).await.map_err(failed)?,
        waits_for: waits_for.await.map_err(super::run::stopped)?,
    }))
}

fn draw(file: &Path, prepared: &Prepared, forecast: &Forecast) -> Result<(), Failure> {
    let title = format!("{}: {}", prepared.rule.name, prepared.rule.table);
    std::fs::write(file, forecast::svg(&title, forecast))
        .map_err(|error| Failure::usage(format!("{}: {error}", file.display())))
}

fn json(prepared: &Prepared, seen: Option<&Seen>, now: DateTime<Utc>) -> serde_json::Value {
    let rule = &prepared.rule;
    let today = now.with_timezone(&rule.zone).date_naive();
    let archive = rule.archive.as_ref().map(|archive| {
        let tables = prepared.archived_tables();
        let tables: Vec<String> = tables.iter().map(ToString::to_string).collect();
        serde_json::json!({ "to": archive.to.to_string(), "keep_until": archive.last_day(today), "tables": tables })
    });
    let partitions = seen.map(|seen| {
        let part = |part: &SeenPart| {
            let (first, last) = part.range.unzip();
            serde_json::json!({ "partition": part.partition, "first": first, "last": last, "bytes": part.bytes })
        };
        seen.partitions.iter().map(part).collect::<Vec<_>>()
    });
    let counted = seen.map_or_else(DueCount::default, |seen| seen.counted);
    let free = counted.free();
    serde_json::json!({
        "rule": rule.name, "table": rule.table.to_string(), "cutoff": seen.map(|s| s.cutoff),
        "due": counted.due, "held": counted.held, "survivors": counted.survivors, "under_way": counted.under_way, "undated": counted.undated,
        "stop_above": rule.stop_above, "partitions": partitions, "archive": archive, "oldest": seen.and_then(|s| s.oldest),
        "forecast": seen.map(|s| &s.forecast), "bytes": seen.map(|s| s.forecast.bytes(free)),
        "waits_for": seen.and_then(|s| s.waits_for.as_ref()).map(Stopped::code),
        "seconds": seen.and_then(|s| s.pace).map(|pace| forecast::takes(free, pace).as_secs()),
    })
}

fn tell(prepared: &Prepared, seen: Option<&Seen>, alone: bool, now: DateTime<Utc>) {
    let rule = &prepared.rule;
    say!("{}: {}, kept {}", rule.name, rule.table, kept(rule));
    let Some(seen) = seen else {
        say!("  nothing can be due yet: the calendar does not reach back so far");
        return;
    };
    let counted = seen.counted;
    let due = match rule.action {
        RetentionAction::Keep => "may go:  ",
        _ => "due now: ",
    };
    say!(
        "  {due} {} row(s), of {} and before ({})",
        counted.due,
        seen.cutoff,
        rule.zone
    );
    if let Some(oldest) = seen.oldest {
        say!("  oldest:   {oldest}");
    }
    super::partitions::tell(prepared, &seen.partitions);
    super::partitions::tell_archive(prepared, now);
    if counted.held > 0 {
        say!(
            "  held:     {} of them stay, by a legal hold (erasured hold list)",
            counted.held
        );
    }
    if counted.survivors > 0 {
        say!(
            "  kept:     {} of them stay, for a rule of its own keeps what hangs on them",
            counted.survivors
        );
    }
    if counted.under_way > 0 {
        say!(
            "  under way: {} of them have an open ticket",
            counted.under_way
        );
    }
    if let Some(kind) = &seen.barred_by {
        say!(
            "  stopped:  a legal hold on a {kind} is in force, and whose the rows are cannot be told"
        );
    }
    if counted.undated > 0 {
        say!(
            "  undated:  {} row(s) have no date and are never due",
            counted.undated
        );
    }
    if let Some(people) = &rule.people {
        let (most, scope) = (people.at_most, &people.scope);
        say!(
            "  tickets:  at most {most} a run, of scope {scope}; who has an open one gets no other"
        );
    }
    for warning in prepared.of.iter().flat_map(|of| &of.warnings) {
        let (code, message, help) = (warning.code, &warning.message, &warning.help);
        say!("  warning:  {code}: {message}; {help}");
    }
    if let Some(most) = rule.stop_above {
        say!("  stops:    above {most} row(s), and asks");
    }
    if let Some(waits) = &seen.waits_for {
        say!("  waits:    {waits}");
    }
    tell_cost(seen);
    tell_coming(&seen.forecast, alone);
}

fn tell_cost(seen: &Seen) {
    let free = seen.counted.free();
    if free <= 0 {
        return;
    }
    let bytes = u64::try_from(seen.forecast.bytes(free)).unwrap_or(0);
    say!(
        "  on disk:  about {} of the table's {}; VACUUM makes it free for new rows, not for the disk",
        size(bytes),
        size(u64::try_from(seen.forecast.table_bytes).unwrap_or(0))
    );
    match seen.pace {
        Some(pace) => say!(
            "  time:     about {}, as its last runs went",
            roughly(forecast::takes(free, pace))
        ),
        None => say!("  time:     not known: no run of it has taken anything yet"),
    }
}

/// With a bar for each week if only one rule is looked at.
fn tell_coming(forecast: &Forecast, alone: bool) {
    say!(
        "  coming:   {} row(s) within a week, {} within four, {} within a year",
        forecast.within(1),
        forecast.within(4),
        forecast.within(52)
    );
    if let Some(part) = forecast.one_in {
        say!(
            "  sampled:  what is coming was read from one in {part} blocks of the table; --exact reads all"
        );
    }
    if alone {
        let bars = forecast::bars(forecast);
        if !bars.is_empty() {
            say!("\n  due by, each week that has any:");
            print(&bars);
        }
    }
}

/// In the unit that people would say it in.
fn roughly(time: Duration) -> String {
    match time.as_secs() {
        0..60 => "a minute or less".into(),
        seconds @ 60..5400 => format!("{} minutes", seconds.div_ceil(60)),
        seconds => format!("{} hours", seconds.div_ceil(3600)),
    }
}

/// The rule that was named, or all.
pub(super) async fn chosen(
    context: &Context,
    rule: Option<&str>,
) -> Result<Vec<Prepared>, Failure> {
    let rules = match rule {
        Some(name) => vec![retention::find(context, name).map_err(Failure::usage)?],
        None => retention::all(context),
    };
    let mut prepared = Vec::new();
    for (policy, rule) in rules {
        prepared.push(Prepared::new(context, policy, rule).await?);
    }
    Ok(prepared)
}
