//! How a retention rule has fared.

use super::{Result, Store, run_tx};
use chrono::{DateTime, Utc};

/// How a rule has fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleHealth {
    /// When a run of it came to its end last.
    pub last_success: Option<DateTime<Utc>>,
    /// How many have failed since.
    pub failures: i64,
    /// Due rows that holds covered at the last run that has ended.
    pub held: i64,
    /// And rows that could not go.
    pub set_aside: i64,
}

impl Store {
    /// How a rule has fared, by schedule and by hand.
    pub async fn rule_health(&self, subject: &str, rule: &str) -> Result<RuleHealth> {
        run_tx!(self, "rule_health", |tx| {
            let sql = "/* erasured:rule_health */ WITH r AS (SELECT * FROM erasured.retention_run WHERE subject = $1 AND rule = $2), \
                   good AS (SELECT max(ended_at) AS ended_at, max(started_at) AS started_at FROM r WHERE state = 'done'), \
                   latest AS (SELECT held, set_aside FROM r WHERE ended_at IS NOT NULL ORDER BY started_at DESC, id LIMIT 1) \
                 SELECT good.ended_at, \
                   (SELECT count(*) FROM r WHERE state = 'failed' AND started_at > coalesce(good.started_at, '-infinity')), \
                   coalesce((SELECT held FROM latest), 0), coalesce((SELECT set_aside FROM latest), 0) FROM good";
            let row = tx.query_one(sql, &[&subject, &rule]).await?;
            Ok(RuleHealth {
                last_success: row.get(0),
                failures: row.get(1),
                held: row.get(2),
                set_aside: row.get(3),
            })
        })
    }
}
