//! `erasured retention list`.

use crate::cli::failure::Failure;
use crate::cli::table::Table;
use crate::cli::{Format, print_json};
use crate::policy::Period;
use crate::policy::retention::{Keep, RetentionAction, RetentionRule, Term};
use crate::start;
use clap::Args;
use std::path::Path;

/// List the rules, as the policies have them; no database is asked.
#[derive(Args, Debug)]
pub(in crate::cli) struct List {
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl List {
    pub(super) fn execute(self, config: &Path) -> Result<(), Failure> {
        let policies = start::policies(&start::configuration(config)?)?;
        let rules: Vec<(&str, &RetentionRule)> = policies
            .values()
            .flat_map(|p| p.retention.iter().map(|r| (p.subject.as_str(), r)))
            .collect();
        if self.format == Format::Json {
            let rules = rules.iter().map(|(subject, rule)| {
                serde_json::json!({
                    "rule": rule.name, "subject": subject, "table": rule.table.to_string(),
                    "where": rule.condition.as_ref().map(|c| &c.text), "keep": keep(&rule.keep), "action": action(rule), "because": rule.because,
                    "timezone": rule.zone.name(), "schedule": rule.schedule.as_ref().map(|t| t.cron.to_string()),
                    "stop_above": rule.stop_above, "approval": rule.approval.then_some("first"),
                })
            });
            print_json(&rules.collect::<Vec<_>>());
            return Ok(());
        }
        let mut table = Table::new(["RULE", "TABLE", "KEPT", "THEN", "RUNS", "BECAUSE"]);
        for (_, rule) in rules {
            table.row([
                rule.name.clone(),
                rule.table.to_string(),
                kept(rule),
                action(rule).to_owned(),
                runs(rule),
                rule.because.clone(),
            ]);
        }
        table.print();
        Ok(())
    }
}

pub(super) fn action(rule: &RetentionRule) -> &'static str {
    match rule.action {
        RetentionAction::Delete => "delete",
        RetentionAction::Anonymize => "anonymize",
        RetentionAction::Detach => "detach",
        RetentionAction::Report => "report",
        RetentionAction::Keep => "keep",
    }
}

/// How long, and which rows.
pub(super) fn kept(rule: &RetentionRule) -> String {
    let keep = keep(&rule.keep);
    match &rule.condition {
        None => keep,
        Some(condition) => format!("{keep}, where {}", condition.text),
    }
}

/// When it runs by itself.
fn runs(rule: &RetentionRule) -> String {
    let runs = match &rule.schedule {
        None => "by hand".to_owned(),
        Some(timetable) => timetable.cron.to_string(),
    };
    match rule.approval {
        true => format!("{runs}, as far as approved"),
        false => runs,
    }
}

/// In words.
fn keep(keep: &Keep) -> String {
    match keep {
        Keep::Until(column) => format!("through {column}"),
        Keep::Since {
            columns,
            linked,
            term,
        } => {
            let linked = linked.iter().map(|of| {
                let chosen = of.condition.as_ref();
                let chosen = chosen.map_or_else(String::new, |of| format!(" where {}", of.text));
                format!("{}.{}{chosen}", of.table.table, of.column)
            });
            let from: Vec<String> = columns.iter().cloned().chain(linked).collect();
            since(&from.join(", "), term)
        }
    }
}

/// So long after what these columns say.
pub(super) fn since(from: &str, term: &Term) -> String {
    match term {
        Term::Plain(plus) => format!("{} after {from}", period(*plus)),
        Term::FiscalYear {
            ends: (month, day),
            plus,
        } => format!(
            "{} after the fiscal year (to {month:02}-{day:02}) of {from}",
            period(*plus)
        ),
    }
}

fn period(of: Period) -> String {
    let one = |n: u32, unit: &str| match n {
        0 => None,
        1 => Some(format!("1 {unit}")),
        n => Some(format!("{n} {unit}s")),
    };
    let parts = [
        one(of.months / 12, "year"),
        one(of.months % 12, "month"),
        one(of.days, "day"),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() {
        "0 days".into()
    } else {
        parts.join(" ")
    }
}
