//! What the metrics say of each rule besides its lag, whoever ran it and whenever: a rule that fails must be seen by somebody
//! who does not look at it.

use super::all;
use crate::erasure::context::Context;
use crate::metrics as names;
use crate::store::StoreError;

/// Tells of every rule when it last came to its end, how often it has failed since, and what its last run left.
///
/// # Errors
/// [`StoreError`]: the control database.
pub async fn tell(context: &Context) -> Result<(), StoreError> {
    for (policy, rule) in all(context) {
        let health = context
            .store
            .rule_health(&policy.subject, &rule.name)
            .await?;
        let set = |name: &'static str, value: f64| {
            metrics::gauge!(name, "rule" => rule.name.clone()).set(value);
        };
        if let Some(at) = health.last_success {
            set(names::RETENTION_LAST_SUCCESS, float(at.timestamp()));
        }
        if let Some(at) = rule.next_run(&policy.subject, context.now()) {
            set(names::RETENTION_NEXT_RUN, float(at.timestamp()));
        }
        set(names::RETENTION_FAILURES, float(health.failures));
        set(names::RETENTION_HELD, float(health.held));
        set(names::RETENTION_SET_ASIDE, float(health.set_aside));
    }
    Ok(())
}

/// Numbers of rows and seconds are far below 2⁵³.
#[allow(clippy::cast_precision_loss)]
fn float(n: i64) -> f64 {
    n as f64
}
