//! Objects that dsctl itself writes into the bucket: their ids, what their metadata says, how they are removed.

use std::collections::HashMap;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_sdk_s3::types::{MetadataDirective, ServerSideEncryption};
use engine::graph::Address;
use engine::provider::{ErrorKind, Known, ProviderError, Token};
use engine::state::{RemoteId, Resource};
use serde_json::Value;

use super::emptying::{Doomed, remove_versions};
use crate::aws::access::percent_decoded;
use crate::aws::auth::{Aws, Making, named};
use crate::aws::error::{failed, found};
use crate::aws::kind;

/// The token of the intent that made it.
pub const TOKEN: &str = "dsctl-token";
const LINEAGE: &str = "dsctl-lineage";
const ADDRESS: &str = "dsctl-address";

/// Names in lower case, values in ASCII.
pub type Metadata = HashMap<String, String>;

/// Where an object lies: `s3://BUCKET/KEY`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub bucket: String,
    pub key: String,
}

impl Place {
    pub fn new(bucket: &str, key: impl Into<String>) -> Self {
        Self { bucket: bucket.to_owned(), key: key.into() }
    }

    pub fn parse(id: &RemoteId) -> Result<Self, ProviderError> {
        let parts = id.0.strip_prefix("s3://").and_then(|rest| rest.split_once('/'));
        let parts = parts.filter(|(bucket, key)| !bucket.is_empty() && !key.is_empty());
        let (bucket, key) = parts.ok_or_else(|| ProviderError::permanent(&id.0, "it is no s3://BUCKET/KEY"))?;
        Ok(Self::new(bucket, key))
    }

    /// Of an object of the deployment's bucket, while that is known.
    pub fn known(known: &Known, key: impl Into<String>) -> Option<Self> {
        known.id(&Address::new(kind::BUCKET, "main")).map(|bucket| Self::new(&bucket.0, key))
    }

    pub fn id(&self) -> RemoteId {
        RemoteId(self.to_string())
    }

    /// The address that inputs name its bucket by. One that the state has lost is still the recorded one.
    pub fn bucket_address(&self, resource: &Resource, known: &Known) -> Value {
        match (known.address_of(&self.bucket), resource.inputs.get("bucket")) {
            (None, Some(recorded)) => recorded.clone(),
            _ => Value::from(named(known, &self.bucket)),
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "s3://{}/{}", self.bucket, self.key)
    }
}

/// What tags are to other things.
pub fn metadata(making: &Making<'_>) -> Metadata {
    let (address, lineage) = (making.desired.address.to_string(), making.known.lineage.clone());
    let told = [(TOKEN, making.token.0.clone()), (LINEAGE, lineage), (ADDRESS, address)];
    told.map(|(key, value)| (key.to_owned(), value)).into()
}

/// Text as a header carries it: what is not a visible character of ASCII is percent-encoded.
pub fn to_header(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'%';
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

pub fn from_header(text: &str) -> String {
    String::from_utf8_lossy(&percent_decoded(text)).into_owned()
}

/// What its metadata says; none if it is not there.
pub async fn head(aws: &Aws, place: &Place) -> Result<Option<Metadata>, ProviderError> {
    let answer = aws.look.s3.head_object().bucket(&place.bucket).key(&place.key).send().await;
    let answer = found(place, answer)?;
    Ok(answer.map(|answer| answer.metadata().cloned().unwrap_or_default()))
}

/// The id of the object there, if this token made it.
pub async fn made_by(aws: &Aws, place: &Place, token: &Token) -> Result<Option<RemoteId>, ProviderError> {
    let metadata = head(aws, place).await?;
    Ok(metadata.filter(|metadata| metadata.get(TOKEN) == Some(&token.0)).map(|_| place.id()))
}

/// A write of an object, encrypted; the body and what it may stand on are the caller's.
pub fn put(aws: &Aws, place: &Place, metadata: Metadata) -> PutObjectFluentBuilder {
    let call = aws.act.s3.put_object().bucket(&place.bucket).key(&place.key);
    call.server_side_encryption(ServerSideEncryption::Aes256).set_metadata(Some(metadata))
}

/// Makes what an earlier intent left there this one's: only what is told of it changes, never the value.
pub async fn adopt(aws: &Aws, place: &Place, metadata: Metadata) -> Result<(), ProviderError> {
    let call = aws
        .act
        .s3
        .copy_object()
        .bucket(&place.bucket)
        .key(&place.key)
        .copy_source(format!("{}/{}", place.bucket, place.key))
        .metadata_directive(MetadataDirective::Replace)
        .set_metadata(Some(metadata))
        .server_side_encryption(ServerSideEncryption::Aes256);
    call.send().await.map(drop).map_err(failed(place))
}

/// What a write with a condition came to; `unmet` is the answer where something else is there.
pub fn written<T, E>(
    place: &Place,
    unmet: ProviderError,
    answer: Result<T, SdkError<E, HttpResponse>>,
) -> Result<(), ProviderError>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match answer {
        Err(error) if matches!(error.code(), Some("PreconditionFailed" | "NoSuchKey")) => Err(unmet),
        // Another write to it was under way; nothing was written.
        Err(error) if error.code() == Some("ConditionalRequestConflict") => {
            Err(ProviderError::new(ErrorKind::NotYet, place, "it is being written by somebody else"))
        }
        answer => answer.map(drop).map_err(failed(place)),
    }
}

/// An update of what somebody removed since it was last looked at.
pub fn lost(place: &Place) -> ProviderError {
    ProviderError::permanent(place, "somebody removed it").with_next("dsctl up (it makes a new one)")
}

/// All versions: what was once a secret is not left behind.
pub async fn remove(aws: &Aws, resource: &Resource) -> Result<(), ProviderError> {
    let place = Place::parse(&resource.remote_id)?;
    remove_versions(aws, &place.bucket, Doomed::Object(&place.key)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_leads_to_its_place_and_back() {
        let place = Place::new("b", "secrets/api-key");
        assert_eq!(place.id().0, "s3://b/secrets/api-key");
        assert_eq!(Place::parse(&place.id()).unwrap(), place);
        for id in ["b/k", "s3://b", "s3://b/", "s3:///k"] {
            assert!(Place::parse(&RemoteId(id.to_owned())).is_err(), "{id}");
        }
    }

    #[test]
    fn a_header_carries_any_text() {
        for text in ["generated", "from /home/jürgen/100% key", ""] {
            assert!(to_header(text).bytes().all(|byte| byte.is_ascii_graphic()), "{text}");
            assert_eq!(from_header(&to_header(text)), text);
        }
    }
}
