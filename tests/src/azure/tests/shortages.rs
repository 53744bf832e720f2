//! No machines, no quota, no right to a size.

use serde_json::{Value, json};

use super::super::account::orphans;
use super::super::{Azure, Looks, Restriction, SUBSCRIPTION, Shortage};
use super::{MACHINE, SIZE, Told, machine, network, thing};

#[track_caller]
fn ready() -> (Azure, Value) {
    let azure = Azure::ready();
    let subnet = network(&azure);
    let mut body = machine(&subnet, SIZE);
    body["zones"] = json!(["1"]);
    (azure, body)
}

fn other(body: &Value) -> Value {
    let mut other = body.clone();
    other["properties"]["storageProfile"]["osDisk"]["name"] = json!("other-disk");
    other
}

const OTHER: &str = "Microsoft.Compute/virtualMachines/other";

fn usage(azure: &Azure, name: &str) -> (i64, i64) {
    let usages = format!("/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Compute/locations/eastus/usages");
    let list = azure.get(&usages).is(200).json();
    let found = list["value"].as_array().expect("usages").iter().find(|it| it["name"]["value"] == name).cloned();
    let found = found.unwrap_or_else(|| panic!("no {name} in {list}"));
    (found["currentValue"].as_i64().expect("a number"), found["limit"].as_i64().expect("a number"))
}

#[test]
fn there_are_as_many_machines_as_there_is_room_for() {
    let (azure, body) = ready();
    azure.set_room(SIZE, Some("1"), 1, Shortage::SkuNotAvailable);
    azure.made(&thing(MACHINE), &body);
    azure.put(&thing(OTHER), &other(&body)).refused(409, "SkuNotAvailable");
    azure.get(&thing(OTHER)).refused(404, "ResourceNotFound");
    let mut elsewhere = other(&body);
    elsewhere["zones"] = json!(["2"]);
    azure.put(&thing(OTHER), &elsewhere).is(201);
    azure.gone(&thing(MACHINE));
    azure.put(&thing(MACHINE), &body).is(201);
}

#[track_caller]
fn fails(azure: &Azure, told: &Told) -> Value {
    let url = told.header("azure-asyncoperation").expect("where to ask");
    let state = azure.follow(url).is(200).json();
    assert_eq!(state["status"], "Failed", "{state}");
    state["error"]["code"].clone()
}

#[test]
fn a_machine_that_could_not_be_had_stays_and_says_why() {
    let (azure, body) = ready();
    azure.set_room(SIZE, Some("1"), 0, Shortage::ZonalAllocationFailed);
    let told = azure.put(&thing(MACHINE), &body).is(201);
    assert_eq!(fails(&azure, &told), "ZonalAllocationFailed");
    let failed = azure.get(&format!("{}?$expand=instanceView", thing(MACHINE))).is(200).json();
    assert_eq!(failed["properties"]["provisioningState"], "Failed");
    let statuses = &failed["properties"]["instanceView"]["statuses"];
    assert_eq!(statuses[0]["code"], "ProvisioningState/failed/ZonalAllocationFailed");
    assert_eq!(statuses[1], Value::Null, "it never ran");
    assert_eq!(usage(&azure, "cores").0, 0, "it takes no quota");
    azure.gone(&thing(MACHINE));
    assert!(orphans(&azure.account()).is_empty());
}

#[test]
fn a_machine_without_a_zone_fails_with_a_code_of_its_own() {
    let (azure, mut body) = ready();
    body.as_object_mut().expect("a body").remove("zones");
    azure.set_room(SIZE, None, 0, Shortage::AllocationFailed);
    let told = azure.put(&thing(MACHINE), &body).is(201);
    assert_eq!(fails(&azure, &told), "AllocationFailed");
}

#[test]
fn a_named_interface_is_kept_for_the_machine_that_failed() {
    let (azure, mut body) = ready();
    azure.set_looks(Looks { reserved: 1, ..Looks::NONE });
    let subnet = format!("{}/subnets/machines", thing("Microsoft.Network/virtualNetworks/main"));
    let interface = thing("Microsoft.Network/networkInterfaces/main");
    azure.made(
        &interface,
        &json!({"location": "eastus", "properties": {
        "ipConfigurations": [{"name": "main", "properties": {"subnet": {"id": subnet}}}]}}),
    );
    body["properties"]["networkProfile"] = json!({"networkInterfaces": [{"id": interface}]});
    azure.set_room(SIZE, Some("1"), 0, Shortage::OverconstrainedZonalAllocationRequest);
    let told = azure.put(&thing(MACHINE), &body).is(201);
    assert_eq!(fails(&azure, &told), "OverconstrainedZonalAllocationRequest");
    azure.gone(&thing(MACHINE));
    let mut next = other(&body);
    next["zones"] = json!(["2"]);
    azure.put(&thing(OTHER), &next).refused(400, "NicReservedForAnotherVm");
    azure.put(&thing(OTHER), &next).is(201);
}

#[test]
fn quotas_count_what_is_used() {
    let (azure, body) = ready();
    azure.made(&thing(MACHINE), &body);
    assert_eq!(usage(&azure, "StandardNCADSA100v4Family"), (24, 1152));
    assert_eq!((usage(&azure, "cores").0, usage(&azure, "lowPriorityCores").0), (24, 0));
    azure.set_quota("standardncadsa100v4family", 40);
    let refused = azure.put(&thing(OTHER), &other(&body));
    refused.refused(409, "OperationNotAllowed");
    let message = refused.json()["error"]["message"].as_str().expect("a message").to_owned();
    let figures = "exceeding approved StandardNCADSA100v4Family Cores quota. Additional details - Deployment Model: \
                   Resource Manager, Location: eastus, Current Limit: 40, Current Usage: 24, Additional Required: 24";
    assert!(message.contains(figures), "{message}");
    let mut spot = other(&body);
    spot["properties"]["priority"] = json!("Spot");
    spot["properties"]["evictionPolicy"] = json!("Delete");
    azure.put(&thing(OTHER), &spot).is(201);
    assert_eq!(usage(&azure, "lowPriorityCores").0, 24);
}

#[test]
fn spot_machines_have_a_quota_of_their_own_and_not_every_size() {
    let (azure, body) = ready();
    azure.set_quota("lowPriorityCores", 0);
    let mut spot = body.clone();
    spot["properties"]["priority"] = json!("Spot");
    let told = azure.put(&thing(MACHINE), &spot);
    told.refused(409, "OperationNotAllowed");
    assert!(told.body.contains("LowPriorityCores"), "{told:?}");
    let mut rules = body;
    rules["properties"]["evictionPolicy"] = json!("Delete");
    azure.put(&thing(MACHINE), &rules).refused(409, "OperationNotAllowed");
}

#[test]
fn restrictions_show_in_the_list_of_sizes_and_hold() {
    let (azure, body) = ready();
    let list = format!("/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Compute/skus?$filter=location eq 'eastus'");
    let entry = || {
        let all = azure.get(&list).is(200).json();
        let found = all["value"].as_array().expect("sizes").iter().find(|it| it["name"] == SIZE).cloned();
        found.expect("the size")
    };
    let size = entry();
    assert_eq!((&size["locationInfo"][0]["zones"], &size["restrictions"]), (&json!(["1", "2"]), &json!([])));
    let has = |name: &str, value: &str| {
        size["capabilities"].as_array().is_some_and(|all| all.contains(&json!({"name": name, "value": value})))
    };
    assert!(
        has("vCPUs", "24") && has("EncryptionAtHostSupported", "True") && has("AcceleratedNetworkingEnabled", "True")
    );
    let restriction = |zones: &[&str]| Restriction {
        size: SIZE.to_owned(),
        region: "eastus".to_owned(),
        zones: zones.iter().map(|it| (*it).to_owned()).collect(),
    };
    azure.restrict(restriction(&["1"]));
    assert_eq!(entry()["restrictions"][0]["restrictionInfo"]["zones"], json!(["1"]));
    azure.put(&thing(MACHINE), &body).refused(409, "SkuNotAvailable");
    let mut elsewhere = body.clone();
    elsewhere["zones"] = json!(["2"]);
    azure.put(&thing(MACHINE), &elsewhere).is(201);
    azure.restrict(restriction(&[]));
    assert_eq!(entry()["restrictions"][0]["type"], "Location");
    azure.put(&thing(OTHER), &other(&elsewhere)).refused(409, "SkuNotAvailable");
}
