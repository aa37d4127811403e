//! One leased batch of tickets, system after system, until every planned step has its result.

mod beside;
mod changes;
mod count;
mod due;
mod end;
mod group;
mod keep;
mod learn;
mod named;
mod place;
mod recognise;
mod setback;
mod together;

pub(super) use named::source;

use super::context::{Context, Planned, lost};
use super::holds::Door;
use super::identity::Identity;
use super::recall;
use super::{crash_point, unwatched};
use crate::plan::Plan;
use crate::retention::Prepared;
use crate::store::StoreError;
use crate::store::definitions::When;
use crate::store::executing::{HELD, StoredPlan, TWICE};
use crate::store::lease::{LeasedBatch, LeasedTicket};
use end::attempts;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use uuid::Uuid;

/// How a batch ended, in tickets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// All their steps are done; the sweep comes next.
    pub to_verify: usize,
    /// Put off for another try.
    pub later: usize,
    /// Waiting for a person.
    pub failed: usize,
    /// Kept by a legal hold.
    pub held: usize,
}

/// Why tickets wait for a system, while they go on in the others.
type Late = BTreeMap<Uuid, (&'static str, String)>;

/// A ticket at work.
struct Work {
    ticket: LeasedTicket,
    identity: Identity,
    /// What the person's row said of changes a moment ago; `None` once something is erased: then nobody
    /// asks any more.
    stands: Option<BTreeMap<String, String>>,
    /// The retention rule by which they must be due; `None` where nobody asks, or not any more.
    due_by: Option<Arc<Prepared>>,
}

impl Work {
    /// Something of the person is erased: nobody asks any more whether they are due.
    fn has_begun(&mut self) {
        self.stands = None;
        self.due_by = None;
    }
}

/// Works a leased batch off, keeping the lease alive meanwhile.
///
/// # Errors
/// [`StoreError`]: the lease was lost or the control database went away; whatever is unfinished
/// is taken up again by whoever leases it next.
pub async fn run(context: &Context, batch: LeasedBatch) -> Result<Ended, StoreError> {
    let token = batch.token;
    let started = Instant::now();
    metrics::histogram!(crate::metrics::BATCH_TICKETS)
        .record(u32::try_from(batch.tickets.len()).map_or(f64::MAX, f64::from));
    let door = Door::default();
    let mut work = std::pin::pin!(work_off(context, batch, door.clone()));
    let ended = tokio::select! {
        ended = &mut work => ended,
        // The lock that keeps holds from being placed must outlast a COMMIT that is under way.
        gone = keep_lease(context, token) => tokio::select! {
            ended = &mut work => ended,
            _ = door.write() => Err(gone),
        },
    };
    metrics::histogram!(crate::metrics::BATCH_SECONDS).record(started.elapsed().as_secs_f64());
    ended
}

/// Renews the lease until it is lost; a passing failure of the control database is waited out.
async fn keep_lease(context: &Context, token: Uuid) -> StoreError {
    let every = context.config.limits.lease / 3;
    loop {
        tokio::time::sleep(every).await;
        if unwatched() {
            continue;
        }
        match context
            .store
            .renew(token, context.config.limits.lease)
            .await
        {
            Err(error) if lost(&error) => return error,
            Err(error) => tracing::warn!(%error, "the lease could not be renewed yet"),
            Ok(_) => {}
        }
    }
}

async fn work_off(context: &Context, batch: LeasedBatch, door: Door) -> Result<Ended, StoreError> {
    let mut run = Run {
        context,
        token: batch.token,
        ended: Mutex::default(),
        covered: Vec::new(),
        door,
    };
    let attempts = attempts(context);
    let (worn_out, tickets): (Vec<_>, Vec<_>) = batch
        .tickets
        .into_iter()
        .partition(|t| t.taken_over && t.attempt >= attempts);
    for ticket in worn_out {
        run.fail(
            &ticket,
            "E0501",
            &format!("{attempts} attempts ended with the daemon's own end or the loss of its lease; see its log"),
        )
        .await?;
    }
    let (work, unreadable) = open_all(context, tickets);
    for ticket in unreadable {
        run.fail(
            &ticket,
            "E0507",
            "the ticket's sealed identity does not open with this hash key; was the key replaced?",
        )
        .await?;
    }
    let work = run.nothing_in_doubt(work, batch.plan_id.is_some()).await?;
    if work.is_empty() {
        return Ok(run.ended());
    }
    let planned = match context.planned(&batch.subject, &batch.scope).await {
        Ok(planned) => planned,
        Err(unplanned) => {
            run.not_planned(&work, &unplanned).await?;
            return Ok(run.ended());
        }
    };
    let mut alike: BTreeMap<BTreeSet<String>, Vec<Work>> = BTreeMap::new();
    for work in work {
        let refused = work.ticket.refused.clone();
        alike.entry(refused).or_default().push(work);
    }
    for (refused, work) in alike {
        if refused.is_empty() {
            run.under(&planned, work, batch.plan_id.as_deref()).await?;
            continue;
        }
        match context.planned_without(&planned, &refused).await {
            Ok(planned) => run.under(&planned, work, batch.plan_id.as_deref()).await?,
            Err(unplanned) => run.not_planned(&work, &unplanned).await?,
        }
    }
    Ok(run.ended())
}

/// Whether what the tickets began under is still what would be done: another comment in the
/// policy's file makes another plan, but no other deed.
async fn still_the_same(
    context: &Context,
    began: &str,
    planned: &Planned,
) -> Result<bool, StoreError> {
    if began == planned.id {
        return Ok(true);
    }
    let stored = context.store.plan(began).await?;
    let stored = stored.and_then(|s| serde_json::from_str::<Plan>(&s.body).ok());
    Ok(stored.is_some_and(|plan| plan.does_the_same_as(&planned.plan)))
}

fn open_all(context: &Context, tickets: Vec<LeasedTicket>) -> (Vec<Work>, Vec<LeasedTicket>) {
    let (mut work, mut unreadable) = (Vec::new(), Vec::new());
    for ticket in tickets {
        match Identity::open(&context.hash_key, ticket.id, &ticket.sealed) {
            Ok(identity) => work.push(Work {
                ticket,
                identity,
                stands: None,
                due_by: None,
            }),
            Err(_) => unreadable.push(ticket),
        }
    }
    (work, unreadable)
}

struct Run<'a> {
    context: &'a Context,
    token: Uuid,
    ended: Mutex<Ended>,
    /// Tickets of this batch that reach rows which holds cover, and the holds.
    covered: Vec<(Uuid, Uuid)>,
    door: Door,
}

impl Run<'_> {
    /// How its tickets have ended so far.
    fn ended(&self) -> Ended {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Some tickets have ended.
    fn count_ended(&self, count: impl FnOnce(&mut Ended)) {
        count(&mut self.ended.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Tickets of one plan.
    async fn under(
        &mut self,
        planned: &Planned,
        work: Vec<Work>,
        began: Option<&str>,
    ) -> Result<(), StoreError> {
        if let Some(began) = began
            && !still_the_same(self.context, began, planned).await?
        {
            // What has committed and is not written down yet: nobody else will come back for it.
            let ids: Vec<Uuid> = work.iter().map(|w| w.ticket.id).collect();
            let planned = recall::planned(self.context, &ids, |_| true).await?;
            if let Err(error) = recall::steps(self.context, self.token, &planned).await? {
                tracing::warn!(%error, "what earlier steps did is not known yet; a retry asks again");
            }
            for work in &work {
                self.fail(
                    &work.ticket,
                    "E0505",
                    "the policy or the catalog changed after the ticket's plan was stored; look at `erasured check`, then `erasured ticket retry`",
                )
                .await?;
            }
            return Ok(());
        }
        let work = self.recognise(planned, work, began.is_some()).await?;
        let work = self
            .look_whether_due(planned, work, began.is_some())
            .await?;
        let work = self
            .look_for_changes(planned, work, began.is_some())
            .await?;
        if !work.is_empty() {
            self.all_systems(planned, work).await?;
        }
        Ok(())
    }

    async fn all_systems(
        &mut self,
        planned: &Planned,
        mut work: Vec<Work>,
    ) -> Result<(), StoreError> {
        let ids: Vec<Uuid> = work.iter().map(|w| w.ticket.id).collect();
        crash_point("before-begin");
        self.context.remember(planned, When::Ran).await?;
        let places = planned.plan.places.iter().map(|p| p.system.clone());
        let systems = planned.plan.systems.iter().map(|s| s.system.clone());
        let systems: Vec<String> = places.chain(systems).collect();
        let unfit = self
            .context
            .store
            .begin(self.token, &ids, &stored(planned), &systems)
            .await?;
        for short in unfit {
            if let Some(at) = work.iter().position(|w| w.ticket.id == short.ticket) {
                let work = work.remove(at);
                if short.code == HELD {
                    self.suspend(&[work]).await?;
                } else if short.code == TWICE {
                    tracing::info!(ticket = %work.ticket.id, "the same is under way by another ticket, whose certificate this one gets");
                    self.count_ended(|ended| ended.later += 1);
                } else {
                    self.fail(&work.ticket, short.code, short.problem).await?;
                }
            }
        }
        let ids: Vec<Uuid> = work.iter().map(|w| w.ticket.id).collect();
        crash_point("after-begin");
        let mut work = self.recall(planned, work).await?;
        // Whether a step happened a database says itself; what is no database is not asked twice.
        let fresh = planned.plan.places.is_empty()
            && work
                .iter()
                .all(|w| !w.ticket.taken_over && w.ticket.attempt == 0);
        let done: BTreeSet<(Uuid, i32, String)> = if fresh {
            BTreeSet::new()
        } else {
            let steps = self.context.store.steps(&ids).await?;
            steps
                .into_iter()
                .filter(|s| s.committed_at.is_some() && !s.is_partial())
                .map(|s| (s.ticket, s.generation, s.system))
                .collect()
        };
        if !planned.plan.places.is_empty() {
            // Of whom nothing was there nothing has gone: they are asked about still.
            work = self.all_places(planned, work, &done).await?;
        }
        let root = &planned.policy.root.0.system;
        let mut late = Late::new();
        for unit in planned.plan.units() {
            // The person's own row goes when all the rest has gone: by it they are found again.
            if unit.iter().any(|part| part.system == *root) {
                work = self.put_off(work, std::mem::take(&mut late)).await?;
            }
            let (finished, pending): (Vec<Work>, Vec<Work>) = work.into_iter().partition(|w| {
                let (ticket, generation) = (w.ticket.id, w.ticket.generation);
                let mut parts = unit.iter();
                parts.all(|part| done.contains(&(ticket, generation, part.system.clone())))
            });
            work = finished;
            // Where the root is all must go.
            let others = unit.iter().filter(|part| part.system != *root);
            let under_way = &self.context.under_way;
            let at: Vec<_> = others
                .map(|part| under_way.at(self.token, &part.system))
                .collect();
            work.extend(self.one_unit(planned, &unit, pending, &mut late).await?);
            drop(at);
        }
        let work = self.put_off(work, late).await?;
        // Once more: a daemon that had lost its lease may have committed meanwhile.
        let work = self.recall(planned, work).await?;
        if work.is_empty() {
            return Ok(());
        }
        crash_point("before-verifying");
        let ids: Vec<Uuid> = work.iter().map(|w| w.ticket.id).collect();
        self.context.store.to_verifying(self.token, &ids).await?;
        crash_point("after-verifying");
        self.count_ended(|ended| ended.to_verify += ids.len());
        Ok(())
    }
}

fn stored(planned: &Planned) -> StoredPlan {
    StoredPlan {
        id: planned.id.clone(),
        policy_file: planned.plan.policy_file.clone(),
        policy_sha256: planned.plan.policy_sha256.clone(),
        subject: planned.plan.subject.clone(),
        scope: planned.plan.scope.clone(),
        body: serde_json::to_string(&planned.plan).expect("a plan is always JSON"),
    }
}
