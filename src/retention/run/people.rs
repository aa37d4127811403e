//! People whose time is over: a ticket for each, by which they go with all that is theirs.

use super::{Passage, Stopped};
use crate::erasure::intake;
use crate::policy::retention::People;
use crate::retention::brake::{Brake, goes_on};
use crate::retention::{Go, LOOK, Progress};
use crate::store::retention::Filed;
use std::time::Duration;

/// How a run is told how far it is, and says whether to go on.
type On<'a> = &'a mut (dyn FnMut(Progress) -> Go + Send);

impl Passage<'_> {
    /// Files tickets for those who are due and covered by neither a hold nor an open ticket, the longest due first.
    pub(super) async fn file(&mut self, people: &People, on: On<'_>) -> Result<(), Stopped> {
        self.gone = self.context.store.filed(self.run.id).await?;
        let mut behind: Option<Vec<String>> = None;
        let mut brake = Brake::new(self.context, self.run, self.new.rule, self.system);
        loop {
            let rows = self.next(behind.as_deref(), LOOK).await?;
            let Some(last) = rows.last() else {
                return Ok(());
            };
            behind = Some(last.place.clone());
            let held = self.prepared.people(self.context).await?;
            let mut client = self.prepared.client(self.context).await?;
            let rows = self.prepared.free(self.context, &mut client, &held, rows);
            let rows = rows.await?;
            drop(client);
            for row in &rows {
                brake.release(Duration::ZERO, self.progress(), on).await?;
                if self.gone >= people.at_most {
                    return Ok(());
                }
                self.one(people, &row.key).await?;
            }
            goes_on(on, self.progress())?;
        }
    }

    async fn one(&mut self, people: &People, key: &[String]) -> Result<(), Stopped> {
        let policy = &self.prepared.policy;
        let person = intake::by_key(self.context, policy, &people.scope, &[key]).await?;
        let Some(person) = person.into_iter().flatten().next() else {
            return Ok(());
        };
        let store = &self.context.store;
        match store.file_due(self.run, &people.scope, &person).await? {
            Filed::Filed => {
                self.gone += 1;
                self.report.filed += 1;
                let rows = i64::try_from(self.gone).unwrap_or(i64::MAX);
                let lease = self.context.config.limits.lease;
                store.run_goes_on(self.run, 0, rows, lease).await?;
            }
            Filed::Held => self.report.held += 1,
            Filed::Covered => {}
        }
        Ok(())
    }
}
