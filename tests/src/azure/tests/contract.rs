//! Whatever Microsoft's contract says otherwise is refused and remembered.

use reqwest::Method;
use serde_json::{Value, json};

use super::super::{Azure, CALLER, SUBSCRIPTION, token};
use super::{Told, group, machine, send, thing};

/// Refused, with a word of why, and remembered once.
#[track_caller]
fn violates(azure: &Azure, told: &Told, word: &str) {
    told.refused(400, "ContractViolated");
    let violations = azure.take_violations();
    assert!(violations.len() == 1 && violations[0].contains(word), "{violations:?} without {word:?}");
}

#[test]
fn bodies_have_no_other_properties_types_or_words() {
    let azure = Azure::ready();
    let id = thing("Microsoft.Compute/virtualMachines/main");
    let cases: [(&str, Value, &str); 6] = [
        ("/properties/hardwareProfile", json!({"vmsize": "x"}), "'vmsize' was unexpected"),
        ("/properties/priority", json!("Cheap"), "/properties/priority"),
        ("/properties/timeCreated", json!("2026-11-26T00:00:00Z"), "'timeCreated' was unexpected"),
        ("/properties/storageProfile/osDisk/diskSizeGB", json!("200"), "/properties/storageProfile/osDisk/diskSizeGB"),
        ("/zones", json!("1"), "/zones"),
        ("/tags", json!({"a": 1}), "/tags/a"),
    ];
    for (path, value, word) in cases {
        let mut body = machine("subnet", "size");
        let (parent, name) = path.rsplit_once('/').expect("a path");
        body.pointer_mut(parent).expect("a place")[name] = value;
        violates(&azure, &azure.put(&id, &body), word);
    }
    let bare = json!({"properties": {}});
    violates(&azure, &azure.put(&id, &bare), "\"location\" is a required property");
}

#[test]
fn paths_versions_and_queries_are_known() {
    let azure = Azure::ready();
    let bearer = format!("Bearer {}", token(CALLER));
    let get =
        |target: &str| send(Method::GET, &format!("{}{target}", azure.url()), &[("authorization", &bearer)], None);
    violates(&azure, &get(&format!("{}?api-version=2021-01-01", group())), "2021-01-01 is not 2025-04-01");
    violates(&azure, &get(&group()), "query api-version: it is missing");
    violates(&azure, &get(&format!("{}?api-version=2025-04-01&$fliter=x", group())), "query $fliter");
    let odd = format!("/subscriptions/{SUBSCRIPTION}/resourceGroups/g/machines?api-version=2025-04-01");
    violates(&azure, &get(&odd), "there is no such operation");
    let name = thing("Microsoft.Storage/storageAccounts/UPPER_case");
    violates(&azure, &get(&format!("{name}?api-version=2025-01-01")), "path accountName");
}

#[test]
fn conditions_stand_only_where_they_are_taken() {
    let azure = Azure::ready();
    let told = azure.call_with(Method::PUT, &group(), &[("if-none-match", "*")], Some(&json!({"location": "eastus"})));
    violates(&azure, &told, "header if-none-match");
    let told = azure.call_with(Method::GET, &group(), &[], Some(&json!({"a": 1})));
    violates(&azure, &told, "body: the operation takes none");
}

#[test]
fn blobs_have_a_version_and_no_header_of_another_operation() {
    let azure = Azure::ready();
    let bearer = format!("Bearer {}", token(CALLER));
    let send = |method: Method, rest: &str, headers: &[(&str, &str)]| {
        let all = [&[("authorization", bearer.as_str())], headers].concat();
        send(method, &format!("{}/dsctltests/dsctl/key{rest}", azure.url()), &all, None)
    };
    let violates = |told: Told, word: &str| {
        told.refused_blob(400, "ContractViolated");
        let violations = azure.take_violations();
        assert!(violations.len() == 1 && violations[0].contains(word), "{violations:?} without {word:?}");
    };
    violates(send(Method::GET, "", &[]), "x-ms-version");
    violates(send(Method::GET, "", &[("x-ms-version", "2024-11-04"), ("x-ms-tags", "a=b")]), "header x-ms-tags");
    violates(send(Method::GET, "?version=1", &[("x-ms-version", "2024-11-04")]), "query version");
    violates(send(Method::PUT, "", &[("x-ms-version", "2024-11-04")]), "there is no such operation");
}

#[test]
fn a_violation_fails_the_test_that_made_it() {
    let failed = std::panic::catch_unwind(|| {
        let azure = Azure::start();
        azure.put(&group(), &json!({"location": 1})).refused(400, "ContractViolated");
    });
    let message = failed.expect_err("a panic").downcast::<String>().expect("a message");
    assert!(message.contains("PUT /subscriptions/") && message.contains("/location"), "{message}");
}

#[test]
fn what_the_fake_does_not_have_is_said_so() {
    let azure = Azure::ready();
    let list = format!("/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Compute/locations/eastus/virtualMachines");
    let told = azure.get(&list);
    assert_eq!(told.status, 501, "{told:?}");
    assert!(azure.take_violations().concat().contains("does not serve VirtualMachines_ListByLocation"));
}
