//! Why people may ask and companies refuse: what the loaded files say, told to the control schema.

use super::{Result, Store, Tx, run_tx};
use crate::policy::grounds::{Ground, Grounds};
use serde::Serialize;

/// Why a ticket was rejected, in words for the customer.
#[derive(Clone, Debug, Serialize)]
pub struct Refusal {
    /// In Japanese.
    pub ja: String,
    /// In English.
    pub en: String,
    /// Where to complain, in Japanese; `None` where nothing was refused.
    pub complain_ja: Option<String>,
    /// The same in English.
    pub complain_en: Option<String>,
}

/// The words of a code, if it still has some.
pub(super) async fn refusal(tx: &Tx<'_>, code: &str) -> Result<Option<Refusal>> {
    let sql = "/* erasured:refusal */ SELECT ja, en, complain_ja, complain_en FROM erasured.ground \
                WHERE kind = 'refusal' AND code = $1";
    let row = tx.query_opt(sql, &[&code]).await?;
    Ok(row.map(|r| Refusal {
        ja: r.get(0),
        en: r.get(1),
        complain_ja: r.get(2),
        complain_en: r.get(3),
    }))
}

impl Store {
    /// Tells the control schema the grounds of requests and the reasons for refusing them; what is not
    /// among them is known no more.
    ///
    /// # Errors
    /// The control database's.
    pub async fn publish_grounds(&self, grounds: &Grounds) -> Result<()> {
        let kinds = [
            ("request", &grounds.requests),
            ("refusal", &grounds.refusals),
        ];
        run_tx!(self, "publish_grounds", |tx| {
            for (kind, known) in kinds {
                let codes: Vec<&str> = known.keys().map(String::as_str).collect();
                let all = || known.values();
                let ja: Vec<&str> = all().map(|g| g.ja.as_str()).collect();
                let en: Vec<&str> = all().map(|g| g.en.as_str()).collect();
                let source: Vec<&str> = all().map(|g| g.source.as_str()).collect();
                let authority = |g: &Ground| grounds.authorities.get(g.complain.as_ref()?).cloned();
                let (complain_ja, complain_en): (Vec<Option<String>>, Vec<Option<String>>) = all()
                    .map(|g| {
                        authority(g)
                            .map(|a| (Some(a.ja), Some(a.en)))
                            .unwrap_or_default()
                    })
                    .unzip();
                tx.execute(
                    "/* erasured:publish_grounds */ DELETE FROM erasured.ground WHERE kind = $1 AND code <> ALL ($2)",
                    &[&kind, &codes],
                )
                .await?;
                tx.execute(
                    "/* erasured:publish_grounds */ INSERT INTO erasured.ground AS g (kind, code, ja, en, source, complain_ja, complain_en) \
                     SELECT $1, n.* FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[]) AS n \
                     ON CONFLICT (kind, code) DO UPDATE SET ja = excluded.ja, en = excluded.en, source = excluded.source, \
                       complain_ja = excluded.complain_ja, complain_en = excluded.complain_en, published_at = now() \
                     WHERE (g.ja, g.en, g.source, g.complain_ja, g.complain_en) IS DISTINCT FROM \
                       (excluded.ja, excluded.en, excluded.source, excluded.complain_ja, excluded.complain_en)",
                    &[&kind, &codes, &ja, &en, &source, &complain_ja, &complain_en],
                )
                .await?;
            }
            Ok(())
        })
    }
}
