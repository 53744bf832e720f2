//! A default deployment on Google Cloud: its life, and what is in the project meanwhile.

use serde_json::{Value, json};
use tests::gcp::account::things;
use tests::gcp::cloud::Cloud;

use super::crash::Gcp;
use crate::scenes;

const SECRETS: [&str; 3] = ["admin-token", "api-key", "daemon-key"];

#[test]
fn a_deployment_comes_and_goes_without_a_trace() {
    scenes::life::<Gcp>();
}

/// The only one of its kind, as Google shows it.
#[track_caller]
fn only(account: &Value, kind: &str) -> Value {
    let all: Vec<&Value> = things(account, kind).collect();
    assert_eq!(all.len(), 1, "{kind}: {all:?}");
    all[0].clone()
}

#[test]
fn it_is_private_encrypted_and_marked() {
    let cloud = Cloud::start();
    let home = cloud.home();
    home.up(&[]).exits(0);
    let account = cloud.google.account();
    its_network_lets_one_port_in(&account);
    its_machine_is_guarded(&account);
    its_bucket_is_private(&account);
    for kind in ["networks", "subnetworks", "routers", "firewalls", "instances", "disks", "service_accounts", "buckets"]
    {
        for thing in things(&account, kind) {
            assert_eq!(thing["ownership"]["deployment"], "default", "{kind}: {thing}");
            assert!(thing["ownership"]["token"].is_string(), "{kind}: {thing}");
        }
    }
    no_secret_is_anywhere_but_in_the_bucket(&cloud, &home.home.deployment().state());
}

fn its_network_lets_one_port_in(account: &Value) {
    assert_eq!(only(account, "networks")["body"]["autoCreateSubnetworks"], false);
    let subnet = only(account, "subnetworks")["body"].clone();
    assert_eq!((&subnet["ipCidrRange"], &subnet["privateIpGoogleAccess"]), (&json!("10.77.0.0/16"), &json!(true)));
    assert_eq!(only(account, "routers")["body"]["nats"][0]["natIpAllocateOption"], "AUTO_ONLY");
    let rule = only(account, "firewalls")["body"].clone();
    assert_eq!(rule["allowed"], json!([{"IPProtocol": "tcp", "ports": ["443"]}]));
    assert_eq!((&rule["sourceRanges"], &rule["direction"]), (&json!(["10.0.0.0/8"]), &json!("INGRESS")));
    let email = only(account, "service_accounts")["body"]["email"].clone();
    assert_eq!(rule["targetServiceAccounts"], json!([email]));
}

fn its_machine_is_guarded(account: &Value) {
    let machine = only(account, "instances")["body"].clone();
    assert_eq!(machine["deletionProtection"], true);
    assert_eq!(machine["scheduling"]["onHostMaintenance"], "TERMINATE");
    assert!(machine["networkInterfaces"][0]["accessConfigs"].as_array().is_none_or(Vec::is_empty), "{machine}");
    let shielded = &machine["shieldedInstanceConfig"];
    assert_eq!((&shielded["enableVtpm"], &shielded["enableIntegrityMonitoring"]), (&json!(true), &json!(true)));
    let items = machine["metadata"]["items"].as_array().unwrap();
    let value = |key: &str| items.iter().find(|item| item["key"] == key).map(|item| item["value"].clone());
    assert_eq!(value("enable-oslogin"), Some(json!("TRUE")));
    assert_eq!(value("block-project-ssh-keys"), Some(json!("TRUE")));
    let script = value("user-data").unwrap();
    assert!(script.as_str().unwrap().starts_with("#cloud-config"), "{script}");
    let disk = only(account, "disks")["body"].clone();
    assert!(disk["users"][0].as_str().unwrap().ends_with(machine["name"].as_str().unwrap()), "{disk}");
    assert_eq!(machine["disks"][0]["autoDelete"], true);
}

fn its_bucket_is_private(account: &Value) {
    let bucket = only(account, "buckets");
    let body = &bucket["body"];
    assert_eq!(body["iamConfiguration"]["publicAccessPrevention"], "enforced");
    assert_eq!(body["iamConfiguration"]["uniformBucketLevelAccess"]["enabled"], true);
    assert_eq!(body["versioning"]["enabled"], true);
    let email = only(account, "service_accounts")["body"]["email"].as_str().unwrap().to_owned();
    let of_machine: Vec<&Value> = bucket["policy"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|binding| {
            binding["members"].as_array().unwrap().iter().any(|member| member.as_str().unwrap().ends_with(&email))
        })
        .collect();
    assert!(!of_machine.is_empty(), "{bucket}");
    for binding in of_machine {
        let expression = binding["condition"]["expression"].as_str().unwrap_or_default();
        assert!(expression.contains("resource.name"), "more than parts of the bucket: {binding}");
    }
}

fn no_secret_is_anywhere_but_in_the_bucket(cloud: &Cloud, state: &std::path::Path) {
    let text = std::fs::read_to_string(state.join("state.json")).unwrap();
    let account = cloud.google.account().to_string();
    for secret in SECRETS {
        assert!(text.contains(&format!("secret.{secret}")), "{secret}");
    }
    for word in ["BEGIN PRIVATE KEY", "\"sk-"] {
        assert!(!text.contains(word) && !account.contains(word), "{word}");
    }
}
