//! How tickets leave a batch before their end: put off, held, or failed.

use super::super::context::{Context, Unplanned};
use super::setback::{backoff, shared};
use super::{Late, Run, Work};
use crate::store::StoreError;
use crate::store::lease::LeasedTicket;
use std::collections::BTreeMap;
use uuid::Uuid;

impl Run<'_> {
    pub(super) async fn not_planned(
        &self,
        work: &[Work],
        unplanned: &Unplanned,
    ) -> Result<(), StoreError> {
        if unplanned.is_transient() {
            let cause = unplanned.cause();
            return self.later(work, cause, &unplanned.to_string()).await;
        }
        for work in work {
            self.fail(&work.ticket, unplanned.code(), &unplanned.to_string())
                .await?;
        }
        Ok(())
    }

    /// Puts off those that are late; returns the others.
    pub(super) async fn put_off(
        &self,
        work: Vec<Work>,
        late: Late,
    ) -> Result<Vec<Work>, StoreError> {
        let (waiting, work): (Vec<Work>, Vec<Work>) = work
            .into_iter()
            .partition(|w| late.contains_key(&w.ticket.id));
        let mut alike: BTreeMap<(&'static str, String), Vec<Work>> = BTreeMap::new();
        for work in waiting {
            if let Some(why) = late.get(&work.ticket.id) {
                alike.entry(why.clone()).or_default().push(work);
            }
        }
        for ((cause, problem), work) in alike {
            self.later(&work, cause, &problem).await?;
        }
        Ok(work)
    }

    /// Legal holds keep these; those that no hold keeps any more are tried again.
    pub(super) async fn suspend(&self, work: &[Work]) -> Result<(), StoreError> {
        if work.is_empty() {
            return Ok(());
        }
        let ids: Vec<Uuid> = work.iter().map(|w| w.ticket.id).collect();
        let rows = self.covered.iter();
        let rows: Vec<_> = rows
            .filter(|(ticket, _)| ids.contains(ticket))
            .copied()
            .collect();
        let held = self.context.store.suspend(self.token, &ids, &rows).await?;
        tracing::warn!(
            tickets = held.len(),
            "kept by a legal hold; nothing that it covers is erased until it is released"
        );
        self.count_ended(|ended| ended.held += held.len());
        for work in work.iter().filter(|w| !held.contains(&w.ticket.id)) {
            let one = std::slice::from_ref(work);
            self.later(one, "legal_hold", "a legal hold was released meanwhile")
                .await?;
        }
        Ok(())
    }

    pub(super) async fn fail(
        &self,
        ticket: &LeasedTicket,
        code: &str,
        problem: &str,
    ) -> Result<(), StoreError> {
        tracing::error!(ticket = %ticket.id, reference = ticket.reference, code, problem, "a ticket failed and waits for a person");
        self.context
            .store
            .failed(self.token, ticket.id, code, problem)
            .await?;
        self.context.has_failed(code);
        self.count_ended(|ended| ended.failed += 1);
        Ok(())
    }

    /// Puts tickets off, each by its own number of attempts; those that had enough of them fail.
    pub(super) async fn later(
        &self,
        work: &[Work],
        cause: &'static str,
        problem: &str,
    ) -> Result<(), StoreError> {
        metrics::counter!(crate::metrics::RETRIES, "cause" => cause).increment(work.len() as u64);
        let attempts = attempts(self.context);
        // What is down for all uses up none of a ticket's own attempts, it only slows the tries.
        let most = if shared(cause) {
            attempts / 2
        } else {
            attempts
        };
        let mut by_attempt: BTreeMap<i32, Vec<Uuid>> = BTreeMap::new();
        for work in work {
            // What is down for all is not the ticket's fault: it waits as long as it takes.
            if work.ticket.attempt + 1 >= attempts && !shared(cause) {
                self.fail(
                    &work.ticket,
                    "E0501",
                    &format!("{attempts} attempts failed, the last one: {problem}"),
                )
                .await?;
            } else {
                by_attempt
                    .entry(work.ticket.attempt)
                    .or_default()
                    .push(work.ticket.id);
            }
        }
        for (attempt, ids) in by_attempt {
            let after = backoff(attempt, rand::random());
            let again_after = after.as_secs_f64();
            tracing::warn!(tickets = ids.len(), cause, problem, again_after, "put off");
            self.context
                .store
                .retry_later(self.token, &ids, "E0501", cause, after, most)
                .await?;
            self.count_ended(|ended| ended.later += ids.len());
        }
        Ok(())
    }
}

pub(super) fn attempts(context: &Context) -> i32 {
    i32::try_from(context.config.limits.attempts.get()).unwrap_or(i32::MAX)
}
