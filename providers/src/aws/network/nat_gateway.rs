//! `nat-gateway.main`: the way out for machines without a public address.

use async_trait::async_trait;
use aws_sdk_ec2::types::{ConnectivityType, NatGateway as Described, NatGatewayAddress, NatGatewayState, ResourceType};
use engine::graph::Desired;
use engine::provider::{ErrorKind, Known, ProviderError};
use engine::state::{RemoteId, Resource};
use serde_json::{Value, json};

use super::{BUILD_LIMIT, made, vanished};
use crate::aws::auth::{Aws, Making, named};
use crate::aws::error::{failed, found, gone};
use crate::aws::kind::NatGatewayInputs;
use crate::aws::resource::Calls;
use crate::wait::Pauses;

#[derive(Debug)]
pub struct NatGateway;

#[async_trait]
impl Calls for NatGateway {
    async fn read(&self, aws: &Aws, resource: &Resource, known: &Known) -> Result<Option<Value>, ProviderError> {
        let over = [NatGatewayState::Deleting, NatGatewayState::Deleted, NatGatewayState::Failed];
        let gateway = described(aws, &resource.remote_id.0).await?;
        let living = gateway.filter(|gateway| !over.contains(&state(gateway)));
        Ok(living.map(|gateway| observed(&gateway, known)))
    }

    async fn create(&self, aws: &Aws, making: &Making<'_>) -> Result<RemoteId, ProviderError> {
        let inputs: NatGatewayInputs = making.inputs()?;
        let address = &making.desired.address;
        let call = aws
            .act
            .ec2
            .create_nat_gateway()
            .client_token(&making.token.0)
            .connectivity_type(ConnectivityType::Public)
            .subnet_id(making.id(&inputs.subnet)?)
            .allocation_id(making.id(&inputs.elastic_ip)?)
            .tag_specifications(aws.mark(making).await?.specification(ResourceType::Natgateway));
        let answer = call.send().await.map_err(failed(address))?;
        made(address, answer.nat_gateway().and_then(Described::nat_gateway_id))
    }

    /// Nothing of it changes while it lives: another subnet or address needs another gateway.
    async fn update(
        &self,
        aws: &Aws,
        id: &RemoteId,
        desired: &Desired,
        _known: &Known,
    ) -> Result<RemoteId, ProviderError> {
        wait_until_available(aws, &id.0, desired).await?;
        Ok(id.clone())
    }

    async fn delete(&self, aws: &Aws, resource: &Resource, _known: &Known) -> Result<(), ProviderError> {
        let id = &resource.remote_id.0;
        if standing(aws, id).await?.is_none() {
            return Ok(());
        }
        gone(format!("removing {id}"), aws.act.ec2.delete_nat_gateway().nat_gateway_id(id).send().await)?;
        // Until then it holds its address and its subnet.
        vanished(id, BUILD_LIMIT, || standing(aws, id)).await
    }
}

async fn described(aws: &Aws, id: &str) -> Result<Option<Described>, ProviderError> {
    let answer = aws.look.ec2.describe_nat_gateways().nat_gateway_ids(id).send().await;
    let answer = found(format!("looking at {id}"), answer)?;
    Ok(answer.and_then(|answer| answer.nat_gateways().first().cloned()))
}

/// The gateway while it holds on to anything. AWS shows one that is gone for an hour, and clears one that failed by itself.
async fn standing(aws: &Aws, id: &str) -> Result<Option<Described>, ProviderError> {
    let over = [NatGatewayState::Deleted, NatGatewayState::Failed];
    Ok(described(aws, id).await?.filter(|gateway| !over.contains(&state(gateway))))
}

fn state(gateway: &Described) -> NatGatewayState {
    gateway.state().cloned().unwrap_or(NatGatewayState::Pending)
}

/// In the shape of [`NatGatewayInputs`].
fn observed(gateway: &Described, known: &Known) -> Value {
    let is_first = |address: &&NatGatewayAddress| address.is_primary() != Some(false);
    let address = gateway.nat_gateway_addresses().iter().find(is_first).and_then(NatGatewayAddress::allocation_id);
    json!({
        "subnet": gateway.subnet_id().map(|id| named(known, id)),
        "elastic_ip": address.map(|id| named(known, id)),
    })
}

async fn wait_until_available(aws: &Aws, id: &str, desired: &Desired) -> Result<(), ProviderError> {
    let mut pauses = Pauses::until(BUILD_LIMIT);
    loop {
        // Not seen yet: what was made a moment ago.
        if let Some(gateway) = described(aws, id).await? {
            match state(&gateway) {
                NatGatewayState::Available => return Ok(()),
                NatGatewayState::Failed | NatGatewayState::Deleting | NatGatewayState::Deleted => {
                    return Err(ended(&gateway, desired));
                }
                _ => {}
            }
        }
        pauses.next(format!("{} is not available", desired.address)).await?;
    }
}

/// The token leads to this gateway and no other.
fn ended(gateway: &Described, desired: &Desired) -> ProviderError {
    let code = gateway.failure_code().unwrap_or("no reason given");
    let message = gateway.failure_message().unwrap_or_default();
    let message = format!("the gateway is {}: {code} {message}", state(gateway));
    ProviderError::new(ErrorKind::TokenSpent, &desired.address, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_seen_with_its_first_address() {
        let address =
            |id: &str, is_primary| NatGatewayAddress::builder().allocation_id(id).is_primary(is_primary).build();
        let gateway = Described::builder()
            .subnet_id("subnet-1")
            .nat_gateway_addresses(address("eipalloc-2", false))
            .nat_gateway_addresses(address("eipalloc-1", true));
        let seen = observed(&gateway.build(), &Known::empty("l"));
        assert_eq!(seen, json!({ "subnet": "subnet-1", "elastic_ip": "eipalloc-1" }));
    }
}
