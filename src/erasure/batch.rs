//! One leased batch of tickets, system after system, until every planned step has its result.

mod beside;
mod changes;
mod due;
mod keep;
mod place;
mod setback;

use super::context::{Context, Planned, Unplanned, lost};
use super::crash_point;
use super::holds::{Door, Gate};
use super::identity::{Identity, Mistaken};
use super::intake;
use super::recall;
use super::record::StepRecord;
use crate::name::TableName;
use crate::plan::{ChangeKind, Plan, SystemPlan};
use crate::retention::Prepared;
use crate::store::StoreError;
use crate::store::definitions::When;
use crate::store::executing::{HELD, StepRow, StoredPlan, TWICE};
use crate::store::lease::{LeasedBatch, LeasedTicket};
use crate::system::postgres::connect::ConnectError;
use crate::system::postgres::execute::{Execution, NotErased, Outcome, Subject};
use crate::system::postgres::failure::Failure;
use due::must_be_due;
use keep::{Keep, PutOff, still_theirs};
use setback::{Setback, backoff, setback, shared};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;
use uuid::Uuid;

/// How often a COMMIT may lose its answer before the tickets are put off.
const TRIES: u32 = 4;

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
            _ = door.lock() => Err(gone),
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
        ended: Ended::default(),
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
    if work.is_empty() {
        return Ok(run.ended);
    }
    let planned = match context.planned(&batch.subject, &batch.scope).await {
        Ok(planned) => planned,
        Err(unplanned) => {
            run.not_planned(&work, &unplanned).await?;
            return Ok(run.ended);
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
    Ok(run.ended)
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
    ended: Ended,
    /// Tickets of this batch that reach rows which holds cover, and the holds.
    covered: Vec<(Uuid, Uuid)>,
    door: Door,
}

impl Run<'_> {
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

    /// Before anything is planned: are these people still who the tickets say? Values may have
    /// changed hands while a ticket waited. Returns those that are; the others fail.
    async fn recognise(
        &mut self,
        planned: &Planned,
        work: Vec<Work>,
        began: bool,
    ) -> Result<Vec<Work>, StoreError> {
        let linked = planned.plan.identifiers();
        let people: Vec<&Identity> = work.iter().map(|w| &w.identity).collect();
        let found = match intake::who_has(self.context, &planned.policy, &linked, &people).await {
            Ok(found) => found,
            Err(unplanned) => {
                self.not_planned(&work, &unplanned).await?;
                return Ok(Vec::new());
            }
        };
        let (mut known, mut changed) = (Vec::with_capacity(work.len()), Vec::new());
        for (mut work, found) in work.into_iter().zip(found) {
            let ticket = &work.ticket;
            let begun = began || ticket.generation > 1 || ticket.taken_over;
            match work.identity.recognise(&found, &linked, begun) {
                Ok(shared) => {
                    if shared != work.identity.shared {
                        work.identity.shared = shared;
                        let key = &self.context.hash_key;
                        changed.push((
                            ticket.id,
                            work.identity.seal(key, ticket.id, rand::random()),
                        ));
                    }
                    known.push(work);
                }
                Err(Mistaken::OtherIdentity(identifier)) => {
                    let error = NotErased::OtherIdentity { identifier };
                    self.fail(ticket, "E0506", &error.to_string()).await?;
                }
                Err(Mistaken::Shared(name)) => {
                    let subject = &planned.plan.subject;
                    let problem = format!(
                        "another {subject} has the same {name}, and the policy links rows by it: whose they are cannot be told"
                    );
                    self.fail(ticket, "E0407", &problem).await?;
                }
            }
        }
        if !changed.is_empty() {
            self.context.store.seal(self.token, &changed).await?;
        }
        Ok(known)
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
                    self.ended.later += 1;
                } else {
                    self.fail(&work.ticket, short.code, short.problem).await?;
                }
            }
        }
        let ids: Vec<Uuid> = work.iter().map(|w| w.ticket.id).collect();
        crash_point("after-begin");
        let mut work = self.recall(work).await?;
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
            let through = self.all_places(planned, work, &done).await?;
            let ids: Vec<Uuid> = through.iter().map(|w| w.ticket.id).collect();
            let found = self.context.store.have_found(&ids).await?;
            // Of whom nothing was there nothing has gone.
            let has_begun = |work: Work| match found.contains(&work.ticket.id) {
                true => begun(work),
                false => work,
            };
            work = through.into_iter().map(has_begun).collect();
        }
        for part in &planned.plan.systems {
            let (finished, pending): (Vec<Work>, Vec<Work>) = work.into_iter().partition(|w| {
                done.contains(&(w.ticket.id, w.ticket.generation, part.system.clone()))
            });
            work = finished;
            let through = self.one_system(planned, part, pending).await?;
            work.extend(through.into_iter().map(begun));
        }
        // Once more: a daemon that had lost its lease may have committed meanwhile.
        let work = self.recall(work).await?;
        if work.is_empty() {
            return Ok(());
        }
        crash_point("before-verifying");
        let ids: Vec<Uuid> = work.iter().map(|w| w.ticket.id).collect();
        self.context.store.to_verifying(self.token, &ids).await?;
        crash_point("after-verifying");
        self.ended.to_verify += ids.len();
        Ok(())
    }

    /// Writes down what steps of earlier generations did whose result is not known. Returns the
    /// tickets of which now all is known; the others are put off.
    async fn recall(&mut self, work: Vec<Work>) -> Result<Vec<Work>, StoreError> {
        let again = work.iter().filter(|w| w.ticket.generation > 1);
        let current: BTreeMap<Uuid, i32> =
            again.map(|w| (w.ticket.id, w.ticket.generation)).collect();
        if current.is_empty() {
            return Ok(work);
        }
        let ids: Vec<Uuid> = current.keys().copied().collect();
        let earlier = |s: &StepRow| s.generation < current[&s.ticket];
        let planned = recall::planned(self.context, &ids, earlier).await?;
        self.learn(work, &planned).await
    }

    /// Asks the targets about these steps. Returns the tickets of which now all is known; the others are put
    /// off.
    async fn learn(
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

    /// Runs one system for all, then for halves of those that failed, until each bad ticket
    /// stands alone. Returns those that got through.
    async fn one_system(
        &mut self,
        planned: &Planned,
        part: &SystemPlan,
        work: Vec<Work>,
    ) -> Result<Vec<Work>, StoreError> {
        let mut through = Vec::with_capacity(work.len());
        let mut groups = vec![work];
        while let Some(mut group) = groups.pop() {
            if group.is_empty() {
                continue;
            }
            match self.one_group(planned, part, &mut group).await? {
                Ok(cut_short) => {
                    let (cut_short, done): (Vec<Work>, Vec<Work>) = group
                        .into_iter()
                        .partition(|w| cut_short.contains(&w.ticket.id));
                    // Whoever did it died before putting them on hold.
                    if !cut_short.is_empty() {
                        self.suspend(&cut_short).await?;
                    }
                    through.extend(done);
                }
                Err(Setback::Later(cause, problem)) if shared(cause) || group.len() == 1 => {
                    self.later(&group, cause, &problem).await?;
                }
                Err(Setback::Stuck(code, problem)) if group.len() == 1 => {
                    self.fail(&group[0].ticket, code, &problem).await?;
                }
                Err(Setback::Held(tickets)) => {
                    let (held, free): (Vec<Work>, Vec<Work>) = group
                        .into_iter()
                        .partition(|w| tickets.contains(&w.ticket.id));
                    self.suspend(&held).await?;
                    groups.push(free);
                }
                Err(Setback::HeldRows(found)) => {
                    let (held, free): (Vec<Work>, Vec<Work>) = group
                        .into_iter()
                        .partition(|w| found.iter().any(|row| row.ticket == w.ticket.id));
                    groups.push(free);
                    self.beside(planned, part, held, found).await?;
                }
                Err(_) => {
                    let half = group.split_off(group.len() / 2);
                    groups.push(half);
                    groups.push(group);
                }
            }
        }
        Ok(through)
    }

    /// Returns those whose step had been committed before and had left something to a hold: it was
    /// not their last.
    async fn one_group(
        &self,
        planned: &Planned,
        part: &SystemPlan,
        group: &mut [Work],
    ) -> Result<Result<Vec<Uuid>, Setback>, StoreError> {
        self.under_plan(planned, &part.system, group).await?;
        // Kept open while the answer to a COMMIT is sought: until then it may still happen.
        let mut gate =
            match Gate::open(self.context, &self.door, &part.system, |t| part.touches(t)).await {
                Ok(gate) => gate,
                Err(error) => return Ok(Err(setback(error))),
            };
        // The target's own row says whether a lost COMMIT happened: asking is running again. The holds that
        // the next try is compared with are those of the first: newer ones are found at the end.
        let mut outcome = self.execute(planned, part, group, &mut gate).await;
        for again in (0..TRIES).rev() {
            let Err(NotErased::CommitUnknown(unanswered)) = &outcome else {
                break;
            };
            tracing::warn!(
                system = part.system,
                "the answer to COMMIT was lost; reading what became of it"
            );
            gate.until_over(self.context, unanswered).await;
            if again > 0 {
                outcome = self.execute(planned, part, group, &mut gate).await;
            }
        }
        gate.close().await;
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(error) => return Ok(Err(setback(error).after_pieces(part))),
        };
        crash_point("before-step-done");
        let done: Vec<_> = group
            .iter()
            .zip(&outcome.counts)
            .map(|(work, counts)| {
                let record = StepRecord::new(part, counts.clone(), outcome.server_version);
                let record = serde_json::to_value(record).expect("a record is always JSON");
                let ticket = &work.ticket;
                (ticket.id, ticket.generation, record, outcome.committed_at)
            })
            .collect();
        self.context
            .store
            .step_done(self.token, &part.system, &done)
            .await?;
        crash_point("after-step-done");
        count(part, &outcome);
        let ended = group.iter().zip(&outcome.counts);
        let cut_short = ended.filter(|(_, counts)| part.left.is_empty() && !counts.left.is_empty());
        Ok(Ok(cut_short.map(|(work, _)| work.ticket.id).collect()))
    }

    /// Before the first write under another plan than the one that the tickets began under.
    async fn under_plan(
        &self,
        planned: &Planned,
        system: &str,
        group: &[Work],
    ) -> Result<(), StoreError> {
        let begun = group
            .iter()
            .filter(|w| planned.partial || w.ticket.taken_over || w.ticket.attempt > 0);
        let ids: Vec<Uuid> = begun.map(|w| w.ticket.id).collect();
        if ids.is_empty() {
            return Ok(());
        }
        let plan = stored(planned);
        self.context
            .store
            .step_plan(self.token, &ids, system, &plan)
            .await
    }

    async fn execute(
        &self,
        planned: &Planned,
        part: &SystemPlan,
        group: &mut [Work],
        gate: &mut Gate,
    ) -> Result<Outcome, NotErased> {
        let system = self
            .context
            .systems
            .get(&part.system)
            .ok_or_else(|| NotErased::Drift {
                system: part.system.clone(),
            })?;
        let known = self.put_off_before(part, group).await?;
        let mut client = system
            .pool
            .get()
            .await
            .map_err(|e| NotErased::Database(e.to_string(), Failure::Transient(e.cause())))?;
        let subjects: Vec<Subject> = group
            .iter()
            .map(|w| Subject {
                ticket: w.ticket.id,
                generation: w.ticket.generation,
                keys: vec![w.identity.key.clone()],
                identifiers: w.identity.forms(&planned.policy),
            })
            .collect();
        let hash = |text: &str| self.context.hash_key.hash("column", text);
        let rows_held = gate.rows.clone();
        let execution = Execution {
            plan: part,
            held: &rows_held,
            subjects: &subjects,
            now: self.context.now(),
            timeouts: self.context.timeouts(group.len()),
            piece_rows: self.context.config.limits.piece_rows.get().into(),
            stamp: planned.stamps.get(&part.system).map_or("", String::as_str),
            batch: self.token,
            dry: false,
            hash: &hash,
        };
        let mut root = self.root_of(planned, &part.system).await?;
        let held = match &mut root {
            None => None,
            Some((root_part, client)) => {
                let stamp = planned.stamps.get(&root_part.system);
                let execution = Execution {
                    plan: root_part,
                    stamp: stamp.map_or("", String::as_str),
                    ..execution
                };
                let due = must_be_due(part, group);
                let (held, seen) = execution.hold_subjects(client, &due).await?;
                still_theirs(planned, group, &seen)?;
                Some(held)
            }
        };
        let started = Instant::now();
        let mut keep = Keep {
            context: self.context,
            token: self.token,
            planned,
            part,
            group,
            known,
            active: Vec::new(),
            held: held.as_ref(),
            gate,
        };
        let outcome = execution.run(&mut client, &mut keep).await;
        metrics::histogram!(crate::metrics::STEP_SECONDS, "system" => part.system.clone())
            .record(started.elapsed().as_secs_f64());
        outcome
    }

    /// While another system is erased, the root's rows are held: until the end of that they are
    /// who the ticket says. `None` where the part is the root's own, which holds them itself.
    async fn root_of<'p>(
        &self,
        planned: &'p Planned,
        system: &str,
    ) -> Result<Option<(&'p SystemPlan, deadpool_postgres::Client)>, NotErased> {
        let root = &planned.policy.root.0.system;
        let systems = &planned.plan.systems;
        let Some(root) = systems
            .iter()
            .find(|s| s.system == *root && s.system != system)
        else {
            return Ok(None);
        };
        let lost =
            |e: ConnectError| NotErased::Database(e.to_string(), Failure::Transient(e.cause()));
        let system = self.context.systems.get(&root.system);
        let system = system.ok_or_else(|| NotErased::Drift {
            system: root.system.clone(),
        })?;
        Ok(Some((root, system.pool.get().await.map_err(lost)?)))
    }

    /// What committed steps of earlier generations have put off on this system.
    async fn put_off_before(&self, part: &SystemPlan, group: &[Work]) -> Result<PutOff, NotErased> {
        let again = group.iter().filter(|w| w.ticket.generation > 1);
        let ids: Vec<Uuid> = again.map(|w| w.ticket.id).collect();
        let mut known = PutOff::new();
        if ids.is_empty() {
            return Ok(known);
        }
        let before = self.context.store.put_off_before(&ids, &part.system);
        let before = before.await.map_err(|e| NotErased::Hook(e.to_string()))?;
        for (ticket, schema, table, sealed) in before {
            let unreadable =
                || NotErased::Hook("the sealed keys of a deferral do not open".to_owned());
            let opened = self.context.hash_key.open(ticket.as_bytes(), &sealed);
            let opened = opened.map_err(|_| unreadable())?;
            let keys: Vec<Vec<String>> =
                serde_json::from_slice(opened.expose()).map_err(|_| unreadable())?;
            let table = TableName::new(&schema, &table);
            known.extend(keys.into_iter().map(|key| (ticket, table.clone(), key)));
        }
        Ok(known)
    }

    async fn not_planned(
        &mut self,
        work: &[Work],
        unplanned: &Unplanned,
    ) -> Result<(), StoreError> {
        if unplanned.is_transient() {
            return self
                .later(work, "unreachable", &unplanned.to_string())
                .await;
        }
        for work in work {
            self.fail(&work.ticket, unplanned.code(), &unplanned.to_string())
                .await?;
        }
        Ok(())
    }

    /// Legal holds keep these; those that no hold keeps any more are tried again.
    async fn suspend(&mut self, work: &[Work]) -> Result<(), StoreError> {
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
        self.ended.held += held.len();
        for work in work.iter().filter(|w| !held.contains(&w.ticket.id)) {
            let one = std::slice::from_ref(work);
            self.later(one, "legal_hold", "a legal hold was released meanwhile")
                .await?;
        }
        Ok(())
    }

    async fn fail(
        &mut self,
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
        self.ended.failed += 1;
        Ok(())
    }

    /// Puts tickets off, each by its own number of attempts; those that had enough of them fail.
    async fn later(
        &mut self,
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
            let at = self.context.now() + backoff(attempt, rand::random());
            tracing::warn!(tickets = ids.len(), cause, problem, again_at = %at, "put off");
            self.context
                .store
                .retry_later(self.token, &ids, "E0501", cause, at, most)
                .await?;
            self.ended.later += ids.len();
        }
        Ok(())
    }
}

/// Something of the person is erased: nobody asks any more whether they are due.
fn begun(work: Work) -> Work {
    Work {
        stands: None,
        due_by: None,
        ..work
    }
}

fn attempts(context: &Context) -> i32 {
    i32::try_from(context.config.limits.attempts.get()).unwrap_or(i32::MAX)
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

fn count(part: &SystemPlan, outcome: &Outcome) {
    let mut rows: BTreeMap<(String, &'static str), u64> = BTreeMap::new();
    for (at, counts) in outcome.counts.iter().enumerate() {
        if outcome.repeated.contains(&at) {
            continue;
        }
        for (table, kinds) in &counts.changed {
            for (kind, n) in kinds {
                *rows.entry((table.clone(), action(*kind))).or_default() += n.unsigned_abs();
            }
        }
        for kept in &counts.kept {
            *rows.entry((kept.table.clone(), "kept")).or_default() += kept.rows.unsigned_abs();
        }
    }
    for ((table, action), n) in rows {
        metrics::counter!(crate::metrics::ROWS, "system" => part.system.clone(), "table" => table, "action" => action).increment(n);
    }
}

fn action(kind: ChangeKind) -> &'static str {
    match kind {
        ChangeKind::Deleted => "deleted",
        ChangeKind::Anonymized => "anonymized",
        ChangeKind::Detached => "detached",
        ChangeKind::Cleaned => "cleaned",
        ChangeKind::Unlinked => "unlinked",
    }
}
