//! Runs one system's part of a plan for a batch of tickets, in one transaction.
//!
//! Capture under lock, change, probe, and only then the row that says it happened, and COMMIT.
//! Whatever is not as the plan says ends in a rollback with the table's name.

mod applied;
mod archive;
mod before_change;
mod bind;
mod change;
mod commit;
mod covered;
mod due;
mod outcome;
mod piece;
mod probe;
mod spared;
mod statement;
mod stretch;
mod things;
mod unanswered;

pub(super) use applied::RECORD;
pub(in crate::system) use applied::counts;
pub use applied::{Applied, applied};
pub use before_change::{BeforeChange, Deferred, HandOver, Nothing, Seen};
pub(super) use commit::not_committed;
pub use due::MustBeDue;
pub use outcome::{HeldRow, NotErased, Outcome};
pub use stretch::Went;
pub use things::{ByColumn, Names, named_yet};
pub use unanswered::Unanswered;

use super::capture::{self, Captured};
use crate::plan::{Counts, HeldRows, SystemPlan};
use chrono::{DateTime, Utc};
use commit::ABOUT;
use deadpool_postgres::{Client, Transaction};
use futures_util::future::join;
use outcome::{already_committed, both};
use std::collections::BTreeMap;
use std::time::Duration;
use uuid::Uuid;

/// What the executor needs to know of one ticket.
#[derive(Clone)]
pub struct Subject {
    /// The ticket.
    pub ticket: Uuid,
    /// Counts how often the plan was made anew after a repair.
    pub generation: i32,
    /// Keys of the rows where the ticket enters (the root row; on a later date the rows retained
    /// until then), each part as text.
    pub keys: Vec<Vec<String>>,
    /// By identifier name: every form in which the stored value may be met, compared as
    /// [`IdentifierValues`](crate::plan::Parameter::IdentifierValues) says.
    pub identifiers: BTreeMap<String, Vec<String>>,
}

/// How long one transaction may wait and work.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For a lock.
    pub lock: Duration,
    /// For one statement.
    pub statement: Duration,
    /// Between two statements.
    pub idle: Duration,
}

/// One system's part of a plan and how to run it.
#[derive(Clone, Copy)]
pub struct Execution<'a> {
    /// The plan.
    pub plan: &'a SystemPlan,
    /// The batch.
    pub subjects: &'a [Subject],
    /// The instant that decides whether a retained row's time is over.
    pub now: DateTime<Utc>,
    /// Bounds.
    pub timeouts: Timeouts,
    /// Rows of one piece, see [`crate::plan::Piece`].
    pub piece_rows: i64,
    /// Stamp of the catalog for which `plan` is known to fit.
    pub stamp: &'a str,
    /// Names this attempt in the target's own rows.
    pub batch: Uuid,
    /// Rows that legal holds cover: a ticket that would change one of them stops before the first change.
    pub held: &'a [HeldRows],
    /// The name under which it is to be prepared, where it happens together with what others do; `None`: it
    /// is committed.
    pub prepare: Option<&'a str>,
    /// Count only: no lock is taken and nothing changes.
    pub dry: bool,
    /// Hashes a value for [`crate::policy::Strategy::Hash`].
    pub hash: &'a (dyn Fn(&str) -> String + Sync),
}

impl Execution<'_> {
    /// Runs it: pieces first, if the plan has any, each committed by itself, then all the rest.
    ///
    /// # Errors
    /// [`NotErased`]; except for [`NotErased::CommitUnknown`] nothing has happened but pieces, which
    /// the target remembers.
    pub async fn run(
        &self,
        client: &mut Client,
        before_change: &mut dyn BeforeChange,
    ) -> Result<Outcome, NotErased> {
        if !self.plan.pieces.is_empty() {
            self.look_before_pieces(client).await?;
        }
        self.pieces(client, before_change).await?;
        self.step(client, before_change).await
    }

    /// All of it in one transaction.
    async fn step(
        &self,
        client: &mut Client,
        before_change: &mut dyn BeforeChange,
    ) -> Result<Outcome, NotErased> {
        let tx = client.transaction().await?;
        self.settings(&tx).await?;
        let repeated = self.repeated(&tx).await?;
        if repeated.len() == self.subjects.len() {
            let outcome = self.recall(&tx, repeated).await?;
            tx.rollback().await?;
            before_change.the_others().await?;
            return Ok(outcome);
        }
        let mut captured = Captured::new(self.plan);
        let active: Vec<usize> = (0..self.subjects.len())
            .filter(|i| !repeated.contains(i))
            .collect();
        capture::all(&tx, self, &active, &mut captured, None).await?;
        let locked = self.lock_found_again(&tx, &captured).await?;
        self.nothing_is_covered(&tx, &captured, None).await?;
        self.nothing_spares(&tx, &captured).await?;
        self.all_are_due(&tx, &captured, &before_change.must_be_due())
            .await?;
        fail::fail_point!("before-change");
        // A batch that waited for another daemon's lock learns here that the work is done.
        let meanwhile = self.repeated(&tx).await?;
        if meanwhile.len() > repeated.len() {
            tx.rollback().await?;
            return Err(already_committed());
        }
        let blank = Counts {
            left: self.plan.left.iter().map(ToString::to_string).collect(),
            days: self.days(&tx, &captured, before_change.dated()).await?,
            ..Counts::default()
        };
        let mut counts = vec![blank; self.subjects.len()];
        let deferred = capture::kept(self, &captured, &mut counts, before_change);
        before_change.take_part(&active);
        if !self.plan.things.is_empty() {
            let names = self.names(&tx, &captured, &ByColumn::new()).await?;
            before_change.named(names).await?;
        }
        before_change
            .ready(capture::seen(self, &captured), deferred)
            .await?;
        let archived = self.hand_over(&tx, &captured, before_change).await?;
        active
            .iter()
            .for_each(|&at| counts[at].archived.clone_from(&archived));
        self.change(&tx, &mut captured, &mut counts, &locked)
            .await?;
        self.add_pieces(&tx, &active, &mut counts).await?;
        self.count_once(&tx, &active, &mut counts).await?;
        for sql in [RECORD, ABOUT] {
            tx.prepare_cached(sql).await?;
        }
        // Sent without waiting for each other: unless both succeed there is no COMMIT.
        let probed = self.probe(&tx, &captured);
        let (probed, recorded) = join(probed, self.record(&tx, &active, &counts)).await;
        both(probed, recorded)?;
        let about = self.commit(tx, before_change).await?;
        let mut outcome = Outcome {
            counts,
            committed_at: about.get(0),
            wal: about.get(1),
            server_version: about.get(2),
            repeated,
            prepared: self.prepare.is_some(),
        };
        if !outcome.repeated.is_empty() {
            let tx = client.transaction().await?;
            let recalled = self.recall(&tx, outcome.repeated.clone()).await?;
            for &i in &outcome.repeated {
                outcome.counts[i] = recalled.counts[i].clone();
            }
        }
        Ok(outcome)
    }

    /// Locks the root's rows and tells what they say, for as long as the transaction is kept: for
    /// the time in which other systems are erased. It ends without having changed anything. These must be due.
    ///
    /// # Errors
    /// As [`Execution::run`].
    pub async fn hold_subjects<'c>(
        &self,
        client: &'c mut Client,
        due: &[MustBeDue],
    ) -> Result<(Transaction<'c>, Vec<Seen>), NotErased> {
        let tx = client.transaction().await?;
        self.settings(&tx).await?;
        let mut captured = Captured::new(self.plan);
        let active: Vec<usize> = (0..self.subjects.len()).collect();
        capture::subjects(&tx, self, &active, &mut captured).await?;
        self.all_are_due(&tx, &captured, due).await?;
        let seen = capture::seen(self, &captured);
        Ok((tx, seen))
    }

    /// Counts what [`Execution::run`] would do, in one read-only snapshot, by the same statements.
    ///
    /// # Errors
    /// As [`Execution::run`].
    pub async fn dry_run(&self, client: &mut Client) -> Result<Vec<Counts>, NotErased> {
        let tx = client
            .build_transaction()
            .isolation_level(tokio_postgres::IsolationLevel::RepeatableRead)
            .read_only(true)
            .start()
            .await?;
        self.settings(&tx).await?;
        let mut captured = Captured::new(self.plan);
        let active: Vec<usize> = (0..self.subjects.len()).collect();
        capture::all(&tx, self, &active, &mut captured, None).await?;
        let mut counts = vec![Counts::default(); self.subjects.len()];
        capture::would_change(self, &captured, &mut counts);
        capture::kept(self, &captured, &mut counts, &Nothing);
        for change in &self.plan.changes {
            let Some(count) = &change.count else { continue };
            for row in self.query(&tx, &captured, count, "").await? {
                let kinds = counts[position(row.get(0))]
                    .changed
                    .entry(change.table.to_string())
                    .or_default();
                *kinds.entry(change.kind).or_default() += row.get::<_, i64>(1);
            }
        }
        tx.rollback().await?;
        Ok(counts)
    }

    async fn settings(&self, tx: &Transaction<'_>) -> Result<(), NotErased> {
        let Timeouts {
            lock,
            statement,
            idle,
        } = self.timeouts;
        // Generic plans go by an index to each row. Custom ones would read whole tables for a few
        // hundred keys, and would plan the server's own queries for foreign keys anew for every
        // row: measured, half and a third of the speed.
        let sql = format!(
            "/* erasured:settings */ SELECT pg_catalog.set_config('erasured.path', pg_catalog.current_setting('search_path'), true); \
             SET LOCAL search_path = pg_catalog, pg_temp; SET LOCAL row_security = off; \
             SET LOCAL timezone = 'UTC'; SET LOCAL lock_timeout = {}; SET LOCAL statement_timeout = {}; \
             SET LOCAL idle_in_transaction_session_timeout = {}; SET LOCAL plan_cache_mode = force_generic_plan; \
             SET LOCAL synchronous_commit = on; {}",
            lock.as_millis(),
            statement.as_millis(),
            idle.as_millis(),
            if self.dry {
                ""
            } else {
                &self.plan.hold_definitions
            }
        );
        tx.batch_execute(&sql).await?;
        if super::catalog::stamp(tx).await? == self.stamp {
            return Ok(());
        }
        Err(NotErased::Drift {
            system: self.plan.system.clone(),
        })
    }
}

/// Batches are bounded far below `i32::MAX` by the configuration.
fn ordinal(position: usize) -> i32 {
    i32::try_from(position).expect("a batch has fewer tickets than i32 counts")
}

pub(super) fn position(ordinal: i32) -> usize {
    usize::try_from(ordinal).expect("ordinals come from positions")
}
