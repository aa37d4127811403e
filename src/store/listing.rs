//! Tickets as a listing shows them: the most dangerous first, however many there are.
//!
//! One query for each class of danger, each bounded and along an index that holds little else, in
//! their order, until there are enough. Sorting all that are open would take longer with each, and
//! so would looking up what is shown of each before choosing.

use super::tickets::{ListFilter, TicketView, view};
use super::{Result, Store, run_tx};
use std::collections::HashMap;
use uuid::Uuid;

/// In time and nothing to be told about it: what the classes after the first two are among.
const CALM: &str = "(clock <> 'running' OR due_at IS NULL OR due_at >= now() AND escalated = 0)";
const LATE: &str =
    "due_at < now() AND clock = 'running' AND state NOT IN ('completed', 'deferred', 'rejected')";
const SOON: &str = "escalated > 0 AND due_at >= now() AND clock = 'running' AND state NOT IN ('completed', 'deferred', 'rejected')";
const FAILED: &str = "state = 'failed'";
/// Nobody was found: the desk has to look.
const LOST: &str = "state IN ('received', 'verified', 'approved') AND subject_hash IS NULL AND problem_code IS NOT NULL";
const FOUND: &str = "NOT (subject_hash IS NULL AND problem_code IS NOT NULL)";
const PERSON: &str = "state IN ('received', 'verified') AND asked_for IS NULL";
const CUSTOMER: &str = "state IN ('received', 'verified') AND asked_for IS NOT NULL";
const MOVING: &str = "state NOT IN ('completed', 'deferred', 'rejected') AND state IN ('approved', 'scheduled', 'executing', 'verifying')";
const HELD: &str = "state = 'on_hold'";
const CLOSED: &str = "state IN ('completed', 'deferred', 'rejected')";

impl Store {
    /// Tickets, by danger; those of one class in the order in which they are due, what is closed
    /// newest first.
    pub async fn list(&self, filter: &ListFilter) -> Result<Vec<TicketView>> {
        let limit = match filter.limit {
            0 => 1_000,
            limit => limit as usize,
        };
        run_tx!(self, "list", |tx| {
            let mut ids: Vec<Uuid> = Vec::new();
            for sql in classes(filter.overdue) {
                let left = i64::try_from(limit - ids.len()).unwrap_or(i64::MAX);
                if left == 0 {
                    break;
                }
                let rows = tx
                    .query(&sql, &[&filter.state, &filter.subject, &left])
                    .await?;
                ids.extend(rows.iter().map(|r| r.get::<_, Uuid>(0)));
            }
            let shown = "/* erasured:list */ SELECT *, now() AS now FROM erasured.ticket_status WHERE id = ANY ($1)";
            let rows = tx.query(shown, &[&ids]).await?;
            let place: HashMap<Uuid, usize> = ids.into_iter().zip(0..).collect();
            let mut tickets: Vec<TicketView> = rows.iter().map(view).collect();
            tickets.sort_by_key(|ticket| place.get(&ticket.id));
            Ok(tickets)
        })
    }
}

fn classes(overdue: bool) -> Vec<String> {
    const DUE: &str = "due_at, turn, id";
    let of = |condition: &str, calm: &str, order: &str| {
        format!(
            "/* erasured:list */ SELECT id FROM erasured.ticket_order WHERE {condition} AND {calm} \
                AND ($1::text IS NULL OR state = $1) AND ($2::text IS NULL OR subject = $2) ORDER BY {order} LIMIT $3"
        )
    };
    let late = of(LATE, "true", DUE);
    if overdue {
        return vec![late];
    }
    let found = format!("{CALM} AND {FOUND}");
    let calm = [
        of(FAILED, CALM, DUE),
        of(LOST, CALM, DUE),
        of(PERSON, &found, DUE),
        of(CUSTOMER, &found, DUE),
        of(MOVING, &found, DUE),
        of(HELD, CALM, DUE),
    ];
    let mut all = vec![late, of(SOON, "true", DUE)];
    all.extend(calm);
    all.push(of(CLOSED, "true", "requested_at DESC"));
    all
}
