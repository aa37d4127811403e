//! When something runs by the clock on the wall.

use chrono::{DateTime, Duration, NaiveDateTime, TimeZone, Utc};
use chrono_tz::Tz;

/// A cron expression (seconds first), read in a time zone.
///
/// Each time on the wall comes once: one that is skipped when clocks are put forward comes as soon as they
/// have been, and one that is met twice when they are put back comes the first time.
#[derive(Clone, Debug)]
pub struct Timetable {
    /// Six- or seven-field cron expression.
    pub cron: Box<cron::Schedule>,
    /// The zone it is read in.
    pub zone: Tz,
}

impl Timetable {
    /// The latest time at or before `now`; `None` if there has been none.
    pub fn latest(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let wall = now.with_timezone(&self.zone).naive_local();
        // Put back, the clock on the wall shows less than it has shown; nothing is later than `now`.
        let from = wall.checked_add_signed(Duration::hours(3))?;
        let mut before = self.cron.after(&from.and_utc());
        std::iter::from_fn(|| before.next_back())
            .map(|on_the_wall| self.instant(on_the_wall.naive_utc()))
            .find(|at| at.is_none_or(|at| at <= now))?
    }

    /// The first time after `after`; `None` if none comes any more.
    pub fn next(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let wall = after.with_timezone(&self.zone).naive_local();
        let from = wall.checked_sub_signed(Duration::hours(3))?;
        let times = self.cron.after(&from.and_utc());
        times
            .map(|on_the_wall| self.instant(on_the_wall.naive_utc()))
            .find(|at| at.is_none_or(|at| at > after))?
    }

    fn instant(&self, on_the_wall: NaiveDateTime) -> Option<DateTime<Utc>> {
        (0..=96).find_map(|quarters| {
            let later = on_the_wall.checked_add_signed(Duration::minutes(15 * quarters))?;
            let found = self.zone.from_local_datetime(&later).earliest()?;
            // The end of what was skipped, and not a time within the quarter behind it.
            let skipped = Duration::minutes(15 * quarters);
            Some(self.first_after(found.to_utc(), skipped))
        })
    }

    /// Of a time moved forward by `skipped` out of a gap: when the gap ended.
    fn first_after(&self, found: DateTime<Utc>, skipped: Duration) -> DateTime<Utc> {
        if skipped.is_zero() {
            return found;
        }
        let offset =
            |at: DateTime<Utc>| at.with_timezone(&self.zone).naive_local() - at.naive_utc();
        let (mut before, mut behind) = (found - Duration::hours(3), found);
        if offset(before) == offset(behind) {
            return found;
        }
        while behind - before > Duration::seconds(1) {
            let middle = before + (behind - before) / 2;
            if offset(middle) == offset(behind) {
                behind = middle;
            } else {
                before = middle;
            }
        }
        behind
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn timetable(cron: &str, zone: Tz) -> Timetable {
        Timetable {
            cron: Box::new(cron.parse().unwrap()),
            zone,
        }
    }

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn a_skipped_time_comes_when_the_clocks_have_been_put_forward() {
        let nightly = timetable("0 30 2 * * *", Tz::Europe__Berlin);
        // On 29 March 2026 two o'clock became three.
        assert_eq!(
            nightly.next(at("2026-03-28T12:00:00Z")),
            Some(at("2026-03-29T01:00:00Z"))
        );
        assert_eq!(
            nightly.next(at("2026-03-29T01:00:00Z")),
            Some(at("2026-03-30T00:30:00Z"))
        );
        assert_eq!(
            nightly.latest(at("2026-03-29T00:59:59Z")),
            Some(at("2026-03-28T01:30:00Z"))
        );
        assert_eq!(
            nightly.latest(at("2026-03-29T12:00:00Z")),
            Some(at("2026-03-29T01:00:00Z"))
        );
    }

    #[test]
    fn a_time_met_twice_comes_once() {
        let nightly = timetable("0 30 2 * * *", Tz::Europe__Berlin);
        // On 25 October 2026 three o'clock became two: half past two is at 00:30 and at 01:30 UTC.
        assert_eq!(
            nightly.next(at("2026-10-24T12:00:00Z")),
            Some(at("2026-10-25T00:30:00Z"))
        );
        assert_eq!(
            nightly.next(at("2026-10-25T00:30:00Z")),
            Some(at("2026-10-26T01:30:00Z"))
        );
        assert_eq!(
            nightly.latest(at("2026-10-25T01:45:00Z")),
            Some(at("2026-10-25T00:30:00Z"))
        );
    }

    proptest! {
        /// Going on from each time to the next meets each day once, over four years of changing clocks,
        /// and looking back finds the same times.
        #[test]
        fn every_night_once(
            minute in 0..1440_u32, start in 0..1461_i64,
            zone in prop::sample::select(vec![Tz::Europe__Berlin, Tz::America__Santiago, Tz::Asia__Tokyo, Tz::Australia__Lord_Howe])
        ) {
            let nightly = timetable(&format!("0 {} {} * * *", minute % 60, minute / 60), zone);
            let mut now = at("2026-01-01T00:00:00Z") + Duration::days(start);
            let mut day = None;
            for _ in 0..10 {
                let next = nightly.next(now).unwrap();
                prop_assert!(next > now);
                prop_assert_eq!(nightly.latest(next), Some(next));
                let date = next.with_timezone(&zone).date_naive();
                if let Some(day) = day {
                    prop_assert_eq!(date, chrono::NaiveDate::succ_opt(&day).unwrap());
                }
                (now, day) = (next, Some(date));
            }
        }
    }
}
