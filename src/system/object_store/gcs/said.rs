//! What Google says.

use super::super::element::{Element, strange as strange_xml};
use super::super::listing::{Page, Thing};
use super::super::xml::word;
use crate::exchange::Answer;
use crate::system::place::Failed;
use chrono::{DateTime, Utc};
use serde::Deserialize;

type Adapted<T> = Result<T, Failed>;

/// What is asked of a generation that is not deleted.
pub(super) const LOCKS: &str =
    "name,generation,temporaryHold,eventBasedHold,retentionExpirationTime,retention";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Objects {
    kind: String,
    next_page_token: Option<String>,
    #[serde(default)]
    items: Vec<Object>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Object {
    name: String,
    generation: String,
    #[serde(default)]
    temporary_hold: bool,
    #[serde(default)]
    event_based_hold: bool,
    retention_expiration_time: Option<DateTime<Utc>>,
    retention: Option<Retention>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Retention {
    retain_until_time: Option<DateTime<Utc>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bucket {
    kind: String,
    soft_delete_policy: Option<SoftDeletePolicy>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SoftDeletePolicy {
    retention_duration_seconds: Option<String>,
}

#[derive(Deserialize)]
struct Refusal {
    error: Refused,
}

#[derive(Deserialize)]
struct Refused {
    errors: Vec<Reason>,
}

#[derive(Deserialize)]
struct Reason {
    reason: String,
}

/// One page of all generations. A server that does not know a question may answer another one.
pub(super) fn generations(answer: &Answer) -> Adapted<Page<Thing>> {
    let page: Objects = read(answer)?;
    is(&page.kind, "storage#objects")?;
    let things = page.items.into_iter().map(|object| {
        let numbered = object.generation.chars().all(|c| c.is_ascii_digit());
        match numbered && !object.generation.is_empty() && !object.name.is_empty() {
            true => Ok(Thing::Version(object.name, object.generation)),
            false => Err(strange()),
        }
    });
    Ok(Page {
        things: things.collect::<Adapted<_>>()?,
        next: page.next_page_token.map(|token| (token, String::new())),
    })
}

/// One page of uploads in parts that were begun and not ended.
pub(super) fn uploads(answer: &Answer) -> Adapted<Page<Thing>> {
    let text = std::str::from_utf8(&answer.body).map_err(|_| strange_xml())?;
    let page = Element::read(text, "ListMultipartUploadsResult")?;
    let text = |of: &Element, name: &str| {
        let text = of.child(name).map(|child| child.text.clone());
        text.filter(|text| !text.is_empty())
    };
    let things = page.children("Upload").map(|upload| {
        let named = text(upload, "Key").zip(text(upload, "UploadId"));
        named.map(|(key, id)| Thing::Upload(key, id))
    });
    let things: Option<Vec<Thing>> = things.collect();
    let next = match text(&page, "IsTruncated").as_deref() {
        Some("false") => None,
        Some("true") => {
            let key = text(&page, "NextKeyMarker").ok_or_else(strange_xml)?;
            Some((key, text(&page, "NextUploadIdMarker").unwrap_or_default()))
        }
        _ => return Err(strange_xml()),
    };
    Ok(Page {
        things: things.ok_or_else(strange_xml)?,
        next,
    })
}

/// For what a generation stays at this time.
pub(super) fn lock(
    answer: &Answer,
    (name, generation): (&str, &str),
    now: DateTime<Utc>,
) -> Adapted<Option<&'static str>> {
    let object: Object = read(answer)?;
    if object.name != name || object.generation != generation {
        return Err(Failed::stuck("the answer is about another object"));
    }
    if object.temporary_hold || object.event_based_hold {
        return Ok(Some("legal-hold"));
    }
    let own = object.retention.and_then(|of| of.retain_until_time);
    let until = own.max(object.retention_expiration_time);
    Ok(until.filter(|until| *until > now).map(|_| "object-lock"))
}

/// What becomes of what is deleted, as a sentence for certificates.
pub(super) fn soft_deletion(answer: &Answer) -> Adapted<String> {
    let bucket: Bucket = read(answer)?;
    is(&bucket.kind, "storage#bucket")?;
    let policy = bucket.soft_delete_policy;
    let Some(seconds) = policy.and_then(|policy| policy.retention_duration_seconds) else {
        return Ok("The bucket has no policy of soft delete.".into());
    };
    Ok(match seconds.parse::<u64>().map_err(|_| strange())? {
        0 => "Soft delete is off.".into(),
        seconds => format!(
            "Soft delete is on: whoever may can bring back what was deleted for {}.",
            long(seconds)
        ),
    })
}

fn long(seconds: u64) -> String {
    match seconds % 86_400 {
        0 => format!("{} days", seconds / 86_400),
        _ => format!("{seconds} seconds"),
    }
}

/// The word by which Google refuses, in either of its interfaces; nothing else of what it says.
pub(super) fn reason(answer: &Answer) -> Option<String> {
    let said: Option<Refusal> = serde_json::from_slice(&answer.body).ok();
    let said = match said {
        Some(refusal) => refusal.error.errors.into_iter().next()?.reason,
        None => {
            let text = std::str::from_utf8(&answer.body).ok()?;
            Element::read(text, "Error")
                .ok()?
                .child("Code")?
                .text
                .clone()
        }
    };
    word(&said).map(str::to_owned)
}

fn read<'a, T: Deserialize<'a>>(answer: &'a Answer) -> Adapted<T> {
    serde_json::from_slice(&answer.body).map_err(|_| strange())
}

fn is(kind: &str, expected: &str) -> Adapted<()> {
    match kind == expected {
        true => Ok(()),
        false => Err(strange()),
    }
}

fn strange() -> Failed {
    Failed::stuck("the answer is not the JSON that was expected")
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderMap, StatusCode};
    use bytes::Bytes;

    fn answer(body: &str) -> Answer {
        Answer {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: Bytes::copy_from_slice(body.as_bytes()),
        }
    }

    #[test]
    fn an_answer_to_another_question_is_none() {
        for other in [
            "",
            "{}",
            r#"{"kind": "storage#buckets", "items": []}"#,
            r#"{"items": [{"name": "a", "generation": "1"}]}"#,
            r#"{"kind": "storage#objects", "items": [{"name": "a"}]}"#,
            r#"{"kind": "storage#objects", "items": [{"name": "a", "generation": ""}]}"#,
            r#"{"kind": "storage#objects", "items": [{"name": "a", "generation": "1&x"}]}"#,
            r#"{"kind": "storage#objects", "items": [{"name": "", "generation": "1"}]}"#,
        ] {
            assert!(generations(&answer(other)).is_err(), "{other}");
        }
        let none = generations(&answer(r#"{"kind": "storage#objects"}"#)).unwrap();
        assert!(none.things.is_empty() && none.next.is_none());
        for other in [
            "",
            "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>",
            "<ListMultipartUploadsResult/>",
            "<ListMultipartUploadsResult><IsTruncated>true</IsTruncated></ListMultipartUploadsResult>",
            "<ListMultipartUploadsResult><IsTruncated>false</IsTruncated><Upload><Key>a</Key></Upload></ListMultipartUploadsResult>",
        ] {
            assert!(uploads(&answer(other)).is_err(), "{other}");
        }
    }

    #[test]
    fn a_lock_that_is_over_keeps_nothing() {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let of = |more: &str| {
            let text = format!(r#"{{"name": "a", "generation": "1"{more}}}"#);
            lock(&answer(&text), ("a", "1"), now).unwrap()
        };
        assert_eq!(of(""), None);
        assert_eq!(of(r#", "temporaryHold": true"#), Some("legal-hold"));
        assert_eq!(of(r#", "eventBasedHold": true"#), Some("legal-hold"));
        assert_eq!(of(r#", "eventBasedHold": false"#), None);
        for (until, reason) in [
            ("2026-01-01T00:00:01Z", Some("object-lock")),
            ("2025-12-31T23:59:59Z", None),
        ] {
            let policy = format!(r#", "retentionExpirationTime": "{until}""#);
            assert_eq!(of(&policy), reason);
            let own =
                format!(r#", "retention": {{"mode": "Unlocked", "retainUntilTime": "{until}"}}"#);
            assert_eq!(of(&own), reason);
        }
        let other = answer(r#"{"name": "b", "generation": "1", "temporaryHold": true}"#);
        assert!(lock(&other, ("a", "1"), now).is_err());
    }

    #[test]
    fn certificates_say_how_long_deleted_objects_are_kept() {
        let of = |policy: &str| {
            let text = format!(r#"{{"kind": "storage#bucket"{policy}}}"#);
            soft_deletion(&answer(&text)).unwrap()
        };
        let policy = |seconds: &str| {
            of(&format!(
                r#", "softDeletePolicy": {{"retentionDurationSeconds": "{seconds}"}}"#
            ))
        };
        assert!(policy("604800").contains("for 7 days"));
        assert!(policy("604801").contains("for 604801 seconds"));
        assert!(policy("0").contains("is off"));
        assert!(of("").contains("no policy"));
        assert!(soft_deletion(&answer("{}")).is_err());
    }

    #[test]
    fn a_refusal_is_a_word_and_nothing_else() {
        let of = |body: &str| reason(&answer(body));
        let json = |word: &str| {
            of(&format!(
                r#"{{"error": {{"errors": [{{"reason": "{word}"}}]}}}}"#
            ))
        };
        assert_eq!(json("forbidden").as_deref(), Some("forbidden"));
        assert_eq!(json("no object avatars/12"), None);
        let xml = "<Error><Code>AccessDenied</Code><Message>avatars/12</Message></Error>";
        assert_eq!(of(xml).as_deref(), Some("AccessDenied"));
        assert_eq!(of("taro"), None);
    }
}
