//! Clocks that a ticket runs against.
//!
//! The profiles come from `../shared/law.md`, section 1, compiled from public pages in November
//! 2026; they are no legal advice and counsel should confirm the one a policy names. Public
//! holidays are not known yet: where the law rolls a last day over weekends *and* holidays, only
//! the weekend is rolled, and working days are Monday to Friday. Both err towards an earlier date
//! than the law's.

use chrono::{DateTime, Datelike, Days, Duration, Months, NaiveDate, TimeZone, Utc, Weekday};
use chrono_tz::Tz;

/// How the last day is counted from the day of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// This many days after it.
    Days(u16),
    /// This many days after it that are neither Saturday nor Sunday.
    WorkingDays(u16),
    /// The day of the same number this many months on, else that month's last day.
    Months(u8),
}

/// What happens to a last day on which nobody works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Roll {
    /// Nothing.
    Stays,
    /// Saturday and Sunday become Monday.
    OverWeekend,
    /// Sunday becomes Monday.
    OverSunday,
}

/// What checking the person's identity does to the clock. Recorded; the clock does not pause yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// Nothing, whatever it takes.
    Never,
    /// The clock may start when the proof asked for has come.
    FromProof,
}

/// One jurisdiction's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// As a policy writes it in `sla`.
    pub code: &'static str,
    /// How long.
    pub length: Length,
    /// Where a last day falls on a day off.
    pub roll: Roll,
    /// What asking for proof of identity does.
    pub pause: Pause,
    /// Where it comes from.
    pub source: &'static str,
}

const fn profile(
    code: &'static str,
    length: Length,
    roll: Roll,
    pause: Pause,
    source: &'static str,
) -> Profile {
    Profile {
        code,
        length,
        roll,
        pause,
        source,
    }
}

/// Every profile; counsel should confirm.
#[rustfmt::skip]
pub const PROFILES: &[Profile] = &[
    profile("jp-appi", Length::Days(14), Roll::Stays, Pause::FromProof, "APPI Art. 34, 35: without delay; Art. 39: after 14 days the person may sue"),
    profile("eu-gdpr", Length::Months(1), Roll::OverWeekend, Pause::FromProof, "GDPR Art. 12(3); Reg. 1182/71 Art. 3"),
    profile("uk-gdpr", Length::Months(1), Roll::OverWeekend, Pause::FromProof, "UK GDPR Art. 12(3), 12A"),
    profile("us-ca", Length::Days(45), Roll::Stays, Pause::Never, "11 CCR 7021(b); Civ. Code 1798.130(a)(2)"),
    profile("us-state-45", Length::Days(45), Roll::Stays, Pause::Never, "Va. Code 59.1-577(B); Tex. B&C 541.052; other states alike"),
    profile("us-ia", Length::Days(90), Roll::Stays, Pause::Never, "Iowa Code 715D.3"),
    profile("br-lgpd", Length::Days(15), Roll::Stays, Pause::Never, "LGPD Art. 18 fixes no number for deletion; 15 days are the house rule"),
    profile("cn-pipl", Length::WorkingDays(15), Roll::Stays, Pause::Never, "PIPL Art. 47, 50 (timely); 15 working days from the 2019 app rules"),
    profile("kr-pipa", Length::Days(10), Roll::Stays, Pause::Never, "PIPA Art. 36; Enforcement Decree Art. 43(3)"),
    profile("tw-pdpa", Length::Days(30), Roll::Stays, Pause::Never, "PDPA Art. 11, 13(2)"),
    profile("za-popia", Length::Days(30), Roll::OverSunday, Pause::Never, "POPIA s. 24; Regulations 2025, reg. 3"),
    profile("ca-qc", Length::Days(30), Roll::Stays, Pause::FromProof, "CQLR P-39.1 ss. 28, 30, 32"),
    profile("in-dpdp", Length::Days(90), Roll::Stays, Pause::Never, "DPDP Rules 2025 r. 14(3), in force from 2027"),
];

/// The profile with this code.
pub fn find(code: &str) -> Option<&'static Profile> {
    PROFILES.iter().find(|profile| profile.code == code)
}

/// The last second in which a request of `requested` is on time: the end of the due day in
/// `zone`. `None` for an unknown profile or a date beyond the calendar.
pub fn due(profile: &str, requested: DateTime<Utc>, zone: Tz) -> Option<DateTime<Utc>> {
    let profile = find(profile)?;
    // A zone's offset at the very end of the calendar would overflow.
    requested.checked_add_signed(Duration::days(2))?;
    let from = requested.with_timezone(&zone).date_naive();
    let day = match profile.length {
        Length::Days(days) => from.checked_add_days(Days::new(days.into()))?,
        Length::Months(months) => from.checked_add_months(Months::new(months.into()))?,
        Length::WorkingDays(days) => working_days(from, days)?,
    };
    end_of(roll(day, profile.roll)?, zone)
}

fn working_days(from: NaiveDate, days: u16) -> Option<NaiveDate> {
    let mut day = from;
    let mut left = days;
    while left > 0 {
        day = day.succ_opt()?;
        if !matches!(day.weekday(), Weekday::Sat | Weekday::Sun) {
            left -= 1;
        }
    }
    Some(day)
}

fn roll(day: NaiveDate, roll: Roll) -> Option<NaiveDate> {
    let more = match (roll, day.weekday()) {
        (Roll::OverWeekend, Weekday::Sat) => 2,
        (Roll::OverWeekend | Roll::OverSunday, Weekday::Sun) => 1,
        _ => 0,
    };
    day.checked_add_days(Days::new(more))
}

/// One second before the next day begins. Some zones have no midnight on some days: there the
/// day begins with the first time that exists.
fn end_of(day: NaiveDate, zone: Tz) -> Option<DateTime<Utc>> {
    let midnight = day.succ_opt()?.and_hms_opt(0, 0, 0)?;
    let begin = (0..=96).find_map(|quarters| {
        let local = midnight.checked_add_signed(Duration::minutes(15 * quarters))?;
        zone.from_local_datetime(&local).earliest()
    })?;
    begin
        .with_timezone(&Utc)
        .checked_sub_signed(Duration::seconds(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due_on(profile: &str, requested: &str, zone: Tz) -> String {
        let requested = requested.parse::<DateTime<Utc>>().unwrap();
        due(profile, requested, zone)
            .unwrap()
            .with_timezone(&zone)
            .format("%Y-%m-%d %H:%M:%S %a")
            .to_string()
    }

    #[test]
    fn a_month_is_a_month() {
        let berlin = chrono_tz::Europe::Berlin;
        // 28 Feb 2026 is a Saturday and rolls to Monday; 29 Feb 2028 is a Tuesday.
        assert_eq!(
            due_on("eu-gdpr", "2026-01-31T12:00:00Z", berlin),
            "2026-03-02 23:59:59 Mon"
        );
        assert_eq!(
            due_on("eu-gdpr", "2028-01-31T12:00:00Z", berlin),
            "2028-02-29 23:59:59 Tue"
        );
        assert_eq!(
            due_on("uk-gdpr", "2026-09-03T12:00:00Z", chrono_tz::Europe::London),
            "2026-10-05 23:59:59 Mon"
        );
        assert_eq!(
            due_on("eu-gdpr", "2026-10-03T12:00:00Z", berlin),
            "2026-11-03 23:59:59 Tue"
        );
    }

    #[test]
    fn the_day_of_the_request_is_the_zones() {
        // 16:00 UTC on the 30th is already the 31st in Tokyo.
        let tokyo = chrono_tz::Asia::Tokyo;
        assert_eq!(
            due_on("jp-appi", "2026-01-30T16:00:00Z", tokyo),
            "2026-02-14 23:59:59 Sat"
        );
        assert_eq!(
            due_on("jp-appi", "2026-01-30T14:00:00Z", tokyo),
            "2026-02-13 23:59:59 Fri"
        );
    }

    #[test]
    fn days_are_counted_as_the_profile_says() {
        let at = "2026-11-20T03:00:00Z"; // a Friday
        let utc = chrono_tz::UTC;
        for (profile, day) in [
            ("us-ca", "2027-01-04 23:59:59 Mon"),
            ("us-state-45", "2027-01-04 23:59:59 Mon"),
            ("us-ia", "2027-02-18 23:59:59 Thu"),
            ("br-lgpd", "2026-12-05 23:59:59 Sat"),
            ("cn-pipl", "2026-12-11 23:59:59 Fri"),
            ("kr-pipa", "2026-11-30 23:59:59 Mon"),
            ("tw-pdpa", "2026-12-20 23:59:59 Sun"),
            ("za-popia", "2026-12-21 23:59:59 Mon"),
            ("ca-qc", "2026-12-20 23:59:59 Sun"),
            ("in-dpdp", "2027-02-18 23:59:59 Thu"),
        ] {
            assert_eq!(due_on(profile, at, utc), day, "{profile}");
        }
    }

    #[test]
    fn days_without_midnight_end_too() {
        // Chile put its clocks forward at midnight of 6 September 2026: that day began at 01:00.
        let santiago = chrono_tz::America::Santiago;
        assert_eq!(
            due_on("kr-pipa", "2026-08-26T15:00:00Z", santiago),
            "2026-09-05 23:59:59 Sat"
        );
    }

    #[test]
    fn beyond_the_calendar_is_nothing() {
        assert_eq!(
            due("eu-gdpr", DateTime::<Utc>::MAX_UTC, chrono_tz::UTC),
            None
        );
        assert_eq!(
            due("mars", Utc.timestamp_opt(0, 0).unwrap(), chrono_tz::UTC),
            None
        );
    }
}
