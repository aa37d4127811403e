//! Reading policy files.

use super::asking;
use super::basis::{self, Bases};
use super::clocks::{self, Clocks};
use super::timetable::Timetable;
use super::{
    Draft, Identifier, IdentifierKind, Policy, Span, SweepPolicy, SweepWhen, atomic, place,
    recheck, retention, rule, scope,
};
use crate::diagnostic::Diagnostic;
use crate::name::QualifiedTable;
use crate::reading::{self, Codes, Table, quoted};
use crate::ticket::words::Words;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) const CODES: Codes = Codes {
    syntax: "E0102",
    unknown_key: "E0103",
    missing_key: "E0104",
    wrong_type: "E0105",
    bad_value: "E0106",
};

/// An action, strategy, level, clock or the like that does not exist.
pub(super) const UNKNOWN_WORD: &str = "E0107";
/// A period, a duration.
pub(super) const BAD_PERIOD: &str = "E0114";

/// Longer names PostgreSQL cuts off, so no catalog has them.
const LONGEST_NAME: usize = 63;

/// `{ ja = "…", en = "…" }`.
pub(super) fn words(table: &Table<'_>) -> Option<Words> {
    const HELP: &str = "write it in both languages: { ja = \"…\", en = \"…\" }";
    table.need("ja", HELP).need("en", HELP);
    let text = |key| {
        let (text, span) = table.string(key)?;
        if text.trim().is_empty() {
            let message = format!("`{key}` in {} is empty", table.label());
            table.reader().error(CODES.bad_value, span, message, HELP);
            return None;
        }
        Some(text)
    };
    let (ja, en) = (text("ja"), text("en"));
    table.finish();
    Some(Words { ja: ja?, en: en? })
}

/// Reads one policy, under the built-in clocks; all mistakes of the file at once, what is not decided
/// among them.
pub fn read(path: &str, text: &str) -> Result<Policy, Vec<Diagnostic>> {
    draft(path, text, clocks::built_in())?.decided()
}

/// Reads one policy, under these clocks, that may not be finished: rules that say `decide` are no mistakes here.
///
/// # Errors
/// All mistakes of the file at once.
pub fn draft(path: &str, text: &str, clocks: &Clocks) -> Result<Draft, Vec<Diagnostic>> {
    draft_under(path, text, clocks, basis::built_in())
}

/// The same, with these legal bases in place of the built-in ones.
///
/// # Errors
/// As [`draft`].
pub fn draft_under(
    path: &str,
    text: &str,
    clocks: &Clocks,
    bases: &Arc<Bases>,
) -> Result<Draft, Vec<Diagnostic>> {
    reading::read(path, text, text, false, CODES, |reader, file| {
        file.need(
            "subject",
            "name the kind of subject, such as subject = \"customer\"",
        );
        let subject = file.parsed("subject", CODES.bad_value, NAME_HELP, own_name);
        file.need(
            "root",
            "name the table whose row is the subject: root = \"system.schema.table\"",
        );
        let root = table_name(file, "root");
        let identifiers = identifiers(file);
        let categories = scope::categories(file);
        let scopes = scope::scopes(file, clocks, &categories);
        let places = place::places(file, &identifiers);
        place::listed_are_known(file, &places, &scopes, &categories);
        file.need(
            "table",
            "say with [[table]] what happens to each table the subject reaches",
        );
        let (tables, open) = rule::rules(file, &identifiers, &scopes, bases);
        let atomic = atomic::atomic(file, &tables);
        let sweep = sweep(file);
        let searched = identifiers.values().flatten().any(|i| i.residual);
        let recheck = recheck::recheck(file, searched);
        let asking = asking::asking(file, &identifiers);
        let names: Vec<&str> = scopes.keys().map(String::as_str).collect();
        let retention = retention::rules(file, bases, &names);
        let policy = Policy {
            source: reader.source().clone(),
            sha256: sha256(text),
            subject: subject?.0,
            root: root?,
            identifiers: identifiers
                .into_iter()
                .filter_map(|(name, i)| Some((name, i?)))
                .collect(),
            categories: categories
                .into_iter()
                .filter_map(|(name, c)| Some((name, c?)))
                .collect(),
            scopes: scopes
                .into_iter()
                .filter_map(|(name, s)| Some((name, s?)))
                .collect(),
            tables,
            sweep: sweep?,
            recheck: recheck?,
            bases: bases.clone(),
            asking: asking?,
            atomic: atomic?,
            places,
            retention,
        };
        Some(Draft { policy, open })
    })
}

fn sha256(text: &str) -> String {
    Sha256::digest(text.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

pub(super) const NAME_HELP: &str =
    "use up to 63 lower-case letters, digits, `_` and `-`, with a letter first";

/// A name that policies make up: it ends up in metrics, hashes and SQL arguments.
pub(super) fn own_name(name: &str) -> Result<String, String> {
    let good = name.len() <= LONGEST_NAME
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-'));
    if good {
        Ok(name.into())
    } else {
        Err("it is not a plain name".into())
    }
}

/// What a column, constraint or table may be called.
pub(super) const DATABASE_NAME_HELP: &str =
    "write the name exactly as the catalog has it, 1 to 63 bytes";

/// A name of a column or constraint.
pub(super) fn database_name(name: &str) -> Result<String, String> {
    match name.len() {
        0 => Err("the name is empty".into()),
        1..=LONGEST_NAME => Ok(name.into()),
        _ => Err("PostgreSQL has no names longer than 63 bytes".into()),
    }
}

pub(super) const TABLE_HELP: &str = "write system.schema.table; a part that holds a dot, a quote or white \
     space stands in double quotes";

pub(super) fn table_text(text: &str) -> Result<QualifiedTable, String> {
    let name: QualifiedTable = text.parse()?;
    database_name(&name.table.schema)?;
    database_name(&name.table.table)?;
    Ok(name)
}

/// The table that `key` names.
pub(super) fn table_name(table: &Table<'_>, key: &'static str) -> Option<(QualifiedTable, Span)> {
    table.parsed(key, CODES.bad_value, TABLE_HELP, table_text)
}

/// Declared identifiers by name; `None` is one with mistakes, which still is declared.
fn identifiers(file: &Table<'_>) -> BTreeMap<String, Option<Identifier>> {
    file.need(
        "identifier",
        "declare how a ticket names the person: [identifier.NAME]",
    );
    let mut found = BTreeMap::new();
    for (name, span, table) in file.named("identifier") {
        made_up_name(&table, &name, &span);
        let identifier = identifier(&table, span);
        found.insert(name, identifier);
    }
    let whole: Vec<_> = found.values().flatten().collect();
    if whole.len() == found.len() && !found.is_empty() && !whole.iter().any(|i| i.find) {
        file.reader().error(
            "E0117",
            whole[0].span.clone(),
            "no identifier has `find = true`, so no ticket could name a person",
            "write `find = true` on the identifiers that tickets use",
        );
    }
    found
}

pub(super) fn made_up_name(table: &Table<'_>, name: &str, span: &Span) {
    if own_name(name).is_err() {
        let message = format!("{} is not a plain name", quoted(name));
        table
            .reader()
            .error(CODES.bad_value, span.clone(), message, NAME_HELP);
    }
}

fn identifier(table: &Table<'_>, span: Span) -> Option<Identifier> {
    table.need("column", "name the column of the root table that holds it");
    let column = table.parsed("column", CODES.bad_value, DATABASE_NAME_HELP, database_name);
    let words = [
        ("plain", "plain"),
        ("email", "email"),
        ("phone", "phone"),
        ("name", "name"),
    ];
    let kind = table
        .word("type", UNKNOWN_WORD, &words)
        .map(|(word, _)| word);
    let kind = text_kind(table, &span, kind);
    let find = table.boolean("find").unwrap_or(false);
    let residual = table.boolean("residual").unwrap_or(false);
    let excludes = table.string("excludes");
    table.finish();
    Some(Identifier {
        column: column?.0,
        kind: kind?,
        find,
        residual,
        excludes: excludes.map_or_else(String::new, |(characters, _)| characters),
        span,
    })
}

/// What the words `type` and `region` say together.
pub(super) fn text_kind(
    table: &Table<'_>,
    span: &Span,
    word: Option<&str>,
) -> Option<IdentifierKind> {
    let region = table.parsed("region", "E0113", REGION_HELP, region);
    match word {
        Some("phone") => {
            if !table.has("region") {
                table.reader().error(
                    "E0113",
                    table.span_of("type").unwrap_or(span.clone()),
                    format!("the phone numbers of {} need a region", table.label()),
                    REGION_HELP,
                );
            }
            region.map(|(region, _)| IdentifierKind::Phone { region })
        }
        other => {
            if let Some(at) = table.span_of("region") {
                table.reader().error(
                    "E0113",
                    at,
                    format!(
                        "`region` in {} says nothing: this is no phone number",
                        table.label()
                    ),
                    "remove `region`, or write `type = \"phone\"`",
                );
            }
            match other {
                Some("email") => Some(IdentifierKind::Email),
                Some("name") => Some(IdentifierKind::Name),
                Some(_) => Some(IdentifierKind::Plain),
                None => (!table.has("type")).then_some(IdentifierKind::Plain),
            }
        }
    }
}

const REGION_HELP: &str = "name the country in which numbers without a country code are read, \
     by its two letters: region = \"JP\"";

fn region(text: &str) -> Result<String, String> {
    text.parse::<phonenumber::country::Id>()
        .map(|_| text.to_owned())
        .map_err(|_| format!("{} is no country", quoted(text)))
}

fn sweep(file: &Table<'_>) -> Option<SweepPolicy> {
    let Some(table) = file.table("sweep") else {
        // A `sweep` that is no table has been noted.
        return Some(SweepPolicy {
            when: SweepWhen::AtOnce,
        });
    };
    let when = table.word("when", UNKNOWN_WORD, &[("at once", ())]);
    let cron = table.parsed("schedule", "E0115", CRON_HELP, schedule);
    let timezone = table.parsed(
        "timezone",
        "E0115",
        "name it as the tz database does, such as \"Asia/Tokyo\"",
        |text| {
            text.parse::<chrono_tz::Tz>()
                .map_err(|_| format!("{} is no time zone", quoted(text)))
        },
    );
    let when = if table.has("schedule") {
        table.need(
            "timezone",
            "say where the clock of `schedule` hangs: timezone = \"Asia/Tokyo\"",
        );
        if let Some((_, span)) = when {
            let message = "`when` and `schedule` in [sweep] contradict each other";
            table
                .reader()
                .error("E0109", span, message, "keep one of the two");
        }
        cron.zip(timezone).map(|((cron, _), (zone, _))| {
            let cron = Box::new(cron);
            SweepWhen::Schedule(Timetable { cron, zone })
        })
    } else {
        if let Some(span) = table.span_of("timezone") {
            let message = "`timezone` in [sweep] says nothing without `schedule`";
            table.reader().error(
                "E0109",
                span,
                message,
                "add `schedule`, or remove `timezone`",
            );
        }
        Some(SweepWhen::AtOnce)
    };
    table.finish();
    Some(SweepPolicy { when: when? })
}

pub(super) const CRON_HELP: &str = "write six fields: second minute hour day month weekday, such as \
     \"0 30 2 * * *\" for half past two every night";

pub(super) fn schedule(text: &str) -> Result<cron::Schedule, String> {
    let fields = text.split_whitespace().count();
    if !text.starts_with('@') && !(6..=7).contains(&fields) {
        return Err(format!("it has {fields} field(s), not six"));
    }
    text.parse()
        .map_err(|_| format!("{} is no cron expression", quoted(text)))
}
