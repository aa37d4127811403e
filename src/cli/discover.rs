//! `erasured discover`.

use super::failure::Failure;
use super::{print, say};
use crate::config::Config;
use crate::discovery::{self, Observed, Request, Unfit, Updated};
use crate::erasure::context::catalogs;
use crate::lineage;
use crate::name::QualifiedTable;
use crate::policy::{Draft, folder, read};
use crate::start;
use crate::system::postgres::connect::{self, Timeouts as Connecting};
use crate::system::postgres::discovery::observe;
use crate::system::postgres::sweep::Timeouts;
use clap::Args;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Draft a policy from a database: its foreign keys, its columns, and samples of its rows.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  erasured discover --system shop --root public.customer
  erasured discover --system shop --root public.customer --output policies/customer.toml
  erasured discover --update policies/customer.toml      after a migration

What is doubtful stands as action = \"decide\": nothing of the policy runs until a person has put an
action in its place. Rows are sampled in short read-only transactions; no value is printed or kept.

Exit code 0: a draft was written, or --update found nothing new. 1: --update has added or marked
something, so look at it. 2: usage, configuration or FILE is wrong. 3: the database is away.")]
pub(super) struct Discover {
    /// The registered system.
    #[arg(long, value_name = "NAME", required_unless_present = "update")]
    system: Option<String>,
    /// The table whose row is the person: schema.table, spelt as the catalog spells it.
    #[arg(long, value_name = "TABLE", required_unless_present = "update")]
    root: Option<String>,
    /// What the kind of person is called; without it, after the table.
    #[arg(long, value_name = "NAME")]
    subject: Option<String>,
    /// Where telephone numbers without a country code are read, as two letters.
    #[arg(long, value_name = "REGION", default_value = "JP")]
    region: String,
    /// Write the draft there; a file that exists is left alone.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Merge what is new into this policy, and mark what is gone or changed.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["system", "root", "subject", "output"])]
    update: Option<PathBuf>,
}

impl Discover {
    pub(super) async fn execute(self, config: &Path) -> Result<(), Failure> {
        let config = start::configuration(config)?;
        match &self.update {
            Some(file) => self.update(&config, file).await,
            None => self.draft(&config).await,
        }
    }

    async fn draft(&self, config: &Config) -> Result<(), Failure> {
        let request = self.request()?;
        let catalogs = read_catalogs(config, BTreeSet::from([request.system.clone()])).await?;
        let catalog = &catalogs[&request.system];
        let questions = discovery::questions(catalog, &request, None);
        let observed = ask(config, catalog, &questions).await?;
        let text = discovery::fresh(catalog, &request, &observed)?;
        match &self.output {
            None => print(&text),
            Some(file) => {
                folder::write_new(file, &text)
                    .map_err(|e| Failure::usage(format!("{}: {e}", file.display())))?;
                say!(
                    "{} is written; read it, then run `erasured check`",
                    file.display()
                );
            }
        }
        Ok(())
    }

    async fn update(&self, config: &Config, file: &Path) -> Result<(), Failure> {
        let shown = file.display().to_string();
        let unreadable = |e: std::io::Error| Failure::usage(format!("{shown}: {e}"));
        let text = std::fs::read_to_string(file).map_err(unreadable)?;
        let mistakes = |diagnostics| Failure::Mistakes {
            diagnostics,
            exit_code: 2,
        };
        let beside = file.parent().unwrap_or(Path::new(""));
        let clocks = folder::clocks(beside).map_err(mistakes)?;
        let bases = folder::bases(beside).map_err(mistakes)?;
        let draft = read::draft_under(&shown, &text, &clocks, &bases).map_err(mistakes)?;
        let request = self.request_of(&draft);
        let catalogs = read_catalogs(config, lineage::systems_of_draft(&draft)).await?;
        let catalog = &catalogs[&request.system];
        let questions = discovery::questions(catalog, &request, Some(&draft));
        let observed = ask(config, catalog, &questions).await?;
        let Updated { text: merged, said } =
            discovery::update(&catalogs, &request, &observed, &draft, &text)?;
        if said.is_empty() {
            say!("{shown}: nothing new");
            return Ok(());
        }
        folder::replace(file, &merged).map_err(unreadable)?;
        for line in &said {
            say!("{line}");
        }
        say!("{shown}: {} thing(s) to look at", said.len());
        Err(Failure::Found)
    }

    fn request(&self) -> Result<Request, Failure> {
        let system = self.system.clone().unwrap_or_default();
        let root = self.root.as_deref().unwrap_or_default();
        let named: QualifiedTable = format!("s.{root}").parse().map_err(|_| {
            Failure::usage("--root is written schema.table, such as public.customer")
        })?;
        Ok(Request {
            system,
            root: named.table,
            subject: self.subject.clone(),
            region: self.region.clone(),
        })
    }

    fn request_of(&self, draft: &Draft) -> Request {
        let root = draft.so_far().root.0.clone();
        Request {
            system: root.system,
            root: root.table,
            subject: None,
            region: self.region.clone(),
        }
    }
}

type Catalogs = BTreeMap<String, crate::catalog::Catalog>;

async fn read_catalogs(config: &Config, names: BTreeSet<String>) -> Result<Catalogs, Failure> {
    if let Some(other) = names.iter().find(|n| config.mariadb.contains_key(*n)) {
        return Err(Failure::usage(format!(
            "the system {other:?} is MariaDB's: discover looks at PostgreSQL only; write its rules by hand"
        )));
    }
    if let Some(unknown) = names.iter().find(|n| !config.systems.contains_key(*n)) {
        let known: Vec<&str> = config.systems.keys().map(String::as_str).collect();
        return Err(Failure::usage(format!(
            "there is no system {unknown:?}; erasured.toml registers {}",
            known.join(", ")
        )));
    }
    let none = BTreeMap::new();
    Ok(catalogs(&start::systems(config)?, &none, names).await?.0)
}

async fn ask(
    config: &Config,
    catalog: &crate::catalog::Catalog,
    questions: &discovery::Questions,
) -> Result<Observed, Failure> {
    let settings = start::settings(&config.systems[&catalog.system].database)?;
    let client = connect::connect(&settings, "discover", Connecting::default()).await?;
    // A sample is a courtesy that production need not wait for.
    let timeouts = Timeouts {
        statement: config.limits.statement_timeout.min(Duration::from_secs(5)),
        lock: config.limits.lock_timeout.min(Duration::from_secs(1)),
        idle: config.limits.idle_timeout,
    };
    let observed = observe(&client, catalog, questions, timeouts).await;
    observed.map_err(|e| {
        let said = crate::system::postgres::failure::describe(&e);
        Failure::unreachable(format!("{}: {said}", catalog.system))
    })
}

impl From<Unfit> for Failure {
    fn from(error: Unfit) -> Self {
        Self::usage(error.to_string())
    }
}
