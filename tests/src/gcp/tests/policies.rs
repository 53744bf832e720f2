//! The IAM policy of a bucket.

use serde_json::{Value, json};

use super::super::{Looks, PROJECT, account};
use super::Desk;
use super::objects::{BUCKET, bucket};

const EMAIL: &str = "machine@dsctl-tests.iam.gserviceaccount.com";

fn place() -> String {
    format!("/storage/v1/b/{BUCKET}/iam")
}

fn whole() -> String {
    format!("{}?optionsRequestedPolicyVersion=3", place())
}

fn with_account(desk: &Desk) {
    desk.post(&format!("/v1/projects/{PROJECT}/serviceAccounts"), &json!({"accountId": "machine"}));
}

fn binding() -> Value {
    let expression = format!("resource.name.startsWith('projects/_/buckets/{BUCKET}/objects/artifacts/')");
    json!({"role": "roles/storage.objectViewer", "members": [format!("serviceAccount:{EMAIL}")],
        "condition": {"title": "artifacts", "expression": expression}})
}

/// The policy with one binding more.
fn with(seen: &Value, binding: Value) -> Value {
    let mut bindings = seen["bindings"].as_array().cloned().expect("bindings");
    bindings.push(binding);
    json!({"version": 3, "etag": seen["etag"], "bindings": bindings})
}

#[test]
fn a_policy_is_written_by_who_saw_the_last_one() {
    let desk = Desk::start().with_bucket();
    desk.google.set_looks(Looks { account: 0, ..Looks::default() });
    with_account(&desk);
    let seen = desk.get(&whole());
    assert_eq!((&seen["version"], seen["bindings"].as_array().map(Vec::len)), (&json!(1), Some(4)));
    let wanted = with(&seen, binding());
    let after = desk.ask("PUT", &place(), Some(&wanted)).has_status(200).json();
    assert_eq!(after["version"], 3);
    desk.refused(("PUT", &place()), Some(&wanted), 412, "conditionNotMet");
    assert_eq!(desk.get(&whole())["bindings"][4]["condition"]["title"], "artifacts");
    // Who does not know conditions sees another role.
    let old = desk.get(&place());
    assert_eq!(old["version"], 1);
    assert!(old["bindings"][4]["role"].as_str().is_some_and(|role| role.contains("_withcond_")), "{old}");
    let reduced = json!({"version": 1, "etag": after["etag"], "bindings": seen["bindings"]});
    let message = desk.refused(("PUT", &place()), Some(&reduced), 400, "invalid");
    assert!(message.contains("cannot be less than the existing policy version (3)"), "{message}");
    let emptied =
        json!({"version": 3, "etag": after["etag"], "bindings": [{"role": binding()["role"], "members": []}]});
    assert_eq!(desk.ask("PUT", &place(), Some(&emptied)).has_status(200).json()["bindings"], json!([]));
}

#[test]
fn a_new_account_is_not_known_for_some_looks() {
    let desk = Desk::start().with_bucket();
    desk.google.set_looks(Looks { account: 2, ..Looks::default() });
    let seen = desk.get(&whole());
    let wanted = with(&seen, binding());
    let message = desk.refused(("PUT", &place()), Some(&wanted), 400, "invalid");
    assert_eq!(message, format!("Service account {EMAIL} does not exist."));
    with_account(&desk);
    for _ in 0..2 {
        desk.refused(("PUT", &place()), Some(&wanted), 400, "invalid");
    }
    desk.ask("PUT", &place(), Some(&wanted)).has_status(200);
}

#[test]
fn an_account_that_is_deleted_stays_in_the_policy_as_such() {
    let desk = Desk::start().with_bucket();
    desk.google.set_looks(Looks { account: 0, ..Looks::default() });
    with_account(&desk);
    let wanted = with(&desk.get(&whole()), binding());
    desk.ask("PUT", &place(), Some(&wanted)).has_status(200);
    let alive = |desk: &Desk| account::alive(&desk.google.account()).contains(&format!("iam://{BUCKET}/{EMAIL}"));
    assert!(alive(&desk));
    desk.ask("DELETE", &format!("/v1/projects/{PROJECT}/serviceAccounts/{EMAIL}"), None).has_status(200);
    let seen = desk.get(&whole());
    let member = seen["bindings"][4]["members"][0].as_str().expect("a member");
    assert!(member.starts_with(&format!("deleted:serviceAccount:{EMAIL}?uid=")), "{member}");
    assert!(!alive(&desk));
    // Another of the same name is another one; the policy can be written with the old one in it.
    with_account(&desk);
    let again = json!({"version": 3, "etag": seen["etag"], "bindings": seen["bindings"]});
    desk.ask("PUT", &place(), Some(&again)).has_status(200);
    assert!(!alive(&desk));
}

#[test]
fn nobody_is_let_in_where_that_is_prevented() {
    let desk = Desk::start().with_bucket();
    let seen = desk.get(&whole());
    let open = |members: &str| with(&seen, json!({"role": "roles/storage.objectViewer", "members": [members]}));
    desk.refused(("PUT", &place()), Some(&open("allUsers")), 412, "conditionNotMet");
    let message = desk.refused(("PUT", &place()), Some(&open("somebody@example.com")), 400, "invalid");
    assert!(message.contains("is of an unknown type"), "{message}");
    let role = with(&seen, json!({"role": "roles/compute.admin", "members": ["user:a@example.com"]}));
    desk.refused(("PUT", &place()), Some(&role), 400, "invalid");
    desk.ask("PUT", &place(), Some(&open("user:a@example.com"))).has_status(200);
}

#[test]
fn conditions_want_uniform_access_and_version_3() {
    let desk = Desk::start();
    let mut old = bucket();
    old["iamConfiguration"]["uniformBucketLevelAccess"]["enabled"] = json!(false);
    desk.post(&format!("/storage/v1/b?project={PROJECT}"), &old);
    let seen = desk.get(&whole());
    assert_eq!(seen["bindings"].as_array().map(Vec::len), Some(2));
    let mut conditional = binding();
    conditional["members"] = json!(["user:a@example.com"]);
    let mut wanted = with(&seen, conditional);
    desk.refused(("PUT", &place()), Some(&wanted), 412, "conditionNotMet");
    let access = json!({"iamConfiguration": {"uniformBucketLevelAccess": {"enabled": true}}});
    desk.ask("PATCH", &format!("/storage/v1/b/{BUCKET}"), Some(&access)).has_status(200);
    wanted["version"] = json!(1);
    desk.refused(("PUT", &place()), Some(&wanted), 400, "invalid");
    wanted["version"] = json!(3);
    desk.ask("PUT", &place(), Some(&wanted)).has_status(200);
}
