//! `elastic-ip.nat`: the address that the deployment's machines are seen with from outside. Its id is the allocation's.

use async_trait::async_trait;
use aws_sdk_ec2::types::{Address, DomainType, ResourceType};
use engine::graph::Desired;
use engine::provider::{Known, ProviderError};
use engine::state::{RemoteId, Resource};
use serde_json::{Value, json};

use super::{SHOW_LIMIT, made, shown, vanished};
use crate::aws::error::{failed, found, gone};
use crate::aws::resource::Calls;
use crate::aws::session::{Aws, Making};

#[derive(Debug)]
pub struct ElasticIp;

#[async_trait]
impl Calls for ElasticIp {
    async fn read(&self, aws: &Aws, resource: &Resource, _known: &Known) -> Result<Option<Value>, ProviderError> {
        Ok(described(aws, &resource.remote_id.0).await?.map(|_| json!({})))
    }

    async fn create(&self, aws: &Aws, making: &Making<'_>) -> Result<RemoteId, ProviderError> {
        let address = &making.desired.address;
        let tags = aws.mark(making).await?.specification(ResourceType::ElasticIp);
        let call = aws.act.ec2.allocate_address().domain(DomainType::Vpc).tag_specifications(tags);
        let answer = call.send().await.map_err(failed(address))?;
        made(address, answer.allocation_id())
    }

    /// There is nothing to change.
    async fn update(
        &self,
        aws: &Aws,
        id: &RemoteId,
        desired: &Desired,
        _known: &Known,
    ) -> Result<RemoteId, ProviderError> {
        shown(&desired.address, || described(aws, &id.0)).await?;
        Ok(id.clone())
    }

    async fn delete(&self, aws: &Aws, resource: &Resource, _known: &Known) -> Result<(), ProviderError> {
        let id = &resource.remote_id.0;
        gone(format!("releasing {id}"), aws.act.ec2.release_address().allocation_id(id).send().await)?;
        vanished(id, SHOW_LIMIT, || described(aws, id)).await
    }
}

async fn described(aws: &Aws, id: &str) -> Result<Option<Address>, ProviderError> {
    let answer = found(format!("looking at {id}"), aws.look.ec2.describe_addresses().allocation_ids(id).send().await)?;
    Ok(answer.and_then(|answer| answer.addresses().first().cloned()))
}
