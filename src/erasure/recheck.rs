//! Whether somebody who was erased has come back: by a late message, a job that synchronises, a cache.
//!
//! Nothing is known of them but keyed hashes. So the columns that hold identifiers are read, as a sweep reads
//! them, and each value is hashed. What is found is told and never deleted: it may be a new customer, and
//! nobody has asked for it.

use super::context::{Context, System};
use super::sweep::{Opened, SweepFailed, is_swept, timeouts};
use crate::name::TableName;
use crate::policy::{LinkFrom, LinkTo, Policy, TableRule};
use crate::store::StoreError;
use crate::store::recheck::{CameBack, Due};
use crate::system::mariadb;
use crate::system::postgres::failure;
use crate::system::postgres::returned::parts;
use crate::system::postgres::sweep::{self as reading, Sweep, readable};
use crate::verify::returned::Returned;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;
use uuid::Uuid;

/// Tickets looked for in one reading.
const AT_ONCE: i64 = 10_000;
/// Nobody else looks meanwhile; if it takes longer, two may, and say it once.
const LEASE: Duration = Duration::from_secs(15 * 60);
const PROBLEM: &str = "data of a person who was erased has come back; it is not deleted: find who writes it, then file a ticket";

/// By what the people of these tickets are known again. Whose value somebody else has too is left out by it.
pub(super) async fn watch(
    context: &Context,
    policy: &Policy,
    tickets: &[Opened],
) -> Result<(), StoreError> {
    let mut hashes = Vec::new();
    for of in tickets {
        // What was refused of a ticket rightly has the person's values.
        let refused = !of.ticket.refused.is_empty();
        if policy.recheck.is_empty() || refused || !is_swept(policy, &of.ticket.scope) {
            continue;
        }
        hashes.extend(of.identity.hunted(policy).into_iter().map(|hunted| {
            let hash = context.hash_key.hash(&hunted.name, hunted.value.value());
            (of.ticket.id, hunted.name, hash)
        }));
    }
    if hashes.is_empty() {
        return Ok(());
    }
    context.store.watch(&hashes).await
}

/// Looks for all whose time has come; for how many.
///
/// # Errors
/// [`SweepFailed`]; those are looked for again a while later.
pub async fn round(context: &Context) -> Result<usize, SweepFailed> {
    let (mut all, mut failed) = (0, Ok(()));
    let policies: Vec<_> = context.policies().values().cloned().collect();
    for policy in policies {
        let unwanted = policy.recheck.is_empty();
        context
            .store
            .stop_watching(&policy.subject, unwanted)
            .await?;
        let Some(last) = policy.recheck.last() else {
            continue;
        };
        let due = context
            .store
            .begin_recheck(&policy.subject, &policy.recheck, AT_ONCE, LEASE)
            .await?;
        if due.is_empty() {
            continue;
        }
        // Of one kind of people that cannot be looked for the others do not wait.
        let found = match look(context, &policy, &due).await {
            Ok(found) => found,
            Err(error) => {
                failed = Err(error);
                continue;
            }
        };
        let new = context.store.end_recheck(&due, *last, &found).await?;
        tell(&policy, &found, new);
        all += due.len();
    }
    failed.map(|()| all)
}

fn tell(policy: &Policy, found: &[CameBack], new: u64) {
    metrics::counter!(crate::metrics::CAME_BACK, "subject" => policy.subject.clone())
        .increment(new);
    if new == 0 {
        return;
    }
    for back in found {
        tracing::error!(
            ticket = %back.ticket, system = back.system, table = format!("{}.{}", back.schema, back.table),
            column = back.column, identifier = back.identifier, rows = back.rows, code = "E0518", "{PROBLEM}"
        );
    }
}

/// Columns by system and table.
type Places = BTreeMap<String, BTreeMap<TableName, BTreeSet<String>>>;

/// Where the policy says that identifiers stand which are searched for.
fn places(policy: &Policy) -> Places {
    let mut places = Places::new();
    let unread = |system: &str, table: &TableName, column: &str| {
        let here = |r: &&TableRule| r.table.system == system && r.table.table == *table;
        let mut rules = policy.tables.iter().filter(here);
        rules.any(|r| r.sweep_exempt.contains_key(column))
    };
    let mut add = |system: &str, table: &TableName, column: &str| {
        if unread(system, table, column) {
            return;
        }
        let tables = places.entry(system.to_owned()).or_default();
        let columns = tables.entry(table.clone()).or_default();
        columns.insert(column.to_owned());
    };
    let searched = |name: &str| policy.identifiers.get(name).is_some_and(|i| i.residual);
    let root = &policy.root.0;
    for identifier in policy.identifiers.values().filter(|i| i.residual) {
        add(&root.system, &root.table, &identifier.column);
    }
    for rule in &policy.tables {
        let Some(link) = &rule.link else { continue };
        if let (LinkFrom::Columns(columns), LinkTo::Identifier(name)) = (&link.from, &link.to)
            && searched(name)
        {
            for column in columns {
                add(&rule.table.system, &rule.table.table, column);
            }
        }
    }
    places
}

async fn look(
    context: &Context,
    policy: &Policy,
    due: &[Due],
) -> Result<Vec<CameBack>, SweepFailed> {
    let mut known: HashMap<String, Vec<u32>> = HashMap::new();
    let mut whose: Vec<(Uuid, &str)> = Vec::new();
    for of in due {
        for (name, hash) in &of.hashes {
            let tag = u32::try_from(whose.len()).expect("fewer identifiers than 2³²");
            known.entry(hash.clone()).or_default().push(tag);
            whose.push((of.ticket, name));
        }
    }
    let identifiers = policy.identifiers.iter().filter(|(_, i)| i.residual);
    let returned = Returned {
        identifiers: identifiers
            .map(|(name, i)| (name.clone(), i.kind.clone()))
            .collect(),
        known,
        hash: &|name, value| context.hash_key.hash(name, value),
    };
    let mut found = Vec::new();
    for (name, tables) in places(policy) {
        let read = match (context.systems.get(&name), context.mariadb.get(&name)) {
            (Some(system), _) => read(context, system, &tables, &returned).await?,
            (None, Some(system)) => read_mariadb(context, system, &tables, &returned).await?,
            (None, None) => {
                return Err(SweepFailed::Reading(name, "it is not registered".into()));
            }
        };
        for finding in read {
            let (ticket, identifier) = whose[finding.tag as usize];
            found.push(CameBack {
                ticket,
                system: name.clone(),
                schema: finding.table.schema,
                table: finding.table.table,
                column: finding.column,
                identifier: identifier.to_owned(),
                rows: i64::try_from(finding.rows).unwrap_or(i64::MAX),
            });
        }
    }
    Ok(found)
}

async fn read(
    context: &Context,
    system: &System,
    tables: &BTreeMap<TableName, BTreeSet<String>>,
    returned: &Returned<'_>,
) -> Result<Vec<reading::Finding>, SweepFailed> {
    let failed =
        |e: tokio_postgres::Error| SweepFailed::Reading(system.name.clone(), failure::describe(&e));
    let pool = system.sweep_pool.as_ref().unwrap_or(&system.pool);
    // As for a sweep: what it has read passes through the session's buffers.
    let client = deadpool_postgres::Client::take(pool.get().await?);
    let mut wanted: HashMap<u32, &BTreeSet<String>> = HashMap::new();
    for (table, columns) in tables {
        let parts = parts(&client, table).await.map_err(failed)?;
        if parts.is_empty() {
            let gone = format!("the table {table} is not there");
            return Err(SweepFailed::Reading(system.name.clone(), gone));
        }
        wanted.extend(parts.into_iter().map(|part| (part, columns)));
    }
    let mut targets = readable(&client, timeouts(context))
        .await
        .map_err(failed)?
        .targets;
    targets.retain(|target| wanted.contains_key(&target.identity().1));
    let columns: HashMap<&TableName, &BTreeSet<String>> = targets
        .iter()
        .map(|t| (&t.table, wanted[&t.identity().1]))
        .collect();
    let limits = &context.config.limits;
    let sweep = Sweep {
        targets: &targets,
        exempt: &|table, column| {
            let read = columns.get(table).is_some_and(|c| c.contains(column));
            (!read).then(String::new)
        },
        matcher: returned,
        pace: limits.sweep_bytes_per_second,
        timeouts: timeouts(context),
        clock: &|| context.now(),
    };
    let report = reading::sweep(&client, &sweep, |_| {}).await;
    let report = report.map_err(|e| SweepFailed::Reading(system.name.clone(), e.to_string()))?;
    Ok(report.findings)
}

async fn read_mariadb(
    context: &Context,
    system: &mariadb::System,
    tables: &BTreeMap<TableName, BTreeSet<String>>,
    returned: &Returned<'_>,
) -> Result<Vec<reading::Finding>, SweepFailed> {
    let failed = |e: mariadb::Unread| SweepFailed::Reading(system.name.clone(), e.problem);
    let bounds = super::sweep::mariadb::bounds(context);
    let readable = system.readable(bounds).await.map_err(failed)?;
    let sweep = mariadb::sweep::Sweep {
        exempt: &|table, column| {
            let read = tables.get(table).is_some_and(|c| c.contains(column));
            (!read).then(String::new)
        },
        matcher: returned,
        pace: context.config.limits.sweep_bytes_per_second,
        clock: &|| context.now(),
    };
    let mut found = Vec::new();
    for table in tables.keys() {
        let target = readable.targets.iter().find(|t| t.table == *table);
        let read = match target {
            Some(target) => mariadb::sweep::read(system, bounds, &sweep, target).await,
            None => Ok(None),
        };
        let Some((_, findings)) = read.map_err(failed)? else {
            let gone = format!("the table {table} is not there");
            return Err(SweepFailed::Reading(system.name.clone(), gone));
        };
        found.extend(findings);
    }
    Ok(found)
}
