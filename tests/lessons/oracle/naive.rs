//! What an erasure must leave, by definition.
//!
//! A row is claimed by a key if the key refers to a row that belongs to the subject. Claims other
//! than to detach or to exempt make the row the subject's too. A shared row is claimed if it has
//! owners and all of them are the subject's. A row is kept if a claim keeps it (its day is not
//! over, or it hangs on a kept row); otherwise it goes if a claim takes it; rows that stay are
//! changed by every claim that changes rows that stay. Under a scope all that is said of what goes,
//! is kept or changes is said of its tables only; whose a row is does not depend on it, but that
//! what is shared is nobody's as long as its owners are outside and do not leave.

use super::model::{Act, Model, Rule};
use erasured::plan::ChangeKind;
use std::collections::{BTreeMap, BTreeSet};

/// What was done.
#[derive(Default)]
pub(super) struct Done {
    pub(super) counts: BTreeMap<(String, ChangeKind), i64>,
    pub(super) kept: i64,
}

/// Table and position.
type At = (usize, usize);

/// Erases these rows of table 0.
pub(super) fn erase(model: &mut Model, subjects: &[usize]) -> Done {
    let theirs = spread(model, |row, claims| {
        row.0 == 0 && subjects.contains(&row.1)
            || claims
                .iter()
                .any(|(act, _)| !matches!(act, Act::Detach | Act::Exempt))
    });
    let claims = |row: At| claims_on(model, &theirs, row);
    let kept = spread(model, |row, from| {
        let by_day = !model.tables[row.0].rows[row.1].old;
        model.covers(row.0)
            && (claims(row).iter().any(|(act, _)| *act == Act::Retain) && by_day
                || from.iter().any(|(act, _)| *act == Act::WithParent))
    });
    let goes = spread(model, |row, from| {
        let old = model.tables[row.0].rows[row.1].old;
        let root = row.0 == 0 && subjects.contains(&row.1) && model.root.act == Act::Delete;
        let taken = claims(row)
            .iter()
            .any(|(act, _)| *act == Act::Delete || *act == Act::Retain && old);
        model.covers(row.0)
            && !kept.contains(&row)
            && (root || taken || from.iter().any(|(act, _)| *act == Act::WithParent))
    });
    let mut done = Done {
        kept: i64::try_from(kept.len()).unwrap(),
        ..Done::default()
    };
    let mut after = model.clone();
    for at in all(model) {
        if !model.covers(at.0) {
            continue;
        }
        let row = &mut after.tables[at.0].rows[at.1];
        if goes.contains(&at) {
            row.gone = true;
            count(&mut done, model, at.0, ChangeKind::Deleted);
            continue;
        }
        for (kind, rule) in changes(model, at, subjects, &claims(at), &kept) {
            if rule.nulls.is_empty() && !rule.redact {
                continue;
            }
            count(&mut done, model, at.0, kind);
            let (cut, nulled): (Vec<_>, Vec<_>) = rule
                .nulls
                .iter()
                .cloned()
                .partition(|c| kind == ChangeKind::Detached && model.is_list(at.0, c));
            row.nulled.extend(nulled);
            row.cut.extend(cut);
            row.redacted |= rule.redact;
        }
    }
    *model = after;
    done
}

/// As [`Model::read`] reads them.
pub(super) fn rows(model: &Model) -> Vec<Vec<String>> {
    let mut tables = vec![Vec::new(); model.tables.len()];
    for (table, row) in all(model) {
        let shown = model.shown(table, row).into_iter();
        let values: Vec<_> = shown.map(|(_, value)| value).collect();
        tables[table].push(format!("{values:?}"));
    }
    tables.iter_mut().for_each(|t| t.sort());
    tables
}

/// The rows that are there.
fn all(model: &Model) -> Vec<At> {
    let tables = model.tables.iter().enumerate();
    let rows = tables.flat_map(|(t, table)| (0..table.rows.len()).map(move |r| (t, r)));
    rows.filter(|&(t, r)| !model.tables[t].rows[r].gone)
        .collect()
}

/// The rows for which `holds`, which is told by which keys a row refers to rows that hold
/// already; repeated until nothing changes.
fn spread(model: &Model, holds: impl Fn(At, &[(Act, &Rule)]) -> bool) -> BTreeSet<At> {
    let mut found = BTreeSet::new();
    loop {
        let before = found.len();
        for row in all(model) {
            if holds(row, &claims_on(model, &found, row)) {
                found.insert(row);
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
    let mut claims = Vec::new();
    for (n, key) in table.keys.iter().enumerate() {
        let to = model.target(row.0, row.1, n);
        if to.is_some_and(|to| set.contains(&(key.parent, to))) {
            claims.push((key.rule.act, &key.rule));
        }
    }
    if let Some((owners, rule)) = table.shared.as_ref().filter(|(o, _)| model.covers(*o)) {
        let mut of_it = all(model);
        of_it.retain(|owner| owner.0 == *owners && owns(model, *owner, row));
        if !of_it.is_empty() && of_it.iter().all(|owner| set.contains(owner)) {
            claims.push((rule.act, rule));
        }
    }
    claims
}

fn owns(model: &Model, owner: At, shared: At) -> bool {
    let keys = model.tables[owner.0].keys.iter().enumerate();
    let mut keys = keys.filter(|(_, key)| key.parent == shared.0);
    keys.any(|(n, _)| model.target(owner.0, owner.1, n) == Some(shared.1))
}

/// What changes a row that stays, each with its count.
fn changes<'m>(
    model: &'m Model,
    row: At,
    subjects: &[usize],
    claims: &[(Act, &'m Rule)],
    kept: &BTreeSet<At>,
) -> Vec<(ChangeKind, &'m Rule)> {
    let mut changes = Vec::new();
    if row.0 == 0 && subjects.contains(&row.1) && model.root.act == Act::Anonymize {
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

fn count(done: &mut Done, model: &Model, table: usize, kind: ChangeKind) {
    *done.counts.entry((model.told(table), kind)).or_default() += 1;
}
