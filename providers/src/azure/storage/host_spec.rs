//! `host-spec.main`: `host/main/desired.json`, written whole, its generation one up each time, and only over what was read.

use async_trait::async_trait;
use engine::graph::{Address, Desired};
use engine::provider::{Known, ProviderError, Token};
use engine::state::{RemoteId, Resource};
use serde_json::Value;
use spec::host::HostSpec as Spec;

use super::object;
use crate::azure::auth::{Azure, Making, inputs};
use crate::azure::blobs::{Head, Metadata, Over, Place, Write};
use crate::azure::kind::HostSpecInputs;
use crate::azure::resource::Calls;
use crate::host_spec::{following, is_wanted, key, observed};

#[derive(Debug)]
pub struct HostSpec;

#[async_trait]
impl Calls for HostSpec {
    async fn read(&self, azure: &Azure, resource: &Resource, known: &Known) -> Result<Option<Value>, ProviderError> {
        let place = object::parse(&resource.remote_id)?;
        let Some(stored) = load(azure, &place, known).await? else { return Ok(None) };
        let seen = observed(&stored.spec, &object::bucket_address(&place, resource, known));
        seen.map(Some).map_err(|error| ProviderError::permanent(&place, error))
    }

    async fn find(
        &self,
        azure: &Azure,
        address: &Address,
        token: &Token,
        known: &Known,
    ) -> Result<Option<RemoteId>, ProviderError> {
        match object::known_place(known, key(address)?)? {
            Some(place) => object::made_by(azure, &place, token, known).await,
            None => Ok(None),
        }
    }

    /// Over what an earlier intent left, if it left something: a host may follow it already.
    async fn create(&self, azure: &Azure, making: &Making<'_>) -> Result<RemoteId, ProviderError> {
        let inputs: HostSpecInputs = making.inputs()?;
        let place = object::place(making.id(&inputs.bucket)?, key(&making.desired.address)?)?;
        let stored = load(azure, &place, making.known).await?;
        store(azure, &place, &inputs, stored.as_ref(), &object::metadata(making)).await?;
        Ok(object::id(&place))
    }

    async fn update(
        &self,
        azure: &Azure,
        id: &RemoteId,
        desired: &Desired,
        known: &Known,
    ) -> Result<RemoteId, ProviderError> {
        let inputs: HostSpecInputs = inputs(desired)?;
        let place = object::parse(id)?;
        let stored = load(azure, &place, known).await?.ok_or_else(|| object::lost(&place))?;
        if !is_wanted(&stored.spec, &inputs.host, inputs.ask.as_ref())
            .map_err(|error| ProviderError::permanent(&place, error))?
        {
            store(azure, &place, &inputs, Some(&stored), &stored.head.metadata).await?;
        }
        Ok(id.clone())
    }

    async fn delete(&self, azure: &Azure, resource: &Resource, known: &Known) -> Result<(), ProviderError> {
        object::remove(azure, resource, known).await
    }
}

/// What lies in the container.
struct Stored {
    spec: Spec,
    head: Head,
}

async fn load(azure: &Azure, place: &Place, known: &Known) -> Result<Option<Stored>, ProviderError> {
    let answer = match azure.blobs.get(place).await {
        Err(error) => object::if_account_lives(azure, place, known, error).await?,
        Ok(answer) => answer,
    };
    let Some((head, bytes)) = answer else { return Ok(None) };
    let spec = serde_json::from_slice(&bytes).map_err(|error| ProviderError::permanent(place, error))?;
    Ok(Some(Stored { spec, head }))
}

/// Only over what was read, so that no action that somebody asks for meanwhile is lost.
async fn store(
    azure: &Azure,
    place: &Place,
    inputs: &HostSpecInputs,
    stored: Option<&Stored>,
    metadata: &Metadata,
) -> Result<(), ProviderError> {
    let bytes = following(&inputs.host, inputs.ask.as_ref(), stored.map(|stored| &stored.spec));
    let bytes = bytes.map_err(|error| ProviderError::permanent(place, error))?;
    let over = stored.map_or(Over::Nothing, |stored| Over::Read(&stored.head.e_tag));
    let length = bytes.len() as u64;
    let write = Write { metadata, over, content_type: "application/json", length, body: bytes.into() };
    azure.blobs.put(place, write).await
}
