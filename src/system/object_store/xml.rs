//! What S3 says and is told, as XML.

use super::element::strange;
use super::listing::{Page, Thing};
use crate::exchange::Answer;
use crate::system::place::Failed;
use quick_xml::escape::escape;
use serde::Deserialize;

type Adapted<T> = Result<T, Failed>;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Versions {
    is_truncated: bool,
    encoding_type: Option<String>,
    next_key_marker: Option<String>,
    next_version_id_marker: Option<String>,
    #[serde(default)]
    version: Vec<Version>,
    #[serde(default)]
    delete_marker: Vec<Version>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Version {
    key: String,
    version_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Uploads {
    is_truncated: bool,
    encoding_type: Option<String>,
    next_key_marker: Option<String>,
    next_upload_id_marker: Option<String>,
    #[serde(default)]
    upload: Vec<Upload>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Upload {
    key: String,
    upload_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Deleted {
    #[serde(default)]
    error: Vec<NotDeleted>,
}

/// What a bulk deletion says of a version that it has not deleted.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct NotDeleted {
    pub(super) key: String,
    pub(super) version_id: Option<String>,
    pub(super) code: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Refusal {
    code: String,
}

/// One page of all versions, deletion markers among them.
pub(super) fn versions(answer: &Answer) -> Adapted<Page<Thing>> {
    let page: Versions = read(answer, "ListVersionsResult")?;
    let all = page.version.into_iter().chain(page.delete_marker);
    let coded = page.encoding_type.as_deref() == Some("url");
    let things = all.map(|version| {
        Ok(Thing::Version(
            decoded(version.key, coded)?,
            version.version_id,
        ))
    });
    Ok(Page {
        things: things.collect::<Adapted<_>>()?,
        next: next(
            page.is_truncated,
            page.next_key_marker,
            page.next_version_id_marker,
            coded,
        )?,
    })
}

/// One page of uploads that were begun and not ended.
pub(super) fn uploads(answer: &Answer) -> Adapted<Page<Thing>> {
    let page: Uploads = read(answer, "ListMultipartUploadsResult")?;
    let coded = page.encoding_type.as_deref() == Some("url");
    let things = page.upload.into_iter();
    let things =
        things.map(|upload| Ok(Thing::Upload(decoded(upload.key, coded)?, upload.upload_id)));
    Ok(Page {
        things: things.collect::<Adapted<_>>()?,
        next: next(
            page.is_truncated,
            page.next_key_marker,
            page.next_upload_id_marker,
            coded,
        )?,
    })
}

fn next(
    more: bool,
    key: Option<String>,
    id: Option<String>,
    coded: bool,
) -> Adapted<Option<(String, String)>> {
    match (more, key) {
        (false, _) => Ok(None),
        (true, Some(key)) => Ok(Some((decoded(key, coded)?, id.unwrap_or_default()))),
        (true, None) => Err(strange()),
    }
}

/// What a bulk deletion has not deleted.
pub(super) fn not_deleted(answer: &Answer) -> Adapted<Vec<NotDeleted>> {
    read::<Deleted>(answer, "DeleteResult").map(|deleted| deleted.error)
}

/// The word by which S3 refuses; nothing else of what it says.
pub(super) fn refusal(answer: &Answer) -> Option<String> {
    let refusal: Refusal = read(answer, "Error").ok()?;
    word(&refusal.code).map(str::to_owned)
}

/// A code of S3's, which is a word of letters.
pub(super) fn word(code: &str) -> Option<&str> {
    let plain = code.len() <= 40 && code.chars().all(|c| c.is_ascii_alphanumeric());
    plain.then_some(code)
}

/// A server that does not know a question may answer another one.
fn read<'a, T: Deserialize<'a>>(answer: &'a Answer, root: &str) -> Adapted<T> {
    let text = std::str::from_utf8(&answer.body).map_err(|_| strange())?;
    let begins = format!("<{root}");
    let begins = text.split_once(begins.as_str());
    if !begins.is_some_and(|(_, rest)| rest.starts_with(['>', ' ', '\n', '/'])) {
        return Err(Failed::stuck(format!(
            "the answer is no {root}: the store does not speak S3 as far as is needed"
        )));
    }
    quick_xml::de::from_str(text).map_err(|_| strange())
}

fn decoded(text: String, coded: bool) -> Adapted<String> {
    match coded {
        true => unescaped(&text, b' '),
        false => Ok(text),
    }
}

/// Percent-decoded, and what `+` stands for.
pub(super) fn unescaped(text: &str, plus: u8) -> Adapted<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        rest = match (first, behind) {
            (b'%', [a, b, behind @ ..]) => {
                let digit = |c: u8| char::from(c).to_digit(16);
                let (a, b) = digit(*a).zip(digit(*b)).ok_or_else(strange)?;
                bytes.push(u8::try_from(a * 16 + b).map_err(|_| strange())?);
                behind
            }
            (b'%', _) => return Err(strange()),
            (b'+', behind) => {
                bytes.push(plus);
                behind
            }
            (byte, behind) => {
                bytes.push(*byte);
                behind
            }
        };
    }
    String::from_utf8(bytes).map_err(|_| strange())
}

/// The order to delete these versions.
///
/// # Errors
/// XML has no way to write one of the keys.
pub(super) fn deletion<'t>(versions: impl Iterator<Item = (&'t str, &'t str)>) -> Adapted<String> {
    let mut xml =
        "<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Quiet>true</Quiet>".to_owned();
    for (key, version) in versions {
        if key.contains(|c: char| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}')) {
            return Err(Failed::stuck(
                "a key holds a control character, with which it cannot be named in XML: delete it by hand",
            ));
        }
        let (key, version) = (escape(key), escape(version));
        xml.push_str(&format!(
            "<Object><Key>{key}</Key><VersionId>{version}</VersionId></Object>"
        ));
    }
    xml.push_str("</Delete>");
    Ok(xml)
}

#[cfg(test)]
mod tests {
    use super::super::listing::Lies as _;
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
    fn versions_and_markers_stand_in_any_order() {
        let text = r#"<?xml version="1.0"?><ListVersionsResult xmlns="x"><IsTruncated>true</IsTruncated><EncodingType>url</EncodingType>
            <NextKeyMarker>a%2Bb+c</NextKeyMarker><NextVersionIdMarker>v9</NextVersionIdMarker>
            <Version><Key>a%2Fb</Key><VersionId>1</VersionId><Size>1</Size></Version>
            <DeleteMarker><Key>a</Key><VersionId>2</VersionId></DeleteMarker>
            <Version><Key>%E5%A4%AA</Key><VersionId>null</VersionId></Version></ListVersionsResult>"#;
        let page = versions(&answer(text)).unwrap();
        let mut keys: Vec<&str> = page.things.iter().map(|thing| thing.key()).collect();
        keys.sort_unstable();
        assert_eq!(keys, ["a", "a/b", "太"]);
        assert_eq!(page.next, Some(("a+b c".into(), "v9".into())));
    }

    /// A server that knows no versions lists what is there now, and would be taken at its word.
    #[test]
    fn an_answer_to_another_question_is_none() {
        for other in [
            "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>",
            "<ListVersionsResultX><IsTruncated>false</IsTruncated></ListVersionsResultX>",
            "",
            "<html></html>",
            "<ListVersionsResult><IsTruncated>true</IsTruncated></ListVersionsResult>",
            "<ListVersionsResult></ListVersionsResult>",
            "<ListVersionsResult><IsTruncated>false</IsTruncated><Version><Key>a</Key></Version></ListVersionsResult>",
            "<ListVersionsResult><IsTruncated>false</IsTruncated><Version><Key>a</Key>",
        ] {
            assert!(versions(&answer(other)).is_err(), "{other}");
            assert!(uploads(&answer(other)).is_err(), "{other}");
        }
    }

    #[test]
    fn a_key_stays_a_key() {
        let evil = "a</Key></Object><Object><Key>b&amp;\"";
        let xml = deletion([(evil, "v")].into_iter()).unwrap();
        assert_eq!(xml.matches("<Object>").count(), 1, "{xml}");
        assert!(deletion([("a\rb", "v")].into_iter()).is_err());
    }
}
