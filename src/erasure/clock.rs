//! Counting due times again when something has happened that moves them.

use super::context::Context;
use crate::metrics::{ESCALATIONS, SLA_MET, SLA_MISSED, STAGE_SECONDS};
use crate::policy::Policy;
use crate::store::Result;
use crate::store::clock::{Counted, Uncounted};
use crate::ticket::clock::{Events, Standing};
use crate::ticket::sla::WhenDue;
use chrono::{DateTime, Duration, Utc};
use uuid::Uuid;

/// Counts up to `limit` tickets; how many there were.
///
/// # Errors
/// [`crate::store::StoreError`]; what was not counted is counted the next time.
pub async fn round(context: &Context, limit: u32) -> Result<usize> {
    let (policies, now) = (context.policies(), context.now());
    let count = |ticket: &Uncounted| {
        let policy = policies.get(&ticket.subject);
        counted(
            policy.map(AsRef::as_ref),
            &ticket.scope,
            &ticket.events,
            ticket.escalated,
            now,
        )
    };
    let (counted, told) = context.store.recount(limit, now, count).await?;
    for told in told {
        let scope = policies.get(&told.subject);
        let scope = scope.and_then(|policy| policy.scopes.get(&told.scope));
        let profile = scope.map_or_else(String::new, |scope| scope.sla.code.clone());
        let step = match told.called {
            ESCALATED => told.step.to_string(),
            end => end.to_owned(),
        };
        tracing::warn!(
            profile,
            step,
            "a ticket comes nearer to its due time, or is past it"
        );
        metrics::counter!(ESCALATIONS, "profile" => profile, "step" => step).increment(1);
    }
    Ok(counted)
}

const ESCALATED: &str = "escalated";
const LATE: &str = "late";

/// The clock of a ticket of this scope, of which so many steps of escalation are told.
pub(super) fn counted(
    policy: Option<&Policy>,
    scope: &str,
    events: &Events,
    told: u8,
    now: DateTime<Utc>,
) -> Counted {
    let scope = policy.and_then(|policy| policy.scopes.get(scope));
    let profile = scope.map(|scope| &scope.sla);
    let Some((profile, clock)) = profile.and_then(|p| Some((p, p.clock(events, now)?))) else {
        return customary(events, now);
    };
    let (clock_word, called) = match clock.standing {
        Standing::NotStarted => ("not_started", ESCALATED),
        Standing::Paused => ("paused", ESCALATED),
        Standing::Running => ("running", ESCALATED),
        Standing::Late => ("running", LATE),
        Standing::ExplainDuty => ("running", "explain_required"),
        Standing::NoTerm => ("none", ESCALATED),
    };
    let escalation = profile.escalation(&clock, now);
    Counted {
        acknowledge_by: clock.acknowledge_by,
        due_at: clock.due,
        extended_due_at: clock.extended_due,
        clock: clock_word,
        // What was told before a pause is not told again after it.
        escalated: if clock_word == "running" {
            escalation.reached
        } else {
            told
        },
        escalate_at: escalation.next,
        explain: profile.when_due == WhenDue::Explain,
        called,
    }
}

/// A scope that has gone meanwhile still needs a date to sort by: the customary 30 days.
fn customary(events: &Events, now: DateTime<Utc>) -> Counted {
    let due_at = events.requested_at + Duration::days(30);
    Counted {
        acknowledge_by: None,
        due_at,
        extended_due_at: None,
        clock: "running",
        escalated: u8::from(now > due_at),
        escalate_at: (now <= due_at).then_some(due_at),
        explain: false,
        called: LATE,
    }
}

/// How long each stage took of tickets that have just been closed by certificate. What is not to be
/// had is not shown: their work is done.
pub(super) async fn closed(context: &Context, profile: &str, tickets: &[Uuid]) {
    let milestones = match context.store.milestones(tickets).await {
        Ok(milestones) => milestones,
        Err(error) => {
            tracing::debug!(%error, "the times of closed tickets are not shown");
            return;
        }
    };
    for m in milestones {
        let requested = Some(m.requested_at);
        for (stage, from, to) in [
            ("acknowledge", requested, m.acknowledged_at),
            ("verify", requested, m.verified_at),
            ("approve", m.verified_at, m.approved_at),
            ("execute", m.approved_at, m.erased_at),
            ("certify", m.erased_at, m.finished_at),
        ] {
            if let (Some(from), Some(to)) = (from, to) {
                // Whole days in milliseconds are far below 2⁵³; two people's clocks may disagree.
                #[allow(clippy::cast_precision_loss)]
                let seconds = (to - from).num_milliseconds().max(0) as f64 / 1e3;
                metrics::histogram!(STAGE_SECONDS, "profile" => profile.to_owned(), "stage" => stage)
                    .record(seconds);
            }
        }
    }
}

/// Counters of the profiles in force exist from the first scrape, or rate() starts blind.
pub fn begin_counting(context: &Context) {
    for policy in context.policies().values() {
        for scope in policy.scopes.values() {
            for name in [SLA_MET, SLA_MISSED] {
                metrics::counter!(name, "profile" => scope.sla.code.clone()).increment(0);
            }
        }
    }
}
