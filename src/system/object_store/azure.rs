//! A container of Azure's Blob Storage: every blob, its versions, its snapshots, and blocks that were
//! uploaded and never committed.
//!
//! What a deletion leaves depends on the account: where versions are kept, deleting a blob by its name
//! makes a version of it, which goes by its own name then.

mod said;

use super::listing::{Lies, Marker, Page, listed, prefix};
use super::request::{self, asked, climbs, line, step, unfit};
use super::{BY_NAME, REQUESTS, together};
use crate::config::place::object_store::{self as settings, AzureAuth};
use crate::exchange::Answer;
use crate::plan::Wanted;
use crate::system::place::{Address, Erased, Failed};
use axum::http::{HeaderMap, Method, Request};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use http_body_util::Full;
use object_store::azure::{AzureAccessKey, AzureAuthorizer, AzureCredential};
use object_store::client::HttpRequestBody;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::Semaphore;

/// The interface that is spoken.
const INTERFACE: &str = "2023-11-03";
/// Of a page. Azure gives 5000, which would be a longer answer than is taken where names are long.
const PAGE: usize = 1000;
/// How often it is listed what is left: blocks become a blob, that a version, and then there is none.
const ROUNDS: usize = 4;

type Adapted<T> = Result<T, Failed>;

/// A container.
pub(super) struct Azure {
    settings: settings::Azure,
    turns: Semaphore,
}

/// Something in a container: its name, and which of those under it.
#[derive(Serialize, Deserialize, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Thing {
    /// What goes by the name alone, and the version that it is where versions are kept.
    Blob(String, Option<String>),
    Version(String, String),
    Snapshot(String, String),
}

/// What is left of what was to go.
#[derive(Default)]
struct Left {
    /// What stays, and for what reason.
    stays: BTreeMap<Thing, &'static str>,
    /// Names by which alone nothing is there.
    nowhere: BTreeSet<String>,
}

/// What became of one that was to go.
enum Went {
    Gone,
    /// It is not there.
    Nowhere,
    /// It stays, for this reason.
    Kept(&'static str),
}

impl Azure {
    pub(super) fn new(settings: &settings::Azure) -> Self {
        Self {
            settings: settings.clone(),
            turns: Semaphore::new(REQUESTS),
        }
    }

    pub(super) async fn check(&self) -> Adapted<()> {
        self.page("", None, 1).await.map(drop)
    }

    pub(super) async fn find(&self, wanted: &[Wanted]) -> Adapted<BTreeSet<Address>> {
        let things = self.things(wanted).await?;
        Ok(things.iter().map(Thing::address).collect())
    }

    async fn things(&self, wanted: &[Wanted]) -> Adapted<BTreeSet<Thing>> {
        let mut found = BTreeSet::new();
        for wanted in wanted {
            if let Some(prefix) = prefix(wanted) {
                let page = |from| -> BoxFuture<'_, _> { Box::pin(self.page(prefix, from, PAGE)) };
                listed(wanted, &mut found, page).await?;
            }
        }
        Ok(found)
    }

    async fn page(&self, prefix: &str, from: Option<Marker>, most: usize) -> Adapted<Page<Thing>> {
        let most = most.to_string();
        let mut query = vec![
            ("restype", "container"),
            ("comp", "list"),
            ("include", "snapshots,versions,uncommittedblobs"),
            ("maxresults", most.as_str()),
        ];
        if !prefix.is_empty() {
            query.push(("prefix", prefix));
        }
        if let Some((marker, _)) = &from {
            query.push(("marker", marker.as_str()));
        }
        let answer = self.ask(Method::GET, None, &query, &[]).await?;
        match answer.status.is_success() {
            true => said::page(&answer, &self.settings.container),
            false => Err(refused(&answer)),
        }
    }

    /// All of one person's. What deletions leave has other names than what was found, so it is listed
    /// again, until nothing is there but what stays.
    pub(super) async fn erase(&self, wanted: &[Wanted], found: &[Address]) -> Adapted<Erased> {
        let names: BTreeSet<String> = found
            .iter()
            .map(|address| Ok(Thing::read(address)?.key().to_owned()))
            .collect::<Adapted<_>>()?;
        let mut left = Left::default();
        for _ in 0..ROUNDS {
            let mut things = self.things(wanted).await?;
            things.retain(|thing| names.contains(thing.key()) && !left.stays.contains_key(thing));
            if things.is_empty() {
                break;
            }
            let nowhere = std::mem::take(&mut left.nowhere);
            let calls = by_name(things).into_iter();
            let calls = calls.map(|(name, things)| -> BoxFuture<'_, Adapted<Left>> {
                Box::pin(self.take(things, nowhere.contains(&name)))
            });
            for more in together(calls).await? {
                left.stays.extend(more.stays);
                left.nowhere.extend(more.nowhere);
            }
        }
        let kept = left.stays.into_values().next();
        Ok(kept.map_or(Erased::Gone, |reason| Erased::Kept(reason.to_owned())))
    }

    /// All of one name, of which it may be known that the name alone means nothing that is there.
    async fn take(&self, mut things: Vec<Thing>, nowhere: bool) -> Adapted<Left> {
        let mut left = Left::default();
        // A blob goes after its snapshots.
        things.sort_by_key(|thing| matches!(thing, Thing::Blob(..)));
        for thing in things {
            let mut stays = left.stays.iter();
            let hangs = stays.find(|(stays, _)| matches!(stays, Thing::Snapshot(..)));
            let hangs = hangs.map(|(_, reason)| *reason);
            match (self.gone(&thing, nowhere, hangs).await?, &thing) {
                (Went::Nowhere, Thing::Blob(name, _)) => drop(left.nowhere.insert(name.clone())),
                (Went::Gone | Went::Nowhere, _) => {}
                (Went::Kept(reason), _) => drop(left.stays.insert(thing, reason)),
            }
        }
        Ok(left)
    }

    async fn gone(
        &self,
        thing: &Thing,
        nowhere: bool,
        hangs: Option<&'static str>,
    ) -> Adapted<Went> {
        let which = thing.which();
        if let Thing::Blob(name, version) = thing {
            // Where it stays as a version it stays as the blob too: it is not hidden from whoever reads it.
            if let Some(version) = version
                && let Some(reason) = self.lock(name, &[("versionid", version)], None).await?
            {
                return Ok(Went::Kept(reason));
            }
            if nowhere {
                self.discard(name).await?;
            }
        }
        self.delete(thing.key(), which.as_slice(), hangs).await
    }

    /// Blocks that were uploaded and never committed make a blob that is listed and not there: they go when
    /// something takes its place.
    async fn discard(&self, name: &str) -> Adapted<()> {
        let container = self.container().await?;
        if container_locked(&container).is_some() || said::locks_all(&container) {
            return Err(Failed::not_yet(
                "blocks were never committed, and what would take their place is locked as soon as it is there: they end within a week",
            ));
        }
        let headers = [
            ("x-ms-blob-type", "BlockBlob"),
            ("content-length", "0"),
            // What has been committed meanwhile is somebody's, and looked for first.
            ("if-none-match", "*"),
        ];
        let answer = self.ask(Method::PUT, Some(name), &[], &headers).await?;
        match answer.status.is_success() {
            true => Ok(()),
            false => Err(refused(&answer)),
        }
    }

    /// One, by its exact name. It may be known that something that hangs on it stays.
    async fn delete(
        &self,
        name: &str,
        which: &[(&str, &str)],
        hangs: Option<&'static str>,
    ) -> Adapted<Went> {
        let answer = self.ask(Method::DELETE, Some(name), which, &[]).await?;
        if answer.status.is_success() {
            return Ok(Went::Gone);
        }
        if is_nowhere(&answer) {
            return Ok(Went::Nowhere);
        }
        let code = said::code(&answer);
        if let (Some("SnapshotsPresent"), Some(reason)) = (code, hangs) {
            return Ok(Went::Kept(reason));
        }
        match self.lock(name, which, code).await? {
            Some(reason) => Ok(Went::Kept(reason)),
            None if code == Some("LeaseIdMissing") => Err(Failed::not_yet(
                "something is leased: it goes when the lease has ended, or is broken",
            )),
            None => Err(Failed::not_yet(format!(
                "the store does not delete something that is not locked: {}",
                code.unwrap_or("no code")
            ))),
        }
    }

    /// Whether one is locked, by the store's own word. A policy or a hold of the container says itself that
    /// it is there, and not for how long: there the refusal must say that it was for it.
    async fn lock(
        &self,
        name: &str,
        which: &[(&str, &str)],
        code: Option<&str>,
    ) -> Adapted<Option<&'static str>> {
        let answer = self.ask(Method::HEAD, Some(name), which, &[]).await?;
        if is_nowhere(&answer) {
            return Ok(None);
        }
        if !answer.status.is_success() {
            return Err(refused(&answer));
        }
        let own = locked(&answer.headers, Utc::now());
        if own.is_some() || code != Some("BlobImmutableDueToPolicy") {
            return Ok(own);
        }
        Ok(container_locked(&self.container().await?))
    }

    /// What the container says of itself.
    async fn container(&self) -> Adapted<HeaderMap> {
        let query = [("restype", "container")];
        let answer = self.ask(Method::HEAD, None, &query, &[]).await?;
        match answer.status.is_success() {
            true => Ok(answer.headers),
            false => Err(refused(&answer)),
        }
    }

    /// Those of what was erased that are there by their own name; of what was not committed the listing
    /// tells.
    pub(super) async fn still_there(&self, erased: &[Address]) -> Adapted<Vec<Address>> {
        let calls = (0..erased.len().min(BY_NAME)).map(|at| -> BoxFuture<'_, _> {
            Box::pin(async move {
                let there = self.is_there(&Thing::read(&erased[at])?).await?;
                Ok(there.then(|| erased[at].clone()))
            })
        });
        Ok(together(calls).await?.into_iter().flatten().collect())
    }

    async fn is_there(&self, thing: &Thing) -> Adapted<bool> {
        // Such a name makes no path; it is listed again like all.
        if climbs(thing.key()) {
            return Ok(false);
        }
        let which = thing.which();
        let name = Some(thing.key());
        let answer = self.ask(Method::HEAD, name, which.as_slice(), &[]).await?;
        match answer.status.is_success() {
            true => Ok(true),
            false if is_nowhere(&answer) => Ok(false),
            false => Err(refused(&answer)),
        }
    }

    /// What the account says of soft deletion.
    pub(super) async fn copies(&self) -> Option<String> {
        let query = [("restype", "service"), ("comp", "properties")];
        let settings = &self.settings;
        let path = format!("{}/{}", settings.endpoint.path, request::query(&query));
        let answer = self.send(Method::GET, &path, &[]).await.ok();
        let days = answer.filter(|answer| answer.status.is_success());
        Some(said::soft_deletion(days.as_ref()))
    }

    async fn ask(
        &self,
        method: Method,
        name: Option<&str>,
        query: &[(&str, &str)],
        headers: &[(&'static str, &str)],
    ) -> Adapted<Answer> {
        let settings = &self.settings;
        let mut path = format!("{}/{}", settings.endpoint.path, settings.container);
        if let Some(name) = name {
            if drops_a_dot(name) {
                return Err(Failed::stuck(
                    "a name holds a step that ends in a dot, which may be dropped on the way: delete it by hand",
                ));
            }
            path.push_str(&step(name, b"/")?);
        }
        path.push_str(&request::query(query));
        self.send(method, &path, headers).await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Adapted<Answer> {
        let mut request = Request::builder()
            .method(method)
            .header("x-ms-version", INTERFACE);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = match &self.settings.auth {
            AzureAuth::Key(key) => self.signed(request, path, &line(key)?)?,
            AzureAuth::Sas(token) => request
                .uri(with_token(path, &line(token)?)?)
                .body(Full::default())
                .map_err(unfit)?,
        };
        // Nobody closes it.
        let _turn = self.turns.acquire().await.ok();
        asked(&self.settings.endpoint, self.settings.addresses, request).await
    }

    fn signed(
        &self,
        request: axum::http::request::Builder,
        path: &str,
        key: &str,
    ) -> Adapted<Request<Full<Bytes>>> {
        let settings = &self.settings;
        let mut signed = request
            .uri(request::url(&settings.endpoint, path))
            .body(HttpRequestBody::empty())
            .map_err(unfit)?;
        let key = AzureAccessKey::try_new(key)
            .map_err(|_| Failed::later("the account's key is no base64"))?;
        let credential = AzureCredential::AccessKey(key);
        AzureAuthorizer::new(&credential, &settings.account)
            .try_authorize(&mut signed)
            .map_err(|_| Failed::later("the request could not be signed"))?;
        let (parts, _) = signed.into_parts();
        let mut request = Request::builder()
            .method(parts.method)
            .uri(path)
            .body(Full::default())
            .map_err(unfit)?;
        *request.headers_mut() = parts.headers;
        Ok(request)
    }
}

impl Lies for Thing {
    fn key(&self) -> &str {
        match self {
            Self::Blob(name, _) | Self::Version(name, _) | Self::Snapshot(name, _) => name,
        }
    }

    /// A blob that is deleted by its name is a version from then on, with the same bytes.
    fn address(&self) -> Address {
        let address =
            |thing: &Self| Address::new(serde_json::to_vec(thing).expect("a thing is always JSON"));
        match self {
            Self::Blob(name, Some(id)) => address(&Self::Version(name.clone(), id.clone())),
            thing => address(thing),
        }
    }
}

impl Thing {
    /// What names it beside its name.
    fn which(&self) -> Option<(&'static str, &str)> {
        match self {
            Self::Blob(..) => None,
            Self::Version(_, id) => Some(("versionid", id)),
            Self::Snapshot(_, at) => Some(("snapshot", at)),
        }
    }
}

fn by_name(things: BTreeSet<Thing>) -> BTreeMap<String, Vec<Thing>> {
    let mut names: BTreeMap<String, Vec<Thing>> = BTreeMap::new();
    for thing in things {
        names.entry(thing.key().to_owned()).or_default().push(thing);
    }
    names
}

/// A token stands in the query as it was given out.
fn with_token(path: &str, token: &str) -> Adapted<String> {
    if !token.chars().all(|c| c.is_ascii_graphic()) {
        return Err(Failed::later("the token is none"));
    }
    let between = if path.contains('?') { '&' } else { '?' };
    Ok(format!("{path}{between}{}", token.trim_start_matches('?')))
}

/// For what one stays at this time.
fn locked(headers: &HeaderMap, now: DateTime<Utc>) -> Option<&'static str> {
    if said::header(headers, "x-ms-legal-hold") == Some("true") {
        return Some("legal-hold");
    }
    let until = said::header(headers, "x-ms-immutability-policy-until-date")?;
    let until = DateTime::parse_from_rfc2822(until).ok()?;
    (until > now).then_some("object-lock")
}

fn container_locked(headers: &HeaderMap) -> Option<&'static str> {
    let is = |name| said::header(headers, name) == Some("true");
    match is("x-ms-has-legal-hold") {
        true => Some("legal-hold"),
        false => is("x-ms-has-immutability-policy").then_some("object-lock"),
    }
}

/// Microsoft warns of such names: it would be another one that is asked for.
fn drops_a_dot(name: &str) -> bool {
    name.split('/').any(|step| step.ends_with('.'))
}

/// A container or an account that is not there says nothing of a blob.
fn is_nowhere(answer: &Answer) -> bool {
    answer.status.as_u16() == 404 && said::code(answer) == Some("BlobNotFound")
}

/// Nothing that Azure refuses is about a person: it is another container, key, right or server.
fn refused(answer: &Answer) -> Failed {
    let code = said::code(answer).map_or_else(String::new, |code| format!(" ({code})"));
    Failed::later(format!(
        "the store answers with status {}{code}",
        answer.status.as_u16()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        headers
    }

    #[test]
    fn a_policy_that_is_over_keeps_nothing() {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let of = |name, value| locked(&headers(name, value), now);
        let until = "x-ms-immutability-policy-until-date";
        assert_eq!(
            of(until, "Thu, 01 Jan 2026 00:00:01 GMT"),
            Some("object-lock")
        );
        assert_eq!(of(until, "Wed, 31 Dec 2025 23:59:59 GMT"), None);
        assert_eq!(of("x-ms-legal-hold", "true"), Some("legal-hold"));
        assert_eq!(of("x-ms-legal-hold", "false"), None);
        assert_eq!(of("x-other", "true"), None);
    }

    #[test]
    fn a_container_says_what_it_keeps_for() {
        let of = |name, value| container_locked(&headers(name, value));
        assert_eq!(of("x-ms-has-legal-hold", "true"), Some("legal-hold"));
        let policy = "x-ms-has-immutability-policy";
        assert_eq!(of(policy, "true"), Some("object-lock"));
        assert_eq!(of(policy, "false"), None);
    }

    #[test]
    fn a_token_comes_last() {
        let of = |path, token| with_token(path, token).unwrap();
        assert_eq!(of("/c/a?b=c", "?sig=x%2B"), "/c/a?b=c&sig=x%2B");
        assert_eq!(of("/c/a", "sig=x"), "/c/a?sig=x");
    }
}
