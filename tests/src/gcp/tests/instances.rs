//! Machines: what they come with, what is refused, how they change and go.

use serde_json::{Value, json};

use super::super::{Failure, Looks, PROJECT, account};
use super::{Desk, MACHINE, ZONE, compute, instance, instances, spot};

fn one() -> String {
    format!("{}/one", instances())
}

fn disk(name: &str) -> String {
    compute(&format!("zones/{ZONE}/disks/{name}"))
}

#[test]
fn a_machine_shows_while_it_is_made_and_its_disk_comes_and_goes_with_it() {
    let desk = Desk::start().with_network();
    desk.google.set_looks(Looks { operation: 4, ..Looks::default() });
    let operation = desk.post(&instances(), &instance("one", MACHINE));
    let seen = desk.get(&one());
    assert_eq!((&seen["status"], &desk.get(&disk("one"))["status"]), (&json!("PROVISIONING"), &json!("CREATING")));
    desk.ended(&operation);
    let (made, its_disk) = (desk.get(&one()), desk.get(&disk("one")));
    assert_eq!((&made["status"], &its_disk["status"]), (&json!("RUNNING"), &json!("READY")));
    assert_eq!((&its_disk["users"][0], &made["disks"][0]["source"]), (&made["selfLink"], &its_disk["selfLink"]));
    assert_eq!((&its_disk["sizeGb"], &its_disk["labels"]["dsctl-deployment"]), (&json!("200"), &json!("a")));
    assert!(made["networkInterfaces"][0]["networkIP"].as_str().is_some_and(|ip| ip.starts_with("10.0.0.")), "{made}");
    assert!(made["networkInterfaces"][0]["accessConfigs"].is_null(), "{made}");
    desk.refused(("DELETE", &disk("one")), None, 400, "resourceInUseByAnotherResource");
    let sub = compute("regions/us-central1/subnetworks/sub");
    desk.refused(("DELETE", &sub), None, 400, "resourceInUseByAnotherResource");
    let operation = desk.ask("DELETE", &one(), None).has_status(200).json();
    assert_eq!(desk.get(&one())["status"], "STOPPING");
    desk.refused(("DELETE", &one()), None, 400, "resourceNotReady");
    desk.ended(&operation);
    desk.refused(("GET", &one()), None, 404, "notFound");
    desk.refused(("GET", &disk("one")), None, 404, "notFound");
}

#[test]
fn a_machine_may_not_be_seen_at_first() {
    let desk = Desk::start().with_network();
    desk.google.set_looks(Looks { machine: 2, operation: 0, ..Looks::default() });
    desk.post(&instances(), &instance("one", MACHINE));
    for _ in 0..2 {
        desk.refused(("GET", &one()), None, 404, "notFound");
    }
    // Its name is taken all the same.
    desk.refused(("POST", &instances()), Some(&instance("one", MACHINE)), 409, "alreadyExists");
    assert_eq!(desk.get(&one())["status"], "RUNNING");
}

#[test]
fn a_disk_that_does_not_end_with_its_machine_is_an_orphan() {
    let desk = Desk::start().with_network();
    let mut body = instance("one", MACHINE);
    body["disks"][0]["autoDelete"] = json!(false);
    desk.made(&instances(), &body);
    assert!(account::orphans(&desk.google.account()).is_empty());
    desk.done("DELETE", &one(), None);
    let path = format!("projects/{PROJECT}/zones/{ZONE}/disks/one");
    assert_eq!(account::orphans(&desk.google.account()).into_iter().collect::<Vec<_>>(), [path]);
    desk.refused(("POST", &instances()), Some(&body), 409, "alreadyExists");
    desk.done("DELETE", &disk("one"), None);
    assert!(account::orphans(&desk.google.account()).is_empty());
}

#[test]
fn protection_refuses_the_deletion() {
    let desk = Desk::start().with_network();
    let mut body = instance("one", MACHINE);
    body["deletionProtection"] = json!(true);
    desk.made(&instances(), &body);
    let message = desk.refused(("DELETE", &one()), None, 400, "invalidResourceUsage");
    assert_eq!(message, "Invalid resource usage: 'Resource cannot be deleted if it's protected against deletion.'.");
    desk.done("POST", &format!("{}/setDeletionProtection?deletionProtection=false", one()), None);
    desk.done("DELETE", &one(), None);
}

#[test]
fn labels_and_metadata_change_for_who_saw_them() {
    let desk = Desk::start().with_network();
    desk.made(&instances(), &instance("one", MACHINE));
    let seen = desk.get(&one());
    let labels = json!({"labels": {"owner": "me"}, "labelFingerprint": seen["labelFingerprint"]});
    desk.made(&format!("{}/setLabels", one()), &labels);
    let message = desk.refused(("POST", &format!("{}/setLabels", one())), Some(&labels), 412, "conditionNotMet");
    assert_eq!(message, "Labels fingerprint either invalid or resource labels have changed");
    let mut wrong = labels.clone();
    wrong["labels"] = json!({"owner": "Me"});
    desk.refused(("POST", &format!("{}/setLabels", one())), Some(&wrong), 400, "invalid");
    let metadata = json!({"fingerprint": seen["metadata"]["fingerprint"], "items": [{"key": "a", "value": "b"}]});
    desk.made(&format!("{}/setMetadata", one()), &metadata);
    desk.refused(("POST", &format!("{}/setMetadata", one())), Some(&metadata), 412, "conditionNotMet");
    let after = desk.get(&one());
    assert_eq!((&after["labels"], &after["metadata"]["items"]), (&json!({"owner": "me"}), &metadata["items"]));
}

#[test]
fn a_zone_without_room_ends_the_operation_and_leaves_nothing() {
    let desk = Desk::start().with_network();
    desk.google.set_capacity(ZONE, MACHINE, Some(1));
    desk.made(&instances(), &instance("one", MACHINE));
    let operation = desk.post(&instances(), &instance("two", MACHINE));
    let ended = desk.ended(&operation);
    assert_eq!(
        (&ended["httpErrorStatusCode"], &ended["httpErrorMessage"]),
        (&json!(503), &json!("SERVICE UNAVAILABLE"))
    );
    let error = &ended["error"]["errors"][0];
    assert_eq!(error["code"], "ZONE_RESOURCE_POOL_EXHAUSTED");
    assert!(error["message"].as_str().is_some_and(|text| text.contains("does not have enough resources")), "{error}");
    desk.refused(("GET", &format!("{}/two", instances())), None, 404, "notFound");
    desk.refused(("GET", &disk("two")), None, 404, "notFound");
    desk.google.set_capacity(ZONE, MACHINE, None);
    desk.made(&instances(), &instance("two", MACHINE));
    desk.google.take_zone_down(ZONE);
    let ended = desk.ended(&desk.post(&instances(), &instance("three", MACHINE)));
    assert_eq!(ended["error"]["errors"][0]["code"], "ZONE_RESOURCE_POOL_EXHAUSTED");
}

#[test]
fn a_test_says_how_operations_end() {
    let desk = Desk::start().with_network();
    let failure = Failure::exhausted_with_details(PROJECT, ZONE);
    desk.google.fail_operations("compute.instances.insert", 2, failure);
    for name in ["one", "two"] {
        let ended = desk.ended(&desk.post(&instances(), &instance(name, MACHINE)));
        assert_eq!(ended["error"]["errors"][0]["code"], "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS");
    }
    desk.made(&instances(), &instance("one", MACHINE));
}

/// A machine, other than the tests' usual one.
fn with(change: impl Fn(&mut Value)) -> Value {
    let mut body = instance("one", MACHINE);
    change(&mut body);
    body
}

#[test]
fn what_google_would_not_make_is_refused_at_once() {
    let desk = Desk::start().with_network();
    let refused =
        |body: Value, status: u16, reason: &str| desk.refused(("POST", &instances()), Some(&body), status, reason);
    let message = refused(instance("one", "g4-standard-48"), 400, "invalid");
    assert!(message.contains("does not exist in zone 'us-central1-a'"), "{message}");
    desk.google.withdraw_machine_type("g2-standard-8", ZONE);
    refused(instance("one", "g2-standard-8"), 400, "invalid");
    refused(with(|body| body["scheduling"]["onHostMaintenance"] = json!("MIGRATE")), 400, "badRequest");
    refused(with(|body| body["scheduling"]["instanceTerminationAction"] = json!("DELETE")), 400, "badRequest");
    refused(
        with(|body| body["networkInterfaces"][0]["subnetwork"] = json!("regions/us-central1/subnetworks/x")),
        404,
        "notFound",
    );
    refused(with(|body| body["labels"] = json!({"a": "B"})), 400, "invalid");
    refused(with(|body| body["networkInterfaces"] = json!([])), 400, "invalid");
    let elsewhere = with(|body| body["machineType"] = json!("zones/us-central1-b/machineTypes/g2-standard-4"));
    refused(elsewhere, 400, "invalid");
}

#[test]
fn a_disk_suits_its_machine_and_its_image() {
    let desk = Desk::start().with_network();
    let refused =
        |body: Value, status: u16, reason: &str| desk.refused(("POST", &instances()), Some(&body), status, reason);
    let disk = |body: &mut Value, field: &str, value: &str| body["disks"][0]["initializeParams"][field] = json!(value);
    let message = refused(
        with(|body| disk(body, "diskType", "zones/us-central1-a/diskTypes/hyperdisk-balanced")),
        400,
        "badRequest",
    );
    assert_eq!(message, "hyperdisk-balanced disk type cannot be used by g2-standard-4 machine type.");
    refused(with(|body| disk(body, "diskSizeGb", "20")), 400, "invalid");
    refused(
        with(|body| disk(body, "sourceImage", "projects/deeplearning-platform-release/global/images/x")),
        404,
        "notFound",
    );
    let one = format!("projects/{PROJECT}/zones/{ZONE}/disks/one");
    refused(with(|body| body["disks"][0] = json!({"boot": true, "source": one})), 404, "notFound");
    refused(with(|body| body["disks"] = json!([])), 400, "invalid");
}

#[test]
fn an_unknown_account_ends_the_operation() {
    let desk = Desk::start().with_network();
    let mut body = instance("one", MACHINE);
    let scopes = ["https://www.googleapis.com/auth/cloud-platform"];
    body["serviceAccounts"] = json!([{"email": "absent@dsctl-tests.iam.gserviceaccount.com", "scopes": scopes}]);
    let ended = desk.ended(&desk.post(&instances(), &body));
    assert_eq!(ended["error"]["errors"][0]["code"], "RESOURCE_NOT_FOUND");
    let account = json!({"accountId": "machine"});
    desk.post(&format!("/v1/projects/{PROJECT}/serviceAccounts"), &account);
    body["serviceAccounts"][0]["email"] = json!("machine@dsctl-tests.iam.gserviceaccount.com");
    desk.made(&instances(), &body);
}

#[test]
fn a_spot_machine_is_taken_back_as_its_action_says() {
    let desk = Desk::start().with_network();
    desk.made(&instances(), &spot("one", MACHINE));
    assert_eq!(desk.get(&one())["scheduling"]["preemptible"], true);
    let mut stopping = spot("two", MACHINE);
    stopping["scheduling"]["instanceTerminationAction"] = json!("STOP");
    desk.made(&instances(), &stopping);
    for name in ["one", "two"] {
        desk.google.preempt(&format!("projects/{PROJECT}/zones/{ZONE}/instances/{name}"));
    }
    desk.refused(("GET", &one()), None, 404, "notFound");
    assert_eq!(desk.get(&format!("{}/two", instances()))["status"], "TERMINATED");
    desk.done("POST", &format!("{}/two/start", instances()), None);
    assert_eq!(desk.get(&format!("{}/two", instances()))["status"], "RUNNING");
    let mut restarting = spot("three", MACHINE);
    restarting["scheduling"]["automaticRestart"] = json!(true);
    desk.refused(("POST", &instances()), Some(&restarting), 400, "badRequest");
}

#[test]
fn somebody_else_opens_a_machine_and_turns_it_off() {
    let desk = Desk::start().with_network();
    desk.made(&instances(), &instance("one", MACHINE));
    let config = json!({"name": "external-nat", "type": "ONE_TO_ONE_NAT"});
    let add = format!("{}/addAccessConfig?networkInterface=nic0", one());
    desk.made(&add, &config);
    desk.refused(("POST", &add), Some(&config), 400, "invalid");
    assert!(desk.get(&one())["networkInterfaces"][0]["accessConfigs"][0]["natIP"].is_string());
    desk.done("POST", &format!("{}/deleteAccessConfig?accessConfig=external-nat&networkInterface=nic0", one()), None);
    assert!(desk.get(&one())["networkInterfaces"][0]["accessConfigs"].is_null());
    for (verb, status) in
        [("suspend", "SUSPENDED"), ("resume", "RUNNING"), ("stop", "TERMINATED"), ("start", "RUNNING")]
    {
        desk.done("POST", &format!("{}/{verb}", one()), None);
        assert_eq!(desk.get(&one())["status"], status, "{verb}");
    }
    desk.refused(("POST", &format!("{}/resume", one())), None, 400, "resourceNotReady");
    desk.google.set_serial_port(&format!("projects/{PROJECT}/zones/{ZONE}/instances/one"), "dsctl: phase boot\n");
    assert_eq!(desk.get(&format!("{}/serialPort?port=1", one()))["contents"], "dsctl: phase boot\n");
}

#[test]
fn disks_grow_and_only_hyperdisks_become_faster() {
    let desk = Desk::start().with_network();
    desk.made(&instances(), &instance("one", MACHINE));
    desk.made(&format!("{}/resize", disk("one")), &json!({"sizeGb": "300"}));
    assert_eq!(desk.get(&disk("one"))["sizeGb"], "300");
    desk.refused(("POST", &format!("{}/resize", disk("one"))), Some(&json!({"sizeGb": "200"})), 400, "invalid");
    let faster = json!({"provisionedIops": "5000", "provisionedThroughput": "200"});
    let paths = "paths=provisionedIops&paths=provisionedThroughput";
    desk.refused(("PATCH", &format!("{}?{paths}", disk("one"))), Some(&faster), 400, "invalid");
    let more = json!({"name": "more", "sizeGb": "10", "type": format!("zones/{ZONE}/diskTypes/hyperdisk-balanced")});
    desk.made(&compute(&format!("zones/{ZONE}/disks")), &more);
    assert_eq!(desk.get(&disk("more"))["provisionedIops"], "3000");
    desk.done("PATCH", &format!("{}?{paths}", disk("more")), Some(&faster));
    let after = desk.get(&disk("more"));
    assert_eq!((&after["provisionedIops"], &after["provisionedThroughput"]), (&json!("5000"), &json!("200")));
}

#[test]
fn a_disk_is_encrypted_by_a_key_that_is_near_and_that_google_may_use() {
    let desk = Desk::start().with_network();
    let named = |name: &str, place: &str| {
        let mut body = instance(name, MACHINE);
        let key = format!("projects/k/locations/{place}/keyRings/r/cryptoKeys/k");
        body["disks"][0]["diskEncryptionKey"] = json!({"kmsKeyName": key});
        body
    };
    desk.refused(("POST", &instances()), Some(&named("one", "europe-west4")), 400, "invalid");
    desk.google.lock_out("compute");
    let message = desk.refused(("POST", &instances()), Some(&named("one", "us-central1")), 400, "kmsPermissionDenied");
    assert!(message.contains("'cloudkms.cryptoKeyVersions.useToEncrypt' denied"), "{message}");
    desk.google.let_in("compute");
    desk.made(&instances(), &named("one", "us-central1"));
    let version = "projects/k/locations/us-central1/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1";
    assert_eq!(desk.get(&disk("one"))["diskEncryptionKey"], json!({"kmsKeyName": version}));
    assert_eq!(desk.get(&one())["disks"][0]["diskEncryptionKey"]["kmsKeyName"], version);
    desk.made(&instances(), &named("two", "global"));
}
