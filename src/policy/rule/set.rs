//! What becomes of columns: `set`.

use super::{CONTRADICTION, column_key};
use crate::policy::read::{CODES, UNKNOWN_WORD};
use crate::policy::{HashAs, Span, Strategy, TruncateTo};
use crate::reading::{Entry, Table, choose, quoted};
use std::collections::BTreeMap;

/// Columns, and what becomes of each.
pub type Set = BTreeMap<String, (Strategy, Span)>;

/// What becomes of each column.
pub(in crate::policy) fn strategies(table: &Table<'_>) -> Set {
    if table.is_empty() {
        let message = format!("{} is empty", table.label());
        let help = "say what becomes of each column: set = { name = \"null\" }";
        table
            .reader()
            .error(CODES.bad_value, table.span(), message, help);
    }
    let mut set = BTreeMap::new();
    for entry in table.entries() {
        column_key(table, &entry.name, entry.key.clone());
        let strategy = match entry.as_table() {
            Some(inner) => compound(&inner, entry.span()),
            None => simple(table, &entry),
        };
        if let Some(strategy) = strategy {
            set.insert(entry.name, (strategy, entry.key));
        }
    }
    set
}

const STRATEGIES: &[(&str, Strategy)] = &[
    ("null", Strategy::Null),
    ("redact", Strategy::Redact),
    ("hash", Strategy::Hash),
];

fn simple(table: &Table<'_>, entry: &Entry<'_>) -> Option<Strategy> {
    let (word, span) = entry.string()?;
    if let Some((_, strategy)) = STRATEGIES.iter().find(|(known, _)| *known == word) {
        return Some(strategy.clone());
    }
    let words: Vec<&str> = STRATEGIES.iter().map(|(word, _)| *word).collect();
    let help = match word.as_str() {
        "truncate" => "say to what: { truncate = \"year\" } or { truncate = \"month\" }".into(),
        _ => format!(
            "{}; a fixed text is written {{ constant = \"…\" }}, a shortened date {{ truncate = \"year\" }}",
            choose(&word, &words).trim_end_matches('?'),
        ),
    };
    let message = format!("{} names no strategy: {}", entry.label, quoted(&word));
    table.reader().error(UNKNOWN_WORD, span, message, help);
    None
}

/// The keys by which a strategy with parameters is told.
const COMPOUND: [&str; 7] = [
    "constant", "truncate", "template", "redact", "hash", "mask", "bucket",
];

/// `{ constant = "…" }`, `{ truncate = "year" }` and the like.
fn compound(table: &Table<'_>, span: Span) -> Option<Strategy> {
    let units = [("year", TruncateTo::Year), ("month", TruncateTo::Month)];
    let formats = [("email", HashAs::Email), ("phone", HashAs::Phone)];
    let constant = table.string("constant");
    let truncate = table.word("truncate", UNKNOWN_WORD, &units);
    let template = table.parsed("template", CODES.bad_value, TEMPLATE_HELP, template);
    let redact = table.word("redact", UNKNOWN_WORD, &[("identifiers", ())]);
    let hash = table.word("hash", UNKNOWN_WORD, &formats);
    let mask = table.integer("mask", 0..=64);
    let ends = [("first", false), ("last", true)];
    let last = table.word("keep", UNKNOWN_WORD, &ends);
    let bucket = table.integer("bucket", 2..=1_000_000_000);
    let choose = choices(table);
    table.finish();
    let named = COMPOUND.iter().chain(&["choose"]);
    if named.filter(|key| table.has(key)).count() != 1 {
        table.reader().error(
            CONTRADICTION,
            span,
            format!(
                "{} must have exactly one of {} and choose",
                table.label(),
                COMPOUND.join(", ")
            ),
            "write { constant = \"…\" }, or { truncate = \"year\" }, or another of them",
        );
        return None;
    }
    if let Some(at) = table.span_of("keep").filter(|_| !table.has("mask")) {
        let message = format!("`keep` in {} belongs to `mask`", table.label());
        table
            .reader()
            .error(CONTRADICTION, at, message, "remove it");
        return None;
    }
    let mask = mask.map(|keep| Strategy::Mask {
        keep: u32::try_from(keep).unwrap_or(u32::MAX),
        last: last.is_some_and(|(last, _)| last),
    });
    constant
        .map(|(text, _)| Strategy::Constant(text))
        .or(truncate.map(|(unit, _)| Strategy::Truncate(unit)))
        .or(template.map(|(text, _)| Strategy::Template(text)))
        .or(redact.map(|_| Strategy::RedactIdentifiers))
        .or(hash.map(|(format, _)| Strategy::HashAs(format)))
        .or(mask)
        .or(bucket.map(Strategy::Bucket))
        .or(choose.map(Strategy::Choose))
}

const TEMPLATE_HELP: &str = "write {key} where the row's key is to stand, and no other braces";

fn template(text: &str) -> Result<String, String> {
    let rest = text.replace("{key}", "");
    if rest.contains(['{', '}']) {
        return Err("it has braces that are not {key}".into());
    }
    Ok(text.to_owned())
}

/// Two texts or more, each once.
fn choices(table: &Table<'_>) -> Option<Vec<String>> {
    let listed = table.strings("choose")?;
    let mut texts: Vec<String> = Vec::new();
    for (text, _) in listed {
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    if texts.len() < 2 {
        let message = format!("`choose` in {} has fewer than two texts", table.label());
        let help = "list two or more, or write { constant = \"…\" }";
        let at = table.span_of("choose")?;
        table.reader().error(CODES.bad_value, at, message, help);
        return None;
    }
    Some(texts)
}
