//! `erasured ticket prove`.

use super::super::ask;
use super::super::failure::Failure;
use super::super::identifiers::{self, Named};
use super::super::say;
use crate::erasure::proof::{self, Outcome, Unproven};
use crate::start;
use crate::store::identity::Agent;
use crate::store::tickets::IdentifierValue;
use chrono::Utc;
use clap::Args;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Compare a caller's answers with what is on file: match or no match, never what is there.
#[derive(Args, Debug)]
#[command(after_help = "\
Runs where the daemon's configuration can be read. Which answers a method compares stands in
identity.toml, where they stand in the databases in [identity] of the policy.

Examples:
  erasured ticket prove CRM-1042 --method callback_dob --as hana
  erasured ticket prove CRM-1042 --method callback_dob --as hana --answer-file - < answers
and then, within the hour, by the same person:
  erasured ticket verify CRM-1042 --method callback_dob")]
pub(in crate::cli) struct Prove {
    /// Id or reference.
    ticket: String,
    /// Code of the method, such as callback_dob or name_contact.
    #[arg(long)]
    method: String,
    /// Who asks the caller: the login that verifies afterwards.
    #[arg(long = "as", value_name = "NAME")]
    name: String,
    /// A file of NAME=VALUE lines, or with one JSON object; `-` is standard input. Without it each
    /// answer is asked for on the terminal, and not shown.
    #[arg(long, value_name = "FILE")]
    answer_file: Option<PathBuf>,
}

impl Prove {
    pub(in crate::cli) async fn execute(self, config: &Path) -> Result<(), Failure> {
        let context = start::context(start::configuration(config)?, Arc::new(Utc::now))?;
        let ticket = context.store.ticket(&self.ticket).await?.id;
        let answers = match &self.answer_file {
            Some(file) => identifiers::from_text(&identifiers::text(file)?, file)?,
            None => {
                let beside = context.beside();
                let proofs = &beside.proofs;
                let method = proofs.methods.get(&self.method);
                asked(method.map_or(&[], |method| &method.compare))?
            }
        };
        let by = Agent {
            name: self.name,
            desk: "console".into(),
        };
        match proof::prove(&context, ticket, &self.method, &answers, &by).await? {
            Outcome::Match => {
                say!("{}: match", self.ticket);
                Ok(())
            }
            Outcome::NoMatch => Err(Failure::found(format!("{}: no match", self.ticket))),
            Outcome::Locked { until } => Err(Failure::found(format!(
                "E0419: {}: too many attempts have failed; nothing is compared until {}",
                self.ticket,
                until.format("%Y-%m-%d %H:%M:%S %Z")
            ))),
        }
    }
}

impl From<Unproven> for Failure {
    fn from(error: Unproven) -> Self {
        match error {
            Unproven::Store(error) => error.into(),
            Unproven::System(error) => error.into(),
            error @ Unproven::Refused(..) => Self::usage(error.to_string()),
        }
    }
}

/// Asks for each on the terminal; an empty line leaves a point out.
fn asked(points: &[String]) -> Result<Named, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage(
            "there is no terminal to ask on: give the answers with --answer-file FILE, or - for standard input",
        ));
    }
    let mut answers = Named::new();
    for point in points {
        let answer =
            ask::unseen(point).map_err(|e| Failure::usage(format!("the terminal: {e}")))?;
        if !answer.trim().is_empty() {
            let value = IdentifierValue::new(answer.trim().to_owned());
            answers.push((point.clone(), value));
        }
    }
    Ok(answers)
}
