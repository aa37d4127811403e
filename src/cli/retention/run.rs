//! `erasured retention run`.

use super::interrupt::Interrupt;
use super::plan::chosen;
use crate::cli::failure::Failure;
use crate::cli::{Format, print_json, say};
use crate::policy::retention::{People, RetentionAction};
use crate::retention::archive::Archive;
use crate::retention::{self, Go, Going, Prepared, Progress, Report, Stopped};
use crate::start;
use crate::system::postgres::execute::NotErased;
use chrono::Utc;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;

/// Run a rule now, over all that is due.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  erasured retention run call-recordings --dry-run
  erasured retention run call-recordings

Rows go oldest first, in short transactions, and what hangs on them goes as the policy's [[table]] rules
say. Ctrl-C or SIGTERM ends it with the batch under way, a second one at once: what is gone is counted, and
the next run goes on. Exit code 1 if it was stopped, or rows had to be set aside.")]
pub(in crate::cli) struct Run {
    /// The rule.
    rule: String,
    /// Count only, in one read-only transaction.
    #[arg(long)]
    dry_run: bool,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl Run {
    pub(super) async fn execute(self, config: &Path) -> Result<(), Failure> {
        let context = start::context(start::configuration(config)?, Arc::new(Utc::now))?;
        context.heed_maintenance().await?;
        let prepared = chosen(&context, Some(&self.rule)).await?.remove(0);
        if prepared.rule.action == RetentionAction::Keep {
            match self.format {
                Format::Json => print_json(&serde_json::json!({ "rule": self.rule, "due": 0 })),
                Format::Table => say!(
                    "{}: it keeps rows at least so long; none goes by it",
                    self.rule
                ),
            }
            return Ok(());
        }
        let counted = prepared.count(&context).await.map_err(failed)?;
        let due = counted.free();
        if let (true, Some(warning)) = (
            self.dry_run,
            Archive::warning(&prepared.policy, &prepared.rule),
        ) {
            eprintln!(
                "warning: {}: {}; {}",
                warning.code, warning.message, warning.help
            );
        }
        if self.dry_run || prepared.rule.action == RetentionAction::Report {
            if self.format == Format::Json {
                print_json(&serde_json::json!({
                    "rule": self.rule, "due": due, "held": counted.held, "survivors": counted.survivors,
                    "files": prepared.rule.people.as_ref().map(|people| tickets(people, due)),
                }));
            } else if let Some(people) = &prepared.rule.people {
                say!(
                    "{}: {} ticket(s) would be filed, at most {} a run; {due} of {} are due and have none, {} are held",
                    self.rule,
                    tickets(people, due),
                    people.at_most,
                    prepared.rule.table,
                    counted.held
                );
            } else {
                say!(
                    "{}: {due} row(s) of {} would {}, {} are held, {} have something on them that is kept",
                    self.rule,
                    prepared.rule.table,
                    match prepared.rule.action {
                        RetentionAction::Anonymize => "be anonymized",
                        RetentionAction::Detach => "be detached",
                        _ => "go",
                    },
                    counted.held,
                    counted.survivors
                );
            }
            return Ok(());
        }
        let (bar, rule) = (bar(&self.rule, due), &self.rule);
        let interrupt = Interrupt::listen();
        let interrupt = interrupt.map_err(|error| Failure::found(error.to_string()))?;
        let mut told = Vec::new();
        let mut on = |progress: Progress| {
            bar.set_length(progress.of);
            bar.set_position(progress.rows);
            let waits = progress.waits;
            let message = waits.map(|reason| format!("{rule} waits: {reason}"));
            // Who sees no bar is told each reason once: at a part of the speed there is a rest behind every batch.
            if let (true, Some(reason), Some(message)) = (bar.is_hidden(), waits, &message)
                && !told.contains(&reason)
            {
                told.push(reason);
                eprintln!("{message}");
            }
            bar.set_message(message.unwrap_or_else(|| rule.clone()));
            match interrupt.came() {
                true => Go::Stop,
                false => Go::On,
            }
        };
        let going = Going {
            slot: None,
            on: &mut on,
        };
        let report = retention::run(&context, &prepared, going).await;
        bar.finish_and_clear();
        let report = report.map_err(stopped)?;
        self.tell(&prepared, &report);
        if report.set_aside.is_empty() {
            Ok(())
        } else {
            Err(Failure::Found)
        }
    }

    fn tell(&self, prepared: &Prepared, report: &Report) {
        if self.format == Format::Json {
            print_json(&serde_json::json!({
                "rule": self.rule, "run": report.run, "resumed": report.resumed, "changed": report.changed,
                "batches": report.batches, "filed": report.filed, "held": report.held, "survivors": report.survivors, "set_aside": report.set_aside,
                "tidied": report.tidied,
                "partitions": report.partitions, "archived": report.archived,
            }));
            return;
        }
        say!("{}: done, in {} transaction(s)", self.rule, report.batches);
        if prepared.rule.people.is_some() {
            say!("  {} ticket(s) filed", report.filed);
        }
        for (table, kinds) in &report.changed {
            for (kind, rows) in kinds {
                say!(
                    "  {table}: {rows} row(s) {}",
                    format!("{kind:?}").to_lowercase()
                );
            }
        }
        for (partition, rows) in &report.partitions {
            say!("  of them {rows} row(s) with the partition {partition}, whole");
        }
        if report.archived != retention::Archived::default() {
            let archived = report.archived;
            say!(
                "  archived: {} row(s) in {} file(s); {} file(s) ended",
                archived.rows,
                archived.files,
                archived.ended
            );
        }
        for tidied in &report.tidied {
            let table = &tidied.table;
            match &tidied.note {
                Some(note) => say!("  {table}: much went: {note}"),
                None if tidied.vacuumed => say!("  {table}: vacuumed and analyzed"),
                None => {}
            }
        }
        if report.held > 0 {
            say!("  {} due row(s) stay, by a legal hold", report.held);
        }
        if report.survivors > 0 {
            say!(
                "  {} due row(s) stay, for what hangs on them is kept",
                report.survivors
            );
        }
        if report.run != uuid::Uuid::nil() {
            say!("  certificate: erasured certificate show {}", report.run);
        }
        for (key, why) in &report.set_aside {
            say!(
                "  set aside: {} with key {}: {why}",
                prepared.rule.table,
                key.join(", ")
            );
        }
    }
}

/// How many tickets a run would file.
fn tickets(people: &People, due: i64) -> u64 {
    people.at_most.min(u64::try_from(due).unwrap_or(0))
}

fn bar(rule: &str, rows: i64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style =
        ProgressStyle::with_template("{msg} {wide_bar} {pos} of {len} rows, {per_sec}, {eta} left")
            .expect("the template is a constant");
    ProgressBar::new(u64::try_from(rows).unwrap_or(0))
        .with_style(style)
        .with_message(rule.to_owned())
}

pub(super) fn stopped(stopped: Stopped) -> Failure {
    match stopped {
        Stopped::Batch(error) => failed(error),
        Stopped::Store(error) => error.into(),
        Stopped::Unplanned(error) => error.into(),
        Stopped::Unreachable(error) => error.into(),
        other => Failure::found(other.to_string()),
    }
}

pub(super) fn failed(error: NotErased) -> Failure {
    Failure::found(error.to_string())
}
