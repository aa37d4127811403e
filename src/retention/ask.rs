//! Whether a rule may run: as far as a person has approved it.

use super::approval::{Foreseen, Terms};
use super::{Prepared, run::Stopped};
use crate::erasure::context::Context;
use crate::policy::Policy;
use crate::store::approvals::{Approval, Proposal};
use crate::store::retention::Run;
use chrono::{DateTime, Utc};

impl Prepared {
    /// Asks for a person's word where the rule wants one: before it first runs, when it takes more than was approved,
    /// and when more is due than was foreseen. What they would approve is written down then; and with the run by which
    /// approval it goes on.
    ///
    /// # Errors
    /// [`Stopped::Unapproved`], [`Stopped::OverForecast`].
    pub(super) async fn permitted(
        &self,
        context: &Context,
        run: Run,
        due: i64,
    ) -> Result<(), Stopped> {
        if self.rule.approval {
            let terms = self.terms(context).await?;
            match self.approved(context, &terms, due).await? {
                Err(refused) => {
                    self.propose(context, &terms, due).await?;
                    return Err(refused);
                }
                Ok(approval) => context.store.run_approved(run, approval).await?,
            }
        }
        // What waited is not what would be done.
        let (store, subject) = (&context.store, &self.policy.subject);
        Ok(store.withdraw_proposal(subject, &self.rule.name).await?)
    }

    /// For what word of a person a run would stop now. Nothing is written.
    ///
    /// # Errors
    /// [`Stopped::Store`], [`Stopped::Unplanned`].
    pub async fn waits_for(&self, context: &Context, due: i64) -> Result<Option<Stopped>, Stopped> {
        if !self.rule.approval || !self.rule.action.changes() {
            return Ok(None);
        }
        let terms = self.terms(context).await?;
        let approved = self.approved(context, &terms, due).await?;
        Ok(approved.err())
    }

    /// What people lose is what the scope of their tickets takes.
    async fn terms(&self, context: &Context) -> Result<Terms, Stopped> {
        let policies = context.policies();
        let in_force: Vec<&Policy> = policies.values().map(|p| &**p).collect();
        let of_scope = match &self.rule.people {
            Some(people) => {
                let subject = &self.policy.subject;
                Some(context.planned(subject, &people.scope).await?)
            }
            None => None,
        };
        let plan = of_scope.as_ref().map(|planned| &planned.plan);
        let plan = plan.or(self.plan.as_ref());
        Ok(Terms::new(&self.rule, &in_force, plan))
    }

    /// The approval by which it may run, or why it may not.
    async fn approved(
        &self,
        context: &Context,
        terms: &Terms,
        due: i64,
    ) -> Result<Result<i64, Stopped>, Stopped> {
        let (store, rule) = (&context.store, &self.rule.name);
        let approval = store.retention_approval(&self.policy.subject, rule).await?;
        let Some(approved) = approval.as_ref().and_then(read) else {
            let more = Vec::new();
            return Ok(Err(Stopped::Unapproved { due, more }));
        };
        let more = terms.more_than(&approved.terms);
        if !more.is_empty() {
            return Ok(Err(Stopped::Unapproved { due, more }));
        }
        let Some(over) = self.rule.stop_over_forecast else {
            return Ok(Ok(approved.id));
        };
        let since = approved.at;
        let taken = store.taken_since(&self.policy.subject, rule, since).await?;
        let today = context.now().with_timezone(&self.rule.zone).date_naive();
        let expected = approved.foreseen.through(today);
        let expected = expected.saturating_sub(taken).max(0);
        Ok(if due > over.most(expected) {
            Err(Stopped::OverForecast { due, expected })
        } else {
            Ok(approved.id)
        })
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

/// What a person has approved.
struct Approved {
    id: i64,
    terms: Terms,
    foreseen: Foreseen,
    at: DateTime<Utc>,
}

/// What another version wrote, and this one cannot read, approves nothing.
fn read(approval: &Approval) -> Option<Approved> {
    Some(Approved {
        id: approval.id,
        terms: serde_json::from_value(approval.terms.clone()).ok()?,
        foreseen: serde_json::from_value(approval.forecast.clone()).ok()?,
        at: approval.at,
    })
}
