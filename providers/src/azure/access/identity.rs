//! `identity.machine`: who the machine is to Azure. What it may do is `access.machine`'s.

use async_trait::async_trait;
use engine::graph::Desired;
use engine::provider::{Known, ProviderError};
use engine::state::{RemoteId, Resource};
use serde_json::{Value, json};

use crate::azure::arm::not_yet;
use crate::azure::auth::{Azure, Making};
use crate::azure::network::{group_named, text};
use crate::azure::resource::Calls;
use crate::azure::thing::{living, make, mend, with_oddities};

#[derive(Debug)]
pub struct Identity;

#[async_trait]
impl Calls for Identity {
    async fn read(&self, azure: &Azure, resource: &Resource, known: &Known) -> Result<Option<Value>, ProviderError> {
        let id = &resource.remote_id.0;
        let Some(seen) = living(azure, id).await? else { return Ok(None) };
        Ok(Some(with_oddities(json!({ "group": group_named(known, id)? }), &seen)))
    }

    async fn create(&self, azure: &Azure, making: &Making<'_>) -> Result<RemoteId, ProviderError> {
        make(azure, making, json!({})).await
    }

    async fn update(
        &self,
        azure: &Azure,
        id: &RemoteId,
        desired: &Desired,
        known: &Known,
    ) -> Result<RemoteId, ProviderError> {
        mend(azure, id, desired, known, json!({})).await.map(|_| id.clone())
    }
}

/// The principal that roles are assigned to; none while there is no such identity.
pub async fn principal(azure: &Azure, id: &str) -> Result<Option<String>, ProviderError> {
    let Some(seen) = living(azure, id).await? else { return Ok(None) };
    let principal = text(&seen, "/properties/principalId");
    if principal.is_empty() { Err(not_yet(id, "it has no principal yet")) } else { Ok(Some(principal.to_owned())) }
}
