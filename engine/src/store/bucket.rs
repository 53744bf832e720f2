//! A store in a folder of an object store's bucket: S3, Google Cloud Storage, Azure Blob Storage.
//!
//! The object store compares: a write carries the entity tag or generation that it replaces. A conditional write whose
//! answer was lost is sent again by the client and then fails against itself; so each write carries a mark of its own,
//! and a refused writer that finds its mark in the object knows that it won. Equal bytes would not do as the mark: two
//! writers may write the same, and only one of them won.

use std::sync::Arc;

use async_trait::async_trait;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, PutResult,
    UpdateVersion,
};

use super::{Expect, Remote, Store, StoreError, Version, check_key};

/// Metadata that names the write; a plain identifier, as Azure requires.
const MARK: Attribute = Attribute::Metadata(std::borrow::Cow::Borrowed("dsctlwrite"));

#[derive(Debug, Clone)]
pub struct BucketStore {
    objects: Arc<dyn ObjectStore>,
    /// Without slashes at its ends; may be empty.
    folder: String,
}

#[derive(Debug)]
struct Found {
    bytes: Vec<u8>,
    version: Version,
    mark: Option<String>,
}

impl BucketStore {
    /// Keys are objects under `folder`, which may be empty.
    pub fn new(objects: Arc<dyn ObjectStore>, folder: &str) -> Self {
        Self { objects, folder: folder.trim_matches('/').to_owned() }
    }

    fn path(&self, key: &str) -> Path {
        Path::from(format!("{}/{key}", self.folder))
    }

    async fn read(&self, key: &str) -> Result<Option<Found>, StoreError> {
        let failed = |source| remote_error("reading", key, source);
        let answer = match self.objects.get(&self.path(key)).await {
            Ok(answer) => answer,
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(source) => return Err(failed(source)),
        };
        let mark = answer.attributes.get(&MARK).map(|mark| mark.as_ref().to_owned());
        let remote = Remote { e_tag: answer.meta.e_tag.clone(), version: answer.meta.version.clone() };
        let bytes = answer.bytes().await.map_err(failed)?.to_vec();
        let version = Version { remote: Some(remote), ..Version::of(&bytes) };
        Ok(Some(Found { bytes, version, mark }))
    }

    async fn write(&self, key: &str, bytes: &[u8], mode: PutMode) -> Result<Version, StoreError> {
        let mark = hex::encode(rand::random::<[u8; 16]>());
        let attributes = Attributes::from_iter([(MARK, mark.clone())]);
        let options = PutOptions { mode, attributes, ..PutOptions::default() };
        match self.objects.put_opts(&self.path(key), PutPayload::from(bytes.to_vec()), options).await {
            Ok(PutResult { e_tag, version, .. }) => {
                Ok(Version { remote: Some(Remote { e_tag, version }), ..Version::of(bytes) })
            }
            Err(error) if is_conflict(&error) => match self.read(key).await? {
                Some(found) if found.mark.as_ref() == Some(&mark) => Ok(found.version),
                _ => Err(StoreError::Conflict { key: key.to_owned() }),
            },
            Err(source) => Err(remote_error("writing", key, source)),
        }
    }
}

#[async_trait]
impl Store for BucketStore {
    async fn get(&self, key: &str) -> Result<Option<(Vec<u8>, Version)>, StoreError> {
        check_key(key)?;
        Ok(self.read(key).await?.map(|found| (found.bytes, found.version)))
    }

    async fn put_if(&self, key: &str, bytes: &[u8], expect: Expect) -> Result<Version, StoreError> {
        check_key(key)?;
        let mode = match expect {
            Expect::Absent => PutMode::Create,
            Expect::Version(Version { remote: Some(Remote { e_tag, version }), .. }) => {
                PutMode::Update(UpdateVersion { e_tag, version })
            }
            // Read from another store: this one can't hold it.
            Expect::Version(Version { remote: None, .. }) => {
                return Err(StoreError::Conflict { key: key.to_owned() });
            }
        };
        self.write(key, bytes, mode).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        // Object stores list by whole path parts; the rest of the prefix is compared here.
        let under = self.path(prefix.rsplit_once('/').map_or("", |(folder, _)| folder));
        let objects: Vec<_> = self
            .objects
            .list(Some(&under))
            .try_collect()
            .await
            .map_err(|source| remote_error("listing", under.as_ref(), source))?;
        let root = Path::from(self.folder.as_str());
        let skip = if root.as_ref().is_empty() { 0 } else { root.as_ref().len() + 1 };
        let keys = objects.iter().filter_map(|object| object.location.as_ref().get(skip..));
        let mut keys: Vec<String> = keys.filter(|key| key.starts_with(prefix)).map(str::to_owned).collect();
        keys.sort();
        Ok(keys)
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        check_key(key)?;
        match self.objects.delete(&self.path(key)).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(source) => Err(remote_error("removing", key, source)),
        }
    }
}

/// Not found: what was to be replaced is gone. S3's "409 Conditional request conflict" comes as already existing.
fn is_conflict(error: &Error) -> bool {
    matches!(
        error,
        Error::AlreadyExists { .. } | Error::Precondition { .. } | Error::NotModified { .. } | Error::NotFound { .. }
    )
}

fn remote_error(verb: &str, key: &str, source: Error) -> StoreError {
    StoreError::Remote { what: format!("{verb} {key}"), source: Box::new(source) }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use object_store::memory::InMemory;

    use futures::stream::BoxStream;
    use object_store::{
        CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, PutMultipartOptions, Result,
    };

    use super::*;
    use crate::lease::{HeldLease, Holder, LeaseError};

    #[tokio::test]
    async fn conforms() {
        super::super::conformance::run(Arc::new(BucketStore::new(Arc::new(InMemory::new()), ""))).await;
        super::super::conformance::run(Arc::new(BucketStore::new(Arc::new(InMemory::new()), "team/dsctl"))).await;
    }

    #[tokio::test]
    async fn a_version_shows_the_digest_of_the_bytes_as_in_every_store() {
        let store = BucketStore::new(Arc::new(InMemory::new()), "f");
        let version = store.put_if("k", b"one", Expect::Absent).await.unwrap();
        assert_eq!(version.to_string(), Version::of(b"one").to_string());
        let error = store.put_if("k", b"two", Expect::Version(Version::of(b"one"))).await.unwrap_err();
        assert!(matches!(error, StoreError::Conflict { .. }), "{error}");
    }

    #[tokio::test]
    async fn of_two_that_write_the_same_only_one_won() {
        let store = BucketStore::new(Arc::new(InMemory::new()), "f");
        store.put_if("k", b"same", Expect::Absent).await.unwrap();
        let error = store.put_if("k", b"same", Expect::Absent).await.unwrap_err();
        assert!(matches!(error, StoreError::Conflict { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_holder_that_wakes_after_its_expiry_is_refused() {
        let objects = Arc::new(InMemory::new());
        let open = || Arc::new(BucketStore::new(objects.clone(), "f"));
        let holder = |pid| Holder { command: "dsctl up".to_owned(), host: "here".to_owned(), pid, started: 1 };
        let at = |seconds: i64| Timestamp::from_second(1_000_000 + seconds).unwrap();
        let (sleeper_store, second_store) = (open(), open());
        let mut sleeper = HeldLease::acquire(sleeper_store.clone(), holder(1), at(0), |_| false).await.unwrap();
        let seen = sleeper_store.put_if("state.json", b"1", Expect::Absent).await.unwrap();

        let mut second = HeldLease::acquire(second_store.clone(), holder(2), at(31), |_| false).await.unwrap();
        let (_, version) = second_store.get("state.json").await.unwrap().unwrap();
        second_store.put_if("state.json", b"2", Expect::Version(version)).await.unwrap();

        let error = sleeper_store.put_if("state.json", b"zombie", Expect::Version(seen)).await.unwrap_err();
        assert!(matches!(error, StoreError::Conflict { .. }), "{error}");
        assert!(matches!(sleeper.heartbeat(at(32)).await, Err(LeaseError::Lost)));
        assert_eq!(second_store.get("state.json").await.unwrap().unwrap().0, b"2");
        second.heartbeat(at(33)).await.unwrap();
    }

    /// Does every write, loses the answer and sends it again, as a client does after a broken connection.
    #[derive(Debug, Default)]
    struct LosesAnswers(InMemory);

    impl std::fmt::Display for LosesAnswers {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "{}", self.0)
        }
    }

    #[async_trait]
    impl ObjectStore for LosesAnswers {
        async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
            let _lost = self.0.put_opts(path, payload.clone(), options.clone()).await;
            self.0.put_opts(path, payload, options).await
        }

        async fn put_multipart_opts(
            &self,
            path: &Path,
            options: PutMultipartOptions,
        ) -> Result<Box<dyn MultipartUpload>> {
            self.0.put_multipart_opts(path, options).await
        }

        async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
            self.0.get_opts(path, options).await
        }

        fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
            self.0.delete_stream(paths)
        }

        fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
            self.0.list(prefix)
        }

        async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
            self.0.list_with_delimiter(prefix).await
        }

        async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
            self.0.copy_opts(from, to, options).await
        }
    }

    #[tokio::test]
    async fn a_write_whose_answer_was_lost_is_known_as_ones_own() {
        let objects = Arc::new(LosesAnswers::default());
        super::super::conformance::run(Arc::new(BucketStore::new(objects, "f"))).await;
    }
}
