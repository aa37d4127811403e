//! An archive's files in a bucket of an object store that speaks S3.

use super::http::Only;
use crate::config::Bucket as At;
use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::aws::{AmazonS3Builder, Checksum};
use object_store::buffered::BufWriter;
use object_store::path::Path;
use object_store::{BackoffConfig, Error, ObjectStore, ObjectStoreExt, RetryConfig};
use sha2::{Digest, Sha256};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

/// A file that is larger goes in parts of so many bytes, of which two are on their way at a time.
const PART: usize = 8 << 20;
const PARTS: usize = 2;
/// How long it is tried again what may pass: rows are locked meanwhile.
const PATIENCE: Duration = Duration::from_secs(20);
const TRIES: usize = 3;

/// A part of a bucket.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    store: Arc<dyn ObjectStore>,
    /// What all names begin with.
    prefix: Path,
    /// Of that, for people.
    address: String,
}

impl Bucket {
    /// # Errors
    /// Its keys cannot be read, or its authorities.
    pub(super) fn open(at: &At, bucket: &str, prefix: &str, address: String) -> io::Result<Self> {
        let key = |source: &crate::config::SecretSource| {
            let secret = source.load().map_err(io::Error::other)?;
            let line = secret.expose_line().map(str::to_owned);
            line.ok_or_else(|| io::Error::other("a key of the bucket is no line of text"))
        };
        let retry = RetryConfig {
            backoff: BackoffConfig {
                max_backoff: PATIENCE / 4,
                ..BackoffConfig::default()
            },
            max_retries: TRIES,
            retry_timeout: PATIENCE,
        };
        let store = AmazonS3Builder::new()
            .with_endpoint(at.endpoint.url())
            .with_region(&at.region)
            .with_bucket_name(bucket)
            .with_access_key_id(key(&at.access_key)?)
            .with_secret_access_key(key(&at.secret_key)?)
            .with_checksum_algorithm(Checksum::SHA256)
            .with_allow_http(true)
            .with_retry(retry)
            .with_http_connector(Only::new(&at.endpoint)?)
            .build();
        Ok(Self {
            store: Arc::new(store.map_err(failed)?),
            prefix: Path::parse(prefix).map_err(io::Error::other)?,
            address,
        })
    }

    fn at(&self, name: &str) -> Path {
        self.prefix.clone().join(name)
    }

    /// Where a file of this name is, for people.
    pub(super) fn address(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }

    /// A whole object, in place of one of the same name.
    pub(super) async fn put(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let bytes = Bytes::copy_from_slice(bytes);
        let put = self.store.put(&self.at(name), bytes.into()).await;
        put.map(drop).map_err(failed)
    }

    /// `None` if there is none.
    pub(super) async fn get(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        match self.store.get(&self.at(name)).await {
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(failed(error)),
            Ok(found) => {
                let bytes = in_time(found.bytes()).await?;
                Ok(Some(bytes.map_err(failed)?.to_vec()))
            }
        }
    }

    /// The new one is there before the old one goes. Nothing happens to one that is not there.
    pub(super) async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let Some(bytes) = self.get(from).await? else {
            return Ok(());
        };
        self.put(to, &bytes).await?;
        self.remove(from).await
    }

    /// Nor to one that is not there.
    pub(super) async fn remove(&self, name: &str) -> io::Result<()> {
        match self.store.delete(&self.at(name)).await {
            Err(Error::NotFound { .. }) => Ok(()),
            deleted => deleted.map_err(failed),
        }
    }

    /// Names that begin so.
    pub(super) async fn names(&self, prefix: &str) -> io::Result<Vec<String>> {
        let listed = self.store.list(Some(&self.prefix));
        let listed: Vec<_> = listed.try_collect().await.map_err(failed)?;
        let names = listed
            .iter()
            .filter_map(|object| object.location.filename());
        Ok(names
            .filter(|name| name.starts_with(prefix))
            .map(str::to_owned)
            .collect())
    }

    /// An object that is there only when it is closed.
    pub(super) fn create(&self, name: &str) -> Upload {
        let writer = BufWriter::with_capacity(self.store.clone(), self.at(name), PART);
        Upload {
            writer: writer.with_max_concurrency(PARTS),
            at: self.at(name),
        }
    }

    /// There, and read back: what stands there is what was written.
    pub(super) async fn close(&self, mut upload: Upload, sum: &[u8]) -> io::Result<()> {
        if let Err(error) = upload.writer.shutdown().await {
            upload.abort().await;
            return Err(error);
        }
        fail::fail_point!("archive-uploaded");
        let found = self.store.get(&upload.at).await.map_err(failed)?;
        let mut there = Sha256::new();
        let mut bytes = found.into_stream();
        while let Some(some) = in_time(bytes.try_next()).await?.map_err(failed)? {
            there.update(&some);
        }
        if there.finalize().as_slice() == sum {
            return Ok(());
        }
        let address = format!(
            "{}/{}",
            self.address,
            upload.at.filename().unwrap_or_default()
        );
        Err(io::Error::other(format!(
            "{address}: what can be read there is not what was written"
        )))
    }
}

/// An object that is being written.
pub(super) struct Upload {
    writer: BufWriter,
    at: Path,
}

impl Upload {
    pub(super) async fn write(&mut self, bytes: Vec<u8>) -> io::Result<()> {
        Ok(self.writer.put(bytes.into()).await?)
    }

    /// Its parts, if any are there, are taken away.
    pub(super) async fn abort(mut self) {
        if let Err(problem) = self.writer.abort().await {
            tracing::warn!(%problem, "parts of an upload may be left in the bucket");
        }
    }
}

/// A body that does not go on keeps rows locked: no part of it may take longer.
async fn in_time<T>(part: impl Future<Output = T>) -> io::Result<T> {
    let part = tokio::time::timeout(PATIENCE, part).await;
    part.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))
}

/// Without the pages that some services answer with.
fn failed(error: Error) -> io::Error {
    let text = error.to_string();
    io::Error::other(text.lines().next().unwrap_or_default().to_owned())
}
