//! `artifact.NAME`: a binary for the host under `artifacts/SHA256/NAME`; S3 refuses one that was damaged on its way.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::config::Config;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::Object;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use engine::graph::{Address, Desired};
use engine::provider::{Known, ProviderError, Token};
use engine::state::{RemoteId, Resource};
use serde_json::{Map, Value, json};
use spec::id::Sha256;

use super::object::{self, Metadata, Place, head};
use crate::aws::auth::{Aws, Making, inputs};
use crate::aws::error::{failed, found};
use crate::aws::kind::{self, ArtifactInputs};
use crate::aws::resource::Calls;
use crate::local::digest_file;

const FOLDER: &str = "artifacts/";
const SHA256: &str = "dsctl-sha256";
const CONNECT: Duration = Duration::from_secs(5);
/// On a slow line. An upload that stands still is ended by the SDK itself, long before.
const UPLOAD: Duration = Duration::from_secs(60 * 60);

#[derive(Debug)]
pub struct Artifact;

#[async_trait]
impl Calls for Artifact {
    async fn read(&self, aws: &Aws, resource: &Resource, known: &Known) -> Result<Option<Value>, ProviderError> {
        let place = Place::parse(&resource.remote_id)?;
        let Some(metadata) = head(aws, &place).await? else { return Ok(None) };
        Ok(Some(observed(&place, &metadata, &place.bucket_address(resource, known))))
    }

    /// The key holds the digest, which a search is not given: every binary of that name is looked at.
    async fn find(
        &self,
        aws: &Aws,
        address: &Address,
        token: &Token,
        known: &Known,
    ) -> Result<Option<RemoteId>, ProviderError> {
        let Some(bucket) = known.id(&Address::new(kind::BUCKET, "main")) else { return Ok(None) };
        let call = aws.look.s3.list_objects_v2().bucket(&bucket.0).prefix(FOLDER);
        let mut pages = call.into_paginator().send();
        while let Some(page) = pages.next().await {
            let Some(page) = found(format!("looking for {address}"), page)? else { return Ok(None) };
            for key in named(&page, address.name()) {
                if let Some(id) = object::made_by(aws, &Place::new(&bucket.0, key), token).await? {
                    return Ok(Some(id));
                }
            }
        }
        Ok(None)
    }

    async fn create(&self, aws: &Aws, making: &Making<'_>) -> Result<RemoteId, ProviderError> {
        let inputs: ArtifactInputs = making.inputs()?;
        let place = Place::new(making.id(&inputs.bucket)?, key(&making.desired.address, &inputs.sha256));
        upload(aws, &place, object::metadata(making), &making.desired.address, &inputs.sha256).await?;
        Ok(place.id())
    }

    /// Again, if somebody wrote over it.
    async fn update(
        &self,
        aws: &Aws,
        id: &RemoteId,
        desired: &Desired,
        _known: &Known,
    ) -> Result<RemoteId, ProviderError> {
        let inputs: ArtifactInputs = inputs(desired)?;
        let place = Place::parse(id)?;
        let there = head(aws, &place).await?.ok_or_else(|| object::lost(&place))?;
        if there.get(SHA256) != Some(&inputs.sha256) {
            upload(aws, &place, there, &desired.address, &inputs.sha256).await?;
        }
        Ok(id.clone())
    }

    async fn delete(&self, aws: &Aws, resource: &Resource, _known: &Known) -> Result<(), ProviderError> {
        object::remove(aws, resource).await
    }
}

fn key(address: &Address, sha256: &str) -> String {
    format!("{FOLDER}{sha256}/{}", address.name())
}

/// Digest and name of a key.
fn parts(key: &str) -> Option<(&str, &str)> {
    key.strip_prefix(FOLDER)?.split_once('/')
}

fn named<'a>(page: &'a ListObjectsV2Output, name: &'a str) -> impl Iterator<Item = &'a str> {
    let keys = page.contents().iter().filter_map(Object::key);
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
    aws: &Aws,
    place: &Place,
    mut metadata: Metadata,
    address: &Address,
    sha256: &str,
) -> Result<(), ProviderError> {
    let path = aws.handed.binaries.join(address.name());
    let digest: Sha256 = sha256.parse().map_err(|error| ProviderError::permanent(address, error))?;
    check(&path, &digest).await?;
    let body = ByteStream::from_path(&path).await.map_err(|error| ProviderError::permanent(path.display(), error))?;
    metadata.insert(SHA256.to_owned(), sha256.to_owned());
    let call = object::put(aws, place, metadata).checksum_sha256(checksum(&digest)).body(body);
    let unhurried = Config::builder().timeout_config(unhurried());
    call.customize().config_override(unhurried).send().await.map(drop).map_err(failed(place))
}

/// A large body needs longer than a call is usually given; the SDK counts it until the answer begins.
fn unhurried() -> TimeoutConfig {
    TimeoutConfig::builder().connect_timeout(CONNECT).disable_read_timeout().operation_attempt_timeout(UPLOAD).build()
}

/// As S3 writes it.
fn checksum(digest: &Sha256) -> String {
    STANDARD.encode(hex::decode(digest.as_str()).unwrap_or_default())
}

/// What runs is what was planned.
async fn check(path: &Path, wanted: &Sha256) -> Result<(), ProviderError> {
    let (file, what) = (path.to_owned(), path.display().to_string());
    let digest = tokio::task::spawn_blocking(move || digest_file(&file)).await;
    let digest = digest.map_err(|error| ProviderError::permanent(&what, error))?;
    let (digest, _) = digest.map_err(|error| ProviderError::permanent(&what, error))?;
    if digest == *wanted {
        return Ok(());
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
    fn a_binary_lies_under_its_digest() {
        assert_eq!(place().key, format!("artifacts/{DIGEST}/dsserve"));
        assert_eq!(parts(&place().key), Some((DIGEST, "dsserve")));
        let object = |key: &str| Object::builder().key(key).build();
        let page = ListObjectsV2Output::builder().contents(object(&place().key)).contents(object("artifacts/0/dsgate"));
        assert_eq!(named(&page.build(), "dsserve").collect::<Vec<_>>(), [place().key]);
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
        check(file.path(), &DIGEST.parse().unwrap()).await.unwrap();
        std::fs::write(file.path(), "other").unwrap();
        let error = check(file.path(), &DIGEST.parse().unwrap()).await.unwrap_err();
        assert_eq!(error.next(), Some("dsctl plan"));
        assert!(error.to_string().contains("changed since the plan"), "{error}");
    }

    #[test]
    fn s3_takes_the_digest_in_base64() {
        assert_eq!(checksum(&DIGEST.parse().unwrap()), "n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=");
    }
}
