//! What an answer means.

use super::Adapted;
use crate::config::place::http::Pointer;
use crate::exchange::Answer;
use crate::system::place::Failed;
use axum::http::{StatusCode, header};
use chrono::{DateTime, Utc};
use serde_json::Value;
use std::time::Duration;

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

/// The ids that stand there: texts and whole numbers.
pub(super) fn ids(what: &str, pointer: &Pointer, answer: &Answer) -> Adapted<Vec<String>> {
    let value = json(what, answer)?;
    let ids = pointer.all(&value).ok_or_else(|| strange(what))?;
    let ids = ids.into_iter().map(|id| match id {
        Value::String(id) if !id.trim().is_empty() => Some(id.clone()),
        Value::Number(id) if id.is_i64() || id.is_u64() => Some(id.to_string()),
        _ => None,
    });
    ids.collect::<Option<_>>().ok_or_else(|| strange(what))
}

/// It is not made as the configuration says.
pub(super) fn strange(what: &str) -> Failed {
    Failed::stuck(format!(
        "{what}: the answer is not the JSON that was expected"
    ))
}
