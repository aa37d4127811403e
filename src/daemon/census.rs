//! What is shown of it all, by the clock: metrics, this daemon's signs of life, who is done in part.

use super::loops::float;
use super::policies::{fits, publish_if_needed};
use super::state::Shared;
use super::{DaemonError, Progress};
use crate::erasure::context::Context;
use crate::metrics as names;
use crate::store::StoreError;
use crate::store::census::{Census, Closed};
use std::collections::BTreeMap;
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
/// How often a progress bar moves.
const BAR: Duration = Duration::from_millis(500);

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

/// Who is told is a daemon's own configuration: it says that it lives, not that others do not.
pub(super) async fn serve_targets(shared: &Shared) -> Result<(), StoreError> {
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
