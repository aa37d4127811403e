//! Whether a rule may run: as far as a person has approved it.

use super::approval::{Foreseen, Terms};
use super::{Prepared, run::Stopped};
use crate::erasure::context::Context;
use crate::policy::Policy;
use crate::store::approvals::{Approval, Proposal};
use chrono::{DateTime, Utc};

impl Prepared {
    /// Asks for a person's word where the rule wants one: before it first runs, when it takes more than was approved,
    /// and when more is due than was foreseen. What they would approve is written down then.
    ///
    /// # Errors
    /// [`Stopped::Unapproved`], [`Stopped::OverForecast`].
    pub(super) async fn permitted(&self, context: &Context, due: i64) -> Result<(), Stopped> {
        let policies = context.policies();
        let in_force: Vec<&Policy> = policies.values().map(|p| &**p).collect();
        let terms = Terms::new(&self.policy, &self.rule, &in_force, self.plan.as_ref());
        match self.refused(context, &terms, due).await? {
            Some(refused) => {
                self.propose(context, &terms, due).await?;
                Err(refused)
            }
            // What waited is not what would be done.
            None => {
                let (store, subject) = (&context.store, &self.policy.subject);
                Ok(store.withdraw_proposal(subject, &self.rule.name).await?)
            }
        }
    }

    async fn refused(
        &self,
        context: &Context,
        terms: &Terms,
        due: i64,
    ) -> Result<Option<Stopped>, Stopped> {
        if !self.rule.approval {
            return Ok(None);
        }
        let (store, rule) = (&context.store, &self.rule.name);
        let approval = store.retention_approval(&self.policy.subject, rule).await?;
        let approved = approval.as_ref().and_then(read);
        let Some((_, foreseen, at)) = approved.filter(|(old, ..)| !terms.takes_more(old)) else {
            return Ok(Some(Stopped::Unapproved { due }));
        };
        let Some(over) = self.rule.stop_over_forecast else {
            return Ok(None);
        };
        let taken = store.taken_since(&self.policy.subject, rule, at).await?;
        let today = context.now().with_timezone(&self.rule.zone).date_naive();
        let expected = foreseen.through(today).saturating_sub(taken).max(0);
        let over = due > over.most(expected);
        Ok(over.then_some(Stopped::OverForecast { due, expected }))
    }

    async fn propose(&self, context: &Context, terms: &Terms, due: i64) -> Result<(), Stopped> {
        let Some(forecast) = self.forecast(context, false).await? else {
            return Ok(());
        };
        let foreseen = Foreseen::new(forecast, &self.rule.keep);
        let proposal = Proposal {
            subject: &self.policy.subject,
            rule: &self.rule.name,
            table: &terms.table,
            policy_sha256: &self.policy.sha256,
            terms: serde_json::to_value(terms).unwrap_or_default(),
            forecast: serde_json::to_value(&foreseen).unwrap_or_default(),
            due,
        };
        context.store.propose_retention(&proposal).await?;
        Ok(())
    }
}

/// What another version wrote, and this one cannot read, approves nothing.
fn read(approval: &Approval) -> Option<(Terms, Foreseen, DateTime<Utc>)> {
    let terms = serde_json::from_value(approval.terms.clone()).ok()?;
    let foreseen = serde_json::from_value(approval.forecast.clone()).ok()?;
    Some((terms, foreseen, approval.at))
}
