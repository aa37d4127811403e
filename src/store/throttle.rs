//! How much of their speed an operator leaves retention's runs.

use super::retention::Run;
use super::tickets::act_as;
use super::{Result, Store, StoreError, run_tx};
use crate::retention::throttle::Share;
use chrono::{DateTime, Utc};
use serde::Serialize;

/// What an operator has set.
#[derive(Clone, Debug, Serialize)]
pub struct ThrottleView {
    /// Of which rule; `None` of all.
    pub rule: Option<String>,
    /// In per cent; 0 is a pause.
    pub share: i16,
    /// When.
    pub set_at: DateTime<Utc>,
    /// Who.
    pub set_by: String,
}

impl Store {
    /// Says for whoever looks why a run waits, or that it does not any more.
    pub async fn run_waits(&self, run: Run, reason: Option<&str>) -> Result<()> {
        run_tx!(self, "run_waits", |tx| {
            let sql = "/* erasured:run_waits */ UPDATE erasured.retention_run SET waits = $3 WHERE id = $1 AND lease_token = $2";
            tx.execute(sql, &[&run.id, &run.token, &reason]).await?;
            Ok(())
        })
    }

    /// What is left to a rule: the least of what was set for it and for all.
    pub async fn throttle_of(&self, rule: &str) -> Result<Share> {
        run_tx!(self, "throttle_of", |tx| {
            let sql = "/* erasured:throttle_of */ SELECT min(share) FROM erasured.retention_throttle WHERE rule IN ('', $1)";
            let share: Option<i16> = tx.query_one(sql, &[&rule]).await?.get(0);
            let share = share.and_then(|share| Share::new(u8::try_from(share).ok()?));
            Ok(share.unwrap_or(Share::WHOLE))
        })
    }

    /// Sets what is left to one rule, or to all; whether any daemon has met a rule of this name.
    ///
    /// # Errors
    /// [`StoreError`]: without the right to.
    pub async fn throttle(
        &self,
        share: Share,
        rule: Option<&str>,
        actor: Option<&str>,
    ) -> Result<bool> {
        if rule.is_some_and(|rule| rule.contains('\0')) {
            return Err(StoreError::Nul("the rule"));
        }
        run_tx!(self, "throttle", |tx| {
            act_as(tx, actor).await?;
            let sql = "/* erasured:throttle */ SELECT erasured.throttle_retention($1, $2)";
            let row = tx
                .query_one(sql, &[&i32::from(share.percent()), &rule])
                .await?;
            Ok(row.get(0))
        })
    }

    /// All that is set, for all rules first.
    pub async fn throttles(&self) -> Result<Vec<ThrottleView>> {
        run_tx!(self, "throttles", |tx| {
            let sql = "/* erasured:throttles */ SELECT nullif(rule, ''), share, set_at, set_by FROM erasured.retention_throttle ORDER BY rule";
            let rows = tx.query(sql, &[]).await?;
            let view = |row: &tokio_postgres::Row| ThrottleView {
                rule: row.get(0),
                share: row.get(1),
                set_at: row.get(2),
                set_by: row.get(3),
            };
            Ok(rows.iter().map(view).collect())
        })
    }
}
