//! `erasured retention throttle`.

use crate::cli::failure::Failure;
use crate::cli::source::Control;
use crate::cli::table::{Table, time};
use crate::cli::{Format, print_json, say};
use crate::retention::throttle::Share;
use clap::Args;
use std::path::Path;

/// Slow down what runs, stop it for a while, or show what is set.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  erasured retention throttle 50%
  erasured retention throttle 0% --rule call-recordings
  erasured retention throttle off
  erasured retention throttle

It holds for runs under way from their next batch on, of every daemon, until it is set anew. At 50% a run
sleeps as long as it works; at 0% it waits, and goes on where it stopped. The limits in erasured.toml
hold beside it. For approvers and erasured_admin; in SQL: erasured.throttle_retention.")]
pub(in crate::cli) struct Throttle {
    /// What is left of the speed, such as 50%; 0% is a pause, off (100%) takes it away again.
    #[arg(value_parser = share)]
    share: Option<Share>,
    /// Only of this rule; beside what is set for all, of which the lower one counts.
    #[arg(long)]
    rule: Option<String>,
    /// Act for this person; counts only for logins in erasured_trusted.
    #[arg(long = "as", value_name = "NAME")]
    name: Option<String>,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    control: Control,
}

fn share(text: &str) -> Result<Share, String> {
    if text == "off" {
        return Ok(Share::WHOLE);
    }
    let percent = text
        .strip_suffix('%')
        .and_then(|number| number.parse().ok());
    percent
        .and_then(Share::new)
        .ok_or_else(|| "write per cent of the speed, such as 50%, or off".into())
}

impl Throttle {
    pub(super) async fn execute(self, config: &Path) -> Result<(), Failure> {
        let store = self.control.store(config).await?;
        let rule = self.rule.as_deref();
        if let Some(share) = self.share {
            let known = store.throttle(share, rule, self.name.as_deref()).await?;
            if let (false, Some(rule)) = (known, rule) {
                eprintln!(
                    "warning: no run and no schedule of a rule {rule:?} is known yet: is its name right? (erasured retention list)"
                );
            }
        }
        let mut set = store.throttles().await?;
        set.retain(|t| rule.is_none() || t.rule.is_none() || t.rule.as_deref() == rule);
        if self.format == Format::Json {
            print_json(&set);
            return Ok(());
        }
        if set.is_empty() {
            say!("nothing is slowed down");
            return Ok(());
        }
        let mut table = Table::new(["RULE", "SPEED", "SET", "BY"]);
        for throttle in set {
            table.row([
                throttle.rule.unwrap_or_else(|| "(all)".to_owned()),
                match throttle.share {
                    0 => "0% (paused)".to_owned(),
                    share => format!("{share}%"),
                },
                time(Some(throttle.set_at)),
                throttle.set_by,
            ]);
        }
        table.print();
        Ok(())
    }
}
