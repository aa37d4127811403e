//! `erasured retention runs`.

use crate::cli::failure::Failure;
use crate::cli::source::Control;
use crate::cli::table::{Table, text, time};
use crate::cli::{Format, print_json};
use clap::Args;
use std::path::Path;

/// List what has run, the latest first.
#[derive(Args, Debug)]
pub(in crate::cli) struct Runs {
    /// Only of this rule.
    rule: Option<String>,
    /// At most so many.
    #[arg(long, default_value_t = 20)]
    limit: u32,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    control: Control,
}

impl Runs {
    pub(super) async fn execute(self, config: &Path) -> Result<(), Failure> {
        let store = self.control.store(config).await?;
        let runs = store.runs(self.rule.as_deref(), self.limit).await?;
        if self.format == Format::Json {
            print_json(&runs);
            return Ok(());
        }
        if let (Some(rule), true) = (&self.rule, runs.is_empty()) {
            eprintln!(
                "warning: no run of a rule {rule:?} is known: is its name right? (erasured retention list)"
            );
        }
        let mut table = Table::new([
            "RULE", "STARTED", "ENDED", "STATE", "DUE TO", "ROWS", "HELD", "KEPT", "ASIDE",
            "PROBLEM", "RUN",
        ]);
        for run in runs {
            table.row([
                run.rule,
                time(Some(run.started_at)),
                time(run.ended_at),
                match run.waits {
                    Some(reason) => format!("{}, waits: {reason}", run.state),
                    None => run.state,
                },
                run.cutoff.to_string(),
                run.rows.to_string(),
                run.held.to_string(),
                run.survivors.to_string(),
                run.set_aside.to_string(),
                text(run.problem.as_deref()),
                run.id.to_string(),
            ]);
        }
        table.print();
        Ok(())
    }
}
