//! `erasured retention approve`.

use super::list::since;
use crate::cli::failure::Failure;
use crate::cli::source::Control;
use crate::cli::table::{Table, time};
use crate::cli::{Format, print, print_json, say};
use crate::retention::approval::{Foreseen, Kept, Terms};
use crate::retention::forecast::bars;
use crate::store::approvals::ProposalView;
use clap::Args;
use std::path::Path;

/// Approve what a rule takes, having seen how much that is. Without --rows it is only shown.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  erasured retention approve
  erasured retention approve call-recordings
  erasured retention approve call-recordings --rows 41210

For rules with approval = \"first\" in their policy, and for members of erasured_approver: who runs a rule
does not approve it. A rule waits here from its first try on.")]
pub(in crate::cli) struct Approve {
    /// The rule; without it those that wait are listed.
    rule: Option<String>,
    /// How many rows are due now, as the forecast says: that you have seen it.
    #[arg(long, value_name = "NUMBER", requires = "rule")]
    rows: Option<i64>,
    /// The kind of subject, where the policies of several have a rule of this name.
    #[arg(long)]
    subject: Option<String>,
    /// Act for this person; counts only for logins in erasured_trusted.
    #[arg(long = "as", value_name = "NAME")]
    actor: Option<String>,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    control: Control,
}

impl Approve {
    pub(super) async fn execute(self, config: &Path) -> Result<(), Failure> {
        let store = self.control.store(config).await?;
        let mut waiting = store.retention_proposals(self.rule.as_deref()).await?;
        waiting.retain(|one| self.subject.as_ref().is_none_or(|of| *of == one.subject));
        let Some(rule) = &self.rule else {
            listed(&waiting, self.format);
            return Ok(());
        };
        let one = match waiting.as_slice() {
            [one] => one,
            [] => {
                return Err(Failure::found(format!(
                    "nothing of a retention rule {rule} waits to be approved; it does from its first try on: erasured retention run {rule}"
                )));
            }
            _ => {
                return Err(Failure::usage(format!(
                    "the policies of several kinds of subject have a rule {rule}: add --subject"
                )));
            }
        };
        match self.format {
            Format::Json => print_json(one),
            Format::Table => tell(one),
        }
        match self.rows {
            Some(rows) => {
                let actor = self.actor.as_deref();
                store.approve_retention(one.id, rows, actor).await?;
                if self.format == Format::Table {
                    say!("\napproved");
                }
            }
            None if self.format == Format::Table => say!(
                "\nerasured retention approve {rule} --rows {} approves it",
                one.due
            ),
            None => {}
        }
        Ok(())
    }
}

fn listed(waiting: &[ProposalView], format: Format) {
    if format == Format::Json {
        print_json(&waiting);
        return;
    }
    let mut table = Table::new(["RULE", "SUBJECT", "TABLE", "DUE NOW", "COUNTED"]);
    for one in waiting {
        table.row([
            one.rule.clone(),
            one.subject.clone(),
            one.table.clone(),
            one.due.to_string(),
            time(Some(one.proposed_at)),
        ]);
    }
    table.print();
}

/// What cannot be read is said to be so: nobody should approve it unseen.
fn tell(one: &ProposalView) {
    say!("{} ({}): {}", one.rule, one.subject, one.table);
    say!(
        "  due now:  {} row(s), counted at {}",
        one.due,
        time(Some(one.proposed_at))
    );
    match serde_json::from_value::<Terms>(one.terms.clone()) {
        Ok(terms) => tell_terms(&terms),
        Err(_) => say!("  what it takes was written by another version of erasured"),
    }
    match serde_json::from_value::<Foreseen>(one.forecast.clone()) {
        Ok(foreseen) => {
            let forecast = &foreseen.forecast;
            say!(
                "  coming:   {} row(s) within a week, {} within four, {} within a year, of those that are there",
                forecast.within(1),
                forecast.within(4),
                forecast.within(52)
            );
            if let Some(part) = forecast.one_in {
                say!("  sampled:  from one in {part} blocks of the table");
            }
            print(&bars(forecast));
        }
        Err(_) => say!("  its forecast was written by another version of erasured"),
    }
}

fn tell_terms(terms: &Terms) {
    say!("  action:   {}, days of {}", terms.action, terms.timezone);
    if let Some(only) = &terms.only {
        say!("  only:     {only}");
    }
    if let (Some(scope), Some(most)) = (&terms.scope, terms.at_most) {
        say!("  tickets:  of scope {scope}, at most {most} a run");
    }
    for (column, strategy) in &terms.set {
        say!("  set:      {column}: {strategy}");
    }
    for (table, kept) in &terms.spared_by {
        say!("  spared:   by rows of {table}, {}", words(kept));
    }
    for kept in &terms.kept {
        say!("  kept:     {}", words(kept));
    }
    for (table, kind) in &terms.changes {
        say!(
            "  then:     rows of {table} are {}",
            format!("{kind:?}").to_lowercase()
        );
    }
}

fn words(kept: &Kept) -> String {
    let columns: Vec<&str> = kept.columns.iter().map(String::as_str).collect();
    let long = match &kept.term {
        Some(term) => since(&columns.join(", "), term),
        None => format!("through {}", columns.join(", ")),
    };
    match &kept.of {
        Some(of) => format!("{long}, only where {of}"),
        None => long,
    }
}
