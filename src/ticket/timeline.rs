//! What has happened to a ticket and what is to, so that it reads in ten seconds.

use chrono::{DateTime, Duration, Utc};
use serde::Serialize;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Happened {
    /// When.
    pub at: DateTime<Utc>,
    /// What, as a word.
    pub what: String,
    /// In what capacity somebody did it; `None` for the daemon.
    pub by_role: Option<String>,
    /// By what method, for which reason: codes.
    pub detail: Option<String>,
}

/// A moment that the clock sets.
#[derive(Clone, Copy, Debug)]
pub struct Mark<'a> {
    /// What is to be done by then.
    pub name: &'a str,
    /// When.
    pub at: DateTime<Utc>,
    /// When it was done; `None` while it is not.
    pub met: Option<DateTime<Utc>>,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// When.
    pub at: DateTime<Utc>,
    /// How long after the line before.
    pub after: String,
    /// What.
    pub what: String,
    /// Who, or where now stands from here.
    pub who: String,
    /// The rest.
    pub detail: String,
}

/// What happened, and the marks of the clock at their places.
pub fn lines(happened: &[Happened], marks: &[Mark<'_>], now: DateTime<Utc>) -> Vec<Line> {
    let mut lines: Vec<Line> = happened
        .iter()
        .map(|h| Line {
            at: h.at,
            after: String::new(),
            what: h.what.clone(),
            who: h.by_role.as_deref().map_or("daemon", role).to_owned(),
            detail: h.detail.clone().unwrap_or_default(),
        })
        .collect();
    lines.extend(marks.iter().map(|Mark { name, at, met }| Line {
        at: *at,
        after: String::new(),
        what: format!("— {name}"),
        who: String::new(),
        detail: match met {
            Some(met) if met <= at => "met".into(),
            Some(met) => format!("done {} later", length(*met - *at)),
            None if now <= *at => format!("in {}", length(*at - now)),
            None => format!("{} ago, and not done", length(now - *at)),
        },
    }));
    lines.sort_by_key(|line| line.at);
    let mut before: Option<DateTime<Utc>> = None;
    for line in &mut lines {
        if let Some(before) = before
            && line.at - before >= Duration::seconds(1)
        {
            line.after = format!("+ {}", length(line.at - before));
        }
        before = Some(line.at);
    }
    lines
}

/// `erasured_desk` is the desk.
fn role(name: &str) -> &str {
    name.strip_prefix("erasured_").unwrap_or(name)
}

/// The largest unit that fits, and no more.
fn length(time: Duration) -> String {
    let (days, hours) = (time.num_days(), time.num_hours());
    match (days, hours, time.num_minutes()) {
        (0, 0, 0) => format!("{} s", time.num_seconds()),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, _) => format!("{hours} h"),
        (days, ..) => format!("{days} d"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_stand_at_their_places_and_say_how_it_went() {
        let at = |hours: i64| DateTime::UNIX_EPOCH + Duration::hours(hours);
        let happened = |hours, what: &str, by: Option<&str>| Happened {
            at: at(hours),
            what: what.into(),
            by_role: by.map(str::to_owned),
            detail: None,
        };
        let story = [
            happened(0, "filed", Some("erasured_desk")),
            happened(30, "verified", Some("erasured_desk")),
            happened(31, "approved", Some("owner")),
        ];
        let mark = |name, hours, met: Option<i64>| Mark {
            name,
            at: at(hours),
            met: met.map(at),
        };
        let marks = [mark("confirm receipt", 24, None), mark("due", 240, None)];
        let lines = lines(&story, &marks, at(48));
        let shown: Vec<String> = lines
            .iter()
            .map(|l| format!("{}|{}|{}|{}", l.after, l.what, l.who, l.detail))
            .collect();
        assert_eq!(
            shown,
            [
                "|filed|desk|",
                "+ 1 d|— confirm receipt||1 d ago, and not done",
                "+ 6 h|verified|desk|",
                "+ 1 h|approved|owner|",
                "+ 8 d|— due||in 8 d",
            ]
        );
        let met = |met| {
            super::lines(&[], &[mark("due", 240, Some(met))], at(999))
                .remove(0)
                .detail
        };
        assert_eq!(met(240), "met");
        assert_eq!(met(242), "done 2 h later");
    }
}
