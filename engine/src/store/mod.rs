//! Durable bytes with compare-and-swap: `get`, `put_if(version)`, `list`, `delete`.
//!
//! Every write names the version it replaces, so that of two writers one wins and the other learns of it. The one
//! [`conformance`] suite runs on every store.

use std::fmt;

use async_trait::async_trait;

mod bucket;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod directory;
mod memory;
mod open;

pub use bucket::BucketStore;
pub use directory::{DirectoryStore, create_private_folder, write_durably};
pub use memory::MemoryStore;
pub use open::{az, gs, objects, s3};

/// What a store says a key held when it was read: the token for the next write.
///
/// Shown, it is the SHA-256 of the bytes in hex, the same on every store, so that what is chained by it can be checked
/// wherever it was copied to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    digest: String,
    /// A remote store's own name for this write; none where the digest is compared.
    remote: Option<Remote>,
}

/// How an object store names what a key holds: S3 and Azure by entity tag, Google by generation.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Remote {
    e_tag: Option<String>,
    version: Option<String>,
}

impl Version {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        use sha2::Digest;
        Self { digest: hex::encode(sha2::Sha256::digest(bytes)), remote: None }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.digest)
    }
}

/// What a write expects to find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    /// Nothing: the key is new.
    Absent,
    /// Exactly what was read.
    Version(Version),
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody else wrote first. Read again and decide again.
    #[error("{key}: changed by another writer")]
    Conflict { key: String },
    #[error("{key}: not a key: parts of letters, digits, dots, dashes and underscores, joined by slashes")]
    InvalidKey { key: String },
    #[error("{what}: {source}")]
    Io { what: String, source: std::io::Error },
    /// An object store did not do it, or its answer was lost.
    #[error("{what}: {source}")]
    Remote { what: String, source: Box<object_store::Error> },
}

/// A place for durable bytes. A `put` that returned Ok survives a power cut; one that did not return may or may not
/// have happened, and a reader sees the whole of it or nothing.
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug {
    /// Bytes and version of a key; none if there is no such key.
    async fn get(&self, key: &str) -> Result<Option<(Vec<u8>, Version)>, StoreError>;

    /// Writes the whole value if the key is as expected, else [`StoreError::Conflict`].
    async fn put_if(&self, key: &str, bytes: &[u8], expect: Expect) -> Result<Version, StoreError>;

    /// All keys that begin with a prefix, sorted.
    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError>;

    /// Removes a key; removing what is absent is Ok.
    async fn delete(&self, key: &str) -> Result<(), StoreError>;
}

/// Keys are relative paths of plain names: nothing that could leave the store.
pub(crate) fn check_key(key: &str) -> Result<(), StoreError> {
    let is_part = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
    };
    if key.split('/').all(is_part) { Ok(()) } else { Err(StoreError::InvalidKey { key: key.to_owned() }) }
}
