//! `erasured retention verify`.

use super::run::stopped;
use crate::cli::failure::Failure;
use crate::cli::{Format, print_json, say};
use crate::retention::verify::{Verdict, verify};
use crate::retention::{all, find};
use crate::start;
use chrono::Utc;
use clap::Args;
use std::path::Path;
use std::sync::Arc;

/// Look whether every rule holds: nothing is left that ought to be gone. Reading only.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  erasured retention verify
  erasured retention verify call-recordings --format json

A rule with a schedule owes what was due at its last time, any other what is due now. What a legal hold
covers does not count, nor does a rule that only reports. Exit code 1 if a rule does not hold.")]
pub(in crate::cli) struct Verify {
    /// The rule; without it all of them.
    rule: Option<String>,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl Verify {
    pub(super) async fn execute(self, config: &Path) -> Result<(), Failure> {
        let context = start::context(start::configuration(config)?, Arc::new(Utc::now))?;
        let rules = match &self.rule {
            Some(name) => vec![find(&context, name).map_err(Failure::usage)?],
            None => all(&context),
        };
        let (mut verdicts, mut failed) = (Vec::new(), None);
        for (policy, rule) in rules {
            match verify(&context, policy, rule).await {
                Ok(verdict) => {
                    if self.format == Format::Table {
                        tell(&verdict);
                    }
                    verdicts.push(verdict);
                }
                // The others are looked at all the same.
                Err(error) => failed = failed.or(Some(stopped(error))),
            }
        }
        if self.format == Format::Json {
            print_json(&verdicts);
        }
        match failed {
            Some(failure) => Err(failure),
            None if verdicts.iter().all(|verdict| verdict.holds) => Ok(()),
            None => Err(Failure::Found),
        }
    }
}

fn tell(verdict: &Verdict) {
    let Verdict { rule, table, .. } = verdict;
    let word = match (verdict.holds, verdict.overdue, &verdict.stopped_by) {
        (true, 0, None) => "holds",
        (true, 0, Some(_)) => "is stopped by a legal hold",
        (true, ..) => "reports only",
        (false, ..) => "DOES NOT HOLD",
    };
    say!("{rule}: {word} ({table})");
    let Some(through) = verdict.through else {
        say!("  nothing ought to be gone yet");
        return;
    };
    say!(
        "  {} row(s) of {through} and before ought to be gone",
        verdict.overdue
    );
    if let Some(oldest) = verdict.oldest {
        say!("  the oldest is of {oldest}");
    }
    if verdict.held > 0 {
        say!(
            "  {} more stay, by a legal hold (erasured hold list)",
            verdict.held
        );
    }
    if let Some(kind) = &verdict.stopped_by {
        say!(
            "  {} row(s) wait: a legal hold on a {kind} stops the rule, for whose the rows are cannot be told (erasured hold list)",
            verdict.stopped
        );
    }
    if verdict.survivors > 0 {
        say!(
            "  {} more stay, for a rule of its own keeps what hangs on them",
            verdict.survivors
        );
    }
    if verdict.under_way > 0 {
        say!("  {} more have an open ticket", verdict.under_way);
    }
    if verdict.undated > 0 {
        say!(
            "  {} row(s) have no date and are never due",
            verdict.undated
        );
    }
    if let Some(then) = &verdict.then {
        say!("  {then}");
    }
}
