//! A policy that people have edited, after the database has changed. Their bytes stay as they
//! are: lines are put in, none is taken out or written anew.

use super::propose::{Maker, Rule};
use super::settle::{Unfit, settled};
use super::{Observed, Request, render};
use crate::catalog::Catalog;
use crate::diagnostic::Severity;
use crate::lineage;
use crate::name::QualifiedTable;
use crate::policy::{Draft, Link, Span};
use std::collections::BTreeMap;

/// The merged file and what is new in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Updated {
    /// The whole text.
    pub text: String,
    /// A line for each thing added or marked; none if nothing has changed.
    pub said: Vec<String>,
}

/// Adds what the policy does not decide yet, and marks what does not fit any more. Twice is the
/// same as once.
///
/// # Errors
/// [`Unfit`].
pub fn update(
    catalogs: &BTreeMap<String, Catalog>,
    request: &Request,
    observed: &Observed,
    draft: &Draft,
    text: &str,
) -> Result<Updated, Unfit> {
    let mut said = Vec::new();
    let mut merged = marked(catalogs, draft, text, &mut said)?;
    for catalog in catalogs.values() {
        let maker = Maker {
            catalog,
            request,
            observed,
            known: Some(draft),
            at_home: catalog.system == request.system,
        };
        let write = |p: &super::Proposal| appended(&merged, &p.rules);
        let (proposal, _) = settled(&maker, catalogs, write)?;
        said.extend(proposal.rules.iter().map(|rule| {
            let via = rule
                .via
                .as_ref()
                .map_or(String::new(), |via| format!(", via {via}"));
            format!("new: {}{via}: {}", rule.table, rule.action.word())
        }));
        merged = appended(&merged, &proposal.rules);
    }
    Ok(Updated { text: merged, said })
}

/// The text with more rules at its end, in its own line ends.
fn appended(text: &str, rules: &[Rule]) -> String {
    if rules.is_empty() {
        return text.to_owned();
    }
    let mut more = String::new();
    if !text.ends_with('\n') {
        more.push('\n');
    }
    for rule in rules {
        more.push('\n');
        render::rule(&mut more, rule, "new: ");
    }
    format!("{text}{}", in_line_ends_of(text, &more))
}

fn in_line_ends_of(text: &str, more: &str) -> String {
    if text.contains("\r\n") {
        more.replace('\n', "\r\n")
    } else {
        more.to_owned()
    }
}

/// The text with a comment above each rule that has lost what it speaks of.
fn marked(
    catalogs: &BTreeMap<String, Catalog>,
    draft: &Draft,
    text: &str,
    said: &mut Vec<String>,
) -> Result<String, Unfit> {
    let headers = headers(text)?;
    let mut marks: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for (at, mark) in gone(catalogs, draft)
        .into_iter()
        .chain(changed(catalogs, draft))
    {
        let Some(header) = headers.iter().rfind(|header| **header <= at) else {
            continue;
        };
        let line = format!("# {}", render::one_line(&mark));
        if above(text, *header).any(|known| known.trim() == line) {
            continue;
        }
        let lines = marks.entry(*header).or_default();
        if !lines.contains(&line) {
            said.push(mark);
            lines.push(line);
        }
    }
    let mut merged = text.to_owned();
    for (header, lines) in marks.iter().rev() {
        let lines = format!("{}\n", lines.join("\n"));
        merged.insert_str(*header, &in_line_ends_of(text, &lines));
    }
    Ok(merged)
}

/// Where the lines with `[[table]]` begin.
fn headers(text: &str) -> Result<Vec<usize>, Unfit> {
    let bad = |why: String| Unfit::Unreadable(why);
    let document = toml_edit::Document::parse(text).map_err(|e| bad(e.message().to_owned()))?;
    let Some(tables) = document
        .get("table")
        .and_then(toml_edit::Item::as_array_of_tables)
    else {
        return Err(bad("its tables do not stand as [[table]]".into()));
    };
    let starts = tables.iter().filter_map(toml_edit::Table::span);
    Ok(starts
        .map(|span| text[..span.start].rfind('\n').map_or(0, |end| end + 1))
        .collect())
}

/// The comments and empty lines right above a place.
fn above(text: &str, at: usize) -> impl Iterator<Item = &str> {
    let lines = text[..at].lines().rev();
    lines.take_while(|line| line.trim().is_empty() || line.trim_start().starts_with('#'))
}

/// Rules whose table or key is not there any more.
fn gone(catalogs: &BTreeMap<String, Catalog>, draft: &Draft) -> Vec<(usize, String)> {
    type About<'a> = (
        &'a QualifiedTable,
        Option<&'a (String, Span)>,
        Option<&'a Link>,
        &'a Span,
    );
    let decided = draft.so_far().tables.iter();
    let decided =
        decided.map(|r| -> About<'_> { (&r.table, r.via.as_ref(), r.link.as_ref(), &r.span) });
    let open = draft.open().iter();
    let open = open.map(|o| -> About<'_> { (&o.table, o.via.as_ref(), o.link.as_ref(), &o.span) });
    let mut gone = Vec::new();
    for (table, via, link, span) in decided.chain(open) {
        let Some(catalog) = catalogs.get(&table.system) else {
            continue;
        };
        let keys = || {
            catalog
                .foreign_keys
                .iter()
                .filter(|k| k.child.0 == table.table)
        };
        if !catalog.tables.contains_key(&table.table) && keys().next().is_none() {
            gone.push((span.start, format!("gone: {table} does not exist any more")));
        } else if let (Some((via, _)), None) = (via, link)
            && !keys().any(|k| k.name == *via)
        {
            gone.push((
                span.start,
                format!("gone: {table} has no foreign key {via} any more"),
            ));
        }
    }
    gone
}

/// Rules against which `check` has something else.
fn changed(catalogs: &BTreeMap<String, Catalog>, draft: &Draft) -> Vec<(usize, String)> {
    // Undecided, or gone: told in other ways.
    const TOLD: &[&str] = &["E0201", "E0202", "E0204"];
    let first = super::settle::rule_starts(draft).first().copied();
    let found = lineage::check_draft(draft, catalogs);
    let errors = found.iter().filter(|d| d.severity == Severity::Error);
    errors
        .filter(|d| !TOLD.contains(&d.code))
        .filter_map(|d| {
            let (_, at) = d.place.as_ref()?;
            let of_a_rule = first.is_some_and(|first| first <= at.start);
            of_a_rule.then(|| (at.start, format!("changed: {}: {}", d.code, d.message)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_found_whatever_stands_around_them() {
        let text = "a = \"\"\"\n[[table]]\n\"\"\"\n# [[table]]\n  [[table]] # x\nname = 1\n\n[[ table ]]\r\nname = 2\n[sweep]\n";
        let found = headers(text).unwrap();
        let lines: Vec<&str> = found
            .iter()
            .map(|at| text[*at..].lines().next().unwrap())
            .collect();
        assert_eq!(lines, ["  [[table]] # x", "[[ table ]]"]);
        assert_eq!(above("x = 1\n\n# a\n# b\n", 13).count(), 3);
        assert!(headers("table = [{name = 1}]\n").is_err());
    }
}
