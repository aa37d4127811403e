//! A rule whose time has come and that cannot run: it does not fit its system any more.

use super::{NewRun, Report, Stopped, write_end};
use crate::erasure::context::{Context, Unplanned};
use crate::policy::Policy;
use crate::policy::retention::RetentionRule;
use crate::retention::certify;
use crate::store::retention::Begun;
use chrono::{DateTime, Utc};

/// Why the rule does not run. What does not mend itself is written down as a run that failed: it is seen, counted, and
/// tried again when any run that failed is.
pub(in crate::retention) async fn unfit(
    context: &Context,
    policy: &Policy,
    rule: &RetentionRule,
    slot: DateTime<Utc>,
    why: Unplanned,
) -> Stopped {
    if why.is_transient() {
        return why.into();
    }
    let stopped = Stopped::from(why);
    match write_down(context, policy, rule, slot, &stopped).await {
        Ok(()) => stopped,
        Err(error) => error,
    }
}

async fn write_down(
    context: &Context,
    policy: &Policy,
    rule: &RetentionRule,
    slot: DateTime<Utc>,
    stopped: &Stopped,
) -> Result<(), Stopped> {
    let today = context.now().with_timezone(&rule.zone).date_naive();
    let Some(cutoff) = rule.keep.cutoff(today) else {
        return Ok(());
    };
    let table = rule.table.to_string();
    let new = NewRun {
        subject: &policy.subject,
        rule: &rule.name,
        table: &table,
        basis: &rule.because,
        policy_sha256: &policy.sha256,
        cutoff,
        timezone: rule.zone.name(),
        slot: Some(slot),
    };
    let (store, lease) = (&context.store, context.config.limits.lease);
    let (run, report) = match store.begin_run(&new, &context.holder, lease).await? {
        Begun::New(run) => (run, Report::default()),
        // It fitted when that began.
        Begun::Resumed(run) | Begun::Left(run) => {
            let report = Report::recalled(context, &rule.table.system, run.id).await?;
            (run, report)
        }
        Begun::Running => return Err(Stopped::Running),
    };
    let rows = match rule.people {
        Some(_) => store.filed(run.id).await?,
        None => report.rows_of(&rule.table.table),
    };
    let problem = Some((stopped.code(), stopped.to_string()));
    write_end(context, run, &report, rows, "failed", problem).await?;
    certify::after(context, run.id, None).await;
    Ok(())
}
