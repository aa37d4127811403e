//! The search for residuals, for all tickets of one subject kind that wait for it.

pub(super) mod mariadb;

use super::certify;
use super::context::{Context, System};
use super::crash_point;
use super::identity::Identity;
use super::lost;
use super::places;
use super::shared;
use super::subscribers::{self, Patience};
use crate::certificate::{self, ExemptColumn, NotCovered, ReadFrom, TableRead};
use crate::name::TableName;
use crate::policy::{Policy, SweepWhen, TableRule};
use crate::store::StoreError;
use crate::store::verifying::{Finding, OpenSweep, SweptTable, WaitingTicket};
use crate::system::postgres::connect::{ConnectError, Pool};
use crate::system::postgres::failure;
use crate::system::postgres::readable::{self, Readable, Target};
use crate::system::postgres::sweep::{self as reading, Sweep, SweepError, Timeouts};
use crate::verify::matcher::{Matcher, Needle};
use chrono::{DateTime, Utc};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// How often the tables of a system are listed before it is given up to catch up with them.
const LISTINGS: usize = 5;
const SEALED: &str =
    "the ticket's sealed identity does not open with this hash key; was the key replaced?";

/// How a sweep ended, in tickets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Those that it was for, and that still waited.
    pub tickets: usize,
    /// Closed by a certificate.
    pub closed: usize,
    /// Something of them is left, or nobody can say.
    pub found: usize,
    /// Tickets whose work was lost by a system, or that left something to somebody who has gone too.
    pub again: usize,
}

/// Why a sweep broke off; another daemon, or a later round, goes on where it stopped.
#[derive(Debug, thiserror::Error)]
pub enum SweepFailed {
    /// The control database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A system could not be reached.
    #[error("{0}")]
    Unreachable(#[from] ConnectError),
    /// A system could not be read.
    #[error("{0}: {1}")]
    Reading(String, String),
    /// Places of all its tickets could not be looked into.
    #[error("{0}")]
    Away(String),
    /// A logical subscriber has not applied what was erased, or is not there.
    #[error("{}", not_applied(system, slot, *known))]
    NotApplied {
        /// The registered name.
        system: String,
        /// The subscriber's replication slot.
        slot: String,
        /// Whether there is such a slot.
        known: bool,
    },
    /// The standby has not replayed what was erased.
    #[error("the standby of {0} has not replayed the erasure yet")]
    Behind(String),
}

fn not_applied(system: &str, slot: &str, known: bool) -> String {
    match known {
        true => format!("the subscriber {slot} of {system} has not applied what was erased yet"),
        false => format!(
            "{system} has no logical replication slot {slot}: [system.{system}] subscribers names one that is not there"
        ),
    }
}

/// A ticket whose identity is open.
pub(super) struct Opened {
    pub ticket: WaitingTicket,
    pub identity: Identity,
}

/// Whether a sweep for this policy is due: at once, or when the clock of its schedule has come
/// round since the oldest ticket began to wait.
pub fn is_due(policy: &Policy, waiting_since: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    match &policy.sweep.when {
        SweepWhen::AtOnce => true,
        SweepWhen::Schedule(timetable) => timetable.next(waiting_since).is_some_and(|at| at <= now),
    }
}

/// Whether tickets of this scope are searched for. Who asked for less than everything is still a
/// customer, whose address may stand anywhere else: there the probes inside the transaction are
/// the whole check.
pub(super) fn is_swept(policy: &Policy, scope: &str) -> bool {
    let whole = policy.scopes.get(scope).is_some_and(|s| s.extent.is_all());
    whole && policy.identifiers.values().any(|i| i.residual)
}

/// Sweeps for all tickets of the kind that wait now; `None` if nothing is to do here.
///
/// # Errors
/// [`SweepFailed`]; what was read to the end need not be read again.
pub async fn round(context: &Context, policy: &Arc<Policy>) -> Result<Option<Swept>, SweepFailed> {
    let lease = context.config.limits.lease;
    let Some(open) = context
        .store
        .open_sweep(&policy.subject, &policy.sha256, &context.holder, lease)
        .await?
    else {
        return Ok(None);
    };
    let token = open.token;
    let started = Instant::now();
    let swept = tokio::select! {
        swept = all_systems(context, policy, open) => swept,
        gone = keep(context, token) => Err(gone.into()),
    };
    metrics::histogram!(crate::metrics::SWEEP_SECONDS).record(started.elapsed().as_secs_f64());
    if let Err(problem) = &swept
        && let Err(error) = context.store.leave_sweep(token).await
    {
        tracing::debug!(%problem, %error, "the sweep stays leased until its time is over");
    }
    swept.map(Some)
}

async fn keep(context: &Context, token: Uuid) -> StoreError {
    let lease = context.config.limits.lease;
    loop {
        tokio::time::sleep(lease / 3).await;
        if super::unwatched() {
            continue;
        }
        match context.store.renew_sweep(token, lease).await {
            Err(error) if super::context::lost(&error) => return error,
            Err(error) => tracing::warn!(%error, "the sweep's lease could not be renewed yet"),
            Ok(()) => {}
        }
    }
}

async fn all_systems(
    context: &Context,
    policy: &Arc<Policy>,
    mut open: OpenSweep,
) -> Result<Swept, SweepFailed> {
    let waiting = open.tickets.len();
    let (mut tickets, unreadable) = open_tickets(context, std::mem::take(&mut open.tickets));
    fail_waiting(context, open.token, &unreadable, "E0507", SEALED).await?;
    let ids: Vec<Uuid> = tickets.iter().map(|t| t.ticket.id).collect();
    let steps = context.store.steps(&ids).await?;
    let done_in: BTreeSet<String> = steps.into_iter().map(|step| step.system).collect();
    subscribers::have_applied(context, &done_in, Patience::Long).await?;
    let (elsewhere, mut again) = orphans(context, open.token, &mut tickets).await?;
    let away = places::look_again(context, policy, open.token, &tickets, &elsewhere).await?;
    let hunt = Hunt::new(policy, &tickets);
    let mut reads = Vec::new();
    for system in context.systems.values() {
        reads.push(one_system(context, system, &open, &hunt, &tickets).await?);
    }
    for system in context.mariadb.values() {
        reads.push(mariadb::one_system(context, system, &open, &hunt, &tickets).await?);
    }
    crash_point("before-sign");
    if let Some(lost) = lost::goes_back(context, open.token, &tickets).await? {
        return Ok(Swept {
            tickets: waiting,
            closed: 0,
            found: 0,
            again: again + lost,
        });
    }
    // Whom they had left something to may have gone while all was read.
    let (late, more) = orphans(context, open.token, &mut tickets).await?;
    again += more;
    // What was not looked for above is by the next sweep.
    tickets.retain(|t| {
        let mut theirs = late.iter().filter(|(of, _)| of.2 == t.ticket.id);
        theirs.all(|(of, names)| {
            let looked_for = elsewhere.get(of);
            looked_for.is_some_and(|known| names.0.is_subset(&known.0))
        })
    });
    let problem = "something of the person is left: `erasured ticket show` says where; mend the policy, then `erasured ticket retry`";
    let failed: BTreeSet<Uuid> = context
        .store
        .fail_found(open.token, "E0510", problem)
        .await?
        .into_iter()
        .collect();
    for id in &failed {
        let of = tickets.iter().find(|t| t.ticket.id == *id);
        let reference = of.map_or("", |t| t.ticket.reference.as_str());
        tracing::error!(ticket = %id, reference, code = "E0510", "a residual was found; the certificate is refused; `erasured ticket show` says where");
        context.has_failed("E0510");
    }
    let clean: Vec<Opened> = tickets
        .into_iter()
        .filter(|t| !failed.contains(&t.ticket.id) && !away.contains(&t.ticket.id))
        .collect();
    let (closed, unsigned) = certify::close(context, policy, open.token, &clean, &reads).await?;
    context.store.finish_sweep(open.token).await?;
    Ok(Swept {
        tickets: waiting,
        closed,
        found: failed.len() + unreadable.len() + unsigned,
        again,
    })
}

/// Puts back whose steps take what is nobody's any more, and fails those of which that cannot be told; neither is
/// swept any further. Returns what else is nobody's, and how many go back.
async fn orphans(
    context: &Context,
    token: Uuid,
    tickets: &mut Vec<Opened>,
) -> Result<(places::Elsewhere, usize), SweepFailed> {
    let orphans = shared::orphans(context, tickets).await?;
    let again = orphans.go_back(context, token).await?;
    let (untold, code) = (&orphans.untold, "E0541");
    fail_waiting(context, token, untold, code, places::NOT_SEEN).await?;
    tickets.retain(|t| !orphans.concern(t.ticket.id));
    Ok((orphans.elsewhere, again))
}

/// The tickets whose seals open, and those whose do not.
fn open_tickets(context: &Context, tickets: Vec<WaitingTicket>) -> (Vec<Opened>, Vec<Uuid>) {
    let (mut opened, mut unreadable) = (Vec::with_capacity(tickets.len()), Vec::new());
    for ticket in tickets {
        match Identity::open(&context.hash_key, ticket.id, &ticket.sealed) {
            Ok(identity) => opened.push(Opened { ticket, identity }),
            Err(_) => unreadable.push(ticket.id),
        }
    }
    (opened, unreadable)
}

/// Nobody can say that they are clean, or what was done: a person must put it right.
pub(super) async fn fail_waiting(
    context: &Context,
    token: Uuid,
    tickets: &[Uuid],
    code: &'static str,
    problem: &'static str,
) -> Result<(), StoreError> {
    if tickets.is_empty() {
        return Ok(());
    }
    context
        .store
        .fail_waiting(token, tickets, code, problem)
        .await?;
    for id in tickets {
        tracing::error!(ticket = %id, code, problem, "a ticket failed and waits for a person");
        context.has_failed(code);
    }
    Ok(())
}

/// What is sought, and whose it is.
struct Hunt<'p> {
    /// The policy as it is in force under each scope whose tickets are searched for.
    in_force: Vec<Cow<'p, Policy>>,
    matcher: Matcher,
    /// Tag to position of the ticket and name of the identifier.
    tags: Vec<(usize, String)>,
    names: Vec<String>,
}

impl<'p> Hunt<'p> {
    fn new(policy: &'p Policy, tickets: &[Opened]) -> Self {
        let scopes = tickets.iter().map(|t| t.ticket.scope.as_str());
        let scopes: BTreeSet<&str> = scopes.filter(|s| is_swept(policy, s)).collect();
        let mut tags = Vec::new();
        let mut needles = Vec::new();
        for (at, ticket) in tickets.iter().enumerate() {
            if !is_swept(policy, &ticket.ticket.scope) || !ticket.ticket.refused.is_empty() {
                continue;
            }
            for hunted in ticket.identity.hunted(policy) {
                let tag = u32::try_from(tags.len()).expect("fewer identifiers than 2³²");
                needles.push(Needle::new(&hunted.value, tag));
                tags.push((at, hunted.name));
            }
        }
        let names = policy
            .identifiers
            .iter()
            .filter(|(_, i)| i.residual)
            .map(|(name, _)| name.clone())
            .collect();
        Self {
            in_force: scopes.into_iter().map(|s| policy.under(s)).collect(),
            matcher: Matcher::new(needles),
            tags,
            names,
        }
    }
}

async fn one_system(
    context: &Context,
    system: &System,
    open: &OpenSweep,
    hunt: &Hunt<'_>,
    tickets: &[Opened],
) -> Result<certificate::Sweep, SweepFailed> {
    let failed =
        |e: tokio_postgres::Error| SweepFailed::Reading(system.name.clone(), failure::describe(&e));
    let (pool, read_from) = where_to_read(system).await?;
    // Taken out of the pool for good: a reading that breaks off leaves a session inside a
    // transaction, and what a session has read passes through its buffers.
    let client = deadpool_postgres::Client::take(pool.get().await?);
    let Readable {
        mut targets,
        not_covered,
    } = readable::readable(&client, timeouts(context))
        .await
        .map_err(failed)?;
    let exempt =
        |table: &TableName, column: &str| exempt(&hunt.in_force, &system.name, table, column);
    let mut read = certificate::Sweep {
        system: system.name.clone(),
        read_from,
        columns: 0,
        rows: 0,
        bytes: 0,
        first_read_at: context.now(),
        last_read_at: context.now(),
        identifiers: hunt.names.clone(),
        tables: Vec::new(),
        exempt: Vec::new(),
        not_covered: not_covered
            .iter()
            .map(|(table, reason)| uncovered(table, reason))
            .collect(),
    };
    // Tables are read by name, and may be made, renamed or exchanged meanwhile: the list is made
    // anew until it holds nothing that was not read under that name.
    let mut known: BTreeSet<(TableName, u32)> = BTreeSet::new();
    for _ in 0..LISTINGS {
        let fresh = targets.iter().filter(|t| known.insert(t.identity()));
        let fresh: Vec<&Target> = fresh.collect();
        if fresh.is_empty() {
            return Ok(read);
        }
        for target in fresh {
            let already = open
                .swept
                .iter()
                .find(|s| s.system == system.name && s.identity() == target.identity());
            let table = match already {
                Some(swept) => Some(swept.clone()),
                None => {
                    one_table(
                        context, system, &client, target, &exempt, open, hunt, tickets, &mut read,
                    )
                    .await?
                }
            };
            let columns = target.columns.iter().map(|c| c.name.as_str());
            note(&mut read, &target.table, columns, table.as_ref(), &exempt);
        }
        let again = readable::readable(&client, timeouts(context));
        targets = again.await.map_err(failed)?.targets;
    }
    let problem = "tables are made or renamed faster than they are read; the sweep begins anew";
    Err(SweepFailed::Reading(system.name.clone(), problem.into()))
}

pub(super) fn timeouts(context: &Context) -> Timeouts {
    let limits = &context.config.limits;
    Timeouts {
        statement: limits.statement_timeout,
        lock: limits.lock_timeout,
        idle: limits.idle_timeout,
    }
}

/// The standby, once it shows what the primary had committed when this was asked.
async fn where_to_read(system: &System) -> Result<(&Pool, ReadFrom), SweepFailed> {
    let Some(standby) = &system.sweep_pool else {
        return Ok((&system.pool, ReadFrom::Primary));
    };
    let failed =
        |e: tokio_postgres::Error| SweepFailed::Reading(system.name.clone(), failure::describe(&e));
    let primary = system.pool.get().await?;
    let row = primary
        .query_one(
            "/* erasured:sweep */ SELECT pg_current_wal_insert_lsn()::text",
            &[],
        )
        .await
        .map_err(failed)?;
    let written: String = row.get(0);
    let client = standby.get().await?;
    for _ in 0..60 {
        let row = client
            .query_one(
                "/* erasured:sweep */ SELECT coalesce(pg_last_wal_replay_lsn() >= $1::text::pg_lsn, NOT pg_is_in_recovery())",
                &[&written],
            )
            .await
            .map_err(failed)?;
        if row.get(0) {
            return Ok((standby, ReadFrom::Standby));
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Err(SweepFailed::Behind(system.name.clone()))
}

/// Why a column is left unread: a rule says so under every scope that is searched for. A rule for
/// other scopes says nothing here.
fn exempt(
    in_force: &[Cow<'_, Policy>],
    system: &str,
    table: &TableName,
    column: &str,
) -> Option<String> {
    let here = |r: &&TableRule| r.table.system == system && r.table.table == *table;
    let mut reasons = in_force.iter().map(|policy| {
        let mut rules = policy.tables.iter().filter(here);
        rules.find_map(|r| r.sweep_exempt.get(column))
    });
    let first = reasons.next()??.clone();
    reasons.all(|reason| reason.is_some()).then_some(first)
}

#[allow(clippy::too_many_arguments)] // one table of one system of one sweep
async fn one_table(
    context: &Context,
    system: &System,
    client: &deadpool_postgres::ClientWrapper,
    target: &Target,
    exempt: &(dyn Fn(&TableName, &str) -> Option<String> + Sync),
    open: &OpenSweep,
    hunt: &Hunt<'_>,
    tickets: &[Opened],
    read: &mut certificate::Sweep,
) -> Result<Option<SweptTable>, SweepFailed> {
    if hunt.matcher.is_empty() {
        return Ok(None);
    }
    let limits = &context.config.limits;
    let clock = context.clock.clone();
    let sweep = Sweep {
        targets: std::slice::from_ref(target),
        exempt,
        matcher: &hunt.matcher,
        pace: limits.sweep_bytes_per_second,
        timeouts: timeouts(context),
        clock: &move || clock(),
    };
    let report = reading::sweep(client, &sweep, |_| {})
        .await
        .map_err(|e| unread(&system.name, &e))?;
    read.not_covered.extend(
        report
            .not_covered
            .iter()
            .map(|(table, reason)| uncovered(table, reason)),
    );
    crash_point("during-sweep");
    let Some(table) = report.tables.first() else {
        return Ok(None);
    };
    let found = findings(hunt, tickets, &report.findings);
    let swept = SweptTable {
        system: system.name.clone(),
        schema: target.table.schema.clone(),
        table: target.table.table.clone(),
        oid: target.identity().1,
        started_at: table.started_at,
        finished_at: table.finished_at,
        rows: i64::try_from(table.rows).unwrap_or(i64::MAX),
        bytes: i64::try_from(table.bytes).unwrap_or(i64::MAX),
    };
    metrics::counter!(crate::metrics::SWEEP_BYTES, "system" => system.name.clone())
        .increment(table.bytes);
    metrics::counter!(crate::metrics::SWEEP_FINDINGS, "system" => system.name.clone())
        .increment(found.len() as u64);
    context
        .store
        .table_swept(open.token, &swept, &found)
        .await?;
    Ok(Some(swept))
}

fn uncovered(table: &TableName, reason: &str) -> NotCovered {
    NotCovered {
        table: table.to_string(),
        reason: reason.to_owned(),
    }
}

fn unread(system: &str, error: &SweepError) -> SweepFailed {
    SweepFailed::Reading(system.to_owned(), error.to_string())
}

/// One finding a row key; rows beyond those remembered are counted on the last.
fn findings(hunt: &Hunt<'_>, tickets: &[Opened], found: &[reading::Finding]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for hit in found {
        let (ticket, identifier) = &hunt.tags[hit.tag as usize];
        let listed = hit.row_keys.len().max(1);
        let beyond =
            i64::try_from(hit.rows).unwrap_or(i64::MAX) - i64::try_from(listed).unwrap_or(0);
        for at in 0..listed {
            let extra = if at + 1 == listed { beyond.max(0) } else { 0 };
            findings.push(Finding {
                ticket: tickets[*ticket].ticket.id,
                column: hit.column.clone(),
                identifier: identifier.clone(),
                row_key: hit.row_keys.get(at).cloned(),
                rows: 1 + extra,
            });
        }
    }
    findings
}

/// Adds one table to what the certificate says was read.
fn note<'t>(
    read: &mut certificate::Sweep,
    table: &TableName,
    columns: impl Iterator<Item = &'t str>,
    swept: Option<&SweptTable>,
    exempt: &dyn Fn(&TableName, &str) -> Option<String>,
) {
    let Some(swept) = swept else { return };
    if read.tables.is_empty() {
        read.first_read_at = swept.started_at;
    }
    read.last_read_at = read.last_read_at.max(swept.finished_at);
    read.rows += swept.rows.unsigned_abs();
    read.bytes += swept.bytes.unsigned_abs();
    read.tables.push(TableRead {
        table: table.to_string(),
        read_at: swept.started_at,
    });
    for column in columns {
        match exempt(table, column) {
            Some(reason) => read.exempt.push(ExemptColumn {
                table: table.to_string(),
                column: column.to_owned(),
                reason,
            }),
            None => read.columns += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Policy, TableName, exempt};
    use crate::policy::read::read;

    const POLICY: &str = r#"
subject = "customer"
root = "s.public.customer"
[identifier.email]
column = "email"
type = "email"
find = true
residual = true
[scope.account]
tables = "all"
verify = { at_least = "basic" }
sla = "jp-appi"
[scope.business]
tables = "all"
verify = { at_least = "basic" }
sla = "jp-appi"
[scope.news]
tables = ["s.public.letter"]
verify = { at_least = "basic" }
sla = "jp-appi"
[[table]]
name = "s.public.customer"
action = "delete"
[[table]]
name = "s.public.letter"
action = "delete"
sweep_exempt = { photo = "an image" }
[[table]]
name = "s.public.letter"
scopes = ["business"]
action = "delete"
sweep_exempt = { photo = "an image", body = "of the firm" }
[[table]]
name = "s.public.letter"
scopes = ["news"]
action = "delete"
sweep_exempt = { note = "no name" }
"#;

    /// A rule for one scope takes nothing out of the search for a ticket of another.
    #[test]
    fn what_one_scope_exempts_is_read_for_the_others() {
        let policy: Policy = read("policy.toml", POLICY).unwrap();
        let letter = TableName::new("public", "letter");
        let unread = |scopes: &[&str]| -> Vec<&str> {
            let in_force: Vec<_> = scopes.iter().map(|s| policy.under(s)).collect();
            let columns = ["body", "note", "photo"].into_iter();
            columns
                .filter(|c| exempt(&in_force, "s", &letter, c).is_some())
                .collect()
        };
        assert_eq!(unread(&["account"]), ["photo"]);
        assert_eq!(unread(&["business"]), ["body", "photo"]);
        assert_eq!(unread(&["account", "business"]), ["photo"]);
        assert!(unread(&[]).is_empty());
    }
}
