//! `host-spec.main`: `host/main/desired.json`, written whole, its generation one up each time, and only over what was read.

use async_trait::async_trait;
use aws_sdk_s3::primitives::ByteStream;
use engine::graph::{Address, Desired};
use engine::provider::{ErrorKind, Known, ProviderError, Token};
use engine::state::{RemoteId, Resource};
use serde_json::Value;
use spec::host::HostSpec as Spec;

use super::object::{self, Metadata, Place, written};
use crate::aws::auth::{Aws, Making, inputs};
use crate::aws::error::found;
use crate::aws::kind::HostSpecInputs;
use crate::aws::resource::Calls;
use crate::host_spec::{following, is_wanted, key, observed};

#[derive(Debug)]
pub struct HostSpec;

#[async_trait]
impl Calls for HostSpec {
    async fn read(&self, aws: &Aws, resource: &Resource, known: &Known) -> Result<Option<Value>, ProviderError> {
        let place = Place::parse(&resource.remote_id)?;
        let Some(stored) = load(aws, &place).await? else { return Ok(None) };
        let seen = observed(&stored.spec, &place.bucket_address(resource, known));
        seen.map(Some).map_err(|error| ProviderError::permanent(&place, error))
    }

    async fn find(
        &self,
        aws: &Aws,
        address: &Address,
        token: &Token,
        known: &Known,
    ) -> Result<Option<RemoteId>, ProviderError> {
        match Place::known(known, key(address)?) {
            Some(place) => object::made_by(aws, &place, token).await,
            None => Ok(None),
        }
    }

    /// Over what an earlier intent left, if it left something: a host may follow it already.
    async fn create(&self, aws: &Aws, making: &Making<'_>) -> Result<RemoteId, ProviderError> {
        let inputs: HostSpecInputs = making.inputs()?;
        let place = Place::new(making.id(&inputs.bucket)?, key(&making.desired.address)?);
        let stored = load(aws, &place).await?;
        store(aws, &place, &inputs, stored.as_ref(), object::metadata(making)).await?;
        Ok(place.id())
    }

    async fn update(
        &self,
        aws: &Aws,
        id: &RemoteId,
        desired: &Desired,
        _known: &Known,
    ) -> Result<RemoteId, ProviderError> {
        let inputs: HostSpecInputs = inputs(desired)?;
        let place = Place::parse(id)?;
        let stored = load(aws, &place).await?.ok_or_else(|| object::lost(&place))?;
        if !is_wanted(&stored.spec, &inputs.host, inputs.ask.as_ref())
            .map_err(|error| ProviderError::permanent(&place, error))?
        {
            store(aws, &place, &inputs, Some(&stored), stored.metadata.clone()).await?;
        }
        Ok(id.clone())
    }

    async fn delete(&self, aws: &Aws, resource: &Resource, _known: &Known) -> Result<(), ProviderError> {
        object::remove(aws, resource).await
    }
}

/// What lies in the bucket.
struct Stored {
    spec: Spec,
    e_tag: String,
    metadata: Metadata,
}

async fn load(aws: &Aws, place: &Place) -> Result<Option<Stored>, ProviderError> {
    let answer = aws.look.s3.get_object().bucket(&place.bucket).key(&place.key).send().await;
    let Some(answer) = found(place, answer)? else { return Ok(None) };
    let e_tag = answer.e_tag().unwrap_or_default().to_owned();
    let metadata = answer.metadata().cloned().unwrap_or_default();
    // It broke off on its way here.
    let bytes = answer.body.collect().await.map_err(|error| ProviderError::new(ErrorKind::NotYet, place, error))?;
    let spec = serde_json::from_slice(&bytes.into_bytes()).map_err(|error| ProviderError::permanent(place, error))?;
    Ok(Some(Stored { spec, e_tag, metadata }))
}

/// Only over what was read, so that no action that somebody asks for meanwhile is lost.
async fn store(
    aws: &Aws,
    place: &Place,
    inputs: &HostSpecInputs,
    over: Option<&Stored>,
    metadata: Metadata,
) -> Result<(), ProviderError> {
    let bytes = following(&inputs.host, inputs.ask.as_ref(), over.map(|stored| &stored.spec));
    let bytes = bytes.map_err(|error| ProviderError::permanent(place, error))?;
    let call = object::put(aws, place, metadata).content_type("application/json").body(ByteStream::from(bytes));
    let call = match over {
        Some(stored) => call.if_match(&stored.e_tag),
        None => call.if_none_match("*"),
    };
    // By another command, or by an earlier call of this one that came through late: only a look will tell.
    let unmet = ProviderError::new(ErrorKind::Ambiguous, place, "it changed since it was read");
    written(place, unmet, call.send().await)
}
