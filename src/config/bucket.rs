//! `[bucket.NAME]`: buckets of object stores to which retention rules may archive.
//!
//! A policy names a bucket and nothing else of it: where that is and with which keys it is written, this file
//! says, so no policy leads the daemon to another host.

use super::SecretSource;
use super::outbox::Endpoint;
use super::read::{CODES, path_at, secret};
use crate::reading::{Table, quoted};
use std::collections::BTreeMap;
use std::path::Path;

/// A bucket.
#[derive(Clone, Debug)]
pub struct Bucket {
    /// Who serves it, and whom to believe that.
    pub endpoint: Endpoint,
    /// Where it is.
    pub region: String,
    /// Who writes: the key's id.
    pub access_key: SecretSource,
    /// And the key.
    pub secret_key: SecretSource,
}

const ENDPOINT_HELP: &str = "write the address of the service, without the bucket: endpoint = \"https://s3.example\"; leave it out for Amazon's";

const REGION_HELP: &str =
    "say where it is: region = \"ap-northeast-1\" (\"us-east-1\" where the service has none)";

/// All of them, by name.
pub(super) fn read(top: &Table<'_>, folder: &Path) -> BTreeMap<String, Bucket> {
    let mut buckets = BTreeMap::new();
    for (name, span, table) in top.named("bucket") {
        if !is_bucket(&name) {
            table.reader().error(
                CODES.bad_value,
                span,
                format!("{} is no name of a bucket", quoted(&name)),
                "buckets have 3 to 63 lower-case letters, digits, `-` and `.`: [bucket.our-archive]",
            );
        }
        table.need("region", REGION_HELP);
        let help =
            "say where the key is: { credential = \"…\" }, { file = \"…\" } or { env = \"…\" }";
        table.need("access_key", help).need("secret_key", help);
        let endpoint = table.parsed("endpoint", CODES.bad_value, ENDPOINT_HELP, endpoint);
        let region = table.parsed("region", CODES.bad_value, REGION_HELP, region);
        let access_key = secret(&table, "access_key", folder);
        let secret_key = secret(&table, "secret_key", folder);
        let ca_file = path_at(&table, "ca_file", folder);
        table.finish();
        if let (Some((region, _)), Some(access_key), Some(secret_key)) =
            (region, access_key, secret_key)
        {
            let endpoint = match endpoint {
                Some((endpoint, _)) => endpoint,
                None => amazon(&region),
            };
            let bucket = Bucket {
                endpoint: Endpoint {
                    ca_file,
                    ..endpoint
                },
                region,
                access_key,
                secret_key,
            };
            buckets.insert(name, bucket);
        }
    }
    buckets
}

fn endpoint(text: &str) -> Result<Endpoint, String> {
    let read = Endpoint::parse(text)?;
    if read.path == "/" {
        Ok(read)
    } else {
        Err("it has a path: bucket and folder are the policy's to say".into())
    }
}

fn region(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !text.is_empty() && text.len() <= 40 && text.chars().all(plain) {
        Ok(text.to_owned())
    } else {
        Err(format!("{} is no name of a region", quoted(text)))
    }
}

fn amazon(region: &str) -> Endpoint {
    Endpoint {
        tls: true,
        host: format!("s3.{region}.amazonaws.com"),
        port: 443,
        path: "/".into(),
        ca_file: None,
    }
}

/// Whether a bucket may be called so.
pub fn is_bucket(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    (3..=63).contains(&name.len())
        && name.starts_with(plain)
        && name.ends_with(plain)
        && name.chars().all(|c| plain(c) || matches!(c, '-' | '.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_a_host_and_nothing_more() {
        for (text, url) in [
            ("https://s3.example", "https://s3.example"),
            ("https://s3.example:9000/", "https://s3.example:9000"),
            ("http://[::1]:5000", "http://[::1]:5000"),
        ] {
            assert_eq!(endpoint(text).unwrap().url(), url);
        }
        for text in [
            "http://s3.example",
            "https://key:secret@s3.example",
            "https://s3.example/our-archive",
            "https://s3.example/?x=y",
        ] {
            assert!(endpoint(text).is_err(), "{text}");
        }
        assert_eq!(
            amazon("eu-west-1").url(),
            "https://s3.eu-west-1.amazonaws.com"
        );
    }
}
