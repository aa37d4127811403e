//! Reading `[scope.…]` and `[category.…]`: what may be asked for, and what it covers.

use super::clocks::Clocks;
use super::read::{
    BAD_PERIOD, CODES, TABLE_HELP, UNKNOWN_WORD, database_name, made_up_name, own_name, table_text,
};
use super::rule::CONTRADICTION;
use super::{Extent, Level, Listed, PlaceName, Scope, Span};
use crate::name::{QualifiedColumn, QualifiedTable};
use crate::reading::{Table, amount, choose, quoted};
use std::collections::{BTreeMap, BTreeSet};

/// A scope or a category that is not there, or holds nothing.
pub(super) const UNKNOWN_NAME: &str = "E0120";
/// Two parts of the file that cannot both be meant for one scope.
pub(super) const TWO_MEANINGS: &str = "E0121";
/// A list that names something twice.
pub(super) const TWICE: &str = "E0111";

const COLUMN_HELP: &str = "write system.schema.table.column; a part that holds a dot, a quote or \
     white space stands in double quotes";

pub(super) const LEVELS: &[(&str, Level)] = &[
    ("none", Level::None),
    ("basic", Level::Basic),
    ("reasonable", Level::Reasonable),
    ("reasonably-high", Level::ReasonablyHigh),
    ("high", Level::High),
];

impl Level {
    /// As a policy writes it.
    pub fn word(self) -> &'static str {
        let known = LEVELS.iter().find(|(_, level)| *level == self);
        known.map_or("", |(word, _)| word)
    }
}

/// What the file declares by name; `None` is one with mistakes, which still is declared.
pub(super) type Declared<T> = BTreeMap<String, Option<T>>;

/// All scopes.
pub(super) fn scopes(
    file: &Table<'_>,
    clocks: &Clocks,
    categories: &Declared<Listed>,
) -> Declared<Scope> {
    file.need("scope", "say what may be asked for: [scope.NAME]");
    let mut scopes = Declared::new();
    for (name, span, table) in file.named("scope") {
        made_up_name(&table, &name, &span);
        let scope = scope(&table, span, categories, clocks);
        scopes.insert(name, scope);
    }
    scopes
}

/// All categories.
pub(super) fn categories(file: &Table<'_>) -> Declared<Listed> {
    let mut categories = Declared::new();
    for (name, span, table) in file.named("category") {
        made_up_name(&table, &name, &span);
        let listed = lists(&table);
        table.finish();
        if !table.has("tables") && !table.has("columns") {
            let message = format!("{} holds nothing", table.label());
            let help = "list tables = [\"system.schema.table\"], columns = [\"system.schema.table.column\"], or both";
            table.reader().error(UNKNOWN_NAME, span, message, help);
        }
        categories.insert(name, listed);
    }
    categories
}

fn scope(
    table: &Table<'_>,
    span: Span,
    categories: &Declared<Listed>,
    clocks: &Clocks,
) -> Option<Scope> {
    let extent = extent(table, categories);
    table.need(
        "verify",
        "say what proof it takes: verify = { at_least = \"basic\" }",
    );
    let verify = table.table("verify").map(|verify| {
        verify.need(
            "at_least",
            "one of none, basic, reasonable, reasonably-high, high",
        );
        let at_least = verify.word("at_least", UNKNOWN_WORD, LEVELS);
        let four_eyes = verify.boolean("four_eyes").unwrap_or(false);
        let cooling_off = verify
            .parsed(
                "cooling_off",
                BAD_PERIOD,
                amount::DURATION_HELP,
                amount::duration,
            )
            .map_or(chrono::Duration::zero(), |(length, _)| {
                chrono::Duration::from_std(length).expect("ten years at most fit")
            });
        let doubtful = doubtful(&verify, at_least.as_ref().map(|(level, _)| *level));
        verify.finish();
        Some((at_least?.0, four_eyes, cooling_off, doubtful?))
    });
    table.need("sla", "name the clock, such as sla = \"jp-appi\"");
    let profiles: Vec<_> = clocks.iter().map(|(code, p)| (code.as_str(), p)).collect();
    let sla = table.word("sla", UNKNOWN_WORD, &profiles);
    let confirm_over = table.integer("confirm_over", 0..=1_000_000_000);
    table.finish();
    let (at_least, four_eyes, cooling_off, (doubtful, doubtful_wait)) = verify??;
    Some(Scope {
        extent: extent?,
        at_least,
        four_eyes,
        cooling_off,
        doubtful,
        doubtful_wait,
        sla: sla?.0.clone(),
        confirm_over: confirm_over.and_then(|rows| i64::try_from(rows).ok()),
        span,
    })
}

/// What it takes where there are signs of an impostor.
fn doubtful(
    verify: &Table<'_>,
    at_least: Option<Level>,
) -> Option<(Level, Option<chrono::Duration>)> {
    if !verify.has("doubtful") {
        return Some((at_least?.raised(), None));
    }
    let table = verify.table("doubtful")?;
    let level = match table.has("at_least") {
        true => table.word("at_least", UNKNOWN_WORD, LEVELS),
        false => at_least.map(|level| (level.raised(), table.span())),
    };
    let wait = match table.has("cooling_off") {
        true => {
            let read = table.parsed(
                "cooling_off",
                BAD_PERIOD,
                amount::DURATION_HELP,
                amount::duration,
            );
            let (length, _) = read?;
            Some(chrono::Duration::from_std(length).expect("ten years at most fit"))
        }
        false => None,
    };
    table.finish();
    let (level, span) = level?;
    if at_least.is_some_and(|at_least| level < at_least) {
        let message = "where there are signs of an impostor less is asked for than without";
        let help = "ask for as much at least";
        table.reader().error(CONTRADICTION, span, message, help);
        return None;
    }
    Some((level, wait))
}

fn extent(table: &Table<'_>, categories: &Declared<Listed>) -> Option<Extent> {
    let parts = ["columns", "categories"];
    if !parts.iter().any(|key| table.has(key)) {
        table.need(
            "tables",
            "write tables = \"all\", or list tables, columns or categories",
        );
    }
    if table.is_string("tables") {
        for at in parts.iter().filter_map(|key| table.span_of(key)) {
            let message = format!("{} covers all tables, and lists a part", table.label());
            let help = "remove the list, or list the tables";
            table.reader().error(CONTRADICTION, at, message, help);
        }
        let all = table.word("tables", UNKNOWN_WORD, &[("all", ())]);
        return all.map(|_| Extent::All);
    }
    let mut listed = lists(table);
    for (category, name) in of_categories(table, categories)? {
        // Of a category with mistakes these have been told.
        if let (Some(listed), Some(category)) = (&mut listed, category) {
            listed.tables.extend(category.tables.clone());
            listed.places.extend(category.places.clone());
            for (table, columns) in &category.columns {
                let known = listed.columns.entry(table.clone()).or_default();
                known.extend(columns.clone());
            }
            listed.categories.push(name);
        }
    }
    let listed = listed?;
    let nothing = listed.tables.is_empty() && listed.columns.is_empty() && listed.places.is_empty();
    (!nothing && one_meaning(table, &listed)).then_some(Extent::Listed(listed))
}

/// A table covered whole has all its columns covered already, or one of the two is a mistake.
fn one_meaning(table: &Table<'_>, listed: &Listed) -> bool {
    let mut both = listed.columns.iter();
    let both = both.find(|(of, _)| listed.tables.contains_key(*of));
    let Some((of, columns)) = both else {
        return true;
    };
    if let Some((column, span)) = columns.first_key_value() {
        let message = format!(
            "{} covers {of} whole, and its column {column} besides: do its rows stay?",
            table.label()
        );
        let help = "name the table, or columns of it; a category may bring the other";
        table
            .reader()
            .error(TWO_MEANINGS, span.clone(), message, help);
    }
    false
}

fn of_categories<'c>(
    table: &Table<'_>,
    categories: &'c Declared<Listed>,
) -> Option<Vec<(Option<&'c Listed>, String)>> {
    let mut found = Vec::new();
    for (name, span) in unique(table, "categories")? {
        match categories.get(&name) {
            Some(category) => found.push((category.as_ref(), name)),
            None => {
                let known: Vec<&str> = categories.keys().map(String::as_str).collect();
                let message = format!("no category is called {}", quoted(&name));
                let help = match known.as_slice() {
                    [] => format!("declare it: [category.{name}]"),
                    known => choose(&name, known),
                };
                table.reader().error(UNKNOWN_NAME, span, message, help);
                return None;
            }
        }
    }
    Some(found)
}

/// `tables` and `columns`, as far as they are there.
fn lists(table: &Table<'_>) -> Option<Listed> {
    let tables = each(table, "tables", TABLE_HELP, table_or_place);
    let columns = each(table, "columns", COLUMN_HELP, column_text);
    let mut listed = Listed::default();
    for (named, span) in tables? {
        match named {
            Named::Table(table) => listed.tables.insert(table, span).map(drop),
            Named::Place(place) => listed.places.insert(place, span).map(drop),
        };
    }
    for (column, span) in columns? {
        let of = listed.columns.entry(column.table).or_default();
        of.insert(column.column, span);
    }
    Some(listed)
}

/// What `tables` lists.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Named {
    Table(QualifiedTable),
    Place(PlaceName),
}

/// Two plain names are those of a place.
fn table_or_place(text: &str) -> Result<Named, String> {
    if let Some((system, place)) = text.split_once('.')
        && let (Ok(system), Ok(place)) = (own_name(system), own_name(place))
    {
        return Ok(Named::Place(PlaceName { system, place }));
    }
    table_text(text).map(Named::Table)
}

fn column_text(text: &str) -> Result<QualifiedColumn, String> {
    let name: QualifiedColumn = text.parse()?;
    for part in [
        &name.table.table.schema,
        &name.table.table.table,
        &name.column,
    ] {
        database_name(part)?;
    }
    Ok(name)
}

/// What a list names, read by `parse`; empty if there is none.
fn each<T: Ord + Clone>(
    table: &Table<'_>,
    key: &'static str,
    help: &str,
    parse: fn(&str) -> Result<T, String>,
) -> Option<Vec<(T, Span)>> {
    let mut named = Vec::new();
    let mut sound = true;
    let mut seen = BTreeSet::new();
    for (text, span) in unique(table, key)? {
        match parse(&text) {
            Ok(name) if seen.insert(name.clone()) => named.push((name, span)),
            Ok(_) => twice(table, &text, span),
            Err(why) => {
                sound = false;
                let message = format!("{} cannot be read: {why}", quoted(&text));
                table.reader().error(CODES.bad_value, span, message, help);
            }
        }
    }
    sound.then_some(named)
}

/// The texts of a list, each once; empty if there is none.
pub(super) fn unique(table: &Table<'_>, key: &'static str) -> Option<Vec<(String, Span)>> {
    if !table.has(key) {
        return Some(Vec::new());
    }
    let texts = table.strings(key)?;
    if texts.is_empty() {
        let message = format!("`{key}` in {} is empty", table.label());
        let help = match key {
            "tables" => "list at least one table, or write \"all\"",
            _ => "name at least one, or remove it",
        };
        let at = table.span_of(key)?;
        table.reader().error(CODES.bad_value, at, message, help);
        return None;
    }
    let mut named: Vec<(String, Span)> = Vec::new();
    for (text, span) in texts {
        if named.iter().any(|(known, _)| *known == text) {
            twice(table, &text, span);
        } else {
            named.push((text, span));
        }
    }
    Some(named)
}

fn twice(table: &Table<'_>, text: &str, span: Span) {
    let message = format!("{} names {} twice", table.label(), quoted(text));
    let help = "remove one of the two";
    table.reader().error(TWICE, span, message, help);
}

/// The scopes that a rule is for; `None` if the list has mistakes.
pub(super) fn scopes_of_rule(
    table: &Table<'_>,
    of: Option<&QualifiedTable>,
    scopes: &Declared<Scope>,
) -> Option<Vec<(String, Span)>> {
    let named = unique(table, "scopes")?;
    for (name, span) in &named {
        let known: Vec<&str> = scopes.keys().map(String::as_str).collect();
        let problem = match (scopes.get(name), of) {
            (None, _) => {
                let message = format!("no scope is called {}", quoted(name));
                Some((UNKNOWN_NAME, message, choose(name, &known)))
            }
            (Some(Some(scope)), Some(of)) if scope.extent.of(of).is_nothing() => Some((
                TWO_MEANINGS,
                format!(
                    "{} is for the scope {name}, which does not cover the table",
                    table.label()
                ),
                "add the table, or columns of it, to the scope, or take the scope out of the rule"
                    .into(),
            )),
            _ => None,
        };
        if let Some((code, message, help)) = problem {
            table.reader().error(code, span.clone(), message, help);
        }
    }
    Some(named)
}
