//! `erasured check`.

use super::drift::{self, Drift};
use super::excluded;
use super::explain::hint;
use super::failure::Failure;
use super::{Format, colours, print, print_json, say};
use crate::catalog::Catalog;
use crate::config::Config;
use crate::diagnostic::{self, Diagnostic};
use crate::discovery;
use crate::erasure::context::{System, catalogs};
use crate::erasure::{NOT_BELIEVED, nobodys_things, unbelievable};
use crate::lineage;
use crate::plan::PlacePlan;
use crate::policy::{Draft, Policy, atomic, place};
use crate::retention::{self, archive::Archive, throttle::Reason};
use crate::start::{self, StartError};
use crate::store::{self, Store};
use crate::system::mariadb;
use crate::system::postgres::{failure, partition, prepared, readable};
use chrono::Utc;
use clap::Args;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Check configuration and policies, by themselves and against the databases.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  erasured check
  erasured check --offline                   only what the files say
  erasured check --format json               the same for an editor: file, line, column, code

What has changed within a policy's reach since its plan last ran is shown as a diff.
Exit code 1: the policies do not fit the databases, or leave something to decide. 2: a file is wrong. 3: a database is away.")]
pub(super) struct Check {
    /// Ask no database.
    #[arg(long)]
    offline: bool,
    /// Columns for people, or a JSON list of what was found.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl Check {
    pub(super) async fn execute(self, path: &Path) -> Result<(), Failure> {
        let config = match start::configuration(path) {
            Ok(config) => config,
            Err(error) => return self.files_are_wrong(error),
        };
        let drafts = match start::drafts(&config) {
            Ok(drafts) => drafts,
            Err(error) => return self.files_are_wrong(error),
        };
        let mut found: Vec<Diagnostic> = drafts.iter().flat_map(Draft::left_to_decide).collect();
        let kinds = config.kinds();
        found.extend(
            drafts
                .iter()
                .flat_map(|d| place::misfits(d.so_far(), &kinds)),
        );
        let together = drafts.iter();
        found.extend(together.flat_map(|d| atomic::misfits(d.so_far(), &kinds)));
        found.extend(unknown_buckets(&config, &drafts));
        if self.offline {
            return self.end(&drafts, &found, &[], "are well formed");
        }
        // Not the keys: they may be readable by the service alone.
        let (systems, mariadb) = (start::systems(&config)?, start::mariadb(&config)?);
        found.extend(ready(&config, &systems).await?);
        let unfit = mariadb_ready(&mariadb).await?;
        // What cannot be seen cannot be traced.
        let blind = !unfit.is_empty();
        found.extend(unfit);
        found.extend(places_ready(&config).await?);
        if blind {
            return self.end(&drafts, &found, &[], "fit the databases");
        }
        let mut names: BTreeSet<String> =
            drafts.iter().flat_map(lineage::systems_of_draft).collect();
        let rules = drafts.iter().flat_map(|d| &d.so_far().retention);
        names.extend(rules.map(|rule| rule.table.system.clone()));
        let (catalogs, _) = catalogs(&systems, &mariadb, names).await?;
        found.extend(places_believed(&config, &drafts, &catalogs).await?);
        let in_force: Vec<&Policy> = drafts.iter().map(|d| d.so_far()).collect();
        for draft in &drafts {
            found.extend(excluded::found(&systems, draft.so_far()).await?);
            found.extend(lineage::check_draft(draft, &catalogs));
            if draft.open().is_empty() {
                found.extend(discovery::overlooked(draft.so_far(), &catalogs));
                let rules = lineage::check_rules(draft.so_far(), &in_force, Utc::now(), &catalogs);
                let policy = draft.so_far();
                let archives = policy.retention.iter();
                found.extend(archives.filter_map(|rule| Archive::warning(policy, rule)));
                let known = |d: &Diagnostic| {
                    found
                        .iter()
                        .any(|f| f.code == d.code && f.message == d.message)
                };
                let new: Vec<_> = rules.into_iter().filter(|d| !known(d)).collect();
                found.extend(new);
            }
        }
        let store = Store::new(start::control_pool(&config, "check", 1)?.inner().clone());
        let drifts = drift::since_the_plan(&store, &drafts, &catalogs).await;
        let drifts = drifts.unwrap_or_else(|unknown| {
            found.push(unknown);
            Vec::new()
        });
        self.end(&drafts, &found, &drifts, "fit the databases")
    }

    fn end(
        &self,
        drafts: &[Draft],
        found: &[Diagnostic],
        drifts: &[Drift],
        verdict: &str,
    ) -> Result<(), Failure> {
        self.tell(found, drifts);
        if start::stops(found) {
            return Err(Failure::Found);
        }
        self.summary(drafts, verdict);
        Ok(())
    }

    fn files_are_wrong(&self, error: StartError) -> Result<(), Failure> {
        let found = error.diagnostics();
        match self.format {
            Format::Json => print_json(&diagnostic::to_json(&found)),
            Format::Table => eprint!(
                "{}{}",
                diagnostic::render(&found, colours(&std::io::stderr())),
                hint(&found)
            ),
        }
        Err(Failure::Mistakes {
            diagnostics: Vec::new(),
            exit_code: 2,
        })
    }

    fn tell(&self, found: &[Diagnostic], drifts: &[Drift]) {
        match self.format {
            Format::Json => {
                let all: Vec<Diagnostic> = drifts.iter().map(Drift::diagnostic).collect();
                print_json(&diagnostic::to_json(&[&all, found].concat()));
            }
            Format::Table => {
                let colours = colours(&std::io::stdout());
                for drift in drifts {
                    print(&drift.text(colours));
                }
                print(&(diagnostic::render(found, colours) + &hint(found)));
            }
        }
    }

    fn summary(&self, drafts: &[Draft], verdict: &str) {
        if self.format == Format::Json {
            return;
        }
        for draft in drafts {
            say!("{}", line(draft.so_far()));
        }
        say!("{} policy file(s) {verdict}", drafts.len());
    }
}

fn line(policy: &Policy) -> String {
    let scopes: Vec<String> = policy
        .scopes
        .iter()
        .map(|(name, scope)| match scope.extent.covers() {
            None => format!("{name} (all tables)"),
            Some(covers) => match (covers.tables.len(), covers.columns.len()) {
                (tables, 0) => format!("{name} ({tables} tables)"),
                (0, columns) => format!("{name} ({columns} columns)"),
                (tables, columns) => format!("{name} ({tables} tables, {columns} columns)"),
            },
        })
        .collect();
    let tables: BTreeSet<_> = policy.tables.iter().map(|t| t.table.to_string()).collect();
    format!(
        "{}: {}, {} tables in {} system(s); scopes {}",
        policy.source.path,
        policy.subject,
        tables.len(),
        lineage::systems_of(policy).len(),
        scopes.join(", ")
    )
}

/// Buckets of archives that the configuration does not name.
fn unknown_buckets(config: &Config, drafts: &[Draft]) -> Vec<Diagnostic> {
    let rules = drafts.iter().map(Draft::so_far);
    let rules = rules.flat_map(|policy| policy.retention.iter().map(move |rule| (policy, rule)));
    let known = |bucket: &str| config.buckets.contains_key(bucket);
    rules
        .filter_map(|(policy, rule)| lineage::unknown_bucket(policy, rule, known))
        .collect()
}

/// Partitions that a retention run has left in between.
async fn unfinished(
    system: &str,
    client: &deadpool_postgres::Client,
) -> Result<Vec<Diagnostic>, Failure> {
    let notes = partition::unfinished(client).await;
    let notes = notes.map_err(|e| Failure::unreachable(format!("{system}: {e}")))?;
    let told = |(parent, name, subject, rule): partition::Unfinished| {
        Diagnostic::warning(
            "E0265",
            format!(
                "system {system}: the retention rule {rule} of {subject} is taking the partition {name} from {parent}, and has not finished"
            ),
            format!("unless it runs just now: erasured retention run {rule}"),
        )
    };
    Ok(notes.into_iter().map(told).collect())
}

/// Who copies the system's changes, and which of them do not get all.
async fn subscribers(
    system: &str,
    client: &deadpool_postgres::Client,
    named: &[String],
) -> Result<Vec<Diagnostic>, Failure> {
    let failed = |e| Failure::unreachable(format!("{system}: {}", failure::describe(&e)));
    let slots = "/* erasured:check */ SELECT slot_name::text FROM pg_replication_slots \
                  WHERE slot_type = 'logical' AND database = current_database() AND NOT temporary ORDER BY 1";
    let slots = client.query(slots, &[]).await.map_err(failed)?;
    let unnamed = slots
        .iter()
        .map(|row| row.get::<_, String>(0))
        .filter(|slot| !named.contains(slot));
    let mut found: Vec<Diagnostic> = unnamed.map(|slot| Diagnostic::warning(
        "E0306",
        format!("system {system}: {slot} is a logical subscriber's slot, and no certificate waits for it"),
        format!("if it copies people's rows: subscribers = [\"{slot}\"] in [system.{system}]"),
    )).collect();
    let publications = "/* erasured:check */ SELECT pubname::text FROM pg_publication WHERE NOT (pubdelete AND pubupdate) ORDER BY 1";
    let publications = client.query(publications, &[]).await.map_err(failed)?;
    found.extend(publications.iter().map(|row| Diagnostic::warning(
        "E0307",
        format!("system {system}: the publication {} leaves out deletions or changes: its subscribers never forget", row.get::<_, String>(0)),
        "ALTER PUBLICATION … SET (publish = 'insert, update, delete, truncate'), or register the subscriber as a system",
    )));
    Ok(found)
}

/// Prepared transactions of ours that nobody has ended for a minute.
async fn in_doubt(
    config: &Config,
    system: &str,
    client: &deadpool_postgres::Client,
) -> Result<Vec<Diagnostic>, Failure> {
    const LONG: f64 = 60.0;
    let store = Store::new(start::control_pool(config, "check", 1)?.inner().clone());
    let waiting = prepared::waiting(client, store.installation().await?).await;
    let waiting = waiting.map_err(|e| Failure::unreachable(format!("{system}: {e}")))?;
    let mut found = Vec::new();
    for one in waiting.iter().filter(|w| w.name.system == system) {
        let joint = store.joint(one.name.joint).await?;
        let (what, help) = match joint.map(|joint| joint.verdict) {
            _ if one.seconds < LONG => continue,
            None => (
                "and the control database has never heard of it",
                "was the control database restored? docs/operations.md says how a person decides",
            ),
            Some(None) => (
                "and it is not decided yet",
                "a daemon that runs decides it when the lease of who began it is over",
            ),
            Some(Some(_)) => (
                "and it is decided, and the system has not been told",
                "a daemon that runs, and reaches the system as the role that prepared it, ends it",
            ),
        };
        let message = format!(
            "system {system}: the transaction {} is prepared for {:.0} s, {what}",
            one.name, one.seconds
        );
        found.push(Diagnostic::warning("E0551", message, help));
    }
    Ok(found)
}

/// Whether the systems of other kinds answer, and do what they will be asked.
async fn places_ready(config: &Config) -> Result<Vec<Diagnostic>, Failure> {
    let mut found = Vec::new();
    for system in start::places(config).values() {
        match system.check().await {
            Ok(()) => {}
            Err(failed) if failed.transient => {
                return Err(Failure::unreachable(failed.to_string()));
            }
            Err(failed) => {
                let message = format!("system {failed}");
                let help = "mend the system, its rights or its settings in erasured.toml";
                found.push(Diagnostic::error("E0305", message, help));
            }
        }
    }
    Ok(found)
}

/// Whether each system that knows itself what it has of a person names nothing of somebody who does not
/// exist.
async fn places_believed(
    config: &Config,
    drafts: &[Draft],
    catalogs: &BTreeMap<String, Catalog>,
) -> Result<Vec<Diagnostic>, Failure> {
    let (systems, kinds) = (start::places(config), config.kinds());
    let mut found = Vec::new();
    for draft in drafts {
        let policy = draft.so_far();
        let like = forms(policy, catalogs);
        for place in &policy.places {
            let Some(system) = systems.get(&place.name.system) else {
                continue;
            };
            let plan = PlacePlan {
                place: place.name.place.clone(),
                sought: place.sought.clone(),
                excluded: BTreeMap::new(),
                kept: Vec::new(),
            };
            // What its kind cannot look for is told already.
            if place.sought.iter().any(|s| !kinds[&system.name].finds(s)) {
                continue;
            }
            let named = nobodys_things(system, policy, &plan, &like).await;
            let named = named.map_err(|failed| Failure::unreachable(failed.to_string()))?;
            if named > 0 {
                let message = unbelievable(&place.name.system, &place.name.place);
                let help = "it must look for the value that it is asked for, whole, and find nothing for one that nobody has";
                let told = Diagnostic::error(NOT_BELIEVED, message, help);
                found.push(told.at(&policy.source, place.span.clone()));
            }
        }
    }
    Ok(found)
}

/// Whether the MariaDB servers are as the erasure needs them.
async fn mariadb_ready(
    servers: &BTreeMap<String, mariadb::System>,
) -> Result<Vec<Diagnostic>, Failure> {
    let mut found = Vec::new();
    for (name, server) in servers {
        for (problem, help) in server
            .misfits()
            .await
            .map_err(|unread| Failure::unreachable(format!("{name}: {unread}")))?
        {
            let message = format!("system {name}: {problem}");
            found.push(Diagnostic::error("E0310", message, help));
        }
    }
    Ok(found)
}

/// A value of the form that each identifier's column has.
fn forms(policy: &Policy, catalogs: &BTreeMap<String, Catalog>) -> BTreeMap<String, Vec<String>> {
    let root = &policy.root.0;
    let table = catalogs.get(&root.system);
    let table = table.and_then(|catalog| catalog.tables.get(&root.table));
    let mut forms = BTreeMap::new();
    for (name, identifier) in &policy.identifiers {
        let column = table.and_then(|table| table.column(&identifier.column));
        let like = match column.map(|column| column.base.as_str()) {
            Some("int2" | "int4" | "int8" | "numeric") => "0",
            Some("uuid") => "00000000-0000-0000-0000-000000000000",
            _ => "",
        };
        forms.insert(name.clone(), vec![like.to_owned()]);
    }
    forms
}

/// Whether our own schemas are in place, and the daemon may use them.
async fn ready(
    config: &Config,
    systems: &BTreeMap<String, System>,
) -> Result<Vec<Diagnostic>, Failure> {
    {
        let client = start::control_pool(config, "check", 1)?.get().await?;
        store::check_version(&client).await?;
    }
    let mut found = Vec::new();
    for (name, system) in systems {
        let client = system.pool.get().await?;
        if let Some(problem) = store::target_problem(&client).await? {
            found.push(Diagnostic::error(
                "E0302",
                format!("system {name}: {problem}"),
                format!(
                    "run `erasured migrate --only {name}` as its owner, then sql/roles/target.sql"
                ),
            ));
        }
        found.extend(unfinished(name, &client).await?);
        if let Some(config) = config.systems.get(name) {
            found.extend(subscribers(name, &client, &config.subscribers).await?);
        }
        found.extend(in_doubt(config, name, &client).await?);
        let place = system.sweep_pool.as_ref().unwrap_or(&system.pool);
        let forbidden = readable::forbidden(&*place.get().await?).await;
        let forbidden = forbidden
            .map_err(|e| Failure::unreachable(format!("{name}: {}", failure::describe(&e))))?;
        if let Some(first) = forbidden.first() {
            let n = forbidden.len();
            found.push(Diagnostic::error(
                "E0303",
                format!("system {name}: the sweep may not read {n} table(s), such as {first}: tickets would wait in verifying"),
                "GRANT pg_read_all_data TO erasured_daemon, as a superuser",
            ));
        }
    }
    for (name, system) in &config.systems {
        for kind in retention::unreadable(name, system).await {
            let message = format!(
                "[system.{name}.throttle]: {}, so a retention run would wait",
                Reason::Unknown(kind)
            );
            found.push(Diagnostic::warning("E0304", message, kind.help()));
        }
    }
    Ok(found)
}
