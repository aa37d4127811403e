//! Clocks that a ticket runs against.
//!
//! Which there are is data, `policies/sla.toml`, with its sources; here is how they count. What a
//! ticket's events make of one is in [`super::clock`].

use super::holidays::Calendar;
use super::words::Words;
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

/// With what a clock begins to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// The request.
    #[default]
    Received,
    /// The proof of identity.
    Identity,
    /// The approval, which is where the ground is found good.
    GroundAccepted,
}

/// What a question to the customer does to a clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pause {
    /// Nothing: 11 CCR 7021(b), "regardless of time required to verify".
    #[default]
    None,
    /// Asked for proof of identity, the clock begins anew with the answer: UK GDPR Art. 12A.
    RestartOnId,
    /// The days until the answer do not count: EDPB Guidelines 01/2022, 5.3.
    SuspendWhileAsked,
}

/// What it means that the last day is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenDue {
    /// The company is late.
    #[default]
    Late,
    /// It owes an explanation: APPI Art. 39 lets the person sue from then on, and fixes no end.
    Explain,
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
    /// From when.
    pub start: Start,
    /// How long; `None` where there is no number of days: no last day, and nothing is ever late.
    pub length: Option<Length>,
    /// Within what receipt is to be confirmed; from the request always.
    pub acknowledge: Option<Length>,
    /// By how much the term may be made longer, once, with notice; on top of `length`, from where
    /// that began.
    pub extend: Option<Length>,
    /// While the customer is asked something.
    pub pause: Pause,
    /// After the last day.
    pub when_due: WhenDue,
    /// Days before the due time at which people are told, each fewer than the one before.
    pub escalate: Vec<u16>,
    /// Where the customer may complain.
    pub complain: Option<Words>,
    /// What the law says of the time, in sentences to read aloud.
    pub law: Option<Words>,
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

/// Days that do not count: those after the first, up to and with the last.
pub(super) type Gap = (NaiveDate, NaiveDate);

impl Profile {
    /// The day on which a moment falls where the clock counts.
    pub(super) fn day(&self, at: DateTime<Utc>) -> NaiveDate {
        at.with_timezone(&self.zone).date_naive()
    }

    /// The last second of a term that begins at `from` and takes these lengths together, without
    /// the days of the gaps, which are in order. It rolls once. `None` beyond the calendar.
    pub(super) fn end(
        &self,
        from: DateTime<Utc>,
        lengths: &[Length],
        gaps: &[Gap],
    ) -> Option<DateTime<Utc>> {
        // A zone's offset at the very end of the calendar would overflow.
        from.checked_add_signed(Duration::days(2))?;
        let from = self.day(from);
        let works = matches!(lengths.last(), Some(Length::WorkingDays(_)));
        let mut last = self.counted(from, lengths)?;
        let mut behind = from;
        for &(first, end) in gaps {
            let first = first.max(behind);
            // Whoever is late already is not made punctual by a question.
            if end <= first || first > self.rolled(last, works)? {
                continue;
            }
            last = if works {
                self.working_days(last, self.works_within(first, end))?
            } else {
                last.checked_add_signed(end - first)?
            };
            // On a rolled day little is left, but never less than the day of the answer.
            last = last.max(end);
            behind = end;
        }
        end_of(self.rolled(last, works)?, self.zone)
    }

    /// Months are added up first: three from 31 January end on 30 April, not on the 28th.
    fn counted(&self, from: NaiveDate, lengths: &[Length]) -> Option<NaiveDate> {
        let months = lengths.iter().map(|length| match length {
            Length::Months(n) => u32::from(*n),
            Length::Days(_) | Length::WorkingDays(_) => 0,
        });
        let mut day = from.checked_add_months(Months::new(months.sum()))?;
        for length in lengths {
            day = match *length {
                Length::Days(n) => day.checked_add_days(Days::new(n.into()))?,
                Length::WorkingDays(n) => self.working_days(day, n.into())?,
                Length::Months(_) => day,
            };
        }
        Some(day)
    }

    fn works_within(&self, first: NaiveDate, end: NaiveDate) -> u32 {
        let days = first.iter_days().skip(1).take_while(|day| *day <= end);
        let days = days.filter(|day| self.calendar.is_working_day(*day));
        u32::try_from(days.count()).unwrap_or(u32::MAX)
    }

    fn working_days(&self, from: NaiveDate, days: u32) -> Option<NaiveDate> {
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

    fn rolled(&self, mut day: NaiveDate, works: bool) -> Option<NaiveDate> {
        let off = |day: NaiveDate| match self.roll {
            Roll::Stays if !works => false,
            Roll::Stays | Roll::NextWorkingDay => !self.calendar.is_working_day(day),
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
