//! A bucket of Google Cloud Storage: every generation of every object, and uploads in parts that were
//! begun and not ended.
//!
//! It is always the generations that are listed and deleted, whether the bucket keeps old ones or not. The
//! interface in JSON knows nothing of uploads in parts; they are asked for in XML.

mod bearer;
mod said;

use super::listing::{Lies, Marker, Page, Thing, listed, prefix};
use super::request::{self, asked, climbs, loaded, step, unfit};
use super::{BY_NAME, REQUESTS, together};
use crate::config::place::object_store as settings;
use crate::exchange::Answer;
use crate::plan::Wanted;
use crate::system::place::{Address, Erased, Failed};
use axum::http::{HeaderValue, Method, Request, header};
use chrono::Utc;
use futures_util::future::BoxFuture;
use http_body_util::Full;
use std::collections::BTreeSet;
use tokio::sync::Semaphore;

/// Google gives no more in a page.
const PAGE: usize = 1000;

type Adapted<T> = Result<T, Failed>;

/// A bucket.
pub(super) struct Gcs {
    settings: settings::Gcs,
    turns: Semaphore,
}

/// What is listed.
#[derive(Clone, Copy)]
enum Listing {
    Generations,
    Uploads,
}

impl Gcs {
    pub(super) fn new(settings: &settings::Gcs) -> Self {
        Self {
            settings: settings.clone(),
            turns: Semaphore::new(REQUESTS),
        }
    }

    pub(super) async fn check(&self) -> Adapted<()> {
        for listing in [Listing::Generations, Listing::Uploads] {
            self.page(listing, "", None, 1).await?;
        }
        self.soft_deletion().await.map(drop)
    }

    pub(super) async fn find(&self, wanted: &[Wanted]) -> Adapted<BTreeSet<Address>> {
        let mut found = BTreeSet::new();
        for wanted in wanted {
            let Some(prefix) = prefix(wanted) else {
                continue;
            };
            for listing in [Listing::Generations, Listing::Uploads] {
                let page =
                    |from| -> BoxFuture<'_, _> { Box::pin(self.page(listing, prefix, from, PAGE)) };
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
        let (most, from) = (most.to_string(), from.as_ref());
        match listing {
            Listing::Generations => {
                let mut query = vec![
                    ("versions", "true"),
                    ("prefix", prefix),
                    ("maxResults", most.as_str()),
                    ("fields", "kind,nextPageToken,items(name,generation)"),
                ];
                query.extend(from.map(|(token, _)| ("pageToken", token.as_str())));
                let path = format!("{}/o{}", self.bucket(), request::query(&query));
                said::generations(&self.fine(&path).await?)
            }
            Listing::Uploads => {
                let mut query = vec![("prefix", prefix), ("max-uploads", most.as_str())];
                query.extend(from.map(|(key, _)| ("key-marker", key.as_str())));
                query.extend(from.map(|(_, id)| ("upload-id-marker", id.as_str())));
                let query = request::query(&query).replacen('?', "?uploads&", 1);
                let path = format!("/{}{query}", self.settings.bucket);
                said::uploads(&self.fine(&path).await?)
            }
        }
    }

    /// All of one person's.
    pub(super) async fn erase(&self, found: &[Address]) -> Adapted<Erased> {
        let things: Vec<Thing> = found.iter().map(Thing::read).collect::<Adapted<_>>()?;
        let calls = (0..things.len()).map(|at| -> BoxFuture<'_, Adapted<Option<&'static str>>> {
            Box::pin(self.take(&things[at]))
        });
        let kept = together(calls).await?.into_iter().flatten().next();
        Ok(kept.map_or(Erased::Gone, |reason| Erased::Kept(reason.to_owned())))
    }

    /// Why it stays, if it does.
    async fn take(&self, thing: &Thing) -> Adapted<Option<&'static str>> {
        let answer = self.ask(Method::DELETE, &self.path(thing, "")?).await?;
        match (answer.status.as_u16(), thing) {
            (200..=299 | 404, _) => Ok(None),
            (_, Thing::Upload(..)) => Err(refused(&answer)),
            (_, Thing::Version(name, generation)) => {
                let reason = self.lock(thing, name, generation).await?;
                match reason {
                    Some(reason) => Ok(Some(reason)),
                    None => Err(Failed::not_yet(format!(
                        "the store does not delete something that is not locked: {}",
                        said::reason(&answer).as_deref().unwrap_or("no code")
                    ))),
                }
            }
        }
    }

    /// Whether a generation is locked, by the store's own word and not by what a refusal looks like.
    async fn lock(
        &self,
        thing: &Thing,
        name: &str,
        generation: &str,
    ) -> Adapted<Option<&'static str>> {
        let path = self.path(thing, said::LOCKS)?;
        let answer = self.ask(Method::GET, &path).await?;
        match answer.status.as_u16() {
            200..=299 => said::lock(&answer, (name, generation), Utc::now()),
            404 => Ok(None),
            _ => Err(refused(&answer)),
        }
    }

    /// Those of what was erased that are there by their own name; of uploads the listing tells.
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
        if matches!(thing, Thing::Upload(..)) || climbs(thing.key()) {
            return Ok(false);
        }
        let path = self.path(thing, "name,generation")?;
        let answer = self.ask(Method::GET, &path).await?;
        match answer.status.as_u16() {
            404 => Ok(false),
            200..=299 => Ok(true),
            _ => Err(refused(&answer)),
        }
    }

    /// What the bucket says of soft deletion, and what nobody can say.
    pub(super) async fn copies(&self) -> Option<String> {
        let said = self.soft_deletion().await.unwrap_or_else(|_| {
            "The bucket did not say whether it keeps deleted objects for a while (soft delete)."
                .into()
        });
        Some(format!(
            "{said} Resumable uploads that were begun and not ended cannot be listed; they end within a week."
        ))
    }

    async fn soft_deletion(&self) -> Adapted<String> {
        let path = format!("{}?fields=kind,softDeletePolicy", self.bucket());
        said::soft_deletion(&self.fine(&path).await?)
    }

    /// The bucket, in JSON.
    fn bucket(&self) -> String {
        format!("/storage/v1/b/{}", self.settings.bucket)
    }

    /// One thing by its exact name, and what is asked of it.
    fn path(&self, thing: &Thing, fields: &str) -> Adapted<String> {
        match thing {
            Thing::Version(name, generation) => {
                let mut query = vec![("generation", generation.as_str())];
                query.extend((!fields.is_empty()).then_some(("fields", fields)));
                // Here a slash is a part of the name's one step.
                let name = step(name, b"")?;
                Ok(format!(
                    "{}/o{name}{}",
                    self.bucket(),
                    request::query(&query)
                ))
            }
            Thing::Upload(name, id) => {
                let (name, query) = (step(name, b"/")?, request::query(&[("uploadId", id)]));
                Ok(format!("/{}{name}{query}", self.settings.bucket))
            }
        }
    }

    async fn fine(&self, path: &str) -> Adapted<Answer> {
        let answer = self.ask(Method::GET, path).await?;
        match answer.status.is_success() {
            true => Ok(answer),
            false => Err(refused(&answer)),
        }
    }

    async fn ask(&self, method: Method, path: &str) -> Adapted<Answer> {
        let settings = &self.settings;
        let account = loaded(&settings.service_account)?;
        let bearer = format!("Bearer {}", bearer::token(account.expose(), Utc::now())?);
        let mut bearer = HeaderValue::try_from(bearer).map_err(unfit)?;
        bearer.set_sensitive(true);
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", settings.endpoint.path))
            .header(header::AUTHORIZATION, bearer)
            .body(Full::default())
            .map_err(unfit)?;
        // Nobody closes it.
        let _turn = self.turns.acquire().await.ok();
        asked(&settings.endpoint, settings.addresses, request).await
    }
}

/// Nothing that Google refuses is about a person: it is another bucket, key, right or server.
fn refused(answer: &Answer) -> Failed {
    let reason = said::reason(answer).map_or_else(String::new, |reason| format!(" ({reason})"));
    Failed::later(format!(
        "the store answers with status {}{reason}",
        answer.status.as_u16()
    ))
}
