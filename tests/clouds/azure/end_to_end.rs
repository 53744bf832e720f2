//! What is in the subscription after `up`: as the fake knows it, and as Microsoft's own clients list it.

use std::collections::BTreeSet;
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tests::azure::access::{BLOB_CONTRIBUTOR, BLOB_OWNER, BLOB_READER};
use tests::azure::account::{is_id, only, things};
use tests::azure::cloud::{Cloud, REGION};
use tests::azure::reader::Reader;
use tests::azure::{CALLER, Looks, SUBSCRIPTION};
use tests::cloud_home::CloudHome;

/// More than this Compute does not take, in Base64.
const CUSTOM_DATA_LIMIT: usize = 87_380;
/// The newest of its line.
const IMAGE: &str = "microsoft-dsvm:ubuntu-hpc:2204:22.04.2026101501";
const SECRETS: [&str; 3] = ["admin-token", "api-key", "daemon-key"];

#[test]
fn a_deployment_is_private_encrypted_and_marked() {
    let cloud = Cloud::start();
    let home = cloud.home();
    home.dsctl(&["plan"]).exits(0).says("1. Standard_NC48ads_A100_v4 in eastus,").says(IMAGE);
    cloud.is_untouched("a plan");
    home.up(&[]).exits(0).says("+ machine.main").says("endpoint  https://10.77.");
    let account = cloud.azure.account();
    one_port_is_open_to_one_range(&account);
    its_network_has_one_way_out(&account, &home);
    its_machine_is_guarded(&account, &home);
    its_storage_is_private(&account);
    roles_end_at_the_storage(&account, &home);
    everything_is_marked(&account);
    cloud.proxy.clear();
    cloud.azure.set_image_versions(&["22.04.2026101501", "22.04.2027010101"]);
    home.up(&["--expect-no-changes"]).exits(0).says("No changes").says(IMAGE);
    cloud.is_untouched("a newer image");
}

/// A role works late, and to write later than to read: nothing is written before it does.
#[test]
fn the_right_to_write_is_waited_for_before_anything_is_written() {
    let cloud = Cloud::start();
    let home = cloud.home();
    cloud.azure.set_looks(Looks { access: 3, ..Looks::default() });
    home.up(&[]).exits(0).says("+ secret.api-key");
    let calls = cloud.proxy.calls();
    let refused =
        |operation: &str| calls.iter().filter(|call| call.operation == operation && call.status == Some(403)).count();
    assert_eq!((refused("Blob_Delete"), refused("BlockBlob_Upload")), (3, 0));
}

fn one_port_is_open_to_one_range(account: &Value) {
    let rules = &only(account, "security_groups")["properties"]["securityRules"];
    let of = |rule: &Value, fields: &[&str]| -> Vec<Value> {
        fields.iter().map(|field| rule["properties"][field].clone()).collect()
    };
    let common = ["direction", "access", "protocol", "destinationPortRange", "priority"];
    assert_eq!(rules.as_array().map(Vec::len), Some(2), "{rules}");
    let allow = [json!("Inbound"), json!("Allow"), json!("Tcp"), json!("443"), json!(100)];
    assert_eq!(of(&rules[0], &common), allow, "{rules}");
    assert_eq!(rules[0]["properties"]["sourceAddressPrefixes"], json!(["10.0.0.0/8"]));
    let deny = [json!("Inbound"), json!("Deny"), json!("*"), json!("*"), json!(4096)];
    assert_eq!(of(&rules[1], &common), deny, "{rules}");
    assert_eq!(rules[1]["properties"]["sourceAddressPrefix"], "*");
}

fn its_network_has_one_way_out(account: &Value, home: &CloudHome) {
    let network = &only(account, "networks")["properties"];
    assert_eq!(network["addressSpace"]["addressPrefixes"], json!(["10.77.0.0/16"]));
    assert_eq!(network["subnets"].as_array().map(Vec::len), Some(1), "{network}");
    let subnet = &network["subnets"][0]["properties"];
    assert_eq!(subnet["defaultOutboundAccess"], false, "a way out that nobody asked for");
    assert_eq!(subnet["serviceEndpoints"][0]["service"], "Microsoft.Storage");
    assert!(is_id(&subnet["networkSecurityGroup"]["id"], &home.id("security-group.machine")), "{subnet}");
    assert!(is_id(&subnet["natGateway"]["id"], &home.id("nat-gateway.main")), "{subnet}");
    let gateway = &only(account, "nat_gateways");
    let addresses = &gateway["properties"]["publicIpAddresses"];
    assert_eq!((&gateway["sku"]["name"], addresses.as_array().map(Vec::len)), (&json!("Standard"), Some(1)));
    // The one public address of all is the gateway's.
    assert!(is_id(&only(account, "public_addresses")["id"], &home.id("public-address.nat")));
    assert!(is_id(&addresses[0]["id"], &home.id("public-address.nat")), "{gateway}");
    let interface = &only(account, "interfaces")["properties"];
    let address = &interface["ipConfigurations"][0]["properties"];
    assert_eq!(interface["ipConfigurations"].as_array().map(Vec::len), Some(1), "{interface}");
    assert_eq!(address["publicIPAddress"], Value::Null, "{interface}");
    assert!(address["privateIPAddress"].as_str().is_some_and(|ip| ip.starts_with("10.77.")), "{interface}");
    assert_eq!(interface["enableAcceleratedNetworking"], true);
}

fn its_machine_is_guarded(account: &Value, home: &CloudHome) {
    let machine = only(account, "machines");
    assert!(is_id(&machine["id"], &home.id("machine.main")), "{machine}");
    assert_eq!((&machine["zones"], &machine["power"]), (&Value::Null, &json!("running")), "Azure chose where");
    let properties = &machine["properties"];
    let at = |pointer: &str| properties.pointer(pointer).unwrap_or(&Value::Null);
    let expected = json!({
        "/hardwareProfile/vmSize": "Standard_NC48ads_A100_v4", "/securityProfile/encryptionAtHost": true,
        "/osProfile/linuxConfiguration/disablePasswordAuthentication": true, "/osProfile/adminPassword": null,
        "/storageProfile/imageReference/version": "22.04.2026101501", "/storageProfile/osDisk/deleteOption": "Delete",
        "/storageProfile/osDisk/managedDisk/storageAccountType": "Premium_LRS",
        "/networkProfile/networkInterfaces/0/properties/deleteOption": "Delete",
        "/diagnosticsProfile/bootDiagnostics/enabled": true, "/evictionPolicy": null,
    });
    for (pointer, value) in expected.as_object().unwrap() {
        assert_eq!(at(pointer), value, "{pointer}");
    }
    assert_ne!(at("/priority"), "Spot");
    let identities: Vec<&String> =
        machine["identity"]["userAssignedIdentities"].as_object().unwrap().iter().map(|(id, _)| id).collect();
    assert_eq!((identities.len(), &machine["identity"]["type"]), (1, &json!("UserAssigned")));
    assert!(identities[0].eq_ignore_ascii_case(&home.id("identity.machine")), "{identities:?}");
    let lock = only(account, "locks");
    assert!(is_id(&lock["scope"], &home.id("machine.main")), "{lock}");
    let disk = only(account, "disks");
    assert!(is_id(&disk["attached_to"], &home.id("machine.main")), "{disk}");
    let gib = disk["properties"]["diskSizeGB"].as_u64().unwrap();
    assert!((100..200).contains(&gib), "{gib} GiB for 70 GB of weights");
}

fn its_storage_is_private(account: &Value) {
    let storage = only(account, "storage_accounts");
    let expected = json!({
        "allowBlobPublicAccess": false, "allowSharedKeyAccess": false, "allowCrossTenantReplication": false,
        "minimumTlsVersion": "TLS1_2", "supportsHttpsTrafficOnly": true, "defaultToOAuthAuthentication": true,
    });
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&storage["properties"][field], value, "{field}");
    }
    assert_eq!(storage["properties"]["encryption"]["requireInfrastructureEncryption"], true);
    assert_eq!((&storage["kind"], &storage["location"]), (&json!("StorageV2"), &json!(REGION)));
    assert_eq!(storage["blob_service"]["isVersioningEnabled"], true);
    assert_eq!(storage["blob_service"]["deleteRetentionPolicy"]["enabled"], true);
    let rules = storage["life_cycle"]["policy"]["rules"].as_array().unwrap();
    let expiring = rules.iter().filter(|rule| !rule["definition"]["actions"]["baseBlob"].is_null()).count();
    assert_eq!(expiring, 0, "nothing that is in use goes by itself: {rules:?}");
    let container = only(account, "containers");
    assert_eq!(container["properties"]["publicAccess"], "None");
    assert_eq!(container["versions"].as_u64(), container["keys"].as_array().map(|keys| keys.len() as u64), "each once");
}

/// The caller's role ends at the account, the machine's two at its container; what it may write, at a folder in there.
fn roles_end_at_the_storage(account: &Value, home: &CloudHome) {
    let machine = only(account, "identities")["properties"]["principalId"].clone();
    let (storage, container) = (home.id("storage.main"), home.id("bucket.main"));
    let mut found = BTreeSet::new();
    for role in things(account, "role_assignments") {
        let definition = role["roleDefinitionId"].as_str().unwrap().rsplit('/').next().unwrap();
        let (is_machine, is_bound) = (role["principalId"] == machine, role["condition"].is_string());
        let scope = if is_machine { &container } else { &storage };
        assert!(is_id(&role["scope"], scope), "{role}");
        assert!(is_machine || role["principalId"] == CALLER, "{role}");
        found.insert((is_machine, definition.to_owned(), is_bound));
        if is_bound {
            assert!(role["condition"].as_str().unwrap().contains("StringLike 'host/*'"), "{role}");
        }
    }
    let expected = [(false, BLOB_OWNER, false), (true, BLOB_READER, false), (true, BLOB_CONTRIBUTOR, true)];
    let expected = expected.map(|(is_machine, role, is_bound)| (is_machine, role.to_owned(), is_bound));
    assert_eq!(found, BTreeSet::from(expected));
}

/// Locks have no tags; the container has metadata, whose names know no hyphen.
fn everything_is_marked(account: &Value) {
    let kinds = account.as_object().unwrap().iter().filter(|(kind, _)| *kind != "locks");
    for (kind, thing) in kinds.flat_map(|(kind, all)| all.as_array().unwrap().iter().map(move |it| (kind, it))) {
        let tag = |name: &str| {
            let separator = if kind == "containers" { "_" } else { "-" };
            thing["tags"][format!("dsctl{separator}{name}")].as_str().unwrap_or_default().to_owned()
        };
        assert_eq!(tag("deployment"), "default", "{kind} {thing}");
        for name in ["address", "token", "lineage"] {
            assert!(!tag(name).is_empty(), "{name} of {kind} {thing}");
        }
        assert_eq!(tag("owner"), "ada@example.org", "{kind} {thing}");
    }
    let tags = |kind: &str| only(account, kind)["tags"].clone();
    assert_eq!((tags("disks"), tags("interfaces")), (tags("machines"), tags("machines")));
}

/// Not in the state, the journal, a plan, what dsctl says, the first boot's script, a tag, or what was asked of Azure.
#[test]
fn a_secret_is_in_its_blob_and_nowhere_else() {
    let cloud = Cloud::start();
    let home = cloud.home();
    let record = home.home.scratch().join("calls.jsonl");
    cloud.proxy.record_to(&record);
    let up = home.up(&[]).exits(0);
    let (plan, status) = (home.dsctl(&["plan", "--json"]).exits(0), home.dsctl(&["status", "--json"]).exits(1));
    let account = cloud.azure.account();
    let script = only(&account, "machines")["custom_data"].as_str().unwrap().to_owned();
    assert!(script.len() < CUSTOM_DATA_LIMIT, "{} bytes of custom data", script.len());
    let script = String::from_utf8(BASE64_STANDARD.decode(script).unwrap()).unwrap();
    assert!(script.starts_with("#cloud-config"), "{script}");
    let is_placeholder = |word: &str| word.len() > 1 && word.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
    assert!(!script.split('@').any(is_placeholder), "a placeholder was left: {script}");
    let identity = home.id("identity.machine");
    for line in [format!("identity=\"{identity}\""), "export AZURE_MSI_RESOURCE_ID=\"$identity\"".to_owned()] {
        assert!(script.contains(&line), "{line} is not in {script}");
    }
    assert!(script.contains("&msi_res_id=${identity//\\//%2F}"), "{script}");
    let said = [up.transcript(), plan.transcript(), status.transcript()];
    let told = [script, account.to_string(), asked_elsewhere(&record), cloud.desired(&home).to_string()];
    let texts: Vec<String> = files(&home).into_iter().chain(said).chain(told).collect();
    for name in SECRETS {
        let secret = cloud.object(&home, &format!("secrets/{name}"));
        let secret = secret.trim();
        assert!(secret.strip_prefix("dsk-").is_some_and(|hex| hex.len() == 64), "{name} is short");
        assert!(std::fs::read_to_string(&record).unwrap().contains(secret), "{name} was not seen to be written");
        assert!(!texts.iter().any(|text| text.contains(secret)), "{name} is told");
    }
    assert!(cloud.object(&home, "secrets/tls-ca").contains("PRIVATE KEY"), "the authority has one");
    assert!(!texts.iter().any(|text| text.contains("dsk-") || text.contains("PRIVATE KEY")), "a secret is told");
}

/// State, journal and spec.
fn files(home: &CloudHome) -> Vec<String> {
    let state = home.home.deployment().state();
    let journal = std::fs::read_dir(state.join("journal")).unwrap().map(|entry| entry.unwrap().path());
    let files = journal.chain([state.join("state.json"), home.home.deployment().spec_file()]);
    files.map(|path| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned()).collect()
}

/// Every request but the bodies of those that write the secrets.
fn asked_elsewhere(record: &Path) -> String {
    let text = std::fs::read_to_string(record).unwrap();
    let calls = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let lines = calls.map(|mut call| {
        if call["method"] == "PUT" && call["path"].as_str().unwrap().contains("/dsctl/secrets/") {
            call["body"].take();
        }
        call.to_string()
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// We wrote the fake and its account; the clients that read it are Microsoft's.
#[test]
fn microsofts_own_clients_list_what_the_state_records() {
    let cloud = Cloud::start();
    let home = cloud.home();
    home.up(&[]).exits(0);
    let theirs = Reader::start().list(&cloud.azure);
    let mut recorded: Vec<String> = home.recorded().iter().map(|id| id.to_lowercase()).collect();
    recorded.sort();
    assert_eq!(listed(&theirs), recorded, "listed on the left, in the state on the right");
    // What the machine brought along is the machine's, and there once.
    let machine = home.id("machine.main");
    assert!(is_id(&only(&theirs, "disks")["managed_by"], &machine), "{}", theirs["disks"]);
    assert!(is_id(&only(&theirs, "interfaces")["virtual_machine"]["id"], &machine), "{}", theirs["interfaces"]);
    assert_eq!(only(&theirs, "machines")["power"], "PowerState/running");
    assert_eq!(only(&theirs, "storage_accounts")["versioning"], true);
    let lock = only(&theirs, "locks");
    assert!(is_id(&lock["id"], &format!("{machine}/providers/Microsoft.Authorization/locks/dsctl")), "{lock}");
    assert_eq!(lock["level"], "CanNotDelete");
    let metadata = &only(&theirs, "containers")["metadata_of"];
    for (key, of_blob) in metadata.as_object().unwrap() {
        assert!(of_blob["dsctl_token"].is_string() && of_blob["dsctl_lineage"].is_string(), "{key}: {of_blob}");
    }
    let resources: Vec<&Value> = things(&theirs, "resources").collect();
    let inside = format!("{}/", home.id("group.main").to_lowercase());
    assert!(inside.starts_with(&format!("/subscriptions/{SUBSCRIPTION}/")), "{inside}");
    for resource in resources {
        assert!(
            resource["id"].as_str().unwrap().to_lowercase().starts_with(&inside),
            "outside of the group: {resource}"
        );
    }
}

/// Ids as a state records them; an assignment with a condition hangs on the one before it.
fn listed(account: &Value) -> Vec<String> {
    let kinds = [
        "groups",
        "networks",
        "security_groups",
        "public_addresses",
        "nat_gateways",
        "machines",
        "identities",
        "storage_accounts",
        "containers",
        "role_assignments",
    ];
    let recorded = kinds.iter().flat_map(|kind| things(account, kind)).filter(|thing| thing["condition"].is_null());
    let ids = recorded.map(|thing| thing["id"].as_str().unwrap().to_lowercase());
    let blobs = things(account, "containers").flat_map(|container| {
        let place = format!("az://{}/dsctl", container["account"].as_str().unwrap());
        container["keys"].as_array().unwrap().iter().map(move |key| format!("{place}/{}", key.as_str().unwrap()))
    });
    let mut all: Vec<String> = ids.chain(blobs).collect();
    all.sort();
    all
}
