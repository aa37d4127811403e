//! The rows that a batch concerns, found and locked before anything changes.

use super::execute::{Deferred, Execution, NotErased, Seen, position};
use super::value::Raw;
use crate::lineage::Fate;
use crate::plan::{Capture, ChangeKind, Counts, KeptRows, Part, Rows, SystemPlan};
use chrono::{DateTime, Utc};
use deadpool_postgres::GenericClient;
use std::collections::{BTreeMap, HashMap};
use tokio_postgres::Row;

/// One captured row.
pub(super) struct CapturedRow {
    /// Position in the batch of the ticket that the row is counted for: the first that reached it.
    pub ticket: usize,
    /// In the order of the set's columns.
    pub values: Vec<Raw>,
    gone: bool,
    kept: bool,
    followed: bool,
    /// Rules that change it if it stays, as bits of their position in `Captured::rules`.
    rules: u64,
    retained: Option<Retention>,
    /// The subject's own row: its identifiers.
    texts: Vec<Option<String>>,
}

/// Why and until when one row stays.
struct Retention {
    because: String,
    until: Option<DateTime<Utc>>,
    key: Vec<String>,
}

/// All sets of a plan, filled.
pub(super) struct Captured {
    /// Positions of the tickets that take part.
    pub active: Vec<usize>,
    sets: Vec<Vec<CapturedRow>>,
    /// For each set, the rules of its captures, in order; a row's bits refer to these.
    rules: Vec<Vec<usize>>,
}

impl Captured {
    pub(super) fn new(plan: &SystemPlan) -> Self {
        let rules = plan.sets.iter().map(|set| {
            let mut rules: Vec<usize> = set.captures.iter().map(|c| c.rule).collect();
            rules.dedup();
            rules
        });
        Self {
            active: Vec::new(),
            sets: plan.sets.iter().map(|_| Vec::new()).collect(),
            rules: rules.collect(),
        }
    }

    /// Some of the rows of a set, in the order in which they were found.
    pub(super) fn rows(&self, rows: Rows) -> impl Iterator<Item = &CapturedRow> {
        let rule = match rows.part {
            Part::ChangedBy(rule) => self.bit(rows.set, rule),
            _ => 0,
        };
        self.sets[rows.set]
            .iter()
            .filter(move |row| match rows.part {
                Part::Followed => row.followed,
                Part::Gone => row.goes(),
                Part::Kept => row.kept,
                Part::Staying => !row.goes(),
                Part::ChangedBy(_) => !row.goes() && row.rules & rule != 0,
            })
    }

    /// How many of them, by ticket.
    pub(super) fn count(&self, rows: Rows) -> BTreeMap<usize, i64> {
        let mut counts = BTreeMap::new();
        for row in self.rows(rows) {
            *counts.entry(row.ticket).or_default() += 1;
        }
        counts
    }

    fn bit(&self, set: usize, rule: usize) -> u64 {
        self.rules[set]
            .iter()
            .position(|r| *r == rule)
            .map_or(0, |at| 1 << at.min(63))
    }
}

impl CapturedRow {
    /// What must be kept is kept, whatever else leads to it.
    fn goes(&self) -> bool {
        self.gone && !self.kept
    }
}

/// Fills every set, parents first.
pub(super) async fn all(
    tx: &impl GenericClient,
    execution: &Execution<'_>,
    active: &[usize],
    captured: &mut Captured,
) -> Result<(), NotErased> {
    captured.active = active.to_vec();
    for at in 0..execution.plan.sets.len() {
        let mut known: HashMap<Vec<Raw>, usize> = HashMap::new();
        for capture in &execution.plan.sets[at].captures {
            let mut from = 0;
            loop {
                let before = captured.sets[at].len();
                let lock = if execution.dry {
                    ""
                } else {
                    capture.lock.as_str()
                };
                let rows = execution
                    .query_from(tx, captured, &capture.statement, lock, from)
                    .await?;
                for row in rows {
                    claim(execution, captured, &mut known, at, capture, &row)?;
                }
                let found = captured.sets[at].len() - before;
                if !capture.repeats || found == 0 {
                    break;
                }
                from = before;
            }
        }
    }
    Ok(())
}

/// Takes one row into its set, or adds a further claim to a row that is there.
fn claim(
    execution: &Execution<'_>,
    captured: &mut Captured,
    known: &mut HashMap<Vec<Raw>, usize>,
    at: usize,
    capture: &Capture,
    row: &Row,
) -> Result<(), NotErased> {
    let set = &execution.plan.sets[at];
    let width = set.columns.len();
    let values: Vec<Raw> = (0..width).map(|i| row.get(i + 1)).collect();
    let retention = retention(execution, at, capture, row)?;
    let rule = captured.bit(at, capture.rule);
    let own = texts(execution, at, capture, row);
    let rows = &mut captured.sets[at];
    let place = *known
        .entry(values[..set.key_width].to_vec())
        .or_insert_with(|| {
            rows.push(CapturedRow {
                ticket: position(row.get(0)),
                values,
                gone: false,
                kept: false,
                followed: false,
                rules: 0,
                retained: None,
                texts: Vec::new(),
            });
            rows.len() - 1
        });
    let row = &mut rows[place];
    if capture.label == crate::lineage::SUBJECT {
        row.texts = own;
    }
    row.followed |= capture.fate.is_followed();
    match (capture.fate, retention) {
        (Fate::Delete, _) | (Fate::Retain, None) => row.gone = true,
        (_, Some(retention)) => {
            row.kept = true;
            row.rules |= rule;
            row.retained = Some(retention);
        }
        (Fate::Anonymize | Fate::Detach, None) => row.rules |= rule,
        (Fate::RetainWithParent | Fate::Exempt | Fate::Untouched, None) => {}
    }
    Ok(())
}

/// `None` for a row that nothing retains, or no longer.
fn retention(
    execution: &Execution<'_>,
    at: usize,
    capture: &Capture,
    row: &Row,
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
    let width = set.columns.len();
    let until: Raw = row.get(width + 1);
    let Some(until) = until.timestamp() else {
        return Err(NotErased::NoEnd {
            table: set.table.clone(),
            column: column.clone(),
        });
    };
    let key = texts(execution, at, capture, row)
        .into_iter()
        .map(Option::unwrap_or_default)
        .collect();
    Ok((until > execution.now).then(|| Retention {
        because: retained.because.clone(),
        until: Some(until),
        key,
    }))
}

/// The columns read as text stand last.
fn texts(
    execution: &Execution<'_>,
    at: usize,
    capture: &Capture,
    row: &Row,
) -> Vec<Option<String>> {
    let end = usize::from(capture.retained.as_ref().is_some_and(|r| r.until.is_some()));
    let first = 1 + execution.plan.sets[at].columns.len() + end;
    (first..first + capture.texts.len())
        .map(|i| row.get(i))
        .collect()
}

/// What the locked root rows say of their subjects' identifiers.
pub(super) fn seen(execution: &Execution<'_>, captured: &Captured) -> Vec<Seen> {
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
pub(super) fn kept(
    execution: &Execution<'_>,
    captured: &Captured,
    counts: &mut [Counts],
) -> Vec<Deferred> {
    let mut deferred: Vec<Deferred> = Vec::new();
    for (set, rows) in execution.plan.sets.iter().zip(&captured.sets) {
        let mut groups: BTreeMap<Group<'_>, Vec<&CapturedRow>> = BTreeMap::new();
        for row in rows.iter().filter(|r| r.kept) {
            if let Some(retention) = &row.retained {
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
pub(super) fn would_change(execution: &Execution<'_>, captured: &Captured, counts: &mut [Counts]) {
    for change in &execution.plan.changes {
        let Some(rows) = change.rows else { continue };
        for (ticket, n) in captured.count(rows) {
            let kinds: &mut BTreeMap<ChangeKind, i64> = counts[ticket]
                .changed
                .entry(change.table.to_string())
                .or_default();
            *kinds.entry(change.kind).or_default() += n;
        }
    }
}
