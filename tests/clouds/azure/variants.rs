//! Deployments on Azure that are not the default one: other ways out, in the open, on the spot market, under rules.

use reqwest::Method;
use serde_json::{Value, json};
use tests::azure::access::{BLOB_CONTRIBUTOR, BLOB_READER};
use tests::azure::account::{is_id, only, things};
use tests::azure::cloud::Cloud;
use tests::azure::{Price, SUBSCRIPTION};
use tests::cloud_home::CloudHome;
use tests::proxy::{Fault, Rule};

const SMALL: &str = "Standard_NC48ads_A100_v4";
/// Six years with their leap days.
const AUDIT_DAYS: f64 = 2192.0;

#[track_caller]
fn none_of(account: &Value, kinds: &[&str]) {
    for kind in kinds {
        assert_eq!(things(account, kind).count(), 0, "{kind}: {}", account[kind]);
    }
}

/// Nothing changes on a second look, and nothing is left in the end.
#[track_caller]
fn stays_and_goes(cloud: &Cloud, home: &CloudHome, wish: &[&str]) {
    cloud.agrees_with(home, "after up");
    home.dsctl(&["drift", "--detailed-exitcode"]).exits(0).says("No drift");
    cloud.proxy.clear();
    home.up(&[wish, &["--expect-no-changes"]].concat()).exits(0).says("No changes");
    cloud.is_untouched("a second up");
    home.dsctl(&["down", "--yes"]).exits(0).says("it no longer costs $");
    cloud.is_empty("after down");
}

#[test]
fn with_endpoints_only_there_is_no_way_to_the_internet() {
    let cloud = Cloud::start();
    let home = cloud.home();
    let wish = ["--egress", "endpoints", "--weights", "az://models/r1/70b-q8.gguf"];
    home.up(&wish).exits(0);
    let account = cloud.azure.account();
    none_of(&account, &["nat_gateways", "public_addresses"]);
    let subnet = &only(&account, "networks")["properties"]["subnets"][0]["properties"];
    assert_eq!((&subnet["natGateway"], &subnet["defaultOutboundAccess"]), (&Value::Null, &json!(false)));
    assert_eq!(subnet["serviceEndpoints"][0]["service"], "Microsoft.Storage");
    let interface = &only(&account, "interfaces")["properties"]["ipConfigurations"][0]["properties"];
    assert_eq!(interface["publicIPAddress"], Value::Null);
    stays_and_goes(&cloud, &home, &wish);
}

/// They are the user's, in an account of theirs: to let the machine read there is theirs too, and no drift. More than that is.
#[test]
fn the_machine_may_be_let_read_weights_of_ones_own() {
    let cloud = Cloud::start();
    let home = cloud.home();
    home.up(&["--weights", "az://models/r1/70b-q8.gguf"]).exits(0);
    let principal = only(&cloud.azure.account(), "identities")["properties"]["principalId"].clone();
    let group = format!("/subscriptions/{SUBSCRIPTION}/resourceGroups/models");
    let account = format!("{group}/providers/Microsoft.Storage/storageAccounts/somebodysmodels");
    let made = |id: &str, api: &str, body: Value| {
        let answer = cloud.azure.somebody(Method::PUT, &format!("{id}?api-version={api}"), Some(&body));
        assert!((200..300).contains(&answer.status), "{id}: {answer:?}");
    };
    made(&group, "2025-04-01", json!({"location": "eastus"}));
    let plain = json!({"location": "eastus", "kind": "StorageV2", "sku": {"name": "Standard_LRS"}, "properties": {}});
    made(&account, "2025-01-01", plain);
    let give = |role: &str, name: &str| {
        let place = format!("/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Authorization/roleDefinitions");
        let body = json!({"properties": {"roleDefinitionId": format!("{place}/{role}"), "principalId": principal,
            "principalType": "ServicePrincipal"}});
        made(&format!("{account}/providers/Microsoft.Authorization/roleAssignments/{name}"), "2022-04-01", body);
    };
    let wish = ["--weights", "az://models/r1/70b-q8.gguf", "--expect-no-changes"];
    give(BLOB_READER, "11111111-2222-4333-8444-555555555555");
    home.dsctl(&["drift", "--detailed-exitcode"]).exits(0).says("No drift");
    home.up(&wish).exits(0).says("No changes");
    give(BLOB_CONTRIBUTOR, "11111111-2222-4333-8444-666666666666");
    home.dsctl(&["drift", "--detailed-exitcode"]).exits(2).says("access.machine").says("further_roles");
    home.up(&wish[..2]).exits(0).says("~ access.machine");
    let left = cloud.azure.account();
    let theirs = things(&left, "role_assignments").filter(|role| is_id(&role["scope"], &account));
    assert_eq!(theirs.count(), 1, "the right to read stays: {}", left["role_assignments"]);
    home.dsctl(&["down", "--yes"]).exits(0);
}

#[test]
fn in_the_open_it_has_an_address_and_only_the_named_get_in() {
    let cloud = Cloud::start();
    let home = cloud.home();
    let wish = ["--public", "--allow", "203.0.113.0/24,198.51.100.7/32", "--port", "8443", "--tls", "elsewhere"];
    home.up(&wish).exits(0).says(":8443/v1");
    let account = cloud.azure.account();
    none_of(&account, &["nat_gateways"]);
    let address = only(&account, "public_addresses");
    let interface = &only(&account, "interfaces")["properties"]["ipConfigurations"][0]["properties"];
    assert!(is_id(&interface["publicIPAddress"]["id"], address["id"].as_str().unwrap()), "{interface}");
    assert_eq!(address["tags"], only(&account, "machines")["tags"], "whose it is");
    assert_eq!(address["sku"]["name"], "Standard");
    let rules = &only(&account, "security_groups")["properties"]["securityRules"];
    assert_eq!(rules[0]["properties"]["sourceAddressPrefixes"], json!(["198.51.100.7/32", "203.0.113.0/24"]));
    assert_eq!(rules[0]["properties"]["destinationPortRange"], "8443");
    assert_eq!((rules.as_array().map(Vec::len), &rules[1]["properties"]["access"]), (Some(2), &json!("Deny")));
    stays_and_goes(&cloud, &home, &wish);
}

#[test]
fn on_the_spot_market_it_is_evicted_as_a_whole_and_not_locked() {
    let cloud = Cloud::start();
    let home = cloud.home();
    let price = |dollars, is_spot| Price { size: SMALL.to_owned(), region: "eastus".to_owned(), dollars, is_spot };
    cloud.azure.set_price(price(7.346, false));
    cloud.azure.set_price(price(2.94, true));
    let wish = ["--spot", "--machine-type", SMALL];
    let plan = home.dsctl(&["plan", "--json", wish[0], wish[1], wish[2]]).exits(0).json();
    let first = plan["cloud"]["candidates"][0].as_str().unwrap();
    assert!(first.starts_with("Standard_NC48ads_A100_v4 in eastus, spot, $2.94/h"), "{plan}");
    assert_eq!(plan["cloud"]["quota"]["code"], "lowPriorityCores");
    cloud.proxy.arm([Rule::nth("VirtualMachines_CreateOrUpdate", 1, Fault::Capacity)]);
    home.up(&wish).exits(0).says("trying Standard_NC48ads_A100_v4 in eastus-1, spot");
    let account = cloud.azure.account();
    let properties = &only(&account, "machines")["properties"];
    assert_eq!((&properties["priority"], &properties["evictionPolicy"]), (&json!("Spot"), &json!("Delete")));
    assert_eq!(properties["billingProfile"]["maxPrice"].as_f64(), Some(-1.0), "up to the price on demand");
    assert_eq!(properties["storageProfile"]["osDisk"]["deleteOption"], "Delete");
    // Azure could not take back what is locked.
    none_of(&account, &["locks"]);
    let paid = home.dsctl(&["status", "--json"]).exits(1).json()["hourly_usd"].as_f64().unwrap();
    assert!((2.94..3.2).contains(&paid), "{paid}");

    // Azure takes it back: what is left of it costs nothing, and the next up has another.
    let machine = home.id("machine.main");
    let evict = format!("{machine}/simulateEviction?api-version=2025-04-01");
    let answer = cloud.azure.somebody(Method::POST, &evict, None);
    assert_eq!(answer.status, 204, "{answer:?}");
    none_of(&cloud.azure.account(), &["machines", "disks", "interfaces"]);
    home.dsctl(&["drift"]).exits(0).says("- machine.main  it is gone");
    home.up(&wish).exits(0).says("+ machine.main");
    assert_ne!(home.id("machine.main"), machine);
    stays_and_goes(&cloud, &home, &wish);
}

#[test]
fn under_hipaa_every_access_is_logged_and_the_records_outlive_the_deployment() {
    let cloud = Cloud::start();
    let home = cloud.home_in("westeurope");
    let wish = ["--compliance", "hipaa,gdpr", "--zone", "westeurope-2,westeurope-1"];
    home.up(&wish).exits(0);
    cloud.agrees_with(&home, "after up");
    let account = cloud.azure.account();
    assert_eq!(only(&account, "machines")["zones"], json!(["2"]), "the first that was named");
    let storage = home.id("storage.main");
    let rules = only(&account, "storage_accounts")["life_cycle"]["policy"]["rules"].clone();
    assert!(keeps(&rules), "{rules}");
    assert_eq!(only(&account, "storage_accounts")["location"], "westeurope");
    // The audit log that compliance asks for goes too: its key, and what the host is told of it.
    home.up(&[]).exits(0).says("~ storage.main").says("- secret.audit-key");
    home.up(&wish).exits(0).says("~ storage.main").says("+ secret.audit-key");
    home.dsctl(&["drift", "--detailed-exitcode"]).exits(0);

    cloud.azure.put_blob(&cloud.storage_of(&home), "dsctl", "audit/2026/11/24.jsonl", "{}");
    let down = home.dsctl(&["down", "--yes"]).exits(0).says("is gone");
    let account = cloud.azure.account();
    none_of(&account, &["machines", "networks", "nat_gateways", "public_addresses", "identities", "role_assignments"]);
    let kept = only(&account, "storage_accounts");
    assert!(is_id(&kept["id"], &storage), "{kept}");
    assert_eq!(only(&account, "containers")["keys"], json!(["audit/2026/11/24.jsonl"]));
    assert_eq!(kept["properties"]["allowBlobPublicAccess"], false);
    assert!(keeps(&kept["life_cycle"]["policy"]["rules"]), "{kept}");
    // Another deployment of that name is another one.
    home.up(&wish).exits(0);
    assert_ne!(home.id("storage.main"), storage);
    home.dsctl(&["down", "--yes"]).exits(0);
    let left = cloud.azure.account();
    assert!(things(&left, "storage_accounts").any(|it| is_id(&it["id"], &storage)), "somebody else's records went");
    down.says(storage.rsplit('/').next().unwrap());
}

/// Whether what lies under `audit/` goes after its days, and not before.
fn keeps(rules: &Value) -> bool {
    let of_audit = |rule: &&Value| rule["definition"]["filters"]["prefixMatch"].to_string().contains("dsctl/audit/");
    let Some(rule) = rules.as_array().unwrap().iter().find(of_audit) else { return false };
    let days = &rule["definition"]["actions"]["baseBlob"]["delete"]["daysAfterModificationGreaterThan"];
    days.as_f64().or(rule["definition"]["actions"]["baseBlob"]["delete"]["daysAfterCreationGreaterThan"].as_f64())
        == Some(AUDIT_DAYS)
}

#[test]
fn what_is_pinned_is_what_comes() {
    let cloud = Cloud::start();
    let home = cloud.home();
    let wish = [
        "--region",
        "swedencentral",
        "--zone",
        "swedencentral-3",
        "--machine-type",
        "Standard_NC48ads_A100_v4",
        "--image",
        "microsoft-dsvm:ubuntu-hpc:2204:22.04.2025091401",
        "--disk",
        "400",
        "--network",
        "172.20.0.0/18",
        "--egress-gb",
        "0",
    ];
    home.up(&wish).exits(0).says("region swedencentral").says("endpoint  https://172.20.");
    let home = home.in_region("swedencentral");
    let account = cloud.azure.account();
    let machine = only(&account, "machines");
    let properties = &machine["properties"];
    assert_eq!(properties["hardwareProfile"]["vmSize"], "Standard_NC48ads_A100_v4");
    assert_eq!((&machine["zones"], &machine["location"]), (&json!(["3"]), &json!("swedencentral")));
    assert_eq!(properties["storageProfile"]["imageReference"]["version"], "22.04.2025091401");
    assert_eq!(only(&account, "disks")["properties"]["diskSizeGB"], 400);
    assert_eq!(only(&account, "networks")["properties"]["addressSpace"]["addressPrefixes"], json!(["172.20.0.0/18"]));
    for kind in ["groups", "storage_accounts", "networks", "identities"] {
        assert_eq!(only(&account, kind)["location"], "swedencentral", "{kind}");
    }
    stays_and_goes(&cloud, &home, &wish);
}

/// In a group of its own, which dsctl has nothing to do with.
#[track_caller]
fn gallery(cloud: &Cloud, security: &str) -> String {
    let group = format!("/subscriptions/{SUBSCRIPTION}/resourceGroups/images");
    let gallery = format!("{group}/providers/Microsoft.Compute/galleries/ours");
    let image = format!("{gallery}/images/with-driver");
    let identifier = json!({"publisher": "us", "offer": "ubuntu", "sku": "driver"});
    let features = json!([{"name": "SecurityType", "value": security}]);
    let properties =
        json!({"osType": "Linux", "osState": "Generalized", "identifier": identifier, "features": features});
    let disk = format!("{group}/providers/Microsoft.Compute/disks/prepared");
    let storage = json!({"osDiskImage": {"source": {"id": disk}}});
    let version = format!("{image}/versions/1.2.3");
    let made = [
        (group, "2025-04-01", json!({"location": "eastus"})),
        (gallery, "2025-03-03", json!({"location": "eastus", "properties": {}})),
        (image, "2025-03-03", json!({"location": "eastus", "properties": properties})),
        (version.clone(), "2025-03-03", json!({"location": "eastus", "properties": {"storageProfile": storage}})),
    ];
    for (id, api, body) in made {
        let answer = cloud.azure.somebody(Method::PUT, &format!("{id}?api-version={api}"), Some(&body));
        assert!((200..300).contains(&answer.status), "{id}: {answer:?}");
    }
    version
}

#[test]
fn an_image_may_lie_in_a_gallery_of_ones_own() {
    let cloud = Cloud::start();
    let home = cloud.home();
    let image = gallery(&cloud, "TrustedLaunchSupported");
    let missing = image.replace("1.2.3", "9.9.9");
    home.up(&["--image", &missing]).exits(4).says(&missing).says("next: dsctl plan --image");
    cloud.is_untouched("an image that is not there");
    let wish = ["--image", image.as_str()];
    home.up(&wish).exits(0);
    let account = cloud.azure.account();
    let reference = &only(&account, "machines")["properties"]["storageProfile"]["imageReference"];
    assert!(is_id(&reference["id"], &image), "{reference}");
    home.dsctl(&["drift", "--detailed-exitcode"]).exits(0).says("No drift");
    cloud.proxy.clear();
    home.up(&[&wish[..], &["--expect-no-changes"]].concat()).exits(0).says("No changes");
    cloud.is_untouched("a second up");
    home.dsctl(&["down", "--yes"]).exits(0);
    let left = cloud.azure.account();
    none_of(&left, &["machines", "storage_accounts", "networks"]);
    assert!(only(&left, "groups")["id"].as_str().unwrap().ends_with("/images"), "{}", left["groups"]);
}

/// Ours start without secure boot: Azure would refuse the machine when everything else is made and paid for.
#[test]
fn an_image_that_starts_with_secure_boot_only_is_refused_before_anything_is_made() {
    let cloud = Cloud::start();
    let home = cloud.home();
    let image = gallery(&cloud, "TrustedLaunch");
    let refused = home.up(&["--image", &image]).exits(4).says(&image).says("it starts as TrustedLaunch only");
    refused.says("next: dsctl plan --image");
    cloud.is_untouched("an image that demands more than there is");
}
