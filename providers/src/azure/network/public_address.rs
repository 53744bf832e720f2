//! `public-address.nat`: the address that the machine is seen with from outside when it asks the world for something.

use async_trait::async_trait;
use engine::graph::Desired;
use engine::provider::{Known, ProviderError};
use engine::state::{RemoteId, Resource};
use serde_json::{Value, json};

use super::group_named;
use crate::azure::auth::{Azure, Making};
use crate::azure::resource::Calls;
use crate::azure::thing::{living, make, mend, with_oddities};

#[derive(Debug)]
pub struct PublicAddress;

#[async_trait]
impl Calls for PublicAddress {
    async fn read(&self, azure: &Azure, resource: &Resource, known: &Known) -> Result<Option<Value>, ProviderError> {
        let id = &resource.remote_id.0;
        let Some(seen) = living(azure, id).await? else { return Ok(None) };
        Ok(Some(with_oddities(json!({ "group": group_named(known, id)? }), &seen)))
    }

    async fn create(&self, azure: &Azure, making: &Making<'_>) -> Result<RemoteId, ProviderError> {
        make(azure, making, body()).await
    }

    async fn update(
        &self,
        azure: &Azure,
        id: &RemoteId,
        desired: &Desired,
        known: &Known,
    ) -> Result<RemoteId, ProviderError> {
        mend(azure, id, desired, known, body()).await.map(|_| id.clone())
    }
}

/// Without a zone it is in all of them, where a region has any.
fn body() -> Value {
    json!({
        "sku": {"name": "Standard", "tier": "Regional"},
        "properties": {"publicIPAllocationMethod": "Static", "publicIPAddressVersion": "IPv4"},
    })
}
