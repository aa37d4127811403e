//! Runs one system's part of a plan for a batch of tickets, in one transaction.
//!
//! Capture under lock, change, probe, and only then the row that says it happened, and COMMIT.
//! Whatever is not as the plan says ends in a rollback with the table's name.

mod applied;
mod archive;
mod bind;
mod covered;
mod due;
mod piece;
mod spared;
mod stretch;
mod unanswered;

pub use applied::{Applied, applied};
pub use due::MustBeDue;
pub use stretch::Went;
pub use unanswered::Unanswered;

use super::capture::{self, Captured};
use super::failure::{self, Failure};
use super::value::Raw;
use crate::name::TableName;
use crate::plan::{
    ArchivedFile, Change, ChangeKind, Counts, HandedOver, HeldRows, Probe, Statement, SystemPlan,
};
pub(super) use applied::RECORD;
pub(super) use applied::counts;
use chrono::{DateTime, Utc};
use deadpool_postgres::{Client, GenericClient, Transaction};
use futures_util::future::{BoxFuture, join, join_all, join3};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
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

/// The keys of rows that stay, for coming back on their date.
pub struct Deferred {
    /// Position of the ticket in the batch.
    pub ticket: usize,
    /// The table.
    pub table: TableName,
    /// Until when.
    pub until: DateTime<Utc>,
    /// Basis.
    pub because: String,
    /// One key a row, each part as text.
    pub keys: Vec<Vec<String>>,
}

/// The end of a batch's transaction.
pub struct Outcome {
    /// In the order of the batch.
    pub counts: Vec<Counts>,
    /// When the server committed, by its own clock.
    pub committed_at: DateTime<Utc>,
    /// The WAL position behind the commit: what a standby must have replayed to show it.
    pub wal: String,
    /// `server_version_num`.
    pub server_version: i32,
    /// Positions in the batch of tickets whose step had been committed before.
    pub repeated: Vec<usize>,
}

/// Why a batch did not happen. Nothing here holds personal data.
#[derive(Debug, thiserror::Error)]
pub enum NotErased {
    /// The server said no, or nothing at all.
    #[error("{0}")]
    Database(String, Failure),
    /// COMMIT was sent and its answer never came.
    #[error(
        "the connection was lost while committing; whether it happened is read from the target's own row"
    )]
    CommitUnknown(Unanswered),
    /// The definitions are not those of the plan.
    #[error("the catalog of {system} changed since the plan was made")]
    Drift {
        /// Which.
        system: String,
    },
    /// Rows matched and rows affected differ.
    #[error(
        "{table}: {matched} rows were matched and {affected} {kind:?}: a trigger, a rule or a policy of the database interferes"
    )]
    Mismatch {
        /// Where.
        table: TableName,
        /// What was to happen to them.
        kind: ChangeKind,
        /// Captured.
        matched: u64,
        /// Changed.
        affected: u64,
    },
    /// The probe found something.
    #[error("{table}: {label} ({rows})")]
    Residual {
        /// Where.
        table: TableName,
        /// What it means.
        label: String,
        /// How many, or how many too few.
        rows: i64,
    },
    /// A row to be retained has no date.
    #[error("{table}: a row to be retained has no date in {column}, so no end can be counted")]
    NoEnd {
        /// Where.
        table: TableName,
        /// The column.
        column: String,
    },
    /// What the ticket calls the subject is no longer what the row says.
    #[error("the subject's {identifier} is no longer the one that the ticket names")]
    OtherIdentity {
        /// Which identifier.
        identifier: String,
    },
    /// When something was changed that reaches the subject is another time than it was before the lock.
    #[error("what reaches the subject was changed at this moment")]
    ContactChanged,
    /// A legal hold covers what would go; of which tickets.
    #[error("a legal hold covers what would be erased")]
    Held(Vec<Uuid>),
    /// Legal holds cover rows that would change.
    #[error("a legal hold covers rows that would be erased")]
    HeldRows(Vec<HeldRow>),
    /// A hold on rows cannot be compared with the table as it is now.
    #[error("{table}: a legal hold names the column {column}, which is not there any more")]
    HoldUnfit {
        /// Where.
        table: TableName,
        /// The column.
        column: String,
    },
    /// Somebody whom a retention rule names has come back at this moment.
    #[error("a person is not due any more")]
    NotDue,
    /// What hangs on the rows keeps them.
    #[error("rows of {table} hang on these and keep them: {by}")]
    Spared {
        /// Where what keeps them stands.
        table: TableName,
        /// Why.
        by: String,
    },
    /// A legal hold was placed just now, and whom it covers is not known yet.
    #[error("a legal hold on this kind of subject has still to be read")]
    HoldUnread,
    /// Rows could not be archived.
    #[error("E0532: rows could not be archived: {0}")]
    Archive(String),
    /// The step between capture and change could not be done.
    #[error("{0}")]
    Hook(String),
}

/// That a ticket reaches rows which a hold covers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HeldRow {
    /// The ticket.
    pub ticket: Uuid,
    /// The hold.
    pub hold: Uuid,
    /// Where the rows are.
    pub table: TableName,
}

impl From<tokio_postgres::Error> for NotErased {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Database(failure::describe(&error), failure::classify(&error))
    }
}

/// What the root rows said when they were locked, ticket by ticket, before anything changed.
pub struct Seen {
    /// Position in the batch.
    pub ticket: usize,
    /// Column of the root table to its value as text; NULLs left out.
    pub values: BTreeMap<String, String>,
}

/// What goes on elsewhere: written down between the capture and the first change, held until
/// COMMIT.
pub trait BeforeChange: Send {
    /// Positions of the tickets that take part: the step of the others had been committed before, and
    /// what was written down for them then stands. Called before [`BeforeChange::ready`].
    fn take_part(&mut self, _active: &[usize]) {}

    /// Is given what the locked root rows say and the rows to come back for; may stop the batch.
    /// What it writes must bear being written twice.
    fn ready(
        &mut self,
        seen: Vec<Seen>,
        deferred: Vec<Deferred>,
    ) -> BoxFuture<'_, Result<(), NotErased>>;

    /// Of which tickets the subjects must be due, whose rows this plan locks.
    fn must_be_due(&self) -> Vec<MustBeDue> {
        Vec::new()
    }

    /// Who takes captured rows, as texts, before the first of them changes; nobody by default.
    fn hand_over(&mut self) -> Option<&mut dyn HandOver> {
        None
    }

    /// The last word before every COMMIT, of a piece too, with all rows locked: whether what was held
    /// elsewhere for this is held still, and no legal hold covers what goes. Has no default: whoever
    /// erases must say who was asked.
    fn last_word(&mut self) -> BoxFuture<'_, Result<(), NotErased>>;

    /// The COMMIT has been answered: what the last word has taken may be let go.
    fn committed(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    /// Asks for the first and the last day of captured rows that were chosen by their age; recorded with the counts.
    fn dated(&self) -> Option<Statement> {
        None
    }

    /// Whether an earlier step of this ticket has put this row off already: then it is not put off
    /// again, nor counted among the kept.
    fn put_off(&self, _ticket: usize, _table: &TableName, _key: &[String]) -> bool {
        false
    }
}

/// Takes rows before they go, to keep them elsewhere.
pub trait HandOver: Send {
    /// What of the captured rows.
    fn wanted(&self) -> Vec<HandedOver>;

    /// Rows follow; this session is to commit.
    fn begin(&mut self, session: Unanswered) -> BoxFuture<'_, Result<(), NotErased>>;

    /// Some rows of one that is wanted, by its position; all of it come one after the other.
    fn rows(
        &mut self,
        of: usize,
        rows: Vec<Vec<Option<String>>>,
    ) -> BoxFuture<'_, Result<(), NotErased>>;

    /// That was all: where it is to be kept it is when this returns. The files are recorded with the counts.
    fn end(&mut self) -> BoxFuture<'_, Result<Vec<ArchivedFile>, NotErased>>;
}

/// Nothing is to be written down, and nobody is asked: where nothing is erased, and in tests.
pub struct Nothing;

impl BeforeChange for Nothing {
    fn ready(&mut self, _: Vec<Seen>, _: Vec<Deferred>) -> BoxFuture<'_, Result<(), NotErased>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn last_word(&mut self) -> BoxFuture<'_, Result<(), NotErased>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// What one change did.
struct Done {
    /// For each table that it changed: ticket to rows.
    by_table: Vec<(TableName, BTreeMap<usize, i64>)>,
    /// Old place and new place.
    moved: Vec<(Vec<Raw>, Vec<Raw>)>,
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
        probed?;
        recorded?;
        let about = self.commit(tx, before_change).await?;
        let mut outcome = Outcome {
            counts,
            committed_at: about.get(0),
            wal: about.get(1),
            server_version: about.get(2),
            repeated,
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

    /// The end of a transaction that has written down what it did: the last word, and COMMIT. What the
    /// server says of it.
    async fn commit(
        &self,
        tx: Transaction<'_>,
        before_change: &mut dyn BeforeChange,
    ) -> Result<tokio_postgres::Row, NotErased> {
        fail::fail_point!("before-commit", |how: Option<String>| {
            die_if_told(how);
            Err(NotErased::Hook("failpoint before-commit".into()))
        });
        let about = tx.prepare_cached(ABOUT).await?;
        let about = tx.query_one(&about, &[]).await?;
        let unanswered = Unanswered::of(&tx).await?;
        before_change.last_word().await?;
        fail::fail_point!("after-last-word");
        let committed = tx.commit().await;
        committed.map_err(|e| not_committed(e, &unanswered))?;
        before_change.committed().await;
        fail::fail_point!("after-commit", |how: Option<String>| {
            die_if_told(how);
            Err(NotErased::CommitUnknown(unanswered))
        });
        Ok(about)
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

    /// The outcome of steps committed earlier, read from the target's own rows.
    async fn recall(
        &self,
        tx: &Transaction<'_>,
        repeated: Vec<usize>,
    ) -> Result<Outcome, NotErased> {
        let rows = tx
            .query(
                "/* erasured:applied steps */ SELECT k.n, s.counts, s.committed_at, pg_current_wal_insert_lsn()::text, \
                 current_setting('server_version_num')::int4 FROM erasured.applied_step AS s \
                 JOIN unnest($1::uuid[], $2::int4[], $3::int4[]) AS k(ticket, generation, n) \
                 ON s.ticket_id = k.ticket AND s.generation = k.generation AND s.system = $4",
                &[&self.tickets(), &self.generations(), &self.ordinals(), &self.plan.system],
            )
            .await?;
        let mut outcome = Outcome {
            counts: vec![Counts::default(); self.subjects.len()],
            committed_at: self.now,
            wal: String::new(),
            server_version: 0,
            repeated,
        };
        for row in rows {
            outcome.counts[position(row.get(0))] = counts(row.get(1))?;
            (outcome.committed_at, outcome.wal, outcome.server_version) =
                (row.get(2), row.get(3), row.get(4));
        }
        Ok(outcome)
    }

    async fn change(
        &self,
        tx: &Transaction<'_>,
        captured: &mut Captured,
        counts: &mut [Counts],
        locked: &BTreeMap<&TableName, i64>,
    ) -> Result<(), NotErased> {
        // Prepared beforehand, or the preparing of one would come between two of the others.
        for change in &self.plan.changes {
            let before = change.before.iter().map(|p| &p.statement);
            for statement in before.chain([&change.statement]) {
                tx.prepare_cached(&self.text(statement, "")).await?;
            }
        }
        let mut rest = &self.plan.changes[..];
        while !rest.is_empty() {
            // What comes after a move must know where the rows are now.
            let until_move = rest.iter().position(|c| c.moves);
            let (now, later) = rest.split_at(until_move.map_or(rest.len(), |at| at + 1));
            let done = join_all(now.iter().map(|c| self.one_change(tx, captured, c, locked)));
            let (theirs, done, ours) = join3(path(tx, THEIRS), done, path(tx, OURS)).await;
            theirs?;
            let done = judged(done)?;
            ours?;
            for (change, done) in now.iter().zip(done) {
                for (table, by_ticket) in done.by_table {
                    for (ticket, rows) in by_ticket {
                        let kinds = counts[ticket].changed.entry(table.to_string()).or_default();
                        *kinds.entry(change.kind).or_default() += rows;
                    }
                }
                if let Some(rows) = change.rows {
                    captured.moved(rows.set, done.moved);
                }
            }
            rest = later;
        }
        Ok(())
    }

    /// Locks what hangs on each other and is found again only when it goes, and the numbers of large
    /// objects; how many rows of each table those are.
    async fn lock_found_again<'c>(
        &'c self,
        tx: &Transaction<'_>,
        captured: &Captured,
    ) -> Result<BTreeMap<&'c TableName, i64>, NotErased> {
        let mut locked = BTreeMap::new();
        for change in &self.plan.changes {
            let Some(lock) = &change.lock else { continue };
            if change.kind == ChangeKind::Unlinked {
                // What was captured does not change, and whoever held it is waited for: once is enough.
                self.query(tx, captured, lock, "").await?;
                continue;
            }
            let mut before: Option<(i64, String)> = None;
            loop {
                let found = self.query(tx, captured, lock, "").await?;
                let now = found.first().map(|row| (row.get(0), row.get(1)));
                if now == before {
                    break;
                }
                before = now;
            }
            locked.insert(&change.table, before.map_or(0, |(rows, _)| rows));
        }
        Ok(locked)
    }

    /// Sent without waiting for the one before: the server runs them in this order.
    async fn one_change(
        &self,
        tx: &Transaction<'_>,
        captured: &Captured,
        change: &Change,
        locked: &BTreeMap<&TableName, i64>,
    ) -> Result<Done, NotErased> {
        if change.rows.is_none() {
            let found = self.query(tx, captured, &change.statement, "").await?;
            let rows = found.iter().map(|row| (position(row.get(0)), row.get(1)));
            let by_ticket: BTreeMap<usize, i64> = rows.collect();
            let affected = by_ticket.values().sum();
            let matched = locked.get(&change.table).copied().unwrap_or(affected);
            all_of(change, &change.table, matched, affected)?;
            return Ok(Done {
                by_table: vec![(change.table.clone(), by_ticket)],
                moved: Vec::new(),
            });
        }
        let by_table: Vec<_> = change
            .captured()
            .map(|(table, rows)| (table.clone(), captured.reported(rows)))
            .collect();
        let matched: Vec<i64> = change
            .captured()
            .map(|(_, rows)| captured.count(rows).values().sum())
            .collect();
        let mut moved = Vec::new();
        if matched.iter().all(|n| *n == 0) {
            return Ok(Done { by_table, moved });
        }
        let first = join_all(
            change
                .before
                .iter()
                .map(|probe| self.one_probe(tx, captured, probe)),
        );
        let affected = self.affected(tx, captured, change, &mut moved);
        let (first, affected) = join(first, affected).await;
        judged(first)?;
        let affected = affected?;
        for (at, (table, _)) in by_table.iter().enumerate() {
            let (matched, affected) = (matched[at], affected.get(at).copied().unwrap_or(0));
            all_of(change, table, matched, affected)?;
        }
        Ok(Done { by_table, moved })
    }

    /// How many rows of each table it changed, and where those are now that it moved.
    async fn affected(
        &self,
        tx: &Transaction<'_>,
        captured: &Captured,
        change: &Change,
        moved: &mut Vec<(Vec<Raw>, Vec<Raw>)>,
    ) -> Result<Vec<i64>, NotErased> {
        let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        if change.ring.is_empty() && !change.moves {
            let affected = self.execute(tx, captured, &change.statement).await?;
            return Ok(vec![number(affected)]);
        }
        let found = self.query(tx, captured, &change.statement, "").await?;
        if change.moves {
            moved.extend(found.iter().map(capture::places));
            return Ok(vec![number(found.len() as u64)]);
        }
        let counts = found
            .first()
            .map(|row| (0..row.len()).map(|at| row.get(at)));
        Ok(counts.into_iter().flatten().collect())
    }

    async fn probe(&self, tx: &Transaction<'_>, captured: &Captured) -> Result<(), NotErased> {
        // What the database put off until COMMIT happens first, where the probes can see it.
        let now = async {
            let all = "/* erasured:constraints */ SET CONSTRAINTS ALL IMMEDIATE";
            Ok(tx.batch_execute(all).await?)
        };
        let probes = join_all(
            self.plan
                .probes
                .iter()
                .map(|probe| self.one_probe(tx, captured, probe)),
        );
        let (now, probes): (Result<(), NotErased>, _) = join(now, probes).await;
        now?;
        judged(probes)?;
        Ok(())
    }

    async fn one_probe(
        &self,
        tx: &Transaction<'_>,
        captured: &Captured,
        probe: &Probe,
    ) -> Result<(), NotErased> {
        let expected: i64 = probe
            .expect
            .map_or(0, |rows| captured.count(rows).values().sum());
        let found = self.query(tx, captured, &probe.statement, "").await?;
        let found: i64 = found.first().map_or(0, |row| row.get(0));
        if found == expected {
            return Ok(());
        }
        Err(NotErased::Residual {
            table: probe.table.clone(),
            label: probe.label.clone(),
            rows: (found - expected).abs(),
        })
    }

    /// Runs a statement of the plan with its parameters bound; `suffix` is its lock clause.
    pub(super) async fn query(
        &self,
        client: &impl GenericClient,
        captured: &Captured,
        statement: &Statement,
        suffix: &str,
    ) -> Result<Vec<tokio_postgres::Row>, NotErased> {
        self.query_since(client, captured, statement, suffix, 0)
            .await
    }

    /// The same with captured rows narrowed to those that changed in round `since` or later, for
    /// tables that refer to themselves.
    pub(super) async fn query_since(
        &self,
        client: &impl GenericClient,
        captured: &Captured,
        statement: &Statement,
        suffix: &str,
        since: usize,
    ) -> Result<Vec<tokio_postgres::Row>, NotErased> {
        let bound = self.bind(captured, statement, since);
        let parameters: Vec<&(dyn ToSql + Sync)> = bound.iter().map(|b| &**b as _).collect();
        let prepared = client.prepare_cached(&self.text(statement, suffix)).await?;
        Ok(client.query(&prepared, &parameters).await?)
    }

    async fn execute(
        &self,
        client: &impl GenericClient,
        captured: &Captured,
        statement: &Statement,
    ) -> Result<u64, NotErased> {
        let bound = self.bind(captured, statement, 0);
        let parameters: Vec<&(dyn ToSql + Sync)> = bound.iter().map(|b| &**b as _).collect();
        let prepared = client.prepare_cached(&self.text(statement, "")).await?;
        Ok(client.execute(&prepared, &parameters).await?)
    }
}

/// What was to change has changed, and nothing else has.
fn all_of(
    change: &Change,
    table: &TableName,
    matched: i64,
    affected: i64,
) -> Result<(), NotErased> {
    if matched == affected {
        return Ok(());
    }
    Err(NotErased::Mismatch {
        table: table.clone(),
        kind: change.kind,
        matched: matched.unsigned_abs(),
        affected: affected.unsigned_abs(),
    })
}

const ABOUT: &str = "/* erasured:step */ SELECT clock_timestamp(), pg_current_wal_insert_lsn()::text, current_setting('server_version_num')::int4";

/// The database's own triggers find their tables by the `search_path` of the role; our text names
/// everything in full, and `pg_catalog` stays first.
const THEIRS: &str = "/* erasured:path */ SELECT set_config('search_path', concat_ws(', ', 'pg_catalog', nullif(current_setting('erasured.path'), ''), 'pg_temp'), true)";
/// For everything else.
const OURS: &str = "/* erasured:path */ SET LOCAL search_path = pg_catalog, pg_temp";

async fn path(tx: &Transaction<'_>, sql: &str) -> Result<(), NotErased> {
    Ok(tx.batch_execute(sql).await?)
}

/// The results of what was sent together. After the first error the server only repeats that the
/// transaction is aborted, and which answer is looked at first is chance: so all are waited for,
/// and the one that says why is given.
fn judged<T>(results: Vec<Result<T, NotErased>>) -> Result<Vec<T>, NotErased> {
    let (mut values, mut aborted) = (Vec::with_capacity(results.len()), None);
    for result in results {
        match result {
            Ok(value) => values.push(value),
            Err(error @ NotErased::Database(_, Failure::Transient("aborted"))) => {
                aborted.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    aborted.map_or(Ok(values), Err)
}

fn already_committed() -> NotErased {
    NotErased::Database(
        "another daemon committed this step meanwhile".into(),
        Failure::Transient("overtaken"),
    )
}

/// Where the subject has no rows that could be locked, two daemons meet here.
fn overtaken(error: tokio_postgres::Error) -> NotErased {
    if error.code() == Some(&SqlState::UNIQUE_VIOLATION) {
        already_committed()
    } else {
        error.into()
    }
}

/// An ERROR instead of a COMMIT rolled back; where the session ended, nobody has said.
pub(super) fn not_committed(error: tokio_postgres::Error, unanswered: &Unanswered) -> NotErased {
    use tokio_postgres::error::Severity;
    let refused = error
        .as_db_error()
        .is_some_and(|db| db.parsed_severity() == Some(Severity::Error));
    if refused {
        error.into()
    } else {
        NotErased::CommitUnknown(unanswered.clone())
    }
}

/// `FAILPOINTS=before-commit=return(abort)`: dies there instead of failing.
#[cfg(feature = "failpoints")]
fn die_if_told(how: Option<String>) {
    if how.as_deref() == Some("abort") {
        std::process::abort();
    }
}

/// Batches are bounded far below `i32::MAX` by the configuration.
fn ordinal(position: usize) -> i32 {
    i32::try_from(position).expect("a batch has fewer tickets than i32 counts")
}

pub(super) fn position(ordinal: i32) -> usize {
    usize::try_from(ordinal).expect("ordinals come from positions")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whichever answer is looked at first: the error that says why is the one given.
    #[test]
    fn a_consequence_never_hides_its_cause() {
        let of = |cause| NotErased::Database(format!("{cause:?}"), cause);
        let aborted = || Err::<(), _>(of(Failure::Transient("aborted")));
        let deadlock = || Err(of(Failure::Transient("deadlock")));
        for results in [
            vec![Ok(()), deadlock(), aborted()],
            vec![aborted(), aborted(), deadlock()],
        ] {
            let error = judged(results).unwrap_err().to_string();
            assert!(error.contains("deadlock"), "{error}");
        }
        assert!(judged(vec![Ok(()), aborted()]).is_err());
        assert_eq!(judged(vec![Ok::<_, NotErased>(1), Ok(2)]).unwrap(), [1, 2]);
    }
}
