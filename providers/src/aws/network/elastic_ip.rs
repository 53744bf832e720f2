//! `elastic-ip.nat`: the address that the deployment's machines are seen with from outside. Its id is the allocation's.

use async_trait::async_trait;
use aws_sdk_ec2::config::http::HttpResponse;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ec2::types::{Address, DomainType, ResourceType};
use engine::graph::Desired;
use engine::provider::{ErrorKind, Known, ProviderError};
use engine::state::{RemoteId, Resource};
use serde_json::{Value, json};

use super::{SHOW_LIMIT, made, shown, vanished};
use crate::aws::auth::{Aws, Making};
use crate::aws::error::{failed, found};
use crate::aws::resource::Calls;

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
        released(id, aws.act.ec2.release_address().allocation_id(id).send().await.map(drop))?;
        vanished(id, SHOW_LIMIT, || described(aws, id)).await
    }
}

/// While the interface of a NAT gateway that is gone still holds it, EC2 says that the address is somebody else's, or that the
/// interface can't be found: neither means that it is released.
fn released<E>(id: &str, answer: Result<(), SdkError<E, HttpResponse>>) -> Result<(), ProviderError>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let Err(error) = answer else { return Ok(()) };
    match error.code().unwrap_or_default() {
        "InvalidAllocationID.NotFound" => Ok(()),
        code if code == "AuthFailure" || code.ends_with(".NotFound") => {
            Err(ProviderError::new(ErrorKind::NotYet, format!("releasing {id}"), "something still holds it"))
        }
        _ => Err(failed(format!("releasing {id}"))(error)),
    }
}

async fn described(aws: &Aws, id: &str) -> Result<Option<Address>, ProviderError> {
    let answer = found(format!("looking at {id}"), aws.look.ec2.describe_addresses().allocation_ids(id).send().await)?;
    Ok(answer.and_then(|answer| answer.addresses().first().cloned()))
}
