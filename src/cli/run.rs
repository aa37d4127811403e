//! `erasured run`.

use super::failure::Failure;
use crate::daemon::{self, Options, Progress};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
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
    /// End when nothing is left to do; exit code 1 if a ticket failed.
    #[arg(long)]
    until_idle: bool,
}

impl Run {
    pub(super) async fn execute(self, config: &Path) -> Result<(), Failure> {
        let bar = (self.until_idle && std::io::stderr().is_terminal()).then(bar);
        let options = Options {
            until_idle: self.until_idle,
            progress: bar.clone().map(|bar| -> Progress {
                Arc::new(move |closed, total| {
                    bar.set_length(total);
                    bar.set_position(closed);
                })
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

fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{elapsed_precise} {wide_bar} {pos}/{len} tickets")
        .expect("the template is a constant");
    ProgressBar::new(0).with_style(style)
}
