//! `provider = "gcs"`: a bucket of Google Cloud Storage.

use super::{name, reached};
use crate::config::SecretSource;
use crate::config::outbox::Endpoint;
use crate::config::read::{CODES, secret};
use crate::exchange::Addresses;
use crate::reading::Table;
use std::path::Path;

/// A bucket.
#[derive(Clone, Debug)]
pub struct Gcs {
    /// The one host that is spoken to.
    pub endpoint: Endpoint,
    /// What its name may lead to.
    pub addresses: Addresses,
    /// The bucket.
    pub bucket: String,
    /// The key of a service account, in JSON.
    pub service_account: SecretSource,
}

pub(super) fn read(table: &Table<'_>, folder: &Path) -> Option<Gcs> {
    let help = "write the bucket's name";
    let key_help = "name the place of the service account's key in JSON: { file = \"…\" }";
    table.need("bucket", help).need("service_account", key_help);
    let bucket = table.parsed("bucket", CODES.bad_value, help, name);
    let service_account = secret(table, "service_account", folder);
    let (endpoint, addresses) = reached(table, folder, Some("https://storage.googleapis.com"))?;
    Some(Gcs {
        endpoint,
        addresses,
        bucket: bucket?.0,
        service_account: service_account?,
    })
}
