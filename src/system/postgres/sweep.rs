//! The search for what is left of people, through every column that can hold a text.
//!
//! Each table is read in pieces of its heap, each piece in a short transaction of its own, so
//! that no old snapshot holds back vacuum. What moves between the pieces is caught: row versions
//! younger than the first piece's snapshot are looked for once more at the end, in one snapshot
//! for the whole table, and a table that was rewritten meanwhile is read again.

use super::quote;
use super::tuples::Tuples;
use crate::name::TableName;
use crate::verify::{Scratch, Seek};
use chrono::{DateTime, Utc};
use futures_util::{StreamExt, pin_mut};
use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::time::Duration;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

pub use super::readable::{Column, Readable, Target, forecast, readable};

/// Keys remembered for each identifier and column; all rows are counted.
pub const KEYS: usize = 20;
/// About so much of a table is read in one transaction.
const PIECE: u64 = 256 << 20;
/// With a limit on bytes per second, a transaction lasts about so long.
const PIECE_SECONDS: u64 = 10;
/// A limit on bytes per second may not stretch the one long snapshot of a table beyond this.
const LONGEST_SNAPSHOT: Duration = Duration::from_secs(30 * 60);
/// How often a table that is altered while it is read is begun anew.
const ATTEMPTS: usize = 3;

/// What a sweep is asked to do.
pub struct Sweep<'a> {
    /// What is read, by name.
    pub targets: &'a [Target],
    /// Why a column is left unread, if it is.
    pub exempt: &'a (dyn Fn(&TableName, &str) -> Option<String> + Sync),
    /// What is sought.
    pub matcher: &'a dyn Seek,
    /// Bytes a second at most.
    pub pace: Option<NonZeroU64>,
    /// Bounds on each statement.
    pub timeouts: Timeouts,
    /// What time it is.
    pub clock: &'a (dyn Fn() -> DateTime<Utc> + Sync),
}

/// Bounds on each transaction of a sweep.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For one piece of a table.
    pub statement: Duration,
    /// For the lock that only ALTER TABLE and the like stand in the way of.
    pub lock: Duration,
    /// For a daemon that went silent.
    pub idle: Duration,
}

impl Timeouts {
    /// Begins a transaction with one snapshot throughout, so that a row found is still at its
    /// place when its key is asked for. With row_security off a policy that would hide rows is
    /// an error.
    pub(super) fn begin(self) -> String {
        format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; \
             SET LOCAL statement_timeout = {}; SET LOCAL lock_timeout = {}; \
             SET LOCAL idle_in_transaction_session_timeout = {}; \
             SET LOCAL row_security = off; SET LOCAL search_path = pg_catalog, pg_temp",
            self.statement.as_millis(),
            self.lock.as_millis(),
            self.idle.as_millis(),
        )
    }
}

/// What has been read, as it happens.
#[derive(Debug)]
pub enum Progress<'a> {
    /// So many bytes more have arrived.
    Bytes(&'a TableName, u64),
    /// A table is through: a resumed sweep may start after it.
    Table(&'a TableRead, &'a [Finding]),
}

/// What a sweep has read and found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// Tables read, in order.
    pub tables: Vec<TableRead>,
    /// Tables not read, and why.
    pub not_covered: Vec<(TableName, String)>,
    /// What is left of somebody.
    pub findings: Vec<Finding>,
}

/// One table that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableRead {
    /// Its name.
    pub table: TableName,
    /// The columns read.
    pub columns: Vec<String>,
    /// The columns left out by the policy, and why.
    pub exempt: Vec<(String, String)>,
    /// Rows read.
    pub rows: u64,
    /// Bytes that arrived.
    pub bytes: u64,
    /// When reading began.
    pub started_at: DateTime<Utc>,
    /// When reading ended.
    pub finished_at: DateTime<Utc>,
}

/// An identifier in a column: which and where, never the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Of the needle.
    pub tag: u32,
    /// Where.
    pub table: TableName,
    /// Where.
    pub column: String,
    /// Primary keys of the first rows, at most [`KEYS`]; the row's place (`ctid`) where there is
    /// no key or the key itself says an identifier.
    pub row_keys: Vec<String>,
    /// How many rows in all.
    pub rows: u64,
}

/// Why a sweep could not go on.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// The server refused, or went away.
    #[error("reading {table}: {}", reason(source))]
    Database {
        /// What was being read.
        table: TableName,
        /// The server's answer.
        source: tokio_postgres::Error,
    },
    /// What arrived is no binary COPY.
    #[error("reading {0}: the server's answer was cut short or is not in COPY's binary format")]
    Malformed(TableName),
    /// The name stands for another table than the one that was listed.
    #[error("reading {0}: dropped or renamed since it was listed")]
    Exchanged(TableName),
    /// Somebody alters the table again and again.
    #[error(
        "reading {0}: the table was rewritten, or locked to be altered, each time while it was read"
    )]
    Altered(TableName),
}

impl SweepError {
    /// Under this name nothing is left to be read of what was listed.
    fn means_gone(&self) -> bool {
        match self {
            Self::Exchanged(_) => true,
            Self::Database { source, .. } => matches!(
                source.code(),
                Some(&SqlState::UNDEFINED_TABLE | &SqlState::INVALID_SCHEMA_NAME)
            ),
            Self::Malformed(_) | Self::Altered(_) => false,
        }
    }
}

/// What the server said, as far as it can hold nothing of a row.
fn reason(error: &tokio_postgres::Error) -> String {
    super::failure::describe(error)
}

/// Reads all targets through `client`, which must be in no transaction.
///
/// # Errors
///
/// Whatever keeps a row from being read: a missing right, a row-level policy that would hide
/// rows, a lost connection. After an error `client` may be inside a failed transaction's COPY:
/// it should be dropped. Tables that `progress` has seen need not be read again.
pub async fn sweep(
    client: &Client,
    sweep: &Sweep<'_>,
    mut progress: impl FnMut(Progress<'_>),
) -> Result<SweepReport, SweepError> {
    let mut report = SweepReport::default();
    let mut pace = Pace::new(sweep.pace);
    let mut scratch = Scratch::default();
    for target in sweep.targets {
        let mut reader = TableReader::new(client, sweep, target);
        match reader.read(&mut pace, &mut scratch, &mut progress).await {
            Ok((read, findings)) => {
                progress(Progress::Table(&read, &findings));
                report.tables.push(read);
                report.findings.extend(findings);
            }
            Err(error) if error.means_gone() => {
                // The transaction is open, and has failed unless it was the name that differed.
                let ended = client.batch_execute("ROLLBACK").await;
                ended.map_err(|e| reader.error(e))?;
                let reason = "dropped or renamed while the sweep ran".to_owned();
                report.not_covered.push((target.table.clone(), reason));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(report)
}

/// Rows of one identifier in one column.
#[derive(Default)]
struct Hits {
    rows: u64,
    keys: Vec<String>,
    /// Found in the current piece, key not asked for yet.
    places: Vec<Place>,
}

/// Block and line pointer.
type Place = (u32, u16);

struct TableReader<'a> {
    client: &'a Client,
    sweep: &'a Sweep<'a>,
    target: &'a Target,
    name: String,
    comment: String,
    columns: Vec<&'a Column>,
    exempt: Vec<(String, String)>,
    /// By tag and number of the column.
    hits: BTreeMap<(u32, usize), Hits>,
    rows: u64,
    bytes: u64,
}

impl<'a> TableReader<'a> {
    fn new(client: &'a Client, sweep: &'a Sweep<'a>, target: &'a Target) -> Self {
        let table = &target.table;
        let mut columns = Vec::new();
        let mut exempt = Vec::new();
        for column in &target.columns {
            match (sweep.exempt)(table, &column.name) {
                Some(reason) => exempt.push((column.name.clone(), reason)),
                None => columns.push(column),
            }
        }
        let (schema, name) = (&table.schema, &table.table);
        Self {
            client,
            sweep,
            target,
            name: format!("{}.{}", quote::identifier(schema), quote::identifier(name)),
            comment: format!(
                "/* erasured:sweep {}.{} */",
                quote::comment(schema),
                quote::comment(name)
            ),
            columns,
            exempt,
            hits: BTreeMap::new(),
            rows: 0,
            bytes: 0,
        }
    }

    async fn read(
        &mut self,
        pace: &mut Pace,
        scratch: &mut Scratch,
        progress: &mut impl FnMut(Progress<'_>),
    ) -> Result<(TableRead, Vec<Finding>), SweepError> {
        let started_at = (self.sweep.clock)();
        let mut attempts = 0;
        while !self.columns.is_empty() && !self.once(pace, scratch, progress).await? {
            attempts += 1;
            if attempts == ATTEMPTS {
                return Err(SweepError::Altered(self.target.table.clone()));
            }
            self.hits.clear();
            self.rows = 0;
        }
        let read = TableRead {
            table: self.target.table.clone(),
            columns: self.columns.iter().map(|c| c.name.clone()).collect(),
            exempt: std::mem::take(&mut self.exempt),
            rows: self.rows,
            bytes: self.bytes,
            started_at,
            finished_at: (self.sweep.clock)(),
        };
        let findings = std::mem::take(&mut self.hits)
            .into_iter()
            .map(|((tag, column), hits)| Finding {
                tag,
                table: self.target.table.clone(),
                column: self.columns[column].name.clone(),
                row_keys: hits.keys,
                rows: hits.rows,
            })
            .collect();
        Ok((read, findings))
    }

    /// All pieces once; whether the table stayed what it was all the while.
    async fn once(
        &mut self,
        pace: &mut Pace,
        scratch: &mut Scratch,
        progress: &mut impl FnMut(Progress<'_>),
    ) -> Result<bool, SweepError> {
        let before = self.begin().await?;
        let pieces = pieces(before.pages, self.pages_a_piece());
        for (at, piece) in pieces.iter().enumerate() {
            if at > 0 && self.begin().await?.file != before.file {
                self.commit().await?;
                return Ok(false);
            }
            self.copy(piece, pace, scratch, progress).await?;
            self.keys(scratch).await?;
            self.commit().await?;
        }
        if pieces.len() == 1 {
            return Ok(true);
        }
        self.young(&before, scratch, progress).await
    }

    /// Row versions written since the first piece: they may lie in a piece read before. They
    /// are sought in one snapshot, in which nothing moves, by short statements; this gives way
    /// (and says so with `false`) to who waits to alter the table.
    async fn young(
        &mut self,
        before: &State,
        scratch: &mut Scratch,
        progress: &mut impl FnMut(Progress<'_>),
    ) -> Result<bool, SweepError> {
        let now = self.begin().await?;
        let mut stayed = now.file == before.file;
        // What is read here is pages, of which hardly a row is sent.
        let mut pace = Pace::new(self.pace_of(now.pages));
        let pages = pace.pages_in_half_a_second();
        let age = format!("age(xmin) <= age('{}'::xid)", before.oldest_running);
        for piece in pieces(now.pages, pages) {
            if !stayed {
                break;
            }
            let filter = match piece.as_str() {
                "" => format!(" WHERE {age}"),
                place => format!("{place} AND {age}"),
            };
            self.copy(&filter, &mut Pace::new(None), scratch, progress)
                .await?;
            self.keys(scratch).await?;
            stayed = !self.is_awaited().await?;
            pace.passed(u64::from(pages.min(now.pages)) * PAGE).await;
        }
        self.commit().await?;
        Ok(stayed)
    }

    fn pages_a_piece(&self) -> u32 {
        let piece = match self.sweep.pace {
            Some(pace) => PIECE.min(pace.get().saturating_mul(PIECE_SECONDS)),
            None => PIECE,
        };
        let pages = u64::from(self.target.pages.max(1));
        let step = piece.saturating_mul(pages) / self.target.bytes.max(1);
        u32::try_from(step.max(1)).unwrap_or(u32::MAX)
    }

    /// The limit on bytes per second, raised as far as [`LONGEST_SNAPSHOT`] demands.
    fn pace_of(&self, pages: u32) -> Option<NonZeroU64> {
        let least = u64::from(pages) * PAGE / LONGEST_SNAPSHOT.as_secs();
        self.sweep
            .pace
            .map(|pace| pace.max(NonZeroU64::new(least).unwrap_or(NonZeroU64::MIN)))
    }

    /// Begins a transaction. The lock comes before the snapshot: whoever empties or rewrites
    /// the table has ended by then, and until COMMIT the name stands for what is read.
    async fn begin(&self) -> Result<State, SweepError> {
        let mut begin = format!("{} {}", self.comment, self.sweep.timeouts.begin());
        // LOCK knows no materialized views; a new content of theirs is seen by old snapshots.
        if self.target.lockable {
            begin += &format!("; LOCK TABLE ONLY {} IN ACCESS SHARE MODE", self.name);
        }
        self.client
            .batch_execute(&begin)
            .await
            .map_err(|e| self.error(e))?;
        let sql = format!(
            "{} SELECT c.oid, pg_catalog.pg_relation_filenode(c.oid),
                pg_catalog.pg_relation_size(c.oid)
                  / pg_catalog.current_setting('block_size')::pg_catalog.int8,
                (pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::pg_catalog.text
                   ::pg_catalog.int8 % 4294967296)::pg_catalog.text
              FROM pg_catalog.pg_class c WHERE c.oid = pg_catalog.to_regclass($1)",
            self.comment
        );
        let row = self.client.query_opt(&sql, &[&self.name]).await;
        row.map_err(|e| self.error(e))?
            .filter(|row| row.get::<_, u32>(0) == self.target.oid)
            .map(|row| State {
                file: row.get(1),
                pages: u32::try_from(row.get::<_, i64>(2)).unwrap_or(u32::MAX),
                oldest_running: row.get(3),
            })
            .ok_or_else(|| SweepError::Exchanged(self.target.table.clone()))
    }

    /// Whether somebody waits for the table, and so everybody behind him.
    async fn is_awaited(&self) -> Result<bool, SweepError> {
        let sql = format!(
            "{} SELECT EXISTS (SELECT FROM pg_catalog.pg_locks WHERE locktype = 'relation' \
               AND relation = $1 AND NOT granted \
               AND database = (SELECT oid FROM pg_catalog.pg_database \
                                WHERE datname = pg_catalog.current_database()))",
            self.comment
        );
        let row = self.client.query_one(&sql, &[&self.target.oid]).await;
        Ok(row.map_err(|e| self.error(e))?.get(0))
    }

    async fn commit(&self) -> Result<(), SweepError> {
        self.client
            .batch_execute("COMMIT")
            .await
            .map_err(|e| self.error(e))
    }

    async fn copy(
        &mut self,
        filter: &str,
        pace: &mut Pace,
        scratch: &mut Scratch,
        progress: &mut impl FnMut(Progress<'_>),
    ) -> Result<(), SweepError> {
        let columns: Vec<String> = self
            .columns
            .iter()
            .map(|c| quote::identifier(&c.name) + if c.as_text { "::text" } else { "" })
            .collect();
        let sql = format!(
            "{} COPY (SELECT ctid, {} FROM ONLY {}{filter}) TO STDOUT (FORMAT binary)",
            self.comment,
            columns.join(", "),
            self.name,
        );
        let stream = self
            .client
            .copy_out(&sql)
            .await
            .map_err(|e| self.error(e))?;
        pin_mut!(stream);
        let mut tuples = Tuples::default();
        let mut unreported = 0;
        while let Some(message) = stream.next().await {
            let message = message.map_err(|e| self.error(e))?;
            unreported += message.len() as u64;
            let fed = tuples.feed(&message, &mut |bytes, fields| {
                self.rows += 1;
                let place = fields.first().and_then(|f| place(&bytes[f.clone()?]));
                for (at, (column, field)) in self.columns.iter().zip(&fields[1..]).enumerate() {
                    let Some(field) = field else { continue };
                    let image = &bytes[field.clone()];
                    self.sweep
                        .matcher
                        .scan(image, &column.kind, scratch, &mut |tag| {
                            let hits = self.hits.entry((tag, at)).or_default();
                            hits.rows += 1;
                            if let Some(place) = place
                                && hits.keys.len() + hits.places.len() < KEYS
                            {
                                hits.places.push(place);
                            }
                        });
                }
            });
            fed.map_err(|_| SweepError::Malformed(self.target.table.clone()))?;
            // Not for each row: clocks and callbacks cost.
            if unreported >= 64 << 10 {
                self.bytes += unreported;
                progress(Progress::Bytes(&self.target.table, unreported));
                pace.passed(unreported).await;
                unreported = 0;
            }
        }
        self.bytes += unreported;
        progress(Progress::Bytes(&self.target.table, unreported));
        pace.passed(unreported).await;
        if tuples.ended() {
            Ok(())
        } else {
            Err(SweepError::Malformed(self.target.table.clone()))
        }
    }

    /// Turns the places found in this piece into keys.
    async fn keys(&mut self, scratch: &mut Scratch) -> Result<(), SweepError> {
        let parts: Vec<String> = self
            .target
            .key
            .iter()
            .map(|c| quote::identifier(c) + "::text")
            .collect();
        let select = format!(
            "{} SELECT {} FROM ONLY {}",
            self.comment,
            parts.join(", "),
            self.name
        );
        let mut hits = std::mem::take(&mut self.hits);
        for hit in hits.values_mut() {
            for (block, line) in std::mem::take(&mut hit.places) {
                let place = format!("({block},{line})");
                let mut key = None;
                if !parts.is_empty() {
                    let sql = format!("{select} WHERE ctid = '{place}'");
                    let row = self
                        .client
                        .query_opt(&sql, &[])
                        .await
                        .map_err(|e| self.error(e))?;
                    key = row.map(|row| {
                        let part = |(at, name): (usize, &String)| {
                            format!(
                                "{name}={}",
                                row.get::<_, Option<&str>>(at).unwrap_or("NULL")
                            )
                        };
                        self.target
                            .key
                            .iter()
                            .enumerate()
                            .map(part)
                            .collect::<Vec<_>>()
                            .join(", ")
                    });
                }
                let key = key.filter(|key| !self.sweep.matcher.finds_any(key, scratch));
                hit.keys
                    .push(key.unwrap_or_else(|| format!("ctid={place}")));
            }
        }
        self.hits = hits;
        Ok(())
    }

    fn error(&self, source: tokio_postgres::Error) -> SweepError {
        SweepError::Database {
            table: self.target.table.clone(),
            source,
        }
    }
}

/// Where a table's rows lie, and which transactions may still write some.
struct State {
    file: Option<u32>,
    pages: u32,
    oldest_running: String,
}

/// A heap of so many pages as conditions, each on `step` of them: the first holds what is there,
/// the last whatever is added. None for all at once, which is quicker.
fn pieces(pages: u32, step: u32) -> Vec<String> {
    let from = |at: u32| format!(" WHERE ctid >= '({at},0)'");
    let mut pieces = Vec::new();
    let mut at = 0;
    while pages.saturating_sub(at) > step {
        pieces.push(format!("{} AND ctid < '({},0)'", from(at), at + step));
        at += step;
    }
    pieces.push(if at == 0 { String::new() } else { from(at) });
    pieces
}

/// A ctid's image.
fn place(image: &[u8]) -> Option<Place> {
    let &[a, b, c, d, e, f] = image else {
        return None;
    };
    Some((u32::from_be_bytes([a, b, c, d]), u16::from_be_bytes([e, f])))
}

/// Bytes in a page, near enough for a pace whatever the server was built with.
const PAGE: u64 = 8192;

/// Sleeps so that no more than so many bytes a second pass, a tenth of a second's worth ahead
/// at most.
pub(in crate::system) struct Pace {
    rate: Option<NonZeroU64>,
    /// When the bytes that have passed may have passed.
    due: tokio::time::Instant,
}

impl Pace {
    pub(in crate::system) fn new(rate: Option<NonZeroU64>) -> Self {
        Self {
            rate,
            due: tokio::time::Instant::now(),
        }
    }

    /// So much at a time, so that the pauses between are short: one piece where there is no limit.
    fn pages_in_half_a_second(&self) -> u32 {
        let bytes = self.rate.map_or(PIECE, |rate| (rate.get() / 2).min(PIECE));
        u32::try_from(bytes / PAGE).unwrap_or(u32::MAX).max(1)
    }

    pub(in crate::system) async fn passed(&mut self, bytes: u64) {
        let Some(rate) = self.rate else { return };
        let now = tokio::time::Instant::now();
        // Time in which nothing was read is not saved up.
        self.due = self.due.max(now) + Duration::from_secs_f64(bytes as f64 / rate.get() as f64);
        if self.due > now + Duration::from_millis(100) {
            tokio::time::sleep_until(self.due).await;
        }
    }
}
