//! Who is asking: what the loaded files say about proof, told to the control schema.

use super::{Result, Store, run_tx};
use crate::policy::proof::Proofs;

impl Store {
    /// Tells the control schema by which methods people may be verified, and how far each reaches;
    /// what is not among them is known no more.
    ///
    /// # Errors
    /// The control database's.
    pub async fn publish_methods(&self, proofs: &Proofs) -> Result<()> {
        let codes: Vec<&str> = proofs.methods.keys().map(String::as_str).collect();
        run_tx!(self, "publish_methods", |tx| {
            tx.execute(
                "/* erasured:publish_methods */ DELETE FROM erasured.method WHERE code <> ALL ($1)",
                &[&codes],
            )
            .await?;
            for (code, m) in &proofs.methods {
                tx.execute(
                    "/* erasured:publish_methods */ INSERT INTO erasured.method AS m \
                       (code, level, demands, ask, ja, en) VALUES ($1, $2, $3, $4, $5, $6) \
                     ON CONFLICT (code) DO UPDATE SET level = excluded.level, demands = excluded.demands, \
                       ask = excluded.ask, ja = excluded.ja, en = excluded.en, published_at = now() \
                     WHERE (m.level, m.demands, m.ask, m.ja, m.en) IS DISTINCT FROM \
                       (excluded.level, excluded.demands, excluded.ask, excluded.ja, excluded.en)",
                    &[code, &(m.level as i16), &m.demands.word(), &m.ask, &m.ja, &m.en],
                )
                .await?;
            }
            Ok(())
        })
    }
}
