//! `host-spec.main`: `host/main/desired.json`, written whole, its generation one up each time, and only over what was read.

use async_trait::async_trait;
use engine::graph::{Address, Desired};
use engine::provider::{ErrorKind, Known, ProviderError, Token};
use engine::state::{RemoteId, Resource};
use serde_json::Value;
use spec::host::HostSpec as Spec;

use super::object::{self, Content, Over, Place, head, written};
use crate::gcp::auth::{Gcp, Making, inputs};
use crate::gcp::kind::HostSpecInputs;
use crate::gcp::labels::Labels;
use crate::gcp::resource::Calls;
use crate::host_spec::{following, is_wanted, key, observed};

#[derive(Debug)]
pub struct HostSpec;

#[async_trait]
impl Calls for HostSpec {
    async fn read(&self, gcp: &Gcp, resource: &Resource, known: &Known) -> Result<Option<Value>, ProviderError> {
        let place = Place::parse(&resource.remote_id)?;
        let Some(stored) = load(gcp, &place).await? else { return Ok(None) };
        let seen = observed(&stored.spec, &place.bucket_address(resource, known));
        seen.map(Some).map_err(|error| ProviderError::permanent(&place, error))
    }

    async fn find(
        &self,
        gcp: &Gcp,
        address: &Address,
        token: &Token,
        known: &Known,
    ) -> Result<Option<RemoteId>, ProviderError> {
        match Place::known(known, key(address)?) {
            Some(place) => object::made_by(gcp, &place, token).await,
            None => Ok(None),
        }
    }

    /// Over what an earlier intent left, if it left something: a host may follow it already.
    async fn create(&self, gcp: &Gcp, making: &Making<'_>) -> Result<RemoteId, ProviderError> {
        let inputs: HostSpecInputs = making.inputs()?;
        let place = Place::new(making.id(&inputs.bucket)?, key(&making.desired.address)?);
        let stored = load(gcp, &place).await?;
        store(gcp, &place, &inputs, stored.as_ref(), &object::metadata(gcp, making)).await?;
        Ok(place.id())
    }

    async fn update(
        &self,
        gcp: &Gcp,
        id: &RemoteId,
        desired: &Desired,
        _known: &Known,
    ) -> Result<RemoteId, ProviderError> {
        let inputs: HostSpecInputs = inputs(desired)?;
        let place = Place::parse(id)?;
        let stored = load(gcp, &place).await?.ok_or_else(|| object::lost(&place))?;
        if !is_wanted(&stored.spec, &inputs.host, inputs.ask.as_ref())
            .map_err(|error| ProviderError::permanent(&place, error))?
        {
            store(gcp, &place, &inputs, Some(&stored), &stored.metadata).await?;
        }
        Ok(id.clone())
    }

    async fn delete(&self, gcp: &Gcp, resource: &Resource, _known: &Known) -> Result<(), ProviderError> {
        object::remove(gcp, resource).await
    }
}

/// What lies in the bucket.
struct Stored {
    spec: Spec,
    /// Of Cloud Storage: counts the versions of the object.
    generation: String,
    metadata: Labels,
}

/// Metadata and content are of one version: one that was written over between the two looks is kept, and is the one read.
async fn load(gcp: &Gcp, place: &Place) -> Result<Option<Stored>, ProviderError> {
    let Some(there) = head(gcp, place).await? else { return Ok(None) };
    let Some(answer) = object::content(&gcp.rest, place, Some(&there.generation)).await? else { return Ok(None) };
    let spec = serde_json::from_slice(&answer.body).map_err(|error| ProviderError::permanent(place, error))?;
    Ok(Some(Stored { spec, generation: there.generation, metadata: there.metadata }))
}

/// Only over what was read, so that no action that somebody asks for meanwhile is lost.
async fn store(
    gcp: &Gcp,
    place: &Place,
    inputs: &HostSpecInputs,
    over: Option<&Stored>,
    metadata: &Labels,
) -> Result<(), ProviderError> {
    let bytes = following(&inputs.host, inputs.ask.as_ref(), over.map(|stored| &stored.spec));
    let bytes = bytes.map_err(|error| ProviderError::permanent(place, error))?;
    let over = over.map_or(Over::Nothing, |stored| Over::Generation(stored.generation.clone()));
    // By another command, or by an earlier call of this one that came through late: only a look will tell.
    let unmet = ProviderError::new(ErrorKind::Ambiguous, place, "it changed since it was read");
    written(unmet, object::put(gcp, place, metadata, Content::Json(bytes), &over).await)
}
