//! Storage accounts, the settings of their blob service, and what happens to their blobs by and by.

use serde_json::{Value, json};

use super::ask::Refusal;
use super::kinds::{ACCOUNT, BLOB_SERVICE, IMMUTABILITY, Put};
use super::place::{is_within, key};
use super::resources;
use super::world::{Thing, World, merge, written};

pub(super) fn put(world: &World, put: &Put<'_>) -> Result<Value, Refusal> {
    is_name_free(world, put)?;
    stays(put)?;
    let mut properties = defaults(world, put);
    merge(&mut properties, &put.asked["properties"]);
    show_encryption(&mut properties);
    let old = put.old.map(|old| old.body["properties"]["creationTime"].clone());
    properties["creationTime"] = old.unwrap_or_else(|| written(jiff::Timestamp::now()).into());
    let mut sku = put.asked["sku"].clone();
    sku["tier"] =
        if sku["name"].as_str().is_some_and(|name| name.starts_with("Premium")) { "Premium" } else { "Standard" }
            .into();
    Ok(json!({"sku": sku, "kind": put.asked["kind"], "properties": properties}))
}

/// Names are of the whole world.
fn is_name_free(world: &World, put: &Put<'_>) -> Result<(), Refusal> {
    let name = put.place.name();
    let message = format!("The storage account named {name} is already taken.");
    if put.old.is_none() && world.settings.taken.contains(name) {
        return Err(Refusal::new(409, "StorageAccountAlreadyTaken", message));
    }
    if world.of_kind(ACCOUNT).any(|other| other.name() == name && key(&other.id) != key(put.id)) {
        let message = format!("The account {name} is already in another resource group in this subscription.");
        return Err(Refusal::new(409, "StorageAccountInAnotherResourceGroup", message));
    }
    Ok(())
}

/// Encryption twice over and immutability are chosen when an account is made.
fn stays(put: &Put<'_>) -> Result<(), Refusal> {
    let Some(old) = put.old else { return Ok(()) };
    let fixed = [
        "/kind",
        "/properties/encryption/requireInfrastructureEncryption",
        "/properties/immutableStorageWithVersioning/enabled",
        "/properties/isHnsEnabled",
    ];
    let changed = fixed.iter().find(|path| {
        let new = put.asked.pointer(path);
        new.is_some() && new != old.asked.pointer(path)
    });
    let Some(path) = changed else { return Ok(()) };
    let message = format!(
        "The property '{}' was specified in the input, but it cannot be updated.",
        path.trim_start_matches('/').replace('/', ".")
    );
    Err(Refusal::new(409, "StorageAccountPropertyCannotBeUpdated", message))
}

fn defaults(world: &World, put: &Put<'_>) -> Value {
    let name = put.place.name();
    json!({
        "primaryLocation": put.location(), "statusOfPrimary": "available", "accessTier": "Hot",
        "supportsHttpsTrafficOnly": true, "allowBlobPublicAccess": false, "allowSharedKeyAccess": true,
        "minimumTlsVersion": "TLS1_0", "allowCrossTenantReplication": false, "publicNetworkAccess": "Enabled",
        "networkAcls": {"bypass": "AzureServices", "defaultAction": "Allow", "ipRules": [], "virtualNetworkRules": []},
        "encryption": {"keySource": "Microsoft.Storage", "services": {"blob": {"enabled": true, "keyType": "Account"},
            "file": {"enabled": true, "keyType": "Account"}}},
        "primaryEndpoints": {"blob": format!("{}/{name}/", world.origin)}, "privateEndpointConnections": [],
    })
}

fn show_encryption(properties: &mut Value) {
    for service in
        properties["encryption"]["services"].as_object_mut().into_iter().flatten().map(|(_, service)| service)
    {
        service["lastEnabledTime"] = "2026-11-01T00:00:00.0000000Z".into();
    }
}

/// Its blob service is there from the first.
pub(super) fn made(world: &mut World, id: &str) {
    resources::lay_whole(world, BLOB_SERVICE, &format!("{id}/blobServices/default"), json!({"properties": {}}));
}

/// What must not be lost keeps its account.
pub(super) fn may_go(world: &mut World, id: &str) -> Result<(), Refusal> {
    let locked = world
        .of_kind(IMMUTABILITY)
        .any(|policy| is_within(&policy.id, id) && policy.body["properties"]["state"] == "Locked");
    if !locked {
        return Ok(());
    }
    let name = super::place::name_of(id);
    let message =
        format!("The storage account {name} cannot be deleted due to its containers having immutable policies.");
    Err(Refusal::new(409, "AccountProtectedFromDeletion", message))
}

pub(super) fn gone(world: &mut World, thing: &Thing) {
    world.blobs.forget_account(thing.name());
}

pub(super) fn put_service(_: &World, put: &Put<'_>) -> Result<Value, Refusal> {
    if !put.place.name().eq_ignore_ascii_case("default") {
        return Err(Refusal::new(400, "InvalidUri", "The blob service is called 'default'."));
    }
    let mut properties =
        json!({"cors": {"corsRules": []}, "deleteRetentionPolicy": {"enabled": false}, "isVersioningEnabled": false});
    merge(&mut properties, &put.asked["properties"]);
    let days = &properties["deleteRetentionPolicy"];
    if days["enabled"] == true && !days["days"].as_i64().is_some_and(|days| (1..=365).contains(&days)) {
        let message = "Value for the number of days of the delete retention policy must be between 1 and 365.";
        return Err(Refusal::new(400, "InvalidXmlNodeValue", message));
    }
    Ok(json!({ "properties": properties }))
}

pub(super) fn put_life_cycle(_: &World, put: &Put<'_>) -> Result<Value, Refusal> {
    if put.property("policy")["rules"].as_array().is_none_or(Vec::is_empty) {
        return Err(Refusal::new(400, "InvalidRequestPropertyValue", "The policy must have rules."));
    }
    let mut policy = put.property("policy").clone();
    show_days(&mut policy);
    Ok(json!({"properties": {"policy": policy, "lastModifiedTime": written(jiff::Timestamp::now())}}))
}

/// Days are shown with a fraction, however they came.
fn show_days(value: &mut Value) {
    for (name, inner) in value.as_object_mut().into_iter().flatten() {
        match inner.as_f64() {
            Some(days) if name.starts_with("daysAfter") => *inner = days.into(),
            _ => show_days(inner),
        }
    }
    value.as_array_mut().into_iter().flatten().for_each(show_days);
}

/// The account that a name means.
pub(super) fn account<'a>(world: &'a World, name: &str) -> Option<&'a Thing> {
    world.of_kind(ACCOUNT).find(|account| account.name() == name)
}

pub(super) fn is_versioned(world: &World, account: &Thing) -> bool {
    let service = world.thing(&format!("{}/blobServices/default", account.id));
    service.is_some_and(|service| service.body["properties"]["isVersioningEnabled"] == true)
}
