//! Service accounts.

use serde_json::{Value, json};

use super::super::PROJECT;
use super::Desk;

fn accounts() -> String {
    format!("/v1/projects/{PROJECT}/serviceAccounts")
}

fn wanted(id: &str) -> Value {
    json!({"accountId": id, "serviceAccount": {"displayName": "dsctl", "description": "{\"dsctl\":{}}"}})
}

fn one() -> String {
    format!("{}/machine@{PROJECT}.iam.gserviceaccount.com", accounts())
}

#[test]
fn an_account_is_made_once_changed_and_removed() {
    let desk = Desk::start();
    let made = desk.post(&accounts(), &wanted("machine"));
    assert_eq!(made["email"], "machine@dsctl-tests.iam.gserviceaccount.com");
    let error = desk.ask("POST", &accounts(), Some(&wanted("machine"))).has_status(409).json()["error"].clone();
    assert_eq!((&error["status"], &error["errors"][0]["reason"]), (&json!("ALREADY_EXISTS"), &json!("alreadyExists")));
    assert_eq!(error["details"][0]["resourceName"], made["name"]);
    let by_number = format!("{}/{}", accounts(), made["uniqueId"].as_str().expect("a number"));
    assert_eq!(desk.get(&by_number), desk.get(&one()));
    let patch =
        json!({"serviceAccount": {"description": "other", "displayName": "not named"}, "updateMask": "description"});
    let after = desk.ask("PATCH", &one(), Some(&patch)).has_status(200).json();
    assert_eq!((&after["description"], &after["displayName"]), (&json!("other"), &json!("dsctl")));
    desk.ask("DELETE", &one(), None).has_status(200);
    for verb in ["GET", "DELETE"] {
        let error = desk.ask(verb, &one(), None).has_status(404).json()["error"].clone();
        assert_eq!(error["status"], "NOT_FOUND");
    }
}

#[test]
fn what_is_too_long_is_refused() {
    let desk = Desk::start();
    for id in ["short", "with.dot", "a-very-long-name-of-more-than-30"] {
        desk.refused(("POST", &accounts()), Some(&wanted(id)), 400, "badRequest");
    }
    let mut long = wanted("machine");
    long["serviceAccount"]["description"] = json!("x".repeat(257));
    desk.refused(("POST", &accounts()), Some(&long), 400, "badRequest");
    desk.refused(("GET", "/v1/projects/other-one/serviceAccounts"), None, 403, "forbidden");
}

#[test]
fn accounts_are_listed_in_pages() {
    let desk = Desk::start();
    assert_eq!(desk.get(&accounts()), json!({}));
    for id in ["account-a", "account-b", "account-c"] {
        desk.post(&accounts(), &wanted(id));
    }
    let first = desk.get(&format!("{}?pageSize=2", accounts()));
    let token = first["nextPageToken"].as_str().expect("a next page");
    let second = desk.get(&format!("{}?pageSize=100&pageToken={token}", accounts()));
    assert_eq!(
        (first["accounts"].as_array().map(Vec::len), second["accounts"].as_array().map(Vec::len)),
        (Some(2), Some(1))
    );
}

#[test]
fn somebody_else_makes_keys_and_disables() {
    let desk = Desk::start();
    desk.post(&accounts(), &wanted("machine"));
    let keys = format!("{}/keys", one());
    assert_eq!(desk.get(&format!("{keys}?keyTypes=USER_MANAGED")), json!({}));
    let key = desk.post(&keys, &json!({}));
    let listed = desk.get(&format!("{keys}?keyTypes=USER_MANAGED"));
    assert_eq!(listed["keys"][0]["name"], key["name"]);
    desk.ask("DELETE", &format!("/v1/{}", key["name"].as_str().expect("a name")), None).has_status(200);
    assert_eq!(desk.get(&keys), json!({}));
    desk.post(&format!("{}:disable", one()), &json!({}));
    assert_eq!(desk.get(&one())["disabled"], true);
    desk.post(&format!("{}:enable", one()), &json!({}));
    assert!(desk.get(&one())["disabled"].is_null());
}

#[test]
fn a_service_that_nobody_enabled_says_which() {
    let desk = Desk::start();
    desk.google.disable_service("iam");
    let answer = desk.ask("GET", &format!("/v1/projects/{PROJECT}/serviceAccounts"), None).has_status(403).json();
    let detail = &answer["error"]["details"][0];
    assert_eq!(
        (&detail["reason"], &detail["metadata"]["service"]),
        (&json!("SERVICE_DISABLED"), &json!("iam.googleapis.com"))
    );
    desk.get(&format!("/storage/v1/b?project={PROJECT}"));
}
