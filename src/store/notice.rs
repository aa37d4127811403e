//! What a notice says of a ticket, as the desk may see it.

use super::tickets::view;
use super::{Result, Store, StoreError, run_tx};
use crate::notice::facts::Known;
use crate::notice::offer::Offer;
use crate::ticket::words::{Lang, Words};
use chrono::Duration;
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
            let needed: Option<i32> = row.get("rank");
            let methods = tx.query(WAYS, &[&needed.unwrap_or(0), &METHODS]).await?;
            let kept = tx.query(KEPT, &[&t.id]).await?;
            let call_back = tx.query_opt(CALL_BACK, &[&needed.unwrap_or(0)]).await?;
            let refusal = match &t.rejected_for {
                Some(code) => super::grounds::refusal(tx, code).await?,
                None => None,
            };
            let mut refused_parts = Vec::new();
            for (part, code) in &t.refused {
                let words = super::grounds::refusal(tx, code).await?;
                let words = words.map(|w| Words { ja: w.ja, en: w.en });
                refused_parts.push((part.clone(), code.clone(), words));
            }
            let words = |r: &tokio_postgres::Row| Words {
                ja: r.get("ja"),
                en: r.get("en"),
            };
            let known = Known {
                state: t.state,
                requested_at: t.requested_at,
                due_at: t.due_at,
                not_before: t.not_before,
                clock: t.clock,
                extended_for: t.extended_for,
                refused_for: t.rejected_for.map(|code| {
                    let words = refusal.as_ref().map(|r| Words {
                        ja: r.ja.clone(),
                        en: r.en.clone(),
                    });
                    (code, words)
                }),
                complain_of_refusal: refusal.and_then(|r| {
                    Some(Words {
                        ja: r.complain_ja?,
                        en: r.complain_en?,
                    })
                }),
                refused_parts,
                finished_at: t.finished_at,
                certificate: t.certificate_id.map(|id| id.to_string()),
                kept_until: kept.iter().map(|r| (r.get(0), r.get(1))).collect(),
                documents: methods.iter().any(|r| r.get::<_, bool>("document")),
                methods: methods.iter().map(words).collect(),
                proven: row.get::<_, Option<bool>>("proven").unwrap_or(false),
                needed: row.get("needed"),
                call_back: call_back.as_ref().map(words),
                four_eyes: row.get::<_, Option<bool>>("four_eyes").unwrap_or(false),
                cooling_off: Duration::seconds(row.get::<_, Option<i64>>("cooling").unwrap_or(0)),
                waits_until: t.not_before,
                found: t.subject_hash.is_some(),
                begun: row.get("begun"),
                problem_code: t.problem_code,
                asked_for: t.asked_for,
                duplicate_of: t.duplicate_of,
                now: t.now,
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

const ONE: &str = "/* erasured:known */ SELECT t.*, now() AS now, s.words, array_position(ARRAY['none', 'basic', 'reasonable', 'reasonably-high', 'high'], t.needed_level) - 1 AS rank, s.four_eyes, \
        t.needed_level AS needed, extract(epoch FROM s.cooling_off)::bigint AS cooling, \
        array_position(ARRAY['none', 'basic', 'reasonable', 'reasonably-high', 'high'], t.verified_level) \
          >= array_position(ARRAY['none', 'basic', 'reasonable', 'reasonably-high', 'high'], t.needed_level) AS proven, \
        EXISTS (SELECT FROM erasured.step p WHERE p.ticket_id = t.id) AS begun \
   FROM erasured.ticket_status t LEFT JOIN erasured.scope s ON s.subject = t.subject AND s.scope = t.scope \
  WHERE t.id = $1 OR t.reference = $2 ORDER BY t.id = $1 DESC LIMIT 1";

/// The lightest that reach far enough: a document or presence only where nothing less does.
const WAYS: &str = "/* erasured:known */ SELECT m.ja, m.en, m.demands IN ('document', 'presence') AS document \
   FROM erasured.method m WHERE m.level >= $1::int4 \
    AND (m.demands NOT IN ('document', 'presence') OR NOT EXISTS ( \
           SELECT FROM erasured.method l WHERE l.level >= $1 AND l.demands NOT IN ('document', 'presence'))) \
  ORDER BY m.level, m.code LIMIT $2";

const KEPT: &str = "/* erasured:known */ SELECT basis, max(due_at) FROM erasured.deferral \
  WHERE ticket_id = $1 AND state = 'waiting' GROUP BY basis ORDER BY basis";

/// The lightest that reaches far enough among the ways whose code begins with `callback`.
const CALL_BACK: &str = "/* erasured:known */ SELECT m.ja, m.en FROM erasured.method m \
  WHERE m.level >= $1::int4 AND m.demands NOT IN ('document', 'presence') AND starts_with(m.code, 'callback') \
  ORDER BY m.level, m.code LIMIT 1";
