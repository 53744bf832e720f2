//! Reading and writing objects of the deployment's bucket; every failure says which object.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use engine::store::create_private_folder;
use futures::StreamExt;
use object_store::path::Path as Key;
use object_store::{Error, GetOptions, ObjectStore, ObjectStoreExt, PutPayload};
use sha2::{Digest, Sha256 as Hasher};
use spec::id::Sha256;
use spec::state_location::StateLocation;

#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    #[error("{bucket} can't be set up from the environment: {source}")]
    Setup { bucket: String, source: Box<Error> },
    #[error("{bucket} has no object {key}")]
    Missing { bucket: String, key: String },
    #[error("{bucket}: {verb} {key}: {source}")]
    Remote { bucket: String, verb: &'static str, key: String, source: Box<Error> },
    #[error("{what}: {source}")]
    Disk { what: String, source: io::Error },
    #[error("{bucket}: {key} has digest {found}, not {wanted}")]
    Digest { bucket: String, key: String, found: String, wanted: Sha256 },
}

/// What an object holds, and the tag by which a change of it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub bytes: Vec<u8>,
    pub tag: Option<String>,
}

#[derive(Debug, Clone)]
pub(crate) struct Bucket {
    location: StateLocation,
    objects: Arc<dyn ObjectStore>,
}

impl Bucket {
    pub fn open(location: &StateLocation) -> Result<Self, BucketError> {
        match engine::store::objects(location) {
            Ok(objects) => Ok(Self::new(location.clone(), objects)),
            Err(source) => Err(BucketError::Setup { bucket: location.to_string(), source: Box::new(source) }),
        }
    }

    pub fn new(location: StateLocation, objects: Arc<dyn ObjectStore>) -> Self {
        Self { location, objects }
    }

    /// None if it is still what the tag stands for.
    pub async fn get_unless(&self, key: &str, tag: Option<&str>) -> Result<Option<Found>, BucketError> {
        let options = GetOptions { if_none_match: tag.map(str::to_owned), ..GetOptions::default() };
        let answer = match self.objects.get_opts(&self.path(key), options).await {
            Err(Error::NotModified { .. }) => return Ok(None),
            answer => answer.map_err(|source| self.failed("reading", key, source))?,
        };
        let tag = answer.meta.e_tag.clone();
        let bytes = answer.bytes().await.map_err(|source| self.failed("reading", key, source))?.to_vec();
        Ok(Some(Found { bytes, tag }))
    }

    pub async fn get(&self, key: &str) -> Result<Vec<u8>, BucketError> {
        let found = self.get_unless(key, None).await?;
        found
            .map(|found| found.bytes)
            .ok_or_else(|| BucketError::Missing { bucket: self.location.to_string(), key: key.to_owned() })
    }

    pub async fn put(&self, key: &str, bytes: &[u8]) -> Result<(), BucketError> {
        let put = self.objects.put(&self.path(key), PutPayload::from(bytes.to_vec())).await;
        put.map(|_| ()).map_err(|source| self.failed("writing", key, source))
    }

    /// To a file beside `path`, which takes its place only if the digest is right. The file can be executed.
    pub async fn fetch(&self, key: &str, wanted: &Sha256, path: &Path) -> Result<(), BucketError> {
        let folder = path.parent().unwrap_or(Path::new("."));
        let disk = |source| BucketError::Disk { what: format!("writing {}", path.display()), source };
        create_private_folder(folder).map_err(disk)?;
        let mut beside = tempfile::Builder::new().prefix(".new-").tempfile_in(folder).map_err(disk)?;
        let found = self.copy(key, &mut beside, path).await?;
        if found != wanted.as_str() {
            let (bucket, key, wanted) = (self.location.to_string(), key.to_owned(), wanted.clone());
            return Err(BucketError::Digest { bucket, key, found, wanted });
        }
        make_program(beside.as_file()).and_then(|()| beside.as_file().sync_all()).map_err(disk)?;
        beside.persist(path).map(|_| ()).map_err(|error| disk(error.error))
    }

    /// The digest of what was copied, in hex.
    async fn copy(&self, key: &str, file: &mut impl Write, path: &Path) -> Result<String, BucketError> {
        let answer = self.objects.get(&self.path(key)).await.map_err(|source| self.failed("reading", key, source))?;
        let (mut chunks, mut hasher) = (answer.into_stream(), Hasher::new());
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|source| self.failed("reading", key, source))?;
            hasher.update(&chunk);
            let disk = |source| BucketError::Disk { what: format!("writing {}", path.display()), source };
            file.write_all(&chunk).map_err(disk)?;
        }
        Ok(hex::encode(hasher.finalize()))
    }

    fn path(&self, key: &str) -> Key {
        Key::from(format!("{}/{key}", self.location.folder))
    }

    fn failed(&self, verb: &'static str, key: &str, source: Error) -> BucketError {
        let (bucket, key) = (self.location.to_string(), key.to_owned());
        match source {
            Error::NotFound { .. } => BucketError::Missing { bucket, key },
            source => BucketError::Remote { bucket, verb, key, source: Box::new(source) },
        }
    }
}

fn make_program(file: &std::fs::File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(std::fs::Permissions::from_mode(0o755))
}
