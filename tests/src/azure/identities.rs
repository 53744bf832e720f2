//! Managed identities, each a principal of the directory; a new one does not show everywhere at once.

use serde_json::{Value, json};

use super::ask::Refusal;
use super::kinds::Put;
use super::settings::TENANT;
use super::world::{Thing, World};

pub(super) fn put(world: &World, put: &Put<'_>) -> Result<Value, Refusal> {
    if let Some(old) = put.old {
        return Ok(json!({ "properties": old.body["properties"] }));
    }
    Ok(json!({"properties": {"tenantId": TENANT, "principalId": world.uuid(), "clientId": world.uuid()}}))
}

fn principal(thing: &Thing) -> String {
    thing.body["properties"]["principalId"].as_str().unwrap_or_default().to_owned()
}

pub(super) fn made(world: &mut World, id: &str) {
    let Some(principal) = world.thing(id).map(principal) else { return };
    world.new_principals.insert(principal.clone(), world.settings.looks.principal);
    world.principals.insert(principal);
}

/// Assignments of a principal that is gone stay, as in Azure.
pub(super) fn gone(world: &mut World, thing: &Thing) {
    world.principals.remove(&principal(thing));
}
