//! `erasured retention plan`.

use super::list::keep;
use crate::cli::failure::Failure;
use crate::cli::{Format, print, print_json, say};
use crate::erasure::context::Context;
use crate::plan::show;
use crate::retention::{self, Prepared};
use crate::start;
use chrono::Utc;
use clap::Args;
use std::path::Path;
use std::sync::Arc;

/// Show what a rule would do now: how many rows are due, and the statements. Nothing is locked or
/// changed.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  erasured retention plan
  erasured retention plan call-recordings --sql")]
pub(in crate::cli) struct Plan {
    /// The rule; without it all of them.
    rule: Option<String>,
    /// The exact statements, with what is bound to each parameter.
    #[arg(long)]
    sql: bool,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
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
            let counted = prepared.count(&context).await.map_err(super::run::failed)?;
            let cutoff = prepared.of.as_ref().map(|of| of.due[0].cutoff.day);
            let rule = &prepared.rule;
            if self.format == Format::Json {
                shown.push(serde_json::json!({
                    "rule": rule.name, "table": rule.table.to_string(), "cutoff": cutoff,
                    "due": counted.due, "held": counted.held, "undated": counted.undated,
                    "stop_above": rule.stop_above,
                }));
                continue;
            }
            say!("{}: {}, kept {}", rule.name, rule.table, keep(&rule.keep));
            let Some(cutoff) = cutoff else {
                say!("  nothing can be due yet: the calendar does not reach back so far");
                continue;
            };
            say!(
                "  due now:  {} row(s), of {cutoff} and before ({})",
                counted.due,
                rule.zone
            );
            if counted.held > 0 {
                say!(
                    "  held:     {} of them stay, by a legal hold (erasured hold list)",
                    counted.held
                );
            }
            if let Some(kind) = prepared.barred_by(&context).await? {
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
            if let Some(most) = rule.stop_above {
                say!("  stops:    above {most} row(s), and asks");
            }
        }
        if self.format == Format::Json && !self.sql {
            print_json(&shown);
        }
        Ok(())
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
