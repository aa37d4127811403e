//! What an erasure must leave, by definition.
//!
//! A row is claimed by a key if the key refers to a row that belongs to the subject. Claims other
//! than to detach or to exempt make the row the subject's too. A row is kept if a claim keeps it
//! (its day is not over, or it hangs on a kept row); otherwise it goes if a claim takes it; rows
//! that stay are changed by every claim that changes rows that stay.

use super::model::{Act, Model, Ref, Rule};
use erasured::plan::ChangeKind;
use std::collections::{BTreeMap, BTreeSet};

/// The end of the erasure.
pub(super) struct Expected {
    /// As [`Model::read`] reads them.
    pub(super) rows: Vec<Vec<String>>,
    pub(super) counts: BTreeMap<(String, ChangeKind), i64>,
    pub(super) kept: i64,
}

/// Table and position.
type At = (usize, usize);

pub(super) fn erase(model: &Model) -> Expected {
    let theirs = spread(model, |row, claims| {
        row.0 == 0 && model.subjects.contains(&row.1)
            || claims
                .iter()
                .any(|(act, _)| !matches!(act, Act::Detach | Act::Exempt))
    });
    let claims = |row: At| claims_on(model, &theirs, row);
    let kept = spread(model, |row, from| {
        let by_day = !model.tables[row.0].rows[row.1].old;
        claims(row).iter().any(|(act, _)| *act == Act::Retain) && by_day
            || from.iter().any(|(act, _)| *act == Act::WithParent)
    });
    let goes = spread(model, |row, from| {
        let old = model.tables[row.0].rows[row.1].old;
        let root = row.0 == 0 && model.subjects.contains(&row.1) && model.root.act == Act::Delete;
        let taken = claims(row)
            .iter()
            .any(|(act, _)| *act == Act::Delete || *act == Act::Retain && old);
        !kept.contains(&row)
            && (root || taken || from.iter().any(|(act, _)| *act == Act::WithParent))
    });
    let mut expected = Expected {
        rows: Vec::new(),
        counts: BTreeMap::new(),
        kept: i64::try_from(kept.len()).unwrap(),
    };
    for table in 0..model.tables.len() {
        let mut left = Vec::new();
        for row in 0..model.tables[table].rows.len() {
            let at = (table, row);
            if goes.contains(&at) {
                count(&mut expected, model, table, ChangeKind::Deleted);
                continue;
            }
            let mut shown = model.shown(table, row);
            for (kind, rule) in changes(model, at, &claims(at), &kept) {
                if rule.nulls.is_empty() && !rule.redact {
                    continue;
                }
                count(&mut expected, model, table, kind);
                change(&mut shown, rule);
            }
            let values: Vec<_> = shown.into_iter().map(|(_, value)| value).collect();
            left.push(format!("{values:?}"));
        }
        left.sort();
        expected.rows.push(left);
    }
    expected
}

/// The rows for which `holds`, which is told by which keys a row refers to rows that hold
/// already; repeated until nothing changes.
fn spread(model: &Model, holds: impl Fn(At, &[(Act, &Rule)]) -> bool) -> BTreeSet<At> {
    let mut found = BTreeSet::new();
    loop {
        let before = found.len();
        for table in 0..model.tables.len() {
            for row in 0..model.tables[table].rows.len() {
                if holds((table, row), &claims_on(model, &found, (table, row))) {
                    found.insert((table, row));
                }
            }
        }
        if found.len() == before {
            return found;
        }
    }
}

/// By which keys a row refers to rows of a set, and what is done to rows reached so.
fn claims_on<'m>(model: &'m Model, set: &BTreeSet<At>, row: At) -> Vec<(Act, &'m Rule)> {
    let table = &model.tables[row.0];
    let refs = table.keys.iter().zip(&table.rows[row.1].refs);
    refs.filter(
        |(key, reference)| matches!(reference, Ref::To(to) if set.contains(&(key.parent, *to))),
    )
    .map(|(key, _)| (key.rule.act, &key.rule))
    .collect()
}

/// What changes a row that stays, each with its count.
fn changes<'m>(
    model: &'m Model,
    row: At,
    claims: &[(Act, &'m Rule)],
    kept: &BTreeSet<At>,
) -> Vec<(ChangeKind, &'m Rule)> {
    let mut changes = Vec::new();
    if row.0 == 0 && model.subjects.contains(&row.1) && model.root.act == Act::Anonymize {
        changes.push((ChangeKind::Anonymized, &model.root));
    }
    for (act, rule) in claims {
        match act {
            Act::Anonymize => changes.push((ChangeKind::Anonymized, rule)),
            Act::Detach => changes.push((ChangeKind::Detached, rule)),
            // A rule that keeps cleans only what it keeps itself.
            Act::Retain if !model.tables[row.0].rows[row.1].old => {
                changes.push((ChangeKind::Cleaned, rule));
            }
            Act::WithParent if kept.contains(&row) => changes.push((ChangeKind::Cleaned, rule)),
            Act::Retain | Act::WithParent | Act::Delete | Act::Exempt => {}
        }
    }
    // One rule changes a row once, whichever of its keys lead there; links are cut one by one.
    let mut done = BTreeSet::new();
    changes.retain(|(kind, rule)| *kind == ChangeKind::Detached || done.insert(rule.id));
    changes
}

fn change(shown: &mut [(String, Option<String>)], rule: &Rule) {
    for (column, value) in shown {
        if rule.nulls.contains(column) {
            *value = None;
        }
        if rule.redact && column == "note" && value.is_some() {
            *value = Some("[erased]".into());
        }
    }
}

fn count(expected: &mut Expected, model: &Model, table: usize, kind: ChangeKind) {
    let name = format!("{}.t{table}", model.schema);
    *expected.counts.entry((name, kind)).or_default() += 1;
}
