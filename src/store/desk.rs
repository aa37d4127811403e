//! What the HTTP API asks beside the desk's own commands: pages, holding and releasing, and whether
//! its login may speak for others.

use super::tickets::{TicketView, act_as, view};
use super::{Result, Store, run_tx};
use chrono::{DateTime, Utc};
use uuid::Uuid;

/// Which tickets, and from where on.
#[derive(Clone, Debug, Default)]
pub struct PageFilter {
    /// Only in this state.
    pub state: Option<String>,
    /// Only of this subject kind.
    pub subject: Option<String>,
    /// Only open ones past their due date.
    pub overdue: bool,
    /// Behind this ticket: when it was requested, and its id.
    pub after: Option<(DateTime<Utc>, Uuid)>,
    /// At most this many.
    pub limit: u32,
}

impl Store {
    /// Tickets, newest request first. A ticket filed while somebody leafs through is on a page of
    /// before, and none is shown twice.
    pub async fn page(&self, filter: &PageFilter) -> Result<Vec<TicketView>> {
        let (at, id) = filter.after.unzip();
        run_tx!(self, "page", |tx| {
            let rows = tx
                .query(
                    // Chosen first: what is shown of a ticket is looked up for these alone.
                    "/* erasured:page */ WITH chosen AS MATERIALIZED ( \
                       SELECT id FROM erasured.ticket_order \
                      WHERE ($1::text IS NULL OR state = $1) AND ($2::text IS NULL OR subject = $2) \
                        AND (NOT $3 OR (due_at < now() AND clock = 'running' AND state NOT IN ('completed', 'deferred', 'rejected'))) \
                        AND ($4::timestamptz IS NULL OR requested_at < $4 OR (requested_at = $4 AND id > $5::uuid)) \
                      ORDER BY requested_at DESC, id LIMIT $6) \
                     SELECT *, now() AS now FROM erasured.ticket_status WHERE id = ANY (ARRAY(SELECT id FROM chosen)) \
                      ORDER BY requested_at DESC, id",
                    &[&filter.state, &filter.subject, &filter.overdue, &at, &id, &i64::from(filter.limit)],
                )
                .await?;
            Ok(rows.iter().map(view).collect())
        })
    }

    /// Stops a ticket that has not begun; returns the state.
    pub async fn hold_ticket(
        &self,
        ticket: Uuid,
        reason: &str,
        actor: Option<&str>,
    ) -> Result<String> {
        run_tx!(self, "hold_ticket", |tx| {
            act_as(tx, actor).await?;
            let sql = "/* erasured:hold_ticket */ SELECT erasured.hold_ticket($1, $2)";
            Ok(tx.query_one(sql, &[&ticket, &reason]).await?.get(0))
        })
    }

    /// Lets a held ticket go on; returns the state.
    pub async fn release_ticket(&self, ticket: Uuid, actor: Option<&str>) -> Result<String> {
        run_tx!(self, "release_ticket", |tx| {
            act_as(tx, actor).await?;
            let sql = "/* erasured:release_ticket */ SELECT erasured.release_ticket($1)";
            Ok(tx.query_one(sql, &[&ticket]).await?.get(0))
        })
    }

    /// Ways of proof that reach far enough for a ticket, the lightest first; a document or presence
    /// only where nothing less does. Codes and their words.
    pub async fn ways(&self, ticket: Uuid) -> Result<Vec<(String, String)>> {
        let sql = "/* erasured:ways */ WITH enough AS ( \
                     SELECT m.code, m.en, m.level, m.demands IN ('document', 'presence') AS heavy FROM erasured.method m \
                      WHERE m.level >= (SELECT array_position(ARRAY['none', 'basic', 'reasonable', 'reasonably-high', 'high'], \
                              t.needed_level) - 1 FROM erasured.ticket_status t WHERE t.id = $1)) \
                   SELECT e.code, e.en FROM enough e WHERE NOT e.heavy OR NOT EXISTS (SELECT FROM enough l WHERE NOT l.heavy) \
                    ORDER BY e.level, e.code";
        run_tx!(self, "ways", |tx| {
            let rows = tx.query(sql, &[&ticket]).await?;
            Ok(rows.iter().map(|r| (r.get(0), r.get(1))).collect())
        })
    }

    /// Reasons for which a ticket may be rejected: codes and their words.
    pub async fn refusals(&self) -> Result<Vec<(String, String)>> {
        let sql = "/* erasured:refusals */ SELECT code, en FROM erasured.ground WHERE kind = 'refusal' ORDER BY code";
        run_tx!(self, "refusals", |tx| {
            let rows = tx.query(sql, &[]).await?;
            Ok(rows.iter().map(|r| (r.get(0), r.get(1))).collect())
        })
    }

    /// Whether this login may name the person it acts for.
    pub async fn is_trusted(&self) -> Result<bool> {
        run_tx!(self, "is_trusted", |tx| {
            let sql = "/* erasured:is_trusted */ SELECT EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.rolname = 'erasured_trusted' \
                       AND pg_catalog.pg_has_role(session_user, r.oid, 'MEMBER'))";
            Ok(tx.query_one(sql, &[]).await?.get(0))
        })
    }
}
