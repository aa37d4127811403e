//! `[system.NAME]` of a kind that is no PostgreSQL database: settings of each kind in a file of its own.

pub mod command;
pub mod http;
pub mod memcached;
pub mod object_store;
pub mod redis;

use super::CalledAt;
use super::outbox::length;
use crate::policy::Sought;
use crate::reading::Table;
use serde::{Deserialize, Serialize};
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

/// A registered system in which policies declare places.
#[derive(Clone, Debug)]
pub struct PlaceSystem {
    /// How long one call may take.
    pub timeout: Duration,
    /// Groups of people at the same time, of one daemon.
    pub concurrency: NonZeroUsize,
    /// What it is, and how it is reached.
    pub reached: Reached,
}

/// How a system is reached, by its kind.
#[derive(Clone, Debug)]
pub enum Reached {
    /// By a program of the operator's.
    Command(command::Command),
    /// By the network.
    Redis(redis::Redis),
    /// By the network, each key by its name.
    Memcached(memcached::Memcached),
    /// By requests over HTTP.
    Http(Box<http::Http>),
    /// As a bucket or a folder.
    ObjectStore(object_store::ObjectStore),
}

/// Kinds of systems in which policies declare places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A program that knows the system.
    Command,
    /// A Redis server.
    Redis,
    /// A memcached server.
    Memcached,
    /// A service.
    Http,
    /// A store of objects.
    ObjectStore,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Command,
        Self::Http,
        Self::Memcached,
        Self::ObjectStore,
        Self::Redis,
    ];

    /// As the configuration writes it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Redis => "redis",
            Self::Memcached => "memcached",
            Self::Http => "http",
            Self::ObjectStore => "object-store",
        }
    }

    /// Whether it can look for that.
    pub fn finds(self, sought: &Sought) -> bool {
        match self {
            Self::Command | Self::Http => matches!(sought, Sought::Person(_)),
            Self::Redis => !matches!(sought, Sought::Person(_)),
            Self::Memcached => match sought {
                Sought::Key(template) => !template.is_open(),
                Sought::Named(_) => true,
                Sought::Member { .. } | Sought::Person(_) => false,
            },
            Self::ObjectStore => matches!(sought, Sought::Key(_) | Sought::Named(_)),
        }
    }

    /// By which keys of a `[[place]]` it finds things.
    pub fn ways(self) -> &'static str {
        match self {
            Self::Command | Self::Http => "identifiers",
            Self::Redis => "keys, prefix, members with in, from",
            Self::Memcached => "keys without `*`, from",
            Self::ObjectStore => "keys, prefix, from",
        }
    }

    /// What "erased" does not mean there: a sentence of every certificate that names such a system.
    pub fn not_promised(self) -> &'static str {
        match self {
            Self::Command => {
                "What the program reported is repeated here; what it did, and what copies its system keeps, was not seen."
            }
            Self::Redis => {
                "No key, member or entry says it on the server that was asked; the bytes of entries that were taken out of a stream stay until it is trimmed. Its files, replicas and backups were not looked into, nor what clients hold."
            }
            Self::Memcached => {
                "No such key is on the server that was asked. Copies on other servers, what it keeps on a disk, and what clients hold were not seen."
            }
            Self::Http => {
                "The service was asked again and named nothing more; what it still holds and does not name, its backups and logs, was not seen."
            }
            Self::ObjectStore => {
                "All versions of the objects were removed, and the unfinished uploads that the store lists; replicas, backups, snapshots and logs of the store were not seen."
            }
        }
    }
}

impl PlaceSystem {
    /// What it is.
    pub fn kind(&self) -> Kind {
        match self.reached {
            Reached::Command(_) => Kind::Command,
            Reached::Redis(_) => Kind::Redis,
            Reached::Memcached(_) => Kind::Memcached,
            Reached::Http(_) => Kind::Http,
            Reached::ObjectStore(_) => Kind::ObjectStore,
        }
    }
}

const CONCURRENCY: NonZeroUsize = NonZeroUsize::new(4).expect("it is not zero");

/// Reads the settings of a system of this kind; the caller finishes the table.
pub(super) fn read(
    table: &Table<'_>,
    kind: Kind,
    folder: &Path,
    called_at: Option<&CalledAt>,
) -> Option<PlaceSystem> {
    let bounds = Duration::from_millis(100)..=Duration::from_secs(600);
    let timeout = length(table, "timeout", bounds).unwrap_or(Duration::from_secs(30));
    let reached = match kind {
        Kind::Command => Reached::Command(command::read(table)?),
        Kind::Redis => Reached::Redis(redis::read(table, folder)?),
        Kind::Memcached => Reached::Memcached(memcached::read(table)?),
        Kind::ObjectStore => Reached::ObjectStore(object_store::read(table, folder)?),
        Kind::Http => Reached::Http(Box::new(http::read(table, folder, called_at)?)),
    };
    let concurrency = table.integer("concurrency", 1..=64);
    let concurrency = concurrency.and_then(|n| NonZeroUsize::new(usize::try_from(n).ok()?));
    Some(PlaceSystem {
        timeout,
        concurrency: concurrency.unwrap_or(CONCURRENCY),
        reached,
    })
}
