//! Whether people whom a retention rule names are due still: who has come back in the meantime stays.

use super::super::context::{Context, Planned};
use super::{Run, Work};
use crate::policy::retention::{RetentionAction, RetentionRule};
use crate::retention::Prepared;
use crate::store::StoreError;
use crate::system::postgres::execute::NotErased;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

impl Run<'_> {
    /// Asked when a ticket begins; of whom something is erased already nobody asks. Returns those to go on with;
    /// the tickets of the others have ended.
    pub(super) async fn look_whether_due(
        &mut self,
        planned: &Planned,
        work: Vec<Work>,
        began: bool,
    ) -> Result<Vec<Work>, StoreError> {
        let (asked, mut rest): (Vec<Work>, Vec<Work>) =
            work.into_iter().partition(|w| w.ticket.rule.is_some());
        if asked.is_empty() {
            return Ok(rest);
        }
        // What has gone in pieces stands in no step.
        if began && planned.plan.systems.iter().any(|s| !s.pieces.is_empty()) {
            rest.extend(asked);
            return Ok(rest);
        }
        let (begun, fresh) = self.begun(asked, began).await?;
        rest.extend(begun);
        let mut by_rule: BTreeMap<String, Vec<Work>> = BTreeMap::new();
        for work in fresh {
            let rule = work.ticket.rule.clone().unwrap_or_default();
            by_rule.entry(rule).or_default().push(work);
        }
        for (rule, work) in by_rule {
            rest.extend(self.due_by(planned, &rule, work).await?);
        }
        Ok(rest)
    }

    async fn due_by(
        &mut self,
        planned: &Planned,
        rule: &str,
        work: Vec<Work>,
    ) -> Result<Vec<Work>, StoreError> {
        let keys: Vec<&[String]> = work.iter().map(|w| w.identity.key.as_slice()).collect();
        // A rule that is there no more, or is for something else now, names nobody.
        let root = &planned.policy.root.0;
        let of_people = |of: &&RetentionRule| {
            of.people.is_some() && of.action == RetentionAction::Delete && of.table == *root
        };
        let (prepared, due) = match planned.policy.retention_rule(rule).filter(of_people) {
            None => (None, HashSet::new()),
            Some(of) => {
                let policy = planned.policy.clone();
                let prepared = match Prepared::new(self.context, policy, of.clone()).await {
                    Ok(prepared) => Arc::new(prepared),
                    Err(unplanned) => {
                        self.not_planned(&work, &unplanned).await?;
                        return Ok(Vec::new());
                    }
                };
                match prepared.still_due(self.context, &keys).await {
                    Ok(due) => (Some(prepared), due),
                    Err(error) => {
                        let problem = error.to_string();
                        self.later(&work, "unreachable", &problem).await?;
                        return Ok(Vec::new());
                    }
                }
            }
        };
        let mut go_on = Vec::new();
        for (at, work) in work.into_iter().enumerate() {
            let ticket = work.ticket.id;
            if due.contains(&at) {
                let due_by = prepared.clone();
                go_on.push(Work { due_by, ..work });
            } else if self.context.store.end_not_due(self.token, ticket).await? {
                tracing::info!(%ticket, rule, "not due any more: nothing is erased");
            } else {
                go_on.push(work);
            }
        }
        Ok(go_on)
    }
}

/// The same with their rows locked: nobody can come back behind this.
///
/// # Errors
/// [`NotErased::NotDue`]: the next try finds out of whom, and ends their tickets.
pub(super) async fn still_due(context: &Context, group: &[Work]) -> Result<(), NotErased> {
    let mut by_rule: BTreeMap<&str, (&Prepared, Vec<&[String]>)> = BTreeMap::new();
    for work in group {
        if let (Some(rule), Some(prepared)) = (&work.ticket.rule, &work.due_by) {
            let of = by_rule
                .entry(rule)
                .or_insert_with(|| (prepared, Vec::new()));
            of.1.push(&work.identity.key);
        }
    }
    for (prepared, keys) in by_rule.into_values() {
        if prepared.still_due(context, &keys).await?.len() < keys.len() {
            return Err(NotErased::NotDue);
        }
    }
    Ok(())
}
