use super::*;
use crate::policy::read::read;
use proptest::prelude::*;

const HEAD: &str = r#"
subject = "customer"
root = "shop.public.customer"
identifier.member_no = { column = "member_no", find = true }
scope.all = { tables = "all", verify = { at_least = "basic" }, sla = "jp-appi" }
[[table]]
name = "shop.public.customer"
action = "delete"
"#;

const RULE: &str = r#"
[[retention]]
name = "calls"
table = "shop.public.call"
since = "ended_at"
keep = "90 days"
action = "delete"
because = "our privacy policy, section 4.2"
timezone = "Asia/Tokyo"
"#;

fn rules(text: &str) -> Result<Vec<RetentionRule>, Vec<&'static str>> {
    match read("p.toml", &format!("{HEAD}{text}")) {
        Ok(policy) => Ok(policy.retention),
        Err(found) => Err(found.iter().map(|d| d.code).collect()),
    }
}

fn with(from: &str, to: &str) -> Result<Vec<RetentionRule>, Vec<&'static str>> {
    assert!(RULE.contains(from));
    rules(&RULE.replace(from, to))
}

fn day(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

#[test]
fn a_rule_is_read() {
    let read = rules(RULE).unwrap().remove(0);
    assert_eq!(read.table.to_string(), "shop.public.call");
    assert_eq!(read.keep.columns(), ["ended_at"]);
    assert_eq!(read.action, RetentionAction::Delete);
    assert_eq!(read.stop_above, None);
    let fiscal = with(
        "\"90 days\"",
        "{ fiscal_year_ends = \"03-31\", plus = \"7 years\" }",
    );
    let Keep::Since {
        term: Term::FiscalYear { ends, plus },
        ..
    } = fiscal.unwrap().remove(0).keep
    else {
        panic!("another term");
    };
    assert_eq!((ends, plus.months), ((3, 31), 84));
    let until = with(
        "since = \"ended_at\"\nkeep = \"90 days\"",
        "keep = { until = \"delete_on\" }",
    );
    assert_eq!(until.unwrap()[0].keep, Keep::Until("delete_on".into()));
}

#[test]
fn how_much_above_the_forecast_is_too_much() {
    let read = |over: &str| {
        let keys = format!("approval = \"first\"\nstop_over_forecast = {over}\ntimezone");
        with("timezone", &keys).unwrap().remove(0)
    };
    assert!(read("0").approval);
    assert_eq!(read("0").stop_over_forecast, Some(Over::Rows(0)));
    let share = read("\"20%\"").stop_over_forecast.unwrap();
    assert_eq!(share, Over::PerCent(20));
    assert_eq!(
        [share.most(100), share.most(4), share.most(-3)],
        [120, 4, 0]
    );
    assert_eq!(Over::Rows(7).most(100), 107);
    assert_eq!(Over::Rows(u64::MAX).most(100), i64::MAX);
}

#[test]
fn mistakes_are_told_by_their_codes() {
    for (from, to, code) in [
        ("name = \"calls\"", "name = \"call recordings\"", "E0106"),
        ("\"90 days\"", "\"90\"", "E0114"),
        (
            "\"90 days\"",
            "{ fiscal_year_ends = \"02-30\", plus = \"1 year\" }",
            "E0114",
        ),
        ("\"90 days\"", "{ fiscal_year_ends = \"03-31\" }", "E0104"),
        ("\"90 days\"", "{ until = \"delete_on\" }", "E0109"),
        ("\"ended_at\"", "[]", "E0106"),
        ("\"ended_at\"", "[\"a\", \"a\"]", "E0106"),
        ("since = \"ended_at\"", "", "E0104"),
        ("\"delete\"", "\"remove\"", "E0107"),
        ("because = \"our privacy policy, section 4.2\"", "", "E0104"),
        (
            "\"our privacy policy, section 4.2\"",
            "\"jp-ctax-8\"",
            "E0108",
        ),
        ("\"Asia/Tokyo\"", "\"Tokyo\"", "E0114"),
        ("timezone", "stop_above = 0\ntimezone", "E0106"),
        ("timezone", "approval = \"always\"\ntimezone", "E0107"),
        ("timezone", "stop_over_forecast = 5\ntimezone", "E0109"),
        (
            "timezone",
            "approval = \"first\"\nstop_over_forecast = \"a few\"\ntimezone",
            "E0106",
        ),
        ("timezone", "until = 3\ntimezone", "E0103"),
        ("timezone", "schedule = \"0 2 * *\"\ntimezone", "E0115"),
        ("timezone", "between = \"01:00-05:00\"\ntimezone", "E0109"),
        (
            "timezone",
            "schedule = \"0 0 2 * * *\"\nbetween = \"1-5\"\ntimezone",
            "E0115",
        ),
        (
            "timezone",
            "schedule = \"0 0 2 * * *\"\nbetween = \"05:00-05:00\"\ntimezone",
            "E0115",
        ),
    ] {
        assert_eq!(with(from, to).unwrap_err(), [code], "{to}");
    }
    assert_eq!(rules(&RULE.repeat(2)).unwrap_err(), ["E0140"]);
}

/// The day after the last day of keeping is the first on which a row is due.
#[test]
fn worked_examples() {
    let plain = |months, days| Term::Plain(Period { months, days });
    let fiscal = |ends, months| Term::FiscalYear {
        ends,
        plus: Period { months, days: 0 },
    };
    for (term, from, last) in [
        (plain(0, 90), "2026-08-28", "2026-11-26"),
        (plain(1, 0), "2026-01-31", "2026-02-28"),
        (plain(1, 0), "2028-01-31", "2028-02-29"),
        (plain(84, 0), "2020-02-29", "2027-02-28"),
        // Seven years from the end of the business year in which the invoice fell.
        (fiscal((3, 31), 84), "2019-04-01", "2027-03-31"),
        (fiscal((3, 31), 84), "2020-03-31", "2027-03-31"),
        (fiscal((12, 31), 120), "2016-05-05", "2026-12-31"),
        (fiscal((2, 29), 12), "2026-03-01", "2028-02-28"),
        (fiscal((2, 29), 12), "2028-02-29", "2029-02-28"),
    ] {
        let (from, last) = (day(from), day(last));
        assert_eq!(term.last_day(from), Some(last), "{term:?} {from}");
        let due_on = |today: NaiveDate| term.cutoff(today).is_some_and(|cutoff| from <= cutoff);
        assert!(!due_on(last), "{term:?} {from}");
        assert!(due_on(last.succ_opt().unwrap()), "{term:?} {from}");
    }
}

#[test]
fn a_day_begins_in_the_zone_of_the_rule() {
    let end = |zone: Tz, on: &str| Cutoff { day: day(on), zone }.end().unwrap().to_string();
    assert_eq!(
        end(Tz::Asia__Tokyo, "2026-03-31"),
        "2026-03-31 15:00:00 UTC"
    );
    assert_eq!(
        end(Tz::Europe__Berlin, "2026-03-29"),
        "2026-03-29 22:00:00 UTC"
    );
    // At midnight to 6 September 2026 the clocks of Chile were put forward: the day began at one.
    assert_eq!(
        end(Tz::America__Santiago, "2026-09-05"),
        "2026-09-06 04:00:00 UTC"
    );
    let rule = rules(RULE).unwrap().remove(0);
    let at = |now: &str| rule.cutoff(now.parse().unwrap()).unwrap().day;
    assert_eq!(at("2026-11-26T14:59:59Z"), day("2026-08-27"));
    assert_eq!(at("2026-11-26T15:00:00Z"), day("2026-08-28"));
}

fn terms() -> impl Strategy<Value = Term> {
    let period = || (0..400_u32, 0..4000_u32).prop_map(|(months, days)| Period { months, days });
    let ends = (1..=12_u32, 1..=28_u32);
    prop_oneof![
        period().prop_map(Term::Plain),
        (ends, period()).prop_map(|(ends, plus)| Term::FiscalYear { ends, plus }),
    ]
}

proptest! {
    /// Due is exactly what lies on or before the cutoff: the definition and the search agree.
    #[test]
    fn the_cutoff_parts_due_from_kept(term in terms(), today in 0..60_000_i64, back in 0..60_000_i64) {
        let today = day("1970-01-01") + Duration::days(today);
        let from = today - Duration::days(back);
        let due = term.last_day(from).unwrap() < today;
        prop_assert_eq!(due, term.cutoff(today).is_some_and(|cutoff| from <= cutoff));
    }

    /// What is due once is due ever after.
    #[test]
    fn the_cutoff_never_goes_back(term in terms(), today in 0..60_000_i64, on in 0..400_i64) {
        let today = day("1970-01-01") + Duration::days(today);
        prop_assert!(term.cutoff(today) <= term.cutoff(today + Duration::days(on)));
    }
}

/// A window may lie over midnight, and is read in the rule's zone.
#[test]
fn a_window_is_times_on_the_wall() {
    let clock = "schedule = \"0 0 23 * * *\"\nbetween = \"23:00–04:30\"\ntimezone";
    let rule = with("timezone", clock).unwrap().remove(0);
    let open = |now: &str| rule.is_open(now.parse().unwrap());
    assert!(!open("2026-11-26T13:59:59Z") && open("2026-11-26T14:00:00Z"));
    assert!(open("2026-11-26T19:29:59Z") && !open("2026-11-26T19:30:00Z"));
}

#[test]
fn an_archive_has_a_place_and_an_end() {
    let of = |archive: &str| {
        with(
            "action = \"delete\"",
            &format!("action = \"delete\"\narchive = {archive}"),
        )
    };
    let read = of("{ to = \"/srv/archive\", keep = \"10 years\" }")
        .unwrap()
        .remove(0);
    let archive = read.archive.unwrap();
    assert_eq!(archive.to.to_string(), "/srv/archive");
    assert_eq!(archive.last_day(day("2024-02-29")), Some(day("2034-02-28")));
    for wrong in [
        "{ to = \"archive\", keep = \"10 years\" }",
        "{ to = \"/srv/archive\" }",
        "{ to = \"/srv/archive\", keep = \"for long\" }",
        "{ to = \"/srv/archive\", keep = \"1 day\", as = \"csv\" }",
    ] {
        assert!(of(wrong).is_err(), "{wrong}");
    }
    let report = "action = \"report\"\narchive = { to = \"/srv/archive\", keep = \"1 day\" }";
    assert_eq!(with("action = \"delete\"", report).unwrap_err(), ["E0109"]);
    let partitions = "action = \"delete\"\npartitions = \"drops\"";
    assert!(with("action = \"delete\"", partitions).is_err());
}
