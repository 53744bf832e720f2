//! `artifact.NAME`: a binary for the host under `artifacts/SHA256/NAME`. Whoever fetches it checks its digest again.

use std::path::Path;

use async_trait::async_trait;
use engine::graph::{Address, Desired};
use engine::provider::{Known, ProviderError, Token};
use engine::state::{RemoteId, Resource};
use serde_json::{Map, Value, json};
use spec::id::Sha256;

use super::object::{self, Content, Found, Over, Place, Versions, head, page};
use crate::gcp::auth::{Gcp, Making, inputs};
use crate::gcp::kind::{self, ArtifactInputs};
use crate::gcp::labels::{Labels, TOKEN};
use crate::gcp::resource::Calls;
use crate::local::digest_file;

const FOLDER: &str = "artifacts/";
const SHA256: &str = "dsctl-sha256";

#[derive(Debug)]
pub struct Artifact;

#[async_trait]
impl Calls for Artifact {
    async fn read(&self, gcp: &Gcp, resource: &Resource, known: &Known) -> Result<Option<Value>, ProviderError> {
        let place = Place::parse(&resource.remote_id)?;
        let Some(there) = head(gcp, &place).await? else { return Ok(None) };
        Ok(Some(observed(&place, &there.metadata, &place.bucket_address(resource, known))))
    }

    /// The key holds the digest, which a search is not given: every binary of that name is looked at.
    async fn find(
        &self,
        gcp: &Gcp,
        address: &Address,
        token: &Token,
        known: &Known,
    ) -> Result<Option<RemoteId>, ProviderError> {
        let Some(bucket) = known.id(&Address::new(kind::BUCKET, "main")) else { return Ok(None) };
        let mut from = String::new();
        while let Some(page) = page(gcp, &bucket.0, FOLDER, Versions::Current, &from).await? {
            if let Some(found) = page.items.iter().find(|found| is_made_by(found, address, token)) {
                return Ok(Some(Place::new(&bucket.0, &found.name).id()));
            }
            match page.next_page_token.filter(|next| !next.is_empty()) {
                Some(next) => from = next,
                None => break,
            }
        }
        Ok(None)
    }

    async fn create(&self, gcp: &Gcp, making: &Making<'_>) -> Result<RemoteId, ProviderError> {
        let inputs: ArtifactInputs = making.inputs()?;
        let place = Place::new(making.id(&inputs.bucket)?, key(&making.desired.address, &inputs.sha256));
        upload(gcp, &place, object::metadata(gcp, making), &making.desired.address, &inputs.sha256).await?;
        Ok(place.id())
    }

    /// Again, if somebody wrote over it.
    async fn update(
        &self,
        gcp: &Gcp,
        id: &RemoteId,
        desired: &Desired,
        _known: &Known,
    ) -> Result<RemoteId, ProviderError> {
        let inputs: ArtifactInputs = inputs(desired)?;
        let place = Place::parse(id)?;
        let there = head(gcp, &place).await?.ok_or_else(|| object::lost(&place))?;
        if there.metadata.get(SHA256) != Some(&inputs.sha256) {
            upload(gcp, &place, there.metadata, &desired.address, &inputs.sha256).await?;
        }
        Ok(id.clone())
    }

    async fn delete(&self, gcp: &Gcp, resource: &Resource, _known: &Known) -> Result<(), ProviderError> {
        object::remove(gcp, resource).await
    }
}

fn key(address: &Address, sha256: &str) -> String {
    format!("{FOLDER}{sha256}/{}", address.name())
}

/// Digest and name of a key.
fn parts(key: &str) -> Option<(&str, &str)> {
    key.strip_prefix(FOLDER)?.split_once('/')
}

fn is_made_by(found: &Found, address: &Address, token: &Token) -> bool {
    parts(&found.name).is_some_and(|(_, own)| own == address.name()) && found.metadata.get(TOKEN) == Some(&token.0)
}

/// In the shape of [`ArtifactInputs`]; what was written over it by somebody else shows as a further key.
fn observed(place: &Place, metadata: &Labels, bucket: &Value) -> Value {
    let sha256 = parts(&place.key).map(|(sha256, _)| sha256);
    let mut fields = Map::from_iter([("bucket".to_owned(), bucket.clone()), ("sha256".to_owned(), json!(sha256))]);
    if metadata.get(SHA256).map(String::as_str) != sha256 {
        fields.insert("content".to_owned(), json!("other"));
    }
    Value::Object(fields)
}

async fn upload(
    gcp: &Gcp,
    place: &Place,
    mut metadata: Labels,
    address: &Address,
    sha256: &str,
) -> Result<(), ProviderError> {
    let path = gcp.handed.binaries.join(address.name());
    let digest: Sha256 = sha256.parse().map_err(|error| ProviderError::permanent(address, error))?;
    let size = check(&path, &digest).await?;
    metadata.insert(SHA256.to_owned(), sha256.to_owned());
    Ok(object::put(gcp, place, &metadata, Content::File(path, size), &Over::Anything).await?)
}

/// What runs is what was planned. Gives its size.
async fn check(path: &Path, wanted: &Sha256) -> Result<u64, ProviderError> {
    let (file, what) = (path.to_owned(), path.display().to_string());
    let digest = tokio::task::spawn_blocking(move || digest_file(&file)).await;
    let digest = digest.map_err(|error| ProviderError::permanent(&what, error))?;
    let (digest, size) = digest.map_err(|error| ProviderError::permanent(&what, error))?;
    if digest == *wanted {
        return Ok(size);
    }
    Err(ProviderError::permanent(what, "it changed since the plan was made").with_next("dsctl plan"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    fn place() -> Place {
        Place::new("b", key(&Address::new("artifact", "dsserve"), DIGEST))
    }

    #[test]
    fn a_binary_lies_under_its_digest_and_is_found_by_its_token() {
        assert_eq!(place().key, format!("artifacts/{DIGEST}/dsserve"));
        assert_eq!(parts(&place().key), Some((DIGEST, "dsserve")));
        let metadata = Labels::from([(TOKEN.to_owned(), "t".to_owned())]);
        let found = Found { name: place().key, metadata, ..Found::default() };
        let is_made =
            |name: &str, token: &str| is_made_by(&found, &Address::new("artifact", name), &Token(token.to_owned()));
        assert!(is_made("dsserve", "t") && !is_made("dsserve", "u") && !is_made("dsgate", "t"));
    }

    #[test]
    fn what_was_written_over_it_shows() {
        let bucket = json!("bucket.main");
        let ours = Labels::from([(SHA256.to_owned(), DIGEST.to_owned())]);
        assert_eq!(observed(&place(), &ours, &bucket), json!({"bucket": "bucket.main", "sha256": DIGEST}));
        assert_eq!(observed(&place(), &Labels::new(), &bucket)["content"], "other");
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
