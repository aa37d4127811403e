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
        let bar = "#".repeat(usize::try_from(length(week.rows, most, BAR)).unwrap_or(0));
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
         <text x=\"{LEFT}\" y=\"22\" font-size=\"14\">{}</text><text x=\"{LEFT}\" y=\"40\">rows that come due each week, at most {most}</text>",
        escape(title)
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
    // What is due already stands out, in a copy without colour too.
    let fill = if at == 0 { "#1b1f24" } else { "#4a7ab5" };
    let mut out = format!(
        "<rect x=\"{x}\" y=\"{top}\" width=\"{width}\" height=\"{high}\" fill=\"{fill}\"><title>{day}: {}</title></rect>",
        week.rows
    );
    let label = match at {
        0 => "now".to_owned(),
        at if at % 8 == 0 => day.to_string(),
        _ => return out,
    };
    let below = bottom + 18;
    let _ = write!(out, "<text x=\"{x}\" y=\"{below}\">{label}</text>");
    out
}

fn most(forecast: &Forecast) -> i64 {
    forecast.weeks.iter().map(|w| w.rows).max().unwrap_or(0)
}

/// In proportion to the largest; what is there is seen.
fn length(rows: i64, most: i64, full: i64) -> i64 {
    let length = i128::from(rows) * i128::from(full);
    let length = length.checked_div(i128::from(most)).unwrap_or(0);
    i64::try_from(length).unwrap_or(full).max(rows.signum())
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
        let drawn = bars(&forecast(&[i64::MAX, 0, 1, i64::MAX / 2]));
        let lines: Vec<&str> = drawn.lines().collect();
        let marks = |line: &str| line.matches('#').count();
        assert_eq!(lines.len(), 3, "{drawn}");
        assert_eq!(
            [40, 1, 19],
            [marks(lines[0]), marks(lines[1]), marks(lines[2])]
        );
        assert!(lines[0].starts_with("  now ") && lines[1].starts_with("  2026-12-11 # 1"));
        assert!(lines.iter().all(|line| line.len() < 80), "{drawn}");
        assert_eq!(bars(&forecast(&[0, 0])), "");
    }

    #[test]
    fn names_are_only_text_in_the_drawing() {
        let drawn = svg("<calls> & \"co\"", &forecast(&[3, 0, 1]));
        assert!(
            drawn.contains("&lt;calls&gt; &amp; &quot;co&quot;"),
            "{drawn}"
        );
        assert_eq!(drawn.matches("<rect").count(), 4);
        assert!(drawn.contains("height=\"200\"") && drawn.contains("height=\"66\""));
    }
}
