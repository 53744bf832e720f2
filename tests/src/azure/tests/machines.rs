//! Machines: what comes with them, what goes with them, what they refuse.

use reqwest::Method;
use serde_json::{Value, json};

use super::super::account::{orphans, things};
use super::super::{Azure, Looks, Price, SUBSCRIPTION};
use super::{MACHINE, SIZE, group, machine, network, send, tags, thing};

#[track_caller]
fn ready() -> (Azure, Value) {
    let azure = Azure::ready();
    let subnet = network(&azure);
    (azure, machine(&subnet, SIZE))
}

#[test]
fn a_machine_is_made_with_its_disk_and_its_interface_and_goes_with_them() {
    let (azure, mut body) = ready();
    let address =
        "/properties/networkProfile/networkInterfaceConfigurations/0/properties/ipConfigurations/0/properties";
    body.pointer_mut(address).expect("a configuration")["publicIPAddressConfiguration"] = json!({"name": "main", "tags": tags("m"),
        "sku": {"name": "Standard", "tier": "Regional"},
        "properties": {"deleteOption": "Delete", "publicIPAllocationMethod": "Static"}});
    azure.set_looks(Looks { machine: 1, ..Looks::NONE });
    let told = azure.call_with(Method::PUT, &thing(MACHINE), &[("if-none-match", "*")], Some(&body)).is(201);
    assert_eq!(told.json()["properties"]["provisioningState"], "Creating");
    let url = told.header("azure-asyncoperation").expect("where to ask").to_owned();
    assert_eq!(azure.follow(&url).json()["status"], "InProgress");
    assert_eq!(azure.follow(&url).json()["status"], "Succeeded");
    let made = azure.get(&format!("{}?$expand=instanceView", thing(MACHINE))).is(200).json();
    let codes: Vec<&Value> = made["properties"]["instanceView"]["statuses"]
        .as_array()
        .expect("statuses")
        .iter()
        .map(|it| &it["code"])
        .collect();
    assert_eq!(codes, ["ProvisioningState/succeeded", "PowerState/running"]);
    assert_eq!(made["properties"]["osProfile"]["customData"], Value::Null, "nobody is shown that");
    let interface = made["properties"]["networkProfile"]["networkInterfaces"][0]["id"].as_str().expect("an interface");
    let shown = azure.get(interface).is(200).json();
    assert_eq!(
        (&shown["properties"]["virtualMachine"]["id"], &shown["tags"]["dsctl-token"]),
        (&made["id"], &json!("m"))
    );
    let disk = made["properties"]["storageProfile"]["osDisk"]["managedDisk"]["id"].as_str().expect("a disk");
    assert_ne!(disk, thing("Microsoft.Compute/disks/main-disk"), "Azure writes it in another case");
    assert_eq!(azure.get(disk).is(200).json()["managedBy"], made["id"]);
    azure.delete(interface).refused(400, "NicInUse");
    azure.delete(disk).refused(409, "OperationNotAllowed");
    let account = azure.account();
    assert_eq!(
        things(&account, "machines").next().map(|it| it["custom_data"].clone()),
        Some(json!("I2Nsb3VkLWNvbmZpZw=="))
    );
    assert!(orphans(&account).is_empty(), "{account}");
    azure.delete(&thing(MACHINE)).is(202);
    let account = azure.account();
    for kind in ["machines", "disks", "interfaces", "public_addresses"] {
        assert_eq!(account[kind], json!([]), "{kind}");
    }
}

#[test]
fn a_machine_that_is_there_is_not_made_twice() {
    let (azure, body) = ready();
    azure.made(&thing(MACHINE), &body);
    azure
        .call_with(Method::PUT, &thing(MACHINE), &[("if-none-match", "*")], Some(&body))
        .refused(412, "PreconditionFailed");
    azure
        .call_with(Method::PUT, &thing(MACHINE), &[("if-match", "\"other\"")], Some(&body))
        .refused(412, "PreconditionFailed");
    azure.put(&thing(MACHINE), &body).is(200);
    assert_eq!(azure.account()["disks"].as_array().map(Vec::len), Some(1));
}

#[test]
fn what_is_to_stay_stays_and_is_an_orphan() {
    let (azure, mut body) = ready();
    body["properties"]["storageProfile"]["osDisk"]["deleteOption"] = json!("Detach");
    body["properties"]["networkProfile"]["networkInterfaceConfigurations"][0]["properties"]["deleteOption"] =
        json!("Detach");
    azure.made(&thing(MACHINE), &body);
    azure.gone(&thing(MACHINE));
    let account = azure.account();
    assert_eq!(orphans(&account).len(), 2, "{account}");
    let disk = thing("Microsoft.Compute/disks/main-disk");
    assert_eq!(azure.get(&disk).json()["properties"]["diskState"], "Unattached");
    azure.gone(&disk);
    assert_eq!(orphans(&azure.account()).len(), 1);
}

#[test]
fn a_named_interface_is_in_one_machine() {
    let (azure, mut body) = ready();
    let subnet = format!("{}/subnets/machines", thing("Microsoft.Network/virtualNetworks/main"));
    let interface = thing("Microsoft.Network/networkInterfaces/main");
    body["properties"]["networkProfile"] = json!({"networkInterfaces": [{"id": interface}]});
    azure.put(&thing(MACHINE), &body).refused(400, "InvalidResourceReference");
    azure.made(
        &interface,
        &json!({"location": "eastus", "properties": {
        "ipConfigurations": [{"name": "main", "properties": {"subnet": {"id": subnet}}}]}}),
    );
    azure.made(&thing(MACHINE), &body);
    body["properties"]["storageProfile"]["osDisk"]["name"] = json!("other");
    azure.put(&thing("Microsoft.Compute/virtualMachines/other"), &body).refused(400, "NicInUse");
}

#[test]
fn what_a_machine_cannot_start_with_is_refused() {
    let (azure, body) = ready();
    let cases = [
        ("/properties/hardwareProfile/vmSize", json!("Standard_Nonsense"), "InvalidParameter"),
        ("/properties/storageProfile/imageReference/version", json!("22.04.1"), "PlatformImageNotFound"),
        ("/properties/storageProfile/osDisk/diskSizeGB", json!(8), "ResizeDiskError"),
        ("/properties/osProfile/adminUsername", json!("admin"), "InvalidParameter"),
        ("/properties/osProfile/customData", json!("no base64!"), "InvalidParameter"),
        (
            "/properties/osProfile/linuxConfiguration/ssh/publicKeys/0/keyData",
            json!("ssh-dss AAAA"),
            "InvalidParameter",
        ),
        ("/properties/osProfile/linuxConfiguration/ssh/publicKeys/0/path", json!("/etc/ssh/keys"), "InvalidParameter"),
        ("/properties/networkProfile", json!({}), "InvalidParameter"),
        ("/zones", json!(["4"]), "InvalidAvailabilityZone"),
    ];
    for (path, value, code) in cases {
        let mut wrong = body.clone();
        wrong["zones"] = json!(["1"]);
        *wrong.pointer_mut(path).expect("a place") = value;
        azure.put(&thing(MACHINE), &wrong).refused(400, code);
    }
    let mut stranger = body;
    stranger["identity"] = json!({"type": "UserAssigned", "userAssignedIdentities": {
        thing("Microsoft.ManagedIdentity/userAssignedIdentities/none"): {}}});
    azure.put(&thing(MACHINE), &stranger).refused(400, "FailedIdentityOperation");
    assert_eq!(azure.account()["disks"], json!([]), "nothing was made");
}

#[test]
fn encryption_at_the_host_is_a_feature_of_subscription_and_size() {
    let (azure, mut body) = ready();
    body["properties"]["securityProfile"] = json!({"encryptionAtHost": true});
    azure.set_encryption_at_host(false);
    azure.put(&thing(MACHINE), &body).refused(400, "InvalidParameter");
    azure.set_encryption_at_host(true);
    azure.made(&thing(MACHINE), &body);
    body["properties"]["hardwareProfile"]["vmSize"] = json!("Standard_ND96asr_v4");
    body["zones"] = json!(["2"]);
    azure.put(&thing("Microsoft.Compute/virtualMachines/other"), &body).refused(400, "InvalidParameter");
}

#[test]
fn a_machine_keeps_what_it_was_made_with() {
    let (azure, body) = ready();
    azure.made(&thing(MACHINE), &body);
    let changed = azure.call(Method::PATCH, &thing(MACHINE), Some(&json!({"tags": {"a": "b"}}))).is(200).json();
    assert_eq!(changed["tags"], json!({"a": "b"}));
    azure.pass_time();
    let mut other = body.clone();
    other["properties"]["osProfile"]["customData"] = json!("b3RoZXI=");
    azure.put(&thing(MACHINE), &other).refused(409, "PropertyChangeNotAllowed");
    let mut zonal = body;
    zonal["zones"] = json!(["1"]);
    azure.put(&thing(MACHINE), &zonal).refused(409, "PropertyChangeNotAllowed");
}

#[test]
fn identities_are_given_and_shown() {
    let (azure, mut body) = ready();
    let identity = thing("Microsoft.ManagedIdentity/userAssignedIdentities/machine");
    let principal = azure.made(&identity, &json!({"location": "eastus"}))["properties"]["principalId"].clone();
    body["identity"] = json!({"type": "UserAssigned", "userAssignedIdentities": {identity.as_str(): {}}});
    let made = azure.made(&thing(MACHINE), &body);
    assert_eq!(made["identity"]["userAssignedIdentities"][&identity]["principalId"], principal);
}

#[test]
fn a_machine_is_stopped_started_and_taken_back() {
    let (azure, mut body) = ready();
    body["properties"]["priority"] = json!("Spot");
    body["properties"]["evictionPolicy"] = json!("Delete");
    body["properties"]["billingProfile"] = json!({"maxPrice": -1});
    azure.made(&thing(MACHINE), &body);
    let power = || {
        azure.pass_time();
        azure.get(&format!("{}/instanceView", thing(MACHINE))).is(200).json()["statuses"][1]["code"].clone()
    };
    azure
        .somebody(Method::POST, &format!("{}/deallocate?api-version=2025-04-01", thing(MACHINE)), None)
        .has_status(202);
    assert_eq!(power(), "PowerState/deallocated");
    azure.call(Method::POST, &format!("{}/start", thing(MACHINE)), None).is(202);
    assert_eq!(power(), "PowerState/running");
    azure.call(Method::POST, &format!("{}/simulateEviction", thing(MACHINE)), None).is(204);
    azure.get(&thing(MACHINE)).refused(404, "ResourceNotFound");
    assert!(orphans(&azure.account()).is_empty());
}

#[test]
fn the_console_is_read_under_an_address_of_its_own() {
    let (azure, body) = ready();
    azure.made(&thing(MACHINE), &body);
    azure.set_console(&thing(MACHINE), "dsctl: phase weights");
    let urls =
        azure.call(Method::POST, &format!("{}/retrieveBootDiagnosticsData", thing(MACHINE)), None).is(200).json();
    let url = urls["serialConsoleLogBlobUri"].as_str().expect("an address");
    assert_eq!(send(Method::GET, url, &[], None).is(200).body, "dsctl: phase weights");
}

#[test]
fn a_removal_comes_before_what_goes_on() {
    let (azure, body) = ready();
    azure.set_looks(Looks { machine: 3, ..Looks::NONE });
    let told = azure.put(&thing(MACHINE), &body).is(201);
    azure.put(&thing(MACHINE), &body).refused(409, "Conflict");
    azure.delete(&thing(MACHINE)).is(202);
    let url = told.header("azure-asyncoperation").expect("where to ask");
    let state = azure.follow(url).json();
    assert_eq!((&state["status"], &state["error"]["code"]), (&json!("Canceled"), &json!("OperationPreempted")));
    azure.pass_time();
    azure.get(&thing(MACHINE)).refused(404, "ResourceNotFound");
}

#[test]
fn images_have_versions_in_no_order() {
    let azure = Azure::ready();
    let versions = format!(
        "/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Compute/locations/eastus/publishers/microsoft-dsvm/artifacttypes/\
         vmimage/offers/ubuntu-hpc/skus/2204/versions"
    );
    let list = azure.get(&versions).is(200).json();
    assert_eq!((list.as_array().map(Vec::len), &list[1]["name"]), (Some(4), &json!("22.04.2026101501")));
    azure.get(&format!("{versions}/22.04.2026101501")).is(200);
    azure.get(&format!("{versions}/1.2.3")).refused(404, "NotFound");
    azure.get(&versions.replace("2204", "9999")).refused(404, "NotFound");
    let own = thing("Microsoft.Compute/images/mine");
    azure.get(&own).refused(404, "ResourceNotFound");
    azure.made(&own, &json!({"location": "eastus", "properties": {"hyperVGeneration": "V2"}}));
}

#[test]
fn prices_are_given_to_anybody() {
    let azure = Azure::start();
    for (size, dollars, is_spot) in [("A", 4.0, false), ("A", 1.5, true), ("B", 7.0, false)] {
        azure.set_price(Price { size: size.to_owned(), region: "eastus".to_owned(), dollars, is_spot });
    }
    let filter = "serviceName eq 'Virtual Machines' and priceType eq 'Consumption' and armRegionName eq 'eastus' and \
                  (armSkuName eq 'A' or armSkuName eq 'C')";
    let url = format!("{}/api/retail/prices?$filter={filter}", azure.url());
    let page = send(Method::GET, &url, &[], None).is(200).json();
    let items = page["Items"].as_array().expect("items").clone();
    let prices = |product: &str| -> Vec<(Value, Value)> {
        let of_it = items.iter().filter(|it| it["productName"] == product);
        of_it.map(|it| (it["retailPrice"].clone(), it["meterName"].clone())).collect()
    };
    let plain = [(json!(4.0), json!("A")), (json!(1.0), json!("A Low Priority")), (json!(1.5), json!("A Spot"))];
    assert_eq!(prices("Virtual Machines NC Series"), plain);
    assert_eq!(prices("Virtual Machines NC Series Windows").len(), 2);
}

#[test]
fn machines_are_listed() {
    let (azure, body) = ready();
    azure.made(&thing(MACHINE), &body);
    let all =
        azure.get(&format!("/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Compute/virtualMachines")).is(200).json();
    let of_group = azure.get(&format!("{}/providers/Microsoft.Compute/virtualMachines", group())).is(200).json();
    assert_eq!((&all["value"][0]["name"], &of_group["value"][0]["name"]), (&json!("main"), &json!("main")));
}
