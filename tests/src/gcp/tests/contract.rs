//! What is against Google's own documents is refused and remembered.

use serde_json::{Value, json};

use super::super::{Google, method};
use super::{Desk, MACHINE, compute, instance, instances, network};
use crate::http::{ask, client, get};

/// That a call is against the contract, and what is said of it.
#[track_caller]
fn violated(desk: &Desk, verb: &str, path: &str, body: Option<&Value>, says: &str) {
    desk.ask(verb, path, body).has_status(400);
    let violations = desk.google.violations();
    assert!(violations.iter().any(|it| it.contains(says)), "{says:?} is not in {violations:?}");
}

fn with(change: impl FnOnce(&mut Value)) -> Value {
    let mut body = instance("one", MACHINE);
    change(&mut body);
    body
}

#[test]
fn bodies_are_strict() {
    let desk = Desk::start().with_network();
    let cases: [(Value, &str); 9] = [
        (with(|it| it["machinetype"] = json!("x")), "compute.instances.insert: body: "),
        (with(|it| it["status"] = json!("RUNNING")), "body/status: is Google's to say"),
        (with(|it| it["name"] = json!("Bad_Name")), "body/name"),
        (with(|it| drop(it.as_object_mut().map(|it| it.remove("name")))), "\"name\" is a required property"),
        (with(|it| it["scheduling"]["provisioningModel"] = json!("CHEAP")), "body/scheduling/provisioningModel"),
        (
            with(|it| it["disks"][0]["initializeParams"]["diskSizeGb"] = json!(200)),
            "body/disks/0/initializeParams/diskSizeGb",
        ),
        (with(|it| it["disks"][0]["boot"] = json!("yes")), "body/disks/0/boot"),
        (with(|it| it["networkInterfaces"][0]["name"] = json!("nic0")), "body/networkInterfaces/0/name"),
        (with(|it| it["labels"] = json!({"a": 1})), "body/labels/a"),
    ];
    for (body, says) in cases {
        violated(&desk, "POST", &instances(), Some(&body), says);
    }
    desk.made(&instances(), &with(|_| ()));
}

#[test]
fn paths_and_parameters_are_strict() {
    let desk = Desk::start();
    let networks = compute("global/networks");
    violated(&desk, "GET", &format!("{networks}?filtr=x"), None, "compute.networks.list: parameters");
    violated(&desk, "GET", &format!("{networks}?maxResults=many"), None, "parameters/maxResults");
    let all = compute("aggregated/instances?includeAllScopes=yes");
    violated(&desk, "GET", &all, None, "parameters/includeAllScopes");
    violated(&desk, "GET", &format!("{networks}/Bad_Name"), None, "parameters/network");
    violated(&desk, "GET", &compute("global/netwerks"), None, "no document has it");
    violated(&desk, "PUT", &networks, Some(&network("a")), "no document has it");
    violated(&desk, "DELETE", &format!("{networks}/a"), Some(&json!({"a": 1})), "body: it has none");
    let system = format!("{networks}?$alt=json&$apiVersion=2026-09-01&prettyPrint=false");
    desk.ask("GET", &system, None).has_status(200);
}

#[test]
fn a_patch_takes_away_by_null_and_an_insert_does_not() {
    let desk = Desk::start().with_bucket();
    let patch = json!({"lifecycle": null, "labels": {"a": null}});
    desk.ask("PATCH", &format!("/storage/v1/b/{}", super::objects::BUCKET), Some(&patch)).has_status(200);
    let mut bucket = super::objects::bucket();
    bucket["lifecycle"] = Value::Null;
    violated(&desk, "POST", "/storage/v1/b?project=dsctl-tests", Some(&bucket), "body/lifecycle");
    violated(&desk, "POST", "/storage/v1/b", Some(&super::objects::bucket()), "\"project\" is a required property");
    let policy = json!({"bindings": [{"members": ["user:a@example.com"]}]});
    let place = format!("/storage/v1/b/{}/iam", super::objects::BUCKET);
    violated(&desk, "PUT", &place, Some(&policy), "\"role\" is a required property");
}

#[test]
fn what_is_no_json_and_what_is_not_served_is_said() {
    let desk = Desk::start();
    let url = format!("{}{}", desk.google.url(), compute("global/networks"));
    ask(client().post(&url).body("{}")).has_status(400);
    ask(client().post(&url).header("content-type", "application/json").body("{")).has_status(400);
    assert_eq!(desk.google.violations().len(), 2);
    desk.ask("GET", &compute("global/addresses"), None).has_status(501);
    desk.ask("GET", &format!("{}?filter=(name=a", compute("global/networks")), None).has_status(501);
    let violations = desk.google.violations();
    assert!(violations.iter().all(|it| it.contains("does not serve")), "{violations:?}");
}

#[test]
fn methods_have_the_names_of_the_documents() {
    for (verb, path, name) in [
        ("GET", "/compute/v1/projects/p/global/images/family/f", "compute.images.getFromFamily"),
        ("POST", "/compute/v1/projects/p/zones/z/operations/o/wait", "compute.zoneOperations.wait"),
        ("POST", "/compute/v1/projects/p/zones/z/instances", "compute.instances.insert"),
        ("GET", "/storage/v1/b/x/o/a%2Fb", "storage.objects.get"),
        ("POST", "/upload/storage/v1/b/x/o", "storage.objects.insert"),
        ("PUT", "/storage/v1/b/x/iam", "storage.buckets.setIamPolicy"),
        ("DELETE", "/v1/projects/p/serviceAccounts/a@b", "iam.projects.serviceAccounts.delete"),
        ("POST", "/v1/projects/p/serviceAccounts/a@b:enable", "iam.projects.serviceAccounts.enable"),
        ("GET", "/v1/projects/p", "cloudresourcemanager.projects.get"),
        ("GET", "/v3/projects/p", "cloudresourcemanager.projects.get"),
    ] {
        assert_eq!(method(verb, path), Some(name), "{verb} {path}");
    }
    assert_eq!(method("GET", "/bucket/key"), None);
}

#[test]
#[should_panic(expected = "against Google's contract")]
fn a_violation_fails_the_test() {
    let google = Google::start();
    get(&format!("{}/compute/v1/nothing", google.url())).has_status(400);
}
