//! Network interfaces: made by themselves, or with their machine.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use super::addresses::is_free_for;
use super::ask::Refusal;
use super::kinds::{INTERFACE, MACHINE, Put};
use super::networks::{self, subnet};
use super::place::key;
use super::world::{Thing, World, merge, reference};

/// Azure keeps the first four addresses of a subnet for itself.
const FIRST_HOST: u32 = 4;

pub(super) fn put(world: &World, put: &Put<'_>) -> Result<Value, Refusal> {
    let asked = put.property("ipConfigurations").as_array().cloned().unwrap_or_default();
    if asked.is_empty() {
        let message = format!("Network interface {} must have one or more IP configurations.", put.id);
        return Err(Refusal::new(400, "NetworkInterfaceMustHaveOneOrMoreIpConfigurations", message));
    }
    if let Some(group) = put.property("networkSecurityGroup")["id"].as_str() {
        world.referred(group, put.id)?;
    }
    let configurations = asked.iter().map(|asked| configuration(world, put, asked)).collect::<Result<Vec<_>, _>>()?;
    let old = put.old.map(|old| &old.body["properties"]);
    let mut properties = json!({
        "enableAcceleratedNetworking": false, "enableIPForwarding": false, "nicType": "Standard", "tapConfigurations": [],
        "dnsSettings": {"dnsServers": [], "appliedDnsServers": []}, "hostedWorkloads": [],
    });
    merge(&mut properties, &put.asked["properties"]);
    properties["ipConfigurations"] = json!(configurations);
    properties["resourceGuid"] = old.map_or_else(|| world.uuid().into(), |old| old["resourceGuid"].clone());
    properties["macAddress"] = old.map_or_else(|| hardware_address(world).into(), |old| old["macAddress"].clone());
    Ok(json!({ "properties": properties }))
}

fn hardware_address(world: &World) -> String {
    let number = world.number();
    format!("00-0D-3A-{:02X}-{:02X}-{:02X}", number >> 16 & 255, number >> 8 & 255, number & 255)
}

fn configuration(world: &World, put: &Put<'_>, asked: &Value) -> Result<Value, Refusal> {
    let name = asked["name"].as_str().unwrap_or_default();
    let id = format!("{}/ipConfigurations/{name}", put.id);
    let address = private_address(world, put, asked, &id)?;
    if let Some(public) = asked["properties"]["publicIPAddress"]["id"].as_str() {
        is_free_for(world, public, &id)?;
    }
    let mut properties =
        json!({"privateIPAllocationMethod": "Dynamic", "privateIPAddressVersion": "IPv4", "primary": true});
    merge(&mut properties, &asked["properties"]);
    merge(&mut properties, &json!({"privateIPAddress": address, "provisioningState": "Succeeded"}));
    Ok(json!({"id": id, "name": name, "etag": world.entity_tag(), "properties": properties,
        "type": "Microsoft.Network/networkInterfaces/ipConfigurations"}))
}

/// As before, as asked, or the next free one of the subnet.
fn private_address(world: &World, put: &Put<'_>, asked: &Value, id: &str) -> Result<String, Refusal> {
    let wanted = asked["properties"]["subnet"]["id"].as_str().unwrap_or_default();
    let (network, found) = subnet(world, wanted).ok_or_else(|| {
        let message = format!(
            "Resource {wanted} referenced by resource {id} was not found. Please make sure that the referenced \
             resource exists, and that both resources are in the same region."
        );
        Refusal::new(400, "InvalidResourceReference", message)
    })?;
    world.referred(&network.id, id)?;
    if !network.location().eq_ignore_ascii_case(put.location()) {
        let message = format!("Resource {wanted} referenced by resource {id} is not in the region {}.", put.location());
        return Err(Refusal::new(400, "InvalidResourceReference", message));
    }
    let before = put.old.map(|old| &old.body["properties"]["ipConfigurations"][0]["properties"]["privateIPAddress"]);
    let fixed = asked["properties"]["privateIPAddress"].as_str().or_else(|| before.and_then(Value::as_str));
    Ok(fixed.map_or_else(|| next_address(world, found), str::to_owned))
}

fn next_address(world: &World, subnet: &Value) -> String {
    let text = subnet["properties"]["addressPrefix"].as_str().unwrap_or_default();
    let first = networks::range(text).map_or(0, |(address, _)| address) + FIRST_HOST;
    let given: Vec<String> = world.of_kind(INTERFACE).flat_map(addresses_of).collect();
    let free = (first..).map(|number| Ipv4Addr::from(number).to_string()).find(|address| !given.contains(address));
    free.unwrap_or_default()
}

fn addresses_of(interface: &Thing) -> Vec<String> {
    let configurations = interface.body["properties"]["ipConfigurations"].as_array().into_iter().flatten();
    configurations.filter_map(|it| it["properties"]["privateIPAddress"].as_str().map(str::to_owned)).collect()
}

/// The machine that an interface is in.
pub(super) fn machine_of<'a>(world: &'a World, interface: &str) -> Option<&'a Thing> {
    let holds_it = |machine: &&Thing| {
        let interfaces =
            machine.body["properties"]["networkProfile"]["networkInterfaces"].as_array().into_iter().flatten();
        interfaces.into_iter().any(|it| it["id"].as_str().is_some_and(|id| key(id) == key(interface)))
    };
    world.of_kind(MACHINE).find(holds_it)
}

pub(super) fn view(world: &World, thing: &Thing) -> Value {
    let mut body = thing.body.clone();
    if let Some(machine) = machine_of(world, &thing.id) {
        body["properties"]["virtualMachine"] = reference(&machine.id);
        body["properties"]["primary"] = true.into();
    }
    body
}

pub(super) fn may_go(world: &mut World, id: &str) -> Result<(), Refusal> {
    if let Some(machine) = machine_of(world, id) {
        return Err(in_use(id, &machine.id));
    }
    may_be_taken(world, id, "")
}

pub(super) fn in_use(interface: &str, machine: &str) -> Refusal {
    let message = format!(
        "Network Interface {interface} is used by existing resource {machine}. In order to delete the network \
         interface, it must be dissociated from the resource. To learn more, see aka.ms/deletenic."
    );
    Refusal::new(400, "NicInUse", message)
}

/// After a machine failed, its interface is kept for another try at the same machine.
pub(super) fn may_be_taken(world: &mut World, interface: &str, machine: &str) -> Result<(), Refusal> {
    let Some((owner, left)) = world.reserved.get_mut(&key(interface)) else { return Ok(()) };
    if *left == 0 || key(owner) == key(machine) {
        return Ok(());
    }
    *left -= 1;
    let message = format!(
        "Nic(s) in request is reserved for another Virtual Machine for 180 seconds. Please provide another nic(s) or \
         retry after 180 seconds. Reserved VM: {owner}"
    );
    Err(Refusal::new(400, "NicReservedForAnotherVm", message))
}

pub(super) fn public_addresses(interface: &Thing) -> Vec<String> {
    let configurations = interface.body["properties"]["ipConfigurations"].as_array().into_iter().flatten();
    let named = configurations.filter_map(|it| it["properties"]["publicIPAddress"]["id"].as_str().map(str::to_owned));
    named.collect()
}
