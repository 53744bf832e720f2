//! `artifact.NAME`: a binary for the host under `artifacts/SHA256/NAME`.

use std::path::Path;

use async_trait::async_trait;
use engine::graph::{Address, Desired};
use engine::provider::{Known, ProviderError, Token};
use engine::state::{RemoteId, Resource};
use serde_json::{Map, Value, json};
use spec::id::Sha256;

use super::object::{self, head};
use crate::azure::auth::{Azure, Making, inputs};
use crate::azure::blobs::{Listed, Metadata, Over, Place, Versions, Write};
use crate::azure::kind::ArtifactInputs;
use crate::azure::resource::Calls;
use crate::local::digest_file;

const FOLDER: &str = "artifacts/";
const SHA256: &str = "dsctl_sha256";

#[derive(Debug)]
pub struct Artifact;

#[async_trait]
impl Calls for Artifact {
    async fn read(&self, azure: &Azure, resource: &Resource, known: &Known) -> Result<Option<Value>, ProviderError> {
        let place = object::parse(&resource.remote_id)?;
        let Some(head) = head(azure, &place, known).await? else { return Ok(None) };
        Ok(Some(observed(&place, &head.metadata, &object::bucket_address(&place, resource, known))))
    }

    /// The key holds the digest, which a search is not given: every binary of that name is looked at.
    async fn find(
        &self,
        azure: &Azure,
        address: &Address,
        token: &Token,
        known: &Known,
    ) -> Result<Option<RemoteId>, ProviderError> {
        let Some(folder) = object::known_place(known, FOLDER)? else { return Ok(None) };
        let listed = match azure.blobs.list(&folder, Versions::Current).await {
            Err(error) => object::if_account_lives(azure, &folder, known, error).await?.unwrap_or_default(),
            Ok(listed) => listed,
        };
        for key in named(&listed, address.name()) {
            let place = Place { key: key.to_owned(), ..folder.clone() };
            if let Some(id) = object::made_by(azure, &place, token, known).await? {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }

    async fn create(&self, azure: &Azure, making: &Making<'_>) -> Result<RemoteId, ProviderError> {
        let inputs: ArtifactInputs = making.inputs()?;
        let place = object::place(making.id(&inputs.bucket)?, key(&making.desired.address, &inputs.sha256))?;
        upload(azure, &place, object::metadata(making), &making.desired.address, &inputs.sha256).await?;
        Ok(object::id(&place))
    }

    /// Again, if somebody wrote over it.
    async fn update(
        &self,
        azure: &Azure,
        id: &RemoteId,
        desired: &Desired,
        known: &Known,
    ) -> Result<RemoteId, ProviderError> {
        let inputs: ArtifactInputs = inputs(desired)?;
        let place = object::parse(id)?;
        let there = head(azure, &place, known).await?.ok_or_else(|| object::lost(&place))?;
        if there.metadata.get(SHA256) != Some(&inputs.sha256) {
            upload(azure, &place, there.metadata, &desired.address, &inputs.sha256).await?;
        }
        Ok(id.clone())
    }

    async fn delete(&self, azure: &Azure, resource: &Resource, known: &Known) -> Result<(), ProviderError> {
        object::remove(azure, resource, known).await
    }
}

fn key(address: &Address, sha256: &str) -> String {
    format!("{FOLDER}{sha256}/{}", address.name())
}

/// Digest and name of a key.
fn parts(key: &str) -> Option<(&str, &str)> {
    key.strip_prefix(FOLDER)?.split_once('/')
}

fn named<'a>(listed: &'a [Listed], name: &'a str) -> impl Iterator<Item = &'a str> {
    let keys = listed.iter().map(|listed| listed.name.as_str());
    keys.filter(move |key| parts(key).is_some_and(|(_, own)| own == name))
}

/// In the shape of [`ArtifactInputs`]; what was written over it by somebody else shows as a further key.
fn observed(place: &Place, metadata: &Metadata, bucket: &Value) -> Value {
    let sha256 = parts(&place.key).map(|(sha256, _)| sha256);
    let mut fields = Map::from_iter([("bucket".to_owned(), bucket.clone()), ("sha256".to_owned(), json!(sha256))]);
    if metadata.get(SHA256).map(String::as_str) != sha256 {
        fields.insert("content".to_owned(), json!("other"));
    }
    Value::Object(fields)
}

async fn upload(
    azure: &Azure,
    place: &Place,
    mut metadata: Metadata,
    address: &Address,
    sha256: &str,
) -> Result<(), ProviderError> {
    let path = azure.handed.binaries.join(address.name());
    let digest: Sha256 = sha256.parse().map_err(|error| ProviderError::permanent(address, error))?;
    let length = check(&path, &digest).await?;
    let unreadable = |error| ProviderError::permanent(path.display(), error);
    let body = tokio::fs::File::open(&path).await.map_err(unreadable)?.into();
    metadata.insert(SHA256.to_owned(), sha256.to_owned());
    let content_type = "application/octet-stream";
    azure.blobs.put(place, Write { metadata: &metadata, over: Over::Anything, content_type, length, body }).await
}

/// What runs is what was planned. Gives its length.
async fn check(path: &Path, wanted: &Sha256) -> Result<u64, ProviderError> {
    let (file, what) = (path.to_owned(), path.display().to_string());
    let digest = tokio::task::spawn_blocking(move || digest_file(&file)).await;
    let digest = digest.map_err(|error| ProviderError::permanent(&what, error))?;
    let (digest, length) = digest.map_err(|error| ProviderError::permanent(&what, error))?;
    if digest == *wanted {
        return Ok(length);
    }
    Err(ProviderError::permanent(what, "it changed since the plan was made").with_next("dsctl plan"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    fn place() -> Place {
        let key = key(&Address::new("artifact", "dsserve"), DIGEST);
        Place { account: "a".to_owned(), container: "dsctl".to_owned(), key }
    }

    #[test]
    fn a_binary_lies_under_its_digest() {
        assert_eq!(place().key, format!("artifacts/{DIGEST}/dsserve"));
        assert_eq!(parts(&place().key), Some((DIGEST, "dsserve")));
        let listed = |name: &str| Listed { name: name.to_owned(), version_id: None, is_current_version: None };
        let page = [listed(&place().key), listed("artifacts/0/dsgate")];
        assert_eq!(named(&page, "dsserve").collect::<Vec<_>>(), [place().key]);
    }

    #[test]
    fn what_was_written_over_it_shows() {
        let bucket = json!("bucket.main");
        let ours = Metadata::from([(SHA256.to_owned(), DIGEST.to_owned())]);
        assert_eq!(observed(&place(), &ours, &bucket), json!({"bucket": "bucket.main", "sha256": DIGEST}));
        assert_eq!(observed(&place(), &Metadata::new(), &bucket)["content"], "other");
    }

    #[tokio::test]
    async fn a_binary_that_is_not_the_planned_one_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "test").unwrap();
        assert_eq!(check(file.path(), &DIGEST.parse().unwrap()).await.unwrap(), 4);
        std::fs::write(file.path(), "other").unwrap();
        let error = check(file.path(), &DIGEST.parse().unwrap()).await.unwrap_err();
        assert_eq!(error.next(), Some("dsctl plan"));
        assert!(error.to_string().contains("changed since the plan"), "{error}");
    }
}
