//! Machines: with a disk each, and with interfaces and addresses of their own where the body asks for them.

use serde_json::{Value, json};

use super::ask::Refusal;
use super::kinds::{ADDRESS, DISK, INTERFACE, Put};
use super::settings::Shortage;
use super::world::{Thing, World, merge, reference, written};
use super::{interfaces, kinds, machine_checks, quota, resources};

pub(super) fn put(world: &World, put: &Put<'_>) -> Result<Value, Refusal> {
    machine_checks::all(world, put)?;
    let mut properties = put.asked["properties"].clone();
    merge(&mut properties, &json!({"storageProfile": {"osDisk": os_disk(world, put), "dataDisks": []}}));
    properties["storageProfile"]["imageReference"] = image(put);
    properties["osProfile"] = system(put);
    properties["networkProfile"] = json!({ "networkInterfaces": interfaces_of(world, put) });
    let old = put.old.map(|old| &old.body["properties"]);
    properties["vmId"] = old.map_or_else(|| world.uuid().into(), |old| old["vmId"].clone());
    properties["timeCreated"] =
        old.map_or_else(|| written(jiff::Timestamp::now()).into(), |old| old["timeCreated"].clone());
    let mut shown = json!({ "properties": properties });
    if !put.asked["zones"].is_null() {
        shown["zones"] = put.asked["zones"].clone();
    }
    if !put.asked["identity"].is_null() {
        shown["identity"] = identity(world, put);
    }
    may_be_had(world, put, &shown)?;
    Ok(shown)
}

/// Azure writes the group's name in capitals here.
fn os_disk(world: &World, put: &Put<'_>) -> Value {
    if let Some(old) = put.old {
        return old.body["properties"]["storageProfile"]["osDisk"].clone();
    }
    let asked = &put.property("storageProfile")["osDisk"];
    let made = || format!("{}_OsDisk_1_{}", put.place.name(), world.uuid().replace('-', ""));
    let name = asked["name"].as_str().map_or_else(made, str::to_owned);
    let group = put.place.group.as_deref().unwrap_or_default();
    let id = put.place.group_id().replace(group, &group.to_uppercase());
    let mut disk = json!({"osType": "Linux", "name": name, "caching": "None", "deleteOption": "Detach", "diskSizeGB": 30,
        "managedDisk": {"storageAccountType": "Premium_LRS"}});
    merge(&mut disk, asked);
    disk["managedDisk"]["id"] = format!("{id}/providers/{DISK}/{name}").into();
    disk
}

fn image(put: &Put<'_>) -> Value {
    let mut image = put.property("storageProfile")["imageReference"].clone();
    if let Some(version) = image["version"].as_str().map(str::to_owned) {
        image["exactVersion"] = version.into();
    }
    image
}

/// What was given to it when it was made is shown to nobody.
fn system(put: &Put<'_>) -> Value {
    let mut system = json!({"secrets": [], "allowExtensionOperations": true, "requireGuestProvisionSignal": true});
    merge(&mut system, put.property("osProfile"));
    merge(
        &mut system,
        &json!({"customData": null, "adminPassword": null, "linuxConfiguration": {"provisionVMAgent": true}}),
    );
    system
}

/// Those that are named and those that are to be made.
fn interfaces_of(world: &World, put: &Put<'_>) -> Vec<Value> {
    if let Some(old) = put.old {
        let there = old.body["properties"]["networkProfile"]["networkInterfaces"].as_array();
        return there.cloned().unwrap_or_default();
    }
    let network = put.property("networkProfile");
    let named = network["networkInterfaces"].as_array().cloned().unwrap_or_default();
    let made = network["networkInterfaceConfigurations"].as_array().into_iter().flatten().map(|asked| {
        let name = format!("{}-{}", asked["name"].as_str().unwrap_or_default(), &world.uuid()[..8]);
        let kept = |name: &str| asked["properties"][name].clone();
        json!({"id": format!("{}/providers/{INTERFACE}/{name}", put.place.group_id()),
            "properties": {"primary": kept("primary") != false, "deleteOption": kept("deleteOption").as_str().unwrap_or("Detach")}})
    });
    named.into_iter().chain(made).collect()
}

fn identity(world: &World, put: &Put<'_>) -> Value {
    let mut shown = json!({"type": put.asked["identity"]["type"]});
    for id in put.asked["identity"]["userAssignedIdentities"].as_object().into_iter().flatten().map(|(id, _)| id) {
        let of = world.thing(id).map(|thing| thing.body["properties"].clone()).unwrap_or_default();
        let ids = json!({"principalId": of["principalId"], "clientId": of["clientId"]});
        merge(&mut shown, &json!({"userAssignedIdentities": {id: ids}}));
    }
    shown
}

/// Quota first, then room; nothing is counted again for a machine that stays as large as it is.
fn may_be_had(world: &World, put: &Put<'_>, shown: &Value) -> Result<(), Refusal> {
    let size = machine_checks::size(put)?;
    let before = put.old.map(|old| &old.body["properties"]["hardwareProfile"]);
    if before == Some(&shown["properties"]["hardwareProfile"]) {
        return Ok(());
    }
    let is_spot = put.property("priority") == "Spot";
    quota::check(world, put.id, put.location(), size, is_spot)?;
    match quota::shortage(world, &imagined(put, shown)) {
        Some(Shortage::SkuNotAvailable) => Err(quota::told(Shortage::SkuNotAvailable, &size.name, put.location())),
        _ => Ok(()),
    }
}

/// The machine that there would be.
fn imagined(put: &Put<'_>, shown: &Value) -> Thing {
    let mut body = json!({"location": put.asked["location"]});
    merge(&mut body, shown);
    let kind = kinds::find(kinds::MACHINE).expect("the kind of machines");
    let made = jiff::Timestamp::now();
    Thing { id: put.id.to_owned(), kind, body, asked: Value::Null, operation: None, unseen: 0, made, note: json!({}) }
}

/// A shortage that shows only after Azure has begun.
pub(super) fn fate(world: &World, machine: &Thing) -> Option<Refusal> {
    if !machine.note["power"].is_null() {
        return None;
    }
    let size = machine.body["properties"]["hardwareProfile"]["vmSize"].as_str().unwrap_or_default();
    let shortage = quota::shortage(world, machine).filter(|shortage| *shortage != Shortage::SkuNotAvailable)?;
    Some(quota::told(shortage, size, machine.location()))
}

pub(super) fn made(world: &mut World, id: &str) {
    let Some(machine) = world.thing(id).cloned() else { return };
    make_disk(world, &machine);
    let network = &machine.asked["properties"]["networkProfile"];
    let asked = network["networkInterfaceConfigurations"].as_array().cloned().unwrap_or_default();
    let shown =
        machine.body["properties"]["networkProfile"]["networkInterfaces"].as_array().cloned().unwrap_or_default();
    let named = shown.len() - asked.len();
    for (asked, shown) in asked.iter().zip(&shown[named..]) {
        make_interface(world, &machine, asked, shown["id"].as_str().unwrap_or_default());
    }
}

fn make_disk(world: &mut World, machine: &Thing) {
    let disk = &machine.body["properties"]["storageProfile"]["osDisk"];
    let mut asked = json!({
        "location": machine.location(), "sku": {"name": disk["managedDisk"]["storageAccountType"]},
        "properties": {"osType": "Linux", "diskSizeGB": disk["diskSizeGB"], "creationData": {"createOption": "FromImage"}},
    });
    if !machine.body["zones"].is_null() {
        asked["zones"] = machine.body["zones"].clone();
    }
    let id = format!("{}/providers/{DISK}/{}", machine.place().group_id(), disk["name"].as_str().unwrap_or_default());
    resources::lay_whole(world, DISK, &id, asked);
}

fn make_interface(world: &mut World, machine: &Thing, asked: &Value, id: &str) {
    let mut properties = asked["properties"].clone();
    for configuration in properties["ipConfigurations"].as_array_mut().into_iter().flatten() {
        let public = configuration["properties"]["publicIPAddressConfiguration"].take();
        merge(&mut configuration["properties"], &json!({"publicIPAddressConfiguration": null}));
        if !public.is_null() {
            let address = make_address(world, machine, &public);
            configuration["properties"]["publicIPAddress"] = reference(&address);
        }
    }
    merge(&mut properties, &json!({"deleteOption": null, "primary": null}));
    let asked = json!({"location": machine.location(), "tags": asked["tags"], "properties": properties});
    resources::lay_whole(world, INTERFACE, id, asked);
}

fn make_address(world: &mut World, machine: &Thing, asked: &Value) -> String {
    let name = format!("{}-{}", asked["name"].as_str().unwrap_or_default(), &world.uuid()[..8]);
    let id = format!("{}/providers/{ADDRESS}/{name}", machine.place().group_id());
    let mut body = json!({"location": machine.location(), "tags": asked["tags"], "sku": {"name": "Standard"},
        "properties": {"publicIPAllocationMethod": "Static"}});
    merge(&mut body["properties"], &asked["properties"]);
    if !machine.body["zones"].is_null() {
        body["zones"] = machine.body["zones"].clone();
    }
    resources::lay_whole(world, ADDRESS, &id, body);
    id
}

/// What was to go with it goes; an interface that stays after a failure is kept for the machine for a while.
pub(super) fn gone(world: &mut World, machine: &Thing) {
    let properties = &machine.body["properties"];
    let disk = &properties["storageProfile"]["osDisk"];
    if disk["deleteOption"] == "Delete" {
        world.forget(disk["managedDisk"]["id"].as_str().unwrap_or_default());
    }
    for interface in properties["networkProfile"]["networkInterfaces"].as_array().into_iter().flatten() {
        let id = interface["id"].as_str().unwrap_or_default();
        if interface["properties"]["deleteOption"] == "Delete" {
            forget_interface(world, id);
        } else if !machine.note["failure"].is_null() {
            let looks = world.settings.looks.reserved;
            world.reserved.insert(super::place::key(id), (machine.id.clone(), looks));
        }
    }
}

fn forget_interface(world: &mut World, id: &str) {
    let addresses = world.thing(id).map(interfaces::public_addresses).unwrap_or_default();
    world.forget(id);
    for address in addresses {
        let goes_too = world.thing(&address).is_some_and(|it| it.asked["properties"]["deleteOption"] == "Delete");
        if goes_too {
            world.forget(&address);
        }
    }
}

/// An interface that is kept for another machine is not to be had.
pub(super) fn may_come(world: &mut World, put: &Put<'_>) -> Result<(), Refusal> {
    let named = put.property("networkProfile")["networkInterfaces"].as_array().into_iter().flatten();
    let ids: Vec<&str> = named.filter_map(|interface| interface["id"].as_str()).collect();
    ids.into_iter().try_for_each(|id| interfaces::may_be_taken(world, id, put.id))
}
