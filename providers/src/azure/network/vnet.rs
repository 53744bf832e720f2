//! `network.main`: a virtual network with its one subnet, which are made by one call: a call without the subnets would
//! remove them.

use async_trait::async_trait;
use engine::graph::Desired;
use engine::provider::{Known, ProviderError};
use engine::state::{RemoteId, Resource};
use serde_json::{Value, json};

use super::{group_named, list, text};
use crate::azure::auth::{Azure, Making, id as id_of, inputs, named_at};
use crate::azure::id::SUBNET;
use crate::azure::kind::NetworkInputs;
use crate::azure::resource::Calls;
use crate::azure::thing::{living, make, mend, with_oddities};

const RANGES: &str = "/properties/addressSpace/addressPrefixes";
const SUBNETS: &str = "/properties/subnets";
const PEERINGS: &str = "/properties/virtualNetworkPeerings";
/// So that the storage accounts of the region are reached without the internet.
const STORAGE: &str = "Microsoft.Storage";

#[derive(Debug)]
pub struct Network;

#[async_trait]
impl Calls for Network {
    async fn read(&self, azure: &Azure, resource: &Resource, known: &Known) -> Result<Option<Value>, ProviderError> {
        let id = &resource.remote_id.0;
        let Some(seen) = living(azure, id).await? else { return Ok(None) };
        Ok(Some(observed(&seen, group_named(known, id)?, known)))
    }

    async fn create(&self, azure: &Azure, making: &Making<'_>) -> Result<RemoteId, ProviderError> {
        let body = body(making.desired, making.known)?;
        make(azure, making, body).await
    }

    async fn update(
        &self,
        azure: &Azure,
        id: &RemoteId,
        desired: &Desired,
        known: &Known,
    ) -> Result<RemoteId, ProviderError> {
        mend(azure, id, desired, known, body(desired, known)?).await.map(|_| id.clone())
    }
}

/// The subnet that machines are in.
pub fn subnet(network: &str) -> String {
    format!("{network}/subnets/{SUBNET}")
}

fn body(desired: &Desired, known: &Known) -> Result<Value, ProviderError> {
    let inputs: NetworkInputs = inputs(desired)?;
    let security_group = id_of(desired, known, &inputs.security_group)?;
    let nat_gateway = inputs.nat_gateway.as_ref().map(|address| id_of(desired, known, address)).transpose()?;
    let mut subnet = json!({
        "addressPrefix": inputs.range,
        "networkSecurityGroup": {"id": security_group},
        "defaultOutboundAccess": false,
        "serviceEndpoints": [{"service": STORAGE}],
    });
    if let Some(id) = nat_gateway {
        subnet["natGateway"] = json!({"id": id});
    }
    Ok(json!({ "properties": {
        "addressSpace": {"addressPrefixes": [inputs.range]},
        "subnets": [{"name": SUBNET, "properties": subnet}],
        "virtualNetworkPeerings": [],
    }}))
}

/// In the shape of [`NetworkInputs`]; what opens it to others shows.
fn observed(seen: &Value, group: String, known: &Known) -> Value {
    let none = Value::Null;
    let subnets = list(seen, SUBNETS);
    let own = subnets.iter().find(|subnet| text(subnet, "/name").eq_ignore_ascii_case(SUBNET)).unwrap_or(&none);
    let mut shown = json!({
        "group": group,
        "range": text(seen, &format!("{RANGES}/0")),
        "security_group": named_at(known, own, "/properties/networkSecurityGroup/id"),
        "nat_gateway": named_at(known, own, "/properties/natGateway/id"),
    });
    for (key, odd) in oddities(seen, own) {
        shown[key] = odd;
    }
    with_oddities(shown, seen)
}

fn oddities(seen: &Value, own: &Value) -> Vec<(&'static str, Value)> {
    let names = |pointer: &str| -> Vec<&str> { list(seen, pointer).iter().map(|it| text(it, "/name")).collect() };
    let others: Vec<&str> = names(SUBNETS).into_iter().filter(|name| !name.eq_ignore_ascii_case(SUBNET)).collect();
    let services = list(own, "/properties/serviceEndpoints");
    let reaches_storage = services.iter().any(|it| text(it, "/service").eq_ignore_ascii_case(STORAGE));
    let further_ranges = list(seen, RANGES).get(1..).unwrap_or_default();
    let odd = [
        ("further_ranges", json!(further_ranges), !further_ranges.is_empty()),
        ("further_subnets", json!(others), !others.is_empty()),
        ("peerings", json!(names(PEERINGS)), !names(PEERINGS).is_empty()),
        (
            "default_outbound_access",
            json!(true),
            own.pointer("/properties/defaultOutboundAccess") != Some(&json!(false)),
        ),
        ("storage_endpoint", json!("off"), !reaches_storage),
    ];
    odd.into_iter().filter(|(.., is_odd)| *is_odd).map(|(key, odd, _)| (key, odd)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use engine::graph::Address;
    use engine::state::State;

    use super::*;
    use crate::cloud_graph::resource;

    const GROUP: &str = "/subscriptions/s/resourceGroups/g";

    fn known() -> Known {
        let id = |address: &str, own: &str| {
            let id = RemoteId(format!("{GROUP}/providers/Microsoft.Network/{own}"));
            (Address::parse(address).unwrap(), Resource::unread(id))
        };
        let resources: BTreeMap<Address, Resource> =
            [id("security-group.machine", "networkSecurityGroups/machine"), id("nat-gateway.main", "natGateways/main")]
                .into();
        let deployment = "default".parse().unwrap();
        Known::of(&State::of(deployment, "l".to_owned(), resources))
    }

    fn made(nat_gateway: Option<&str>) -> (NetworkInputs, Value) {
        let inputs = NetworkInputs {
            group: "group.main".to_owned(),
            range: "10.77.0.0/16".to_owned(),
            security_group: "security-group.machine".to_owned(),
            nat_gateway: nat_gateway.map(str::to_owned),
        };
        let mut seen = body(&resource("network", "main", &inputs, "").unwrap(), &known()).unwrap();
        seen["tags"] = json!({"dsctl-token": "x", "dsctl-address": "x", "dsctl-lineage": "x", "dsctl-deployment": "x"});
        (inputs, seen)
    }

    fn shown(seen: &Value) -> Value {
        observed(seen, "group.main".to_owned(), &known())
    }

    #[test]
    fn a_network_as_it_is_made_shows_its_inputs_only() {
        for nat_gateway in [None, Some("nat-gateway.main")] {
            let (inputs, seen) = made(nat_gateway);
            assert_eq!(shown(&seen), serde_json::to_value(inputs).unwrap());
        }
    }

    #[test]
    fn what_opens_it_shows() {
        let (_, mut seen) = made(None);
        seen["properties"]["virtualNetworkPeerings"] = json!([{"name": "to-hub"}]);
        seen["properties"]["subnets"][0]["properties"]["defaultOutboundAccess"] = json!(true);
        seen["properties"]["subnets"][0]["properties"]["networkSecurityGroup"] = Value::Null;
        seen["properties"]["subnets"].as_array_mut().unwrap().push(json!({"name": "AzureBastionSubnet"}));
        let shown = shown(&seen);
        assert_eq!(shown["peerings"], json!(["to-hub"]));
        assert_eq!(shown["further_subnets"], json!(["AzureBastionSubnet"]));
        assert_eq!((&shown["default_outbound_access"], &shown["security_group"]), (&json!(true), &Value::Null));
    }
}
