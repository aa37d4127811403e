//! Partitions all of whose rows are due go whole, before the other rows go one by one.
//!
//! A partition that cannot go whole at this moment is left as it is, and its rows go like all others. One
//! that has been detached already is finished, or attached again: where a hold has been placed meanwhile, or
//! the rule does not want it any more.

use super::{Go, LastWord, Passage, Progress, Stopped, TRIES, passes, pause};
use crate::erasure::context::Context;
use crate::lineage::partition;
use crate::plan::{self, Statement};
use crate::policy::retention::Partitions;
use crate::retention::Prepared;
use crate::retention::brake::goes_on;
use crate::system::postgres::connect::through_pooler;
use crate::system::postgres::execute::NotErased;
use crate::system::postgres::partition::{self as system, Leaving, Part, Standing};
use chrono::NaiveDate;
use deadpool_postgres::Client;
use std::time::Duration;
use uuid::Uuid;

/// How long those are waited for who still use a table when a partition is detached.
const PATIENCE: Duration = Duration::from_secs(10);

/// A partition that would go whole now.
#[derive(Clone, Debug)]
pub struct SeenPart {
    /// Its name.
    pub partition: String,
    /// The first and the last day that its range takes in.
    pub range: Option<(NaiveDate, NaiveDate)>,
    /// What it takes up on disk.
    pub bytes: i64,
}

impl Prepared {
    /// What keeps the rule from taking whole partitions; `None` if it may, or wants none.
    pub fn partitions_obstacle(&self) -> Option<String> {
        self.rule.partitions?;
        partition::obstacle(&self.rule, self.of.as_ref()?, &self.catalog)
    }

    /// The partitions that would go whole now, the oldest first.
    ///
    /// # Errors
    /// [`NotErased`].
    pub async fn partitions_due(&self, context: &Context) -> Result<Vec<Part>, NotErased> {
        if self.rule.partitions.is_none() {
            return Ok(Vec::new());
        }
        let mut client = self.client(context).await?;
        let table = &self.rule.table.table;
        let mut parts = system::parts(&mut client, table, context.timeouts(1)).await?;
        parts.retain(|part| part.standing == Standing::Attached && self.goes_whole(part));
        if !parts.is_empty() && self.any_hold(context).await? {
            parts.clear();
        }
        Ok(parts)
    }

    /// The same for people: with the days of their ranges, and what they take up on disk with their indexes.
    ///
    /// # Errors
    /// [`NotErased`].
    pub async fn partitions_seen(&self, context: &Context) -> Result<Vec<SeenPart>, NotErased> {
        let parts = self.partitions_due(context).await?;
        let mut client = self.client(context).await?;
        let sizes = system::sizes(&mut client, &parts, context.timeouts(1)).await?;
        let due = self.of.as_ref().and_then(|of| of.due.first());
        let seen = parts.iter().zip(sizes).map(|(part, bytes)| SeenPart {
            partition: part.table.to_string(),
            range: due.and_then(|due| partition::days(&part.bound, due)),
            bytes,
        });
        Ok(seen.collect())
    }

    /// Whether any legal hold may cover a row of the table: then rows are looked at one by one.
    async fn any_hold(&self, context: &Context) -> Result<bool, NotErased> {
        let barred = self.barred_by(context).await;
        let barred = barred.map_err(|e| NotErased::Hook(e.to_string()))?;
        Ok(barred.is_some()
            || !self.rows_held(context).await?.is_empty()
            || !self.people(context).await?.held.holds.is_empty())
    }

    /// Whether a partition goes whole, as far as it and the rule are concerned.
    pub fn goes_whole(&self, part: &Part) -> bool {
        let due = self.of.as_ref().and_then(|of| of.due.first());
        self.rule.partitions.is_some()
            && self.partitions_obstacle().is_none()
            && part.unfit.is_none()
            && due.is_some_and(|due| partition::is_over(&part.bound, due))
    }
}

impl Passage<'_> {
    /// Ends what an earlier run of the rule has begun with partitions.
    pub(super) async fn partitions_begun(&mut self) -> Result<(), Stopped> {
        let mut changed = false;
        for part in self.parts().await? {
            if part.noted.as_ref().is_some_and(|(s, r)| self.is_mine(s, r)) {
                self.go_on(&part).await?;
                changed = true;
            }
        }
        if changed {
            self.look_again().await
        } else {
            Ok(())
        }
    }

    /// Takes the partitions away all of whose rows are due, the oldest first.
    pub(super) async fn partitions_due(
        &mut self,
        on: &mut (dyn FnMut(Progress) -> Go + Send),
    ) -> Result<(), Stopped> {
        let Some(how) = self.prepared.rule.partitions else {
            return Ok(());
        };
        // Behind a pooler it could not be said which session it is that detaches.
        let client = self.session().await?;
        let mut plainly = through_pooler(&client).await.map_err(NotErased::from)?;
        drop(client);
        for mut part in self.parts().await? {
            plainly |= part.standing == Standing::Pending;
            let here = part.standing == Standing::Attached && part.noted.is_none();
            if !here
                || !self.prepared.goes_whole(&part)
                || self.prepared.any_hold(self.context).await?
            {
                continue;
            }
            // Two cannot be detached concurrently at a time.
            part.beside_default |= plainly;
            self.take(&part, how).await?;
            self.look_again().await?;
            goes_on(on, self.progress())?;
            let rows = i64::try_from(self.gone).unwrap_or(i64::MAX);
            let lease = self.context.config.limits.lease;
            let store = &self.context.store;
            store
                .run_goes_on(self.run, self.report.batches, rows, lease)
                .await?;
        }
        Ok(())
    }

    async fn take(&mut self, part: &Part, how: Partitions) -> Result<(), Stopped> {
        if part.beside_default {
            // Where it cannot go now, its rows go like all others.
            if let Err(error) = self.gone(part, how).await? {
                self.tell(part, &error);
            }
            return Ok(());
        }
        let count = self.count_of(part);
        let leaving = self.leaving(part, how, &count);
        let (client, other) = (self.session().await?, self.session().await?);
        let rule = (self.new.subject, self.new.rule);
        let detached = system::detach(client, &other, &leaving, rule, &self.stamp, PATIENCE).await;
        drop(other);
        match detached {
            Err(error @ NotErased::Drift { .. }) => return Err(error.into()),
            Err(error) => self.tell(part, &error),
            Ok(()) => {}
        }
        let now = self.parts().await?;
        let now = now.iter().find(|p| p.oid == part.oid && p.noted.is_some());
        match now {
            Some(now) => self.go_on(now).await,
            None => Ok(()),
        }
    }

    /// From however a partition stands of which a note says that it is to go.
    async fn go_on(&mut self, part: &Part) -> Result<(), Stopped> {
        let mut part = part.clone();
        let how = self.prepared.rule.partitions.unwrap_or(Partitions::Drop);
        match part.standing {
            Standing::Missing => {
                let why = "it was detached by this rule and has been renamed or dropped since by somebody else; \
                           when you have looked, delete its row in erasured.leaving_partition";
                self.set_aside(&part, why.to_owned());
                return Ok(());
            }
            Standing::Attached | Standing::Pending => {
                let client = self.session().await?;
                // The session that detached it may outlive its daemon.
                let mut waited = 0;
                while system::end_session(&client, &part).await? && waited < TRIES {
                    pause(&mut waited).await;
                }
            }
            Standing::Detached => {}
        }
        let mut client = self.session().await?;
        let count = self.count_of(&part);
        match self.parts().await?.into_iter().find(|p| p.oid == part.oid) {
            None => return Ok(()),
            Some(now) => part.standing = now.standing,
        }
        if part.standing == Standing::Attached {
            system::forget(&client, &part).await?;
            return Ok(());
        }
        if part.standing == Standing::Pending {
            let leaving = self.leaving(&part, how, &count);
            let mut tries = 0;
            while let Err(error) = system::finalize(&mut client, &leaving).await {
                if !passes(&error) || tries >= TRIES {
                    self.set_aside(&part, format!("detached in part: {error}"));
                    return Ok(());
                }
                pause(&mut tries).await;
            }
            part.standing = Standing::Detached;
        }
        let wanted =
            self.prepared.goes_whole(&part) && !self.prepared.any_hold(self.context).await?;
        if wanted {
            match self.gone(&part, how).await? {
                Ok(()) => return Ok(()),
                Err(error @ (NotErased::Database(..) | NotErased::CommitUnknown(_))) => {
                    self.set_aside(&part, format!("detached, but not gone: {error}"));
                    return Ok(());
                }
                Err(error) => self.tell(&part, &error),
            }
        }
        let leaving = self.leaving(&part, how, &count);
        if let Err(error) = system::attach(&mut client, &leaving).await {
            self.set_aside(&part, format!("it cannot be attached again: {error}"));
        }
        Ok(())
    }

    /// The one transaction, tried again where that may help; what kept it from happening.
    async fn gone(
        &mut self,
        part: &Part,
        how: Partitions,
    ) -> Result<Result<(), NotErased>, Stopped> {
        let step = Uuid::now_v7();
        let mut tries = 0;
        loop {
            match self.once_gone(part, how, step).await {
                Ok(counts) => {
                    let rows = counts.partitions.values().map(|w| w.rows).sum::<i64>();
                    tracing::info!(rule = self.new.rule, partition = %part.table, rows, "a partition went whole");
                    self.add(&counts);
                    return Ok(Ok(()));
                }
                Err(error) => {
                    if matches!(error, NotErased::CommitUnknown(_)) {
                        // Whether it happened the target says, which counts it once.
                        self.recall().await?;
                        let name = part.table.to_string();
                        if self.report.partitions.contains_key(&name) {
                            return Ok(Ok(()));
                        }
                    }
                    // A hold is no reason to wait: it will be there the next time too.
                    let held = matches!(error, NotErased::Held(_));
                    if held || !passes(&error) || tries >= TRIES {
                        return Ok(Err(error));
                    }
                    pause(&mut tries).await;
                }
            }
        }
    }

    async fn once_gone(
        &self,
        part: &Part,
        how: Partitions,
        step: Uuid,
    ) -> Result<plan::Counts, NotErased> {
        let gate = self.gate().await?;
        let people = self.prepared.people(self.context).await?;
        if !gate.rows.is_empty() || !people.held.holds.is_empty() {
            return Err(NotErased::Held(Vec::new()));
        }
        let mut client = self.prepared.client(self.context).await?;
        let count = self.count_of(part);
        let leaving = Leaving {
            step,
            ..self.leaving(part, how, &count)
        };
        let mut word = LastWord {
            passage: self,
            taking: None,
            gate,
            people,
        };
        let gone = system::go(&mut client, &leaving, &mut word).await;
        if let Err(NotErased::CommitUnknown(unanswered)) = &gone {
            word.gate.until_over(self.context, unanswered).await;
        }
        word.gate.close().await;
        gone
    }

    fn is_mine(&self, subject: &str, rule: &str) -> bool {
        subject == self.new.subject && rule == self.new.rule
    }

    async fn parts(&self) -> Result<Vec<Part>, Stopped> {
        let table = &self.prepared.rule.table.table;
        let facts = self.prepared.catalog.tables.get(table);
        if facts.is_none_or(|t| t.ranges_of.is_empty()) {
            return Ok(Vec::new());
        }
        let mut client = self.session().await?;
        let timeouts = self.context.timeouts(1);
        Ok(system::parts(&mut client, table, timeouts).await?)
    }

    async fn session(&self) -> Result<Client, Stopped> {
        Ok(self.context.systems[self.system].pool.get().await?)
    }

    fn count_of(&self, part: &Part) -> Statement {
        let due = self.prepared.of.as_ref().map_or(&[][..], |of| &of.due);
        plan::whole_count(&part.table, due)
    }

    fn leaving<'a>(&'a self, part: &'a Part, how: Partitions, count: &'a Statement) -> Leaving<'a> {
        let due = self.prepared.of.as_ref().and_then(|of| of.due.first());
        Leaving {
            system: self.system,
            parent: &self.prepared.rule.table.table,
            part,
            how,
            count,
            range: due.and_then(|due| partition::days(&part.bound, due)),
            step: Uuid::now_v7(),
            run: self.run.id,
            timeouts: self.context.timeouts(2),
        }
    }

    /// The definitions are others now, by our own doing: whether by that alone.
    async fn look_again(&mut self) -> Result<(), Stopped> {
        let again = self.prepared.again(self.context).await?;
        if again.plan != self.prepared.plan {
            let system = self.system.to_owned();
            return Err(NotErased::Drift { system }.into());
        }
        self.stamp = again.stamp;
        Ok(())
    }

    fn set_aside(&mut self, part: &Part, why: String) {
        let name = format!("partition {}", part.table);
        self.report.set_aside.push((vec![name], why));
    }

    fn tell(&self, part: &Part, error: &NotErased) {
        tracing::warn!(rule = self.new.rule, partition = %part.table, problem = %error, "a partition could not go whole");
    }
}
