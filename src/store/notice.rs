//! What a notice says of a ticket, as the desk may see it.

use super::tickets::view;
use super::{Result, Store, StoreError, run_tx};
use crate::notice::facts::Known;
use crate::notice::offer::Offer;
use crate::ticket::words::{Lang, Words};
use uuid::Uuid;

/// Ways of proof that are named in a notice: more would not be read.
const METHODS: i64 = 5;

impl Store {
    /// What is known of a ticket for telling its customer, and the language that it was filed for.
    pub async fn known(&self, id_or_reference: &str) -> Result<(Known, Option<Lang>)> {
        if id_or_reference.contains('\0') {
            return Err(StoreError::Nul("the reference"));
        }
        let id: Option<Uuid> = id_or_reference.parse().ok();
        run_tx!(self, "known", |tx| {
            let row = tx
                .query_opt(ONE, &[&id, &id_or_reference])
                .await?
                .ok_or(StoreError::NotFound("such ticket"))?;
            let t = view(&row);
            let offer: Option<serde_json::Value> = row.get("words");
            let needed: Option<i16> = row.get("at_least");
            let methods = tx.query(WAYS, &[&needed.unwrap_or(0), &METHODS]).await?;
            let kept = tx.query(KEPT, &[&t.id]).await?;
            let refused = tx.query_opt(REFUSED, &[&t.id]).await?;
            let words = |r: &tokio_postgres::Row| Words {
                ja: r.get("ja"),
                en: r.get("en"),
            };
            let known = Known {
                state: t.state,
                requested_at: t.requested_at,
                due_at: t.due_at,
                clock: t.clock,
                extended_for: t.extended_for,
                refused_for: refused.map(|r| (r.get("detail"), None)),
                finished_at: t.finished_at,
                certificate: t.certificate_id.map(|id| id.to_string()),
                kept_until: kept.iter().map(|r| (r.get(0), r.get(1))).collect(),
                documents: methods.iter().any(|r| r.get::<_, bool>("document")),
                methods: methods.iter().map(words).collect(),
                proven: row.get::<_, Option<bool>>("proven").unwrap_or(false),
                // One that an older daemon published, or none: nothing is told of it.
                offer: offer
                    .and_then(|offer| serde_json::from_value::<Offer>(offer).ok())
                    .unwrap_or_default(),
                reference: t.reference,
            };
            Ok((known, t.language.as_deref().and_then(Lang::of_tag)))
        })
    }
}

const ONE: &str = "/* erasured:known */ SELECT t.*, now() AS now, s.words, s.at_least, \
        array_position(ARRAY['none', 'basic', 'reasonable', 'reasonably-high', 'high'], t.verified_level) > s.at_least AS proven \
   FROM erasured.ticket_status t LEFT JOIN erasured.scope s ON s.subject = t.subject AND s.scope = t.scope \
  WHERE t.id = $1 OR t.reference = $2 ORDER BY t.id = $1 DESC LIMIT 1";

/// The lightest that reach far enough: a document or presence only where nothing less does.
const WAYS: &str = "/* erasured:known */ SELECT m.ja, m.en, m.demands IN ('document', 'presence') AS document \
   FROM erasured.method m WHERE m.level >= $1 \
    AND (m.demands NOT IN ('document', 'presence') OR NOT EXISTS ( \
           SELECT FROM erasured.method l WHERE l.level >= $1 AND l.demands NOT IN ('document', 'presence'))) \
  ORDER BY m.level, m.code LIMIT $2";

const KEPT: &str = "/* erasured:known */ SELECT basis, max(due_at) FROM erasured.deferral \
  WHERE ticket_id = $1 GROUP BY basis ORDER BY basis";

const REFUSED: &str = "/* erasured:known */ SELECT detail FROM erasured.ticket_timeline \
  WHERE ticket_id = $1 AND what = 'rejected' AND detail IS NOT NULL ORDER BY at DESC LIMIT 1";
