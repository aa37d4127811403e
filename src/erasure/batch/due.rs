//! Whether people whom a retention rule names are due still: who has come back in the meantime stays.

use super::super::context::Planned;
use super::{Run, Work};
use crate::plan::SystemPlan;
use crate::policy::retention::{RetentionAction, RetentionRule};
use crate::retention::Prepared;
use crate::store::StoreError;
use crate::system::postgres::execute::MustBeDue;
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

/// Who of a batch must be due when their rows are locked: nobody can come back behind that. Where rows go in pieces
/// some of a person's may have gone by then, and it is asked no more.
pub(super) fn must_be_due(part: &SystemPlan, group: &[Work]) -> Vec<MustBeDue> {
    if !part.pieces.is_empty() {
        return Vec::new();
    }
    let mut by_rule: BTreeMap<&str, MustBeDue> = BTreeMap::new();
    for (at, work) in group.iter().enumerate() {
        if let (Some(rule), Some(prepared)) = (&work.ticket.rule, &work.due_by) {
            let must = by_rule.entry(rule).or_insert_with(|| MustBeDue {
                tickets: Vec::new(),
                asked: prepared.when_locked(),
            });
            must.tickets.push(at);
        }
    }
    by_rule.into_values().collect()
}
