//! Public addresses, and the gateways that share one.

use serde_json::{Value, json};

use super::ask::Refusal;
use super::kinds::{GATEWAY, INTERFACE, Put};
use super::networks::subnets_with;
use super::place::key;
use super::world::{Thing, World, merge, reference};

pub(super) fn put(world: &World, put: &Put<'_>) -> Result<Value, Refusal> {
    if put.asked["sku"]["name"] != "Standard" {
        let message = "Basic SKU public IP addresses can no longer be created. Use the Standard SKU.";
        return Err(Refusal::new(400, "BasicSkuPublicIpCannotBeCreated", message));
    }
    if put.property("publicIPAllocationMethod") != "Static" {
        let message = format!("Standard sku publicIp {} must have AllocationMethod set to Static.", put.id);
        return Err(Refusal::new(400, "StandardSkuPublicIPAddressRequiresStaticAllocation", message));
    }
    zones_stay(put)?;
    let mut properties = json!({"publicIPAddressVersion": "IPv4", "idleTimeoutInMinutes": 4, "ipTags": []});
    merge(&mut properties, &put.asked["properties"]);
    let old = put.old.map(|old| &old.body["properties"]);
    properties["ipAddress"] = old.map_or_else(|| free(world).into(), |old| old["ipAddress"].clone());
    properties["resourceGuid"] = old.map_or_else(|| world.uuid().into(), |old| old["resourceGuid"].clone());
    Ok(beside(put, json!({"sku": {"name": "Standard", "tier": "Regional"}, "properties": properties})))
}

/// An address that nobody else was given.
fn free(world: &World) -> String {
    let number = world.number();
    format!("20.{}.{}.{}", number >> 16 & 255, number >> 8 & 255, number & 255)
}

/// Zones stand beside the properties.
fn beside(put: &Put<'_>, mut shown: Value) -> Value {
    if !put.asked["zones"].is_null() {
        shown["zones"] = put.asked["zones"].clone();
    }
    shown
}

fn zones_stay(put: &Put<'_>) -> Result<(), Refusal> {
    let Some(old) = put.old.filter(|old| old.asked["zones"] != put.asked["zones"]) else { return Ok(()) };
    let written = |zones: &Value| if zones.is_null() { "NoZone".to_owned() } else { zones.to_string() };
    let message = format!(
        "Resource {} has an existing availability zone constraint {} and the request has availability zone \
         constraint {}, which do not match. Zones cannot be added/updated/removed once the resource is created. The \
         resource cannot be updated from regional to zonal or vice-versa.",
        old.id,
        written(&old.asked["zones"]),
        written(&put.asked["zones"])
    );
    Err(Refusal::new(400, "ResourceAvailabilityZonesCannotBeModified", message))
}

/// What an address belongs to: the configuration of an interface, or a gateway.
pub(super) fn user_of(world: &World, address: &str) -> Option<String> {
    let is_it = |value: &Value| value["id"].as_str().is_some_and(|id| key(id) == key(address));
    let configurations =
        world.of_kind(INTERFACE).flat_map(|it| it.body["properties"]["ipConfigurations"].as_array()).flatten();
    let configuration = configurations.into_iter().find(|it| is_it(&it["properties"]["publicIPAddress"]));
    let gateway = || {
        let holds_it =
            |it: &&Thing| it.body["properties"]["publicIpAddresses"].as_array().into_iter().flatten().any(is_it);
        world.of_kind(GATEWAY).find(holds_it).map(|gateway| gateway.id.clone())
    };
    configuration.and_then(|it| it["id"].as_str().map(str::to_owned)).or_else(gateway)
}

pub(super) fn view(world: &World, thing: &Thing) -> Value {
    let mut body = thing.body.clone();
    if let Some(user) = user_of(world, &thing.id) {
        let place = if user.to_ascii_lowercase().contains("/natgateways/") { "natGateway" } else { "ipConfiguration" };
        body["properties"][place] = reference(&user);
    }
    body
}

pub(super) fn may_go(world: &mut World, id: &str) -> Result<(), Refusal> {
    let Some(user) = user_of(world, id) else { return Ok(()) };
    let message = format!(
        "Public IP address {id} can not be deleted since it is still allocated to resource {user}. In order to \
         delete the public IP, disassociate/detach the Public IP address from the resource. To learn how to do this, \
         see aka.ms/deletepublicip."
    );
    Err(Refusal::new(400, "PublicIPAddressCannotBeDeleted", message))
}

/// Whether an address may be given to somebody.
pub(super) fn is_free_for(world: &World, address: &str, user: &str) -> Result<(), Refusal> {
    world.referred(address, user)?;
    match user_of(world, address).filter(|other| key(other) != key(user)) {
        None => Ok(()),
        Some(other) => {
            let message = format!(
                "Resource {user} is referencing public IP address {address} that is already allocated to resource \
                 {other}."
            );
            Err(Refusal::new(400, "PublicIPAddressInUse", message))
        }
    }
}

pub(super) fn put_gateway(world: &World, put: &Put<'_>) -> Result<Value, Refusal> {
    for address in put.property("publicIpAddresses").as_array().into_iter().flatten() {
        is_free_for(world, address["id"].as_str().unwrap_or_default(), put.id)?;
    }
    zones_stay(put)?;
    let mut properties = json!({"idleTimeoutInMinutes": 4});
    merge(&mut properties, &put.asked["properties"]);
    properties["resourceGuid"] =
        put.old.map_or_else(|| world.uuid().into(), |old| old.body["properties"]["resourceGuid"].clone());
    Ok(beside(put, json!({"sku": {"name": "Standard"}, "properties": properties})))
}

pub(super) fn view_gateway(world: &World, thing: &Thing) -> Value {
    let mut body = thing.body.clone();
    let subnets = subnets_with(world, "natGateway", &thing.id);
    if !subnets.is_empty() {
        body["properties"]["subnets"] = subnets.iter().map(|id| reference(id)).collect();
    }
    body
}

pub(super) fn may_gateway_go(world: &mut World, id: &str) -> Result<(), Refusal> {
    let subnets = subnets_with(world, "natGateway", id);
    if subnets.is_empty() {
        return Ok(());
    }
    let message = format!(
        "NAT Gateway {id} is still configured on {} subnets. Remove NAT Gateway from all referenced subnets and then \
         delete NAT Gateway.",
        subnets.len()
    );
    Err(Refusal::new(400, "CannotDeleteNatGatewayAssociatedToSubnet", message))
}
