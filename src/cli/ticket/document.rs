//! `erasured ticket document`.

use super::super::failure::Failure;
use super::{Actor, said};
use clap::Args;
use std::path::Path;

/// Record that a document was seen, or that the copy of it was destroyed; never what stands in it.
#[derive(Args, Debug)]
#[command(after_help = "\
The program takes no copy. While the desk holds one, the ticket does not close. What nobody may take, such
as the My Number, is refused: identity.toml says why.

Examples:
  erasured ticket document CRM-1042 --kind driving_licence
  erasured ticket document CRM-1042 --kind power_of_attorney --copy
  erasured ticket document CRM-1042 --kind power_of_attorney --destroyed")]
pub(in crate::cli) struct Document {
    /// Id or reference.
    ticket: String,
    /// Of what kind, as a code such as driving_licence.
    #[arg(long, value_name = "CODE")]
    kind: String,
    /// The desk holds a copy of it.
    #[arg(long)]
    copy: bool,
    /// The copies of this kind were destroyed.
    #[arg(long, conflicts_with = "copy")]
    destroyed: bool,
    #[command(flatten)]
    actor: Actor,
}

impl Document {
    pub(in crate::cli) async fn execute(self, config: &Path) -> Result<(), Failure> {
        let (store, id, actor) = self.actor.about(config, &self.ticket).await?;
        let actor = actor.as_deref();
        let state = match self.destroyed {
            true => store.destroy_document(id, &self.kind, actor).await?,
            false => store.see_document(id, &self.kind, self.copy, actor).await?,
        };
        said(&self.ticket, &state)
    }
}
