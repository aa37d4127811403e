//! What an answer means.

use super::Adapted;
use crate::config::place::http::{Find, Pointer};
use crate::exchange::Answer;
use crate::identifier::normalise;
use crate::policy::IdentifierKind;
use crate::system::place::Failed;
use axum::http::{StatusCode, header};
use chrono::{DateTime, Utc};
use serde_json::Value;
use std::time::Duration;
use zeroize::Zeroizing;

/// What a status says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Yes.
    Done,
    /// Taken, and not yet done.
    Taken,
    /// There is nothing by that name.
    Nothing,
    /// It is kept.
    Kept,
}

/// What the answer's status says, or why that is nothing.
pub(super) fn said(what: &str, answer: &Answer) -> Result<Said, Failed> {
    let status = answer.status;
    match status.as_u16() {
        202 => Ok(Said::Taken),
        200..=299 => Ok(Said::Done),
        404 | 410 => Ok(Said::Nothing),
        409 => Ok(Said::Kept),
        // Who asks is not known to it just now: nothing about the people need change.
        401 => Err(Failed::later(format!(
            "{what}: it does not take the credentials (status 401)"
        ))),
        _ if is_down(status) => Err(Failed::later(format!(
            "{what}: it answers with status {status}",
            status = status.as_u16()
        ))),
        other => Err(Failed::stuck(format!(
            "{what}: it answers with status {other}, which is neither yes nor no"
        ))),
    }
}

/// Whether the service cannot answer just now.
pub(super) fn is_down(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(
            status,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS
        )
}

/// For how long it asks to be left alone.
pub(super) fn retry_after(answer: &Answer, now: DateTime<Utc>) -> Option<Duration> {
    let text = answer.headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    match text.trim().parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => (DateTime::parse_from_rfc2822(text).ok()?.to_utc() - now)
            .to_std()
            .ok(),
    }
}

pub(super) fn json(what: &str, answer: &Answer) -> Adapted<Value> {
    serde_json::from_slice(&answer.body).map_err(|_| strange(what))
}

/// The ids that stand there: texts and whole numbers. Where it is said whose they are, they are of one of
/// these values.
pub(super) fn ids(find: &Find, answer: &Answer, theirs: &[&str]) -> Adapted<Vec<String>> {
    const WHAT: &str = "find";
    let value = json(WHAT, answer)?;
    let none = || strange(WHAT);
    let Some(found) = &find.found else {
        if let Some(whose) = &find.whose {
            is_theirs(whose, &value, theirs)?;
        }
        return Ok(Vec::new());
    };
    let (list, id) = found.parted();
    let mut ids = Vec::new();
    for item in list.all(&value).ok_or_else(none)? {
        let found = id.all(item).ok_or_else(none)?;
        let [found] = found.as_slice() else {
            return Err(none());
        };
        ids.push(text(found).ok_or_else(none)?);
        if let Some(whose) = &find.whose {
            let whose = whose.behind(&list).ok_or_else(none)?;
            is_theirs(&whose, item, theirs)?;
        }
    }
    Ok(ids)
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.trim().is_empty() => Some(text.clone()),
        Value::Number(number) if number.is_i64() || number.is_u64() => Some(number.to_string()),
        _ => None,
    }
}

/// Fails if a thing is said to be somebody else's: the service does not look for what it is asked.
fn is_theirs(whose: &Pointer, item: &Value, theirs: &[&str]) -> Adapted<()> {
    let said = whose.all(item).ok_or_else(|| strange("find"))?;
    let one_writing = |text: &str| normalise(&IdentifierKind::Plain, text).ok();
    let theirs: Vec<_> = theirs.iter().filter_map(|text| one_writing(text)).collect();
    let is_one = |said: &&Value| {
        let said = text(said).map(Zeroizing::new);
        let said = said.and_then(|said| one_writing(&said));
        said.is_some_and(|said| theirs.iter().any(|one| one.value() == said.value()))
    };
    match said.iter().any(is_one) {
        true => Ok(()),
        false => Err(Failed::stuck(
            "find: it names something that is somebody else's by what `whose` says, so it does not look for what it is asked",
        )),
    }
}

/// It is not made as the configuration says.
pub(super) fn strange(what: &str) -> Failed {
    Failed::stuck(format!(
        "{what}: the answer is not the JSON that was expected"
    ))
}
