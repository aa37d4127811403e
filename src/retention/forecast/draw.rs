//! A forecast as a picture: bars in a terminal, and SVG.

use super::{Forecast, Week};
use crate::graph::escape;
use std::fmt::Write;

/// Characters of the longest bar.
const BAR: i64 = 40;

/// A line for each week in which something comes due.
pub fn bars(forecast: &Forecast) -> String {
    let most = most(forecast);
    let mut out = String::new();
    for (at, week) in forecast.weeks.iter().enumerate() {
        if week.rows == 0 {
            continue;
        }
        let day = match at {
            0 => "now".to_owned(),
            _ => week.through.to_string(),
        };
        let mut bar = "#".repeat(usize::try_from(length(week.rows, most, BAR)).unwrap_or(0));
        if week.rows > most {
            bar.push('>');
        }
        let _ = writeln!(out, "  {day:<10} {bar} {}", week.rows);
    }
    out
}

const WIDE: i64 = 14;
const HIGH: i64 = 200;
const LEFT: i64 = 20;
const TOP: i64 = 50;

/// A drawing that stands by itself.
pub fn svg(title: &str, forecast: &Forecast) -> String {
    let most = most(forecast);
    let weeks = i64::try_from(forecast.weeks.len()).unwrap_or(0);
    let (width, height) = (2 * LEFT + weeks * WIDE, TOP + HIGH + 40);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\"><rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\
         <text x=\"{LEFT}\" y=\"22\" font-size=\"14\">{}</text><text x=\"{LEFT}\" y=\"40\">rows that come due each week, at most {most}{behind}</text>",
        escape(title),
        behind = match forecast.weeks.first() {
            Some(now) if now.rows > most => "; what is due now is cut off",
            _ => "",
        }
    );
    let mut x = LEFT;
    for (at, week) in forecast.weeks.iter().enumerate() {
        out.push_str(&bar(x, at, week, most));
        x += WIDE;
    }
    out.push_str("</svg>\n");
    out
}

fn bar(x: i64, at: usize, week: &Week, most: i64) -> String {
    let high = length(week.rows, most, HIGH);
    let (bottom, width) = (TOP + HIGH, WIDE - 2);
    let (top, day) = (bottom - high, week.through);
    let cut_off = week.rows > most;
    // What is due already stands out, in a copy without colour too.
    let fill = if at == 0 { "#1b1f24" } else { "#4a7ab5" };
    let mut out = format!(
        "<rect x=\"{x}\" y=\"{top}\" width=\"{width}\" height=\"{high}\" fill=\"{fill}\"><title>{day}: {}</title></rect>",
        week.rows
    );
    if cut_off {
        let _ = write!(
            out,
            "<path d=\"M{x} {} l{width} -6\" stroke=\"#fff\" stroke-width=\"3\"/>",
            top + 12
        );
    }
    let label = match at {
        0 if cut_off => format!("now: {}", week.rows),
        0 => "now".to_owned(),
        at if at % 8 == 0 => day.to_string(),
        _ => return out,
    };
    let below = bottom + 18;
    let _ = write!(out, "<text x=\"{x}\" y=\"{below}\">{label}</text>");
    out
}

/// The longest bar is of the weeks to come: before the first run all that has gathered for years is due now, and beside that
/// no week would be seen. It is cut off where it is more.
fn most(forecast: &Forecast) -> i64 {
    let coming = forecast.weeks.iter().skip(1).map(|w| w.rows).max();
    let coming = coming.filter(|most| *most > 0);
    let now = forecast.weeks.first().map(|w| w.rows);
    coming.or(now).unwrap_or(0)
}

/// In proportion to the largest, and not longer; what is there is seen.
fn length(rows: i64, most: i64, full: i64) -> i64 {
    let length = i128::from(rows) * i128::from(full);
    let length = length.checked_div(i128::from(most)).unwrap_or(0);
    let length = i64::try_from(length).unwrap_or(full).min(full);
    length.max(rows.signum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{Days, NaiveDate};

    fn forecast(rows: &[i64]) -> Forecast {
        let first: NaiveDate = "2026-11-27".parse().unwrap();
        let days = (0..).map(|week| first + Days::new(7 * week));
        Forecast {
            weeks: days
                .zip(rows)
                .map(|(through, &rows)| Week { through, rows })
                .collect(),
            rows: 100,
            one_in: None,
            table_bytes: 0,
        }
    }

    #[test]
    fn bars_are_in_proportion_and_bounded() {
        let drawn = bars(&forecast(&[7, 0, 1, i64::MAX, i64::MAX / 2]));
        let lines: Vec<&str> = drawn.lines().collect();
        let marks = |line: &str| line.matches('#').count();
        assert_eq!(lines.len(), 4, "{drawn}");
        let marked: Vec<usize> = lines.iter().map(|line| marks(line)).collect();
        assert_eq!(marked, [1, 1, 40, 19]);
        assert!(lines[0].starts_with("  now ") && lines[1].starts_with("  2026-12-11 # 1"));
        assert!(lines.iter().all(|line| line.len() < 80), "{drawn}");
        assert_eq!(bars(&forecast(&[0, 0])), "");
    }

    /// Before the first run what has gathered for years is due now.
    #[test]
    fn what_is_due_now_does_not_hide_the_weeks() {
        let drawn = bars(&forecast(&[1_000_000, 20, 10]));
        let lines: Vec<&str> = drawn.lines().collect();
        assert!(lines[0].ends_with("#> 1000000"), "{drawn}");
        let marks = |line: &str| line.matches('#').count();
        let marked: Vec<usize> = lines.iter().map(|line| marks(line)).collect();
        assert_eq!(marked, [40, 40, 20]);
        let drawn = svg("calls", &forecast(&[1_000_000, 20, 10]));
        assert!(
            drawn.contains("height=\"100\"") && drawn.contains(">now: 1000000<"),
            "{drawn}"
        );
        // Nothing is to come.
        let drawn = bars(&forecast(&[100, 0]));
        assert_eq!(marks(&drawn), 40);
        assert!(!drawn.contains('>'), "{drawn}");
    }

    #[test]
    fn names_are_only_text_in_the_drawing() {
        let drawn = svg("<calls> & \"co\"", &forecast(&[1, 0, 3]));
        assert!(
            drawn.contains("&lt;calls&gt; &amp; &quot;co&quot;"),
            "{drawn}"
        );
        assert_eq!(drawn.matches("<rect").count(), 4);
        assert!(drawn.contains("height=\"200\"") && drawn.contains("height=\"66\""));
    }
}
