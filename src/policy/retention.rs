//! `[[retention]]`: how long rows are kept that nobody asked to have deleted.
//!
//! Days are counted in the rule's own time zone. A row is kept through its whole last day, and is due
//! from the next midnight on; a period of months ends on the same number of the month or on its last
//! day, as everywhere here.

use super::condition::{Where, condition};
use super::read::{
    CODES, CRON_HELP, DATABASE_NAME_HELP, NAME_HELP, UNKNOWN_WORD, database_name, own_name,
    schedule, table_name,
};
use super::rule::{CONTRADICTION, Set, because};
use super::slots::Slots;
use super::timetable::Timetable;
use super::{Period, Policy, Span};
use crate::name::QualifiedTable;
use crate::policy::basis::Bases;
use crate::reading::{Table, TextOrTable, amount, quoted};
use chrono::{DateTime, Datelike, Days, Duration, Months, NaiveDate, NaiveTime, TimeZone, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

mod archive;
mod change;
mod partitions;

pub use archive::{Archive, Format, Place};
pub use partitions::Partitions;

/// A date, period or zone of a rule that cannot be one.
const BAD_PERIOD: &str = super::read::BAD_PERIOD;
/// A schedule or a window that cannot be one.
const BAD_CLOCK: &str = "E0115";
/// Two rules of one name.
const TWICE: &str = "E0140";

/// One rule.
#[derive(Clone, Debug)]
pub struct RetentionRule {
    /// Its name within the policy, and for metrics.
    pub name: String,
    /// Whose rows.
    pub table: QualifiedTable,
    /// Which of them, if not all.
    pub condition: Option<Where>,
    /// How long they are kept, and from when.
    pub keep: Keep,
    /// What happens then.
    pub action: RetentionAction,
    /// What happens to a partition all of whose rows are due; without it they go like others.
    pub partitions: Option<Partitions>,
    /// What becomes of columns of rows that stay; of those that are detached, their links.
    pub set: Set,
    /// Where rows are written to before they go.
    pub archive: Option<Archive>,
    /// Code of a legal basis, or the policy's own words.
    pub because: String,
    /// Where its days begin and end.
    pub zone: Tz,
    /// When it runs by itself.
    pub schedule: Option<Timetable>,
    /// How punctual that is.
    pub slots: Slots,
    /// Between which times on the wall it may run by itself.
    pub window: Option<Window>,
    /// A run over more rows than this stops before the first and asks.
    pub stop_above: Option<u64>,
    /// Its rows are people, who go by tickets.
    pub people: Option<People>,
    /// It runs only as far as a person has approved it.
    pub approval: bool,
    /// A run over more rows than this above what was foreseen then stops before the first and asks again.
    pub stop_over_forecast: Option<Over>,
    /// The rule's `name = …`, for pointing at.
    pub span: Span,
}

/// How people go whose time is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct People {
    /// The scope of their tickets.
    pub scope: String,
    /// Tickets that one run files at most.
    pub at_most: u64,
}

/// How much more than expected is too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// So many in a hundred of it.
    PerCent(u32),
    /// So many rows.
    Rows(u64),
}

impl Over {
    /// The most that is not too much.
    pub fn most(self, expected: i64) -> i64 {
        let expected = i128::from(expected.max(0));
        let most = match self {
            Self::PerCent(share) => expected + expected * i128::from(share) / 100,
            Self::Rows(rows) => expected + i128::from(rows),
        };
        i64::try_from(most).unwrap_or(i64::MAX)
    }
}

/// Times on the wall, the second of which is not in it; over midnight if it is the earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// From.
    pub from: NaiveTime,
    /// Until.
    pub until: NaiveTime,
}

impl Window {
    /// Whether a time on the wall is in it.
    pub fn holds(&self, time: NaiveTime) -> bool {
        if self.from < self.until {
            self.from <= time && time < self.until
        } else {
            self.from <= time || time < self.until
        }
    }
}

/// What happens to rows whose time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetentionAction {
    /// They go, and with them what the policy says of the rows that hang on them.
    Delete,
    /// They stay, and columns of theirs lose what is personal.
    Anonymize,
    /// They stay, and the columns by which they refer to somebody are emptied.
    Detach,
    /// They are counted.
    Report,
    /// Nothing: it says how long they stay at least.
    Keep,
}

impl RetentionAction {
    /// Whether anything becomes of the rows.
    pub fn changes(self) -> bool {
        match self {
            Self::Delete | Self::Anonymize | Self::Detach => true,
            Self::Report | Self::Keep => false,
        }
    }

    /// Whether the rows are changed and stay.
    pub fn rewrites(self) -> bool {
        matches!(self, Self::Anonymize | Self::Detach)
    }
}

/// How long rows are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Through a last day counted from the latest of these columns; empty ones are passed over.
    Since {
        /// Date or timestamp columns.
        columns: Vec<String>,
        /// Such columns of rows that hang on the row.
        linked: Vec<LinkedColumn>,
        /// What is added.
        term: Term,
    },
    /// Through the day in this column.
    Until(String),
}

/// A date column of a table whose rows hang on the rule's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkedColumn {
    /// The table.
    pub table: QualifiedTable,
    /// The column.
    pub column: String,
    /// The foreign key from there, where there are several.
    pub link: Option<String>,
    /// Of which of those rows, if not all.
    pub condition: Option<Where>,
    /// Where it is said.
    pub span: Span,
}

/// From a day to the last day of keeping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Term {
    /// So long after the day.
    Plain(Period),
    /// So long after the end of the fiscal year that the day is in.
    FiscalYear {
        /// Month and day on which fiscal years end; the last of February is its 29th.
        ends: (u32, u32),
        /// Added to that.
        plus: Period,
    },
}

impl Keep {
    /// The columns whose dates decide.
    pub fn columns(&self) -> &[String] {
        match self {
            Self::Since { columns, .. } => columns,
            Self::Until(column) => std::slice::from_ref(column),
        }
    }

    /// The columns of other tables whose dates decide too.
    pub fn linked(&self) -> &[LinkedColumn] {
        match self {
            Self::Since { linked, .. } => linked,
            Self::Until(_) => &[],
        }
    }

    /// The latest day in the columns whose keeping is over before `today`. `None` if none is, or beyond
    /// the calendar.
    pub fn cutoff(&self, today: NaiveDate) -> Option<NaiveDate> {
        match self {
            Self::Until(_) => today.pred_opt(),
            Self::Since { term, .. } => term.cutoff(today),
        }
    }
}

impl Term {
    /// The last day on which a row of that day is kept. `None` beyond the calendar.
    pub fn last_day(self, day: NaiveDate) -> Option<NaiveDate> {
        match self {
            Self::Plain(period) => after(day, period),
            Self::FiscalYear { ends, plus } => after(year_end(day, ends)?, plus),
        }
    }

    /// The latest day whose last day of keeping is before `today`. The last day never goes back when
    /// the day goes on, so what is searched is one point.
    fn cutoff(self, today: NaiveDate) -> Option<NaiveDate> {
        let over = |day: NaiveDate| self.last_day(day).is_some_and(|last| last < today);
        let (mut kept, mut gone) = (today, first_day());
        if !over(gone) {
            return None;
        }
        while (kept - gone).num_days() > 1 {
            let middle = gone + Duration::days((kept - gone).num_days() / 2);
            if over(middle) {
                gone = middle;
            } else {
                kept = middle;
            }
        }
        Some(gone)
    }
}

/// No row is older: PostgreSQL's own calendar begins before, ours ends a search somewhere.
fn first_day() -> NaiveDate {
    NaiveDate::from_ymd_opt(-4700, 1, 1).unwrap_or(NaiveDate::MIN)
}

fn after(day: NaiveDate, period: Period) -> Option<NaiveDate> {
    day.checked_add_months(Months::new(period.months))?
        .checked_add_days(Days::new(period.days.into()))
}

/// The first end of a fiscal year on or after the day.
fn year_end(day: NaiveDate, (month, last): (u32, u32)) -> Option<NaiveDate> {
    let end = |year| {
        // A 29 February is the 28th in most years.
        NaiveDate::from_ymd_opt(year, month, last)
            .or_else(|| NaiveDate::from_ymd_opt(year, month, last.checked_sub(1)?))
    };
    end(day.year())
        .filter(|end| day <= *end)
        .or_else(|| end(day.year().checked_add(1)?))
}

/// Up to which day rows are due, as one run sees it from its beginning to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cutoff {
    /// The latest day that is due.
    pub day: NaiveDate,
    /// The zone in which it is one.
    pub zone: Tz,
}

impl Cutoff {
    /// The first instant that is not due.
    pub fn end(&self) -> Option<DateTime<Utc>> {
        // Where midnight is skipped, the day begins when the clock has been put forward.
        let midnight = self.day.succ_opt()?.and_hms_opt(0, 0, 0)?;
        (0..=96).find_map(|quarters| {
            let local = midnight.checked_add_signed(Duration::minutes(15 * quarters))?;
            Some(self.zone.from_local_datetime(&local).earliest()?.to_utc())
        })
    }
}

impl RetentionRule {
    /// Since when a row of this day has been due.
    pub fn due_since(&self, day: NaiveDate) -> Option<DateTime<Utc>> {
        let day = match &self.keep {
            Keep::Until(_) => day,
            Keep::Since { term, .. } => term.last_day(day)?,
        };
        let zone = self.zone;
        Cutoff { day, zone }.end()
    }

    /// Whether it may run by itself now.
    pub fn is_open(&self, now: DateTime<Utc>) -> bool {
        let wall = now.with_timezone(&self.zone).time();
        self.window.is_none_or(|window| window.holds(wall))
    }

    /// What is due now; `None` if nothing can be yet.
    pub fn cutoff(&self, now: DateTime<Utc>) -> Option<Cutoff> {
        let today = now.with_timezone(&self.zone).date_naive();
        Some(Cutoff {
            day: self.keep.cutoff(today)?,
            zone: self.zone,
        })
    }
}

impl Policy {
    /// A rule by its name.
    pub fn retention_rule(&self, name: &str) -> Option<&RetentionRule> {
        self.retention.iter().find(|rule| rule.name == name)
    }
}

/// All rules, in the order of the file.
pub(super) fn rules(file: &Table<'_>, bases: &Bases, scopes: &[&str]) -> Vec<RetentionRule> {
    let mut rules: Vec<RetentionRule> = Vec::new();
    for mut table in file.list("retention") {
        let Some(rule) = rule(&mut table, bases, scopes) else {
            continue;
        };
        if let Some(other) = rules.iter().find(|other| other.name == rule.name) {
            let line = table.reader().source().position(other.span.start).0;
            let message = format!(
                "two retention rules are called {}, first in line {line}",
                quoted(&rule.name)
            );
            let help = "give each its own name: people run and watch them by it";
            table
                .reader()
                .error(TWICE, rule.span.clone(), message, help);
        }
        rules.push(rule);
    }
    rules
}

fn rule(table: &mut Table<'_>, bases: &Bases, scopes: &[&str]) -> Option<RetentionRule> {
    table.need("name", "give the rule a name: name = \"call-recordings\"");
    let name = table.parsed("name", CODES.bad_value, NAME_HELP, own_name);
    if let Some((name, _)) = &name {
        table.relabel(format!("the retention rule {name}"));
    }
    table.need("table", "name the table: table = \"system.schema.table\"");
    let of = table_name(table, "table");
    let chosen = (table.has("where"), condition(table, "where"));
    let keep = keep(table);
    table.need(
        "action",
        "say what happens then: action = \"delete\", \"anonymize\", \"detach\", \"report\" to count only, or \"keep\" where they stay at least so long",
    );
    let actions = [
        ("delete", RetentionAction::Delete),
        ("anonymize", RetentionAction::Anonymize),
        ("detach", RetentionAction::Detach),
        ("report", RetentionAction::Report),
        ("keep", RetentionAction::Keep),
    ];
    let action = table.word("action", UNKNOWN_WORD, &actions);
    let set = change::read(table, action.as_ref().map(|(action, _)| *action));
    let archive = archive::read(table, action.as_ref().map(|(action, _)| *action));
    let partitions = partitions::read(table, action.as_ref().map(|(action, _)| *action));
    table.need(
        "because",
        "name the legal basis by its code, or say why in words",
    );
    let because = because(table, bases);
    table.need("timezone", ZONE_HELP);
    let zone = table.parsed("timezone", BAD_PERIOD, ZONE_HELP, |text| {
        text.parse::<Tz>()
            .map_err(|_| format!("{} is no time zone", quoted(text)))
    });
    let cron = table.parsed("schedule", BAD_CLOCK, CRON_HELP, schedule);
    let window = table.parsed("between", BAD_CLOCK, BETWEEN_HELP, window);
    for key in ["between", "jitter", "catch_up"] {
        if let (Some(at), false) = (table.span_of(key), table.has("schedule")) {
            let message = format!(
                "`{key}` in {} says nothing without `schedule`",
                table.label()
            );
            let help = format!("add `schedule`, or remove `{key}`");
            table.reader().error(CONTRADICTION, at, message, help);
        }
    }
    let slots = Slots::read(table, cron.as_ref().map(|(cron, _)| cron));
    let timed = (table.has("schedule"), table.has("between"));
    let has_stop = table.has("stop_above");
    let stop_above = table.integer("stop_above", 1..=i64::MAX as u64);
    let of_people = people(table, scopes);
    if let (Some((word, at)), Some(Some(_))) = (&action, &of_people)
        && *word != RetentionAction::Delete
    {
        let message = format!("people in {} go, or are not named", table.label());
        let help = "action = \"delete\": each by a ticket; or leave `people` out";
        table
            .reader()
            .error(CONTRADICTION, at.clone(), message, help);
    }
    let approval = table.word("approval", UNKNOWN_WORD, &[("first", ())]);
    let asks = (table.has("approval"), table.has("stop_over_forecast"));
    let over = over(table);
    if let (Some(at), false) = (table.span_of("stop_over_forecast"), asks.0) {
        let message = format!(
            "`stop_over_forecast` in {} says nothing without `approval`: nobody has seen a forecast",
            table.label()
        );
        let help = "add approval = \"first\", or remove `stop_over_forecast`";
        table.reader().error(CONTRADICTION, at, message, help);
    }
    table.finish();
    if let Some((RetentionAction::Keep, _)) = action {
        does_nothing(table);
    }
    let (name, span) = name?;
    let zone = zone?.0;
    let schedule = match timed.0 {
        false => None,
        true => Some(Timetable {
            cron: Box::new(cron?.0),
            zone,
        }),
    };
    Some(RetentionRule {
        name,
        table: of?.0,
        condition: if chosen.0 { Some(chosen.1?) } else { None },
        keep: keep?,
        action: action?.0,
        partitions: partitions?,
        archive: archive?,
        set: set?,
        because: because?,
        zone,
        schedule,
        slots: slots?,
        window: if timed.1 { Some(window?.0) } else { None },
        stop_above: if has_stop { Some(stop_above?) } else { None },
        people: of_people?,
        approval: match asks.0 {
            true => approval.map(|_| true)?,
            false => false,
        },
        stop_over_forecast: if asks.1 { Some(over?) } else { None },
        span,
    })
}

/// Whether the rows are people, and how they go; `None` if a mistake has been noted.
fn people(table: &Table<'_>, scopes: &[&str]) -> Option<Option<People>> {
    let are = match table.has("people") {
        true => table.boolean("people")?,
        false => false,
    };
    if !are {
        for key in ["scope", "at_most"] {
            if let Some(at) = table.span_of(key) {
                let message = format!(
                    "`{key}` in {} is for rules with people = true",
                    table.label()
                );
                let help = "remove it, or add people = true";
                table.reader().error(CONTRADICTION, at, message, help);
                return None;
            }
        }
        return Some(None);
    }
    table
        .need(
            "scope",
            "name the scope of their tickets: scope = \"account\"",
        )
        .need(
            "at_most",
            "say how many tickets one run files at most: at_most = 100",
        );
    let known: Vec<(&str, String)> = scopes.iter().map(|s| (*s, (*s).to_owned())).collect();
    let scope = table.word("scope", UNKNOWN_WORD, &known);
    let at_most = table.integer("at_most", 1..=1_000_000);
    Some(Some(People {
        scope: scope?.0,
        at_most: at_most?,
    }))
}

/// A rule that only keeps has nothing to run.
fn does_nothing(table: &Table<'_>) {
    for key in ["schedule", "between", "stop_above"] {
        if let Some(at) = table.span_of(key) {
            let message = format!("`{key}` in {} is for rules by which rows go", table.label());
            let help =
                "remove it: a rule that keeps runs never, and what stands against it is refused";
            table.reader().error(CONTRADICTION, at, message, help);
        }
    }
}

const ZONE_HELP: &str =
    "name the zone in which days begin and end, as the tz database does: timezone = \"Asia/Tokyo\"";
const SINCE_HELP: &str = "name the date column that the time is counted from: since = \"ended_at\"; of several, \
     the latest counts: since = [\"last_login_at\", \"last_order_at\"]; of rows that hang on it: \
     since = { table = \"system.schema.table\", column = \"ends_at\" }";
const KEEP_HELP: &str = "say how long: keep = \"90 days\", keep = { fiscal_year_ends = \"03-31\", plus = \"7 years\" }, \
     or keep = { until = \"delete_on\" } for a column that holds the last day";

fn keep(table: &Table<'_>) -> Option<Keep> {
    table.need("keep", KEEP_HELP);
    if table.is_string("keep") || !table.has("keep") {
        let period = table.parsed("keep", BAD_PERIOD, KEEP_HELP, period);
        return since(table, period.map(|(period, _)| Term::Plain(period)));
    }
    let how = table.table("keep")?;
    let until = how.parsed("until", CODES.bad_value, DATABASE_NAME_HELP, database_name);
    let ends = how.parsed("fiscal_year_ends", BAD_PERIOD, ENDS_HELP, month_and_day);
    let plus = how.parsed("plus", BAD_PERIOD, amount::PERIOD_HELP, period);
    if how.has("until") {
        let other = ["fiscal_year_ends", "plus"]
            .into_iter()
            .find_map(|key| how.span_of(key));
        for (at, what) in [(other, "`keep`"), (table.span_of("since"), "`since`")] {
            if let Some(at) = at {
                let message = format!(
                    "{what} in {} counts from a day, and `until` names the last one",
                    table.label()
                );
                table.reader().error(CONTRADICTION, at, message, KEEP_HELP);
            }
        }
        how.finish();
        return Some(Keep::Until(until?.0));
    }
    how.need("fiscal_year_ends", KEEP_HELP)
        .need("plus", KEEP_HELP);
    how.finish();
    let term = ends
        .zip(plus)
        .map(|((ends, _), (plus, _))| Term::FiscalYear { ends, plus });
    since(table, term)
}

fn since(table: &Table<'_>, term: Option<Term>) -> Option<Keep> {
    table.need("since", SINCE_HELP);
    let named = table.texts_and_tables("since")?;
    let (mut columns, mut linked) = (Vec::new(), Vec::new());
    let mistake = |at, why: &str, help| {
        let message = format!("`since` in {} {why}", table.label());
        table.reader().error(CODES.bad_value, at, message, help);
    };
    if named.is_empty() {
        let at = table.span_of("since").unwrap_or_else(|| table.span());
        mistake(at, "names no column", SINCE_HELP);
        return None;
    }
    for named in named {
        match named {
            TextOrTable::Text(name, at) => match database_name(&name) {
                Ok(name) if !columns.contains(&name) => columns.push(name),
                Ok(name) => {
                    mistake(at, &format!("names {} twice", quoted(&name)), SINCE_HELP);
                    return None;
                }
                Err(why) => {
                    mistake(at, &format!("cannot be read: {why}"), DATABASE_NAME_HELP);
                    return None;
                }
            },
            TextOrTable::Table(table) => linked.push(linked_column(&table)?),
        }
    }
    Some(Keep::Since {
        columns,
        linked,
        term: term?,
    })
}

fn linked_column(table: &Table<'_>) -> Option<LinkedColumn> {
    table
        .need("table", "name the table: table = \"system.schema.table\"")
        .need("column", "name its date column");
    let of = table_name(table, "table");
    let name = |key| table.parsed(key, CODES.bad_value, DATABASE_NAME_HELP, database_name);
    let (column, link) = (name("column"), name("link"));
    let has_link = table.has("link");
    let chosen = (table.has("where"), condition(table, "where"));
    table.finish();
    Some(LinkedColumn {
        table: of?.0,
        column: column?.0,
        link: if has_link { Some(link?.0) } else { None },
        condition: if chosen.0 { Some(chosen.1?) } else { None },
        span: table.span(),
    })
}

const OVER_HELP: &str = "write a share or rows: stop_over_forecast = \"20%\", or 5000";

fn over(table: &Table<'_>) -> Option<Over> {
    if !table.is_string("stop_over_forecast") {
        let rows = table.integer("stop_over_forecast", 0..=i64::MAX as u64);
        return rows.map(Over::Rows);
    }
    let share = table.parsed("stop_over_forecast", CODES.bad_value, OVER_HELP, |text| {
        let share = text.trim().strip_suffix('%').map(str::trim_end);
        share
            .and_then(|share| share.parse::<u32>().ok())
            .filter(|share| *share <= 10_000)
            .ok_or_else(|| format!("{} is no share", quoted(text)))
    });
    share.map(|(share, _)| Over::PerCent(share))
}

const BETWEEN_HELP: &str = "write two times on the wall: between = \"01:00-05:00\"";

fn window(text: &str) -> Result<Window, String> {
    let time = |part: &str| NaiveTime::parse_from_str(part.trim(), "%H:%M").ok();
    let (from, until) = text
        .split_once(['-', '–'])
        .and_then(|(from, until)| Some((time(from)?, time(until)?)))
        .ok_or_else(|| format!("{} are no two times", quoted(text)))?;
    if from == until {
        return Err("it begins when it ends".into());
    }
    Ok(Window { from, until })
}

fn period(text: &str) -> Result<Period, String> {
    let (months, days) = amount::period(text)?;
    Ok(Period { months, days })
}

const ENDS_HELP: &str = "write month and day on which your fiscal year ends, such as \"03-31\"";

fn month_and_day(text: &str) -> Result<(u32, u32), String> {
    let parts = text
        .split_once('-')
        .filter(|(m, d)| m.len() == 2 && d.len() == 2);
    let parts = parts.and_then(|(m, d)| Some((m.parse().ok()?, d.parse().ok()?)));
    // A year with a 29 February, which is how an end of February is written.
    parts
        .filter(|&(month, day)| NaiveDate::from_ymd_opt(2024, month, day).is_some())
        .ok_or_else(|| format!("{} is no day of the year", quoted(text)))
}

#[cfg(test)]
mod tests;
