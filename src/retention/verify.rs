//! Whether a rule holds: nothing is left that ought to be gone, but for what holds cover.

use super::{Prepared, run::Stopped};
use crate::erasure::context::Context;
use crate::policy::Policy;
use crate::policy::retention::RetentionRule;
use crate::store::retention::RunView;
use crate::system::postgres::due;
use chrono::{DateTime, Duration, NaiveDate, Utc};
use serde::Serialize;
use std::sync::Arc;

/// What was found of a rule.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// The rule.
    pub rule: String,
    /// Its table, with the system.
    pub table: String,
    /// Whether it holds. One that takes nothing always does.
    pub holds: bool,
    /// Rows up to this day ought to be gone; `None` if none yet.
    pub through: Option<NaiveDate>,
    /// Those that are not, and that no hold covers.
    pub overdue: i64,
    /// The day of the oldest of these.
    pub oldest: Option<NaiveDate>,
    /// Those that a hold covers.
    pub held: i64,
    /// Those that something keeps that hangs on them.
    pub survivors: i64,
    /// People for whom a ticket is open.
    pub under_way: i64,
    /// Rows without a date, which are never due.
    pub undated: i64,
    /// The kind of person a legal hold on whom stops the whole rule, since it cannot be told whose the rows are.
    pub stopped_by: Option<String>,
    /// Rows that ought to be gone and wait for that hold to end.
    pub stopped: i64,
    /// What to do about it.
    pub then: Option<String>,
}

/// What is left of the rows of a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remaining {
    /// Rows that ought to be gone, and that no hold covers.
    pub overdue: i64,
    /// Those that one covers.
    pub held: i64,
    /// Those that something keeps that hangs on them.
    pub survivors: i64,
    /// People for whom a ticket is open.
    pub under_way: i64,
    /// Rows without a date.
    pub undated: i64,
    /// The kind of person a legal hold on whom stops the whole rule; all rows count as held then.
    pub stopped_by: Option<String>,
}

/// Looks whether a rule holds. Nothing is written, in its system or in the control database.
///
/// # Errors
/// [`Stopped`]: it could not be looked at.
pub async fn verify(
    context: &Context,
    policy: Arc<Policy>,
    rule: RetentionRule,
) -> Result<Verdict, Stopped> {
    let known = context
        .store
        .known_since(&policy.subject, &rule.name)
        .await?;
    let mut verdict = Verdict {
        rule: rule.name.clone(),
        table: rule.table.to_string(),
        holds: true,
        through: None,
        overdue: 0,
        oldest: None,
        held: 0,
        survivors: 0,
        under_way: 0,
        undated: 0,
        stopped_by: None,
        stopped: 0,
        then: None,
    };
    let Some(at) = owed(&policy.subject, &rule, context.now(), known) else {
        return Ok(verdict);
    };
    let prepared = Prepared::at(context, policy, rule, at).await?;
    let Some(of) = &prepared.of else {
        return Ok(verdict);
    };
    let remaining = prepared.remaining(context, true).await?;
    verdict.through = Some(of.due[0].cutoff.day);
    verdict.overdue = remaining.overdue;
    // How many of them it really covers nobody can tell.
    match remaining.stopped_by {
        None => verdict.held = remaining.held,
        Some(kind) => {
            verdict.stopped = remaining.held;
            verdict.stopped_by = Some(kind);
        }
    }
    verdict.survivors = remaining.survivors;
    verdict.under_way = remaining.under_way;
    verdict.undated = remaining.undated;
    if remaining.overdue > 0 {
        verdict.oldest = prepared.oldest(context).await?;
        verdict.holds = !prepared.rule.action.changes();
    }
    if !verdict.holds {
        let runs = context.store.runs(Some(&prepared.rule.name), 1).await?;
        verdict.then = Some(advice(&prepared.rule, runs.first()));
    }
    Ok(verdict)
}

/// The time up to which a rule owes it that rows are gone: the last of its schedule that has come since daemons
/// know it, or now. `None` if no time has come yet. A schedule that no daemon has seen runs nothing: it is as none.
fn owed(
    subject: &str,
    rule: &RetentionRule,
    now: DateTime<Utc>,
    known: Option<DateTime<Utc>>,
) -> Option<DateTime<Utc>> {
    match (&rule.schedule, known) {
        (Some(schedule), Some(known)) if rule.action.changes() => {
            // One that has come and is put off by `jitter` is not owed yet.
            let mut slot = schedule.latest(now)?;
            while rule.begins(subject, slot) > now {
                slot = schedule.latest(slot - Duration::seconds(1))?;
            }
            Some(slot).filter(|slot| *slot > known)
        }
        _ => Some(now),
    }
}

fn advice(rule: &RetentionRule, last: Option<&RunView>) -> String {
    let name = &rule.name;
    match last {
        Some(run) if run.state == "running" => {
            format!(
                "it runs since {}: look again when that has ended",
                run.started_at
            )
        }
        Some(run) if run.problem_code.is_some() => format!(
            "its last run ended as {} with {}: erasured explain {1}, then erasured retention run {name}",
            run.state,
            run.problem_code.as_deref().unwrap_or_default()
        ),
        Some(run) if run.set_aside > 0 => format!(
            "its last run set {} row(s) aside: erasured retention run {name} tries again and names them",
            run.set_aside
        ),
        Some(run) if run.state == "stopped" && rule.schedule.is_some() => format!(
            "its last run was stopped before its end, by its window or a person: it goes on at its next time, and erasured retention run {name} takes them now"
        ),
        _ if rule.schedule.is_some() => format!(
            "its schedule has not taken them: does a daemon run? erasured retention run {name} takes them now"
        ),
        _ => format!("erasured retention run {name}"),
    }
}

impl Prepared {
    /// Counts what is left of what is due, and if they are wanted rows without a date. A hold that stops the whole rule covers it all.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn remaining(&self, context: &Context, undated: bool) -> Result<Remaining, Stopped> {
        let Some(rows) = self.due_rows(&[]) else {
            return Ok(Remaining::default());
        };
        let mut client = self.client(context).await?;
        let left = due::overdue(&mut client, &rows, context.timeouts(1)).await?;
        drop(client);
        let counted = self.counted(context, undated).await?;
        let stopped_by = self.barred_by(context).await?;
        let held = match stopped_by {
            Some(_) => left - counted.survivors,
            None => counted.held,
        };
        Ok(Remaining {
            overdue: (left - held - counted.survivors - counted.under_way).max(0),
            held,
            survivors: counted.survivors,
            under_way: counted.under_way,
            undated: counted.undated,
            stopped_by,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::retention::RetentionAction;

    fn rule(schedule: &str) -> RetentionRule {
        let text = format!(
            r#"
subject = "customer"
root = "shop.public.customer"
identifier.member_no = {{ column = "member_no", find = true }}
scope.all = {{ tables = "all", verify = {{ at_least = "basic" }}, sla = "jp-appi" }}
[[table]]
name = "shop.public.customer"
action = "delete"
[[retention]]
name = "calls"
table = "shop.public.call"
since = "ended_at"
keep = "90 days"
action = "delete"
because = "our privacy policy, section 4.2"
timezone = "Asia/Tokyo"
{schedule}
"#
        );
        let policy = crate::policy::read::read("p.toml", &text);
        policy.unwrap().retention.remove(0)
    }

    #[test]
    fn what_is_owed_is_what_the_schedule_had_time_for() {
        let at = |text: &str| -> DateTime<Utc> { text.parse().unwrap() };
        // Every night at half past two in Japan, which is 17:30 here.
        let nightly = rule("schedule = \"0 30 2 * * *\"");
        let now = at("2026-11-27T12:00:00Z");
        let last = at("2026-11-26T17:30:00Z");
        let long = Some(at("2026-01-01T00:00:00Z"));
        assert_eq!(owed("customer", &nightly, now, long), Some(last));
        assert_eq!(
            owed("customer", &nightly, at("2026-11-27T17:30:00Z"), long),
            Some(at("2026-11-27T17:30:00Z"))
        );
        // Known since this morning: no time has come since.
        assert_eq!(
            owed("customer", &nightly, now, Some(at("2026-11-27T01:00:00Z"))),
            None
        );
        assert_eq!(owed("customer", &nightly, now, None), Some(now));
        assert_eq!(owed("customer", &rule(""), now, long), Some(now));
        let report = RetentionRule {
            action: RetentionAction::Report,
            ..nightly
        };
        assert_eq!(owed("customer", &report, now, long), Some(now));
    }
}
