//! `sla.toml`: the clocks that scopes may name.

use super::read::{self, CODES, UNKNOWN_WORD, made_up_name};
use crate::diagnostic::Diagnostic;
use crate::reading::{self, Table};
use crate::ticket::holidays::Calendar;
use crate::ticket::sla::{Confidence, Length, Pause, Profile, Roll, Start, WhenDue};
use chrono::NaiveDate;
use chrono_tz::Tz;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

/// Clocks by their code.
pub type Clocks = BTreeMap<String, Arc<Profile>>;

/// The file's name in a folder of policies, where it is no policy.
pub const FILE: &str = "sla.toml";

/// Those that ship with the program: `policies/sla.toml`.
pub fn built_in() -> &'static Clocks {
    static BUILT_IN: LazyLock<Clocks> = LazyLock::new(|| {
        let read = profiles(FILE, include_str!("../../policies/sla.toml"));
        read.unwrap_or_else(|mistakes| unreachable!("our own {FILE}: {mistakes:?}"))
    });
    &BUILT_IN
}

/// Those of a file, and the built-in ones that it does not name.
///
/// # Errors
/// All mistakes of the file at once.
pub fn read(path: &str, text: &str) -> Result<Clocks, Vec<Diagnostic>> {
    let mut clocks = built_in().clone();
    clocks.extend(profiles(path, text)?);
    Ok(clocks)
}

fn profiles(path: &str, text: &str) -> Result<Clocks, Vec<Diagnostic>> {
    reading::read(path, text, text, false, CODES, |_, file| {
        let mut calendars = BTreeMap::from([("jp".to_owned(), Some(Calendar::Japan))]);
        for (name, span, table) in file.named("calendar") {
            made_up_name(&table, &name, &span);
            calendars.insert(name, calendar(&table));
        }
        let mut clocks = Some(Clocks::new());
        for (name, span, table) in file.named("profile") {
            made_up_name(&table, &name, &span);
            match (profile(&table, &name, &calendars), &mut clocks) {
                (Some(profile), Some(clocks)) => {
                    clocks.insert(name, Arc::new(profile));
                }
                _ => clocks = None,
            }
        }
        clocks
    })
}

fn calendar(table: &Table<'_>) -> Option<Calendar> {
    table.need("days", "list its holidays: days = [\"2026-12-25\"]");
    let listed = table.strings("days");
    table.finish();
    let mut days = BTreeSet::new();
    for (text, span) in listed? {
        match text.parse::<NaiveDate>() {
            Ok(day) => drop(days.insert(day)),
            Err(_) => {
                let message = format!("`{text}` in {} is no date", table.label());
                let help = "write year-month-day, such as \"2026-12-25\"";
                table.reader().error(CODES.bad_value, span, message, help);
            }
        }
    }
    Some(Calendar::Listed(days))
}

const STARTS: &[(&str, Start)] = &[
    ("received", Start::Received),
    ("identity", Start::Identity),
    ("ground-accepted", Start::GroundAccepted),
];
const ROLLS: &[(&str, Roll)] = &[
    ("stays", Roll::Stays),
    ("next working day", Roll::NextWorkingDay),
    ("after Sunday", Roll::AfterSunday),
];
const PAUSES: &[(&str, Pause)] = &[
    ("none", Pause::None),
    ("restart-on-id", Pause::RestartOnId),
    ("suspend-while-asked", Pause::SuspendWhileAsked),
];
const ENDS: &[(&str, WhenDue)] = &[("late", WhenDue::Late), ("explain", WhenDue::Explain)];
const SURE: &[(&str, Confidence)] = &[
    ("sure", Confidence::Sure),
    ("likely", Confidence::Likely),
    ("check", Confidence::Check),
];

fn profile(
    table: &Table<'_>,
    code: &str,
    calendars: &BTreeMap<String, Option<Calendar>>,
) -> Option<Profile> {
    table.need("length", TERM_HELP);
    table.need("zone", ZONE_HELP);
    table.need(
        "source",
        "say where it comes from: the article, or whose promise it is",
    );
    table.need("sure", "say how sure that is: sure, likely or check");
    let length = table.parsed("length", CODES.bad_value, TERM_HELP, term);
    let zone = table.parsed("zone", CODES.bad_value, ZONE_HELP, |text| {
        text.parse::<Tz>()
            .map_err(|_| "there is no such time zone".to_owned())
    });
    let known: Vec<(&str, Option<Calendar>)> = calendars
        .iter()
        .map(|(name, c)| (name.as_str(), c.clone()))
        .collect();
    let start = default_word(table, "start", STARTS);
    let acknowledge = optional_length(table, "acknowledge");
    let extend = optional_length(table, "extend");
    let roll = default_word(table, "roll", ROLLS);
    let pause = default_word(table, "pause", PAUSES);
    let when_due = default_word(table, "when_due", ENDS);
    let escalate = escalate(table);
    if matches!(length, Some((None, _))) {
        no_end_of(table);
    }
    let [complain, law] = ["complain", "law"].map(|key| match table.table(key) {
        Some(words) => read::words(&words).map(Some),
        None => Some(None),
    });
    let calendar = match table.word("calendar", UNKNOWN_WORD, &known) {
        Some((calendar, _)) => calendar,
        None => (!table.has("calendar")).then(Calendar::default),
    };
    let source = table.string("source");
    let sure = table.word("sure", UNKNOWN_WORD, SURE);
    table.finish();
    Some(Profile {
        code: code.to_owned(),
        start: start?,
        length: length?.0,
        acknowledge: acknowledge?,
        extend: extend?,
        roll: roll?,
        pause: pause?,
        when_due: when_due?,
        escalate: escalate?,
        complain: complain?,
        law: law?,
        zone: zone?.0,
        calendar: calendar?,
        source: source?.0,
        sure: sure?.0,
    })
}

/// The steps before the due time; a week and two days if they are left out.
fn escalate(table: &Table<'_>) -> Option<Vec<u16>> {
    const HELP: &str =
        "write days, fewer from step to step, at most nine: [\"7 days\", \"2 days\"]";
    if !table.has("escalate") {
        return Some(vec![7, 2]);
    }
    let at = table.span_of("escalate")?;
    let mut steps = Vec::new();
    for (text, span) in table.strings("escalate")? {
        match length(&text) {
            Ok(Length::Days(days)) if steps.last().is_none_or(|last| days < *last) => {
                steps.push(days);
            }
            _ => {
                let message = format!("`{text}` in {} is no step", table.label());
                table.reader().error(CODES.bad_value, span, message, HELP);
                return None;
            }
        }
    }
    if steps.len() > 9 {
        let message = format!("{} has too many steps", table.label());
        table.reader().error(CODES.bad_value, at, message, HELP);
        return None;
    }
    Some(steps)
}

/// A word that may be left out; `None` if what is there is none.
fn default_word<T: Clone + Default>(
    table: &Table<'_>,
    key: &'static str,
    known: &[(&str, T)],
) -> Option<T> {
    match table.word(key, UNKNOWN_WORD, known) {
        Some((word, _)) => Some(word),
        None => (!table.has(key)).then(T::default),
    }
}

/// A length that may be left out; `None` if what is there is none.
fn optional_length(table: &Table<'_>, key: &'static str) -> Option<Option<Length>> {
    match table.parsed(key, CODES.bad_value, LENGTH_HELP, length) {
        Some((length, _)) => Some(Some(length)),
        None => (!table.has(key)).then_some(None),
    }
}

/// What counts from a last day, where there is none.
fn no_end_of(table: &Table<'_>) {
    for key in ["extend", "escalate", "when_due", "roll"] {
        if let Some(at) = table.span_of(key) {
            let message = format!(
                "`{key}` in {} is of a last day, and there is none",
                table.label()
            );
            let help = "remove it, or give length days, working days or months";
            table.reader().error(CODES.bad_value, at, message, help);
        }
    }
}

/// A length, or that there is none.
fn term(text: &str) -> Result<Option<Length>, String> {
    match text.trim() {
        "none" => Ok(None),
        text => length(text).map(Some),
    }
}

const TERM_HELP: &str = "write such as \"14 days\", \"15 working days\" or \"1 month\"; or \"none\" where there is no last day";
const LENGTH_HELP: &str = "write such as \"14 days\", \"15 working days\" or \"1 month\"";
const ZONE_HELP: &str = "name a zone of the tz database, such as \"Asia/Tokyo\"";

fn length(text: &str) -> Result<Length, String> {
    let (number, unit) = text
        .trim()
        .split_once(' ')
        .ok_or("it needs a number and a unit")?;
    let number: u16 = number
        .parse()
        .map_err(|_| "it does not begin with a number")?;
    if number == 0 {
        return Err("it is nothing".into());
    }
    match unit.trim() {
        "day" | "days" => Ok(Length::Days(number)),
        "working day" | "working days" => Ok(Length::WorkingDays(number)),
        "month" | "months" => match u8::try_from(number) {
            Ok(months) if months <= 120 => Ok(Length::Months(months)),
            _ => Err("it is longer than ten years".into()),
        },
        other => Err(format!("`{other}` is no unit of it")),
    }
}

#[cfg(test)]
mod tests;
