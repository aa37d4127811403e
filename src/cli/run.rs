//! `erasured run`.

use super::failure::Failure;
use crate::daemon::{self, Options, Progress};
use crate::store::census::{Census, Closed};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;

/// Run the daemon: erase approved tickets, check, sign, come back for what the law kept.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  erasured run                      until SIGTERM, which lets running batches finish
  erasured run --until-idle         until nothing is left to do, for scripts and cron

SIGHUP reads the policies again; a set that is wrong is refused and the old one stays.
/metrics, /healthz and /readyz are on [http] listen of the configuration.")]
pub(super) struct Run {
    /// End when nothing is left to do; exit code 1 if a ticket failed meanwhile.
    #[arg(long)]
    until_idle: bool,
}

impl Run {
    pub(super) async fn execute(self, config: &Path) -> Result<(), Failure> {
        let bar = (self.until_idle && std::io::stderr().is_terminal()).then(bar);
        let options = Options {
            until_idle: self.until_idle,
            progress: bar.clone().map(|bar| -> Progress {
                Arc::new(move |open, closed| advance(&bar, open, closed))
            }),
            ..Options::default()
        };
        let done = daemon::run(config.to_owned(), options).await;
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        Ok(done?)
    }
}

/// Rejected tickets are neither done nor to be done.
fn advance(bar: &ProgressBar, open: &Census, closed: &Closed) {
    let of = |counts: &BTreeMap<String, i64>, states: &[&str]| -> u64 {
        let count = |state: &&str| counts.get(*state).copied().unwrap_or(0).unsigned_abs();
        states.iter().map(count).sum()
    };
    let done = of(&closed.by_state, &["completed", "deferred"]);
    let waiting: u64 = open.by_state.values().map(|n| n.unsigned_abs()).sum();
    bar.set_length(done + waiting);
    bar.set_position(done);
    bar.set_message(format!(
        "{} erasing, {} checking, {} failed",
        of(&open.by_state, &["scheduled", "executing"]),
        of(&open.by_state, &["verifying"]),
        of(&open.by_state, &["failed"]),
    ));
}

fn bar() -> ProgressBar {
    let style = "{elapsed_precise} {wide_bar} {pos}/{len} tickets ({msg})";
    let style = ProgressStyle::with_template(style).expect("the template is a constant");
    ProgressBar::new(0).with_style(style)
}
