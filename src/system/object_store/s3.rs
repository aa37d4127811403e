//! A bucket that speaks S3: all versions, deletion markers and unfinished uploads of it.
//!
//! It is always the versions that are listed and deleted, whether the bucket keeps them or not: of one
//! that does not there is one, called `null`. So a bucket that keeps versions, or has kept them, cannot
//! be taken for one that does not.

use super::listing::{Lies, Marker, Page, Thing, listed, prefix};
use super::request::{self, asked, climbs, line, step, unfit};
use super::{BY_NAME, xml};
use crate::config::place::object_store as settings;
use crate::exchange::Answer;
use crate::plan::Wanted;
use crate::system::place::{Address, Erased, Failed};
use axum::http::{HeaderMap, Method, Request};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use http_body_util::Full;
use md5::{Digest as _, Md5};
use object_store::aws::{AwsAuthorizer, AwsCredential};
use object_store::client::HttpRequestBody;
use std::collections::BTreeSet;

/// S3 takes no more in one order.
const AT_ONCE: usize = 1000;

type Adapted<T> = Result<T, Failed>;

/// A bucket.
pub(super) struct S3 {
    settings: settings::S3,
}

/// What is listed.
#[derive(Clone, Copy)]
enum Listing {
    Versions,
    Uploads,
}

impl S3 {
    pub(super) fn new(settings: &settings::S3) -> Self {
        Self {
            settings: settings.clone(),
        }
    }

    pub(super) async fn check(&self) -> Adapted<()> {
        for listing in [Listing::Versions, Listing::Uploads] {
            self.page(listing, "", None, 1).await?;
        }
        Ok(())
    }

    pub(super) async fn find(&self, wanted: &[Wanted]) -> Adapted<BTreeSet<Address>> {
        let mut found = BTreeSet::new();
        for wanted in wanted {
            let Some(prefix) = prefix(wanted) else {
                continue;
            };
            for listing in [Listing::Versions, Listing::Uploads] {
                let page = |from| -> BoxFuture<'_, _> {
                    Box::pin(self.page(listing, prefix, from, AT_ONCE))
                };
                listed(wanted, &mut found, page).await?;
            }
        }
        Ok(found.iter().map(Thing::address).collect())
    }

    async fn page(
        &self,
        listing: Listing,
        prefix: &str,
        from: Option<Marker>,
        most: usize,
    ) -> Adapted<Page<Thing>> {
        let (what, most_key, id_key) = match listing {
            Listing::Versions => ("versions", "max-keys", "version-id-marker"),
            Listing::Uploads => ("uploads", "max-uploads", "upload-id-marker"),
        };
        let most = most.to_string();
        let mut query = vec![
            (what, ""),
            ("prefix", prefix),
            ("encoding-type", "url"),
            (most_key, most.as_str()),
        ];
        if let Some((key, id)) = &from {
            query.push(("key-marker", key.as_str()));
            query.push((id_key, id.as_str()));
        }
        let answer = self.fine(Method::GET, None, &query, None).await?;
        match listing {
            Listing::Versions => xml::versions(&answer),
            Listing::Uploads => xml::uploads(&answer),
        }
    }

    /// All of one person's.
    pub(super) async fn erase(&self, found: &[Address]) -> Adapted<Erased> {
        let things: Vec<Thing> = found.iter().map(Thing::read).collect::<Adapted<_>>()?;
        let mut kept = None;
        for thing in &things {
            if let Thing::Upload(key, id) = thing {
                self.abort(key, id).await?;
            }
        }
        let versions: Vec<(&str, &str)> = things.iter().filter_map(Thing::version).collect();
        for some in versions.chunks(AT_ONCE) {
            kept = self.delete(some).await?.or(kept);
        }
        Ok(kept.map_or(Erased::Gone, |reason| Erased::Kept(reason.to_owned())))
    }

    async fn abort(&self, key: &str, id: &str) -> Adapted<()> {
        let query = [("uploadId", id)];
        let answer = self.ask(Method::DELETE, Some(key), &query, None).await?;
        match answer.status.as_u16() {
            200..=299 | 404 => Ok(()),
            _ => Err(refused(&answer)),
        }
    }

    /// Why something of these stays, if it does.
    async fn delete(&self, versions: &[(&str, &str)]) -> Adapted<Option<&'static str>> {
        let order = xml::deletion(versions.iter().copied())?;
        let answer = self
            .fine(Method::POST, None, &[("delete", "")], Some(order))
            .await?;
        let mut kept = None;
        for left in xml::not_deleted(&answer)? {
            if matches!(left.code.as_str(), "NoSuchKey" | "NoSuchVersion") {
                continue;
            }
            let id = left.version_id.as_deref().filter(|id| !id.is_empty());
            let of = versions
                .iter()
                .filter(|(key, version)| *key == left.key && id.is_none_or(|id| id == *version));
            let mut reason = None;
            for (key, version) in of {
                reason = self.lock(key, version).await?.or(reason);
            }
            match reason {
                Some(reason) => kept = Some(reason),
                None => {
                    let code = xml::word(&left.code).unwrap_or("no code");
                    return Err(Failed::not_yet(format!(
                        "the store does not delete something that is not locked: {code}"
                    )));
                }
            }
        }
        Ok(kept)
    }

    /// Whether a version is locked, by the store's own word and not by what a refusal looks like.
    async fn lock(&self, key: &str, version: &str) -> Adapted<Option<&'static str>> {
        let query = [("versionId", version)];
        let answer = self.ask(Method::HEAD, Some(key), &query, None).await?;
        match answer.status.as_u16() {
            200..=299 => Ok(locked(&answer.headers, Utc::now())),
            404 | 405 => Ok(None),
            _ => Err(refused(&answer)),
        }
    }

    /// Those of what was erased that are there by their own name; of unfinished uploads the listing
    /// tells.
    pub(super) async fn still_there(&self, erased: &[Address]) -> Adapted<Vec<Address>> {
        let mut left = Vec::new();
        for address in erased.iter().take(BY_NAME) {
            let Thing::Version(key, version) = Thing::read(address)? else {
                continue;
            };
            // Such a key makes no path; it is listed again like all.
            if climbs(&key) {
                continue;
            }
            // Where no versions are kept, some stores know none by name. What else lies under the key by
            // now is as much the person's.
            let query = [("versionId", version.as_str())];
            let query = if version == "null" {
                &[][..]
            } else {
                &query[..]
            };
            let answer = self.ask(Method::HEAD, Some(&key), query, None).await?;
            match answer.status.as_u16() {
                404 => {}
                // That is what is said of a deletion marker.
                200..=299 | 405 => left.push(address.clone()),
                _ => return Err(refused(&answer)),
            }
        }
        Ok(left)
    }

    async fn fine(
        &self,
        method: Method,
        key: Option<&str>,
        query: &[(&str, &str)],
        body: Option<String>,
    ) -> Adapted<Answer> {
        let answer = self.ask(method, key, query, body).await?;
        match answer.status.is_success() {
            true => Ok(answer),
            false => Err(refused(&answer)),
        }
    }

    async fn ask(
        &self,
        method: Method,
        key: Option<&str>,
        query: &[(&str, &str)],
        body: Option<String>,
    ) -> Adapted<Answer> {
        let mut path = format!("{}/{}", self.settings.endpoint.path, self.settings.bucket);
        if let Some(key) = key {
            path.push_str(&step(key, b"/")?);
        }
        path.push_str(&request::query(query));
        let request = self.signed(method, &path, body.unwrap_or_default())?;
        asked(&self.settings.endpoint, self.settings.addresses, request).await
    }

    fn signed(&self, method: Method, path: &str, body: String) -> Adapted<Request<Full<Bytes>>> {
        let body = Bytes::from(body);
        let mut request = Request::builder()
            .method(method)
            .uri(request::url(&self.settings.endpoint, path));
        if !body.is_empty() {
            request = request
                .header("content-md5", STANDARD.encode(Md5::digest(&body)))
                .header("content-type", "application/xml");
        }
        let mut signed = request
            .body(HttpRequestBody::from(body.clone()))
            .map_err(unfit)?;
        let credential = self.credential()?;
        AwsAuthorizer::new(&credential, "s3", &self.settings.region)
            .try_authorize(&mut signed, None)
            .map_err(|_| Failed::later("the request could not be signed"))?;
        let (parts, _) = signed.into_parts();
        let mut request = Request::builder()
            .method(parts.method)
            .uri(path)
            .body(Full::new(body))
            .map_err(unfit)?;
        *request.headers_mut() = parts.headers;
        Ok(request)
    }

    fn credential(&self) -> Adapted<AwsCredential> {
        Ok(AwsCredential {
            key_id: line(&self.settings.access_key)?,
            secret_key: line(&self.settings.secret_key)?,
            token: self.settings.session_token.as_ref().map(line).transpose()?,
        })
    }
}

impl Thing {
    fn version(&self) -> Option<(&str, &str)> {
        match self {
            Self::Version(key, version) => Some((key, version)),
            Self::Upload(..) => None,
        }
    }
}

/// For what a version stays at this time.
fn locked(headers: &HeaderMap, now: DateTime<Utc>) -> Option<&'static str> {
    let said = |name: &str| headers.get(name)?.to_str().ok();
    if said("x-amz-object-lock-legal-hold") == Some("ON") {
        return Some("legal-hold");
    }
    let until = said("x-amz-object-lock-retain-until-date")?;
    let until = DateTime::parse_from_rfc3339(until).ok()?;
    (until > now).then_some("object-lock")
}

/// Nothing that S3 refuses is about a person: it is another bucket, key, right or server.
fn refused(answer: &Answer) -> Failed {
    let code = xml::refusal(answer).map_or_else(String::new, |code| format!(" ({code})"));
    Failed::later(format!(
        "the store answers with status {}{code}",
        answer.status.as_u16()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_is_over_keeps_nothing() {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let of = |name: &'static str, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            locked(&headers, now)
        };
        let until = "x-amz-object-lock-retain-until-date";
        assert_eq!(of(until, "2026-01-01T00:00:01Z"), Some("object-lock"));
        assert_eq!(of(until, "2025-12-31T23:59:59.000Z"), None);
        let hold = "x-amz-object-lock-legal-hold";
        assert_eq!(of(hold, "ON"), Some("legal-hold"));
        assert_eq!(of(hold, "OFF"), None);
        assert_eq!(of("x-other", "ON"), None);
    }
}
