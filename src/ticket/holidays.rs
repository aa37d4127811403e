//! Days on which nobody works: Japan's by its law, other countries' as a file lists them.
//!
//! Japan's follow the Act on National Holidays (国民の祝日に関する法律) with the moves that the Olympic
//! Act made in 2020 and 2021 and the one-off days of 2019. The equinoxes of years to come are
//! astronomy's word (the formula of the Hydrographic Department, good for 1980 to 2099); the
//! government announces each in the February before. Laws to come are not known here: a file can
//! say otherwise.

use chrono::{Datelike, NaiveDate, Weekday};
use std::collections::BTreeSet;

/// Which days are off besides Saturday and Sunday.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Calendar {
    /// None.
    #[default]
    Weekends,
    /// Japan's national holidays, 2000 to 2099.
    Japan,
    /// These.
    Listed(BTreeSet<NaiveDate>),
}

impl Calendar {
    /// Whether it is neither Saturday nor Sunday, nor a holiday.
    pub fn is_working_day(&self, day: NaiveDate) -> bool {
        !matches!(day.weekday(), Weekday::Sat | Weekday::Sun) && !self.is_holiday(day)
    }

    /// Whether it is a holiday, on whatever day of the week.
    pub fn is_holiday(&self, day: NaiveDate) -> bool {
        match self {
            Self::Weekends => false,
            Self::Japan => is_day_off_in_japan(day),
            Self::Listed(days) => days.contains(&day),
        }
    }
}

/// A national holiday, one that makes up for a Sunday (振替休日), or a day between two (国民の休日).
fn is_day_off_in_japan(day: NaiveDate) -> bool {
    is_national_holiday(day) || makes_up_for_sunday(day) || is_between_two(day)
}

/// Art. 3(2): the first day after a holiday on a Sunday that is not itself one; until 2006 the Monday
/// only, which is the same where no holidays follow each other.
fn makes_up_for_sunday(day: NaiveDate) -> bool {
    let mut before = day;
    loop {
        let Some(earlier) = before.pred_opt() else {
            return false;
        };
        before = earlier;
        if !is_national_holiday(before) {
            return false;
        }
        if before.weekday() == Weekday::Sun {
            let monday = before.succ_opt() == Some(day);
            return monday || day.year() >= 2007;
        }
    }
}

/// Art. 3(3).
fn is_between_two(day: NaiveDate) -> bool {
    let holiday = |day: Option<NaiveDate>| day.is_some_and(is_national_holiday);
    let sunday = day.weekday() == Weekday::Sun;
    !sunday && holiday(day.pred_opt()) && holiday(day.succ_opt())
}

/// Art. 2, as it stood in that year.
fn is_national_holiday(day: NaiveDate) -> bool {
    let (year, month, date) = (day.year(), day.month(), day.day());
    if !(2000..=2099).contains(&year) {
        return false;
    }
    let nth_monday = |n| day.weekday() == Weekday::Mon && (date - 1) / 7 + 1 == n;
    match (month, date) {
        (1, 1) | (2, 11) | (4, 29) | (5, 3 | 5) | (11, 3 | 23) => true,
        (1, _) => nth_monday(2),
        (2, 23) => year >= 2020,
        (3, _) => date == equinox(year, 20.8431),
        (5, 4) => year >= 2007,
        (5, 1) | (10, 22) => year == 2019,
        (7, _) => match year {
            2020 => date == 23 || date == 24,
            2021 => date == 22 || date == 23,
            2000..=2002 => date == 20,
            _ => nth_monday(3),
        },
        (8, _) => match year {
            ..=2015 => false,
            2020 => date == 10,
            2021 => date == 8,
            _ => date == 11,
        },
        (9, _) => {
            let of_the_aged = match year {
                2000..=2002 => date == 15,
                _ => nth_monday(3),
            };
            of_the_aged || date == equinox(year, 23.2488)
        }
        (10, _) => !matches!(year, 2020 | 2021) && nth_monday(2),
        (12, 23) => year <= 2018,
        _ => false,
    }
}

/// Day of the month, from the day in 1980 with its fraction.
fn equinox(year: i32, in_1980: f64) -> u32 {
    let years = f64::from(year - 1980);
    let day = (in_1980 + 0.242_194 * years).floor() - (years / 4.0).floor();
    [19, 20, 21, 22, 23, 24]
        .into_iter()
        .find(|d| (f64::from(*d) - day).abs() < 0.5)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The Cabinet Office's own list (「国民の祝日」について), year by year.
    const AS_ANNOUNCED: &[(i32, &str)] = &[
        (
            2000,
            "1/1 1/10 2/11 3/20 4/29 5/3 5/4 5/5 7/20 9/15 9/23 10/9 11/3 11/23 12/23",
        ),
        (
            2009,
            "1/1 1/12 2/11 3/20 4/29 5/3 5/4 5/5 5/6 7/20 9/21 9/22 9/23 10/12 11/3 11/23 12/23",
        ),
        (
            2015,
            "1/1 1/12 2/11 3/21 4/29 5/3 5/4 5/5 5/6 7/20 9/21 9/22 9/23 10/12 11/3 11/23 12/23",
        ),
        (
            2019,
            "1/1 1/14 2/11 3/21 4/29 4/30 5/1 5/2 5/3 5/4 5/5 5/6 7/15 8/11 8/12 9/16 9/23 10/14 10/22 11/3 11/4 11/23",
        ),
        (
            2020,
            "1/1 1/13 2/11 2/23 2/24 3/20 4/29 5/3 5/4 5/5 5/6 7/23 7/24 8/10 9/21 9/22 11/3 11/23",
        ),
        (
            2021,
            "1/1 1/11 2/11 2/23 3/20 4/29 5/3 5/4 5/5 7/22 7/23 8/8 8/9 9/20 9/23 11/3 11/23",
        ),
        (
            2024,
            "1/1 1/8 2/11 2/12 2/23 3/20 4/29 5/3 5/4 5/5 5/6 7/15 8/11 8/12 9/16 9/22 9/23 10/14 11/3 11/4 11/23",
        ),
        (
            2025,
            "1/1 1/13 2/11 2/23 2/24 3/20 4/29 5/3 5/4 5/5 5/6 7/21 8/11 9/15 9/23 10/13 11/3 11/23 11/24",
        ),
        (
            2026,
            "1/1 1/12 2/11 2/23 3/20 4/29 5/3 5/4 5/5 5/6 7/20 8/11 9/21 9/22 9/23 10/12 11/3 11/23",
        ),
        (
            2027,
            "1/1 1/11 2/11 2/23 3/21 3/22 4/29 5/3 5/4 5/5 7/19 8/11 9/20 9/23 10/11 11/3 11/23",
        ),
    ];

    #[test]
    fn japans_holidays_are_those_announced() {
        for (year, announced) in AS_ANNOUNCED {
            let first = NaiveDate::from_ymd_opt(*year, 1, 1).unwrap();
            let days = first.iter_days().take_while(|d| d.year() == *year);
            let off = days.filter(|d| Calendar::Japan.is_holiday(*d));
            let off: Vec<String> = off.map(|d| format!("{}/{}", d.month(), d.day())).collect();
            // In 2000 the 4th of May was a day between two, no holiday of its own.
            assert_eq!(off.join(" "), *announced, "{year}");
        }
    }

    #[test]
    fn only_listed_days_are_off_elsewhere() {
        let day = |text: &str| text.parse::<NaiveDate>().unwrap();
        let berlin = Calendar::Listed([day("2026-10-03"), day("2026-12-25")].into());
        assert!(!berlin.is_working_day(day("2026-12-25")));
        assert!(berlin.is_working_day(day("2026-12-24")));
        assert!(!Calendar::Weekends.is_working_day(day("2026-11-28")));
        assert!(Calendar::Weekends.is_working_day(day("2026-11-27")));
    }
}
