//! Somebody else was in the subscription: `drift` says what and changes nothing, `up` puts it right.

use reqwest::Method;
use serde_json::{Value, json};
use tests::azure::SUBSCRIPTION;
use tests::azure::account::{only, things};
use tests::azure::cloud::{Cloud, REGION};
use tests::cloud_home::CloudHome;

/// The role that may do everything.
const OWNER: &str = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635";
const COMPUTE: &str = "2025-04-01";
const NETWORK: &str = "2025-05-01";
const STORAGE: &str = "2025-01-01";
const ROLES: &str = "2022-04-01";
const LOCKS: &str = "2020-05-01";

/// Somebody's call, which Azure does.
#[track_caller]
fn somebody(cloud: &Cloud, method: Method, id: &str, version: &str, body: Option<Value>) {
    let answer = cloud.azure.somebody(method, &format!("{id}?api-version={version}"), body.as_ref());
    assert!((200..300).contains(&answer.status), "{id}: {answer:?}");
}

/// `drift --json`, which must have asked the cloud for nothing that changes something.
#[track_caller]
fn drift(cloud: &Cloud, home: &CloudHome) -> Vec<Value> {
    cloud.proxy.clear();
    let report = home.dsctl(&["drift", "--detailed-exitcode", "--json"]).exits(2).json();
    cloud.is_untouched("drift");
    report["drift"].as_array().unwrap().clone()
}

/// That an address differs in exactly these keys.
#[track_caller]
fn differs(drift: &[Value], address: &str, keys: &[&str]) {
    let found = drift.iter().find(|it| it["address"] == address).unwrap_or_else(|| panic!("no {address} in {drift:?}"));
    assert_eq!((&found["drift"], &found["keys"]), (&json!("changed"), &json!(keys)), "{found}");
}

#[track_caller]
fn is_right_again(cloud: &Cloud, home: &CloudHome) {
    let up = home.up(&[]).exits(0);
    home.dsctl(&["drift", "--detailed-exitcode"]).exits(0).says("No drift");
    cloud.agrees_with(home, &up.line);
    cloud.proxy.clear();
    home.up(&["--expect-no-changes"]).exits(0);
    cloud.is_untouched("when all is right again");
}

fn lock_of(machine: &str) -> String {
    format!("{machine}/providers/Microsoft.Authorization/locks/dsctl")
}

/// The assignment by which the machine writes its status.
#[track_caller]
fn writer(account: &Value) -> String {
    let role = things(account, "role_assignments").find(|role| role["condition"].is_string());
    role.unwrap()["id"].as_str().unwrap().to_owned()
}

/// Without what is another after each change.
fn settled(mut shown: Value) -> Value {
    match &mut shown {
        Value::Object(fields) => {
            fields.remove("etag");
            fields.values_mut().for_each(|field| *field = settled(field.take()));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| *item = settled(item.take())),
        _ => {}
    }
    shown
}

/// All at once: each shows under its own address, and nothing else does.
#[test]
fn what_somebody_changed_is_told_and_put_right() {
    let cloud = Cloud::start();
    let home = cloud.home();
    home.up(&[]).exits(0);
    let machine = home.id("machine.main");
    let before = cloud.azure.account();
    loosen(&cloud, &home, &before);

    let found = drift(&cloud, &home);
    differs(&found, "access.machine", &["further_roles", "writer"]);
    differs(&found, "machine.main", &["boot_diagnostics", "termination_protection"]);
    differs(&found, "network.main", &["default_outbound_access", "further_subnets"]);
    differs(&found, "public-address.nat", &["tags"]);
    differs(&found, "security-group.machine", &["allow", "further_rules"]);
    differs(&found, "storage.main", &["account_keys", "public_blobs", "versioning"]);
    assert_eq!(found.len(), 6, "{found:?}");
    let access = found.iter().find(|it| it["address"] == "access.machine").unwrap().to_string();
    assert!(access.contains(&format!("{OWNER} on /subscriptions/{SUBSCRIPTION}")), "{access}");
    let said = home.dsctl(&["drift"]).exits(0).says("0.0.0.0/0").says("ssh: allow inbound tcp 22 from *");
    said.says("6 not as it was left").says("dsctl plan");
    home.dsctl(&["drift", "--ignore", "machine.main", "--ignore", "storage.main.versioning"])
        .exits(0)
        .says("(1 ignored)");
    home.up(&["--expect-no-changes"]).exits(7);
    cloud.is_untouched("none were expected");

    is_right_again(&cloud, &home);
    assert_eq!(home.id("machine.main"), machine, "the same machine");
    let after = cloud.azure.account();
    let apart = ["role_assignments", "public_addresses"];
    for kind in before.as_object().unwrap().keys().filter(|kind| !apart.contains(&kind.as_str())) {
        assert_eq!(settled(after[kind].clone()), settled(before[kind].clone()), "{kind} is as it was before");
    }
    assert_eq!(things(&after, "role_assignments").count(), things(&before, "role_assignments").count());
    // It is found by its address and lineage again; what somebody wrote beside them is theirs.
    let tags = |account: &Value, name: &str| only(account, "public_addresses")["tags"][name].clone();
    for name in ["dsctl-deployment", "dsctl-address", "dsctl-lineage", "dsctl-owner"] {
        assert_eq!(tags(&after, name), tags(&before, name), "{name}");
    }
    assert_eq!(tags(&after, "team"), "somebody's");
}

/// Each of them opens something, takes a guard away, or hides it from the next look.
fn loosen(cloud: &Cloud, home: &CloudHome, account: &Value) {
    let (group, network) = (home.id("security-group.machine"), home.id("network.main"));
    let rule = |priority: u32, port: &str, from: &str| {
        json!({"properties": {"priority": priority, "direction": "Inbound", "access": "Allow", "protocol": "Tcp",
            "sourceAddressPrefix": from, "sourcePortRange": "*", "destinationAddressPrefix": "*",
            "destinationPortRange": port}})
    };
    somebody(cloud, Method::PUT, &format!("{group}/securityRules/ssh"), NETWORK, Some(rule(200, "22", "*")));
    let world = rule(100, "443", "0.0.0.0/0");
    somebody(cloud, Method::PUT, &format!("{group}/securityRules/gateway"), NETWORK, Some(world));
    let subnet = json!({"properties": {"addressPrefix": "10.77.0.0/17", "defaultOutboundAccess": true,
        "networkSecurityGroup": {"id": group}, "natGateway": {"id": home.id("nat-gateway.main")},
        "serviceEndpoints": [{"service": "Microsoft.Storage"}]}});
    somebody(cloud, Method::PUT, &format!("{network}/subnets/machines"), NETWORK, Some(subnet));
    let further = json!({"properties": {"addressPrefix": "10.77.128.0/24"}});
    somebody(cloud, Method::PUT, &format!("{network}/subnets/further"), NETWORK, Some(further));
    let tags = json!({"tags": {"team": "somebody's"}});
    somebody(cloud, Method::PATCH, &home.id("public-address.nat"), NETWORK, Some(tags));

    let storage = home.id("storage.main");
    let open = json!({"properties": {"allowBlobPublicAccess": true, "allowSharedKeyAccess": true}});
    somebody(cloud, Method::PATCH, &storage, STORAGE, Some(open));
    let blobs = json!({"properties": {"isVersioningEnabled": false,
        "deleteRetentionPolicy": {"enabled": true, "days": 7}, "containerDeleteRetentionPolicy": {"enabled": false}}});
    somebody(cloud, Method::PUT, &format!("{storage}/blobServices/default"), STORAGE, Some(blobs));

    let machine = home.id("machine.main");
    somebody(cloud, Method::DELETE, &lock_of(&machine), LOCKS, None);
    let silent = json!({"properties": {"diagnosticsProfile": {"bootDiagnostics": {"enabled": false}}}});
    somebody(cloud, Method::PATCH, &machine, COMPUTE, Some(silent));
    somebody(cloud, Method::DELETE, &writer(account), ROLES, None);
    let name = "11111111-2222-4333-8444-555555555555";
    let place = format!("/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Authorization");
    let principal = only(account, "identities")["properties"]["principalId"].clone();
    let owner = json!({"properties": {"roleDefinitionId": format!("{place}/roleDefinitions/{OWNER}"),
        "principalId": principal, "principalType": "ServicePrincipal"}});
    somebody(cloud, Method::PUT, &format!("{place}/roleAssignments/{name}"), ROLES, Some(owner));
}

#[test]
fn what_somebody_removed_is_told_and_made_again() {
    let cloud = Cloud::start();
    let home = cloud.home();
    home.up(&[]).exits(0);
    let (machine, access) = (home.id("machine.main"), home.id("access.machine"));
    let secret = format!("/{}/dsctl/secrets/daemon-key", cloud.storage_of(&home));
    let answer = cloud.azure.somebody(Method::DELETE, &secret, None);
    assert_eq!(answer.status, 202, "{answer:?}");
    somebody(&cloud, Method::DELETE, &access, ROLES, None);
    somebody(&cloud, Method::DELETE, &lock_of(&machine), LOCKS, None);
    somebody(&cloud, Method::DELETE, &machine, COMPUTE, None);

    let found = drift(&cloud, &home);
    let gone: Vec<(&str, &str)> =
        found.iter().map(|it| (it["address"].as_str().unwrap(), it["drift"].as_str().unwrap())).collect();
    // The second of the two assignments hung on the one that is gone.
    let expected = [
        ("access.machine", "gone"),
        ("machine.main", "gone"),
        ("secret.daemon-key", "gone"),
        ("access.machine", "unknown"),
    ];
    assert_eq!(gone, expected);
    home.dsctl(&["drift"]).exits(0).says("- machine.main  it is gone");
    home.dsctl(&["plan"]).exits(0).says("3 to create").says("it is gone");
    is_right_again(&cloud, &home);
    assert_ne!(home.id("machine.main"), machine);
    home.dsctl(&["down", "--yes"]).exits(0);
    cloud.is_empty("after down");
}

#[test]
fn a_machine_that_was_stopped_is_started() {
    let cloud = Cloud::start();
    let home = cloud.home();
    home.up(&[]).exits(0);
    let machine = home.id("machine.main");
    for (action, power) in [("deallocate", "deallocated"), ("powerOff", "stopped")] {
        somebody(&cloud, Method::POST, &format!("{machine}/{action}"), COMPUTE, None);
        let found = drift(&cloud, &home);
        differs(&found, "machine.main", &["state"]);
        assert_eq!(found.len(), 1, "{found:?}");
        home.dsctl(&["drift"]).exits(0).says(power);
        is_right_again(&cloud, &home);
        assert_eq!(only(&cloud.azure.account(), "machines")["power"], "running");
        assert_eq!(home.id("machine.main"), machine, "the same machine");
    }
}

/// What a crash may leave: it carries the tags of this very state, which knows nothing of it.
#[test]
fn what_no_record_has_is_told_and_goes_with_the_deployment() {
    let cloud = Cloud::start();
    let home = cloud.home();
    home.up(&[]).exits(0);
    let lineage = home.state().unwrap()["lineage"].as_str().unwrap().to_owned();
    let tags = json!({"dsctl-deployment": "default", "dsctl-lineage": lineage, "dsctl-address": "public-address.nat",
        "dsctl-token": "feedfeedfeedfeed", "dsctl-owner": "ada@example.org"});
    let address = format!("{}/providers/Microsoft.Network/publicIPAddresses/left", home.id("group.main"));
    let body = json!({"location": REGION, "tags": tags, "sku": {"name": "Standard"},
        "properties": {"publicIPAllocationMethod": "Static"}});
    somebody(&cloud, Method::PUT, &address, NETWORK, Some(body));
    home.dsctl(&["drift"]).exits(0).says("/publicIPAddresses/left").says("it carries our tags and is in no record");
    home.dsctl(&["orphans", "--cloud", "azure", "--detailed-exitcode"]).exits(2).says("/publicIPAddresses/left");
    home.dsctl(&["down", "--yes"]).exits(0);
    cloud.is_empty("after down");
}
