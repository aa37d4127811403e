//! What each loop does in one round.

use super::census::serve_targets;
use super::policies::publish;
use super::rounds::Round;
use super::state::Shared;
use super::{DaemonError, head_file};
use crate::drop_folder::DropFailed;
use crate::erasure::context::Context;
use crate::erasure::intake::IntakeFailed;
use crate::erasure::{batch, clock, deferral, in_doubt, intake, recheck, sweep};
use crate::metrics as names;
use crate::outbox;
use crate::retention::schedule::{self, Scheduled};
use crate::store::lease::LeasedBatch;
use crate::store::{self, StoreError};
use chrono::{DateTime, Utc};
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

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

/// Drops sessions that nobody uses, on all databases.
pub(super) fn forget(context: &Context) {
    context.forget_sessions();
    context.store.pool().retain(|_, _| false);
}

/// Counts of tickets and rows are far below 2⁵³.
#[allow(clippy::cast_precision_loss)]
pub(super) fn float(n: i64) -> f64 {
    n as f64
}
