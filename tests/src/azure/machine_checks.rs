//! What Compute refuses a machine for, before it begins with it.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use super::ask::Refusal;
use super::kinds::Put;
use super::networks::subnet;
use super::place::key;
use super::sizes::{self, Size};
use super::world::World;
use super::{images, interfaces, quota, registrations, settings};

/// The smallest disk that the image fits on, in GB.
const IMAGE_GB: i64 = 30;
const LONGEST_DATA: usize = 87_380;
const FORBIDDEN_NAMES: [&str; 6] = ["admin", "administrator", "root", "user", "guest", "test"];

pub(super) fn all(world: &World, put: &Put<'_>) -> Result<(), Refusal> {
    let size = size(put)?;
    zones(world, put, size)?;
    images::exists(world, put)?;
    disk(put, size)?;
    system(put)?;
    security(world, put, size)?;
    spot(put, size)?;
    network(world, put, size)?;
    identities(world, put)?;
    unchanged(put)
}

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new(400, "InvalidParameter", message)
}

pub(super) fn size(put: &Put<'_>) -> Result<&'static Size, Refusal> {
    let name = put.property("hardwareProfile")["vmSize"].as_str().unwrap_or_default();
    let known =
        || sizes::all().iter().filter(|size| size.zones_in(put.location()).is_some()).map(|size| size.name.as_str());
    sizes::find(name, put.location()).ok_or_else(|| {
        let message = format!(
            "The value {name} provided for the VM size is not valid. The valid sizes in the current region are: {}.",
            known().collect::<Vec<_>>().join(", ")
        );
        invalid(message)
    })
}

fn zones(world: &World, put: &Put<'_>, size: &Size) -> Result<(), Refusal> {
    let (region, offered) = (put.location(), size.zones_in(put.location()).unwrap_or_default());
    let zone = put.asked["zones"][0].as_str();
    if zone.is_some_and(|zone| !["1", "2", "3"].contains(&zone)) {
        let message =
            format!("The zone(s) '{}' for resource '{}' is not supported.", put.asked["zones"], put.place.name());
        return Err(Refusal::new(400, "InvalidAvailabilityZone", message));
    }
    let closed = size.closed_zones(world, region);
    let is_offered = zone.is_none_or(|zone| offered.iter().any(|it| it == zone));
    let is_open = closed.is_some_and(|closed| zone.is_none_or(|zone| !closed.iter().any(|it| it == zone)));
    if is_offered && is_open {
        return Ok(());
    }
    Err(quota::told(settings::Shortage::SkuNotAvailable, &size.name, region))
}

fn disk(put: &Put<'_>, size: &Size) -> Result<(), Refusal> {
    let disk = &put.property("storageProfile")["osDisk"];
    let sort = disk["managedDisk"]["storageAccountType"].as_str().unwrap_or("Standard_LRS");
    if sort.starts_with("Premium") && !size.has_premium_disks {
        let message = format!(
            "Requested operation cannot be performed because the VM size {} does not support the storage account \
             type {sort}.",
            size.name
        );
        return Err(invalid(message));
    }
    if disk["diskSizeGB"].as_i64().is_some_and(|gigabytes| gigabytes < IMAGE_GB) {
        let message = format!(
            "The specified disk size {} GB is smaller than the size of the corresponding disk in the VM image: \
             {IMAGE_GB} GB.",
            disk["diskSizeGB"]
        );
        return Err(Refusal::new(400, "ResizeDiskError", message));
    }
    Ok(())
}

fn system(put: &Put<'_>) -> Result<(), Refusal> {
    let system = put.property("osProfile");
    let text = |name: &str| system[name].as_str().unwrap_or_default();
    let user = text("adminUsername");
    if user.is_empty() || FORBIDDEN_NAMES.contains(&user) {
        return Err(invalid("The Admin Username specified is not allowed."));
    }
    let computer = text("computerName");
    let is_named = !computer.is_empty()
        && computer.len() <= 64
        && computer.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.');
    if !is_named {
        return Err(invalid(
            "Linux host name cannot exceed 64 characters in length or contain characters other than letters, \
             numbers, dots and hyphens.",
        ));
    }
    let data = text("customData");
    if data.len() > LONGEST_DATA || BASE64_STANDARD.decode(data).is_err() {
        return Err(invalid(format!(
            "Custom data in OSProfile must be in Base64 encoding and with a maximum length of {LONGEST_DATA} \
             characters."
        )));
    }
    if put.old.is_none() { keys(system, user) } else { Ok(()) }
}

/// Without a password there must be a key, at the one place that there is for it.
fn keys(system: &Value, user: &str) -> Result<(), Refusal> {
    let linux = &system["linuxConfiguration"];
    if linux["disablePasswordAuthentication"] != true {
        let has_password = system["adminPassword"].is_string();
        return if has_password {
            Ok(())
        } else {
            Err(invalid("Required parameter 'adminPassword' is missing (null)."))
        };
    }
    let keys = linux["ssh"]["publicKeys"].as_array().cloned().unwrap_or_default();
    if keys.is_empty() {
        return Err(invalid(
            "Authentication using either SSH or by user name and password must be enabled in Linux profile.",
        ));
    }
    keys.iter().try_for_each(|key| check_key(key, user))
}

fn check_key(key: &Value, user: &str) -> Result<(), Refusal> {
    let (path, data) = (key["path"].as_str().unwrap_or_default(), key["keyData"].as_str().unwrap_or_default());
    let place = format!("/home/{user}/.ssh/authorized_keys");
    if path != place {
        return Err(invalid(format!(
            "Destination path for SSH public keys is currently limited to its default value {place} due to a known \
             issue in Linux provisioning agent."
        )));
    }
    let mut parts = data.split_whitespace();
    let is_sort = parts.next().is_some_and(|sort| ["ssh-rsa", "ssh-ed25519"].contains(&sort));
    let is_key = parts.next().is_some_and(|text| BASE64_STANDARD.decode(text).is_ok_and(|bytes| bytes.len() > 32));
    if is_sort && is_key {
        Ok(())
    } else {
        Err(invalid("The value of parameter linuxConfiguration.ssh.publicKeys.keyData is invalid."))
    }
}

fn security(world: &World, put: &Put<'_>, size: &Size) -> Result<(), Refusal> {
    let security = put.property("securityProfile");
    if security["encryptionAtHost"] == true {
        if !registrations::has_feature(world) {
            return Err(invalid(
                "The property 'securityProfile.encryptionAtHost' is not valid because the \
                 'Microsoft.Compute/EncryptionAtHost' feature is not enabled for this subscription.",
            ));
        }
        if !size.has_encryption_at_host {
            return Err(invalid(format!("The VM size '{}' does not support encryption at host.", size.name)));
        }
    }
    if security["securityType"] == "TrustedLaunch" && images::is_plain(put) {
        let message = "The provided image does not support the security type TrustedLaunch.";
        return Err(Refusal::new(400, "BadRequest", message));
    }
    Ok(())
}

fn spot(put: &Put<'_>, size: &Size) -> Result<(), Refusal> {
    let is_spot = put.property("priority") == "Spot";
    let has_rules = put.property("evictionPolicy").is_string() || put.property("billingProfile").is_object();
    if !is_spot && has_rules {
        return Err(Refusal::new(
            409,
            "OperationNotAllowed",
            "Eviction policy and billing profile can be set only on Azure Spot Virtual Machines.",
        ));
    }
    if is_spot && !size.is_spot {
        return Err(Refusal::new(
            409,
            "SkuNotAvailable",
            format!("The VM size {} is not available as Spot.", size.name),
        ));
    }
    Ok(())
}

fn network(world: &World, put: &Put<'_>, size: &Size) -> Result<(), Refusal> {
    let network = put.property("networkProfile");
    let named = network["networkInterfaces"].as_array().cloned().unwrap_or_default();
    let to_make = network["networkInterfaceConfigurations"].as_array().cloned().unwrap_or_default();
    if named.is_empty() && to_make.is_empty() {
        return Err(invalid("Required parameter 'networkProfile' is missing (null)."));
    }
    if !to_make.is_empty() && !network["networkApiVersion"].is_string() {
        return Err(invalid("Required parameter 'networkProfile.networkApiVersion' is missing (null)."));
    }
    named.iter().try_for_each(|asked| interface(world, put, size, asked["id"].as_str().unwrap_or_default()))?;
    to_make.iter().try_for_each(|asked| configuration(world, put, size, &asked["properties"]))
}

fn interface(world: &World, put: &Put<'_>, size: &Size, id: &str) -> Result<(), Refusal> {
    let found = world.referred(id, put.id)?;
    if let Some(machine) = interfaces::machine_of(world, id).filter(|machine| key(&machine.id) != key(put.id)) {
        return Err(interfaces::in_use(id, &machine.id));
    }
    accelerated(size, &found.body["properties"])
}

fn accelerated(size: &Size, properties: &Value) -> Result<(), Refusal> {
    if properties["enableAcceleratedNetworking"] == true && !size.has_accelerated_networking {
        let message =
            format!("VM size {} is not allowed to have network interfaces with accelerated networking.", size.name);
        return Err(Refusal::new(400, "VMSizeIsNotPermittedToEnableAcceleratedNetworking", message));
    }
    Ok(())
}

fn configuration(world: &World, put: &Put<'_>, size: &Size, properties: &Value) -> Result<(), Refusal> {
    accelerated(size, properties)?;
    for configuration in properties["ipConfigurations"].as_array().into_iter().flatten() {
        let id = configuration["properties"]["subnet"]["id"].as_str().unwrap_or_default();
        let network = subnet(world, id).map(|(network, _)| network.id.clone());
        world.referred(network.as_deref().unwrap_or(id), put.id)?;
    }
    Ok(())
}

fn identities(world: &World, put: &Put<'_>) -> Result<(), Refusal> {
    let named = put.asked["identity"]["userAssignedIdentities"].as_object();
    let missing = named.into_iter().flatten().map(|(id, _)| id).find(|id| world.thing(id).is_none());
    let Some(id) = missing else { return Ok(()) };
    let message =
        format!("Identity operation for resource '{}' failed with error 'Resource '{id}' was not found.'", put.id);
    Err(Refusal::new(400, "FailedIdentityOperation", message))
}

/// What a machine was made with stays so.
fn unchanged(put: &Put<'_>) -> Result<(), Refusal> {
    let Some(old) = put.old else { return Ok(()) };
    let fixed = [
        "/zones",
        "/properties/osProfile/customData",
        "/properties/osProfile/adminUsername",
        "/properties/storageProfile/imageReference",
        "/properties/networkProfile/networkInterfaceConfigurations",
        "/properties/priority",
    ];
    let changed = fixed.iter().find(|path| {
        let new = put.asked.pointer(path);
        new.is_some() && new != old.asked.pointer(path)
    });
    let Some(path) = changed else { return Ok(()) };
    let name = path.trim_start_matches("/properties").trim_start_matches('/').replace('/', ".");
    Err(Refusal::new(409, "PropertyChangeNotAllowed", format!("Changing property '{name}' is not allowed.")))
}
