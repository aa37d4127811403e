//! The rows that a batch concerns, found and locked before anything changes.

use super::execute::{BeforeChange, Deferred, Execution, NotErased, Seen, position};
use super::value::Raw;
use crate::lineage::Fate;
use crate::plan::{Capture, ChangeKind, Counts, KeptRows, Part, Rows, SystemPlan};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use deadpool_postgres::GenericClient;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use tokio_postgres::Row;

/// One captured row.
pub(in crate::system) struct CapturedRow {
    /// Position in the batch of the ticket that the row is counted for: the first that reached it.
    pub ticket: usize,
    /// In the order of the set's columns.
    pub values: Vec<Raw>,
    gone: bool,
    kept: bool,
    followed: bool,
    /// Claims that change it, as bits of their position in `Captured::claims`.
    claims: u64,
    retained: Option<Retention>,
    /// The subject's own row: its identifiers.
    texts: Vec<Option<String>>,
    /// The round of captures in which a claim last changed what becomes of the row.
    round: usize,
}

/// Why and until when one row stays.
struct Retention {
    because: String,
    until: Option<DateTime<Utc>>,
    key: Vec<String>,
}

/// All sets of a plan, filled.
pub(in crate::system) struct Captured {
    /// Positions of the tickets that take part.
    pub active: Vec<usize>,
    sets: Vec<Vec<CapturedRow>>,
    /// For each set, the claims of its captures, in order; a row's bits refer to these.
    claims: Vec<Vec<usize>>,
}

impl Captured {
    pub(in crate::system) fn new(plan: &SystemPlan) -> Self {
        let claims = plan.sets.iter().map(|set| {
            let claims: BTreeSet<usize> = set.captures.iter().map(|c| c.claim).collect();
            claims.into_iter().collect()
        });
        Self {
            active: Vec::new(),
            sets: plan.sets.iter().map(|_| Vec::new()).collect(),
            claims: claims.collect(),
        }
    }

    /// Those of [`Captured::rows`] that changed in a round or later.
    pub(in crate::system) fn rows_since(
        &self,
        rows: Rows,
        round: usize,
    ) -> impl Iterator<Item = &CapturedRow> {
        let all = rows.part == Part::Leaving;
        self.rows(rows).filter(move |row| all || row.round >= round)
    }

    /// Some of the rows of a set, in the order in which they were found.
    pub(in crate::system) fn rows(&self, rows: Rows) -> impl Iterator<Item = &CapturedRow> {
        let claim = match rows.part {
            Part::ChangedBy(claim) | Part::LinkedBy(claim) => self.bit(rows.set, claim),
            _ => 0,
        };
        self.sets[rows.set]
            .iter()
            .filter(move |row| match rows.part {
                Part::Followed => row.followed,
                Part::Gone | Part::Leaving => row.goes(),
                Part::Kept => row.kept,
                Part::Staying => !row.goes(),
                Part::ChangedBy(_) => !row.goes() && row.claims & claim != 0,
                Part::LinkedBy(_) => row.claims & claim != 0,
            })
    }

    /// How many of them, by ticket.
    pub(in crate::system) fn count(&self, rows: Rows) -> BTreeMap<usize, i64> {
        let mut counts = BTreeMap::new();
        for row in self.rows(rows) {
            *counts.entry(row.ticket).or_default() += 1;
        }
        counts
    }

    /// How many of them a report names, by ticket: a row that goes is counted as gone, not also as
    /// having lost its link before.
    pub(in crate::system) fn reported(&self, rows: Rows) -> BTreeMap<usize, i64> {
        let part = match rows.part {
            Part::LinkedBy(claim) => Part::ChangedBy(claim),
            part => part,
        };
        self.count(Rows { part, ..rows })
    }

    /// Learns where rows known by their place are since a change moved them.
    pub(super) fn moved(&mut self, set: usize, moves: Vec<(Vec<Raw>, Vec<Raw>)>) {
        let mut places: HashMap<Vec<Raw>, Vec<Raw>> = moves.into_iter().collect();
        if places.is_empty() {
            return;
        }
        let width = places.keys().next().map_or(0, Vec::len);
        for row in &mut self.sets[set] {
            if let Some(now) = places.remove(&row.values[..width]) {
                row.values.splice(..width, now);
            }
        }
    }

    fn bit(&self, set: usize, claim: usize) -> u64 {
        self.claims[set]
            .iter()
            .position(|c| *c == claim)
            .map_or(0, |at| 1 << at.min(63))
    }
}

impl CapturedRow {
    /// What must be kept is kept, whatever else leads to it.
    fn goes(&self) -> bool {
        self.gone && !self.kept
    }

    /// Of several dates the last counts; a date of its own counts before that of a parent.
    fn retain(&mut self, retention: Retention) {
        let later = self
            .retained
            .as_ref()
            .is_none_or(|known| retention.until > known.until);
        if later {
            self.retained = Some(retention);
        }
    }
}

/// One row that a capture has found.
pub(in crate::system) struct Found {
    /// Position of the ticket.
    pub ticket: usize,
    /// In the order of the set's columns.
    pub values: Vec<Raw>,
    /// Of a row retained until a date: which, if it has one.
    pub until: Option<DateTime<Utc>>,
    /// In the order of [`Capture::texts`].
    pub texts: Vec<Option<String>>,
}

/// Who runs the captures.
#[async_trait]
pub(in crate::system) trait Finds: Send {
    /// Runs one of the set at this position, with a lock clause, for rows that changed in this round or later.
    async fn find(
        &mut self,
        captured: &Captured,
        at: usize,
        capture: &Capture,
        lock: &str,
        since: usize,
    ) -> Result<Vec<Found>, NotErased>;
}

/// PostgreSQL.
struct ByClient<'a, C> {
    client: &'a C,
    execution: &'a Execution<'a>,
}

#[async_trait]
impl<C: GenericClient> Finds for ByClient<'_, C> {
    async fn find(
        &mut self,
        captured: &Captured,
        at: usize,
        capture: &Capture,
        lock: &str,
        since: usize,
    ) -> Result<Vec<Found>, NotErased> {
        let width = self.execution.plan.sets[at].columns.len();
        let found = self
            .execution
            .query_since(self.client, captured, &capture.statement, lock, since)
            .await?;
        Ok(found.iter().map(|row| read(row, width, capture)).collect())
    }
}

/// The end, and behind it the columns read as text, stand last.
fn read(row: &Row, width: usize, capture: &Capture) -> Found {
    let dated = capture.retained.as_ref().is_some_and(|r| r.until.is_some());
    let until = dated.then(|| row.get::<_, Raw>(width + 1));
    let first = 1 + width + usize::from(dated);
    Found {
        ticket: position(row.get(0)),
        values: (0..width).map(|i| row.get(i + 1)).collect(),
        until: until.and_then(|until| until.timestamp()),
        texts: (first..first + capture.texts.len())
            .map(|i| row.get(i))
            .collect(),
    }
}

/// See [`all_by`].
pub(super) async fn all(
    tx: &impl GenericClient,
    execution: &Execution<'_>,
    active: &[usize],
    captured: &mut Captured,
    only: Option<&[usize]>,
) -> Result<(), NotErased> {
    let mut by = ByClient {
        client: tx,
        execution,
    };
    all_by(&mut by, execution, active, captured, only).await
}

/// Fills every set, parents first. Where a table refers to itself, or tables to each other, the
/// captures by that are repeated with the rows that changed in the round before until none does: a
/// row found late, or found again by a way that makes it the subject's own, brings its own
/// children. `only` names the sets that are wanted, if not all are.
pub(in crate::system) async fn all_by(
    by: &mut impl Finds,
    execution: &Execution<'_>,
    active: &[usize],
    captured: &mut Captured,
    only: Option<&[usize]>,
) -> Result<(), NotErased> {
    captured.active = active.to_vec();
    let sets = &execution.plan.sets;
    let mut known: Vec<HashMap<Vec<Raw>, usize>> = sets.iter().map(|_| HashMap::new()).collect();
    let wanted = |set: &usize| only.is_none_or(|only| only.contains(set));
    for mut group in execution.plan.groups() {
        group.retain(wanted);
        let followed = |at: usize, repeats: bool| -> Vec<&Capture> {
            let of_set = sets[at].captures.iter();
            of_set
                .filter(|c| c.fate.is_followed() && c.repeats == repeats)
                .collect()
        };
        let mut round = 0;
        let mut changed = false;
        for &at in &group {
            let captures = followed(at, false);
            let known = &mut known[at];
            changed |= one_round(by, execution, captured, known, at, &captures, round).await?;
        }
        while changed {
            round += 1;
            changed = false;
            for &at in &group {
                let captures = followed(at, true);
                let known = &mut known[at];
                changed |= one_round(by, execution, captured, known, at, &captures, round).await?;
            }
        }
    }
    // Rows that only lose a link lead nowhere, so what they hang on may come later in the order.
    for (at, set) in sets.iter().enumerate().filter(|(at, _)| wanted(at)) {
        let detached: Vec<&Capture> = set
            .captures
            .iter()
            .filter(|c| !c.fate.is_followed())
            .collect();
        one_round(by, execution, captured, &mut known[at], at, &detached, 0).await?;
    }
    Ok(())
}

/// Of all sets the subjects' own rows alone.
pub(super) async fn subjects(
    tx: &impl GenericClient,
    execution: &Execution<'_>,
    active: &[usize],
    captured: &mut Captured,
) -> Result<(), NotErased> {
    let mut by = ByClient {
        client: tx,
        execution,
    };
    captured.active = active.to_vec();
    for (at, set) in execution.plan.sets.iter().enumerate() {
        let own = set
            .captures
            .iter()
            .filter(|c| c.label == crate::lineage::SUBJECT);
        let own: Vec<&Capture> = own.collect();
        one_round(
            &mut by,
            execution,
            captured,
            &mut HashMap::new(),
            at,
            &own,
            0,
        )
        .await?;
    }
    Ok(())
}

/// Whether it changed what becomes of any row.
async fn one_round(
    by: &mut impl Finds,
    execution: &Execution<'_>,
    captured: &mut Captured,
    known: &mut HashMap<Vec<Raw>, usize>,
    at: usize,
    captures: &[&Capture],
    round: usize,
) -> Result<bool, NotErased> {
    let mut changed = false;
    for capture in captures {
        if execution.dry && capture.only_locks {
            continue;
        }
        let lock = if execution.dry {
            ""
        } else {
            capture.lock.as_str()
        };
        // Of the sets above all rows are meant, of this ring's those since the round before.
        let since = round.saturating_sub(1);
        let found = by.find(captured, at, capture, lock, since).await?;
        for row in found.into_iter().filter(|_| !capture.only_locks) {
            changed |= claim(execution, captured, known, at, capture, row, round)?;
        }
    }
    Ok(changed)
}

/// Takes one row into its set, or adds a further claim to a row that is there; whether that
/// changed what becomes of it.
fn claim(
    execution: &Execution<'_>,
    captured: &mut Captured,
    known: &mut HashMap<Vec<Raw>, usize>,
    at: usize,
    capture: &Capture,
    found: Found,
    round: usize,
) -> Result<bool, NotErased> {
    let set = &execution.plan.sets[at];
    let retention = retention(execution, at, capture, &found)?;
    let claim = captured.bit(at, capture.claim);
    let Found {
        ticket,
        values,
        texts,
        ..
    } = found;
    let rows = &mut captured.sets[at];
    let place = *known
        .entry(values[..set.key_width].to_vec())
        .or_insert_with(|| {
            rows.push(CapturedRow {
                ticket,
                values,
                gone: false,
                kept: false,
                followed: false,
                claims: 0,
                retained: None,
                texts: Vec::new(),
                round,
            });
            rows.len() - 1
        });
    let row = &mut rows[place];
    if capture.label == crate::lineage::SUBJECT {
        row.texts = texts;
    }
    let before = (row.followed, row.gone, row.kept);
    row.followed |= capture.fate.is_followed();
    match (capture.fate, retention) {
        (Fate::Delete, _) | (Fate::Retain, None) => row.gone = true,
        (_, Some(retention)) => {
            row.kept = true;
            row.claims |= claim;
            row.retain(retention);
        }
        (Fate::Anonymize | Fate::Detach, None) => row.claims |= claim,
        (Fate::RetainWithParent | Fate::Exempt | Fate::Untouched, None) => {}
    }
    let changed = before != (row.followed, row.gone, row.kept);
    if changed {
        row.round = round;
    }
    Ok(changed)
}

/// What a change that moves rows returns: old places, then new ones.
pub(super) fn places(row: &Row) -> (Vec<Raw>, Vec<Raw>) {
    let half = row.len() / 2;
    let part = |from: usize| (from..from + half).map(|i| row.get(i)).collect();
    (part(0), part(half))
}

/// `None` for a row that nothing retains, or no longer.
fn retention(
    execution: &Execution<'_>,
    at: usize,
    capture: &Capture,
    found: &Found,
) -> Result<Option<Retention>, NotErased> {
    let Some(retained) = &capture.retained else {
        return Ok(None);
    };
    if capture.fate == Fate::Delete {
        return Ok(None);
    }
    let Some((column, _)) = &retained.until else {
        return Ok(Some(Retention {
            because: retained.because.clone(),
            until: None,
            key: Vec::new(),
        }));
    };
    let set = &execution.plan.sets[at];
    let Some(until) = found.until else {
        return Err(NotErased::NoEnd {
            table: set.table.clone(),
            column: column.clone(),
        });
    };
    let texts = &found.texts;
    let key = texts[texts.len() - set.key_width..]
        .iter()
        .map(|part| part.clone().unwrap_or_default())
        .collect();
    Ok((until > execution.now).then(|| Retention {
        because: retained.because.clone(),
        until: Some(until),
        key,
    }))
}

/// What the locked root rows say of their subjects' identifiers.
pub(in crate::system) fn seen(execution: &Execution<'_>, captured: &Captured) -> Vec<Seen> {
    let root = execution.plan.sets.iter().position(|set| {
        set.captures
            .iter()
            .any(|c| c.parent.is_none() && c.label == crate::lineage::SUBJECT)
    });
    let Some(root) = root else { return Vec::new() };
    let names = execution.plan.sets[root]
        .captures
        .iter()
        .find(|c| !c.texts.is_empty());
    let names = names.map_or(&[][..], |c| &c.texts);
    captured.sets[root]
        .iter()
        .filter(|row| !row.texts.is_empty())
        .map(|row| Seen {
            ticket: row.ticket,
            values: names
                .iter()
                .zip(&row.texts)
                .filter_map(|(name, text)| Some((name.clone(), text.clone()?)))
                .collect(),
        })
        .collect()
}

/// Rows that one ticket leaves until one date for one reason.
type Group<'a> = (usize, Option<DateTime<Utc>>, &'a str);

/// Adds what stays to the counts, and gives the keys to come back for.
pub(in crate::system) fn kept(
    execution: &Execution<'_>,
    captured: &Captured,
    counts: &mut [Counts],
    before: &dyn BeforeChange,
) -> Vec<Deferred> {
    let mut deferred: Vec<Deferred> = Vec::new();
    // By ticket: whether it keeps a dated row of which no earlier step knows. Rows without a date
    // hang off dated ones and have no keys, so they count with these or not at all.
    let mut news: BTreeMap<usize, bool> = BTreeMap::new();
    for (set, rows) in execution.plan.sets.iter().zip(&captured.sets) {
        let mut groups: BTreeMap<Group<'_>, Vec<&CapturedRow>> = BTreeMap::new();
        for row in rows.iter().filter(|r| r.kept) {
            if let Some(retention) = &row.retained {
                if retention.until.is_some() {
                    let new = !before.put_off(row.ticket, &set.table, &retention.key);
                    *news.entry(row.ticket).or_default() |= new;
                    if !new {
                        continue;
                    }
                } else if news.get(&row.ticket) == Some(&false) {
                    continue;
                }
                groups
                    .entry((row.ticket, retention.until, &retention.because))
                    .or_default()
                    .push(row);
            }
        }
        for ((ticket, until, because), rows) in groups {
            counts[ticket].kept.push(KeptRows {
                table: set.table.to_string(),
                because: because.to_owned(),
                until,
                rows: i64::try_from(rows.len()).expect("rows of one batch fit i64"),
            });
            if let Some(until) = until {
                let keys = rows
                    .iter()
                    .filter_map(|r| Some(r.retained.as_ref()?.key.clone()))
                    .collect();
                deferred.push(Deferred {
                    ticket,
                    table: set.table.clone(),
                    until,
                    because: because.to_owned(),
                    keys,
                });
            }
        }
    }
    deferred
}

/// How the captured rows would be changed, for a dry run: by table and kind.
pub(in crate::system) fn would_change(
    execution: &Execution<'_>,
    captured: &Captured,
    counts: &mut [Counts],
) {
    for change in &execution.plan.changes {
        for (table, rows) in change.captured() {
            for (ticket, n) in captured.reported(rows) {
                let kinds: &mut BTreeMap<ChangeKind, i64> =
                    counts[ticket].changed.entry(table.to_string()).or_default();
                *kinds.entry(change.kind).or_default() += n;
            }
        }
    }
}
