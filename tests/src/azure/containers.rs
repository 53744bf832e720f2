//! Containers as ARM knows them, and the policies that keep their blobs from being changed.

use serde_json::{Value, json};

use super::ask::{Answer, Refusal};
use super::kinds::{ACCOUNT, CONTAINER, IMMUTABILITY, Put};
use super::place::is_within;
use super::world::{Thing, World, merge, written};

pub(super) fn put(world: &World, put: &Put<'_>) -> Result<Value, Refusal> {
    let account = world.of_kind(ACCOUNT).find(|account| is_within(put.id, &account.id));
    let is_public = !matches!(put.property("publicAccess").as_str(), None | Some("None"));
    if is_public && account.is_some_and(|account| account.body["properties"]["allowBlobPublicAccess"] != true) {
        let message = "Public access is not permitted on this storage account.";
        return Err(Refusal::new(409, "PublicAccessNotPermitted", message));
    }
    for name in put.property("metadata").as_object().into_iter().flatten().map(|(name, _)| name) {
        if !is_identifier(name) {
            return Err(Refusal::new(400, "InvalidMetadata", format!("The metadata name {name} is no C# identifier.")));
        }
    }
    let mut properties = json!({"publicAccess": "None", "defaultEncryptionScope": "$account-encryption-key",
        "denyEncryptionScopeOverride": false, "leaseStatus": "Unlocked", "leaseState": "Available", "hasLegalHold": false});
    merge(&mut properties, &put.asked["properties"]);
    properties["lastModifiedTime"] = written(jiff::Timestamp::now()).into();
    Ok(json!({"etag": format!("\"0x{:X}\"", 0x8DD_0000_0000_0000u64 + world.number()), "properties": properties}))
}

pub(super) fn is_identifier(name: &str) -> bool {
    let is_first = |letter: char| letter.is_alphabetic() || letter == '_';
    name.starts_with(is_first) && name.chars().all(|letter| is_first(letter) || letter.is_numeric())
}

/// The policy of a container.
pub(super) fn policy<'a>(world: &'a World, container: &str) -> Option<&'a Thing> {
    world.of_kind(IMMUTABILITY).find(|policy| is_within(&policy.id, container))
}

pub(super) fn view(world: &World, thing: &Thing) -> Value {
    let mut body = thing.body.clone();
    body["properties"]["hasImmutabilityPolicy"] = policy(world, &thing.id).is_some().into();
    body
}

pub(super) fn may_go(world: &mut World, id: &str) -> Result<(), Refusal> {
    let locked = policy(world, id).is_some_and(|policy| policy.body["properties"]["state"] == "Locked");
    if !locked {
        return Ok(());
    }
    let message = format!(
        "The storage container {} is protected from deletion due to ImmutabilityPolicy.",
        super::place::name_of(id)
    );
    Err(Refusal::new(409, "ContainerProtectedFromDeletion", message))
}

pub(super) fn gone(world: &mut World, thing: &Thing) {
    let place = thing.place();
    if let [account, _, container] = place.names.as_slice() {
        world.blobs.forget_container(account, container);
    }
}

pub(super) fn put_immutability(world: &World, put: &Put<'_>) -> Result<Value, Refusal> {
    let days = put.property("immutabilityPeriodSinceCreationInDays").as_i64().unwrap_or_default();
    if days < 1 {
        return Err(Refusal::new(
            400,
            "InvalidRequestPropertyValue",
            "The immutability period must be at least one day.",
        ));
    }
    let before = put.old.map(|old| &old.body["properties"]);
    if before.is_some_and(|before| before["state"] == "Locked") {
        let message = "Operation not allowed on immutability policy with current state.";
        return Err(Refusal::new(412, "ImmutabilityPolicyLocked", message));
    }
    let mut properties = json!({"state": "Unlocked", "allowProtectedAppendWrites": false});
    merge(&mut properties, &put.asked["properties"]);
    Ok(json!({"etag": format!("\"{:x}\"", world.number()), "properties": properties}))
}

/// From now on it can be made longer only.
pub(super) fn lock_immutability(world: &mut World, id: &str) -> Result<Answer, Refusal> {
    let policy = world.thing_mut(id).expect("a policy");
    policy.body["properties"]["state"] = "Locked".into();
    Ok(Answer::json(200, &policy.body))
}

/// The container of a name in an account.
pub(super) fn container<'a>(world: &'a World, account: &Thing, name: &str) -> Option<&'a Thing> {
    world.of_kind(CONTAINER).find(|container| container.name() == name && is_within(&container.id, &account.id))
}
