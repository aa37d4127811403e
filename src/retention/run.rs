//! One passage of a rule over what is due.

use super::Prepared;
use crate::erasure::context::Context;
use crate::erasure::holds::Gate;
use crate::plan::{ChangeKind, Counts, SystemPlan};
use crate::store::StoreError;
use crate::store::holds::Permit;
use crate::store::retention::{Barred, NewRun, Run, RunEnd};
use crate::system::postgres::due::{self, DueRow};
use crate::system::postgres::execute::{
    BeforeChange, Deferred, Execution, NotErased, Seen, Subject,
};
use crate::system::postgres::failure::Failure;
use futures_util::future::BoxFuture;
use std::collections::BTreeMap;
use std::time::Duration;
use uuid::Uuid;

/// Rows of the rule's table that one batch begins with.
const FIRST_BATCH: u64 = 500;
/// And the most and the least that it comes to.
const BATCHES: (u64, u64) = (10, 10_000);
/// How long a batch should take.
const TARGET: Duration = Duration::from_millis(200);
/// Tries of a batch that fails for reasons that pass.
const TRIES: u32 = 5;

/// How far a run is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Rows of the rule's table gone so far.
    pub rows: u64,
}

/// What a run has done.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The run.
    pub run: Uuid,
    /// It was begun by another daemon.
    pub resumed: bool,
    /// By table and kind of change.
    pub changed: BTreeMap<String, BTreeMap<ChangeKind, i64>>,
    /// Transactions.
    pub batches: i64,
    /// Due rows that holds cover.
    pub held: i64,
    /// Keys of rows that could not go, each with the reason.
    pub set_aside: Vec<(Vec<String>, String)>,
}

/// Why a run did not come to its end. What is gone by then is counted in the control database.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    /// It runs already, here or elsewhere.
    #[error("the rule runs already: `erasured retention runs` says since when")]
    Running,
    /// More rows are due than the policy wants to see gone unasked.
    #[error("E0530: {due} rows are due, and the rule stops above {most}")]
    TooMany {
        /// Due.
        due: i64,
        /// `stop_above`.
        most: u64,
    },
    /// A legal hold on a person whose rows these may be.
    #[error("E0521: a legal hold on a {0} is in force, and rows of this table may be theirs")]
    Held(String),
    /// A batch failed in a way that no other row would fare better.
    #[error(transparent)]
    Batch(#[from] NotErased),
    /// The control database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system.
    #[error(transparent)]
    Unreachable(#[from] crate::system::postgres::connect::ConnectError),
}

/// Runs a rule over all that is due, a batch at a time.
///
/// # Errors
/// [`Stopped`]: what is gone is gone, and the next run goes on.
pub async fn run(
    context: &Context,
    prepared: &Prepared,
    mut told: impl FnMut(Progress),
) -> Result<Report, Stopped> {
    let Some(of) = &prepared.of else {
        return Ok(Report::default());
    };
    let system = &prepared.rule.table.system;
    // Read again for each batch too; here so that nothing begins that could do nothing.
    let counted = prepared.count(context).await?;
    if let Some(most) = prepared.rule.stop_above
        && u64::try_from(counted.due - counted.held).unwrap_or(0) > most
    {
        return Err(Stopped::TooMany {
            due: counted.due - counted.held,
            most,
        });
    }
    let table = prepared.rule.table.to_string();
    let new = NewRun {
        subject: &prepared.policy.subject,
        rule: &prepared.rule.name,
        table: &table,
        basis: &prepared.rule.because,
        policy_sha256: &prepared.policy.sha256,
        cutoff: of.due[0].cutoff.day,
    };
    let lease = context.config.limits.lease;
    let Some(run) = context
        .store
        .begin_run(&new, &context.holder, lease)
        .await?
    else {
        return Err(Stopped::Running);
    };
    let mut passage = Passage {
        context,
        prepared,
        new: &new,
        run,
        system,
        report: Report {
            run: run.id,
            resumed: run.resumed,
            ..Report::default()
        },
        gone: 0,
    };
    if run.resumed {
        passage.recall().await?;
    }
    let passed = tokio::select! {
        passed = passage.pass(&mut told) => passed,
        lost = keep(context, run) => Err(Stopped::Store(lost)),
    };
    passage.end(passed, counted.held).await
}

/// Keeps the run this daemon's.
async fn keep(context: &Context, run: Run) -> StoreError {
    let lease = context.config.limits.lease;
    loop {
        tokio::time::sleep(lease / 3).await;
        match context.store.run_goes_on(run, 0, 0, lease).await {
            Ok(()) => {}
            Err(error) if error.is_transient() => {}
            Err(error) => return error,
        }
    }
}

struct Passage<'a> {
    context: &'a Context,
    prepared: &'a Prepared,
    new: &'a NewRun<'a>,
    run: Run,
    system: &'a str,
    report: Report,
    /// Rows of the rule's own table.
    gone: u64,
}

impl Passage<'_> {
    fn part(&self) -> Option<&SystemPlan> {
        self.prepared.plan.as_ref()?.systems.first()
    }

    /// What the run had done before it came here, from the target's own rows.
    async fn recall(&mut self) -> Result<(), Stopped> {
        let client = self.context.systems[self.system].pool.get().await?;
        let done = due::applied(&client, self.run.id).await?;
        for counts in done {
            self.add(&counts);
        }
        Ok(())
    }

    async fn pass(&mut self, told: &mut impl FnMut(Progress)) -> Result<(), Stopped> {
        let (mut size, mut behind) = (FIRST_BATCH, None::<Vec<String>>);
        loop {
            let rows = self.next(behind.as_deref(), size).await?;
            let Some(last) = rows.last() else {
                return Ok(());
            };
            behind = Some(last.place.clone());
            let begun = tokio::time::Instant::now();
            self.batch(rows).await?;
            told(Progress { rows: self.gone });
            size = next_size(size, begun.elapsed());
            let batches = self.report.batches;
            let rows = i64::try_from(self.gone).unwrap_or(i64::MAX);
            self.context
                .store
                .run_goes_on(self.run, batches, rows, self.context.config.limits.lease)
                .await?;
        }
    }

    async fn next(&self, behind: Option<&[String]>, size: u64) -> Result<Vec<DueRow>, Stopped> {
        let mut tries = 0;
        loop {
            let gate = self.gate().await?;
            let Some(rows) = self.prepared.due_rows(&gate.rows) else {
                return Ok(Vec::new());
            };
            let mut client = self.context.systems[self.system].pool.get().await?;
            let found = due::next(&mut client, &rows, behind, size, self.context.timeouts(1)).await;
            match found {
                Err(error) if passes(&error) && tries < TRIES => pause(&mut tries).await,
                found => return Ok(found?),
            }
        }
    }

    async fn gate(&self) -> Result<Gate, NotErased> {
        let part = self.part();
        Gate::open(self.context, self.system, |t| {
            part.is_some_and(|p| p.touches(t))
        })
        .await
    }

    /// Lets these rows go, all of them or, of those that keep others from going, none.
    async fn batch(&mut self, rows: Vec<DueRow>) -> Result<(), Stopped> {
        let mut waiting = vec![rows];
        while let Some(rows) = waiting.pop() {
            let step = Uuid::now_v7();
            let mut tries = 0;
            loop {
                match self.once(step, &rows).await {
                    Ok(counts) => {
                        self.add(&counts);
                        break;
                    }
                    Err(error) if passes(&error) && tries < TRIES => pause(&mut tries).await,
                    Err(error) if is_of_rows(&error) => {
                        if let [only] = rows.as_slice() {
                            self.report
                                .set_aside
                                .push((only.key.clone(), error.to_string()));
                            break;
                        }
                        let (first, second) = rows.split_at(rows.len() / 2);
                        waiting.extend([second.to_vec(), first.to_vec()]);
                        break;
                    }
                    Err(NotErased::Held(_)) => {
                        return Err(Stopped::Held(self.new.subject.to_owned()));
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    async fn once(&self, step: Uuid, rows: &[DueRow]) -> Result<Counts, NotErased> {
        let Some(part) = self.part() else {
            return Ok(Counts::default());
        };
        let gate = self.gate().await?;
        let held = gate.rows.clone();
        let subjects = [Subject {
            ticket: step,
            generation: 0,
            keys: rows.iter().map(|row| row.key.clone()).collect(),
            identifiers: BTreeMap::new(),
        }];
        let mut word = LastWord {
            passage: self,
            gate,
            permit: None,
        };
        let hash = |text: &str| self.context.hash_key.hash("column", text);
        let execution = Execution {
            plan: part,
            held: &held,
            subjects: &subjects,
            now: self.context.now(),
            timeouts: self.context.timeouts(2),
            piece_rows: self.context.config.limits.piece_rows.get().into(),
            stamp: &self.prepared.stamp,
            batch: self.run.id,
            dry: false,
            hash: &hash,
        };
        let pool = &self.context.systems[self.system].pool;
        let mut client = pool
            .get()
            .await
            .map_err(|e| NotErased::Hook(e.to_string()))?;
        let outcome = execution.run(&mut client, &mut word).await?;
        Ok(outcome.counts.into_iter().next().unwrap_or_default())
    }

    fn add(&mut self, counts: &Counts) {
        self.report.batches += 1;
        for (table, kinds) in &counts.changed {
            for (kind, rows) in kinds {
                *self
                    .report
                    .changed
                    .entry(table.clone())
                    .or_default()
                    .entry(*kind)
                    .or_default() += rows;
            }
        }
        let own = self
            .report
            .changed
            .get(&self.prepared.rule.table.table.to_string());
        let own = own.and_then(|kinds| kinds.get(&ChangeKind::Deleted));
        self.gone = own.map_or(0, |rows| u64::try_from(*rows).unwrap_or(0));
    }

    /// Writes down how it ended.
    async fn end(mut self, passed: Result<(), Stopped>, held: i64) -> Result<Report, Stopped> {
        self.report.held = held;
        let (state, problem) = match &passed {
            Ok(()) => ("done", None),
            Err(stopped) => ("failed", Some((stopped.code(), stopped.to_string()))),
        };
        if let Err(Stopped::Store(StoreError::LeaseLost { .. })) = &passed {
            return Err(Stopped::Store(StoreError::LeaseLost { lost: 1 }));
        }
        let end = RunEnd {
            state,
            counts: serde_json::to_value(&self.report.changed).unwrap_or_default(),
            held,
            set_aside: i64::try_from(self.report.set_aside.len()).unwrap_or(i64::MAX),
            problem,
        };
        let rows = i64::try_from(self.gone).unwrap_or(i64::MAX);
        self.context
            .store
            .end_run(self.run, self.report.batches, rows, &end)
            .await?;
        passed.map(|()| self.report)
    }
}

/// Asked before each COMMIT, with all rows locked.
struct LastWord<'a> {
    passage: &'a Passage<'a>,
    gate: Gate,
    permit: Option<Permit>,
}

impl BeforeChange for LastWord<'_> {
    fn ready(&mut self, _: Vec<Seen>, _: Vec<Deferred>) -> BoxFuture<'_, Result<(), NotErased>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn last_word(&mut self) -> BoxFuture<'_, Result<(), NotErased>> {
        Box::pin(async {
            let passage = self.passage;
            let time = passage.context.config.limits.statement_timeout;
            let asked = passage.context.store.permit_run(
                passage.run,
                passage.new,
                passage.system,
                self.gate.known(),
                time,
            );
            let (permit, barred) = asked.await.map_err(|e| NotErased::Hook(e.to_string()))?;
            let people = passage.prepared.is_of_people();
            let refusal = match barred {
                Barred::Free => None,
                Barred::Held if !people => None,
                Barred::Held => Some(NotErased::Held(Vec::new())),
                Barred::Unread => Some(NotErased::HoldUnread),
                Barred::Lost => Some(NotErased::Hook("the run is another daemon's now".into())),
            };
            match refusal {
                None => {
                    self.permit = Some(permit);
                    Ok(())
                }
                Some(refusal) => {
                    permit.end().await;
                    Err(refusal)
                }
            }
        })
    }

    fn committed(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            if let Some(permit) = self.permit.take() {
                permit.end().await;
            }
        })
    }
}

impl Stopped {
    /// Under which code it is told.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooMany { .. } => "E0530",
            Self::Held(_) => "E0521",
            Self::Batch(error) => super::code(error),
            Self::Running | Self::Store(_) | Self::Unreachable(_) => "E0301",
        }
    }
}

/// Whether the same batch may fare better in a moment.
fn passes(error: &NotErased) -> bool {
    matches!(
        error,
        NotErased::Database(_, Failure::Transient(_))
            | NotErased::CommitUnknown
            | NotErased::HoldUnread
    )
}

/// Whether fewer rows may fare better: something is about one of them.
fn is_of_rows(error: &NotErased) -> bool {
    match error {
        // Some row is locked for longer than we wait.
        NotErased::Database(_, Failure::Transient(cause)) => *cause == "lock_timeout",
        NotErased::Database(_, Failure::Permanent)
        | NotErased::Mismatch { .. }
        | NotErased::Residual { .. }
        | NotErased::HeldRows(_) => true,
        _ => false,
    }
}

async fn pause(tries: &mut u32) {
    *tries += 1;
    let millis = 50 * 2_u64.pow(*tries) + rand::random_range(0..50);
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

/// By how long the last batch took; never more than double, so that one quick batch does not make the
/// next one long.
fn next_size(size: u64, took: Duration) -> u64 {
    let took = took.as_millis().max(1);
    let wanted = u128::from(size) * TARGET.as_millis() / took;
    let wanted = u64::try_from(wanted).unwrap_or(u64::MAX);
    wanted.clamp(size / 2, size * 2).clamp(BATCHES.0, BATCHES.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_come_to_take_as_long_as_they_should() {
        let ms = Duration::from_millis;
        assert_eq!(next_size(500, ms(200)), 500);
        assert_eq!(next_size(500, ms(0)), 1000);
        assert_eq!(next_size(500, ms(10_000)), 250);
        assert_eq!(next_size(10_000, ms(1)), 10_000);
        assert_eq!(next_size(10, ms(60_000)), 10);
    }
}
