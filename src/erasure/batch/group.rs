//! One system for a group of tickets, and for halves of those that fail.

use super::super::context::Planned;
use super::super::crash_point;
use super::super::holds::Gate;
use super::super::record::StepRecord;
use super::count::count;
use super::due::must_be_due;
use super::keep::{Keep, PutOff, Single, still_theirs};
use super::setback::{Setback, away, setback, shared};
use super::{Late, Run, Work, stored};
use crate::name::TableName;
use crate::plan::SystemPlan;
use crate::store::StoreError;
use crate::system::postgres::connect::ConnectError;
use crate::system::postgres::execute::{Execution, NotErased, Outcome, Subject};
use crate::system::postgres::failure::Failure;
use std::time::Instant;
use uuid::Uuid;

/// How often a COMMIT may lose its answer before the tickets are put off.
const TRIES: u32 = 4;

impl Run<'_> {
    /// Runs one system, or several that happen together, for all, then for halves of those that failed,
    /// until each bad ticket stands alone. Returns those that may go on: who waits because the system is
    /// away goes on in the others first.
    pub(super) async fn one_unit(
        &mut self,
        planned: &Planned,
        unit: &[&SystemPlan],
        work: Vec<Work>,
        late: &mut Late,
    ) -> Result<Vec<Work>, StoreError> {
        let mut through = Vec::with_capacity(work.len());
        let mut groups = vec![work];
        while let Some(mut group) = groups.pop() {
            if group.is_empty() {
                continue;
            }
            let outcome = match unit {
                [part] => {
                    let alone = self.one_group(planned, part, &mut group).await?;
                    alone.map_err(|setback| (*part, setback))
                }
                parts => self.together(planned, parts, &mut group).await?,
            };
            let (part, setback) = match outcome {
                Ok(cut_short) => {
                    let (cut_short, mut done): (Vec<Work>, Vec<Work>) = group
                        .into_iter()
                        .partition(|w| cut_short.contains(&w.ticket.id));
                    // Whoever did it died before putting them on hold.
                    if !cut_short.is_empty() {
                        self.suspend(&cut_short).await?;
                    }
                    done.iter_mut().for_each(Work::has_begun);
                    through.extend(done);
                    continue;
                }
                Err(setback) => setback,
            };
            match setback {
                Setback::Later(cause, problem) if away(cause) => {
                    through.extend(group.into_iter().inspect(|work| {
                        late.insert(work.ticket.id, (cause, problem.clone()));
                    }));
                }
                Setback::Later(cause, problem) if shared(cause) || group.len() == 1 => {
                    self.later(&group, cause, &problem).await?;
                }
                Setback::Stuck(code, problem) if group.len() == 1 => {
                    self.fail(&group[0].ticket, code, &problem).await?;
                }
                Setback::Held(tickets) => {
                    let (held, free): (Vec<Work>, Vec<Work>) = group
                        .into_iter()
                        .partition(|w| tickets.contains(&w.ticket.id));
                    self.suspend(&held).await?;
                    groups.push(free);
                }
                Setback::HeldRows(found) => {
                    let (held, free): (Vec<Work>, Vec<Work>) = group
                        .into_iter()
                        .partition(|w| found.iter().any(|row| row.ticket == w.ticket.id));
                    groups.push(free);
                    self.beside(planned, part, held, found).await?;
                }
                _ => {
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
        self.steps_done(part, group, &outcome).await?;
        Ok(Ok(cut_short(part, group, &outcome)))
    }

    /// Writes down what has committed on one system.
    pub(super) async fn steps_done(
        &self,
        part: &SystemPlan,
        group: &[Work],
        outcome: &Outcome,
    ) -> Result<(), StoreError> {
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
        count(part, outcome);
        Ok(())
    }

    /// Before the first write under another plan than the one that the tickets began under.
    pub(super) async fn under_plan(
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
        let known = self.put_off_before(part, group).await?;
        let mut database = self.context.database_of(&part.system).await?;
        let subjects = subjects(planned, group);
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
            prepare: None,
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
        // Where another system is erased the root's session has asked.
        let due = match held {
            Some(_) => Vec::new(),
            None => must_be_due(part, group),
        };
        let mut single = Single {
            keep: Keep {
                context: self.context,
                token: self.token,
                planned,
                part,
                group,
                known,
                active: Vec::new(),
                due,
            },
            held: held.as_ref(),
            gate,
        };
        let outcome = database.run(&execution, &mut single).await;
        metrics::histogram!(crate::metrics::STEP_SECONDS, "system" => part.system.clone())
            .record(started.elapsed().as_secs_f64());
        outcome
    }

    /// While another system is erased, the root's rows are held: until the end of that they are
    /// who the ticket says. `None` where the part is the root's own, which holds them itself.
    pub(super) async fn root_of<'p>(
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
        Ok(Some((root, self.session(&root.system).await?)))
    }

    /// A session for erasing.
    pub(super) async fn session(
        &self,
        system: &str,
    ) -> Result<deadpool_postgres::Client, NotErased> {
        let lost =
            |e: ConnectError| NotErased::Database(e.to_string(), Failure::Transient(e.cause()));
        let registered = self.context.systems.get(system);
        let registered = registered.ok_or_else(|| NotErased::Drift {
            system: system.to_owned(),
        })?;
        registered.pool.get().await.map_err(lost)
    }

    /// What committed steps of earlier generations have put off on this system.
    pub(super) async fn put_off_before(
        &self,
        part: &SystemPlan,
        group: &[Work],
    ) -> Result<PutOff, NotErased> {
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
}

/// Those whose step had been committed before and had left something to a hold.
pub(super) fn cut_short(part: &SystemPlan, group: &[Work], outcome: &Outcome) -> Vec<Uuid> {
    let ended = group.iter().zip(&outcome.counts);
    let cut_short = ended.filter(|(_, counts)| part.left.is_empty() && !counts.left.is_empty());
    cut_short.map(|(work, _)| work.ticket.id).collect()
}

pub(super) fn subjects(planned: &Planned, group: &[Work]) -> Vec<Subject> {
    let subjects = group.iter().map(|w| Subject {
        ticket: w.ticket.id,
        generation: w.ticket.generation,
        keys: vec![w.identity.key.clone()],
        identifiers: w.identity.forms(&planned.policy),
    });
    subjects.collect()
}
