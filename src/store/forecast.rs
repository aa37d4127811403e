//! How many rows a ticket would touch, for whoever approves it.

use super::{Result, Store, Tx, run_tx};
use uuid::Uuid;

/// A ticket whose rows are to be counted.
#[derive(Debug)]
pub struct Uncounted {
    /// The ticket.
    pub id: Uuid,
    /// Subject kind.
    pub subject: String,
    /// Scope.
    pub scope: String,
    /// The person as found, encrypted.
    pub sealed: Vec<u8>,
}

/// What is told of one.
#[derive(Debug, Default)]
pub struct Forecast {
    /// The rows; `None` if they could not be counted.
    pub rows: Option<i64>,
    /// What is typed back; `None` if the person has nothing that the policy finds people by.
    pub typed: Option<Typed>,
}

/// What an approver types back.
#[derive(Debug)]
pub struct Typed {
    /// The identifier, as the policy calls it.
    pub named_by: String,
    /// Mixed in before hashing.
    pub salt: String,
    /// SHA-256, lower-case hex.
    pub digest: String,
}

/// What an approver is asked, where the policy has `confirm_over`.
#[derive(Debug)]
pub struct Approval {
    /// More rows than this are confirmed.
    pub over: i64,
    /// How many there are; `None` if they have not been or could not be counted.
    pub rows: Option<i64>,
    /// Identifier and salt of what is typed back.
    pub named_by: Option<(String, String)>,
}

/// Of these tickets, those that somebody may approve and whose policy has `confirm_over` wait to be
/// counted, if they do not yet: when the person is found, and when an approval was not enough.
pub(super) async fn awaits(tx: &Tx<'_>, tickets: &[Uuid]) -> Result<()> {
    let sql = format!(
        "/* erasured:awaits_forecast */ {AWAITS} AND t.id = ANY ($1) ON CONFLICT DO NOTHING"
    );
    tx.execute(&sql, &[&tickets]).await?;
    Ok(())
}

/// The same of all tickets, when policies have come into force.
pub(super) async fn all_await(tx: &Tx<'_>) -> Result<()> {
    let sql = format!("/* erasured:awaits_forecast */ {AWAITS} ON CONFLICT DO NOTHING");
    tx.execute(&sql, &[]).await?;
    Ok(())
}

const AWAITS: &str = "INSERT INTO erasured.forecast (ticket_id) SELECT t.id \
     FROM erasured.ticket t JOIN erasured.scope s ON s.subject = t.subject AND s.scope = t.scope \
    WHERE s.confirm_over IS NOT NULL AND t.sealed IS NOT NULL \
      AND (t.state IN ('received', 'verified') OR t.state = 'on_hold' AND t.held_from IN ('received', 'verified') \
           OR t.state = 'failed' AND t.problem_code IN ('E0513', 'E0524'))";

impl Store {
    /// Tickets to count the rows of, at most so many.
    pub async fn uncounted(&self, limit: u32) -> Result<Vec<Uncounted>> {
        run_tx!(self, "uncounted", |tx| {
            let rows = tx
                .query(
                    "/* erasured:uncounted */ SELECT t.id, t.subject, t.scope, t.sealed FROM erasured.forecast f \
                       JOIN erasured.ticket t ON t.id = f.ticket_id \
                      WHERE f.counted_at IS NULL AND t.sealed IS NOT NULL LIMIT $1",
                    &[&i64::from(limit)],
                )
                .await?;
            let uncounted = rows.iter().map(|r| Uncounted {
                id: r.get("id"),
                subject: r.get("subject"),
                scope: r.get("scope"),
                sealed: r.get("sealed"),
            });
            Ok(uncounted.collect())
        })
    }

    /// Notes what was counted, if it still waits for an approval and nobody has counted before: whoever
    /// approves may have been asked already, and answers by that salt.
    pub async fn foretell(&self, ticket: Uuid, forecast: &Forecast) -> Result<()> {
        let typed = forecast.typed.as_ref();
        let named_by = typed.map(|t| &t.named_by);
        let salt = typed.map(|t| &t.salt);
        let digest = typed.map(|t| &t.digest);
        run_tx!(self, "foretell", |tx| {
            tx.execute(
                "/* erasured:foretell */ UPDATE erasured.forecast SET rows = $2, named_by = $3, salt = $4, digest = $5, \
                   counted_at = now() WHERE ticket_id = $1 AND counted_at IS NULL",
                &[&ticket, &forecast.rows, &named_by, &salt, &digest],
            )
            .await?;
            Ok(())
        })
    }

    /// What whoever approves the ticket is asked; `None` where the policy asks for nothing.
    pub async fn approval(&self, ticket: Uuid) -> Result<Option<Approval>> {
        run_tx!(self, "approval", |tx| {
            let row = tx
                .query_opt(
                    "/* erasured:approval */ SELECT s.confirm_over, f.rows, f.named_by, f.salt \
                       FROM erasured.ticket_status t JOIN erasured.scope s ON s.subject = t.subject AND s.scope = t.scope \
                       LEFT JOIN erasured.forecast f ON f.ticket_id = t.id \
                      WHERE t.id = $1 AND s.confirm_over IS NOT NULL AND t.state IN ('verified', 'failed')",
                    &[&ticket],
                )
                .await?;
            Ok(row.map(|r| Approval {
                over: r.get("confirm_over"),
                rows: r.get("rows"),
                named_by: r
                    .get::<_, Option<String>>("named_by")
                    .zip(r.get::<_, Option<String>>("salt")),
            }))
        })
    }

    /// Whether what was typed is what the person is known by.
    pub async fn is_typed_back(&self, ticket: Uuid, digest: &str) -> Result<bool> {
        run_tx!(self, "is_typed_back", |tx| {
            let sql = "/* erasured:is_typed_back */ SELECT erasured.is_typed_back($1, $2)";
            Ok(tx.query_one(sql, &[&ticket, &digest]).await?.get(0))
        })
    }
}
