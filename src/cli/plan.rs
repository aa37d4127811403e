//! `erasured plan`.

use super::failure::Failure;
use super::identifiers::{self, Named};
use super::{Format, print, print_json, say};
use crate::erasure::context::{Context, Planned};
use crate::erasure::foresee::{self, Foreseen};
use crate::plan::show;
use crate::policy::Policy;
use crate::reading::choose_or;
use crate::start;
use chrono::Utc;
use clap::Args;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Show what will happen to one person's rows, before it does: nothing is locked or changed.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  erasured plan --ticket CRM-1042
  erasured plan --subject member_no=TM-0000042
  erasured plan --subject member_no=TM-0000042 --sql
  erasured plan --ticket CRM-1042 --format json

What is printed is what runs: the daemon stops if the policy or the catalog changed since.")]
pub(super) struct Plan {
    /// A ticket, by id or reference.
    #[arg(long, value_name = "TICKET", conflicts_with_all = ["subject", "subject_file"])]
    ticket: Option<String>,
    /// The person, NAME=VALUE; may be given several times. Other users of this machine can see
    /// arguments: where that matters use --subject-file.
    #[arg(long, value_name = "NAME=VALUE")]
    subject: Vec<String>,
    /// A file of NAME=VALUE lines, or with one JSON object; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    subject_file: Option<PathBuf>,
    /// Subject kind, where there are several policies.
    #[arg(long)]
    kind: Option<String>,
    /// Scope; without it the one that covers all tables.
    #[arg(long)]
    scope: Option<String>,
    /// The exact statements, with what is bound to each parameter.
    #[arg(long)]
    sql: bool,
    /// Columns for people, or JSON with all of it.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl Plan {
    pub(super) async fn execute(self, config: &Path) -> Result<(), Failure> {
        let context = start::context(start::configuration(config)?, Arc::new(Utc::now))?;
        let foreseen = match &self.ticket {
            Some(ticket) => foresee::ticket(&context, ticket).await?,
            None => self.subject(&context).await?,
        };
        self.print(&context, &foreseen);
        Ok(())
    }

    async fn subject(&self, context: &Context) -> Result<Foreseen, Failure> {
        let named = self.named()?;
        let policy = self.policy(context)?;
        let scope = self.scope(&policy)?;
        Ok(foresee::subject(context, &policy, &scope, named).await?)
    }

    fn named(&self) -> Result<Named, Failure> {
        let mut named = Vec::new();
        for text in &self.subject {
            named.push(identifiers::pair(text).ok_or_else(|| {
                Failure::usage("--subject is written NAME=VALUE, such as member_no=TM-0000042")
            })?);
        }
        if let Some(file) = &self.subject_file {
            named.extend(identifiers::from_text(&identifiers::text(file)?, file)?);
        }
        if named.is_empty() {
            return Err(Failure::usage(
                "name a ticket or a person: --ticket CRM-1042, or --subject member_no=TM-0000042",
            ));
        }
        Ok(named)
    }

    fn policy(&self, context: &Context) -> Result<Arc<Policy>, Failure> {
        let policies = context.policies();
        let kinds: Vec<&str> = policies.keys().map(String::as_str).collect();
        let chosen = match (&self.kind, kinds.as_slice()) {
            (Some(kind), _) => policies.get(kind),
            (None, [only]) => policies.get(*only),
            (None, _) => None,
        };
        chosen.cloned().ok_or_else(|| {
            Failure::usage(match &self.kind {
                Some(kind) => format!(
                    "no policy is for {kind:?}: {}",
                    choose_or(kind, &kinds, "there are policies for")
                ),
                None => format!("say which: --kind {}", kinds.join(" or --kind ")),
            })
        })
    }

    fn scope(&self, policy: &Policy) -> Result<String, Failure> {
        if let Some(scope) = &self.scope {
            return Ok(scope.clone());
        }
        let whole: Vec<&String> = policy
            .scopes
            .iter()
            .filter(|(_, s)| s.extent.is_all())
            .map(|(name, _)| name)
            .collect();
        match whole.as_slice() {
            [only] => Ok((*only).clone()),
            _ => {
                let known: Vec<&str> = policy.scopes.keys().map(String::as_str).collect();
                Err(Failure::usage(format!(
                    "say which: --scope {}",
                    known.join(" or --scope ")
                )))
            }
        }
    }

    fn print(&self, context: &Context, foreseen: &Foreseen) {
        let planned: &Planned = &foreseen.planned;
        if self.format == Format::Json {
            print_json(&serde_json::json!({
                "id": planned.id,
                "plan": planned.plan,
                "counts": foreseen.counts,
                "sweep": foreseen.sweep,
                "large": show::large(&planned.plan, &foreseen.counts, context.config.limits.piece_rows.get().into()),
                "warnings": crate::diagnostic::to_json(&planned.warnings),
            }));
            return;
        }
        if self.sql {
            print(&show::statements(&planned.plan));
            return;
        }
        let (policy, lineage) = (&planned.policy, &planned.lineage);
        print(&show::tree(
            policy,
            lineage,
            &planned.plan,
            &foreseen.counts,
        ));
        say!("");
        for forecast in &foreseen.sweep {
            say!(
                "{}",
                forecast.line(context.config.limits.sweep_bytes_per_second)
            );
        }
        let piece_rows = context.config.limits.piece_rows.get().into();
        for line in show::large(&planned.plan, &foreseen.counts, piece_rows) {
            say!("large: {line}");
        }
        for warning in &planned.warnings {
            say!("warning {}: {}", warning.code, warning.message);
        }
    }
}
