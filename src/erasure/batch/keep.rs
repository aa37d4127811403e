//! Between the capture and the first change: who was met, and what must be remembered of them.

use super::super::context::{Context, Planned};
use super::super::holds::Gate;
use super::Work;
use super::named::all_are_known;
use crate::name::TableName;
use crate::plan::SystemPlan;
use crate::store::StoreError;
use crate::store::executing::NewDeferral;
use crate::system::postgres::connect::ON_THE_WAY;
use crate::system::postgres::execute::{BeforeChange, Deferred, MustBeDue, Names, NotErased, Seen};
use deadpool_postgres::Transaction;
use futures_util::future::BoxFuture;
use std::collections::BTreeSet;
use uuid::Uuid;

/// Two tickets of one batch may mean one person: the row that one of them holds is both's.
pub(super) fn still_theirs(
    planned: &Planned,
    group: &[Work],
    seen: &[Seen],
) -> Result<(), NotErased> {
    for seen in seen {
        let key = &group[seen.ticket].identity.key;
        for work in group.iter().filter(|w| w.identity.key == *key) {
            let met = work.identity.clone().meet(&planned.policy, &seen.values);
            met.map_err(|identifier| NotErased::OtherIdentity { identifier })?;
            unchanged(planned, work, seen)?;
        }
    }
    Ok(())
}

/// What reaches the person was changed in the moment before the row was locked: the next try looks at
/// it before it begins.
fn unchanged(planned: &Planned, work: &Work, seen: &Seen) -> Result<(), NotErased> {
    let Some(stands) = &work.stands else {
        return Ok(());
    };
    let mut watched = planned.policy.asking.changed.values();
    match watched.all(|c| seen.values.get(&c.column) == stands.get(&c.column)) {
        true => Ok(()),
        false => Err(NotErased::ContactChanged),
    }
}

/// With the root rows locked and nothing changed yet: is the subject still who the ticket says?
/// What the row says now, and the keys of what stays, are sealed before they are lost.
pub(super) struct Keep<'a> {
    pub(super) context: &'a Context,
    pub(super) token: Uuid,
    pub(super) planned: &'a Planned,
    pub(super) part: &'a SystemPlan,
    pub(super) group: &'a mut [Work],
    pub(super) known: PutOff,
    /// Of the group those whose step had not committed before. What the others put off was staged
    /// then, their rows are gone, and staging for them again would forget it.
    pub(super) active: Vec<usize>,
    /// Who must be due where these rows are locked.
    pub(super) due: Vec<MustBeDue>,
}

/// Rows that an earlier step has put off: ticket, table, key.
pub(super) type PutOff = BTreeSet<(Uuid, TableName, Vec<String>)>;

/// What one system's part writes down, and the last word before its COMMIT.
pub(super) struct Single<'a> {
    pub(super) keep: Keep<'a>,
    /// Where the root's rows are held while another system is erased.
    pub(super) held: Option<&'a Transaction<'a>>,
    /// Asked last.
    pub(super) gate: &'a mut Gate,
}

impl BeforeChange for Single<'_> {
    fn take_part(&mut self, active: &[usize]) {
        self.keep.active = active.to_vec();
    }

    fn ready(
        &mut self,
        seen: Vec<Seen>,
        deferred: Vec<Deferred>,
    ) -> BoxFuture<'_, Result<(), NotErased>> {
        Box::pin(self.keep.write(seen, deferred))
    }

    fn named(&mut self, names: Names) -> BoxFuture<'_, Result<(), NotErased>> {
        Box::pin(self.keep.named(names))
    }

    fn must_be_due(&self) -> Vec<MustBeDue> {
        self.keep.due.clone()
    }

    fn last_word(&mut self) -> BoxFuture<'_, Result<(), NotErased>> {
        Box::pin(async {
            still_held(self.held).await?;
            let context = self.keep.context;
            let time = context.config.limits.longest_statement() + ON_THE_WAY;
            self.gate.ask(context, &self.keep.taking_part(), time).await
        })
    }

    fn committed(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(self.gate.close())
    }

    fn put_off(&self, ticket: usize, table: &TableName, key: &[String]) -> bool {
        self.keep.put_off(ticket, table, key)
    }
}

/// That session says nothing meanwhile: the server may have ended it, and with it the locks.
pub(super) async fn still_held(held: Option<&Transaction<'_>>) -> Result<(), NotErased> {
    if let Some(tx) = held {
        tx.batch_execute("/* erasured:still held */ SELECT").await?;
    }
    Ok(())
}

impl Keep<'_> {
    /// The tickets of which something is to be done.
    pub(super) fn taking_part(&self) -> Vec<Uuid> {
        let active = self.active.iter();
        active.map(|&at| self.group[at].ticket.id).collect()
    }

    /// What the rows name elsewhere must have gone before them.
    pub(super) async fn named(&mut self, names: Names) -> Result<(), NotErased> {
        all_are_known(self.context, self.token, self.part, &*self.group, &names).await
    }

    /// Whether an earlier step has put this row off.
    pub(super) fn put_off(&self, ticket: usize, table: &TableName, key: &[String]) -> bool {
        !self.known.is_empty()
            && self
                .known
                .contains(&(self.group[ticket].ticket.id, table.clone(), key.to_vec()))
    }

    pub(super) async fn write(
        &mut self,
        seen: Vec<Seen>,
        deferred: Vec<Deferred>,
    ) -> Result<(), NotErased> {
        let mut grown = Vec::new();
        for seen in seen {
            let work = &mut self.group[seen.ticket];
            unchanged(self.planned, work, &seen)?;
            let grew = work
                .identity
                .meet(&self.planned.policy, &seen.values)
                .map_err(|identifier| NotErased::OtherIdentity { identifier })?;
            if grew {
                grown.push((
                    work.ticket.id,
                    work.identity
                        .seal(&self.context.hash_key, work.ticket.id, rand::random()),
                ));
            }
        }
        let ids = self.taking_part();
        let deferrals: Vec<NewDeferral> = deferred.iter().map(|d| self.deferral(d)).collect();
        let hook = |e: StoreError| NotErased::Hook(e.to_string());
        if !grown.is_empty() {
            self.context
                .store
                .seal(self.token, &grown)
                .await
                .map_err(hook)?;
        }
        let retains = self
            .part
            .sets
            .iter()
            .flat_map(|s| &s.captures)
            .any(|c| c.retained.is_some());
        // An earlier try may have staged what stays now as it is.
        if retains || !self.part.left.is_empty() {
            self.context
                .store
                .stage_deferrals(self.token, &self.part.system, &ids, &deferrals)
                .await
                .map_err(hook)?;
        }
        Ok(())
    }

    fn deferral(&self, deferred: &Deferred) -> NewDeferral {
        let ticket = self.group[deferred.ticket].ticket.id;
        let keys = serde_json::to_vec(&deferred.keys).expect("keys are always JSON");
        NewDeferral {
            ticket,
            system: self.part.system.clone(),
            schema: deferred.table.schema.clone(),
            table: deferred.table.table.clone(),
            due_at: deferred.until,
            basis: deferred.because.clone(),
            rows: i64::try_from(deferred.keys.len()).unwrap_or(i64::MAX),
            sealed: self
                .context
                .hash_key
                .seal(ticket.as_bytes(), &keys, rand::random()),
        }
    }
}
