//! What Azure shows of a machine: whether it runs, and its inputs. The looks are thin, the rest is pure.

use engine::provider::{Known, ProviderError};
use serde_json::{Map, Value, json};
use spec::machine::Market;

use super::lock_of;
use crate::azure::arm::{is_settled, state};
use crate::azure::auth::{Azure, named};
use crate::azure::id::{canonical, group_of};
use crate::azure::network::{list, text};
use crate::azure::offers::image;
use crate::azure::thing::{same_text, with_oddities};

/// The state of one that never ran.
pub const FAILED: &str = "failed";
const STATUSES: &str = "/properties/instanceView/statuses";
const INTERFACES: &str = "/properties/networkProfile/networkInterfaces";
const ADDRESS: &str = "/properties/ipConfigurations/0/properties";

/// A machine with what hangs on it.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    pub machine: Value,
    /// Null while there is none.
    pub interface: Value,
    pub is_locked: bool,
}

/// Whether it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Power {
    Running,
    Stopped,
    /// It was to be made, and was not.
    Failed,
    Going,
    Changing,
}

/// With all its states; none if Azure knows of none.
pub async fn described(azure: &Azure, id: &str) -> Result<Option<Value>, ProviderError> {
    azure.arm.get_with(id, &[("$expand", "instanceView")]).await
}

/// The machine, unless it is gone or going.
pub async fn look(azure: &Azure, id: &str) -> Result<Option<Seen>, ProviderError> {
    let Some(machine) = described(azure, id).await?.filter(|seen| power(seen) != Power::Going) else { return Ok(None) };
    let interface = match interface_id(&machine) {
        Some(id) => azure.arm.get(&id).await?.unwrap_or_default(),
        None => Value::Null,
    };
    let is_locked = azure.arm.get(&lock_of(id)).await?.as_ref().is_some_and(is_lock);
    Ok(Some(Seen { machine, interface, is_locked }))
}

pub fn is_lock(seen: &Value) -> bool {
    text(seen, "/properties/level").eq_ignore_ascii_case("CanNotDelete")
}

/// The first, which is the only one that we make.
pub fn interface_id(machine: &Value) -> Option<String> {
    let id = text(machine, &format!("{INTERFACES}/0/id"));
    (!id.is_empty()).then(|| canonical(id))
}

pub fn private_address(interface: &Value) -> Option<String> {
    let address = text(interface, &format!("{ADDRESS}/privateIPAddress"));
    (!address.is_empty()).then(|| address.to_owned())
}

/// Of the public address, if it has one.
pub fn public_address_id(interface: &Value) -> Option<String> {
    let id = text(interface, &format!("{ADDRESS}/publicIPAddress/id"));
    (!id.is_empty()).then(|| canonical(id))
}

/// By what Azure says of both: how far it is with it, and whether it is on.
pub fn power(machine: &Value) -> Power {
    let on = power_state(machine);
    match (state(machine).as_str(), on) {
        ("deleting", _) => Power::Going,
        (_, Some("running")) if is_settled(machine) => Power::Running,
        ("failed", None | Some("unknown")) => Power::Failed,
        ("failed", Some(_)) if !failure(machine).0.is_empty() => Power::Failed,
        (_, Some("stopped" | "deallocated")) if is_settled(machine) => Power::Stopped,
        _ => Power::Changing,
    }
}

fn power_state(machine: &Value) -> Option<&str> {
    list(machine, STATUSES).iter().find_map(|status| text(status, "/code").strip_prefix("PowerState/"))
}

/// Code and message of its last failure, as its states have it.
pub fn failure(machine: &Value) -> (&str, &str) {
    let failed = list(machine, STATUSES).iter().find_map(|status| {
        let code = text(status, "/code").strip_prefix("ProvisioningState/failed")?;
        Some((code.trim_start_matches('/'), text(status, "/message")))
    });
    failed.unwrap_or_default()
}

pub fn has_boot_diagnostics(machine: &Value) -> bool {
    machine.pointer("/properties/diagnosticsProfile/bootDiagnostics/enabled") == Some(&json!(true))
}

/// In the one form, sorted.
pub fn identities(machine: &Value) -> Vec<String> {
    let all = machine.pointer("/identity/userAssignedIdentities").and_then(Value::as_object);
    let mut ids: Vec<String> = all.into_iter().flat_map(Map::keys).map(|id| canonical(id)).collect();
    ids.sort();
    ids
}

impl Seen {
    /// In the shape of `MachineInputs`; what Azure does not tell is as it was recorded.
    pub fn observed(&self, id: &str, region: &str, recorded: &Value, known: &Known) -> Value {
        let machine = &self.machine;
        let is_spot = text(machine, "/properties/priority").eq_ignore_ascii_case("Spot");
        let zone = machine.pointer("/zones/0").and_then(Value::as_str).map(|zone| format!("{region}-{zone}"));
        let identity = identities(machine).into_iter().map(|id| named(known, &id));
        let image = machine.pointer("/properties/storageProfile/imageReference").and_then(image::name_of);
        let disk = machine.pointer("/properties/storageProfile/osDisk/diskSizeGB").filter(|size| size.is_number());
        let mut shown = json!({
            "group": group_of(id).map(|group| named(known, &group)),
            "network": self.network(known).map_or_else(|| recorded["network"].clone(), Value::from),
            "identity": own(identity.collect(), &recorded["identity"]),
            "bucket": recorded["bucket"],
            "machine_type": as_recorded(text(machine, "/properties/hardwareProfile/vmSize"), &recorded["machine_type"]),
            "zone": zone,
            "market": if is_spot { Market::Spot } else { Market::OnDemand },
            "image": image.map_or_else(|| recorded["image"].clone(), |image| as_recorded(&image, &recorded["image"])),
            "disk_gib": disk.unwrap_or(&recorded["disk_gib"]),
            "public": public(&self.interface).map_or_else(|| recorded["public"].clone(), Value::from),
            "termination_protection": self.is_locked,
            "boot_script": recorded["boot_script"],
            "dsctl_sha256": recorded["dsctl_sha256"],
        });
        for (key, odd) in self.oddities(known) {
            shown[key] = odd;
        }
        let mut shown = with_oddities(shown, machine);
        match (power(machine), shown.as_object_mut()) {
            // An update of it that failed is no failure of the machine.
            (Power::Running, Some(fields)) => drop(fields.remove("state")),
            (Power::Failed, Some(fields)) => drop(fields.insert("state".to_owned(), json!(FAILED))),
            (Power::Stopped, Some(fields)) => drop(fields.insert("state".to_owned(), json!(power_state(machine)))),
            _ => {}
        }
        shown
    }

    fn network(&self, known: &Known) -> Option<String> {
        let subnet = canonical(text(&self.interface, &format!("{ADDRESS}/subnet/id")));
        subnet.split_once("/subnets/").map(|(network, _)| named(known, network))
    }

    /// What is not as we always make it.
    fn oddities(&self, known: &Known) -> Vec<(&'static str, Value)> {
        let machine = &self.machine;
        let is = |pointer: &str, value: bool| machine.pointer(pointer) == Some(&json!(value));
        let further: Vec<String> = identities(machine).iter().skip(1).map(|id| named(known, id)).collect();
        let has_own = text(machine, "/identity/type").to_ascii_lowercase().contains("system");
        let further: Vec<String> = further.into_iter().chain(has_own.then(|| "its own".to_owned())).collect();
        let interfaces = list(machine, INTERFACES).len();
        let odd = [
            ("encryption_at_host", json!("off"), is("/properties/securityProfile/encryptionAtHost", false)),
            (
                "password_login",
                json!("allowed"),
                is("/properties/osProfile/linuxConfiguration/disablePasswordAuthentication", false),
            ),
            ("boot_diagnostics", json!("off"), !has_boot_diagnostics(machine)),
            ("further_identities", json!(further), !further.is_empty()),
            ("interfaces", json!(interfaces), interfaces > 1),
        ];
        odd.into_iter().filter(|(.., is_odd)| *is_odd).map(|(key, odd, _)| (key, odd)).collect()
    }
}

/// Azure's case of a name is not another name.
fn as_recorded(found: &str, recorded: &Value) -> Value {
    match recorded.as_str() {
        Some(recorded) if same_text(found, recorded) => json!(recorded),
        _ => json!(found),
    }
}

/// The recorded one if it is among them.
fn own(found: Vec<String>, recorded: &Value) -> Value {
    let is_there = recorded.as_str().is_some_and(|recorded| found.iter().any(|id| id == recorded));
    if is_there { recorded.clone() } else { found.into_iter().next().map_or(Value::Null, Value::from) }
}

/// None while there is no interface to tell.
fn public(interface: &Value) -> Option<bool> {
    (!interface.is_null()).then(|| public_address_id(interface).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/main-abcdef";
    const NETWORK: &str = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/main";
    const IDENTITY: &str =
        "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/machine";

    fn machine(provisioning: &str, power: Option<&str>) -> Value {
        let power = power.map(|power| json!({"code": format!("PowerState/{power}")}));
        let statuses: Vec<Value> =
            [json!({"code": format!("ProvisioningState/{provisioning}")})].into_iter().chain(power).collect();
        json!({
            "id": ID, "zones": ["2"],
            "tags": {"dsctl-token": "x", "dsctl-address": "x", "dsctl-lineage": "x", "dsctl-deployment": "x"},
            "identity": {"type": "UserAssigned", "userAssignedIdentities": {IDENTITY: {}}},
            "properties": {
                "provisioningState": provisioning.split('/').next(),
                "hardwareProfile": {"vmSize": "standard_nc24ads_a100_v4"},
                "priority": "Regular",
                "storageProfile": {"osDisk": {"diskSizeGB": 200},
                    "imageReference": {"publisher": "p", "offer": "o", "sku": "s", "version": "1", "exactVersion": "1"}},
                "osProfile": {"linuxConfiguration": {"disablePasswordAuthentication": true}},
                "securityProfile": {"encryptionAtHost": true},
                "diagnosticsProfile": {"bootDiagnostics": {"enabled": true}},
                "networkProfile": {"networkInterfaces": [{"id": "/x/nic"}]},
                "instanceView": {"statuses": statuses},
            },
        })
    }

    fn interface() -> Value {
        json!({"properties": {"ipConfigurations": [{"properties": {"privateIPAddress": "10.77.0.4",
            "subnet": {"id": format!("{NETWORK}/subnets/machines")}}}]}})
    }

    fn recorded() -> Value {
        json!({"group": "/subscriptions/s/resourceGroups/g", "network": NETWORK, "identity": IDENTITY, "bucket": "bucket.main",
            "machine_type": "Standard_NC24ads_A100_v4", "zone": "westeurope-2", "market": "on-demand", "image": "p:o:s:1",
            "disk_gib": 200, "public": false, "termination_protection": true, "boot_script": "x", "dsctl_sha256": "00"})
    }

    fn shown(machine: Value, interface: Value) -> Value {
        let seen = Seen { machine, interface, is_locked: true };
        seen.observed(ID, "westeurope", &recorded(), &Known::empty("l"))
    }

    #[test]
    fn a_machine_as_it_was_made_shows_its_inputs_only() {
        assert_eq!(shown(machine("Succeeded", Some("running")), interface()), recorded());
        assert_eq!(shown(machine("Failed", Some("running")), interface()), recorded(), "it serves all the same");
        assert_eq!(shown(machine("Succeeded", Some("running")), Value::Null), recorded(), "nobody tells otherwise");
    }

    #[test]
    fn whatever_somebody_changed_shows() {
        let mut other = machine("Succeeded", Some("deallocated"));
        other["properties"]["securityProfile"]["encryptionAtHost"] = json!(false);
        other["properties"]["diagnosticsProfile"] = Value::Null;
        other["identity"]["type"] = json!("SystemAssigned, UserAssigned");
        other["identity"]["userAssignedIdentities"]["/a/b"] = json!({});
        let mut public = interface();
        public["properties"]["ipConfigurations"][0]["properties"]["publicIPAddress"] = json!({"id": "/p"});
        let shown = shown(other, public);
        for (key, value) in [
            ("state", json!("deallocated")),
            ("encryption_at_host", json!("off")),
            ("boot_diagnostics", json!("off")),
            ("public", json!(true)),
            ("identity", json!(IDENTITY)),
        ] {
            assert_eq!(shown[key], value, "{key}");
        }
        assert_eq!(shown["further_identities"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn what_azure_says_of_both_tells_whether_it_runs() {
        let of = |provisioning: &str, on: Option<&str>| power(&machine(provisioning, on));
        assert_eq!(of("Succeeded", Some("running")), Power::Running);
        assert_eq!(of("Creating", Some("running")), Power::Changing);
        assert_eq!(of("Succeeded", Some("starting")), Power::Changing);
        assert_eq!(of("Succeeded", None), Power::Changing);
        assert_eq!(of("Succeeded", Some("stopped")), Power::Stopped);
        assert_eq!(of("Deleting", Some("running")), Power::Going);
        assert_eq!(of("Failed", None), Power::Failed);
        let mut refused = machine("failed/AllocationFailed", Some("deallocated"));
        refused["properties"]["provisioningState"] = json!("Failed");
        assert_eq!(power(&refused), Power::Failed);
        assert_eq!(failure(&refused).0, "AllocationFailed");
        assert_eq!(shown(refused, interface())["state"], FAILED);
    }
}
