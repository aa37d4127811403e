//! What steps whose result is not known did: their systems are asked.

use super::super::context::Planned;
use super::super::in_doubt;
use super::super::recall;
use super::setback::{Setback, setback};
use super::{Run, Work};
use crate::store::StoreError;
use crate::store::executing::StepRow;
use std::collections::BTreeMap;
use uuid::Uuid;

impl Run<'_> {
    /// Ends what earlier attempts at these tickets have left prepared: only then the systems can say what was
    /// done. Returns the tickets of which nothing is left so; the others are put off.
    pub(super) async fn nothing_in_doubt(
        &mut self,
        work: Vec<Work>,
        began: bool,
    ) -> Result<Vec<Work>, StoreError> {
        let tried = work.iter().map(|w| &w.ticket);
        let tried = tried.filter(|t| began || t.generation > 1);
        let ids: Vec<Uuid> = tried.map(|t| t.id).collect();
        if ids.is_empty() {
            return Ok(work);
        }
        let left = in_doubt::of_tickets(self.context, &ids).await?;
        let (held, work): (Vec<Work>, Vec<Work>) = work
            .into_iter()
            .partition(|w| left.in_the_way.contains_key(&w.ticket.id));
        if let Some(problem) = left.in_the_way.into_values().next() {
            self.later(&held, "in_doubt", &problem).await?;
        }
        let open = work.iter().map(|w| w.ticket.id);
        let committed: Vec<Uuid> = open.filter(|id| left.committed.contains(id)).collect();
        if committed.is_empty() {
            return Ok(work);
        }
        // Written down while it is known with which others each was.
        let planned = recall::planned(self.context, &committed, |_| true).await?;
        self.learn(work, &planned).await
    }

    /// Writes down what steps did whose result is not known, of earlier generations or under another
    /// plan than this: it is told as that plan's. Returns the tickets of which now all is known; the
    /// others are put off.
    pub(super) async fn recall(
        &mut self,
        planned: &Planned,
        work: Vec<Work>,
    ) -> Result<Vec<Work>, StoreError> {
        let again = work
            .iter()
            .filter(|w| w.ticket.generation > 1 || w.ticket.taken_over || w.ticket.attempt > 0);
        let current: BTreeMap<Uuid, i32> =
            again.map(|w| (w.ticket.id, w.ticket.generation)).collect();
        if current.is_empty() {
            return Ok(work);
        }
        let ids: Vec<Uuid> = current.keys().copied().collect();
        let unlike = |s: &StepRow| s.generation < current[&s.ticket] || s.plan_id != planned.id;
        let unknown = recall::planned(self.context, &ids, unlike).await?;
        self.learn(work, &unknown).await
    }

    /// Asks the targets about these steps. Returns the tickets of which now all is known; the others are put
    /// off.
    pub(super) async fn learn(
        &mut self,
        work: Vec<Work>,
        planned: &[StepRow],
    ) -> Result<Vec<Work>, StoreError> {
        let Err(error) = recall::steps(self.context, self.token, planned).await? else {
            return Ok(work);
        };
        let (held, work): (Vec<Work>, Vec<Work>) = work
            .into_iter()
            .partition(|w| planned.iter().any(|s| s.ticket == w.ticket.id));
        match setback(error) {
            Setback::Later(cause, problem) => self.later(&held, cause, &problem).await?,
            Setback::Stuck(code, problem) => {
                for work in &held {
                    self.fail(&work.ticket, code, &problem).await?;
                }
            }
            // Only asked what has been: nothing is erased here.
            Setback::Held(_) | Setback::HeldRows(_) => self.suspend(&held).await?,
        }
        Ok(work)
    }
}
