//! Counting due times again when something has happened that moves them.

use super::context::Context;
use crate::policy::Policy;
use crate::store::Result;
use crate::store::clock::{Counted, Uncounted};
use crate::ticket::clock::{Events, Standing};
use chrono::{DateTime, Duration, Utc};

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
            now,
        )
    };
    context.store.recount(limit, count).await
}

/// The clock of a ticket of this scope. A scope that has gone meanwhile still needs a date to sort
/// by: the customary 30 days.
pub(super) fn counted(
    policy: Option<&Policy>,
    scope: &str,
    events: &Events,
    now: DateTime<Utc>,
) -> Counted {
    let scope = policy.and_then(|policy| policy.scopes.get(scope));
    let Some(clock) = scope.and_then(|scope| scope.sla.clock(events, now)) else {
        return Counted {
            acknowledge_by: None,
            due_at: events.requested_at + Duration::days(30),
            extended_due_at: None,
            clock: "running",
        };
    };
    Counted {
        acknowledge_by: clock.acknowledge_by,
        due_at: clock.due,
        extended_due_at: clock.extended_due,
        clock: match clock.standing {
            Standing::NotStarted => "not_started",
            Standing::Paused => "paused",
            Standing::Running | Standing::Late | Standing::ExplainDuty => "running",
        },
    }
}
