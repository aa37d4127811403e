//! Whether what reaches these people was changed since somebody looked: an impostor does that first.

use super::super::context::Planned;
use super::super::signs;
use super::{Run, Work};
use crate::store::StoreError;
use crate::store::executing::StepRow;
use crate::store::signs::ContactChange;
use std::collections::BTreeSet;
use uuid::Uuid;

impl Run<'_> {
    /// What is new stops its ticket when it would begin: it was approved without knowing. Of whom something
    /// is erased already nobody asks: the change may be our own, and there is no way back.
    pub(super) async fn look_for_changes(
        &mut self,
        planned: &Planned,
        work: Vec<Work>,
        began: bool,
    ) -> Result<Vec<Work>, StoreError> {
        let watched = !planned.policy.asking.changed.is_empty();
        // Of signs of other kinds the control database knows itself, but not whether a daemon that died
        // had committed something.
        let died = work.iter().any(|w| w.ticket.taken_over);
        if !watched && !died {
            return Ok(work);
        }
        let (mut begun, mut fresh) = self.begun(work, began).await?;
        if !watched {
            begun.extend(fresh);
            return Ok(begun);
        }
        let keys: Vec<&[String]> = fresh.iter().map(|w| w.identity.key.as_slice()).collect();
        let found = match signs::changes(self.context, &planned.policy, &keys).await {
            Ok(found) => found,
            Err(unplanned) => {
                self.not_planned(&fresh, &unplanned).await?;
                return Ok(begun);
            }
        };
        let mut changes = Vec::new();
        for (work, found) in fresh.iter_mut().zip(found) {
            let ticket = work.ticket.id;
            let new = found.suspect.into_iter();
            changes.extend(new.map(|(contact, mark)| ContactChange {
                ticket,
                contact,
                mark,
            }));
            work.stands = Some(found.stands);
        }
        self.context.store.note_changes(&changes).await?;
        begun.extend(fresh);
        Ok(begun)
    }

    /// Those of whom something is erased, and the others. A step that is planned alone may have committed,
    /// or have stopped before the first change; its target knows.
    pub(super) async fn begun(
        &mut self,
        work: Vec<Work>,
        began: bool,
    ) -> Result<(Vec<Work>, Vec<Work>), StoreError> {
        let tried = work.iter().map(|w| &w.ticket);
        let tried = tried.filter(|t| began || t.generation > 1 || t.taken_over);
        let ids: Vec<Uuid> = tried.map(|t| t.id).collect();
        if ids.is_empty() {
            return Ok((Vec::new(), work));
        }
        let mut steps = self.context.store.steps(&ids).await?;
        let mut done = done(&steps);
        done.extend(self.context.store.have_taken(&ids).await?);
        steps.retain(|step| !done.contains(&step.ticket));
        let work = self.learn(work, &steps).await?;
        if !steps.is_empty() {
            let steps = self.context.store.steps(&ids).await?;
            done.extend(self::done(&steps));
        }
        Ok(work.into_iter().partition(|w| done.contains(&w.ticket.id)))
    }
}

/// Those of which something is gone from a database. Of other systems it is the mark that counts.
fn done(steps: &[StepRow]) -> BTreeSet<Uuid> {
    let is_of_places = |step: &&StepRow| {
        step.counts
            .as_ref()
            .is_some_and(|c| c.get("kind").is_some())
    };
    let done = steps.iter().filter(|step| step.done && !is_of_places(step));
    done.map(|step| step.ticket).collect()
}
