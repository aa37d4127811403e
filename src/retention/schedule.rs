//! Rules whose time has come, run by whichever daemon comes first.

use super::{
    Go, Going, Prepared, Progress, Report, Stopped, all, certify, health,
    run::{run, unfit},
};
use crate::erasure::context::{Context, System, Unplanned};
use crate::erasure::subscribers::Patience;
use crate::metrics as names;
use crate::policy::Policy;
use crate::policy::retention::RetentionRule;
use crate::store::StoreError;
use chrono::{DateTime, Utc};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What one round came to.
#[derive(Debug, Default)]
pub struct Scheduled {
    /// Rules that ran to their end.
    pub ran: usize,
    /// Another daemon is at one of them.
    pub elsewhere: bool,
    /// Why one could not run; the others have been tried.
    pub hindrance: Option<String>,
}

/// Runs the rules whose time has come. `stopping` says whether the daemon is to end.
///
/// # Errors
/// [`StoreError`]: the control database.
pub async fn round(
    context: &Context,
    stopping: &(dyn Fn() -> bool + Sync),
) -> Result<Scheduled, StoreError> {
    let mut scheduled = Scheduled::default();
    let mut ended = false;
    for (policy, rule) in all(context) {
        if stopping() {
            break;
        }
        let system = &rule.table.system;
        if context.systems.get(system).is_some_and(System::rests) {
            continue;
        }
        let Some(slot) = slot(context, &policy, &rule).await? else {
            continue;
        };
        let name = rule.name.clone();
        ended = true;
        match one(context, policy, rule, slot, stopping).await {
            Ok(report) => {
                scheduled.ran += 1;
                tell(&name, "done");
                tracing::info!(rule = name, run = %report.run, batches = report.batches, held = report.held,
                    set_aside = report.set_aside.len(), "retention");
                if !report.set_aside.is_empty() {
                    context.needs_a_person();
                }
            }
            Err(Stopped::Running) => scheduled.elsewhere = true,
            Err(Stopped::Early | Stopped::Left) => tell(&name, "stopped"),
            Err(Stopped::Store(error)) => return Err(error),
            Err(stopped) => {
                tell(&name, "failed");
                tracing::warn!(rule = name, code = stopped.code(), problem = %stopped, "a retention rule did not run to its end");
                if matches!(
                    stopped,
                    Stopped::TooMany { .. }
                        | Stopped::Unapproved { .. }
                        | Stopped::OverForecast { .. }
                ) {
                    context.needs_a_person();
                } else {
                    scheduled.hindrance =
                        scheduled.hindrance.or(Some(format!("{name}: {stopped}")));
                }
            }
        }
    }
    if ended {
        health::tell(context).await?;
    }
    Ok(scheduled)
}

fn tell(rule: &str, state: &'static str) {
    metrics::counter!(names::RETENTION_RUNS, "rule" => rule.to_owned(), "state" => state)
        .increment(1);
}

/// The time of its schedule for which the rule is to run now.
async fn slot(
    context: &Context,
    policy: &Policy,
    rule: &RetentionRule,
) -> Result<Option<DateTime<Utc>>, StoreError> {
    if !rule.action.changes() || rule.schedule.is_none() {
        return Ok(None);
    }
    // Known from the first look on, also one outside its window.
    let since = context
        .store
        .scheduled_since(&policy.subject, &rule.name, &policy.sha256)
        .await?;
    let latest = rule.slot(&policy.subject, context.now());
    // However many were missed: one run takes all that is due.
    Ok(since
        .zip(latest)
        .and_then(|(since, latest)| (latest > since).then_some(latest)))
}

async fn one(
    context: &Context,
    policy: Arc<Policy>,
    rule: RetentionRule,
    slot: DateTime<Utc>,
    stopping: &(dyn Fn() -> bool + Sync),
) -> Result<Report, Stopped> {
    let prepared = match Prepared::new(context, policy.clone(), rule.clone()).await {
        Ok(prepared) => prepared,
        Err(why) => return Err(unfit(context, &policy, &rule, slot, why).await),
    };
    let rule = &prepared.rule;
    // What an earlier daemon has counted of the run is not counted again.
    let mut before = None;
    let mut on = |progress: Progress| {
        let rows = metrics::counter!(names::RETENTION_ROWS, "rule" => rule.name.clone());
        to_go(&rule.name, progress.to_go());
        let from = before.unwrap_or(progress.begun_with);
        rows.increment(progress.rows.saturating_sub(from));
        before = Some(progress.rows);
        // A rule that was mended or taken out ends what it had begun.
        let policies = context.policies();
        let now = policies.get(&prepared.policy.subject);
        let same = now.is_some_and(|policy| policy.sha256 == prepared.policy.sha256);
        if stopping() {
            Go::Leave
        } else if same && rule.is_open(context.now()) {
            Go::On
        } else {
            Go::Stop
        }
    };
    let going = Going {
        slot: Some(slot),
        on: &mut on,
    };
    let ran = run(context, &prepared, going).await;
    to_go(&rule.name, 0);
    ran
}

#[allow(clippy::cast_precision_loss)] // rows of one table
fn to_go(rule: &str, rows: u64) {
    metrics::gauge!(names::RETENTION_TO_GO, "rule" => rule.to_owned()).set(rows as f64);
}

/// How far each rule lagged when it could be looked at last.
#[derive(Debug, Default)]
pub struct Lags(BTreeMap<String, (f64, DateTime<Utc>)>);

impl Lags {
    fn known(&mut self, rule: &str, lag: f64, now: DateTime<Utc>) -> f64 {
        self.0.insert(rule.to_owned(), (lag, now));
        lag
    }

    /// Of one that cannot be looked at: it goes on growing, as if nothing of the rule went. Whoever waits for it to
    /// become too large hears of it; of a lag that is not told, or stands still, nobody would.
    fn unknown(&mut self, rule: &str, now: DateTime<Utc>) -> f64 {
        let (lag, at) = self.0.entry(rule.to_owned()).or_insert((0.0, now));
        *lag + seconds(now - *at)
    }
}

fn seconds(of: chrono::TimeDelta) -> f64 {
    of.to_std().map_or(0.0, |of| of.as_secs_f64())
}

/// Says of every rule for how long its oldest row ought to be gone, and when its last run came to an end. Runs
/// whose daemon died before their certificate get it now.
///
/// # Errors
/// The first rule's that could not be looked at; the others have been.
pub async fn measure(context: &Context, lags: &mut Lags) -> Result<(), String> {
    let mut failed = certify::make_up(context, Patience::Long)
        .await
        .err()
        .map(|problem| format!("a run without its certificate: {problem}"));
    if let Err(error) = health::tell(context).await {
        failed = failed.or(Some(error.to_string()));
    }
    for (policy, rule) in all(context) {
        if !rule.action.changes() {
            continue;
        }
        let name = rule.name.clone();
        let lag = match lag(context, policy, rule).await {
            Ok(lag) => lags.known(&name, lag, context.now()),
            Err(why) => {
                failed = failed.or(Some(format!("{name}: {why}")));
                lags.unknown(&name, context.now())
            }
        };
        metrics::gauge!(names::RETENTION_LAG, "rule" => name).set(lag);
    }
    failed.map_or(Ok(()), Err)
}

/// Seconds since the oldest row that is due became so; 0 if none is.
async fn lag(context: &Context, policy: Arc<Policy>, rule: RetentionRule) -> Result<f64, String> {
    let prepared = Prepared::new(context, policy, rule)
        .await
        .map_err(|e: Unplanned| e.to_string())?;
    let oldest = prepared.oldest(context).await.map_err(|e| e.to_string())?;
    let since = oldest.and_then(|day| prepared.rule.due_since(day));
    Ok(since.map_or(0.0, |since| seconds(context.now() - since)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_looked_at_lags_more_and_more() {
        let mut lags = Lags::default();
        let now = Utc::now();
        let later = |seconds| now + chrono::TimeDelta::seconds(seconds);
        assert_eq!(lags.unknown("calls", now), 0.0);
        assert_eq!(lags.unknown("calls", later(60)), 60.0);
        assert_eq!(lags.known("calls", 500.0, later(60)), 500.0);
        assert_eq!(lags.unknown("calls", later(100)), 540.0);
        assert_eq!(lags.unknown("calls", later(160)), 600.0);
        assert_eq!(lags.known("calls", 0.0, later(200)), 0.0);
    }
}
