//! Clocks that a ticket runs against.
//!
//! Which there are is data, `policies/sla.toml`, with its sources; here is how they count.

use super::holidays::Calendar;
use chrono::{DateTime, Datelike, Days, Duration, Months, NaiveDate, TimeZone, Utc, Weekday};
use chrono_tz::Tz;

/// How the last day is counted from the day of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// This many days after it.
    Days(u16),
    /// This many working days after it.
    WorkingDays(u16),
    /// The day of the same number this many months on, else that month's last day: Reg. 1182/71
    /// Art. 3(2)(c) as read in Toeters (C-171/03) and Misset (152/85).
    Months(u8),
}

/// What happens to a last day on which nobody works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Roll {
    /// Nothing.
    #[default]
    Stays,
    /// It becomes the next working day: Reg. 1182/71 Art. 3(4).
    NextWorkingDay,
    /// A Sunday or holiday becomes the next day that is neither; Saturdays count.
    AfterSunday,
}

/// How far the compilers trust a row of `policies/sla.toml`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confidence {
    /// The wording was seen.
    Sure,
    /// Pages that agree.
    Likely,
    /// Confirm before relying on it.
    Check,
}

/// One jurisdiction's clock, or the company's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// As a policy writes it in `sla`.
    pub code: String,
    /// How long.
    pub length: Length,
    /// Where a last day falls on a day off.
    pub roll: Roll,
    /// Where the days are counted.
    pub zone: Tz,
    /// Whose holidays.
    pub calendar: Calendar,
    /// Where it comes from.
    pub source: String,
    /// How sure that is.
    pub sure: Confidence,
}

impl Profile {
    /// The last second in which a request of `requested` is on time: the end of the due day in the
    /// profile's zone. `None` for a date beyond the calendar.
    pub fn due(&self, requested: DateTime<Utc>) -> Option<DateTime<Utc>> {
        // A zone's offset at the very end of the calendar would overflow.
        requested.checked_add_signed(Duration::days(2))?;
        let from = requested.with_timezone(&self.zone).date_naive();
        let day = match self.length {
            Length::Days(days) => from.checked_add_days(Days::new(days.into()))?,
            Length::Months(months) => from.checked_add_months(Months::new(months.into()))?,
            Length::WorkingDays(days) => self.working_days(from, days)?,
        };
        end_of(self.rolled(day)?, self.zone)
    }

    fn working_days(&self, from: NaiveDate, days: u16) -> Option<NaiveDate> {
        let mut day = from;
        let mut left = days;
        while left > 0 {
            day = day.succ_opt()?;
            if self.calendar.is_working_day(day) {
                left -= 1;
            }
        }
        Some(day)
    }

    fn rolled(&self, mut day: NaiveDate) -> Option<NaiveDate> {
        let off = |day: NaiveDate| match self.roll {
            Roll::Stays => false,
            Roll::NextWorkingDay => !self.calendar.is_working_day(day),
            Roll::AfterSunday => day.weekday() == Weekday::Sun || self.calendar.is_holiday(day),
        };
        while off(day) {
            day = day.succ_opt()?;
        }
        Some(day)
    }
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
