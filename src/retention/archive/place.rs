//! Where an archive's files are.

use super::bucket::{Bucket, Upload};
use super::folder::Folder;
use crate::config::Bucket as BucketAt;
use crate::policy::retention::Place as To;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};

/// A folder of the daemon's host, or a part of a bucket.
#[derive(Clone, Debug)]
pub(super) enum Place {
    Folder(Folder),
    Bucket(Bucket),
}

impl Place {
    /// # Errors
    /// The folder is not there, or not the daemon's alone; the configuration does not know the bucket, or its keys
    /// cannot be read.
    pub(super) fn open(to: &To, buckets: &BTreeMap<String, BucketAt>) -> io::Result<Self> {
        match to {
            To::Folder(path) => Folder::open(path).map(Self::Folder),
            To::Bucket { bucket, prefix } => {
                let at = buckets.get(bucket).ok_or_else(|| {
                    io::Error::other(format!("erasured.toml has no [bucket.{bucket}]"))
                })?;
                Bucket::open(at, bucket, prefix, to.to_string()).map(Self::Bucket)
            }
        }
    }

    /// Where a file of this name is, for people.
    pub(super) fn address(&self, name: &str) -> String {
        match self {
            Self::Folder(folder) => folder.address(name),
            Self::Bucket(bucket) => bucket.address(name),
        }
    }

    /// A whole file, there for good when this returns, in place of one of the same name.
    pub(super) async fn put(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Folder(folder) => folder.put(name, bytes),
            Self::Bucket(bucket) => bucket.put(name, bytes).await,
        }
    }

    /// `None` if there is none.
    pub(super) async fn get(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        match self {
            Self::Folder(folder) => folder.get(name),
            Self::Bucket(bucket) => bucket.get(name).await,
        }
    }

    /// Nothing happens to one that is not there.
    pub(super) async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        match self {
            Self::Folder(folder) => folder.rename(from, to),
            Self::Bucket(bucket) => bucket.rename(from, to).await,
        }
    }

    /// Nor to one that is not there.
    pub(super) async fn remove(&self, name: &str) -> io::Result<()> {
        match self {
            Self::Folder(folder) => folder.remove(name),
            Self::Bucket(bucket) => bucket.remove(name).await,
        }
    }

    /// Names that begin so.
    pub(super) async fn names(&self, prefix: &str) -> io::Result<Vec<String>> {
        match self {
            Self::Folder(folder) => folder.names(prefix),
            Self::Bucket(bucket) => bucket.names(prefix).await,
        }
    }

    /// A file to be written piece by piece, in place of one of the same name.
    pub(super) fn create(&self, name: &str) -> io::Result<Body> {
        Ok(Body {
            sum: Sha256::new(),
            to: match self {
                Self::Folder(folder) => Sink::File(folder.create(name)?),
                Self::Bucket(bucket) => Sink::Upload(Box::new(bucket.create(name))),
            },
        })
    }

    /// The file is there, whole and for good, when this returns; the SHA-256 of its bytes.
    pub(super) async fn close(&self, body: Body) -> io::Result<String> {
        let sum = body.sum.finalize();
        match (self, body.to) {
            (Self::Folder(folder), Sink::File(file)) => folder.close(&file)?,
            (Self::Bucket(bucket), Sink::Upload(upload)) => bucket.close(*upload, &sum).await?,
            _ => return Err(io::Error::other("it was begun elsewhere")),
        }
        Ok(format!("{sum:x}"))
    }
}

/// A file that is being written.
pub(super) struct Body {
    sum: Sha256,
    to: Sink,
}

enum Sink {
    File(File),
    Upload(Box<Upload>),
}

impl Body {
    pub(super) async fn write(&mut self, bytes: Vec<u8>) -> io::Result<()> {
        self.sum.update(&bytes);
        match &mut self.to {
            Sink::File(file) => file.write_all(&bytes),
            Sink::Upload(upload) => upload.write(bytes).await,
        }
    }

    /// It comes to nothing. What stands there under its name is removed with its manifest.
    pub(super) async fn abort(self) {
        if let Sink::Upload(upload) = self.to {
            upload.abort().await;
        }
    }
}
