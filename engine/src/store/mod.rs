//! Durable bytes with compare-and-swap: `get`, `put_if(version)`, `list`, `delete`.
//!
//! Every write names the version it replaces, so that of two writers one wins and the other learns of it. The one
//! [`conformance`] suite runs on every store.

use std::fmt;

use async_trait::async_trait;

mod directory;
mod memory;

pub use directory::{DirectoryStore, create_private_folder, write_durably};
pub use memory::MemoryStore;

/// What a store says a key held when it was read: the token for the next write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version(String);

impl Version {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        use sha2::Digest;
        Self(hex::encode(sha2::Sha256::digest(bytes)))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
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

/// What every store must do; called with a fresh, empty one.
#[cfg(test)]
pub(crate) mod conformance {
    use std::sync::Arc;

    use super::*;

    pub async fn run(store: Arc<dyn Store>) {
        absent_then_present(&*store).await;
        only_the_expected_version_is_replaced(&*store).await;
        listing_is_sorted_and_by_prefix(&*store).await;
        bad_keys_are_refused(&*store).await;
        of_many_writers_each_round_has_one_winner(store).await;
    }

    async fn absent_then_present(store: &dyn Store) {
        assert!(store.get("a/b.json").await.unwrap().is_none());
        let version = store.put_if("a/b.json", b"one", Expect::Absent).await.unwrap();
        assert_eq!(store.get("a/b.json").await.unwrap(), Some((b"one".to_vec(), version)));
        store.delete("a/b.json").await.unwrap();
        store.delete("a/b.json").await.unwrap();
        assert!(store.get("a/b.json").await.unwrap().is_none());
    }

    async fn only_the_expected_version_is_replaced(store: &dyn Store) {
        let first = store.put_if("k", b"one", Expect::Absent).await.unwrap();
        let conflict = store.put_if("k", b"two", Expect::Absent).await.unwrap_err();
        assert!(matches!(conflict, StoreError::Conflict { .. }), "{conflict}");
        let second = store.put_if("k", b"two", Expect::Version(first.clone())).await.unwrap();
        let conflict = store.put_if("k", b"three", Expect::Version(first)).await.unwrap_err();
        assert!(matches!(conflict, StoreError::Conflict { .. }), "{conflict}");
        assert_eq!(store.get("k").await.unwrap(), Some((b"two".to_vec(), second)));
        let absent = store.put_if("absent", b"x", Expect::Version(Version::of(b"y"))).await.unwrap_err();
        assert!(matches!(absent, StoreError::Conflict { .. }), "{absent}");
    }

    async fn listing_is_sorted_and_by_prefix(store: &dyn Store) {
        for key in ["l/2", "l/1", "l/deep/3", "m/1"] {
            store.put_if(key, b"", Expect::Absent).await.unwrap();
        }
        assert_eq!(store.list("l/").await.unwrap(), ["l/1", "l/2", "l/deep/3"]);
        assert!(store.list("none/").await.unwrap().is_empty());
    }

    async fn bad_keys_are_refused(store: &dyn Store) {
        for key in ["", "/a", "a/", "a//b", "../a", "a/../b", ".hidden", "a b"] {
            let error = store.put_if(key, b"", Expect::Absent).await.unwrap_err();
            assert!(matches!(error, StoreError::InvalidKey { .. }), "{key:?}: {error}");
        }
    }

    async fn of_many_writers_each_round_has_one_winner(store: Arc<dyn Store>) {
        store.put_if("counter", b"0", Expect::Absent).await.unwrap();
        let writers: Vec<_> = (0..8).map(|_| tokio::spawn(add_until_done(store.clone(), 5))).collect();
        for writer in writers {
            writer.await.unwrap();
        }
        assert_eq!(store.get("counter").await.unwrap().unwrap().0, b"40");
    }

    async fn add_until_done(store: Arc<dyn Store>, mut left: u32) {
        while left > 0 {
            let (bytes, version) = store.get("counter").await.unwrap().unwrap();
            let next = String::from_utf8(bytes).unwrap().parse::<u32>().unwrap() + 1;
            match store.put_if("counter", next.to_string().as_bytes(), Expect::Version(version)).await {
                Ok(_) => left -= 1,
                Err(StoreError::Conflict { .. }) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
    }
}
