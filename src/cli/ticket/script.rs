//! `erasured ticket script`: what an agent with the customer on the line says now.

use super::super::failure::Failure;
use super::super::{print, say};
use super::notice::How;
use crate::notice::script::Answer;
use crate::ticket::words::Lang;
use clap::Args;
use std::path::Path;

/// Print what an agent says to the customer now, or answers; without a ticket, which answers there are.
#[derive(Args, Debug)]
#[command(after_help = "\
The words are computed from the ticket: whose turn it is, what is asked for proof, what is kept,
the due date, where to complain. They hold nothing of the person. What stands in 【 】 or [ ] is
for the agent and is not read aloud.

Examples:
  erasured ticket script                                        (what callers say, and its answer's name)
  erasured ticket script CRM-1042
  erasured ticket script CRM-1042 --answer this-number --lang en")]
pub(in super::super) struct Script {
    /// Id or reference; without it the answers are listed.
    ticket: Option<String>,
    /// Which answer, by what the caller says.
    #[arg(long, value_enum, requires = "ticket")]
    answer: Option<Answer>,
    #[command(flatten)]
    how: How,
}

impl Script {
    pub(in super::super) async fn execute(self, config: &Path) -> Result<(), Failure> {
        let Some(ticket) = &self.ticket else {
            list(self.how.lang);
            return Ok(());
        };
        let (templates, lang, facts) = self.how.facts(config, ticket).await?;
        let told = match self.answer {
            Some(to) => templates.answer(to, lang, &facts),
            None => templates.script(lang, &facts),
        };
        print(&told.map_err(|e| Failure::usage(e.to_string()))?);
        Ok(())
    }
}

/// Each answer's name, and what callers say.
fn list(lang: Option<Lang>) {
    for answer in Answer::ALL {
        let sentence = answer.sentence();
        match lang {
            Some(lang) => say!("{:<16} {}", answer.name(), sentence.get(lang)),
            None => say!(
                "{:<16} {}\n{:<16} {}",
                answer.name(),
                sentence.ja,
                "",
                sentence.en
            ),
        }
    }
}
