use super::*;
use crate::policy::clocks::built_in;
use crate::ticket::holidays::Calendar;
use crate::ticket::sla::{Confidence, Length, Roll};
use chrono::{Duration, NaiveDate};
use proptest::prelude::*;

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn lengths() -> impl Strategy<Value = Length> {
    prop_oneof![
        (1..100_u16).prop_map(Length::Days),
        (1..30_u16).prop_map(Length::WorkingDays),
        (1..5_u8).prop_map(Length::Months),
    ]
}

fn profiles() -> impl Strategy<Value = Profile> {
    let zones = [
        chrono_tz::Asia::Tokyo,
        chrono_tz::Europe::Berlin,
        chrono_tz::America::Los_Angeles,
        chrono_tz::America::Santiago,
    ];
    (
        lengths(),
        lengths(),
        prop::sample::select(vec![Roll::Stays, Roll::NextWorkingDay, Roll::AfterSunday]),
        prop::sample::select(vec![
            Start::Received,
            Start::Identity,
            Start::GroundAccepted,
        ]),
        prop::sample::select(vec![
            Pause::None,
            Pause::RestartOnId,
            Pause::SuspendWhileAsked,
        ]),
        prop::sample::select(vec![WhenDue::Late, WhenDue::Explain]),
        prop::sample::select(zones.to_vec()),
        prop::sample::select(vec![Calendar::Japan, Calendar::default()]),
    )
        .prop_map(
            |(length, more, roll, start, pause, when_due, zone, calendar)| Profile {
                code: "any".into(),
                start,
                length: Some(length),
                acknowledge: Some(Length::WorkingDays(10)),
                extend: Some(more),
                roll,
                pause,
                when_due,
                escalate: vec![7, 2],
                complain: None,
                law: None,
                zone,
                calendar,
                source: String::new(),
                sure: Confidence::Check,
            },
        )
}

fn moments() -> impl Strategy<Value = DateTime<Utc>> {
    (0..20_000_i64).prop_map(|hours| at("2026-01-01T00:00:00Z") + Duration::hours(hours))
}

/// Up to three questions one after the other, the last of them perhaps open.
fn questions(begin: DateTime<Utc>) -> impl Strategy<Value = Vec<Question>> {
    let one = (any::<bool>(), 0..900_i64, 0..900_i64);
    (prop::collection::vec(one, 0..4), any::<bool>()).prop_map(move |(parts, open)| {
        let mut behind = begin;
        let mut questions = Vec::new();
        let last = parts.len();
        for (n, (for_identity, pause, answer)) in parts.into_iter().enumerate() {
            let asked_at = behind + Duration::hours(pause);
            behind = asked_at + Duration::hours(answer);
            let answered_at = (n + 1 < last || !open).then_some(behind);
            questions.push(Question {
                for_identity,
                asked_at,
                answered_at,
            });
        }
        questions
    })
}

fn events() -> impl Strategy<Value = Events> {
    moments().prop_flat_map(|requested_at| {
        let later = || prop::option::of((0..2000_i64).prop_map(Duration::hours));
        (later(), later(), any::<bool>(), questions(requested_at)).prop_map(
            move |(proven, accepted, extended, questions)| Events {
                requested_at,
                proven_at: proven.map(|d| requested_at + d),
                accepted_at: accepted.map(|d| requested_at + d),
                extended_at: extended.then_some(requested_at),
                questions,
            },
        )
    })
}

/// The due second is on time; the next one is not.
#[test]
fn the_last_second_is_on_time() {
    let profile = &built_in()["eu-gdpr"];
    let events = Events::received(at("2026-10-05T12:00:00Z"));
    let due = profile.clock(&events, events.requested_at).unwrap().due;
    let reached = |now: DateTime<Utc>| {
        let clock = profile.clock(&events, now).unwrap();
        (clock.standing, profile.escalation(&clock, now).reached)
    };
    let day = Duration::days(1);
    assert_eq!(reached(due - day * 8), (Standing::Running, 0));
    assert_eq!(reached(due - day * 7), (Standing::Running, 1));
    assert_eq!(reached(due - day * 2), (Standing::Running, 2));
    assert_eq!(reached(due), (Standing::Running, 2));
    assert_eq!(reached(due + Duration::seconds(1)), (Standing::Late, 3));
}

/// A pause over a weekend gives a term in months four days and an extension of a working day one: the
/// extension was earlier than the term.
#[test]
fn an_extension_in_another_unit_takes_nothing_away() {
    let profile = Profile {
        length: Some(Length::Months(2)),
        extend: Some(Length::WorkingDays(1)),
        pause: Pause::SuspendWhileAsked,
        roll: Roll::Stays,
        zone: chrono_tz::Asia::Tokyo,
        ..(*built_in()["eu-gdpr"]).clone()
    };
    let events = Events {
        questions: vec![Question {
            for_identity: false,
            asked_at: at("2026-02-04T03:00:00Z"),
            answered_at: Some(at("2026-02-07T15:00:00Z")),
        }],
        ..Events::received(at("2026-01-01T00:00:00Z"))
    };
    let clock = profile.clock(&events, events.requested_at).unwrap();
    assert_eq!(clock.extended_due, Some(clock.due));
}

proptest! {
    /// Who asks later is due later or on the same day, never earlier.
    #[test]
    fn later_is_never_earlier(profile in profiles(), first in moments(), hours in 0..3000_i64) {
        let due = |requested| {
            let events = Events::received(requested);
            let clock = profile.clock(&events, requested).unwrap();
            (clock.acknowledge_by, clock.due, clock.extended_due)
        };
        let (a, b) = (due(first), due(first + Duration::hours(hours)));
        prop_assert!(a.0 <= b.0 && a.1 <= b.1 && a.2 <= b.2, "{a:?} {b:?}");
    }

    /// A question never takes time away, a later answer never gives less, and one that was asked in
    /// time and stops the clock leaves at least the day of its answer.
    #[test]
    fn a_pause_never_shortens(profile in profiles(), events in events(), hours in 0..1000_i64) {
        let now = events.requested_at + Duration::days(300);
        let clock = profile.clock(&events, now).unwrap();
        let mut fewer = events.clone();
        if let Some(dropped) = fewer.questions.pop() {
            let without = profile.clock(&fewer, now).unwrap();
            prop_assert!(without.due <= clock.due && without.extended_due <= clock.extended_due);
            if let Some(answered) = dropped.answered_at {
                let mut longer = events.clone();
                longer.questions.last_mut().unwrap().answered_at = Some(answered + Duration::hours(hours));
                let longer = profile.clock(&longer, now).unwrap();
                prop_assert!(clock.due <= longer.due);
                let stops = match profile.pause {
                    Pause::None => false,
                    Pause::RestartOnId => dropped.for_identity && dropped.asked_at >= events.requested_at,
                    Pause::SuspendWhileAsked => true,
                };
                let in_time = profile.start == Start::Received && dropped.asked_at <= without.due
                    && (profile.pause == Pause::SuspendWhileAsked || events.extended_at.is_none());
                if stops && in_time {
                    prop_assert!(answered <= clock.due, "{answered} {}", clock.due);
                }
            }
        }
        if profile.pause == Pause::None {
            prop_assert_eq!(clock, profile.clock(&Events { questions: vec![], ..events }, now).unwrap());
        }
    }

    /// The term ends with a whole day; that day is rolled, and not further than to the first that
    /// will do.
    #[test]
    fn a_last_day_rolls_once(profile in profiles(), events in events()) {
        let now = events.requested_at;
        let clock = profile.clock(&events, now).unwrap();
        let unrolled = Profile { roll: Roll::Stays, ..profile.clone() };
        let stays = unrolled.clock(&events, now).unwrap();
        for (rolled, plain) in [(clock.due, stays.due), (clock.extended_due.unwrap(), stays.extended_due.unwrap())] {
            let local = rolled.with_timezone(&profile.zone);
            let next = (rolled + Duration::seconds(1)).with_timezone(&profile.zone);
            prop_assert_eq!(local.date_naive().succ_opt().unwrap(), next.date_naive());
            let good = |day: NaiveDate| match profile.roll {
                Roll::Stays => true,
                Roll::NextWorkingDay => profile.calendar.is_working_day(day),
                Roll::AfterSunday => chrono::Datelike::weekday(&day) != chrono::Weekday::Sun
                    && !profile.calendar.is_holiday(day),
            };
            prop_assert!(good(local.date_naive()), "{}", local);
            // Questions may have been asked between the last day and the one it rolled to.
            if events.questions.is_empty() {
                let from = plain.with_timezone(&profile.zone).date_naive();
                let first = from.iter_days().find(|day| good(*day)).unwrap();
                prop_assert_eq!(local.date_naive(), first);
            }
        }
    }

    /// The same number of the month, or its last day; an extension counts from the same start.
    #[test]
    fn months_are_months(requested in moments(), months in 1..4_u8, more in 1..4_u8) {
        let profile = Profile {
            length: Some(Length::Months(months)),
            extend: Some(Length::Months(more)),
            roll: Roll::Stays,
            ..(*built_in()["eu-gdpr"]).clone()
        };
        let clock = profile.clock(&Events::received(requested), requested).unwrap();
        let day = |at: DateTime<Utc>| at.with_timezone(&profile.zone).date_naive();
        for (due, months) in [(clock.due, months), (clock.extended_due.unwrap(), months + more)] {
            use chrono::Datelike;
            let (from, to) = (day(requested), day(due));
            let ahead = (to.year() - from.year()) * 12 + to.month() as i32 - from.month() as i32;
            prop_assert_eq!(ahead, i32::from(months));
            let ends = to.succ_opt().unwrap().day() == 1;
            prop_assert!(to.day() == from.day() || ends && to.day() < from.day());
        }
    }

    /// An extension counts once it is there, and is never earlier.
    #[test]
    fn an_extension_is_longer(profile in profiles(), events in events()) {
        let now = events.requested_at;
        let without = profile.clock(&Events { extended_at: None, ..events.clone() }, now).unwrap();
        let with = profile.clock(&Events { extended_at: Some(now), ..events.clone() }, now).unwrap();
        prop_assert!(without.due <= with.due);
        prop_assert_eq!(Some(with.due), without.extended_due);
    }

    /// Steps come one after the other, the last of them with lateness, and the next one is named.
    #[test]
    fn steps_are_reached_in_order(profile in profiles(), events in events(), days in 0..900_i64) {
        let now = events.requested_at + Duration::days(days);
        let clock = profile.clock(&events, now).unwrap();
        let step = profile.escalation(&clock, now);
        let late = matches!(clock.standing, Standing::Late | Standing::ExplainDuty);
        prop_assert_eq!(step.reached == 3, late);
        match step.next {
            Some(next) => {
                prop_assert!(now < next);
                let then = profile.clock(&events, next).unwrap();
                if then.due == clock.due {
                    prop_assert_eq!(profile.escalation(&then, next).reached, step.reached + 1);
                }
            }
            None => prop_assert!(late || clock.standing != Standing::Running),
        }
    }

    /// Only a clock that counts is late, and what it is called then is the profile's word.
    #[test]
    fn lateness_is_told_by_its_name(profile in profiles(), events in events(), days in 0..900_i64) {
        let now = events.requested_at + Duration::days(days);
        let clock = profile.clock(&events, now).unwrap();
        let begun = match profile.start {
            Start::Received => true,
            Start::Identity => events.proven_at.is_some(),
            Start::GroundAccepted => events.accepted_at.is_some(),
        };
        prop_assert_eq!(clock.standing == Standing::NotStarted, !begun);
        match clock.standing {
            Standing::Late => prop_assert!(now > clock.due && profile.when_due == WhenDue::Late),
            Standing::ExplainDuty => prop_assert!(now > clock.due && profile.when_due == WhenDue::Explain),
            Standing::Running => prop_assert!(now <= clock.due),
            Standing::Paused => prop_assert!(
                profile.pause != Pause::None && events.questions.iter().any(|q| q.answered_at.is_none())
            ),
            Standing::NotStarted => {}
            Standing::NoTerm => prop_assert!(profile.length.is_none()),
        }
    }
}

/// Without a last day nothing is ever late, whatever happens and however long it takes.
#[test]
fn without_a_term_nothing_is_late() {
    let profile = Profile {
        length: None,
        extend: None,
        escalate: vec![],
        ..built_in()["jp-appi"].as_ref().clone()
    };
    let mut events = Events::received(at("2026-11-20T03:00:00Z"));
    let mut due = None;
    for day in [0, 13, 14, 31, 400] {
        let now = events.requested_at + Duration::days(day);
        events.proven_at = Some(now);
        let clock = profile.clock(&events, now).unwrap();
        assert_eq!(clock.standing, Standing::NoTerm);
        assert_eq!(clock.extended_due, None);
        // Its place among the others does not move either.
        assert_eq!(*due.get_or_insert(clock.due), clock.due);
        let escalation = profile.escalation(&clock, now);
        assert_eq!((escalation.reached, escalation.next), (0, None));
    }
}
