//! `internet-gateway.main`, attached to the network.

use async_trait::async_trait;
use aws_sdk_ec2::types::{AttachmentStatus, InternetGateway as Described, InternetGatewayAttachment, ResourceType};
use engine::graph::Desired;
use engine::provider::{Known, ProviderError};
use engine::state::{RemoteId, Resource};
use serde_json::{Value, json};

use super::{SHOW_LIMIT, made, shown, vanished};
use crate::aws::auth::{Aws, Making, id as id_of, inputs, named};
use crate::aws::error::{done_or, failed, found, gone};
use crate::aws::kind::InternetGatewayInputs;
use crate::aws::resource::Calls;

/// What detaching says when there is nothing left to detach.
const DETACHED: [&str; 3] = ["Gateway.NotAttached", "InvalidInternetGatewayID.NotFound", "InvalidVpcID.NotFound"];

#[derive(Debug)]
pub struct InternetGateway;

#[async_trait]
impl Calls for InternetGateway {
    async fn read(&self, aws: &Aws, resource: &Resource, known: &Known) -> Result<Option<Value>, ProviderError> {
        let gateway = described(aws, &resource.remote_id.0).await?;
        Ok(gateway.map(|gateway| observed(&gateway, &resource.inputs, known)))
    }

    async fn create(&self, aws: &Aws, making: &Making<'_>) -> Result<RemoteId, ProviderError> {
        let address = &making.desired.address;
        let tags = aws.mark(making).await?.specification(ResourceType::InternetGateway);
        let answer = aws.act.ec2.create_internet_gateway().tag_specifications(tags).send().await;
        let answer = answer.map_err(failed(address))?;
        made(address, answer.internet_gateway().and_then(Described::internet_gateway_id))
    }

    async fn update(
        &self,
        aws: &Aws,
        id: &RemoteId,
        desired: &Desired,
        known: &Known,
    ) -> Result<RemoteId, ProviderError> {
        let inputs: InternetGatewayInputs = inputs(desired)?;
        let network = id_of(desired, known, &inputs.network)?;
        let gateway = shown(&desired.address, || described(aws, &id.0)).await?;
        if network_of(&gateway) != Some(network) {
            attach(aws, &id.0, network, desired).await?;
            shown(&desired.address, || attached(aws, &id.0, network)).await?;
        }
        Ok(id.clone())
    }

    async fn delete(&self, aws: &Aws, resource: &Resource, _known: &Known) -> Result<(), ProviderError> {
        let id = &resource.remote_id.0;
        let Some(gateway) = described(aws, id).await? else { return Ok(()) };
        for network in gateway.attachments().iter().filter_map(InternetGatewayAttachment::vpc_id) {
            let call = aws.act.ec2.detach_internet_gateway().internet_gateway_id(id).vpc_id(network);
            done_or(format!("detaching {id} from {network}"), &DETACHED, call.send().await)?;
        }
        let call = aws.act.ec2.delete_internet_gateway().internet_gateway_id(id);
        gone(format!("removing {id}"), call.send().await)?;
        vanished(id, SHOW_LIMIT, || described(aws, id)).await
    }
}

async fn described(aws: &Aws, id: &str) -> Result<Option<Described>, ProviderError> {
    let answer = aws.look.ec2.describe_internet_gateways().internet_gateway_ids(id).send().await;
    let answer = found(format!("looking at {id}"), answer)?;
    Ok(answer.and_then(|answer| answer.internet_gateways().first().cloned()))
}

async fn attached(aws: &Aws, id: &str, network: &str) -> Result<Option<()>, ProviderError> {
    let gateway = described(aws, id).await?;
    Ok(gateway.filter(|gateway| network_of(gateway) == Some(network)).map(|_| ()))
}

async fn attach(aws: &Aws, id: &str, network: &str, desired: &Desired) -> Result<(), ProviderError> {
    let call = aws.act.ec2.attach_internet_gateway().internet_gateway_id(id).vpc_id(network);
    // What is attached already may not have shown; the look that follows tells whether it is where it should be.
    done_or(format!("attaching {}", desired.address), &["Resource.AlreadyAssociated"], call.send().await)
}

/// The network that it is attached to, or about to be. An attached gateway's state is called `available`.
fn network_of(gateway: &Described) -> Option<&str> {
    let over = [AttachmentStatus::Detached, AttachmentStatus::Detaching];
    let holds = |attachment: &&InternetGatewayAttachment| !attachment.state().is_some_and(|state| over.contains(state));
    gateway.attachments().iter().find(holds)?.vpc_id()
}

/// In the shape of [`InternetGatewayInputs`].
fn observed(gateway: &Described, recorded: &Value, known: &Known) -> Value {
    match network_of(gateway) {
        Some(network) => json!({ "network": named(known, network) }),
        None => json!({ "network": recorded["network"], "attached": false }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gateway(state: &str) -> Described {
        let attachment = InternetGatewayAttachment::builder().vpc_id("vpc-1").state(AttachmentStatus::from(state));
        Described::builder().attachments(attachment.build()).build()
    }

    #[test]
    fn a_detached_gateway_differs_from_what_was_recorded() {
        let (known, recorded) = (Known::empty("l"), json!({ "network": "vpc-1" }));
        assert_eq!(observed(&gateway("available"), &recorded, &known), recorded);
        let detached = json!({ "network": "vpc-1", "attached": false });
        assert_eq!(observed(&gateway("detaching"), &recorded, &known), detached);
        assert_eq!(observed(&Described::builder().build(), &recorded, &known), detached);
    }
}
