//! `recheck`: when it is looked whether somebody who was erased has come back.

use super::read::{BAD_PERIOD, CODES};
use crate::reading::{Table, amount};
use std::time::Duration;

const HOURS: u64 = 60 * 60;
const SHORTEST: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(366 * 24 * HOURS);
const MOST: usize = 10;
const HELP: &str = "write one to ten times after the certificate, from 1 min to 366 days, each longer than the one before: recheck = [\"1 hour\", \"1 day\", \"7 days\"]";

/// The times after closing, the shortest first; none if the policy does not ask for it.
pub(super) fn recheck(file: &Table<'_>, searched: bool) -> Option<Vec<Duration>> {
    let Some(span) = file.span_of("recheck") else {
        return Some(Vec::new());
    };
    let bad = |code, span, message: &str| {
        file.reader().error(code, span, message.to_owned(), HELP);
        None
    };
    let mut times: Vec<Duration> = Vec::new();
    for (text, at) in file.strings("recheck")? {
        match amount::duration(&text) {
            Ok(time) if !(SHORTEST..=LONGEST).contains(&time) => {
                return bad(CODES.bad_value, at, "a time in `recheck` is out of bounds");
            }
            Ok(time) if times.last().is_some_and(|last| *last >= time) => {
                let message = "a time in `recheck` is no longer than the one before it";
                return bad(CODES.bad_value, at, message);
            }
            Ok(time) => times.push(time),
            Err(why) => return bad(BAD_PERIOD, at, &format!("`recheck`: {why}")),
        }
    }
    if times.is_empty() || times.len() > MOST {
        return bad(CODES.bad_value, span, "`recheck` has no time, or too many");
    }
    if !searched {
        let message = "`recheck` has nothing to look for: no identifier says `residual = true`";
        return bad(CODES.bad_value, span, message);
    }
    Some(times)
}
