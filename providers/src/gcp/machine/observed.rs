//! A machine as it shows, in the shape of its inputs; what is not as we always make it shows as further keys. Pure.

use engine::provider::Known;
use google_cloud_compute_v1::model::instance::Status;
use google_cloud_compute_v1::model::metadata::Items;
use google_cloud_compute_v1::model::scheduling::ProvisioningModel;
use google_cloud_compute_v1::model::{AccessConfig, Disk, Instance};
use serde_json::{Map, Value, json};
use spec::machine::Market;

use super::disk;
use super::wanted::{GUARDS, USER_DATA, item};
use crate::gcp::access::service_account;
use crate::gcp::auth::named;
use crate::gcp::labels::{self, Labels};
use crate::gcp::names::{last, relative};

/// Ways into a machine, and scripts of somebody else's: nothing of ours is told by them.
const FOREIGN: [&str; 6] =
    ["ssh-keys", "sshKeys", "startup-script", "startup-script-url", "shutdown-script", "shutdown-script-url"];

/// What Google does not tell is as it was recorded.
pub fn observed(instance: &Instance, disk: Option<&Disk>, recorded: &Value, known: &Known, project: &str) -> Value {
    let account = instance.service_accounts.first().and_then(|account| account.email.as_deref());
    let account = account.map(|email| named(known, &service_account::id_of(project, email).0));
    let subnet = instance.network_interfaces.first().and_then(|interface| interface.subnetwork.as_deref());
    let image = disk.and_then(|disk| disk.source_image.as_deref()).map(|link| json!(relative(link)));
    let (iops, mib_a_second) = disk::observed(disk, recorded);
    let mut seen = json!({
        "machine_type": instance.machine_type.as_deref().map(last),
        "zone": instance.zone.as_deref().map(last),
        "market": market(instance),
        "subnet": subnet.map(|link| named(known, relative(link))),
        "image": image.unwrap_or_else(|| recorded["image"].clone()),
        "service_account": account,
        "bucket": recorded["bucket"],
        "disk_gib": disk.and_then(|disk| disk.size_gb).map_or_else(|| recorded["disk_gib"].clone(), Value::from),
        "disk_iops": iops,
        "disk_mib_a_second": mib_a_second,
        "public": recorded["public"],
        "deletion_protection": instance.deletion_protection.unwrap_or_default(),
        "boot_script": recorded["boot_script"],
        "dsctl_sha256": recorded["dsctl_sha256"],
    });
    let key = match disk {
        Some(disk) => disk::encryption_key(disk).map(Value::from),
        None => recorded.get("encryption_key").cloned(),
    };
    if let Some(fields) = seen.as_object_mut() {
        fields.extend(key.map(|key| ("encryption_key".to_owned(), key)));
        fields.extend(oddities(instance, recorded["public"].as_bool().unwrap_or_default()));
    }
    seen
}

fn market(instance: &Instance) -> Market {
    let model = instance.scheduling.as_ref().and_then(|scheduling| scheduling.provisioning_model.as_ref());
    if model == Some(&ProvisioningModel::Spot) { Market::Spot } else { Market::OnDemand }
}

/// What is not as we always make it.
fn oddities(instance: &Instance, is_public: bool) -> Map<String, Value> {
    let mut odd = Map::new();
    let mut add = |key: &str, how: Value| odd.insert(key.to_owned(), how);
    if let Some(state) = stopped(instance) {
        add("state", json!(state));
    }
    let metadata = strange_metadata(instance);
    if !metadata.is_empty() {
        add("metadata", json!(metadata));
    }
    match (external(instance), is_public) {
        (Some(access), false) => drop(add("external_address", json!(access.nat_ip.as_deref().unwrap_or("some")))),
        (None, true) => drop(add("external_address", json!("none"))),
        (Some(_), true) | (None, false) => {}
    }
    if !labels::is_complete(&all_labels(instance)) {
        add("labels", json!("incomplete"));
    }
    if !is_shielded(instance) {
        add("shielded", json!("off"));
    }
    odd
}

/// The state of a machine that does not run and will not by itself.
fn stopped(instance: &Instance) -> Option<&str> {
    use Status::{PendingStop, Stopped, Stopping, Suspended, Suspending, Terminated};
    let status = instance.status.as_ref()?;
    let is_over = matches!(status, PendingStop | Stopped | Stopping | Suspended | Suspending | Terminated);
    is_over.then(|| status.name()).flatten()
}

/// Its address of the world, if somebody gave it one.
pub fn external(instance: &Instance) -> Option<&AccessConfig> {
    instance.network_interfaces.first()?.access_configs.first()
}

fn metadata(instance: &Instance) -> &[Items] {
    instance.metadata.as_ref().map(|metadata| metadata.items.as_slice()).unwrap_or_default()
}

/// Keys that are missing, other, or of somebody else's.
pub fn strange_metadata(instance: &Instance) -> Vec<String> {
    let items = metadata(instance);
    let is_set = |(key, value): &(&str, &str)| items.contains(&item(key, value));
    let unset = GUARDS.iter().filter(|guard| !is_set(guard)).map(|(key, _)| (*key).to_owned());
    let foreign = items.iter().filter_map(|item| item.key.clone()).filter(|key| FOREIGN.contains(&key.as_str()));
    unset.chain(foreign).collect()
}

/// What its metadata should be: ours, and what else there is that opens nothing.
pub fn mended_metadata(instance: &Instance) -> Vec<Items> {
    let is_guard = |key: &str| GUARDS.iter().any(|(guard, _)| *guard == key);
    let stays = |found: &&Items| {
        let key = found.key.as_deref().unwrap_or_default();
        key == USER_DATA || !(is_guard(key) || FOREIGN.contains(&key))
    };
    let guards = GUARDS.iter().map(|(key, value)| item(key, value));
    metadata(instance).iter().filter(stays).cloned().chain(guards).collect()
}

pub fn all_labels(instance: &Instance) -> Labels {
    instance.labels.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn is_shielded(instance: &Instance) -> bool {
    let shielded = instance.shielded_instance_config.as_ref();
    shielded.is_some_and(|it| it.enable_vtpm == Some(true) && it.enable_integrity_monitoring == Some(true))
}

#[cfg(test)]
mod tests {
    use super::super::wanted::tests::inputs;
    use super::*;

    const LINK: &str = "https://www.googleapis.com/compute/v1/projects/p";

    /// As Google shows what was made.
    fn instance() -> Instance {
        let labels: Labels = labels::ALL.map(|label| (label.to_owned(), "x".to_owned())).into();
        serde_json::from_value(json!({"name": "n", "status": "RUNNING", "zone": format!("{LINK}/zones/europe-west4-a"),
            "machineType": format!("{LINK}/zones/europe-west4-a/machineTypes/g2-standard-24"), "labels": labels,
            "scheduling": {"provisioningModel": "STANDARD", "onHostMaintenance": "TERMINATE", "preemptible": false},
            "networkInterfaces": [{"name": "nic0", "networkIP": "10.77.0.2",
                "subnetwork": format!("{LINK}/regions/europe-west4/subnetworks/n")}],
            "serviceAccounts": [{"email": "dsctl-1@p.iam.gserviceaccount.com", "scopes": []}],
            "deletionProtection": true, "shieldedInstanceConfig": {"enableVtpm": true, "enableIntegrityMonitoring": true},
            "metadata": {"fingerprint": "AAAA", "items": [{"key": "user-data", "value": "#cloud-config"},
                {"key": "enable-oslogin", "value": "TRUE"}, {"key": "block-project-ssh-keys", "value": "TRUE"},
                {"key": "serial-port-enable", "value": "FALSE"}, {"key": "team", "value": "ml"}]}}))
        .unwrap()
    }

    fn disk() -> Disk {
        let image = "https://www.googleapis.com/compute/v1/projects/deeplearning-platform-release/global/images/i";
        serde_json::from_value(
            json!({"sizeGb": "200", "type": format!("{LINK}/zones/europe-west4-a/diskTypes/pd-balanced"),
            "sourceImage": image}),
        )
        .unwrap()
    }

    fn shown(instance: &Instance) -> Value {
        let recorded = serde_json::to_value(inputs()).unwrap();
        observed(instance, Some(&disk()), &recorded, &Known::empty("l"), "p")
    }

    #[test]
    fn a_machine_as_it_was_made_shows_its_inputs_only() {
        let mut expected = serde_json::to_value(inputs()).unwrap();
        expected["subnet"] = json!("projects/p/regions/europe-west4/subnetworks/n");
        expected["service_account"] = json!("projects/p/serviceAccounts/dsctl-1@p.iam.gserviceaccount.com");
        assert_eq!(shown(&instance()), expected);
    }

    #[test]
    fn the_key_of_its_disk_shows_and_is_as_recorded_while_the_disk_does_not() {
        let key = "projects/k/locations/europe-west4/keyRings/r/cryptoKeys/k";
        let encrypted = json!({"diskEncryptionKey": {"kmsKeyName": format!("{key}/cryptoKeyVersions/1")}});
        let encrypted: Disk = serde_json::from_value(encrypted).unwrap();
        let seen = |disk: Option<&Disk>| {
            observed(&instance(), disk, &json!({"encryption_key": "recorded"}), &Known::empty("l"), "p")
        };
        assert_eq!(seen(Some(&encrypted))["encryption_key"], key);
        assert_eq!(seen(None)["encryption_key"], "recorded");
        assert_eq!(seen(Some(&disk())).get("encryption_key"), None, "Google's own");
    }

    #[test]
    fn an_address_that_somebody_gave_it_shows_and_so_does_one_that_was_taken() {
        let mut open = instance();
        open.network_interfaces[0].access_configs = vec![AccessConfig::new().set_nat_ip("34.1.2.3")];
        assert_eq!(shown(&open)["external_address"], "34.1.2.3");
        let recorded = json!({"public": true});
        let taken = observed(&instance(), None, &recorded, &Known::empty("l"), "p");
        assert_eq!((&taken["external_address"], &taken["public"]), (&json!("none"), &json!(true)));
    }

    #[test]
    fn a_key_that_somebody_put_there_shows_and_goes_and_what_opens_nothing_stays() {
        let mut open = instance();
        let items = &mut open.metadata.as_mut().unwrap().items;
        items[1] = item("enable-oslogin", "FALSE");
        items.push(item("ssh-keys", "ada:ssh-ed25519 AAAA"));
        assert_eq!(shown(&open)["metadata"], json!(["enable-oslogin", "ssh-keys"]));
        let mended = mended_metadata(&open);
        assert!(mended.contains(&item("team", "ml")) && mended.contains(&item("enable-oslogin", "TRUE")));
        assert!(mended.contains(&item(USER_DATA, "#cloud-config")));
        assert_eq!(mended.len(), 5);
    }

    #[test]
    fn what_was_stopped_or_weakened_shows() {
        let stopped = instance().set_status(Status::Terminated);
        assert_eq!(shown(&stopped)["state"], "TERMINATED");
        let mut bare = instance();
        bare.shielded_instance_config = None;
        bare.labels.clear();
        assert_eq!((&shown(&bare)["shielded"], &shown(&bare)["labels"]), (&json!("off"), &json!("incomplete")));
        assert!(shown(&instance().set_status(Status::Staging)).get("state").is_none());
    }
}
