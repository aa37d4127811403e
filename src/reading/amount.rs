//! Periods and durations as people write them: `7 years`, `1 year 6 months`, `60 s`, `200 ms`.

use std::time::Duration;

/// What to write; for the help of a diagnostic.
pub const PERIOD_HELP: &str =
    "write such as \"7 years\", \"18 months\", \"90 days\" or \"1 year 6 months\"";

/// What to write; for the help of a diagnostic.
pub const DURATION_HELP: &str = "write a number and a unit, such as \"200 ms\", \"60 s\", \"5 min\", \"12 hours\" or \"3 days\"";

/// A calendar period in whole months and days, at most a thousand years.
pub fn period(text: &str) -> Result<(u32, u32), String> {
    let mut period = (0, 0);
    for (number, unit) in parts(text)? {
        let (months, days) = match unit {
            "year" | "years" => (12, 0),
            "month" | "months" => (1, 0),
            "week" | "weeks" => (0, 7),
            "day" | "days" => (0, 1),
            other => return Err(format!("`{other}` is no unit of a calendar period")),
        };
        period.0 = add(period.0, number, months, 12_000)?;
        period.1 = add(period.1, number, days, 366_000)?;
    }
    Ok(period)
}

fn add(sum: u32, number: u32, unit: u32, most: u32) -> Result<u32, String> {
    number
        .checked_mul(unit)
        .and_then(|more| sum.checked_add(more))
        .filter(|sum| *sum <= most)
        .ok_or_else(|| "it is longer than a thousand years".into())
}

/// A length of time, at most ten years.
pub fn duration(text: &str) -> Result<Duration, String> {
    const MOST: Duration = Duration::from_secs(3660 * 86_400);
    let mut sum = Duration::ZERO;
    for (number, unit) in parts(text)? {
        let unit = match unit {
            "ms" => Duration::from_millis(1),
            "s" | "second" | "seconds" => Duration::from_secs(1),
            "min" | "minute" | "minutes" => Duration::from_secs(60),
            "h" | "hour" | "hours" => Duration::from_secs(3600),
            "day" | "days" => Duration::from_secs(86_400),
            "week" | "weeks" => Duration::from_secs(7 * 86_400),
            other => return Err(format!("`{other}` is no unit of time")),
        };
        sum = unit
            .checked_mul(number)
            .and_then(|more| sum.checked_add(more))
            .filter(|sum| *sum <= MOST)
            .ok_or("it is longer than ten years")?;
    }
    Ok(sum)
}

/// Pairs of number and unit; white space between them is free.
fn parts(text: &str) -> Result<Vec<(u32, &str)>, String> {
    let mut parts = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let number = rest[..digits]
            .parse()
            .map_err(|_| "a number is expected, then a unit".to_owned())?;
        rest = rest[digits..].trim_start();
        let letters = rest
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(rest.len());
        if letters == 0 {
            return Err("the number has no unit".into());
        }
        parts.push((number, &rest[..letters]));
        rest = rest[letters..].trim_start();
    }
    if parts.is_empty() {
        return Err("it is empty".into());
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        assert_eq!(period("7 years"), Ok((84, 0)));
        assert_eq!(period("1 year 6 months"), Ok((18, 0)));
        assert_eq!(period("2 weeks 1day"), Ok((0, 15)));
        assert_eq!(duration("200 ms"), Ok(Duration::from_millis(200)));
        assert_eq!(duration("3 days"), Ok(Duration::from_secs(259_200)));
        assert_eq!(duration("1 h 30 min"), Ok(Duration::from_secs(5400)));
    }

    #[test]
    fn refuses_the_rest() {
        for bad in [
            "",
            "7",
            "years",
            "-1 day",
            "7 yeers",
            "1.5 years",
            "99999999999 days",
            "2000 years",
            "60 s",
        ] {
            assert!(period(bad).is_err(), "{bad}");
        }
        for bad in ["", "60", "1 month", "1 year", "4000000000 weeks", "５ s"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
