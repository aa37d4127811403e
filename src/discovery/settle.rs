//! No suggestion that `check` would refuse: each draft is read and checked as the real one will
//! be, and what does not hold becomes `decide`, with the reason.

use super::propose::{Maker, Proposal, Suggested};
use super::walk::{Overrides, is_a_table};
use super::{Observed, Request, render};
use crate::catalog::Catalog;
use crate::diagnostic::{Diagnostic, Severity};
use crate::lineage;
use crate::name::TableName;
use crate::policy::{Draft, clocks, read};
use std::collections::{BTreeMap, BTreeSet};

/// Why there can be no draft.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// There is no such table.
    #[error("the database has no table {0}; names are spelt as the catalog spells them")]
    NoTable(TableName),
    /// It is a view or the like.
    #[error("{0} is not a table whose rows could be erased")]
    NotATable(TableName),
    /// Its rows cannot be told apart.
    #[error(
        "{0} has no primary key and no unique index over NOT NULL columns, so no ticket could say which row it means: give it one"
    )]
    NoKey(TableName),
    /// The draft would not be a policy: what was asked for does not fit, or a mistake of ours.
    #[error("no policy can be made of that: {0}")]
    Unreadable(String),
}

/// A plan follows such keys round, which only a person can want.
const ROUND: &str =
    "one of a ring of tables that refer to each other: rows so reached may be other people's";

/// A new policy for somebody who has none.
///
/// # Errors
/// [`Unfit`].
pub fn fresh(catalog: &Catalog, request: &Request, observed: &Observed) -> Result<String, Unfit> {
    let root = &request.root;
    let Some(table) = catalog.tables.get(root) else {
        return Err(Unfit::NoTable(root.clone()));
    };
    if !is_a_table(catalog, root) {
        return Err(Unfit::NotATable(root.clone()));
    }
    if table.row_key().is_empty() {
        return Err(Unfit::NoKey(root.clone()));
    }
    let maker = Maker {
        catalog,
        request,
        observed,
        known: None,
        at_home: true,
    };
    let catalogs = BTreeMap::from([(catalog.system.clone(), catalog.clone())]);
    let (proposal, left) = settled(&maker, &catalogs, |p| render::file(p, &[]))?;
    Ok(render::file(&proposal, &left))
}

/// The proposal whose rules, as the last ones of the text, `check` has nothing against; and what
/// it says that no rule of these could mend.
pub(super) fn settled(
    maker: &Maker<'_>,
    catalogs: &BTreeMap<String, Catalog>,
    write: impl Fn(&Proposal) -> String,
) -> Result<(Proposal, Vec<String>), Unfit> {
    let mut overrides = Overrides::new();
    loop {
        let proposal = maker.propose(&overrides);
        let draft =
            read::draft("draft.toml", &write(&proposal), clocks::built_in()).map_err(unreadable)?;
        let found = lineage::check_draft(&draft, catalogs);
        let errors: Vec<&Diagnostic> = found
            .iter()
            .filter(|d| d.severity == Severity::Error)
            .collect();
        let before = overrides.len();
        for place in rings(&proposal) {
            overrides.entry(place).or_insert_with(|| ROUND.to_owned());
        }
        for error in &errors {
            refuse(&mut overrides, &proposal, &draft, error);
        }
        if overrides.len() == before {
            let left = errors.iter().map(|d| format!("{}: {}", d.code, d.message));
            return Ok((proposal, left.collect()));
        }
    }
}

fn unreadable(mistakes: Vec<Diagnostic>) -> Unfit {
    let said: Vec<String> = mistakes
        .iter()
        .map(|d| format!("{}: {}", d.code, d.message))
        .collect();
    Unfit::Unreadable(said.join("; "))
}

/// The rule that an error is about must be decided by a person.
fn refuse(overrides: &mut Overrides, proposal: &Proposal, draft: &Draft, error: &Diagnostic) {
    let why = |action: &str| format!("would be {action}, but {}: {}", error.code, error.message);
    let Some((_, at)) = &error.place else { return };
    let spans = rule_starts(draft);
    let ours = spans.len().saturating_sub(proposal.rules.len());
    let owner = spans.iter().rposition(|start| *start <= at.start);
    let Some(rule) = owner
        .and_then(|owner| owner.checked_sub(ours))
        .and_then(|owner| proposal.rules.get(owner))
    else {
        return;
    };
    if rule.action == Suggested::Decide {
        return;
    }
    for key in &rule.keys {
        let place = (rule.table.table.clone(), key.clone());
        overrides
            .entry(place)
            .or_insert_with(|| why(rule.action.word()));
    }
}

/// Where each rule of a file says its name, in the order of the file.
pub(super) fn rule_starts(draft: &Draft) -> Vec<usize> {
    let decided = draft.so_far().tables.iter().map(|r| r.span.start);
    let mut starts: Vec<usize> = decided
        .chain(draft.open().iter().map(|o| o.span.start))
        .collect();
    starts.sort_unstable();
    starts
}

/// The keys of rules that delete and by which a table leads back to itself.
fn rings(proposal: &Proposal) -> Vec<(TableName, String)> {
    let followed: Vec<_> = proposal
        .rules
        .iter()
        .filter(|r| r.action == Suggested::Delete)
        .flat_map(|r| {
            r.parents
                .iter()
                .map(move |(key, parent)| (&r.table.table, key, parent))
        })
        .collect();
    let leads = |from: &TableName, to: &TableName| {
        let mut seen = BTreeSet::from([from]);
        let mut queue = vec![from];
        while let Some(at) = queue.pop() {
            for (child, _, parent) in &followed {
                if *parent == at && seen.insert(child) {
                    queue.push(child);
                }
            }
        }
        seen.contains(to)
    };
    followed
        .iter()
        .filter(|(child, _, parent)| child != parent && leads(child, parent))
        .map(|(child, key, _)| ((*child).clone(), (*key).clone()))
        .collect()
}
