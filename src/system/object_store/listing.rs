//! What is listed of a bucket, page by page.

use crate::plan::Wanted;
use crate::system::place::{Address, Failed, MOST};
use futures_util::future::BoxFuture;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

type Adapted<T> = Result<T, Failed>;

/// Something of a bucket's that lies under a key.
pub(super) trait Lies: Serialize + DeserializeOwned {
    /// The key.
    fn key(&self) -> &str;

    /// By what it is counted: the same thing has the same, whenever it is listed.
    fn address(&self) -> Address {
        Address::new(serde_json::to_vec(self).expect("a thing is always JSON"))
    }

    fn read(address: &Address) -> Adapted<Self> {
        serde_json::from_slice(address.bytes())
            .map_err(|_| Failed::stuck("an address is none of this store's"))
    }
}

/// What lies in a bucket that counts its versions: a key, and which of those under it.
#[derive(Serialize, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Thing {
    Version(String, String),
    Upload(String, String),
}

impl Lies for Thing {
    fn key(&self) -> &str {
        match self {
            Self::Version(key, _) | Self::Upload(key, _) => key,
        }
    }
}

/// Where a page begins.
pub(super) type Marker = (String, String);

/// A part of a listing, and where the next begins.
pub(super) struct Page<T> {
    pub(super) things: Vec<T>,
    pub(super) next: Option<Marker>,
}

/// The key or the beginning of keys that is to be listed, if any is.
pub(super) fn prefix(wanted: &Wanted) -> Option<&str> {
    match wanted {
        Wanted::Key(key) => Some(key),
        Wanted::Between { begins, .. } => Some(begins),
        Wanted::Member { .. } | Wanted::Person(_) => None,
    }
}

/// Adds what is wanted of all pages.
///
/// # Errors
/// A page's, or that the next is the same again.
pub(super) async fn listed<'p, T: Lies + Ord>(
    wanted: &Wanted,
    found: &mut BTreeSet<T>,
    page: impl Fn(Option<Marker>) -> BoxFuture<'p, Adapted<Page<T>>>,
) -> Adapted<()> {
    let mut from = None;
    loop {
        let page = page(from.clone()).await?;
        // Keys come in their order, so a whole one comes before all that begin so.
        let past = match wanted {
            Wanted::Key(key) => page.things.iter().any(|thing| thing.key() != key),
            _ => false,
        };
        let theirs = page.things.into_iter();
        found.extend(theirs.filter(|thing| wanted.takes(thing.key().as_bytes())));
        if page.next.is_none() || past || found.len() > MOST {
            return Ok(());
        }
        if page.next == from {
            return Err(Failed::stuck("a listing does not go on"));
        }
        from = page.next;
    }
}
