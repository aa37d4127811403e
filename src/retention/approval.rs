//! What a person approves of a rule, and when that is not enough any more. Pure.

use super::forecast::Forecast;
use crate::plan::{ChangeKind, Plan};
use crate::policy::condition::Where;
use crate::policy::retention::{Keep, Partitions, RetentionAction, RetentionRule, Term};
use crate::policy::{Action, Policy};
use chrono::{Days, NaiveDate};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What decides which rows a rule takes, and what becomes of them and of what hangs on them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// `system.schema.table`.
    pub table: String,
    /// The rule's action.
    pub action: String,
    /// The zone of its days.
    pub timezone: String,
    /// How long rows are kept: all of these must be over. The first is the rule's, the others are the policy's `retain`s.
    pub kept: Vec<Kept>,
    /// What becomes of columns of rows that stay.
    pub set: BTreeMap<String, String>,
    /// Rows are archived before they go.
    pub archived: bool,
    /// Of which rows alone; nothing for all of them.
    pub only: Option<String>,
    /// Its rows are people, who go by tickets of this scope.
    pub scope: Option<String>,
    /// Tickets that a run files at most.
    pub at_most: Option<u64>,
    /// Rules for what hangs on the rows, which keeps them as long as its own time is not over.
    pub spared_by: Vec<(String, Kept)>,
    /// Tables that change, and how; those of another system with its name. Of people what their tickets change.
    pub changes: BTreeSet<(String, ChangeKind)>,
}

/// A time that must be over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// The latest day in these counts.
    pub columns: BTreeSet<String>,
    /// What is added; nothing where the column holds the last day.
    pub term: Option<Term>,
    /// It is asked of these rows alone; nothing for all of them.
    pub of: Option<String>,
}

impl Terms {
    /// Of a rule as it stands in its policy, with the plan for its rows.
    /// `in_force` are all policies; their rules for tables that the plan changes as well keep rows from going.
    pub fn new(rule: &RetentionRule, in_force: &[&Policy], plan: Option<&Plan>) -> Self {
        // Whoever gives a rule another part must say here whether it decides what is taken.
        let RetentionRule {
            name: _,
            table,
            condition,
            keep,
            action,
            because: _,
            zone,
            schedule: _,
            slots: _,
            window: _,
            stop_above: _,
            set,
            people,
            partitions,
            archive,
            approval: _,
            stop_over_forecast: _,
            span: _,
        } = rule;
        let mut kept = vec![Kept::by(keep, None)];
        // A rule that keeps is a minimum, and one that is taken out lets rows go.
        let rules = || in_force.iter().flat_map(|policy| &policy.retention);
        let keepers = rules()
            .filter(|keeper| keeper.action == RetentionAction::Keep && keeper.table == *table);
        kept.extend(keepers.map(|keeper| Kept::by(&keeper.keep, keeper.condition.as_ref())));
        let tables = in_force.iter().flat_map(|policy| &policy.tables);
        let of_table = tables.filter(|rule| rule.table == *table);
        kept.extend(of_table.filter_map(|rule| match &rule.action {
            Action::Retain(retain) => retain.until.as_ref().map(|until| Kept {
                columns: BTreeSet::from([until.column.clone()]),
                term: Some(Term::Plain(until.plus)),
                of: None,
            }),
            _ => None,
        }));
        let systems = plan.into_iter().flat_map(|plan| &plan.systems);
        let places = plan.into_iter().flat_map(|plan| &plan.places);
        let places = places.flat_map(|of| {
            let names = of.places.iter();
            names.map(move |one| {
                let sought = serde_json::to_string(one).expect("a plan is always JSON");
                format!("{}.{} {sought}", of.system, one.place)
            })
        });
        let changes = systems.flat_map(|s| s.changes.iter().map(move |change| (&s.system, change)));
        let hangs = |other: &&RetentionRule| {
            // Tickets ask no rule but one that keeps.
            people.is_none()
                && other.table != *table
                && other.table.system == table.system
                && changes
                    .clone()
                    .any(|(_, change)| change.table == other.table.table)
        };
        let spared_by = rules().filter(hangs).map(|other| {
            let by = Kept::by(&other.keep, other.condition.as_ref());
            (other.table.to_string(), by)
        });
        let spared_by = spared_by.collect();
        Self {
            table: table.to_string(),
            action: match action {
                RetentionAction::Delete => match partitions {
                    None => "delete".into(),
                    Some(Partitions::Drop) => "delete, whole partitions dropped".into(),
                    Some(Partitions::Detach) => "delete, whole partitions detached".into(),
                },
                RetentionAction::Anonymize => "anonymize".into(),
                RetentionAction::Detach => "detach".into(),
                RetentionAction::Report => "report".into(),
                RetentionAction::Keep => "keep".into(),
            },
            set: set
                .iter()
                .map(|(column, (strategy, _))| (column.clone(), format!("{strategy:?}")))
                .collect(),
            archived: archive.is_some(),
            only: condition.as_ref().map(|only| only.text.clone()),
            scope: people.as_ref().map(|people| people.scope.clone()),
            at_most: people.as_ref().map(|people| people.at_most),
            spared_by,
            timezone: zone.name().to_owned(),
            kept,
            changes: places
                .map(|name| (name, ChangeKind::Deleted))
                .chain(changes.flat_map(|(system, change)| {
                    let ring = change.ring.iter().map(|(table, _)| table);
                    let tables = std::iter::once(&change.table).chain(ring);
                    tables.map(move |of| {
                        let name = match *system == table.system {
                            true => of.to_string(),
                            false => format!("{system}.{of}"),
                        };
                        (name, change.kind)
                    })
                }))
                .collect(),
        }
    }

    /// Whether these take anything that the others, which were approved, do not; also where they cannot be compared.
    pub fn takes_more(&self, approved: &Self) -> bool {
        !self.more_than(approved).is_empty()
    }

    /// In what these take more than the others, in words.
    pub fn more_than(&self, approved: &Self) -> Vec<&'static str> {
        let kept_as_long = |old: &Kept| self.kept.iter().any(|new| new.is_as_long_as(old));
        let spared_as_long = |(table, old): &(String, Kept)| {
            let mut mine = self.spared_by.iter();
            mine.any(|(of, new)| of == table && new.is_as_long_as(old))
        };
        let more = [
            (self.table != approved.table, "another table"),
            (self.action != approved.action, "another action"),
            (self.timezone != approved.timezone, "another time zone"),
            (self.scope != approved.scope, "another scope"),
            (self.at_most > approved.at_most, "more tickets a run"),
            (self.set != approved.set, "other values set"),
            (approved.archived && !self.archived, "no archive"),
            // What one condition takes and another does not is not told by their texts.
            (
                approved.only.is_some() && self.only != approved.only,
                "another condition",
            ),
            (
                !self.changes.is_subset(&approved.changes),
                "other tables that change with it",
            ),
            (
                !approved.kept.iter().all(kept_as_long),
                "rows kept less long",
            ),
            (
                !approved.spared_by.iter().all(spared_as_long),
                "less that keeps them",
            ),
        ];
        let more = more.into_iter().filter(|(is, _)| *is);
        more.map(|(_, words)| words).collect()
    }
}

impl Kept {
    fn by(keep: &Keep, of: Option<&Where>) -> Self {
        let linked = keep.linked().iter().map(|linked| {
            let by = linked.link.as_deref().unwrap_or_default();
            let of = linked.condition.as_ref();
            let of = of.map_or_else(String::new, |of| format!(" where {}", of.text));
            format!("{}.{} {by}{of}", linked.table, linked.column)
        });
        Self {
            columns: keep.columns().iter().cloned().chain(linked).collect(),
            term: match keep {
                Keep::Until(_) => None,
                Keep::Since { term, .. } => Some(*term),
            },
            of: of.map(|of| of.text.clone()),
        }
    }

    /// Whether no row is over by this before it is by the other.
    fn is_as_long_as(&self, other: &Self) -> bool {
        // With another column a row may have a day that had none.
        self.columns == other.columns
            && (self.of.is_none() || self.of == other.of)
            && match (self.term, other.term) {
                (Some(new), Some(old)) => {
                    new == old || cycle().all(|day| new.last_day(day) >= old.last_day(day))
                }
                (new, old) => new == old,
            }
    }
}

/// The calendar repeats itself after these days, so what holds of all of them holds always.
fn cycle() -> impl Iterator<Item = NaiveDate> {
    let first = NaiveDate::from_ymd_opt(2000, 1, 1).unwrap_or_default();
    (0..146_097).filter_map(move |n| first.checked_add_days(Days::new(n)))
}

/// The forecast that was approved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Foreseen {
    /// What came due when, as of its first day.
    pub forecast: Forecast,
    /// For so many days the rows that come due were there already.
    pub horizon: i64,
}

/// The longest that a forecast looks ahead.
const YEAR: i64 = 364;

impl Foreseen {
    /// Of a rule, by its forecast.
    pub fn new(forecast: Forecast, keep: &Keep) -> Self {
        let today = forecast.weeks.first().map(|week| week.through);
        // What has its last day in a column has it from the beginning.
        let horizon = match (today, keep) {
            (Some(today), Keep::Since { .. }) => (1..YEAR).find(|days| {
                let then = u64::try_from(*days).ok().map(Days::new);
                let then = then.and_then(|days| today.checked_add_days(days));
                then.and_then(|then| keep.cutoff(then)) >= Some(today)
            }),
            _ => None,
        };
        Self {
            forecast,
            horizon: horizon.unwrap_or(YEAR),
        }
    }

    /// How many rows will have come due by a day, those among them that were due at first. Behind the horizon as many
    /// are thought to come each day as before it.
    pub fn through(&self, day: NaiveDate) -> i64 {
        let Some(first) = self.forecast.weeks.first() else {
            return 0;
        };
        let days = (day - first.through).num_days().max(0);
        let within = |days: i64| self.forecast.within(weeks(days));
        let known = within(days.min(self.horizon));
        let beyond = u128::from((days - self.horizon).max(0).unsigned_abs());
        let each = u128::from(within(self.horizon).unsigned_abs());
        let more = (beyond * each).div_ceil(u128::from(self.horizon.max(1).unsigned_abs()));
        first.rows + known + i64::try_from(more).unwrap_or(i64::MAX)
    }
}

/// Begun ones count.
fn weeks(days: i64) -> usize {
    usize::try_from(days.max(0).unsigned_abs().div_ceil(7)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
