//! What Azure says.

use super::super::element::{Element, strange};
use super::super::listing::Page;
use super::super::xml::{unescaped, word};
use super::Thing;
use crate::exchange::Answer;
use crate::system::place::Failed;
use axum::http::HeaderMap;

type Adapted<T> = Result<T, Failed>;

/// One page of what is in a container. A server that does not know a question may answer another one.
pub(super) fn page(answer: &Answer, container: &str) -> Adapted<Page<Thing>> {
    let text = std::str::from_utf8(&answer.body).map_err(|_| strange())?;
    let page = Element::read(text, "EnumerationResults")?;
    let blobs = page.child("Blobs").ok_or_else(strange)?;
    let next = page.child("NextMarker").ok_or_else(strange)?;
    if page.attribute("ContainerName") != Some(container) {
        return Err(Failed::stuck("the answer is about another container"));
    }
    let things = blobs.children("Blob").map(thing);
    Ok(Page {
        things: things.collect::<Adapted<_>>()?,
        next: (!next.text.is_empty()).then(|| (next.text.clone(), String::new())),
    })
}

fn thing(blob: &Element) -> Adapted<Thing> {
    let text = |name: &str| {
        let text = blob.child(name).map(|child| child.text.clone());
        text.filter(|text| !text.is_empty())
    };
    let name = blob.child("Name").ok_or_else(strange)?;
    let name = match name.attribute("Encoded") {
        Some("true") => unescaped(&name.text, b'+')?,
        _ => name.text.clone(),
    };
    if name.is_empty() {
        return Err(strange());
    }
    let current = text("IsCurrentVersion").as_deref() == Some("true");
    Ok(match (text("Snapshot"), text("VersionId")) {
        (Some(at), _) => Thing::Snapshot(name, at),
        (None, Some(id)) if !current => Thing::Version(name, id),
        (None, version) => Thing::Blob(name, version),
    })
}

/// What becomes of what is deleted, as a sentence for certificates.
pub(super) fn soft_deletion(answer: Option<&Answer>) -> String {
    let Some(policy) = answer.and_then(policy) else {
        return "The account did not say whether it keeps deleted blobs for a while (soft delete)."
            .into();
    };
    match policy {
        Some(days) => format!(
            "Soft delete of blobs is on: whoever may can bring back what was deleted for {days} days."
        ),
        None => "Soft delete of blobs is off.".into(),
    }
}

/// For how many days deleted blobs are kept, if they are; the outer `None` where nothing is said.
fn policy(answer: &Answer) -> Option<Option<u32>> {
    let text = std::str::from_utf8(&answer.body).ok()?;
    let all = Element::read(text, "StorageServiceProperties").ok()?;
    let policy = all.child("DeleteRetentionPolicy")?;
    match policy.child("Enabled")?.text.as_str() {
        "true" => Some(Some(policy.child("Days")?.text.parse().ok()?)),
        "false" => Some(None),
        _ => None,
    }
}

/// Whether a container may put every new blob under a policy.
pub(super) fn locks_all(container: &HeaderMap) -> bool {
    header(container, "x-ms-immutable-storage-with-versioning-enabled") == Some("true")
}

/// The word by which Azure refuses; nothing else of what it says.
pub(super) fn code(answer: &Answer) -> Option<&str> {
    header(&answer.headers, "x-ms-error-code").and_then(word)
}

pub(super) fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::StatusCode;
    use bytes::Bytes;

    fn answer(body: &str) -> Answer {
        Answer {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: Bytes::copy_from_slice(body.as_bytes()),
        }
    }

    #[test]
    fn each_is_named_exactly() {
        let text = "\u{feff}<?xml version=\"1.0\"?><EnumerationResults ContainerName=\"c\"><Prefix>a</Prefix><Blobs>\
            <Blob><Name> a&amp;b </Name><Properties><Etag>x</Etag></Properties></Blob>\
            <Blob><Name>a</Name><Snapshot>S1</Snapshot><Properties /></Blob>\
            <Blob><Name>a</Name><VersionId>V1</VersionId><Properties /></Blob>\
            <Blob><Name>a</Name><VersionId>V2</VersionId><IsCurrentVersion>true</IsCurrentVersion></Blob>\
            <Blob><Name Encoded=\"true\">a%EF%BF%BE+b%2f</Name></Blob>\
            </Blobs><NextMarker>m 1</NextMarker></EnumerationResults>";
        let page = page(&answer(text), "c").unwrap();
        assert_eq!(
            page.things,
            [
                Thing::Blob(" a&b ".into(), None),
                Thing::Snapshot("a".into(), "S1".into()),
                Thing::Version("a".into(), "V1".into()),
                Thing::Blob("a".into(), Some("V2".into())),
                Thing::Blob("a\u{fffe}+b/".into(), None),
            ]
        );
        assert_eq!(page.next, Some(("m 1".into(), String::new())));
    }

    #[test]
    fn an_answer_to_another_question_is_none() {
        for other in [
            "",
            "<html/>",
            "<EnumerationResults ContainerName=\"d\"><Blobs/><NextMarker/></EnumerationResults>",
            "<EnumerationResults><Blobs/><NextMarker/></EnumerationResults>",
            "<EnumerationResults ContainerName=\"c\"><Containers/><NextMarker/></EnumerationResults>",
            "<EnumerationResults ContainerName=\"c\"><Blobs/></EnumerationResults>",
            "<EnumerationResults ContainerName=\"c\"><Blobs><Blob/></Blobs><NextMarker/></EnumerationResults>",
            "<EnumerationResults ContainerName=\"c\"><Blobs/><NextMarker/>",
        ] {
            assert!(page(&answer(other), "c").is_err(), "{other}");
        }
    }

    #[test]
    fn certificates_say_how_long_deleted_blobs_are_kept() {
        let of = |inner: &str| {
            let text = format!("<StorageServiceProperties>{inner}</StorageServiceProperties>");
            soft_deletion(Some(&answer(&text)))
        };
        let on =
            "<DeleteRetentionPolicy><Enabled>true</Enabled><Days>7</Days></DeleteRetentionPolicy>";
        assert!(of(on).contains("7 days"));
        let off = "<DeleteRetentionPolicy><Enabled>false</Enabled></DeleteRetentionPolicy>";
        assert!(of(off).contains("is off"));
        for unsaid in [
            of(""),
            soft_deletion(None),
            soft_deletion(Some(&answer("<a/>"))),
        ] {
            assert!(unsaid.contains("did not say"), "{unsaid}");
        }
    }
}
