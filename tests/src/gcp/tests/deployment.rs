//! A whole deployment comes and goes by the calls that dsctl makes, in its words, and nothing is left of it.

use serde_json::{Value, json};

use super::super::{PROJECT, account};
use super::objects::BUCKET;
use super::{Desk, ZONE, compute};

const NAME: &str = "dsctl-a-01234567";
const EMAIL: &str = "dsctl-0123456789abcdef@dsctl-tests.iam.gserviceaccount.com";
const REGION: &str = "us-central1";
/// What the compute crate adds to every call.
const SYSTEM: &str = "$alt=json&$apiVersion=2026-09-01";

/// Another request id each time.
fn inserting(collection: &str, number: u32) -> String {
    compute(&format!("{collection}?{SYSTEM}&requestId=5f0cdb4a-4a5f-4d9b-9d3f-{number:012x}"))
}

fn told(address: &str) -> String {
    json!({"dsctl": {"deployment": "a", "address": address, "token": "t", "lineage": "0123456789abcdef"}}).to_string()
}

fn labels(address: &str) -> Value {
    json!({"dsctl-deployment": "a", "dsctl-address": address, "dsctl-token": "t", "dsctl-lineage": "0123456789abcdef",
        "dsctl-owner": "me"})
}

fn network(desk: &Desk) {
    let network = format!("projects/{PROJECT}/global/networks/{NAME}");
    desk.made(
        &inserting("global/networks", 1),
        &json!({"name": NAME, "description": told("network.main"), "autoCreateSubnetworks": false,
            "routingConfig": {"routingMode": "REGIONAL"}}),
    );
    desk.made(
        &inserting(&format!("regions/{REGION}/subnetworks"), 2),
        &json!({"name": NAME, "description": told("subnet.main"), "network": network, "ipCidrRange": "10.40.0.0/24",
            "privateIpGoogleAccess": true, "stackType": "IPV4_ONLY"}),
    );
    desk.made(
        &inserting(&format!("regions/{REGION}/routers"), 3),
        &json!({"name": NAME, "description": told("router.main"), "network": network, "nats": [{"name": "nat",
            "natIpAllocateOption": "AUTO_ONLY", "sourceSubnetworkIpRangesToNat": "ALL_SUBNETWORKS_ALL_IP_RANGES",
            "logConfig": {"enable": true, "filter": "ERRORS_ONLY"}}]}),
    );
    desk.made(
        &inserting("global/firewalls", 4),
        &json!({"name": format!("{NAME}-gateway"), "description": told("firewall.gateway"), "network": network,
            "direction": "INGRESS", "priority": 1000, "allowed": [{"IPProtocol": "tcp", "ports": ["443"]}],
            "sourceRanges": ["10.0.0.0/8"], "targetServiceAccounts": [EMAIL], "disabled": false}),
    );
}

fn account_and_bucket(desk: &Desk) {
    let account = json!({"accountId": "dsctl-0123456789abcdef",
        "serviceAccount": {"displayName": "dsctl a", "description": told("service-account.machine")}});
    desk.post(&format!("/v1/projects/{PROJECT}/serviceAccounts"), &account);
    let bucket = json!({"name": BUCKET, "location": REGION, "storageClass": "STANDARD", "labels": labels("bucket-main"),
        "iamConfiguration": {"uniformBucketLevelAccess": {"enabled": true}, "publicAccessPrevention": "enforced"},
        "versioning": {"enabled": true}, "softDeletePolicy": {"retentionDurationSeconds": "0"},
        "lifecycle": {"rule": [{"action": {"type": "Delete"}, "condition": {"daysSinceNoncurrentTime": 30}}]}});
    desk.post(&format!("/storage/v1/b?project={PROJECT}"), &bucket);
    let place = format!("/storage/v1/b/{BUCKET}/iam");
    let mut policy = desk.get(&format!("{place}?optionsRequestedPolicyVersion=3"));
    let bindings = policy["bindings"].as_array_mut().expect("bindings");
    bindings
        .push(json!({"role": "roles/storage.objectCreator", "members": ["group:cloud-storage-analytics@google.com"]}));
    bindings.push(json!({"role": "roles/storage.objectViewer", "members": [format!("serviceAccount:{EMAIL}")],
        "condition": {"title": "reads", "expression": "resource.name.startsWith('projects/_/buckets/b/objects/artifacts/')"}}));
    let wanted = json!({"version": 3, "etag": policy["etag"], "bindings": policy["bindings"]});
    // New accounts are not known everywhere at once.
    desk.refused(("PUT", &place), Some(&wanted), 400, "invalid");
    desk.ask("PUT", &place, Some(&wanted)).has_status(200);
    let logging = json!({"logging": {"logBucket": BUCKET, "logObjectPrefix": "access-log/usage"}});
    desk.ask("PATCH", &format!("/storage/v1/b/{BUCKET}?ifMetagenerationMatch=2"), Some(&logging)).has_status(200);
    let object = json!({"name": "host/main/desired.json", "contentType": "application/json",
        "metadata": {"dsctl-address": "host-spec.main", "dsctl-token": "t"}});
    desk.upload(&object, "{}", "&name=host%2Fmain%2Fdesired.json&ifGenerationMatch=0").has_status(200);
}

fn machine(desk: &Desk) {
    let subnetwork = format!("projects/{PROJECT}/regions/{REGION}/subnetworks/{NAME}");
    let body = json!({
        "name": format!("{NAME}-0a1b2c"), "machineType": "zones/us-central1-a/machineTypes/a3-highgpu-8g",
        "labels": labels("machine-main"), "deletionProtection": true, "canIpForward": false,
        "disks": [{"boot": true, "autoDelete": true, "initializeParams": {
            "sourceImage": "projects/deeplearning-platform-release/global/images/common-cu129-ubuntu-2404-nvidia-580-v20260818",
            "diskSizeGb": "200", "diskType": format!("projects/{PROJECT}/zones/{ZONE}/diskTypes/hyperdisk-balanced"),
            "provisionedIops": "6000", "provisionedThroughput": "400", "labels": labels("machine-main"),
            "diskName": format!("{NAME}-0a1b2c")}}],
        "networkInterfaces": [{"subnetwork": subnetwork, "nicType": "GVNIC"}],
        "serviceAccounts": [{"email": EMAIL, "scopes": ["https://www.googleapis.com/auth/cloud-platform"]}],
        "metadata": {"items": [{"key": "user-data", "value": "#cloud-config"}, {"key": "enable-oslogin", "value": "TRUE"},
            {"key": "block-project-ssh-keys", "value": "TRUE"}, {"key": "serial-port-enable", "value": "FALSE"}]},
        "scheduling": {"onHostMaintenance": "TERMINATE", "automaticRestart": true, "provisioningModel": "STANDARD"},
        "shieldedInstanceConfig": {"enableSecureBoot": false, "enableVtpm": true, "enableIntegrityMonitoring": true},
    });
    desk.made(&inserting(&format!("zones/{ZONE}/instances"), 5), &body);
    let disk = compute(&format!("zones/{ZONE}/disks/{NAME}-0a1b2c"));
    let faster = json!({"name": format!("{NAME}-0a1b2c"), "provisionedIops": "8000", "provisionedThroughput": "500"});
    desk.done("PATCH", &format!("{disk}?{SYSTEM}&updateMask=provisionedIops%2CprovisionedThroughput"), Some(&faster));
    assert_eq!(desk.get(&disk)["provisionedIops"], "8000");
}

/// In the order in which dsctl takes it down.
fn down(desk: &Desk) {
    let machine = compute(&format!("zones/{ZONE}/instances/{NAME}-0a1b2c"));
    desk.done("POST", &format!("{machine}/setDeletionProtection?{SYSTEM}&deletionProtection=false"), None);
    desk.done("DELETE", &machine, None);
    let objects = format!("/storage/v1/b/{BUCKET}/o");
    let all = desk.get(&format!("{objects}?prefix=&versions=true&pageToken="));
    for object in account::things(&all, "items") {
        let key = object["name"].as_str().expect("a name").replace('/', "%2F");
        let generation = object["generation"].as_str().expect("a generation");
        desk.ask("DELETE", &format!("{objects}/{key}?generation={generation}"), None).has_status(204);
    }
    desk.ask("DELETE", &format!("/storage/v1/b/{BUCKET}"), None).has_status(204);
    desk.ask("DELETE", &format!("/v1/projects/{PROJECT}/serviceAccounts/{EMAIL}"), None).has_status(200);
    for (collection, name) in [
        ("global/firewalls", format!("{NAME}-gateway")),
        (&format!("regions/{REGION}/routers"), NAME.to_owned()),
        (&format!("regions/{REGION}/subnetworks"), NAME.to_owned()),
        ("global/networks", NAME.to_owned()),
    ] {
        desk.done("DELETE", &compute(&format!("{collection}/{name}?{SYSTEM}")), None);
    }
}

#[test]
fn nothing_is_left_of_what_came() {
    let desk = Desk::start();
    network(&desk);
    account_and_bucket(&desk);
    machine(&desk);
    let account = desk.google.account();
    assert_eq!(account::alive(&account).len(), 9, "{:?}", account::alive(&account));
    for kind in ["networks", "subnetworks", "routers", "firewalls", "instances", "service_accounts", "buckets"] {
        let all: Vec<&Value> = account::things(&account, kind).map(|it| &it["ownership"]["deployment"]).collect();
        assert_eq!(all, ["a"], "{kind}");
    }
    down(&desk);
    let account = desk.google.account();
    assert_eq!((account::alive(&account), account::orphans(&account).len()), (Vec::new(), 0));
}
