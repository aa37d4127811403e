//! What each loop does in one round.

use super::rounds::Round;
use super::state::Shared;
use super::{DaemonError, Progress, head_file};
use crate::diagnostic;
use crate::drop_folder::DropFailed;
use crate::erasure::context::{Context, catalogs};
use crate::erasure::intake::IntakeFailed;
use crate::erasure::{batch, clock, deferral, in_doubt, intake, recheck, sweep};
use crate::lineage;
use crate::metrics as names;
use crate::notice::offer;
use crate::outbox;
use crate::retention::schedule::{self, Scheduled};
use crate::start;
use crate::store::census::{Census, Closed};
use crate::store::definitions::When;
use crate::store::lease::LeasedBatch;
use crate::store::tickets::ScopeOffer;
use crate::store::{self, StoreError};
use crate::system::postgres::connect::{self, Timeouts};
use chrono::{DateTime, Utc};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// All states of a ticket: one that nobody is in any more counts zero, not what it counted last.
const OPEN: [&str; 8] = [
    "received",
    "verified",
    "approved",
    "scheduled",
    "executing",
    "verifying",
    "failed",
    "on_hold",
];
const CLOSED: [&str; 3] = ["completed", "deferred", "rejected"];

/// What a loop is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Work {
    Intake,
    Batch,
    /// The same for who need not go where a worker is held up.
    StandIn,
    Sweep,
    Deferral,
    /// Looking whether somebody has come back.
    Recheck,
    Retention,
    Ledger,
    /// Ending what systems keep prepared.
    InDoubt,
    /// Files of requests.
    Drop,
    /// Telling the target of this number.
    Outbox(usize),
}

/// Tickets that one round of intake looks at.
const INTAKE: u32 = 500;
/// Events that go into the ledger in one transaction.
const APPEND: u32 = 2_000;
/// How often retention's lag is looked at.
const LAG: Duration = Duration::from_secs(300);
/// How often a progress bar moves.
const BAR: Duration = Duration::from_millis(500);

pub(super) async fn round(shared: &Arc<Shared>, work: Work) -> Round {
    if !matches!(work, Work::Ledger | Work::Outbox(_) | Work::Drop)
        && let Some(problem) = shared.context.clock_problem()
    {
        return Round::Hindered(problem);
    }
    match work {
        Work::Intake => intake_round(shared).await,
        Work::Batch => batch_round(shared).await,
        Work::StandIn => stand_in_round(shared).await,
        Work::Sweep => sweep_round(shared).await,
        Work::Deferral => deferral_round(shared).await,
        Work::Recheck => recheck_round(shared).await,
        Work::Retention => retention_round(shared).await,
        Work::InDoubt => in_doubt_round(shared).await,
        Work::Drop => drop_round(shared).await,
        Work::Outbox(target) => outbox_round(shared, target).await,
        Work::Ledger => match append(&shared.context).await {
            Ok(more) => worked(more),
            // There may be room again soon. Until then an older head is compared.
            Err(DaemonError::State(error)) if is_full(&error) => Round::Hindered(format!(
                "the ledger's head could not be written down in the state directory: {error}"
            )),
            Err(error) => Round::Fatal(error),
        },
    }
}

fn is_full(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded
    )
}

fn worked(yes: bool) -> Round {
    if yes { Round::Worked } else { Round::Nothing }
}

/// A lost lease is somebody else's gain, no failure; the rest is waited out.
fn hindered(error: &StoreError) -> Round {
    match error {
        StoreError::LeaseLost { .. } => Round::Worked,
        error => Round::Hindered(error.to_string()),
    }
}

async fn intake_round(shared: &Shared) -> Round {
    let counted = match clock::round(&shared.context, INTAKE).await {
        Ok(counted) => counted,
        Err(error) => return hindered(&error),
    };
    match intake::round(&shared.context, INTAKE).await {
        Ok(n) => worked(n + counted > 0),
        Err(IntakeFailed::Store(error)) => hindered(&error),
        Err(error) => Round::Hindered(error.to_string()),
    }
}

async fn batch_round(shared: &Shared) -> Round {
    let context = &shared.context;
    let limits = &context.config.limits;
    let leased = match context
        .store
        .lease(&context.holder, limits.batch.get(), limits.lease)
        .await
    {
        Ok(Some(leased)) => leased,
        Ok(None) => return Round::Nothing,
        Err(error) => return hindered(&error),
    };
    work_off(context, leased).await
}

/// While a worker is at a system that is slow, tickets that need not go there go on.
async fn stand_in_round(shared: &Shared) -> Round {
    let context = &shared.context;
    let limits = &context.config.limits;
    let Some((_place, slow)) = context.under_way.stand_in() else {
        // Looked at again soon: nobody says when a batch has been somewhere for long.
        return match context.under_way.is_empty() {
            true => Round::Nothing,
            false => Round::Elsewhere,
        };
    };
    let others = context.away_from(&slow);
    if others.is_empty() {
        return Round::Elsewhere;
    }
    let lent =
        context
            .store
            .lease_among(&context.holder, limits.batch.get(), limits.lease, &others);
    match lent.await {
        Ok(Some(leased)) => work_off(context, leased).await,
        Ok(None) => Round::Elsewhere,
        Err(error) => hindered(&error),
    }
}

async fn work_off(context: &Context, leased: LeasedBatch) -> Round {
    crate::erasure::crash_point("after-lease");
    match batch::run(context, leased).await {
        Ok(ended) => {
            tracing::info!(
                to_verify = ended.to_verify,
                later = ended.later,
                failed = ended.failed,
                held = ended.held,
                "batch"
            );
            Round::Worked
        }
        Err(error) => {
            if matches!(error, StoreError::LeaseLost { .. }) {
                tracing::warn!("the lease was lost while working; another daemon has the tickets");
            }
            hindered(&error)
        }
    }
}

async fn sweep_round(shared: &Shared) -> Round {
    let context = &shared.context;
    let waiting = match context.store.oldest_waiting().await {
        Ok(waiting) => waiting,
        Err(error) => return hindered(&error),
    };
    let (mut any, mut elsewhere, mut hindrance) = (false, false, None);
    for (subject, since) in waiting {
        match sweep_kind(shared, &subject, since).await {
            Round::Worked => any = true,
            Round::Elsewhere => elsewhere = true,
            // The other kinds' tickets need not wait for it.
            Round::Hindered(problem) => hindrance = hindrance.or(Some(problem)),
            Round::Nothing => {}
            fatal @ Round::Fatal(_) => return fatal,
        }
    }
    match hindrance {
        Some(problem) => Round::Hindered(problem),
        None if elsewhere && !any => Round::Elsewhere,
        None => worked(any),
    }
}

/// The sweep for tickets of one kind, if it is due.
async fn sweep_kind(shared: &Shared, subject: &str, since: DateTime<Utc>) -> Round {
    let context = &shared.context;
    let Some(policy) = context.policies().get(subject).cloned() else {
        return Round::Hindered(format!(
            "tickets of the kind {subject:?} wait, and no policy in force is for it"
        ));
    };
    if !sweep::is_due(&policy, since, context.now()) {
        return Round::Nothing;
    }
    match sweep::round(context, &policy).await {
        Ok(Some(swept)) => {
            tracing::info!(closed = swept.closed, failed = swept.found, "sweep");
            // One taken over may have had nothing left to do; others wait behind it.
            worked(swept.tickets == 0 || swept.closed + swept.found + swept.again > 0)
        }
        Ok(None) => Round::Elsewhere,
        Err(sweep::SweepFailed::Store(error)) => {
            if matches!(error, StoreError::LeaseLost { .. }) {
                tracing::warn!("the lease was lost while searching; another daemon has the sweep");
            }
            hindered(&error)
        }
        Err(error) => Round::Hindered(error.to_string()),
    }
}

async fn drop_round(shared: &Shared) -> Round {
    match &shared.drop_folder {
        Some(folder) => match folder.round().await {
            Ok(files) => worked(files > 0),
            Err(DropFailed::Store(error)) => hindered(&error),
            Err(error) => Round::Hindered(error.to_string()),
        },
        None => Round::Nothing,
    }
}

/// One target's messages. What it does not take is waited for, and is no hindrance to the daemon.
async fn outbox_round(shared: &Shared, target: usize) -> Round {
    match shared.targets.get(target) {
        Some(target) => match outbox::round(&shared.context, target).await {
            Ok(tried) => worked(tried > 0),
            Err(error) => hindered(&error),
        },
        None => Round::Nothing,
    }
}

async fn deferral_round(shared: &Shared) -> Round {
    match deferral::round(&shared.context).await {
        Ok(n) => worked(n > 0),
        Err(error) => {
            if error.needs_a_person() {
                shared.context.needs_a_person();
            }
            Round::Hindered(error.to_string())
        }
    }
}

async fn recheck_round(shared: &Shared) -> Round {
    match recheck::round(&shared.context).await {
        Ok(n) => worked(n > 0),
        Err(error) => Round::Hindered(error.to_string()),
    }
}

async fn in_doubt_round(shared: &Shared) -> Round {
    match in_doubt::round(&shared.context).await {
        Ok((_, Some(problem))) => {
            Round::Hindered(format!("a prepared transaction waits: {problem}"))
        }
        Ok((ended, None)) => worked(ended > 0),
        Err(error) => hindered(&error),
    }
}

/// What systems keep prepared, beside what is known to be: asked of each system now and then.
pub(super) async fn look_for_prepared(shared: &Shared) -> Result<(), DaemonError> {
    let mut stopping = shared.stopping();
    while !*stopping.borrow() {
        if let Err(error) = in_doubt::look(&shared.context).await {
            tracing::warn!(%error, "what systems keep prepared is not known");
        }
        tokio::select! {
            () = tokio::time::sleep(shared.context.config.limits.poll * 10) => {}
            _ = stopping.changed() => {}
        }
    }
    Ok(())
}

async fn retention_round(shared: &Shared) -> Round {
    let stopping = shared.stopping();
    let context = &shared.context;
    match schedule::round(context, &|| *stopping.borrow()).await {
        Ok(Scheduled {
            hindrance: Some(problem),
            ..
        }) => Round::Hindered(problem),
        Ok(Scheduled {
            ran: 0,
            elsewhere: true,
            ..
        }) => Round::Elsewhere,
        Ok(scheduled) => worked(scheduled.ran > 0),
        Err(error) => hindered(&error),
    }
}

/// How far retention lags behind; each look may read a table that has no index.
pub(super) async fn measure_retention(shared: &Shared) -> Result<(), DaemonError> {
    let mut stopping = shared.stopping();
    let mut lags = schedule::Lags::default();
    while !*stopping.borrow() {
        if let Err(problem) = schedule::measure(&shared.context, &mut lags).await {
            tracing::warn!(problem, "the lag of a retention rule is not known");
        }
        tokio::select! {
            () = tokio::time::sleep(LAG) => {}
            _ = stopping.changed() => {}
        }
    }
    Ok(())
}

/// Moves events into the ledger; whether there were any. The head is written down outside the
/// database each time.
pub(super) async fn append(context: &Context) -> Result<bool, DaemonError> {
    match context.store.append_pending(APPEND).await {
        Ok(Some((head, moved))) => {
            metrics::gauge!(names::LEDGER_HEIGHT).set(float(head.seq));
            crate::erasure::crash_point("before-head");
            let advanced = head_file::advance(context, head).await;
            crate::erasure::crash_point("after-head");
            match advanced {
                // Compared and written down with the next.
                Err(DaemonError::Store(error)) => {
                    tracing::warn!(%error, "the ledger's head could not be compared");
                    Ok(false)
                }
                advanced => advanced.map(|()| moved > 0),
            }
        }
        Ok(None) => Ok(false),
        Err(error) => {
            tracing::warn!(%error, "events wait for the ledger");
            // Not fatal: they wait in their outbox, which the metrics show.
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok(false)
        }
    }
}

/// Schema version, clocks, scopes.
pub(super) async fn first_contact(shared: &Shared) -> Result<(), StoreError> {
    let context = &shared.context;
    {
        let client = context.store.pool().get().await.map_err(StoreError::from)?;
        store::check_version(&client).await?;
    }
    shared.compare_clocks(context.store.clock().await?);
    context.heed_maintenance().await?;
    publish(context).await?;
    serve_targets(shared).await
}

/// Who is told is a daemon's own configuration: it says that it lives, not that others do not.
async fn serve_targets(shared: &Shared) -> Result<(), StoreError> {
    let context = &shared.context;
    let targets = context.config.targets();
    if targets.is_empty() {
        return Ok(());
    }
    // Said again every six rounds of the census.
    let life = (context.config.limits.poll * 18).max(Duration::from_secs(300));
    let store = &context.store;
    for target in store.serve_targets(shared.id, &targets, life).await? {
        tracing::warn!(
            target,
            "E0639: another daemon has a target of this name that asks for other kinds; it is told of both"
        );
    }
    Ok(())
}

/// After a reload; what the control database did not take is offered again at the next census.
async fn publish_if_needed(shared: &Shared) {
    if !shared.is_unpublished() {
        return;
    }
    match publish(&shared.context).await {
        Ok(()) => shared.set_unpublished(false),
        Err(error) => tracing::warn!(%error, "the new scopes are not published to the desk yet"),
    }
}

async fn publish(context: &Context) -> Result<(), StoreError> {
    clock::begin_counting(context);
    let beside = context.beside();
    context.store.publish_methods(&beside.proofs).await?;
    context.store.publish_grounds(&beside.grounds).await?;
    context.store.publish_scopes(&offers(context)).await
}

/// What the policies in force ask, as the desk's functions enforce it.
pub fn offers(context: &Context) -> Vec<ScopeOffer> {
    let policies = context.policies();
    let waits = context.beside().proofs.signs.cooling_off;
    let waits = chrono::Duration::from_std(waits).expect("ten years at most fit");
    let all = policies.values().flat_map(|policy| {
        policy.scopes.iter().map(|(name, scope)| ScopeOffer {
            subject: policy.subject.clone(),
            scope: name.clone(),
            policy_sha256: policy.sha256.clone(),
            identifiers: policy
                .identifiers
                .iter()
                .filter(|(_, i)| i.find)
                .map(|(name, _)| name.clone())
                .collect(),
            at_least: scope.at_least,
            four_eyes: scope.four_eyes,
            cooling_off: scope.cooling_off,
            doubtful: scope.doubtful,
            doubtful_wait: scope.doubtful_wait.unwrap_or(waits),
            words: offer::offer(policy, name, scope),
            sla: scope.sla.code.clone(),
            confirm_over: scope.confirm_over,
            due_by: policy
                .retention
                .iter()
                .filter_map(|rule| Some((rule, rule.people.as_ref()?)))
                .filter(|(_, people)| people.scope == *name)
                .map(|(rule, people)| (rule.name.clone(), people.at_most))
                .collect(),
            clock_moves: scope
                .sla
                .moved_by()
                .iter()
                .map(|&kind| kind.into())
                .collect(),
        })
    });
    all.collect()
}

/// Drops sessions that nobody uses, on all databases.
pub(super) fn forget(context: &Context) {
    context.forget_sessions();
    context.store.pool().retain(|_, _| false);
}

/// SIGHUP: a new set of policies comes into force whole, or not at all.
pub(super) async fn reload(shared: &Arc<Shared>) {
    let _one = shared.reloading.lock().await;
    let context = &shared.context;
    let read = start::policies(&context.config)
        .and_then(|policies| Ok((policies, start::beside(&context.config)?)));
    let found = match read {
        Ok((policies, beside)) => {
            let names = policies
                .values()
                .flat_map(|p| lineage::systems_of(p))
                .collect::<std::collections::BTreeSet<_>>();
            match catalogs(&context.systems, &context.mariadb, names).await {
                Ok((catalogs, _)) => {
                    let found: Vec<_> = policies
                        .values()
                        .flat_map(|p| lineage::trace_all(p, &catalogs).1)
                        .collect();
                    if !start::stops(&found) {
                        context.replace_policies(policies, beside);
                        metrics::gauge!(names::POLICIES_CURRENT).set(1.0);
                        shared.health.set("policies", Ok(()));
                        shared.set_unpublished(true);
                        publish_if_needed(shared).await;
                        fits(shared).await;
                        tracing::info!("policies reloaded");
                        shared.pulse();
                        return;
                    }
                    found
                }
                Err(error) => {
                    refused(
                        shared,
                        &format!("the databases could not be looked at: {error}"),
                    );
                    return;
                }
            }
        }
        Err(error) => error.diagnostics(),
    };
    refused(shared, &diagnostic::render(&found, false));
}

fn refused(shared: &Shared, why: &str) {
    metrics::gauge!(names::POLICIES_CURRENT).set(0.0);
    shared.health.set(
        "policies",
        Err("a newer set of policies was refused; the old one stays in force (see the log)".into()),
    );
    tracing::error!("the new policies are refused, the old ones stay in force:\n{why}");
}

/// Metrics and presence, and whether the policies still fit: by the clock.
pub(super) async fn census(
    shared: &Arc<Shared>,
    progress: Option<Progress>,
) -> Result<(), DaemonError> {
    let context = &shared.context;
    let host = context.holder.clone();
    let mut stopping = shared.stopping();
    let mut round: u64 = 0;
    let mut behind = Behind::default();
    // A progress bar wants to move.
    let pause = match progress {
        Some(_) => context.config.limits.poll.min(BAR),
        None => context.config.limits.poll,
    };
    metrics::gauge!(names::POLICIES_CURRENT).set(1.0);
    while !*stopping.borrow() {
        let counted = context.store.census().await;
        shared.health.set(
            "control",
            counted.as_ref().map(|_| ()).map_err(ToString::to_string),
        );
        if counted.is_ok() {
            heed_operators(context).await;
        }
        if let Ok(census) = counted {
            show(&census);
            show_backlog(context, &census);
            if let Some(closed) = behind.count(context).await {
                show_closed(&closed);
                if let Some(progress) = &progress {
                    progress(&census, &closed);
                }
            }
            tidy_outbox(context, round).await;
            publish_if_needed(shared).await;
            if let Ok(theirs) = context.store.clock().await {
                shared.compare_clocks(theirs);
            }
            if round.is_multiple_of(6) {
                let seen = context
                    .store
                    .seen(shared.id, &host, env!("CARGO_PKG_VERSION"));
                if let Err(error) = seen.await {
                    tracing::debug!(%error, "this daemon's sign of life was not written");
                }
                if let Err(error) = serve_targets(shared).await {
                    tracing::debug!(%error, "that this daemon delivers was not written");
                }
                fits(shared).await;
            }
        }
        round += 1;
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stopping.changed() => {}
        }
    }
    Ok(())
}

/// Leaves alone what an operator wants left alone, and shows who is done in part.
async fn heed_operators(context: &Context) {
    if let Err(error) = context.heed_maintenance().await {
        tracing::warn!(%error, "which systems are in maintenance is not known; what was known holds on");
    }
    let late = context.now()
        - chrono::Duration::from_std(context.config.limits.partial).expect("a year at most fits");
    let (Ok(all), Ok(overdue)) = (
        context.store.partial(None).await,
        context.store.partial(Some(late)).await,
    ) else {
        return;
    };
    let databases = context.systems.keys().chain(context.mariadb.keys());
    let systems = databases.chain(context.places.keys());
    for system in systems {
        let of = all.iter().find(|p| p.system == *system);
        let late = overdue.iter().find(|p| p.system == *system);
        #[allow(clippy::cast_precision_loss)] // of seconds since a ticket began
        let age = of.map_or(0.0, |of| (context.now() - of.since).num_seconds() as f64);
        metrics::gauge!(names::PARTIAL, "system" => system.clone())
            .set(float(of.map_or(0, |p| p.tickets)));
        metrics::gauge!(names::PARTIAL_OVERDUE, "system" => system.clone())
            .set(float(late.map_or(0, |p| p.tickets)));
        metrics::gauge!(names::PARTIAL_OLDEST, "system" => system.clone()).set(age);
    }
}

/// Counts what waits for others to hear of it; now and then, removes what all have heard of.
async fn tidy_outbox(context: &Context, round: u64) {
    for backlog in context.store.backlog().await.unwrap_or_default() {
        let target = backlog.target;
        metrics::gauge!(names::OUTBOX_WAITING, "target" => target.clone())
            .set(float(backlog.waiting));
        metrics::gauge!(names::OUTBOX_DEAD, "target" => target.clone()).set(float(backlog.dead));
        metrics::gauge!(names::OUTBOX_OLDEST, "target" => target.clone()).set(backlog.oldest);
        let unserved = if backlog.served { 0 } else { backlog.waiting };
        metrics::gauge!(names::OUTBOX_UNSERVED, "target" => target).set(float(unserved));
    }
    if round.is_multiple_of(60) {
        let keep = context.config.outbox.keep;
        if let Err(error) = context.store.prune_outbox(keep).await {
            tracing::debug!(%error, "old messages were not removed");
        }
    }
}

/// Drift is told before a ticket meets it.
async fn fits(shared: &Shared) {
    let context = &shared.context;
    for policy in context.policies().values() {
        let name = format!("policy {}", policy.subject);
        let mut result = Ok(());
        for scope in policy.scopes.keys() {
            match context.planned(&policy.subject, scope).await {
                Ok(planned) => {
                    #[allow(clippy::cast_precision_loss)] // a handful
                    let overlooks = planned.overlooks as f64;
                    let subject = policy.subject.clone();
                    metrics::gauge!(names::POLICY_OVERLOOKED, "subject" => subject).set(overlooks);
                    // Not remembered now, it will be at the next round or with the first batch.
                    drop(context.remember(&planned, When::Fits).await);
                }
                Err(error) => {
                    result = Err(error.to_string());
                    break;
                }
            }
        }
        let fits = if result.is_ok() { 1.0 } else { 0.0 };
        metrics::gauge!(names::POLICY_FITS, "subject" => policy.subject.clone()).set(fits);
        shared.health.set(&name, result);
    }
}

/// Counting what is closed takes longer from year to year: it is done for at most a hundredth of
/// the time.
#[derive(Default)]
struct Behind {
    next: Option<Instant>,
}

impl Behind {
    /// `None` when it is not time yet, or not to be had.
    async fn count(&mut self, context: &Context) -> Option<Closed> {
        let started = Instant::now();
        if self.next.is_some_and(|next| started < next) {
            return None;
        }
        let closed = context.store.closed().await.ok()?;
        self.next = Some(Instant::now() + started.elapsed() * 100);
        Some(closed)
    }
}

fn show(census: &Census) {
    count_states(&OPEN, &census.by_state);
    metrics::gauge!(names::OVERDUE).set(float(census.overdue));
    metrics::gauge!(names::ESCALATED).set(float(census.escalated));
    metrics::gauge!(names::NEAREST_DUE).set(census.nearest_due_seconds.unwrap_or(f64::INFINITY));
    metrics::gauge!(names::LEASED).set(float(census.leased));
    metrics::gauge!(names::LEDGER_PENDING).set(float(census.outbox));
    metrics::gauge!(names::DUE).set(float(census.open_due));
    metrics::gauge!(names::UNFOUND).set(float(census.unresolvable));
    metrics::gauge!(names::DEFERRALS).set(float(census.deferrals));
    metrics::gauge!(names::DEFERRALS_OVERDUE).set(float(census.deferrals_overdue));
    metrics::gauge!(names::HOLDS).set(float(census.holds));
    metrics::gauge!(names::HOLDS_EMPTY).set(float(census.holds_empty));
    metrics::gauge!(names::HELD).set(float(census.held));
}

/// Each profile in force, so that one without a ticket shows none.
fn show_backlog(context: &Context, census: &Census) {
    metrics::gauge!(names::UNCONFIRMED).set(float(census.unconfirmed));
    let mut profiles: BTreeMap<String, (i64, f64)> = BTreeMap::new();
    for policy in context.policies().values() {
        for (name, scope) in &policy.scopes {
            let (open, age) = profiles.entry(scope.sla.code.clone()).or_default();
            let of_scope = census.backlog.iter();
            let of_scope = of_scope.filter(|b| b.subject == policy.subject && b.scope == *name);
            for backlog in of_scope {
                *open += backlog.open;
                *age = age.max(backlog.age);
            }
        }
    }
    for (profile, (open, age)) in profiles {
        metrics::gauge!(names::BACKLOG, "profile" => profile.clone()).set(float(open));
        metrics::gauge!(names::BACKLOG_AGE, "profile" => profile).set(age);
    }
}

fn show_closed(closed: &Closed) {
    count_states(&CLOSED, &closed.by_state);
    if let Some(at) = closed.last_success {
        metrics::gauge!(names::LAST_SUCCESS).set(float(at.timestamp()));
    }
}

fn count_states(states: &[&'static str], counts: &BTreeMap<String, i64>) {
    for &state in states {
        let n = counts.get(state).copied().unwrap_or(0);
        metrics::gauge!(names::TICKETS, "state" => state).set(float(n));
    }
}

/// Counts of tickets and rows are far below 2⁵³.
#[allow(clippy::cast_precision_loss)]
fn float(n: i64) -> f64 {
    n as f64
}

/// LISTEN for the desk's NOTIFY; the poll interval covers what is missed.
pub(super) async fn listen(shared: &Arc<Shared>) -> Result<(), DaemonError> {
    let mut stopping = shared.stopping();
    let settings = start::settings(&shared.context.config.control)?;
    while !*stopping.borrow() {
        if let Ok((client, mut notices)) =
            connect::connect_listening(&settings, "listener", Timeouts::default()).await
            && let Ok(pooled) = connect::through_pooler(&client).await
        {
            if pooled {
                tracing::info!(
                    "the control database is reached through a pooler: nothing is listened to, work is looked for every `limits.poll`"
                );
                stopping.changed().await.ok();
                return Ok(());
            }
            if client
                .batch_execute("/* erasured:listen */ LISTEN erasured_ticket")
                .await
                .is_ok()
            {
                shared.pulse();
                loop {
                    tokio::select! {
                        notice = notices.recv() => match notice {
                            Some(_) => shared.pulse(),
                            None => break,
                        },
                        _ = stopping.changed() => return Ok(()),
                    }
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(2)) => {}
            _ = stopping.changed() => {}
        }
    }
    Ok(())
}
