//! Whether people whom a retention rule names are due still: who has come back in the meantime stays.

use super::super::context::Planned;
use super::{Run, Work};
use crate::retention::Prepared;
use crate::store::StoreError;
use std::collections::{BTreeMap, HashSet};

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
        // A rule that is there no more names nobody.
        let due: HashSet<usize> = match planned.policy.retention_rule(rule) {
            None => HashSet::new(),
            Some(of) => {
                let policy = planned.policy.clone();
                let prepared = match Prepared::new(self.context, policy, of.clone()).await {
                    Ok(prepared) => prepared,
                    Err(unplanned) => {
                        self.not_planned(&work, &unplanned).await?;
                        return Ok(Vec::new());
                    }
                };
                match prepared.still_due(self.context, &keys).await {
                    Ok(due) => due,
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
                go_on.push(work);
            } else if self.context.store.end_not_due(self.token, ticket).await? {
                tracing::info!(%ticket, rule, "not due any more: nothing is erased");
            } else {
                go_on.push(work);
            }
        }
        Ok(go_on)
    }
}
