//! A store of objects: a bucket that speaks S3, a container of Azure's, a bucket of Google's, or a folder.
//! Nothing of a key stands in an error.

mod azure;
mod element;
mod folder;
mod gcs;
mod listing;
mod request;
mod s3;
mod xml;

use super::place::{Adapter, Address, Erased, Failed, Person};
use crate::config::place::object_store as settings;
use azure::Azure;
use folder::Folder;
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, TryStreamExt, stream};
use gcs::Gcs;
use s3::S3;

/// People that are asked about at the same time, or things of one.
const AT_ONCE: usize = 8;
/// Requests of one store at the same time, for however many people: each takes a connection.
const REQUESTS: usize = 64;
/// Of one person's things so many are asked for by name.
const BY_NAME: usize = 200;

/// The adapter.
pub struct ObjectStore(Store);

enum Store {
    S3(Box<S3>),
    Azure(Box<Azure>),
    Gcs(Box<Gcs>),
    Folder(Folder),
}

impl ObjectStore {
    /// A store by its settings.
    pub fn new(settings: &settings::ObjectStore) -> Self {
        Self(match settings {
            settings::ObjectStore::S3(settings) => Store::S3(Box::new(S3::new(settings))),
            settings::ObjectStore::Azure(settings) => Store::Azure(Box::new(Azure::new(settings))),
            settings::ObjectStore::Gcs(settings) => Store::Gcs(Box::new(Gcs::new(settings))),
            settings::ObjectStore::Folder(root) => Store::Folder(Folder::new(root)),
        })
    }

    async fn found(&self, person: &Person) -> Result<Vec<Address>, Failed> {
        let found = match &self.0 {
            Store::S3(s3) => s3.find(&person.wanted).await?,
            Store::Azure(azure) => azure.find(&person.wanted).await?,
            Store::Gcs(gcs) => gcs.find(&person.wanted).await?,
            Store::Folder(folder) => folder.find(&person.wanted).await?,
        };
        Ok(found.into_iter().collect())
    }

    async fn erased(&self, person: &Person, found: &[Address]) -> Result<Erased, Failed> {
        match &self.0 {
            Store::S3(s3) => s3.erase(found).await,
            Store::Azure(azure) => azure.erase(&person.wanted, found).await,
            Store::Gcs(gcs) => gcs.erase(found).await,
            Store::Folder(folder) => folder.erase(found).await.map(|()| Erased::Gone),
        }
    }

    async fn left(&self, person: &Person, erased: &[Address]) -> Result<Vec<Address>, Failed> {
        let mut left = self.found(person).await?;
        left.extend(match &self.0 {
            Store::S3(s3) => s3.still_there(erased).await?,
            Store::Azure(azure) => azure.still_there(erased).await?,
            Store::Gcs(gcs) => gcs.still_there(erased).await?,
            Store::Folder(folder) => folder.still_there(erased).await?,
        });
        left.sort_unstable();
        left.dedup();
        Ok(left)
    }
}

/// All of them, in their order, a few at the same time; each is made when it is its turn.
async fn together<'c, T>(
    calls: impl IntoIterator<Item = BoxFuture<'c, Result<T, Failed>>>,
) -> Result<Vec<T>, Failed> {
    stream::iter(calls).buffered(AT_ONCE).try_collect().await
}

impl Adapter for ObjectStore {
    fn check(&self) -> BoxFuture<'_, Result<(), Failed>> {
        match &self.0 {
            Store::S3(s3) => Box::pin(s3.check()),
            Store::Azure(azure) => Box::pin(azure.check()),
            Store::Gcs(gcs) => Box::pin(gcs.check()),
            Store::Folder(folder) => Box::pin(folder.check()),
        }
    }

    fn find<'a>(
        &'a self,
        _: &'a str,
        people: &'a [Person],
    ) -> BoxFuture<'a, Result<Vec<Vec<Address>>, Failed>> {
        let mut calls: Vec<BoxFuture<'a, _>> = Vec::with_capacity(people.len());
        for person in people {
            calls.push(Box::pin(self.found(person)));
        }
        Box::pin(together(calls))
    }

    fn erase<'a>(
        &'a self,
        _: &'a str,
        people: &'a [Person],
        found: &'a [Vec<Address>],
    ) -> BoxFuture<'a, Result<Vec<Erased>, Failed>> {
        let mut calls: Vec<BoxFuture<'a, _>> = Vec::with_capacity(found.len());
        for (person, found) in people.iter().zip(found) {
            calls.push(Box::pin(self.erased(person, found)));
        }
        Box::pin(together(calls))
    }

    fn probe<'a>(
        &'a self,
        _: &'a str,
        people: &'a [Person],
        erased: &'a [Vec<Address>],
    ) -> BoxFuture<'a, Result<Vec<Vec<Address>>, Failed>> {
        let mut calls: Vec<BoxFuture<'a, _>> = Vec::with_capacity(people.len());
        for (person, erased) in people.iter().zip(erased) {
            calls.push(Box::pin(self.left(person, erased)));
        }
        Box::pin(together(calls))
    }

    fn copies(&self) -> BoxFuture<'_, Option<String>> {
        match &self.0 {
            Store::Azure(azure) => Box::pin(azure.copies()),
            Store::Gcs(gcs) => Box::pin(gcs.copies()),
            Store::S3(_) | Store::Folder(_) => Box::pin(std::future::ready(None)),
        }
    }
}
