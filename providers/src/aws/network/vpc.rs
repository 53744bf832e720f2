//! `network.main`: a VPC in which names are resolved and given, as private endpoints need it.

use async_trait::async_trait;
use aws_sdk_ec2::types::{AttributeBooleanValue, ResourceType, Vpc, VpcAttributeName, VpcState};
use engine::graph::Desired;
use engine::provider::{Known, ProviderError};
use engine::state::{RemoteId, Resource};
use serde_json::{Value, json};

use super::{SHOW_LIMIT, made, shown, vanished};
use crate::aws::auth::{Aws, Making};
use crate::aws::error::{failed, found, gone};
use crate::aws::kind::NetworkInputs;
use crate::aws::resource::Calls;

/// In this order: AWS gives names only where it resolves them.
const DNS: [VpcAttributeName; 2] = [VpcAttributeName::EnableDnsSupport, VpcAttributeName::EnableDnsHostnames];

#[derive(Debug)]
pub struct Network;

#[async_trait]
impl Calls for Network {
    async fn read(&self, aws: &Aws, resource: &Resource, _known: &Known) -> Result<Option<Value>, ProviderError> {
        let id = &resource.remote_id.0;
        let Some(network) = living(aws, id).await? else { return Ok(None) };
        let mut seen =
            json!({ "account": aws.identity().await?.account, "region": aws.region, "range": network.cidr_block() });
        for attribute in &DNS {
            if !is_on(aws, id, attribute).await? {
                seen["dns_names"] = json!(false);
            }
        }
        Ok(Some(seen))
    }

    async fn create(&self, aws: &Aws, making: &Making<'_>) -> Result<RemoteId, ProviderError> {
        let inputs: NetworkInputs = making.inputs()?;
        let address = &making.desired.address;
        let tags = aws.mark(making).await?.specification(ResourceType::Vpc);
        let call = aws.act.ec2.create_vpc().cidr_block(&inputs.range).tag_specifications(tags);
        let answer = call.send().await.map_err(failed(address))?;
        made(address, answer.vpc().and_then(Vpc::vpc_id))
    }

    async fn update(
        &self,
        aws: &Aws,
        id: &RemoteId,
        desired: &Desired,
        _known: &Known,
    ) -> Result<RemoteId, ProviderError> {
        shown(&desired.address, || available(aws, &id.0)).await?;
        for attribute in &DNS {
            if !is_on(aws, &id.0, attribute).await? {
                turn_on(aws, &id.0, attribute, desired).await?;
            }
        }
        Ok(id.clone())
    }

    async fn delete(&self, aws: &Aws, resource: &Resource, _known: &Known) -> Result<(), ProviderError> {
        let id = &resource.remote_id.0;
        gone(format!("removing {id}"), aws.act.ec2.delete_vpc().vpc_id(id).send().await)?;
        vanished(id, SHOW_LIMIT, || described(aws, id)).await
    }
}

async fn described(aws: &Aws, id: &str) -> Result<Option<Vpc>, ProviderError> {
    let answer = found(format!("looking at {id}"), aws.look.ec2.describe_vpcs().vpc_ids(id).send().await)?;
    Ok(answer.and_then(|answer| answer.vpcs().first().cloned()))
}

async fn living(aws: &Aws, id: &str) -> Result<Option<Vpc>, ProviderError> {
    Ok(described(aws, id).await?.filter(|network| network.state() != Some(&VpcState::Deleting)))
}

async fn available(aws: &Aws, id: &str) -> Result<Option<Vpc>, ProviderError> {
    Ok(described(aws, id).await?.filter(|network| network.state() == Some(&VpcState::Available)))
}

/// The answer holds the one attribute that was asked for.
async fn is_on(aws: &Aws, id: &str, attribute: &VpcAttributeName) -> Result<bool, ProviderError> {
    let call = aws.look.ec2.describe_vpc_attribute().vpc_id(id).attribute(attribute.clone());
    let answer = found(format!("looking at the DNS names of {id}"), call.send().await)?;
    let value = answer.as_ref().and_then(|answer| answer.enable_dns_support().or(answer.enable_dns_hostnames()));
    Ok(value.and_then(AttributeBooleanValue::value).unwrap_or_default())
}

/// One attribute a call: AWS takes no more.
async fn turn_on(aws: &Aws, id: &str, attribute: &VpcAttributeName, desired: &Desired) -> Result<(), ProviderError> {
    let on = AttributeBooleanValue::builder().value(true).build();
    let call = aws.act.ec2.modify_vpc_attribute().vpc_id(id);
    let call = if *attribute == VpcAttributeName::EnableDnsSupport {
        call.enable_dns_support(on)
    } else {
        call.enable_dns_hostnames(on)
    };
    call.send().await.map(|_| ()).map_err(failed(format!("DNS names of {}", desired.address)))
}
