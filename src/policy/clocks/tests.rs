use super::*;
use crate::ticket::clock::{Events, Question, Standing};
use chrono::{DateTime, Utc};

/// Clock, moment of the request, last day where the clock counts, and why.
#[rustfmt::skip]
const WORKED: &[(&str, &str, &str, &str)] = &[
    ("jp-appi", "2026-11-20T12:00:00+09:00", "2026-12-04 Fri", "fourteen days"),
    ("jp-appi", "2026-11-20T00:00:00+09:00", "2026-12-04 Fri", "the first second of a day is of the day"),
    ("jp-appi", "2026-11-20T23:59:59+09:00", "2026-12-04 Fri", "and the last"),
    ("jp-appi", "2026-11-20T15:00:00Z", "2026-12-05 Sat", "in Tokyo it is the 21st already"),
    ("jp-appi", "2026-01-31T00:30:00+09:00", "2026-02-14 Sat", "a Saturday stays"),
    ("jp-appi", "2027-02-20T12:00:00+09:00", "2027-03-06 Sat", "February has 28 days"),
    ("jp-appi", "2028-02-20T12:00:00+09:00", "2028-03-05 Sun", "or 29"),
    ("jp-appi", "2026-12-25T12:00:00+09:00", "2027-01-08 Fri", "over the year's end, holidays counted"),
    ("eu-gdpr", "2026-10-03T12:00:00+02:00", "2026-11-03 Tue", "the day of the same number (Toeters, C-171/03)"),
    ("eu-gdpr", "2026-09-03T12:00:00+02:00", "2026-10-05 Mon", "Saturday becomes Monday (Reg. 1182/71 Art. 3(4))"),
    ("eu-gdpr", "2026-01-31T12:00:00+01:00", "2026-03-02 Mon", "no 31 February: its last day, a Saturday"),
    ("eu-gdpr", "2026-01-30T12:00:00+01:00", "2026-03-02 Mon", "nor a 30th"),
    ("eu-gdpr", "2026-01-29T12:00:00+01:00", "2026-03-02 Mon", "nor a 29th"),
    ("eu-gdpr", "2026-01-28T12:00:00+01:00", "2026-03-02 Mon", "28 February 2026 is a Saturday"),
    ("eu-gdpr", "2028-01-31T12:00:00+01:00", "2028-02-29 Tue", "a leap year"),
    ("eu-gdpr", "2028-01-29T12:00:00+01:00", "2028-02-29 Tue", "which has a 29th"),
    ("eu-gdpr", "2026-02-28T12:00:00+01:00", "2026-03-30 Mon", "the last of February is 28 March, a Saturday, not the last of March"),
    ("eu-gdpr", "2026-03-31T12:00:00+02:00", "2026-04-30 Thu", "April has 30 days"),
    ("eu-gdpr", "2026-05-31T12:00:00+02:00", "2026-06-30 Tue", "June too"),
    ("eu-gdpr", "2026-08-31T12:00:00+02:00", "2026-09-30 Wed", "September too"),
    ("eu-gdpr", "2026-10-31T12:00:00+01:00", "2026-11-30 Mon", "November too"),
    ("eu-gdpr", "2026-12-31T12:00:00+01:00", "2027-02-01 Mon", "31 January 2027 is a Sunday"),
    ("eu-gdpr", "2027-01-31T12:00:00+01:00", "2027-03-01 Mon", "28 February 2027 is one"),
    ("eu-gdpr", "2026-03-28T22:30:00Z", "2026-04-28 Tue", "half past eleven in Brussels, an hour before summer time"),
    ("eu-gdpr", "2026-03-28T23:30:00Z", "2026-04-29 Wed", "half past midnight"),
    ("eu-gdpr", "2026-09-25T12:00:00+02:00", "2026-10-26 Mon", "the Sunday on which winter time begins"),
    ("uk-gdpr", "2026-09-03T12:00:00+01:00", "2026-10-05 Mon", "the ICO's example: 3 September to 3 October, here a Saturday"),
    ("uk-gdpr", "2026-03-31T12:00:00+01:00", "2026-04-30 Thu", "the ICO's other example"),
    ("uk-gdpr", "2024-01-31T12:00:00Z", "2024-02-29 Thu", "a leap year"),
    ("uk-gdpr", "2026-11-25T12:00:00Z", "2026-12-25 Fri", "Christmas is not known without a calendar: early, never late"),
    ("us-ca", "2026-11-20T12:00:00-08:00", "2027-01-04 Mon", "45 days (11 CCR 7021(b))"),
    ("us-ca", "2026-01-01T12:00:00-08:00", "2026-02-15 Sun", "a Sunday stays"),
    ("us-ca", "2028-01-20T12:00:00-08:00", "2028-03-05 Sun", "over 29 February"),
    ("us-ca", "2026-03-01T12:00:00-08:00", "2026-04-15 Wed", "over the beginning of summer time"),
    ("us-ca", "2026-11-20T07:59:00Z", "2027-01-03 Sun", "in Los Angeles it is still the 19th"),
    ("us-state-45", "2026-11-20T12:00:00-08:00", "2027-01-04 Mon", "45 days"),
    ("us-ia", "2026-11-20T12:00:00-08:00", "2027-02-18 Thu", "90 days"),
    ("us-ia", "2027-12-01T12:00:00-08:00", "2028-02-29 Tue", "the last of them 29 February"),
    ("br-lgpd", "2026-11-20T12:00:00-03:00", "2026-12-05 Sat", "15 days"),
    ("cn-pipl", "2026-11-20T12:00:00+08:00", "2026-12-11 Fri", "15 working days from a Friday"),
    ("cn-pipl", "2026-11-21T12:00:00+08:00", "2026-12-11 Fri", "from the Saturday after it, the same"),
    ("kr-pipa", "2026-11-20T12:00:00+09:00", "2026-11-30 Mon", "10 days"),
    ("kr-pipa", "2026-12-25T12:00:00+09:00", "2027-01-04 Mon", "over the year's end"),
    ("tw-pdpa", "2026-11-20T12:00:00+08:00", "2026-12-20 Sun", "30 days, no month"),
    ("tw-pdpa", "2026-01-30T12:00:00+08:00", "2026-03-01 Sun", "30 days from 30 January"),
    ("za-popia", "2026-11-20T12:00:00+02:00", "2026-12-21 Mon", "a Sunday rolls"),
    ("za-popia", "2026-11-19T12:00:00+02:00", "2026-12-19 Sat", "a Saturday does not"),
    ("ca-qc", "2026-11-20T12:00:00-05:00", "2026-12-20 Sun", "30 days"),
    ("in-dpdp", "2026-11-20T12:00:00+05:30", "2027-02-18 Thu", "90 days"),
    ("company", "2026-04-24T12:00:00+09:00", "2026-05-14 Thu", "29 April, 4 to 6 May are off"),
    ("company", "2026-09-14T12:00:00+09:00", "2026-10-01 Thu", "22 September lies between two holidays"),
    ("company", "2026-12-25T12:00:00+09:00", "2027-01-12 Tue", "New Year's Day and the second Monday of January"),
];

fn due_on(clocks: &Clocks, code: &str, requested: &str) -> String {
    let requested: DateTime<Utc> = requested.parse().unwrap();
    let clock = &clocks[code];
    let counted = clock.clock(&Events::received(requested), requested);
    let due = counted.unwrap().due.with_timezone(&clock.zone);
    assert_eq!(due.format("%H:%M:%S").to_string(), "23:59:59");
    due.format("%Y-%m-%d %a").to_string()
}

#[test]
fn every_clock_counts_as_worked_out_by_hand() {
    let mut met = BTreeSet::new();
    for (code, requested, due, why) in WORKED {
        assert_eq!(due_on(built_in(), code, requested), *due, "{code}: {why}");
        met.insert((*code).to_owned());
    }
    assert_eq!(met, built_in().keys().cloned().collect());
}

/// Clock, what happens (R request, I proof of identity, X extension, Q a question, P one for proof
/// of identity, A its answer), then acknowledged by, due, extended, how it stands at the last
/// of these; and why. Noon where the clock counts.
#[rustfmt::skip]
const EVENTFUL: &[(&str, &str, [&str; 3], Standing, &str)] = &[
    ("us-ca", "R 2026-11-20", ["2026-12-04", "2027-01-04", "2027-02-18"], Standing::Running, "10 business days to confirm; 90 days from receipt in all (7021)"),
    ("us-ca", "R 2026-11-20, P 2026-11-21, A 2026-12-20", ["2026-12-04", "2027-01-04", "2027-02-18"], Standing::Running, "regardless of time required to verify (7021(b))"),
    ("us-ca", "R 2026-11-20, P 2026-11-21, N 2027-01-05", ["2026-12-04", "2027-01-04", "2027-02-18"], Standing::Late, "an open question changes nothing there"),
    ("us-ca", "R 2026-11-20, X 2026-12-20", ["2026-12-04", "2027-02-18", "2027-02-18"], Standing::Running, "extended (1798.130(a)(2))"),
    ("us-ca", "R 2026-12-18", ["2027-01-01", "2027-02-01", "2027-03-18"], Standing::Running, "without a calendar only weekends are off: early, never late"),
    ("us-state-45", "R 2026-11-20, X 2026-12-20", ["", "2027-02-18", "2027-02-18"], Standing::Running, "45 and 45 (Va. 59.1-577(B))"),
    ("us-ia", "R 2026-11-20, X 2027-02-01", ["", "2027-04-04", "2027-04-04"], Standing::Running, "90 and 45 (715D.3)"),
    ("tw-pdpa", "R 2026-11-20, X 2026-12-01", ["", "2027-01-19", "2027-01-19"], Standing::Running, "30 and 30 (Art. 13(2))"),
    ("kr-pipa", "R 2026-11-20, N 2026-12-01", ["", "2026-11-30", ""], Standing::Late, "the eleventh day is late, and no extension is written"),
    ("jp-appi", "R 2026-11-20, N 2026-12-04", ["", "2026-12-04", ""], Standing::Running, "the fourteenth day"),
    ("jp-appi", "R 2026-11-20, N 2026-12-05", ["", "2026-12-04", ""], Standing::ExplainDuty, "no overdue in the law: from now on the person may sue (Art. 39)"),
    ("jp-appi", "R 2026-11-20, P 2026-11-21, A 2026-12-20", ["", "2026-12-04", ""], Standing::ExplainDuty, "no pause is written"),
    ("eu-gdpr", "R 2026-01-31, X 2026-02-20", ["", "2026-04-30", "2026-04-30"], Standing::Running, "three months from the original start: 30 April, a Thursday; not 28 February and two more"),
    ("eu-gdpr", "R 2026-03-05, X 2026-03-20", ["", "2026-06-05", "2026-06-05"], Standing::Running, "rolled once, at the very end: 5 April was a Sunday"),
    ("eu-gdpr", "R 2026-09-05, X 2026-09-20", ["", "2026-12-07", "2026-12-07"], Standing::Running, "5 December is a Saturday"),
    ("eu-gdpr", "R 2026-11-30, X 2026-12-20", ["", "2027-03-01", "2027-03-01"], Standing::Running, "28 February 2027 is a Sunday"),
    ("eu-gdpr", "R 2027-11-30, X 2027-12-20", ["", "2028-02-29", "2028-02-29"], Standing::Running, "a leap year"),
    ("eu-gdpr", "R 2026-10-05, Q 2026-10-07, A 2026-10-12", ["", "2026-11-10", "2027-01-11"], Standing::Running, "five days asked, five days more (EDPB 01/2022 5.3)"),
    ("eu-gdpr", "R 2026-10-05, Q 2026-10-07, A 2026-10-07", ["", "2026-11-05", "2027-01-05"], Standing::Running, "answered the same day: nothing is won"),
    ("eu-gdpr", "R 2026-10-05, Q 2026-10-07, A 2026-10-12, Q 2026-10-20, A 2026-10-21", ["", "2026-11-11", "2027-01-11"], Standing::Running, "two questions add up; 11 January is a Monday"),
    ("eu-gdpr", "R 2026-10-05, Q 2026-10-07, N 2026-12-24", ["", "2027-01-22", "2027-03-24"], Standing::Paused, "while it is open the clock stands; 78 days so far"),
    ("eu-gdpr", "R 2026-10-05, Q 2026-11-06, N 2026-11-07", ["", "2026-11-05", "2027-01-06"], Standing::Late, "asked when it was late already"),
    ("eu-gdpr", "R 2026-09-03, Q 2026-10-04, A 2026-10-08", ["", "2026-10-08", "2026-12-07"], Standing::Running, "asked on the Sunday before the rolled day: the day of the answer is left"),
    ("eu-gdpr", "R 2026-03-27, Q 2026-03-28, A 2026-03-30", ["", "2026-04-29", "2026-06-29"], Standing::Running, "over the beginning of summer time days are days"),
    ("uk-gdpr", "R 2026-10-05, P 2026-10-06, A 2026-10-20", ["", "2026-11-20", "2027-01-20"], Standing::Running, "a month from the receipt of the proof (Art. 12A, ICO)"),
    ("uk-gdpr", "R 2026-10-05, I 2026-10-20", ["", "2026-11-05", "2027-01-05"], Standing::Running, "nobody had asked for it: from receipt"),
    ("uk-gdpr", "R 2026-10-05, Q 2026-10-06, A 2026-10-20", ["", "2026-11-05", "2027-01-05"], Standing::Running, "another question does not count"),
    ("uk-gdpr", "R 2026-10-05, P 2026-10-06, N 2026-12-20", ["", "2026-11-05", "2027-01-05"], Standing::Paused, "while the proof is waited for"),
    ("uk-gdpr", "R 2026-10-05, P 2026-11-10, A 2026-11-20", ["", "2026-11-05", "2027-01-05"], Standing::Late, "asked for too late"),
    ("uk-gdpr", "R 2026-10-05, P 2026-10-06, A 2026-10-31, X 2026-11-01", ["", "2027-02-01", "2027-02-01"], Standing::Running, "31 January 2027 is a Sunday; from the new start"),
    ("za-popia", "R 2026-11-20, Q 2026-11-21, N 2026-12-22", ["", "2026-12-21", ""], Standing::Late, "no pause and no extension"),
    ("ca-qc", "R 2026-11-20, N 2026-12-21", ["", "2026-12-20", ""], Standing::Late, "silence is a refusal (s. 32)"),
    ("company", "R 2026-04-24", ["2026-04-30", "2026-05-14", "2026-05-28"], Standing::Running, "29 April is off, and 4 to 6 May"),
    ("company", "R 2026-04-24, Q 2026-04-27, A 2026-05-07", ["2026-04-30", "2026-05-20", "2026-06-03"], Standing::Running, "of the days asked 28 and 30 April, 1 and 7 May are working days"),
    ("company", "R 2026-04-24, Q 2026-05-02, A 2026-05-06", ["2026-04-30", "2026-05-14", "2026-05-28"], Standing::Running, "nobody works on these days anyway"),
];

#[test]
fn events_move_the_clock_as_worked_out_by_hand() {
    for (code, story, days, standing, why) in EVENTFUL {
        let profile = &built_in()[*code];
        let mut events = Events::received(DateTime::UNIX_EPOCH);
        let mut now = DateTime::UNIX_EPOCH;
        for event in story.split(", ") {
            let (kind, day) = event.split_once(' ').unwrap();
            let day: NaiveDate = day.parse().unwrap();
            let noon = day.and_hms_opt(12, 0, 0).unwrap();
            now = noon.and_local_timezone(profile.zone).unwrap().to_utc();
            match kind {
                "R" => events.requested_at = now,
                "I" => events.proven_at = Some(now),
                "X" => events.extended_at = Some(now),
                "A" => events.questions.last_mut().unwrap().answered_at = Some(now),
                "N" => {}
                _ => events.questions.push(Question {
                    for_identity: kind == "P",
                    asked_at: now,
                    answered_at: None,
                }),
            }
        }
        let clock = profile.clock(&events, now).unwrap();
        let day = |at: DateTime<Utc>| at.with_timezone(&profile.zone).date_naive().to_string();
        let got = [clock.acknowledge_by, Some(clock.due), clock.extended_due];
        let got = got.map(|at| at.map(day).unwrap_or_default());
        assert_eq!(
            (&got.each_ref().map(String::as_str), &clock.standing),
            (days, standing),
            "{code}: {story}: {why}"
        );
    }
}

#[test]
fn a_clock_may_begin_with_proof_or_with_approval() {
    let text = r#"
        [profile.proof]
        start = "identity"
        length = "30 days"
        zone = "Asia/Tokyo"
        source = "x"
        sure = "check"
        [profile.ground]
        start = "ground-accepted"
        length = "30 days"
        zone = "Asia/Tokyo"
        source = "x"
        sure = "check"
    "#;
    let clocks = read("sla.toml", text).unwrap();
    let at = |day: &str| {
        format!("{day}T12:00:00+09:00")
            .parse::<DateTime<Utc>>()
            .unwrap()
    };
    let mut events = Events::received(at("2026-11-01"));
    let stands = |code: &str, events: &Events| {
        let clock = clocks[code].clock(events, at("2026-12-15")).unwrap();
        let due = clock.due.with_timezone(&clocks[code].zone);
        (due.date_naive().to_string(), clock.standing)
    };
    let waits = ("2026-12-01".to_owned(), Standing::NotStarted);
    assert_eq!(
        stands("proof", &events),
        waits,
        "the earliest that it can be"
    );
    events.proven_at = Some(at("2026-11-10"));
    assert_eq!(
        stands("proof", &events),
        ("2026-12-10".to_owned(), Standing::Late)
    );
    assert_eq!(stands("ground", &events), waits);
    events.accepted_at = Some(at("2026-11-20"));
    assert_eq!(
        stands("ground", &events),
        ("2026-12-20".to_owned(), Standing::Running)
    );
}

#[test]
fn a_file_adds_clocks_and_calendars_and_replaces_what_it_names() {
    let text = r#"
        [profile.uk-gdpr]
        length = "1 month"
        roll = "next working day"
        zone = "Europe/London"
        calendar = "england"
        source = "UK GDPR"
        sure = "sure"
        [profile.za-popia]
        length = "30 days"
        roll = "after Sunday"
        zone = "Africa/Johannesburg"
        calendar = "za"
        source = "POPIA s. 24"
        sure = "likely"
        [calendar.england]
        days = ["2026-12-25", "2026-12-28"]
        [calendar.za]
        days = ["2026-12-16"]
    "#;
    let clocks = read("sla.toml", text).unwrap();
    let at = "2026-11-25T12:00:00Z";
    // Friday, Saturday, Sunday, and the Monday that makes up for Boxing Day.
    assert_eq!(due_on(&clocks, "uk-gdpr", at), "2026-12-29 Tue");
    let day = "2026-11-16T12:00:00+02:00";
    assert_eq!(due_on(&clocks, "za-popia", day), "2026-12-17 Thu");
    assert_eq!(clocks["eu-gdpr"], built_in()["eu-gdpr"]);
}

#[test]
fn mistakes_are_told_with_their_places() {
    let text = r#"
        [profile.Mine]
        length = "ten days"
        roll = "next working dya"
        zone = "Asia/Tokio"
        calendar = "england"
        [profile.yours]
        length = "0 days"
        zone = "Asia/Tokyo"
        source = "x"
        sure = "sure"
        every = 3
        start = "approval"
        extend = "a while"
        acknowledge = "0 days"
        pause = "always"
        when_due = "never"
        escalate = ["2 days", "7 days"]
        [calendar.mine]
        days = ["2026-02-30"]
    "#;
    let mistakes = read("sla.toml", text).unwrap_err();
    let mut codes: Vec<&str> = mistakes.iter().map(|m| m.code).collect();
    codes.sort_unstable();
    assert_eq!(
        codes,
        [
            "E0103", "E0104", "E0104", "E0106", "E0106", "E0106", "E0106", "E0106", "E0106",
            "E0106", "E0106", "E0107", "E0107", "E0107", "E0107", "E0107"
        ],
        "{mistakes:#?}"
    );
    assert!(mistakes.iter().all(|m| m.place.is_some()));
}

#[test]
fn days_without_midnight_end_too() {
    // Chile put its clocks forward at midnight of 6 September 2026: that day began at 01:00.
    let clock = Profile {
        zone: chrono_tz::America::Santiago,
        ..(*built_in()["kr-pipa"]).clone()
    };
    let clocks = Clocks::from([("kr-pipa".to_owned(), Arc::new(clock))]);
    assert_eq!(
        due_on(&clocks, "kr-pipa", "2026-08-26T15:00:00Z"),
        "2026-09-05 Sat"
    );
}

#[test]
fn beyond_the_calendar_is_nothing() {
    let events = Events::received(DateTime::<Utc>::MAX_UTC);
    let clock = built_in()["eu-gdpr"].clock(&events, events.requested_at);
    assert_eq!(clock, None);
}

#[test]
fn a_clock_may_have_no_last_day() {
    let own = |more: &str| {
        let text = format!(
            "[profile.own]\nlength = \"none\"\nzone = \"Asia/Tokyo\"\nsource = \"own\"\nsure = \"check\"\n{more}"
        );
        super::read("sla.toml", &text)
    };
    assert_eq!(own("").unwrap()["own"].length, None);
    assert!(own("acknowledge = \"3 days\"\n").is_ok());
    for more in [
        "extend = \"1 month\"",
        "escalate = [\"2 days\"]",
        "when_due = \"explain\"",
        "roll = \"next working day\"",
    ] {
        let mistakes = own(more).unwrap_err();
        assert!(
            mistakes[0].message.contains("there is none"),
            "{mistakes:?}"
        );
    }
}
