//! `kind = "object-store"`: a bucket that speaks S3, one of another provider's, or a folder.

mod azure;
mod gcs;

pub use azure::{Azure, AzureAuth};
pub use gcs::Gcs;

use super::http::{addresses, base};
use crate::config::SecretSource;
use crate::config::outbox::Endpoint;
use crate::config::read::{CODES, path_at, secret};
use crate::exchange::Addresses;
use crate::reading::{Table, quoted};
use std::path::{Path, PathBuf};

/// Where objects lie.
#[derive(Clone, Debug)]
pub enum ObjectStore {
    /// In a bucket.
    S3(Box<S3>),
    /// In a container of Azure's.
    Azure(Box<Azure>),
    /// In a bucket of Google's.
    Gcs(Box<Gcs>),
    /// In a folder of this machine, an object a file.
    Folder(PathBuf),
}

/// A bucket.
#[derive(Clone, Debug)]
pub struct S3 {
    /// The one host that is spoken to.
    pub endpoint: Endpoint,
    /// What its name may lead to.
    pub addresses: Addresses,
    /// The bucket.
    pub bucket: String,
    /// Its region, as requests are signed for.
    pub region: String,
    /// The key's id.
    pub access_key: SecretSource,
    /// The key.
    pub secret_key: SecretSource,
    /// What goes with a key that is lent for a time.
    pub session_token: Option<SecretSource>,
}

/// Whose interface a store has.
#[derive(Clone, Copy)]
enum Provider {
    S3,
    Azure,
    Gcs,
}

pub(super) fn read(table: &Table<'_>, folder: &Path) -> Option<ObjectStore> {
    let known = [
        ("s3", Provider::S3),
        ("azure", Provider::Azure),
        ("gcs", Provider::Gcs),
    ];
    let provider = match table.has("provider") {
        true => Some(table.word("provider", CODES.bad_value, &known)?.0),
        false => None,
    };
    match provider {
        None => s3_or_folder(table, folder),
        Some(Provider::S3) => {
            table.need("bucket", "write the bucket's name");
            s3(table, folder).map(|s3| ObjectStore::S3(Box::new(s3)))
        }
        Some(Provider::Azure) => {
            azure::read(table, folder).map(|azure| ObjectStore::Azure(Box::new(azure)))
        }
        Some(Provider::Gcs) => gcs::read(table, folder).map(|gcs| ObjectStore::Gcs(Box::new(gcs))),
    }
}

fn s3_or_folder(table: &Table<'_>, folder: &Path) -> Option<ObjectStore> {
    if table.has("folder") == table.has("bucket") {
        let message = format!("{} names not one of `bucket` and `folder`", table.label());
        let help = "write bucket = \"…\" with region, or folder = \"/srv/files\"; for Azure and Google also provider = \"azure\" or \"gcs\"";
        table.reader().error("E0008", table.span(), message, help);
        return None;
    }
    match table.has("folder") {
        true => path_at(table, "folder", folder).map(ObjectStore::Folder),
        false => s3(table, folder).map(|s3| ObjectStore::S3(Box::new(s3))),
    }
}

fn s3(table: &Table<'_>, folder: &Path) -> Option<S3> {
    let key_help = "name its place: { file = \"…\" }";
    table
        .need(
            "region",
            "write the bucket's region, such as \"eu-central-1\"",
        )
        .need("access_key", key_help)
        .need("secret_key", key_help);
    let bucket = table.parsed("bucket", CODES.bad_value, "write the bucket's name", name);
    let region = table.parsed(
        "region",
        CODES.bad_value,
        "write such as \"eu-central-1\"",
        name,
    );
    let access_key = secret(table, "access_key", folder);
    let secret_key = secret(table, "secret_key", folder);
    let session_token = match table.has("session_token") {
        true => Some(secret(table, "session_token", folder)?),
        false => None,
    };
    let region = region.map(|(region, _)| region);
    let usual = region
        .as_ref()
        .map(|region| format!("https://s3.{region}.amazonaws.com"));
    let (endpoint, addresses) = reached(table, folder, usual.as_deref())?;
    Some(S3 {
        endpoint,
        addresses,
        bucket: bucket?.0,
        region: region?,
        access_key: access_key?,
        secret_key: secret_key?,
        session_token,
    })
}

/// Where it is said that the store is, or where it usually is.
fn reached(table: &Table<'_>, folder: &Path, usual: Option<&str>) -> Option<(Endpoint, Addresses)> {
    let private = table.boolean("private").unwrap_or(false);
    let ca_file = path_at(table, "ca_file", folder);
    let endpoint = match table.has("url") {
        true => {
            let help = "write where the store is: url = \"https://minio.example\"";
            table.parsed("url", "E0134", help, base)?.0
        }
        false => base(usual?).ok()?,
    };
    let addresses = addresses(&endpoint.host, private);
    Some((
        Endpoint {
            ca_file,
            ..endpoint
        },
        addresses,
    ))
}

/// It becomes a step of a path, or of a host's name.
fn name(text: &str) -> Result<String, String> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    let plain = !text.is_empty()
        && text.len() <= 255
        && text.chars().all(good)
        && text.starts_with(|c: char| c.is_ascii_alphanumeric());
    match plain {
        true => Ok(text.to_owned()),
        false => Err(format!("{} is no plain name", quoted(text))),
    }
}
