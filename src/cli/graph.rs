//! `erasured graph`.

use super::failure::Failure;
use super::{print, say};
use crate::erasure::context::catalogs;
use crate::graph;
use crate::lineage;
use crate::policy::{Draft, Policy};
use crate::reading::choose_or;
use crate::start;
use clap::{Args, ValueEnum};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Draw what a policy reaches and what happens there: tables and places as boxes, keys and links as arrows.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  erasured graph --output customer.html                  a page that folds, for any number of tables
  erasured graph --policy customer --scope marketing --format svg > marketing.svg
  erasured graph | dot -Tpdf > customer.pdf              with Graphviz

A policy that is not finished, or does not fit, is drawn as well: what nobody has decided stands out.
Nothing of the page or the picture is loaded from elsewhere.")]
pub(super) struct Graph {
    /// Subject kind, where there are several policies.
    #[arg(long, value_name = "SUBJECT")]
    policy: Option<String>,
    /// Scope; without it the one that covers all tables.
    #[arg(long)]
    scope: Option<String>,
    /// How it is drawn; without it as the ending of --output says, else dot.
    #[arg(long, value_enum)]
    format: Option<Drawing>,
    /// Write it there, over what was there; without it to standard output.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// How it is drawn.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Drawing {
    /// Graphviz's language.
    Dot,
    /// One picture.
    Svg,
    /// A page whose parts fold.
    Html,
}

impl Graph {
    pub(super) async fn execute(self, path: &Path) -> Result<(), Failure> {
        let config = start::configuration(path)?;
        let drafts = start::drafts(&config)?;
        let draft = self.draft(&drafts)?;
        let scope = self.scope(draft.so_far())?;
        let names = lineage::systems_of_draft(draft);
        let (systems, mariadb) = (start::systems(&config)?, start::mariadb(&config)?);
        let registered = |n: &String| systems.contains_key(n) || mariadb.contains_key(n);
        let unknown: BTreeSet<&String> = names.iter().filter(|n| !registered(n)).collect();
        if let Some(system) = unknown.first() {
            return Err(Failure::usage(format!(
                "the policy names the system {system:?}, which erasured.toml does not register: erasured check"
            )));
        }
        let (catalogs, _) = catalogs(&systems, &mariadb, names).await?;
        let picture = graph::picture(draft, &scope, &catalogs);
        let text = match self.drawing() {
            Drawing::Dot => graph::dot::dot(&picture),
            Drawing::Svg => graph::svg::svg(&picture),
            Drawing::Html => graph::html::html(&picture),
        };
        match &self.output {
            None => print(&text),
            Some(file) => {
                std::fs::write(file, text)
                    .map_err(|e| Failure::usage(format!("{}: {e}", file.display())))?;
                say!("{} is written", file.display());
            }
        }
        Ok(())
    }

    fn drawing(&self) -> Drawing {
        let ending = self.output.as_ref().and_then(|f| f.extension());
        match (self.format, ending.and_then(|e| e.to_str())) {
            (Some(format), _) => format,
            (None, Some("svg")) => Drawing::Svg,
            (None, Some("html" | "htm")) => Drawing::Html,
            (None, _) => Drawing::Dot,
        }
    }

    fn draft<'d>(&self, drafts: &'d [Draft]) -> Result<&'d Draft, Failure> {
        let kinds: Vec<&str> = drafts.iter().map(|d| d.so_far().subject.as_str()).collect();
        let of = |kind: &String| drafts.iter().find(|d| d.so_far().subject == *kind);
        match (&self.policy, drafts) {
            (Some(kind), _) => of(kind).ok_or_else(|| {
                let help = choose_or(kind, &kinds, "there are policies for");
                Failure::usage(format!("no policy is for {kind:?}: {help}"))
            }),
            (None, [only]) => Ok(only),
            (None, _) => Err(Failure::usage(format!(
                "say which: --policy {}",
                kinds.join(" or --policy ")
            ))),
        }
    }

    fn scope(&self, policy: &Policy) -> Result<String, Failure> {
        let known: Vec<&str> = policy.scopes.keys().map(String::as_str).collect();
        if let Some(scope) = &self.scope {
            if !policy.scopes.contains_key(scope) {
                let help = choose_or(scope, &known, "there are");
                return Err(Failure::usage(format!(
                    "there is no scope {scope:?}: {help}"
                )));
            }
            return Ok(scope.clone());
        }
        let mut whole = policy.scopes.iter().filter(|(_, s)| s.extent.is_all());
        match (whole.next(), whole.next(), known.as_slice()) {
            (Some((only, _)), None, _) => Ok(only.clone()),
            (None, None, [only]) => Ok((*only).to_owned()),
            _ => Err(Failure::usage(format!(
                "say which: --scope {}",
                known.join(" or --scope ")
            ))),
        }
    }
}
