//! `erasured retention …`.

mod approve;
mod interrupt;
mod list;
mod partitions;
mod plan;
mod run;
mod runs;
mod throttle;
mod verify;

use super::failure::Failure;
use clap::Subcommand;
use std::path::Path;

/// What goes by its age, without anybody having asked: look at rules, and run them.
#[derive(Subcommand, Debug)]
pub(super) enum Retention {
    List(list::List),
    Approve(approve::Approve),
    Plan(plan::Plan),
    Run(run::Run),
    Runs(runs::Runs),
    Throttle(throttle::Throttle),
    Verify(verify::Verify),
}

impl Retention {
    pub(super) async fn execute(self, config: &Path) -> Result<(), Failure> {
        match self {
            Self::List(list) => list.execute(config),
            Self::Plan(plan) => plan.execute(config).await,
            Self::Approve(approve) => approve.execute(config).await,
            Self::Run(run) => run.execute(config).await,
            Self::Runs(runs) => runs.execute(config).await,
            Self::Throttle(throttle) => throttle.execute(config).await,
            Self::Verify(verify) => verify.execute(config).await,
        }
    }
}
