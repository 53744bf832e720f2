//! Disks: made with a machine, or by somebody.

use serde_json::{Value, json};

use super::ask::Refusal;
use super::kinds::{MACHINE, Put};
use super::place::key;
use super::world::{Thing, World, merge, written};

pub(super) fn put(world: &World, put: &Put<'_>) -> Result<Value, Refusal> {
    let mut properties = json!({"networkAccessPolicy": "AllowAll", "publicNetworkAccess": "Enabled", "hyperVGeneration": "V2",
        "encryption": {"type": "EncryptionAtRestWithPlatformKey"}});
    merge(&mut properties, &put.asked["properties"]);
    let old = put.old.map(|old| &old.body["properties"]);
    properties["uniqueId"] = old.map_or_else(|| world.uuid().into(), |old| old["uniqueId"].clone());
    properties["timeCreated"] =
        old.map_or_else(|| written(jiff::Timestamp::now()).into(), |old| old["timeCreated"].clone());
    let mut shown = json!({ "properties": properties });
    for name in ["sku", "zones"] {
        if !put.asked[name].is_null() {
            shown[name] = put.asked[name].clone();
        }
    }
    Ok(shown)
}

/// The machine that a disk is in.
pub(super) fn machine_of(world: &World, disk: &str) -> Option<String> {
    let holds_it = |machine: &&Thing| {
        let id = &machine.body["properties"]["storageProfile"]["osDisk"]["managedDisk"]["id"];
        id.as_str().is_some_and(|id| key(id) == key(disk))
    };
    world.of_kind(MACHINE).find(holds_it).map(|machine| machine.id.clone())
}

pub(super) fn view(world: &World, thing: &Thing) -> Value {
    let mut body = thing.body.clone();
    let machine = machine_of(world, &thing.id);
    body["properties"]["diskState"] = if machine.is_some() { "Attached" } else { "Unattached" }.into();
    if let Some(machine) = machine {
        body["managedBy"] = machine.into();
    }
    body
}

pub(super) fn may_go(world: &mut World, id: &str) -> Result<(), Refusal> {
    let Some(machine) = machine_of(world, id) else { return Ok(()) };
    let message = format!("Disk {} is attached to VM {machine}.", super::place::name_of(id));
    Err(Refusal::new(409, "OperationNotAllowed", message))
}
