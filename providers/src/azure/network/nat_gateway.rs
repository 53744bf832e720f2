//! `nat-gateway.main`: the way out for a machine without a public address.

use async_trait::async_trait;
use engine::graph::Desired;
use engine::provider::{Known, ProviderError};
use engine::state::{RemoteId, Resource};
use serde_json::{Value, json};

use super::{group_named, list, text};
use crate::azure::auth::{Azure, Making, id as id_of, inputs, named, named_at};
use crate::azure::kind::NatGatewayInputs;
use crate::azure::resource::Calls;
use crate::azure::thing::{living, make, mend, with_oddities};

const ADDRESSES: &str = "/properties/publicIpAddresses";
const IDLE_MINUTES: u32 = 4;

#[derive(Debug)]
pub struct NatGateway;

#[async_trait]
impl Calls for NatGateway {
    async fn read(&self, azure: &Azure, resource: &Resource, known: &Known) -> Result<Option<Value>, ProviderError> {
        let id = &resource.remote_id.0;
        let Some(seen) = living(azure, id).await? else { return Ok(None) };
        Ok(Some(observed(&seen, group_named(known, id)?, known)))
    }

    async fn create(&self, azure: &Azure, making: &Making<'_>) -> Result<RemoteId, ProviderError> {
        let inputs: NatGatewayInputs = making.inputs()?;
        make(azure, making, body(making.id(&inputs.public_address)?)).await
    }

    async fn update(
        &self,
        azure: &Azure,
        id: &RemoteId,
        desired: &Desired,
        known: &Known,
    ) -> Result<RemoteId, ProviderError> {
        let inputs: NatGatewayInputs = inputs(desired)?;
        let body = body(id_of(desired, known, &inputs.public_address)?);
        mend(azure, id, desired, known, body).await.map(|_| id.clone())
    }
}

fn body(address: &str) -> Value {
    json!({
        "sku": {"name": "Standard"},
        "properties": {"idleTimeoutInMinutes": IDLE_MINUTES, "publicIpAddresses": [{"id": address}]},
    })
}

/// In the shape of [`NatGatewayInputs`]; further addresses show.
fn observed(seen: &Value, group: String, known: &Known) -> Value {
    let address = named_at(known, seen, &format!("{ADDRESSES}/0/id"));
    let mut shown = json!({ "group": group, "public_address": address });
    let all = list(seen, ADDRESSES);
    if all.len() > 1 {
        shown["public_addresses"] = all.iter().map(|it| named(known, text(it, "/id"))).collect();
    }
    with_oddities(shown, seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_seen_with_its_address_and_further_ones_show() {
        let one = body("/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/publicIPAddresses/nat");
        let shown = observed(&one, "group.main".to_owned(), &Known::empty("l"));
        assert!(shown["public_address"].as_str().unwrap().ends_with("publicIPAddresses/nat"));
        assert!(shown.get("public_addresses").is_none());
        let two = json!({"properties": {"publicIpAddresses": [{"id": "/a"}, {"id": "/b"}]}});
        assert_eq!(observed(&two, String::new(), &Known::empty("l"))["public_addresses"], json!(["/a", "/b"]));
    }
}
