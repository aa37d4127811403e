//! `erasured ticket approve`, and what is asked before many rows go.

use super::super::ask;
use super::super::failure::Failure;
use super::{Actor, said};
use crate::erasure::forecast;
use crate::store::Store;
use crate::store::forecast::Approval;
use clap::Args;
use std::path::Path;
use uuid::Uuid;

/// Approve a verified ticket; it runs after the cooling-off time.
#[derive(Args, Debug)]
#[command(after_help = "\
Where the policy has confirm_over and the ticket would touch more rows, the person's number (the
first identifier of the policy) is typed back, at a terminal; what is typed is not shown, and goes
nowhere but as a salted hash. A script, which has looked at erasured plan --ticket, says --yes.")]
pub(in super::super) struct Approve {
    /// Id or reference.
    ticket: String,
    /// Approve without asking, however many rows it would touch.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    actor: Actor,
}

impl Approve {
    pub(in super::super) async fn execute(self, config: &Path) -> Result<(), Failure> {
        let (store, id, actor) = self.actor.about(config, &self.ticket).await?;
        if !self.yes
            && let Some(approval) = store.approval(id).await?
        {
            confirm(&store, id, &self.ticket, &approval).await?;
        }
        said(&self.ticket, &store.approve(id, actor.as_deref()).await?)
    }
}

/// Asks whoever approves for the number of the person, where the rows are many or not known.
async fn confirm(
    store: &Store,
    id: Uuid,
    ticket: &str,
    approval: &Approval,
) -> Result<(), Failure> {
    let over = approval.over;
    let many = match approval.rows {
        Some(rows) if rows <= over => return Ok(()),
        Some(rows) => {
            format!("it would touch {rows} rows, and the policy confirms more than {over}")
        }
        None => format!(
            "how many rows it would touch is not counted, and the policy confirms more than {over}"
        ),
    };
    let refused = |why: &str| {
        Failure::usage(format!(
            "E0420: {ticket}: {many}. {why} Nothing was approved. Look at it: erasured plan --ticket {ticket}; \
             then approve it at a terminal, or with --yes."
        ))
    };
    let Some((name, salt)) = &approval.named_by else {
        return Err(refused("A daemon counts them in a moment, if it can."));
    };
    if !ask::is_possible() {
        return Err(refused("There is no terminal to ask on."));
    }
    eprintln!("{ticket}: {many}.");
    let typed = ask::unseen(&format!(
        "Type the {name} of the person, which is not shown"
    ));
    let typed = typed.map_err(|e| Failure::usage(format!("the terminal: {e}")))?;
    let agrees = match forecast::digest(salt, &typed) {
        Some(digest) => store.is_typed_back(id, &digest).await?,
        None => false,
    };
    if agrees {
        Ok(())
    } else {
        Err(refused(&format!(
            "What was typed is not the {name} of its person."
        )))
    }
}
