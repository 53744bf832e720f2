//! `storage.main`: the storage account that the deployment's container is in. Its name is one of the world.
//!
//! Where records are to be kept for longer than the deployment lives, the account outlives it with nothing else in it.

use async_trait::async_trait;
use engine::graph::Desired;
use engine::provider::{Known, ProviderError};
use engine::state::{RemoteId, Resource};
use serde_json::{Value, json};

use super::settings::{self, look};
use crate::azure::auth::{Azure, Making, inputs};
use crate::azure::id::{CONTAINER, name_of};
use crate::azure::kind::StorageInputs;
use crate::azure::network::group_named;
use crate::azure::resource::Calls;
use crate::azure::tags;
use crate::azure::thing::{living, make, wanted_tags};

#[derive(Debug)]
pub struct Account;

#[async_trait]
impl Calls for Account {
    async fn read(&self, azure: &Azure, resource: &Resource, known: &Known) -> Result<Option<Value>, ProviderError> {
        let id = &resource.remote_id.0;
        let Some(account) = living(azure, id).await? else { return Ok(None) };
        let seen = look(azure, id, account, &resource.inputs).await?;
        Ok(Some(seen.observed(group_named(known, id)?)))
    }

    async fn create(&self, azure: &Azure, making: &Making<'_>) -> Result<RemoteId, ProviderError> {
        make(azure, making, settings::made_with()).await
    }

    async fn update(
        &self,
        azure: &Azure,
        id: &RemoteId,
        desired: &Desired,
        known: &Known,
    ) -> Result<RemoteId, ProviderError> {
        let inputs: StorageInputs = inputs(desired)?;
        let account = azure.arm.settled(&desired.address, &id.0).await?;
        let tags = wanted_tags(azure, &tags::of(&account), &desired.address, known).await?;
        let seen = look(azure, &id.0, account, &Value::Null).await?;
        settings::mend(azure, &id.0, desired, &inputs, &seen, &tags).await?;
        Ok(id.clone())
    }

    async fn delete(&self, azure: &Azure, resource: &Resource, _known: &Known) -> Result<(), ProviderError> {
        let id = &resource.remote_id.0;
        let Some(account) = living(azure, id).await? else { return Ok(()) };
        let days = settings::audit_days(azure, id).await?;
        let is_logged = resource.inputs["access_log"] == true;
        match days {
            Some(days) if is_logged || has_container(azure, id).await? => {
                keep(azure, id, &account, days, is_logged).await
            }
            _ => azure.arm.delete(id).await,
        }
    }
}

/// The container was to go before its account: it is there still if it holds records.
async fn has_container(azure: &Azure, id: &str) -> Result<bool, ProviderError> {
    let container = format!("{id}/blobServices/default/containers/{CONTAINER}");
    Ok(azure.arm.get(&container).await?.is_some())
}

/// Leaves the account with its records alone. The tags come last: until then it is found and gone through again.
async fn keep(azure: &Azure, id: &str, account: &Value, days: u32, is_logged: bool) -> Result<(), ProviderError> {
    if is_logged {
        azure.blobs.set_logged(name_of(id), false).await?;
    }
    let tags = tags::kept(&tags::of(account), &azure.deployment, days);
    azure.arm.patch(format!("keeping {}", name_of(id)), id, &json!({ "tags": tags })).await
}
