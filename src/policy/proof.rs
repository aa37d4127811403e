//! `identity.toml`: the ways in which people prove who is asking, and how far each reaches.

use super::read::{BAD_PERIOD, CODES, UNKNOWN_WORD, made_up_name};
use super::scope::LEVELS;
use super::{Level, Span};
use crate::diagnostic::Diagnostic;
use crate::reading::{self, Table, amount, choose, quoted};
use crate::ticket::sla::Confidence;
use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

/// The file's name in a folder of policies, where it is no policy.
pub const FILE: &str = "identity.toml";

/// A method that asks for what must never be taken.
const NEVER_ASKED: &str = "E0122";

/// A method that compares what it does not ask for, or wants more points than it has.
const CANNOT_COMPARE: &str = "E0124";

/// What the file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proofs {
    /// Methods by their code.
    pub methods: BTreeMap<String, Method>,
    /// What is never taken, by its code.
    pub never: BTreeMap<String, Never>,
    /// How often answers may be compared.
    pub limits: Limits,
    /// What is a sign that somebody else may be asking.
    pub signs: Signs,
}

/// What counts as a sign of an impostor, beside what a policy reads in the person's own row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signs {
    /// This many attempts for the person that failed; 0: never.
    pub failed: u32,
    /// For how long they count.
    pub failed_within: Duration,
    /// This many people for whom one requester asks; 0: never.
    pub subjects: u32,
    /// Within how long.
    pub subjects_within: Duration,
    /// For how long an objection counts; nothing: never.
    pub contested_within: Duration,
    /// How long nothing is erased after a sign was found, where a scope says nothing else.
    pub cooling_off: Duration,
}

impl Default for Signs {
    fn default() -> Self {
        let days = |n: u64| Duration::from_secs(n * 86_400);
        Self {
            failed: 3,
            failed_within: days(30),
            subjects: 3,
            subjects_within: days(7),
            contested_within: days(365),
            cooling_off: days(7),
        }
    }
}

/// How often answers may be compared before the next one has to wait. Those that matched do not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long an attempt counts.
    pub window: Duration,
    /// For one subject, whoever asks.
    pub by_subject: u32,
    /// By one person of the desk.
    pub by_agent: u32,
    /// Through one door: a login, or an application's token.
    pub by_desk: u32,
    /// How long the first lock-out lasts; each further one within the window twice as long.
    pub lock_out: Duration,
    /// How long a lock-out lasts at most.
    pub longest: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let hours = |n: u64| Duration::from_secs(n * 3_600);
        Self {
            window: hours(24),
            by_subject: 3,
            by_agent: 20,
            by_desk: 200,
            lock_out: Duration::from_secs(15 * 60),
            longest: hours(24 * 7),
        }
    }
}

/// One way to prove who is asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Method {
    /// How far it reaches. Whoever verifies cannot state another.
    pub level: Level,
    /// What the person must have for it.
    pub demands: Demands,
    /// What may be asked, by words.
    pub ask: Vec<String>,
    /// Those of them that the daemon compares with the subject's row; none for a method whose
    /// outcome the desk sees with its own eyes.
    pub compare: Vec<String>,
    /// How many of these a caller must answer at least. All that are answered must agree.
    pub points: usize,
    /// What it is called in Japanese, to read aloud.
    pub ja: String,
    /// What it is called in English.
    pub en: String,
    /// Where it comes from.
    pub source: String,
    /// How sure that is.
    pub sure: Confidence,
}

/// What a method demands of the person: each a heavier burden than the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Demands {
    /// Nothing at all.
    Nothing,
    /// That they know something.
    Knowledge,
    /// That they hold something on file: a telephone, a mailbox, an account.
    Possession,
    /// That they show a document or card. Refused where the scope needs less.
    Document,
    /// That they come. Refused where the scope needs less.
    Presence,
}

const DEMANDS: &[(&str, Demands)] = &[
    ("nothing", Demands::Nothing),
    ("knowledge", Demands::Knowledge),
    ("possession", Demands::Possession),
    ("document", Demands::Document),
    ("presence", Demands::Presence),
];

impl Demands {
    /// As the file writes it.
    pub fn word(self) -> &'static str {
        let known = DEMANDS.iter().find(|(_, demands)| *demands == self);
        known.map_or("", |(word, _)| word)
    }
}

/// Something that no desk may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Never {
    /// What it is called in Japanese.
    pub ja: String,
    /// What it is called in English.
    pub en: String,
    /// The law that says so.
    pub source: String,
    /// How sure that is.
    pub sure: Confidence,
}

/// What ships with the program: `policies/identity.toml`.
pub fn built_in() -> &'static Proofs {
    static BUILT_IN: LazyLock<Proofs> = LazyLock::new(|| {
        let read = proofs(
            FILE,
            include_str!("../../policies/identity.toml"),
            Proofs::default(),
        );
        read.unwrap_or_else(|mistakes| unreachable!("our own {FILE}: {mistakes:?}"))
    });
    &BUILT_IN
}

/// What a file says, and what is built in where it says nothing.
///
/// # Errors
/// All mistakes of the file at once.
pub fn read(path: &str, text: &str) -> Result<Proofs, Vec<Diagnostic>> {
    proofs(path, text, built_in().clone())
}

fn proofs(path: &str, text: &str, mut known: Proofs) -> Result<Proofs, Vec<Diagnostic>> {
    reading::read(path, text, text, false, CODES, |_, file| {
        let mut whole = true;
        for (name, span, table) in file.named("never") {
            made_up_name(&table, &name, &span);
            match never(&table) {
                Some(never) => drop(known.never.insert(name, never)),
                None => whole = false,
            }
        }
        for (name, span, table) in file.named("method") {
            made_up_name(&table, &name, &span);
            if table.boolean("offered") == Some(false) {
                table.finish();
                whole &= withdrawn(&table, &mut known, &name, span);
                continue;
            }
            match method(&table, &known.never) {
                Some(method) => drop(known.methods.insert(name, method)),
                None => whole = false,
            }
        }
        if let Some(table) = file.table("limits") {
            match limits(&table, &known.limits) {
                Some(limits) => known.limits = limits,
                None => whole = false,
            }
        }
        if let Some(table) = file.table("signs") {
            match signs(&table, &known.signs) {
                Some(signs) => known.signs = signs,
                None => whole = false,
            }
        }
        whole.then_some(known)
    })
}

fn withdrawn(table: &Table<'_>, known: &mut Proofs, name: &str, span: Span) -> bool {
    if known.methods.remove(name).is_some() {
        return true;
    }
    let codes: Vec<&str> = known.methods.keys().map(String::as_str).collect();
    let message = format!("there is no method {} to do without", quoted(name));
    let help = choose(name, &codes);
    table.reader().error(UNKNOWN_WORD, span, message, help);
    false
}

fn method(table: &Table<'_>, never: &BTreeMap<String, Never>) -> Option<Method> {
    table.need(
        "level",
        "say how far it reaches: none, basic, reasonable, reasonably-high or high",
    );
    table.need(
        "demands",
        "say what the person must have: nothing, knowledge, possession, document or presence",
    );
    table.need("ask", "list what may be asked, by words: ask = []");
    let level = table.word("level", UNKNOWN_WORD, LEVELS);
    let demands = table.word("demands", UNKNOWN_WORD, DEMANDS);
    let ask = table.strings("ask");
    let compare = match table.has("compare") {
        true => table.strings("compare"),
        false => Some(Vec::new()),
    };
    let points = match table.has("points") {
        true => table.integer("points", 1..=20),
        false => compare.as_ref().map(|compare| compare.len() as u64),
    };
    let told = told(table);
    table.finish();
    let ask = asked(table, ask?, never)?;
    let (compare, points) = compared(table, &ask, compare?, points?)?;
    let (ja, en, source, sure) = told?;
    Some(Method {
        level: level?.0,
        demands: demands?.0,
        ask,
        compare,
        points,
        ja,
        en,
        source,
        sure,
    })
}

fn asked(
    table: &Table<'_>,
    ask: Vec<(String, Span)>,
    never: &BTreeMap<String, Never>,
) -> Option<Vec<String>> {
    let mut allowed = true;
    for (word, span) in &ask {
        made_up_name(table, word, span);
        let Some(law) = never.get(word) else { continue };
        let message = format!(
            "{} asks for {}, which nobody may take",
            table.label(),
            quoted(word)
        );
        let help = format!("ask for something else: {}", law.source);
        table
            .reader()
            .error(NEVER_ASKED, span.clone(), message, help);
        allowed = false;
    }
    allowed.then(|| ask.into_iter().map(|(word, _)| word).collect())
}

fn compared(
    table: &Table<'_>,
    ask: &[String],
    compare: Vec<(String, Span)>,
    points: u64,
) -> Option<(Vec<String>, usize)> {
    let mut good = true;
    for (word, span) in &compare {
        if !ask.contains(word) {
            let message = format!(
                "{} compares {}, and does not ask for it",
                table.label(),
                quoted(word)
            );
            let help = "list it in `ask` too";
            table
                .reader()
                .error(CANNOT_COMPARE, span.clone(), message, help);
            good = false;
        }
    }
    let points = usize::try_from(points).ok()?;
    if points > compare.len() {
        let span = table.span_of("points").unwrap_or(table.span());
        let message = format!("{} wants more points than it compares", table.label());
        let help = "list more in `compare`, or lower `points`";
        table.reader().error(CANNOT_COMPARE, span, message, help);
        good = false;
    }
    good.then(|| (compare.into_iter().map(|(word, _)| word).collect(), points))
}

fn limits(table: &Table<'_>, known: &Limits) -> Option<Limits> {
    let duration = |key, default: Duration| match table.has(key) {
        true => {
            let some = |text: &str| match amount::duration(text)? {
                Duration::ZERO => Err("it is nothing".to_owned()),
                duration => Ok(duration),
            };
            let read = table.parsed(key, BAD_PERIOD, amount::DURATION_HELP, some);
            read.map(|(duration, _)| duration)
        }
        false => Some(default),
    };
    let number = |key, default: u32| match table.has(key) {
        true => table
            .integer(key, 1..=1_000_000)
            .and_then(|n| u32::try_from(n).ok()),
        false => Some(default),
    };
    let window = duration("window", known.window);
    let by_subject = number("by_subject", known.by_subject);
    let by_agent = number("by_agent", known.by_agent);
    let by_desk = number("by_desk", known.by_desk);
    let lock_out = duration("lock_out", known.lock_out);
    let longest = duration("longest", known.longest);
    table.finish();
    Some(Limits {
        window: window?,
        by_subject: by_subject?,
        by_agent: by_agent?,
        by_desk: by_desk?,
        lock_out: lock_out?,
        longest: longest?,
    })
}

fn signs(table: &Table<'_>, known: &Signs) -> Option<Signs> {
    let duration = |key, default: Duration| match table.has(key) {
        true => {
            let read = table.parsed(key, BAD_PERIOD, amount::DURATION_HELP, amount::duration);
            read.map(|(duration, _)| duration)
        }
        false => Some(default),
    };
    let number = |key, default: u32| match table.has(key) {
        true => table
            .integer(key, 0..=1_000)
            .and_then(|n| u32::try_from(n).ok()),
        false => Some(default),
    };
    let failed = number("failed", known.failed);
    let subjects = number("subjects", known.subjects);
    let subjects_within = duration("subjects_within", known.subjects_within);
    let failed_within = duration("failed_within", known.failed_within);
    let contested_within = duration("contested_within", known.contested_within);
    let cooling_off = duration("cooling_off", known.cooling_off);
    table.finish();
    Some(Signs {
        failed: failed?,
        failed_within: failed_within?,
        subjects: subjects?,
        subjects_within: subjects_within?,
        contested_within: contested_within?,
        cooling_off: cooling_off?,
    })
}

fn never(table: &Table<'_>) -> Option<Never> {
    let told = told(table);
    table.finish();
    let (ja, en, source, sure) = told?;
    Some(Never {
        ja,
        en,
        source,
        sure,
    })
}

/// What every row says of itself.
fn told(table: &Table<'_>) -> Option<(String, String, String, Confidence)> {
    const SURE: &[(&str, Confidence)] = &[
        ("sure", Confidence::Sure),
        ("likely", Confidence::Likely),
        ("check", Confidence::Check),
    ];
    table.need("ja", "say what it is called in Japanese, to read aloud");
    table.need("en", "say what it is called in English");
    table.need(
        "source",
        "say where it comes from: the article, or whose judgement it is",
    );
    table.need("sure", "say how sure that is: sure, likely or check");
    let texts = ["ja", "en", "source"].map(|key| table.string(key).map(|(text, _)| text));
    let sure = table.word("sure", UNKNOWN_WORD, SURE);
    let [ja, en, source] = texts;
    Some((ja?, en?, source?, sure?.0))
}

#[cfg(test)]
mod tests;
