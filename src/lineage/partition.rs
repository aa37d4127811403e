//! Which partitions of a retention rule's table may go whole, in place of their rows one by one.
//!
//! A partition goes whole if its range says that every row in it is due, now and whatever is written to
//! it, and if nothing is to be done for its rows but to let them go. In doubt the rows go one by one.

use super::{DateKind, Due, Edge, OfRule, Owners, Parent};
use crate::catalog::{Catalog, Table};
use crate::diagnostic::Diagnostic;
use crate::policy::Policy;
use crate::policy::retention::{Partitions, RetentionRule};
use chrono::{DateTime, NaiveDate, NaiveDateTime, TimeDelta};

/// A table whose partitions are no ranges of the rule's date.
const NO_RANGES: &str = "E0260";

/// That the rule speaks of partitions which say nothing of its date.
pub(super) fn misfit(policy: &Policy, rule: &RetentionRule, table: &Table) -> Option<Diagnostic> {
    rule.partitions?;
    if matches!((rule.keep.columns(), table.ranges_of.as_slice()), ([since], [of]) if since == of) {
        return None;
    }
    let message = format!(
        "the retention rule {} speaks of partitions, and {} is not partitioned by ranges of the one column that it counts from",
        rule.name, rule.table
    );
    let help = "take `partitions` out: the rows go one by one";
    Some(Diagnostic::error(NO_RANGES, message, help).at(&policy.source, rule.span.clone()))
}

/// What is worth knowing of a rule that speaks of partitions.
pub(super) fn warnings(
    policy: &Policy,
    rule: &RetentionRule,
    of: &OfRule,
    catalog: &Catalog,
) -> Vec<Diagnostic> {
    let Some(partitions) = rule.partitions else {
        return Vec::new();
    };
    let warn = |code, message: String, help: &str| {
        Diagnostic::warning(code, message, help).at(&policy.source, rule.span.clone())
    };
    let mut found = Vec::new();
    if let Some(why) = obstacle(rule, of, catalog) {
        found.push(warn(
            "E0261",
            format!(
                "the retention rule {} never takes a whole partition of {}: {why}",
                rule.name, rule.table
            ),
            "take `partitions` out, or what stands against it",
        ));
    }
    if partitions == Partitions::Detach && !matches!(of.owners, Owners::Nobody) {
        found.push(warn(
            "E0262",
            format!(
                "the retention rule {} detaches partitions of {}, which hold rows of people: no ticket finds them there",
                rule.name, rule.table
            ),
            "drop them, or see that the tables that are left end soon and that somebody looks into them for each ticket",
        ));
    }
    found
}

/// What keeps the rule from ever taking a whole partition, in words.
pub fn obstacle(rule: &RetentionRule, of: &OfRule, catalog: &Catalog) -> Option<String> {
    let name = &rule.table.table;
    let table = catalog.tables.get(name)?;
    // Whatever else comes to decide whether a row is due must be thought of here.
    let [
        Due {
            condition,
            exempts: _,
            columns: _,
            linked,
            cutoff: _,
            end: _,
            still: _,
        },
    ] = of.due.as_slice()
    else {
        return Some("its rows are kept for another time as well".into());
    };
    if condition.is_some() {
        return Some("the rule is not for all rows".into());
    }
    if !linked.is_empty() || !of.spared_by.is_empty() {
        return Some("what hangs on its rows may keep them".into());
    }
    if rule.people.is_some() {
        return Some("people go by tickets".into());
    }
    let mut reached = of.lineage.systems.iter().flat_map(|s| &s.tables);
    let hangs = |e: &Edge| matches!(e.parent, Parent::Table(_));
    if let Some(child) = reached.find(|t| t.edges.iter().any(hangs)) {
        return Some(format!("rows of {} hang on its rows", child.table));
    }
    if let Some(key) = catalog.referring_to(name).next() {
        return Some(format!(
            "the foreign key {} of {} refers to it",
            key.name, key.child.0
        ));
    }
    if let Some(trigger) = table.triggers.iter().find(|t| t.on_delete) {
        return Some(format!(
            "its trigger {} fires for rows that are deleted, and not for a partition that goes",
            trigger.name
        ));
    }
    if rule.archive.is_some() {
        return Some("its rows are archived before they go".into());
    }
    let mut rules = of.policy.tables.iter();
    if rules.any(|r| r.table == rule.table && r.large_objects.is_some()) {
        return Some("its rows lead to large objects".into());
    }
    if !table.access.owner {
        return Some(
            "the daemon's role is no member of the role that owns it (GRANT that role to the daemon's login)"
                .into(),
        );
    }
    None
}

/// Whether every row that a partition with this bound can hold is due. The bound is as the server writes it
/// in a session with ISO dates in UTC; one that is open on either side, or has no date, never is over: what
/// is open below may hold `-infinity`, which is nobody's date.
pub fn is_over(bound: &str, due: &Due) -> bool {
    let [(_, kind)] = due.columns.as_slice() else {
        return false;
    };
    let limit = match kind {
        DateKind::Date => due.cutoff.day.succ_opt().map(NaiveDateTime::from),
        DateKind::Local => Some(due.end.with_timezone(&due.cutoff.zone).naive_local()),
        DateKind::Instant => Some(due.end.naive_utc()),
    };
    // What is at the upper bound stands in the next partition.
    matches!((ends(bound, *kind), limit), (Some((_, to)), Some(limit)) if to <= limit)
}

/// The first and the last day, in the rule's zone, that a range takes in; nothing for a bound as
/// [`is_over`] never finds over.
pub fn days(bound: &str, due: &Due) -> Option<(NaiveDate, NaiveDate)> {
    let [(_, kind)] = due.columns.as_slice() else {
        return None;
    };
    let (from, to) = ends(bound, *kind)?;
    let day = |at: NaiveDateTime| match kind {
        DateKind::Instant => at.and_utc().with_timezone(&due.cutoff.zone).date_naive(),
        DateKind::Date | DateKind::Local => at.date(),
    };
    // The server counts in microseconds.
    let last = to.checked_sub_signed(TimeDelta::microseconds(1))?;
    Some((day(from), day(last)))
}

fn ends(bound: &str, kind: DateKind) -> Option<(NaiveDateTime, NaiveDateTime)> {
    let range = bound.strip_prefix("FOR VALUES FROM (")?;
    let (from, to) = range.strip_suffix(')')?.split_once(") TO (")?;
    Some((moment(from, kind)?, moment(to, kind)?))
}

fn moment(quoted: &str, kind: DateKind) -> Option<NaiveDateTime> {
    let text = quoted.strip_prefix('\'')?.strip_suffix('\'')?;
    match kind {
        DateKind::Date => text.parse::<NaiveDate>().ok().map(NaiveDateTime::from),
        DateKind::Local => NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f").ok(),
        DateKind::Instant => {
            let at = DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f%#z").ok()?;
            Some(at.naive_utc())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::retention::Cutoff;

    fn due(kind: DateKind, zone: chrono_tz::Tz) -> Due {
        let cutoff = Cutoff {
            day: NaiveDate::from_ymd_opt(2026, 7, 31).unwrap(),
            zone,
        };
        Due {
            condition: None,
            exempts: false,
            linked: Vec::new(),
            columns: vec![("at".into(), kind)],
            end: cutoff.end().unwrap(),
            cutoff,
            still: None,
        }
    }

    #[test]
    fn a_range_takes_in_the_days_of_the_zone() {
        let tokyo = chrono_tz::Asia::Tokyo;
        let day = |text: &str| text.parse::<NaiveDate>().unwrap();
        for (kind, zone, from, to, first, last) in [
            (
                DateKind::Date,
                tokyo,
                "'2026-06-01'",
                "'2026-07-01'",
                "2026-06-01",
                "2026-06-30",
            ),
            (
                DateKind::Local,
                tokyo,
                "'2026-06-01 00:00:00'",
                "'2026-07-01 00:00:01'",
                "2026-06-01",
                "2026-07-01",
            ),
            (
                DateKind::Instant,
                tokyo,
                "'2026-05-31 15:00:00+00'",
                "'2026-06-30 15:00:00+00'",
                "2026-06-01",
                "2026-06-30",
            ),
            (
                DateKind::Instant,
                chrono_tz::UTC,
                "'2026-05-31 15:00:00+00'",
                "'2026-06-30 15:00:00+00'",
                "2026-05-31",
                "2026-06-30",
            ),
        ] {
            let bound = format!("FOR VALUES FROM ({from}) TO ({to})");
            let found = days(&bound, &due(kind, zone));
            assert_eq!(found, Some((day(first), day(last))), "{bound}");
        }
        assert_eq!(
            days(
                "FOR VALUES FROM (MINVALUE) TO ('2026-07-01')",
                &due(DateKind::Date, tokyo)
            ),
            None
        );
    }

    #[test]
    fn a_range_is_over_when_its_end_is() {
        let of = |from: &str, to: &str| format!("FOR VALUES FROM ({from}) TO ({to})");
        let tokyo = chrono_tz::Asia::Tokyo;
        for (kind, zone, to, over) in [
            (DateKind::Date, tokyo, "'2026-08-01'", true),
            (DateKind::Date, tokyo, "'2026-08-02'", false),
            // Midnight in Tokyo is three in the afternoon before, in UTC.
            (DateKind::Instant, tokyo, "'2026-07-31 15:00:00+00'", true),
            (
                DateKind::Instant,
                tokyo,
                "'2026-07-31 15:00:00.000001+00'",
                false,
            ),
            (DateKind::Instant, tokyo, "'2026-08-01 00:00:00+00'", false),
            (
                DateKind::Instant,
                chrono_tz::UTC,
                "'2026-08-01 00:00:00+00'",
                true,
            ),
            (DateKind::Local, tokyo, "'2026-08-01 00:00:00'", true),
            (DateKind::Local, tokyo, "'2026-08-01 00:00:01'", false),
            (DateKind::Date, tokyo, "MAXVALUE", false),
            (DateKind::Date, tokyo, "'infinity'", false),
            (DateKind::Date, tokyo, "'0044-03-15 BC'", false),
        ] {
            let from = match kind {
                DateKind::Date => "'2026-01-01'",
                DateKind::Local => "'2026-01-01 00:00:00'",
                DateKind::Instant => "'2026-01-01 00:00:00+00'",
            };
            assert_eq!(is_over(&of(from, to), &due(kind, zone)), over, "{to}");
            assert!(!is_over(&of("MINVALUE", to), &due(kind, zone)), "{to}");
        }
        for bound in [
            "DEFAULT",
            "FOR VALUES IN ('2026-01-01')",
            "FOR VALUES WITH (modulus 2, remainder 0)",
            "FOR VALUES FROM ('2026-01-01', 1) TO ('2026-02-01', 1)",
        ] {
            assert!(!is_over(bound, &due(DateKind::Date, tokyo)), "{bound}");
        }
    }
}
