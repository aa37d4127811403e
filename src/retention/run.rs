//! One passage of a rule over what is due.

mod archives;
mod last_word;
mod partitions;
mod people;
mod setback;
mod stopped;
mod stretch;
mod unfit;

pub use archives::Archived;
use last_word::LastWord;
pub use partitions::SeenPart;
use setback::{fewest_in_time, is_of_rows, passes};
pub use stopped::Stopped;
pub(super) use unfit::unfit;

use super::brake::{Brake, goes_on};
use super::{People, Prepared, Progress, Tidied, afterwards, certify};
use crate::erasure::context::Context;
use crate::erasure::holds::{Door, Gate};
use crate::name::TableName;
use crate::plan::{ChangeKind, Counts, HeldRows, SystemPlan};
use crate::store::StoreError;
use crate::store::retention::{Begun, NewRun, Run, RunEnd};
use crate::system::postgres::due::{self, DueRow};
use crate::system::postgres::execute::{Execution, NotErased, Subject};
use crate::system::postgres::label::Labelled;
use chrono::{DateTime, Utc};
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

/// Rows that are set aside; with more it is not the rows, and each costs a transaction of its own.
const MOST_ASIDE: usize = 100;

/// What a run has done.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The run.
    pub run: Uuid,
    /// It was begun by another daemon.
    pub resumed: bool,
    /// By table and kind of change.
    pub changed: BTreeMap<String, BTreeMap<ChangeKind, i64>>,
    /// Rows by the partition with which they went, among those changed.
    pub partitions: BTreeMap<String, i64>,
    /// What was written to the rule's archive.
    pub archived: Archived,
    /// Transactions.
    pub batches: i64,
    /// Due rows that holds cover.
    pub held: i64,
    /// Due rows on which something hangs that is kept.
    pub survivors: i64,
    /// Tickets for people, this run's.
    pub filed: u64,
    /// Keys of rows that could not go, each with the reason.
    pub set_aside: Vec<(Vec<String>, String)>,
    /// How the tables stand afterwards.
    pub tidied: Vec<Tidied>,
}

impl Report {
    /// What a run has done, from the target's own rows.
    async fn recalled(context: &Context, system: &str, run: Uuid) -> Result<Self, Stopped> {
        let mut report = Self {
            run,
            resumed: true,
            ..Self::default()
        };
        for counts in applied(context, system, run).await? {
            report.add(&counts);
        }
        Ok(report)
    }

    fn add(&mut self, counts: &Counts) {
        self.batches += 1;
        for (partition, whole) in &counts.partitions {
            *self.partitions.entry(partition.clone()).or_default() += whole.rows;
        }
        self.archived.add(&counts.archived);
        for (table, kinds) in &counts.changed {
            let changed = self.changed.entry(table.clone()).or_default();
            for (kind, rows) in kinds {
                *changed.entry(*kind).or_default() += rows;
            }
        }
    }

    /// Rows of one table.
    fn rows_of(&self, table: &TableName) -> u64 {
        let kinds = self.changed.get(&table.to_string());
        let rows: i64 = kinds.map_or(0, |kinds| kinds.values().sum());
        u64::try_from(rows).unwrap_or(0)
    }
}

/// How a run is to go.
pub struct Going<'a> {
    /// The time of the schedule that it is for; `None` if a person wants it.
    pub slot: Option<DateTime<Utc>>,
    /// Asked after each batch, and told how far it is: whether to go on.
    pub on: &'a mut (dyn FnMut(Progress) -> Go + Send),
}

/// Whether a run goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Go {
    /// Yes.
    On,
    /// It ends here, and another begins some time.
    Stop,
    /// The daemon ends: another takes this one up.
    Leave,
}

/// Runs a rule over all that is due, a batch at a time. One that only reports does nothing.
///
/// # Errors
/// [`Stopped`]: what is gone is gone, and the next run goes on.
pub async fn run(
    context: &Context,
    prepared: &Prepared,
    going: Going<'_>,
) -> Result<Report, Stopped> {
    let (Some(of), true) = (&prepared.of, prepared.rule.action.changes()) else {
        return Ok(Report::default());
    };
    let table = prepared.rule.table.to_string();
    let new = NewRun {
        subject: &prepared.policy.subject,
        rule: &prepared.rule.name,
        table: &table,
        basis: &prepared.rule.because,
        policy_sha256: &prepared.policy.sha256,
        cutoff: of.due[0].cutoff.day,
        timezone: prepared.rule.zone.name(),
        slot: going.slot,
    };
    let lease = context.config.limits.lease;
    let mut passage = loop {
        let passage = |run: Run, resumed| Passage::new(context, prepared, &new, run, resumed);
        match context
            .store
            .begin_run(&new, &context.holder, lease)
            .await?
        {
            Begun::New(run) => break passage(run, false),
            Begun::Resumed(run) => {
                let mut passage = passage(run, true);
                passage.recall().await?;
                passage.begun_with = passage.gone;
                break passage;
            }
            Begun::Left(run) => {
                passage(run, true).end_left().await?;
                certify::after(context, run.id, None).await;
            }
            Begun::Running => return Err(Stopped::Running),
        }
    };
    let (run, door) = (passage.run, passage.door.clone());
    let passed = tokio::select! {
        passed = passage.pass(going.on) => passed,
        lost = keep(context, run, &door) => Err(Stopped::Store(lost)),
    };
    let ended = passage.end(passed).await;
    certify::after(context, run.id, Some(prepared)).await;
    let progress = passage.progress();
    let mut report = passage.report;
    if !matches!(ended, Err(Stopped::Left | Stopped::Store(_))) {
        let system = &prepared.rule.table.system;
        report.tidied = afterwards::tidy(context, system, &report, progress, going.on).await;
    }
    ended.map(|()| report)
}

/// Keeps the run this daemon's.
async fn keep(context: &Context, run: Run, door: &Door) -> StoreError {
    let lease = context.config.limits.lease;
    loop {
        tokio::time::sleep(lease / 3).await;
        match context.store.run_goes_on(run, 0, 0, lease).await {
            Ok(()) => {}
            Err(error) if error.is_transient() => {}
            Err(error) => {
                // A COMMIT under way is not cut off: nobody would know of it.
                drop(door.write().await);
                return error;
            }
        }
    }
}

struct Passage<'a> {
    context: &'a Context,
    prepared: &'a Prepared,
    new: &'a NewRun<'a>,
    run: Run,
    system: &'a str,
    /// Of the catalog as it is now.
    stamp: String,
    /// Shut while a COMMIT is under way.
    door: Door,
    report: Report,
    /// Rows of the rule's own table.
    gone: u64,
    /// As many of them were gone when this daemon came to it.
    begun_with: u64,
    /// And how many of them there are to go, those included.
    of: u64,
}

impl<'a> Passage<'a> {
    fn new(
        context: &'a Context,
        prepared: &'a Prepared,
        new: &'a NewRun<'a>,
        run: Run,
        resumed: bool,
    ) -> Self {
        Self {
            context,
            prepared,
            new,
            run,
            system: &prepared.rule.table.system,
            stamp: prepared.stamp.clone(),
            door: Door::default(),
            report: Report {
                run: run.id,
                resumed,
                ..Report::default()
            },
            gone: 0,
            begun_with: 0,
            of: 0,
        }
    }

    fn part(&self) -> Option<&SystemPlan> {
        self.prepared.plan.as_ref()?.systems.first()
    }

    /// What the run has done, from the target's own rows.
    async fn recall(&mut self) -> Result<(), Stopped> {
        self.report.changed.clear();
        self.report.partitions.clear();
        self.report.archived.forget();
        self.report.batches = 0;
        for counts in applied(self.context, self.system, self.run.id).await? {
            self.add(&counts);
        }
        if self.prepared.rule.people.is_some() {
            self.gone = self.context.store.filed(self.run.id).await?;
        }
        Ok(())
    }

    /// More than a person would have expected is nobody's wish.
    async fn look_first(&mut self) -> Result<(), Stopped> {
        if let Some(kind) = self.prepared.barred_by(self.context).await? {
            return Err(Stopped::Held(kind));
        }
        let counted = self.prepared.counted(self.context, false).await?;
        self.report.held = counted.held;
        self.report.survivors = counted.survivors;
        let due = counted.free();
        self.of = self.gone + u64::try_from(due).unwrap_or(0);
        match self.prepared.rule.stop_above {
            Some(most) if u64::try_from(due).unwrap_or(0) > most => {
                Err(Stopped::TooMany { due, most })
            }
            _ => self.prepared.permitted(self.context, self.run, due).await,
        }
    }

    async fn pass(&mut self, on: &mut (dyn FnMut(Progress) -> Go + Send)) -> Result<(), Stopped> {
        self.archives_begun().await?;
        self.partitions_begun().await?;
        self.look_first().await?;
        if let Some(people) = &self.prepared.rule.people {
            return self.file(people, on).await;
        }
        self.partitions_due(on).await?;
        let (mut size, mut behind) = (FIRST_BATCH, None::<Vec<String>>);
        let (mut brake, mut took) = (
            Brake::new(self.context, self.run, self.new.rule, self.system),
            Duration::ZERO,
        );
        loop {
            brake.release(took, self.progress(), on).await?;
            let begun = tokio::time::Instant::now();
            let more = self.advance(&mut behind, size).await;
            // Of a batch that failed some part may have gone, and is told.
            let go = goes_on(on, self.progress());
            if !more? {
                return Ok(());
            }
            go?;
            took = begun.elapsed();
            size = next_size(size, took);
            let batches = self.report.batches;
            let rows = i64::try_from(self.gone).unwrap_or(i64::MAX);
            self.context
                .store
                .run_goes_on(self.run, batches, rows, self.context.config.limits.lease)
                .await?;
        }
    }

    fn progress(&self) -> Progress {
        Progress {
            rows: self.gone,
            begun_with: self.begun_with,
            of: self.of,
            waits: None,
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
        Gate::open(self.context, &self.door, self.system, |t| {
            part.is_some_and(|p| p.touches(t))
        })
        .await
    }

    /// Lets these rows go, all of them or, of those that keep others from going, none.
    async fn batch(&mut self, rows: Vec<DueRow>) -> Result<(), Stopped> {
        let mut waiting = vec![rows];
        while let Some(mut rows) = waiting.pop() {
            let step = Uuid::now_v7();
            let mut tries = 0;
            let error = loop {
                match self.once(step, &rows).await {
                    Ok(counts) => {
                        counts.iter().for_each(|counts| self.add(counts));
                        break None;
                    }
                    Err(error) if fewest_in_time(&error).is_some_and(|n| n < rows.len()) => {
                        break Some(error);
                    }
                    // Something came to hang on them since they were chosen.
                    Err(NotErased::Spared { .. }) if tries < TRIES => {
                        let (free, survivors) = self.prepared.unspared(self.context, rows).await?;
                        self.report.survivors += i64::try_from(survivors).unwrap_or(i64::MAX);
                        rows = free;
                        tries += 1;
                    }
                    Err(error) => {
                        if let Some(error) = self.judge(error, &mut tries).await? {
                            break Some(error);
                        }
                    }
                }
            };
            let Some(error) = error else { continue };
            if let [only] = rows.as_slice() {
                if self.report.set_aside.len() >= MOST_ASIDE {
                    return Err(error.into());
                }
                let aside = (only.key.clone(), error.to_string());
                self.report.set_aside.push(aside);
                continue;
            }
            let (first, second) = rows.split_at(rows.len() / 2);
            waiting.extend([second.to_vec(), first.to_vec()]);
        }
        Ok(())
    }

    /// Nothing, where the same may fare better in a moment, or that the error is about one of the rows.
    async fn judge(&self, error: NotErased, tries: &mut u32) -> Result<Option<NotErased>, Stopped> {
        match error {
            error if passes(&error) && *tries < TRIES => {
                pause(tries).await;
                Ok(None)
            }
            error if is_of_rows(&error) => Ok(Some(error)),
            NotErased::Held(_) => Err(Stopped::Held(self.new.subject.to_owned())),
            error => Err(error.into()),
        }
    }

    /// `None`: holds cover all of these rows.
    async fn once(&self, step: Uuid, rows: &[DueRow]) -> Result<Option<Counts>, NotErased> {
        let gate = self.gate().await?;
        let people = self.prepared.people(self.context).await?;
        let client = self.prepared.client(self.context).await?;
        let mut session = Labelled::new(client, &self.progress().label(self.new.rule)).await?;
        let rows = self
            .prepared
            .free(self.context, session.client(), &people, rows.to_vec())
            .await?;
        let (Some(part), false) = (self.part(), rows.is_empty()) else {
            session.done().await;
            return Ok(None);
        };
        let held = gate.rows.clone();
        let subjects = [subject(step, &rows)];
        let hash = |text: &str| self.context.hash_key.hash("column", text);
        let execution = self.execution(part, &held, &subjects, &hash);
        let mut word = LastWord {
            passage: self,
            taking: self.taking(step),
            gate,
            people,
        };
        let outcome = execution.run(session.client(), &mut word).await;
        session.done().await;
        let outcome = word.heard(outcome).await;
        self.archive_ends(step, &outcome).await?;
        Ok(outcome?.counts.into_iter().next())
    }

    fn execution<'e>(
        &'e self,
        plan: &'e SystemPlan,
        held: &'e [HeldRows],
        subjects: &'e [Subject],
        hash: &'e (dyn Fn(&str) -> String + Sync),
    ) -> Execution<'e> {
        Execution {
            plan,
            held,
            subjects,
            now: self.context.now(),
            timeouts: self.context.timeouts(2),
            piece_rows: self.context.config.limits.piece_rows.get().into(),
            stamp: &self.stamp,
            batch: self.run.id,
            prepare: None,
            dry: false,
            hash,
        }
    }

    fn add(&mut self, counts: &Counts) {
        self.report.add(counts);
        self.gone = self.report.rows_of(&self.prepared.rule.table.table);
    }

    /// Writes down how it ended.
    async fn end(&mut self, passed: Result<(), Stopped>) -> Result<(), Stopped> {
        // What was committed and not answered for is known to the target alone.
        if !matches!(passed, Err(Stopped::Left | Stopped::Store(_))) {
            self.recall().await?;
        }
        let (state, problem) = match &passed {
            Ok(()) => ("done", None),
            Err(Stopped::Early) => ("stopped", None),
            Err(Stopped::Left) => {
                self.context.store.leave_run(self.run).await?;
                return Err(Stopped::Left);
            }
            // What it has done since is no longer this daemon's to count.
            Err(Stopped::Store(StoreError::LeaseLost { lost })) => {
                return Err(Stopped::Store(StoreError::LeaseLost { lost: *lost }));
            }
            Err(stopped) => ("failed", Some((stopped.code(), stopped.to_string()))),
        };
        self.write_end(state, problem).await?;
        passed
    }

    /// A run that nobody can go on with: what it has done is counted, the rest is another's.
    async fn end_left(mut self) -> Result<(), Stopped> {
        self.recall().await?;
        let problem = "its daemon went away, and the day or the policy is another one now";
        self.write_end("stopped", Some(("E0531", problem.into())))
            .await?;
        Ok(())
    }

    async fn write_end(
        &self,
        state: &'static str,
        problem: Option<(&'static str, String)>,
    ) -> Result<(), StoreError> {
        write_end(
            self.context,
            self.run,
            &self.report,
            self.gone,
            state,
            problem,
        )
        .await
    }
}

async fn write_end(
    context: &Context,
    run: Run,
    report: &Report,
    rows: u64,
    state: &'static str,
    problem: Option<(&'static str, String)>,
) -> Result<(), StoreError> {
    let end = RunEnd {
        state,
        counts: serde_json::to_value(&report.changed).unwrap_or_default(),
        partitions: serde_json::to_value(&report.partitions).unwrap_or_default(),
        archive: serde_json::to_value(report.archived).unwrap_or_default(),
        held: report.held,
        survivors: report.survivors,
        set_aside: i64::try_from(report.set_aside.len()).unwrap_or(i64::MAX),
        problem,
    };
    let rows = i64::try_from(rows).unwrap_or(i64::MAX);
    let store = &context.store;
    store.end_run(run, report.batches, rows, &end).await
}

/// What the transactions of a run did, from the target's own rows.
async fn applied(context: &Context, system: &str, run: Uuid) -> Result<Vec<Counts>, Stopped> {
    let client = context.systems[system].pool.get().await?;
    Ok(due::applied(&client, run).await?)
}

/// A batch as the executor takes it.
fn subject(step: Uuid, rows: &[DueRow]) -> Subject {
    Subject {
        ticket: step,
        generation: 0,
        keys: rows.iter().map(|row| row.key.clone()).collect(),
        identifiers: BTreeMap::new(),
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
