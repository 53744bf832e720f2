//! `subnet.private-ZONE`, `subnet.public-ZONE`: a range of the network in one zone.

use async_trait::async_trait;
use aws_sdk_ec2::types::{AttributeBooleanValue, ResourceType, Subnet as Described, SubnetState};
use engine::graph::Desired;
use engine::provider::{Known, ProviderError};
use engine::state::{RemoteId, Resource};
use serde_json::{Value, json};

use super::{SHOW_LIMIT, made, shown, vanished};
use crate::aws::auth::{Aws, Making, named};
use crate::aws::error::{failed, found, gone};
use crate::aws::kind::SubnetInputs;
use crate::aws::resource::Calls;

#[derive(Debug)]
pub struct Subnet;

#[async_trait]
impl Calls for Subnet {
    async fn read(&self, aws: &Aws, resource: &Resource, known: &Known) -> Result<Option<Value>, ProviderError> {
        let subnet = described(aws, &resource.remote_id.0).await?;
        Ok(subnet.map(|subnet| observed(&subnet, known)))
    }

    async fn create(&self, aws: &Aws, making: &Making<'_>) -> Result<RemoteId, ProviderError> {
        let inputs: SubnetInputs = making.inputs()?;
        let address = &making.desired.address;
        let call = aws
            .act
            .ec2
            .create_subnet()
            .vpc_id(making.id(&inputs.network)?)
            .cidr_block(&inputs.range)
            .availability_zone(&inputs.zone)
            .tag_specifications(aws.mark(making).await?.specification(ResourceType::Subnet));
        let answer = call.send().await.map_err(failed(address))?;
        made(address, answer.subnet().and_then(Described::subnet_id))
    }

    async fn update(
        &self,
        aws: &Aws,
        id: &RemoteId,
        desired: &Desired,
        _known: &Known,
    ) -> Result<RemoteId, ProviderError> {
        let subnet = shown(&desired.address, || available(aws, &id.0)).await?;
        if gives_public_addresses(&subnet) {
            let value = AttributeBooleanValue::builder().value(false).build();
            let call = aws.act.ec2.modify_subnet_attribute().subnet_id(&id.0).map_public_ip_on_launch(value);
            call.send().await.map_err(failed(format!("public addresses in {}", desired.address)))?;
        }
        Ok(id.clone())
    }

    async fn delete(&self, aws: &Aws, resource: &Resource, _known: &Known) -> Result<(), ProviderError> {
        let id = &resource.remote_id.0;
        gone(format!("removing {id}"), aws.act.ec2.delete_subnet().subnet_id(id).send().await)?;
        vanished(id, SHOW_LIMIT, || described(aws, id)).await
    }
}

async fn described(aws: &Aws, id: &str) -> Result<Option<Described>, ProviderError> {
    let answer = found(format!("looking at {id}"), aws.look.ec2.describe_subnets().subnet_ids(id).send().await)?;
    Ok(answer.and_then(|answer| answer.subnets().first().cloned()))
}

async fn available(aws: &Aws, id: &str) -> Result<Option<Described>, ProviderError> {
    Ok(described(aws, id).await?.filter(|subnet| subnet.state() == Some(&SubnetState::Available)))
}

fn gives_public_addresses(subnet: &Described) -> bool {
    subnet.map_public_ip_on_launch().unwrap_or_default()
}

/// In the shape of [`SubnetInputs`]. What is put into a subnet says by itself whether it has a public address; one that gives
/// them away is not as we make it.
fn observed(subnet: &Described, known: &Known) -> Value {
    let mut seen = json!({
        "network": subnet.vpc_id().map(|id| named(known, id)),
        "zone": subnet.availability_zone(),
        "range": subnet.cidr_block(),
    });
    if gives_public_addresses(subnet) {
        seen["public_addresses"] = json!(true);
    }
    seen
}
