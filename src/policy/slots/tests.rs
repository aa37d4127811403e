use super::*;
use crate::policy::read::read;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// Seconds.
const PINNED: i64 = 362;

const POLICY: &str = r#"
subject = "customer"
root = "shop.public.customer"
identifier.member_no = { column = "member_no", find = true }
scope.all = { tables = "all", verify = { at_least = "basic" }, sla = "jp-appi" }
[[table]]
name = "shop.public.customer"
action = "delete"
[[retention]]
name = "calls"
table = "shop.public.call"
since = "ended_at"
keep = "90 days"
action = "delete"
because = "our privacy policy, section 4.2"
timezone = "Europe/Berlin"
"#;

fn rule(more: &str) -> Result<RetentionRule, Vec<String>> {
    match read("p.toml", &format!("{POLICY}{more}")) {
        Ok(mut policy) => Ok(policy.retention.remove(0)),
        Err(found) => Err(found
            .iter()
            .map(|d| format!("{}: {}", d.code, d.message))
            .collect()),
    }
}

fn nightly(more: &str) -> RetentionRule {
    rule(&format!("schedule = \"0 30 2 * * *\"\n{more}")).unwrap()
}

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

#[test]
fn what_cannot_be_kept_is_refused() {
    for (more, says) in [
        ("jitter = \"10 min\"", "says nothing without `schedule`"),
        ("catch_up = \"once\"", "says nothing without `schedule`"),
        (
            "schedule = \"0 0 * * * *\"\njitter = \"2 h\"",
            "nearer to each other",
        ),
        (
            "schedule = \"@daily\"\njitter = \"7 h\"",
            "at most six hours",
        ),
        (
            "schedule = \"@daily\"\njitter = \"500 ms\"",
            "whole seconds",
        ),
        (
            "schedule = \"@daily\"\ncatch_up = \"all\"",
            "one run takes all that is due",
        ),
        (
            "schedule = \"@daily\"\ncatch_up = \"never\"",
            "it cannot be",
        ),
    ] {
        let found = rule(more).unwrap_err();
        assert!(
            found.len() == 1 && found[0].contains(says),
            "{more}: {found:?}"
        );
    }
}

#[test]
fn what_was_missed_is_run_once_or_passed_over() {
    let slot = Some(at("2026-03-10T01:30:00Z"));
    let (once, skip) = (nightly(""), nightly("catch_up = \"skip\""));
    for (now, skipped) in [
        ("2026-03-10T01:30:00Z", false),
        ("2026-03-10T02:30:00Z", false),
        ("2026-03-10T02:30:01Z", true),
        ("2026-03-10T20:00:00Z", true),
    ] {
        assert_eq!(once.slot("customer", at(now)), slot, "{now}");
        let kept = slot.filter(|_| !skipped);
        assert_eq!(skip.slot("customer", at(now)), kept, "{now}");
    }
    // What lies before the window opens is not missed until the window has been open for an hour.
    let evening = "schedule = \"0 0 22 * * *\"\nbetween = \"23:00-02:00\"\ncatch_up = \"skip\"";
    let evening = rule(evening).unwrap();
    let slot = Some(at("2026-03-10T21:00:00Z"));
    assert_eq!(evening.slot("customer", at("2026-03-10T21:30:00Z")), None);
    assert_eq!(evening.slot("customer", at("2026-03-10T22:00:00Z")), slot);
    assert_eq!(evening.slot("customer", at("2026-03-10T23:00:00Z")), slot);
    assert_eq!(evening.slot("customer", at("2026-03-10T23:00:01Z")), None);
    assert_eq!(evening.slot("customer", at("2026-03-11T01:00:00Z")), None);
}

#[test]
fn the_next_run_is_in_the_window() {
    let next = |more: &str, now: &str| rule(more).unwrap().next_run("customer", at(now));
    assert_eq!(next("", "2026-03-10T00:00:00Z"), None);
    let nightly = "schedule = \"0 30 2 * * *\"";
    assert_eq!(
        next(nightly, "2026-03-10T00:00:00Z"),
        Some(at("2026-03-10T01:30:00Z"))
    );
    let late = format!("{nightly}\nbetween = \"03:00-05:00\"");
    assert_eq!(
        next(&late, "2026-03-10T00:00:00Z"),
        Some(at("2026-03-10T02:00:00Z"))
    );
    let shaken = format!("{nightly}\njitter = \"10 minutes\"");
    assert_eq!(
        next(&shaken, "2026-03-10T00:00:00Z"),
        Some(at("2026-03-10T01:30:00Z") + Duration::seconds(PINNED))
    );
}

#[test]
fn rules_and_nights_differ_and_daemons_do_not() {
    let rule = nightly("jitter = \"10 minutes\"");
    let delay = |name: &str, day: i64| {
        let slot = at("2026-03-10T01:30:00Z") + Duration::days(day);
        rule.slots.delay("customer", name, slot).num_seconds()
    };
    // A value that was once computed: another build of the program must say the same.
    assert_eq!(delay("calls", 0), PINNED);
    let nights: BTreeSet<i64> = (0..100).map(|day| delay("calls", day)).collect();
    let rules: BTreeSet<i64> = (0..100).map(|n| delay(&format!("rule-{n}"), 0)).collect();
    for of in [nights, rules] {
        assert!(
            of.len() > 80 && of.iter().all(|s| (0..600).contains(s)),
            "{of:?}"
        );
        assert!(of.first() < Some(&60) && of.last() > Some(&540), "{of:?}");
    }
    assert_eq!(
        nightly("")
            .slots
            .delay("customer", "calls", at("2026-03-10T01:30:00Z")),
        Duration::zero()
    );
}

proptest! {
    /// Minute by minute over days with a change of clocks: each time of the schedule comes once, in order, not
    /// before it and not later than by the jitter.
    #[test]
    fn each_time_comes_once_and_in_time(
        start in prop::sample::select(vec!["2026-03-27T00:00:00Z", "2026-10-23T00:00:00Z", "2026-06-01T00:00:00Z"]),
        hour in 0..24_u32, minutes in 1..180_i64, skip in any::<bool>(),
    ) {
        let catch_up = if skip { "skip" } else { "once" };
        let rule = rule(&format!("schedule = \"0 15 {hour},{} * * *\"\njitter = \"{minutes} min\"\ncatch_up = \"{catch_up}\"", (hour + 6) % 24)).unwrap();
        let (from, mut seen) = (at(start), Vec::new());
        for minute in 0..4 * 1440 {
            let now = from + Duration::minutes(minute);
            let Some(slot) = rule.slot("customer", now) else { continue };
            prop_assert!(slot <= now);
            if seen.last() != Some(&slot) {
                prop_assert!(seen.last() < Some(&slot), "in order");
                if !seen.is_empty() {
                    prop_assert!(now - slot <= Duration::minutes(minutes + 1), "{slot} at {now}");
                }
                seen.push(slot);
            }
        }
        let timetable = rule.schedule.as_ref().unwrap();
        for two in seen.windows(2) {
            prop_assert_eq!(timetable.next(two[0]), Some(two[1]), "none is left out");
        }
        prop_assert!(seen.len() >= 7, "{:?}", seen);
    }
}
