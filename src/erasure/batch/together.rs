//! Several systems' parts that happen all or not at all.
//!
//! Each does all that it would do alone, up to its probes, while those before it keep their locks; then all
//! are prepared, the last word is asked once for all, and the decision is written down: one row of the
//! control database, by whoever is first. Only then is the first of them committed. Whoever dies when, what
//! the systems keep prepared is ended by that row ([`in_doubt`]).

use super::super::context::Planned;
use super::super::crash_point;
use super::super::holds::Gate;
use super::super::in_doubt;
use super::due::must_be_due;
use super::group::{cut_short, subjects};
use super::keep::{Keep, still_held, still_theirs};
use super::setback::{Setback, setback};
use super::{Run, Work};
use crate::name::TableName;
use crate::plan::{HeldRows, SystemPlan};
use crate::store::StoreError;
use crate::store::joint::Verdict;
use crate::system::postgres::connect::ON_THE_WAY;
use crate::system::postgres::execute::{
    BeforeChange, Deferred, Execution, MustBeDue, Names, NotErased, Outcome, Seen, Subject,
};
use crate::system::postgres::failure::Failure;
use crate::system::postgres::prepared::{Ended, Name};
use deadpool_postgres::Transaction;
use futures_util::future::BoxFuture;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// How often a system is told what was decided before that is left to whoever comes after.
const TRIES: u32 = 4;

type Failed<'p> = (&'p SystemPlan, Setback);

impl Run<'_> {
    /// Runs parts that happen together, the root's first if it is among them. Returns those whose steps had
    /// been committed before and had left something to a hold; or which part failed, and then none has happened.
    pub(super) async fn together<'p>(
        &self,
        planned: &Planned,
        parts: &[&'p SystemPlan],
        group: &mut [Work],
    ) -> Result<Result<Vec<Uuid>, Failed<'p>>, StoreError> {
        let (mut gates, mut rows) = (Vec::new(), Vec::new());
        for part in parts {
            self.under_plan(planned, &part.system, group).await?;
            match Gate::open(self.context, &self.door, &part.system, |t| part.touches(t)).await {
                Ok(gate) => {
                    rows.push(gate.rows.clone());
                    gates.push(gate);
                }
                Err(error) => return Ok(Err((part, setback(error)))),
            }
        }
        let mut gates = gates.into_iter();
        let mut gate = gates.next().expect("a unit has parts");
        gates.for_each(|other| gate.together_with(&other));
        let systems: Vec<String> = parts.iter().map(|p| p.system.clone()).collect();
        let tickets: Vec<Uuid> = group.iter().map(|w| w.ticket.id).collect();
        let store = &self.context.store;
        let begun = store.begin_joint(self.token, &tickets, &systems).await;
        let (installation, joint) = begun?;
        crash_point("joint-begun");
        let name = |system: &String| Name {
            installation,
            joint,
            system: system.clone(),
        };
        let attempt = Attempt {
            run: self,
            planned,
            parts,
            names: systems.iter().map(name).collect(),
            rows,
            joint,
        };
        let mut reached = Reached::default();
        let all = attempt.all(group, &mut gate, &mut reached).await;
        gate.close().await;
        if let Err(error) = all {
            let at = reached.failed_at.unwrap_or_default();
            return Ok(Err((parts[at], setback(error))));
        }
        let mut left = BTreeSet::new();
        for (part, outcome) in parts.iter().zip(reached.outcomes.iter().rev()) {
            self.steps_done(part, group, outcome).await?;
            left.extend(cut_short(part, group, outcome));
        }
        Ok(Ok(left.into_iter().collect()))
    }
}

/// One try at parts that happen together.
struct Attempt<'a> {
    run: &'a Run<'a>,
    planned: &'a Planned,
    parts: &'a [&'a SystemPlan],
    /// Under which each is prepared.
    names: Vec<Name>,
    /// Rows that legal holds cover, in each.
    rows: Vec<Vec<HeldRows>>,
    joint: Uuid,
}

/// How far it has come.
#[derive(Default)]
struct Reached {
    /// Of the last part first: it is prepared first.
    outcomes: Vec<Outcome>,
    /// Tickets of which something is to be done.
    active: BTreeSet<Uuid>,
    /// The parts that have been told to prepare, whether or not they have answered.
    told: BTreeSet<usize>,
    /// When the first was prepared: so long its locks outlive everybody.
    prepared: Option<Instant>,
    /// The part at which it came to an end.
    failed_at: Option<usize>,
}

impl Attempt<'_> {
    async fn all(
        &self,
        group: &mut [Work],
        gate: &mut Gate,
        reached: &mut Reached,
    ) -> Result<(), NotErased> {
        match self.decided(group, gate, reached).await {
            Ok(true) => self.commit(reached).await,
            // All of it had been committed before.
            Ok(false) => {
                self.give_up(reached).await;
                Ok(())
            }
            Err(error) => {
                self.give_up(reached).await;
                Err(error)
            }
        }
    }

    /// Whether there is something to be committed now.
    async fn decided(
        &self,
        group: &mut [Work],
        gate: &mut Gate,
        reached: &mut Reached,
    ) -> Result<bool, NotErased> {
        let subjects = subjects(self.planned, group);
        let hash = |text: &str| self.run.context.hash_key.hash("column", text);
        // Where the root's part is among them its own transaction holds the rows for the others, as it is first.
        let alone = self.parts.iter().all(|part| !self.is_root(part));
        let mut root = match alone {
            true => {
                self.run
                    .root_of(self.planned, &self.parts[0].system)
                    .await?
            }
            false => None,
        };
        let held = match &mut root {
            None => None,
            Some((part, client)) => {
                let execution = self.execution(part, &[], &subjects, None, &hash);
                let due = must_be_due(part, group);
                let (held, seen) = execution.hold_subjects(client, &due).await?;
                still_theirs(self.planned, group, &seen)?;
                Some(held)
            }
        };
        self.from(0, group, reached).await?;
        if reached.prepared.is_none() {
            return Ok(false);
        }
        self.decide(group, held.as_ref(), gate, reached).await?;
        Ok(true)
    }

    fn is_root(&self, part: &SystemPlan) -> bool {
        part.system == self.planned.policy.root.0.system
    }

    /// This part and those after it, prepared from the last to this one.
    fn from<'s>(
        &'s self,
        at: usize,
        group: &'s mut [Work],
        reached: &'s mut Reached,
    ) -> BoxFuture<'s, Result<(), NotErased>> {
        Box::pin(async move {
            let Some(part) = self.parts.get(at) else {
                return Ok(());
            };
            let done = self.part(at, part, group, reached).await;
            if done.is_err() {
                reached.failed_at.get_or_insert(at);
            }
            done
        })
    }

    async fn part(
        &self,
        at: usize,
        part: &SystemPlan,
        group: &mut [Work],
        reached: &mut Reached,
    ) -> Result<(), NotErased> {
        let run = self.run;
        let known = run.put_off_before(part, group).await?;
        let mut client = run.session(&part.system).await?;
        let subjects = subjects(self.planned, group);
        let hash = |text: &str| run.context.hash_key.hash("column", text);
        let name = self.names[at].to_string();
        let execution = self.execution(part, &self.rows[at], &subjects, Some(&name), &hash);
        // Asked where the root's rows are locked.
        let due = match self.is_root(part) {
            true => must_be_due(part, group),
            false => Vec::new(),
        };
        let started = Instant::now();
        let mut joined = Joined {
            attempt: self,
            at,
            keep: Keep {
                context: run.context,
                token: run.token,
                planned: self.planned,
                part,
                group,
                known,
                active: Vec::new(),
                due,
            },
            reached,
        };
        let outcome = execution.run(&mut client, &mut joined).await;
        metrics::histogram!(crate::metrics::STEP_SECONDS, "system" => part.system.clone())
            .record(started.elapsed().as_secs_f64());
        let outcome = outcome?;
        reached_by(joined, outcome);
        crash_point("prepared");
        Ok(())
    }

    fn execution<'e>(
        &'e self,
        part: &'e SystemPlan,
        held: &'e [HeldRows],
        subjects: &'e [Subject],
        prepare: Option<&'e str>,
        hash: &'e (dyn Fn(&str) -> String + Sync),
    ) -> Execution<'e> {
        let context = self.run.context;
        let stamp = self.planned.stamps.get(&part.system);
        Execution {
            plan: part,
            held,
            subjects,
            now: context.now(),
            timeouts: context.timeouts(subjects.len()),
            piece_rows: context.config.limits.piece_rows.get().into(),
            stamp: stamp.map_or("", String::as_str),
            // The row that says it happened says with what.
            batch: self.joint,
            prepare,
            dry: false,
            hash,
        }
    }

    /// The last word, once for all, and the decision. Nobody waits longer for what is prepared than a server
    /// would keep what is not.
    async fn decide(
        &self,
        group: &[Work],
        held: Option<&Transaction<'_>>,
        gate: &mut Gate,
        reached: &Reached,
    ) -> Result<(), NotErased> {
        let context = self.run.context;
        let limits = &context.config.limits;
        let most = limits.idle_timeout;
        // No hold can be placed for longer than the decision may take.
        let time = limits.longest_statement().max(most) + ON_THE_WAY;
        let active: Vec<Uuid> = reached.active.iter().copied().collect();
        let tickets: Vec<Uuid> = group.iter().map(|w| w.ticket.id).collect();
        let decision = async {
            still_held(held).await?;
            gate.ask(context, &active, time).await?;
            crash_point("before-decision");
            let decided = self.commit_joint(&tickets).await;
            decided.map_err(|e| NotErased::Hook(e.to_string()))
        };
        let spent = reached.prepared.map_or(Duration::ZERO, |at| at.elapsed());
        let decided = tokio::time::timeout(most.saturating_sub(spent), decision).await;
        let decided = decided.unwrap_or_else(|_| {
            Err(NotErased::Database(
                format!("what was prepared waited longer than {most:?} for its decision"),
                Failure::Transient("idle_timeout"),
            ))
        });
        match decided {
            Ok(Verdict::Committed) => {}
            Ok(Verdict::Aborted) => return Err(overtaken()),
            // The answer may be all that was lost. Whoever is first has decided.
            Err(error) => match context.store.abort_joint(self.joint).await {
                Ok(Verdict::Committed) => {}
                Ok(Verdict::Aborted) => return Err(error),
                // Nothing is begun in its place, in halves or again, before somebody knows.
                Err(unknown) => return Err(NotErased::Hook(unknown.to_string())),
            },
        }
        crash_point("after-decision");
        Ok(())
    }

    async fn commit_joint(&self, tickets: &[Uuid]) -> Result<Verdict, StoreError> {
        fail::fail_point!("decision-unsent", |_| Err(StoreError::LeaseLost {
            lost: 0
        }));
        let store = &self.run.context.store;
        let decided = store
            .commit_joint(self.run.token, tickets, self.joint)
            .await;
        fail::fail_point!("decision-unanswered", |_| Err(StoreError::LeaseLost {
            lost: 0
        }));
        decided
    }

    /// It is decided: the root's goes last.
    async fn commit(&self, reached: &mut Reached) -> Result<(), NotErased> {
        let mut in_doubt = None;
        let last = self.parts.len() - 1;
        for (behind, outcome) in reached.outcomes.iter_mut().enumerate() {
            let at = last - behind;
            let name = &self.names[at];
            let ended = match outcome.prepared {
                true => self.told(name).await,
                // All of it had been committed before.
                false => {
                    in_doubt::none_there(self.run.context, name).await;
                    continue;
                }
            };
            match ended {
                Ok(ended) if ended.applied => {
                    outcome.committed_at = ended.at;
                    outcome.wal = ended.wal;
                }
                // Somebody has rolled it back by hand, or the server is another one now: it is done again.
                Ok(_) => in_doubt = Some((at, overtaken())),
                Err(error) => {
                    let problem = error.to_string();
                    let system = name.system.clone();
                    in_doubt = Some((at, NotErased::InDoubt { system, problem }));
                }
            }
            crash_point("commit-prepared");
        }
        match in_doubt {
            None => Ok(()),
            Some((at, error)) => {
                reached.failed_at = Some(at);
                Err(error)
            }
        }
    }

    async fn told(&self, name: &Name) -> Result<Ended, NotErased> {
        let mut tries = 1;
        loop {
            let ended = in_doubt::end(self.run.context, name, Verdict::Committed).await;
            if ended.is_ok() || tries == TRIES {
                return ended;
            }
            tokio::time::sleep(Duration::from_millis(100 << tries)).await;
            tries += 1;
        }
    }

    /// They are rolled back, as far as somebody answers; whoever comes after does the rest.
    async fn give_up(&self, reached: &Reached) {
        let context = self.run.context;
        match context.store.abort_joint(self.joint).await {
            Ok(Verdict::Aborted) => {}
            Ok(Verdict::Committed) => return,
            Err(error) => {
                tracing::warn!(%error, "that prepared transactions are to be rolled back could not be written down yet");
                return;
            }
        }
        for (at, name) in self.names.iter().enumerate() {
            // A system that was away keeps nothing, and nobody need come back to it.
            if !reached.told.contains(&at) {
                in_doubt::none_there(context, name).await;
                continue;
            }
            if let Err(error) = in_doubt::end(context, name, Verdict::Aborted).await {
                let system = &name.system;
                tracing::warn!(system, %error, "a prepared transaction could not be rolled back yet");
            }
        }
    }
}

/// What one part writes down; those after it are done before it is prepared.
struct Joined<'a> {
    attempt: &'a Attempt<'a>,
    at: usize,
    keep: Keep<'a>,
    reached: &'a mut Reached,
}

fn reached_by(joined: Joined<'_>, outcome: Outcome) {
    let Joined { keep, reached, .. } = joined;
    reached.active.extend(keep.taking_part());
    if outcome.prepared {
        reached.prepared.get_or_insert_with(Instant::now);
    }
    reached.outcomes.push(outcome);
}

impl BeforeChange for Joined<'_> {
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

    fn the_others(&mut self) -> BoxFuture<'_, Result<(), NotErased>> {
        Box::pin(async {
            let (group, reached) = (&mut *self.keep.group, &mut *self.reached);
            self.attempt.from(self.at + 1, group, reached).await?;
            reached.told.insert(self.at);
            Ok(())
        })
    }

    /// Asked once for all, when all are prepared.
    fn last_word(&mut self) -> BoxFuture<'_, Result<(), NotErased>> {
        let never = "what happens together is prepared, and never committed by itself";
        Box::pin(std::future::ready(Err(NotErased::Hook(never.into()))))
    }

    fn put_off(&self, ticket: usize, table: &TableName, key: &[String]) -> bool {
        self.keep.put_off(ticket, table, key)
    }
}

fn overtaken() -> NotErased {
    NotErased::Database(
        "another daemon has decided meanwhile".into(),
        Failure::Transient("overtaken"),
    )
}
