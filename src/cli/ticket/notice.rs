//! `erasured ticket notice`: what to write or read to the customer.

use super::super::failure::Failure;
use super::super::print;
use super::super::source::Control;
use crate::notice::{Facts, Kind, Templates};
use crate::start;
use crate::ticket::words::Lang;
use clap::Args;
use std::path::{Path, PathBuf};

/// Print a notice for the customer: no personal data, unless --customer gives some.
#[derive(Args, Debug)]
pub(in super::super) struct Notice {
    /// Id or reference.
    ticket: String,
    /// What is told.
    #[arg(long, value_enum)]
    kind: Kind,
    #[command(flatten)]
    how: How,
}

/// In which words.
#[derive(Args, Debug)]
pub(super) struct How {
    /// ja or en; without it the ticket's own language, else ja.
    #[arg(long, value_name = "LANG", value_parser = language)]
    pub(super) lang: Option<Lang>,
    /// How the customer is addressed; printed and nowhere kept.
    #[arg(long, value_name = "TEXT")]
    customer: Option<String>,
    /// A folder of templates that replace ours, in place of notices.templates of the configuration.
    #[arg(long, value_name = "FOLDER")]
    templates: Option<PathBuf>,
    #[command(flatten)]
    control: Control,
}

fn language(text: &str) -> Result<Lang, String> {
    Lang::of_tag(text).ok_or_else(|| "there are texts in ja and en".into())
}

impl Notice {
    pub(in super::super) async fn execute(self, config: &Path) -> Result<(), Failure> {
        let (templates, lang, facts) = self.how.facts(config, &self.ticket).await?;
        let told = templates.notice(self.kind, lang, &facts);
        print(&told.map_err(|e| Failure::usage(e.to_string()))?);
        Ok(())
    }
}

impl How {
    /// The templates, the language, and what is known of the ticket.
    pub(super) async fn facts(
        &self,
        config: &Path,
        ticket: &str,
    ) -> Result<(Templates, Lang, Facts), Failure> {
        let (known, filed_for) = self.control.store(config).await?.known(ticket).await?;
        let lang = self.lang.or(filed_for).unwrap_or_default();
        let facts = Facts::new(&known, lang, self.customer.as_deref());
        Ok((self.folder(config)?, lang, facts))
    }

    fn folder(&self, config: &Path) -> Result<Templates, Failure> {
        let folder = match &self.templates {
            Some(folder) => Some(folder.clone()),
            None if self.control.is_given() => None,
            None => start::configuration(config)?.templates,
        };
        start::templates(folder.as_deref()).map_err(Failure::usage)
    }
}
