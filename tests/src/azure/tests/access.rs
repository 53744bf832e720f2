//! Role assignments, and locks.

use reqwest::Method;
use serde_json::{Value, json};

use super::super::access::{BLOB_CONTRIBUTOR, BLOB_READER};
use super::super::{Azure, CALLER, Looks, SUBSCRIPTION};
use super::storage::container;
use super::{MACHINE, SIZE, group, machine, network, thing};

const NAME: &str = "11111111-2222-4333-8444-555555555555";
const OTHER_NAME: &str = "11111111-2222-4333-8444-555555555556";

pub fn assignment(role: &str, principal: &str, sort: &str) -> Value {
    let definitions = format!("/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Authorization/roleDefinitions");
    json!({"properties": {"roleDefinitionId": format!("{definitions}/{role}"), "principalId": principal, "principalType": sort, "description": "dsctl deployment=demo token=r"}})
}

pub fn role(scope: &str, name: &str) -> String {
    format!("{scope}/providers/Microsoft.Authorization/roleAssignments/{name}")
}

#[test]
fn an_assignment_is_one_of_its_kind() {
    let azure = Azure::ready();
    let container = container(&azure);
    let (mine, twin) = (role(&container, NAME), role(&container, OTHER_NAME));
    azure.get(&mine).refused(404, "RoleAssignmentNotFound");
    let body = assignment(BLOB_CONTRIBUTOR, CALLER, "User");
    azure.put(&mine, &body).is(201);
    azure.put(&mine, &body).is(200);
    assert_eq!(azure.get(&mine).is(200).json()["properties"]["scope"], container);
    azure.put(&twin, &body).refused(409, "RoleAssignmentExists");
    azure.put(&mine, &assignment(BLOB_READER, CALLER, "User")).refused(400, "RoleAssignmentUpdateNotPermitted");
    azure.put(&twin, &assignment("no-such-role", CALLER, "User")).refused(400, "RoleDefinitionDoesNotExist");
    azure.put(&role(&container, "name"), &body).refused(400, "InvalidRoleAssignmentId");
    azure.put(&role(&container.replace("dsctl", "other"), NAME), &body).refused(404, "ResourceNotFound");
    assert_eq!(azure.account()["role_assignments"][0]["tags"]["dsctl-token"], "r");
    azure.delete(&mine).is(200);
    azure.delete(&mine).is(204);
}

#[test]
fn assignments_are_listed_at_a_scope_below_it_and_by_principal() {
    let azure = Azure::ready();
    let container = container(&azure);
    azure.put(&role(&container, NAME), &assignment(BLOB_CONTRIBUTOR, CALLER, "User")).is(201);
    azure.put(&role(&group(), OTHER_NAME), &assignment(BLOB_READER, CALLER, "User")).is(201);
    let names = |target: &str| {
        let list = azure.get(target).is(200).json();
        let all = list["value"].as_array().expect("a list").iter();
        all.map(|it| it["name"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    let at = |scope: &str| format!("{scope}/providers/Microsoft.Authorization/roleAssignments");
    assert_eq!(names(&at(&container)).len(), 2, "those above hold here too");
    assert_eq!(names(&format!("{}?$filter=atScope()", at(&group()))), [OTHER_NAME]);
    let subscription = at(&format!("/subscriptions/{SUBSCRIPTION}"));
    assert_eq!(names(&format!("{subscription}?$filter=principalId eq '{CALLER}'")).len(), 2);
    assert_eq!(names(&format!("{subscription}?$filter=principalId eq 'nobody'")).len(), 0);
    let definitions = format!("/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Authorization/roleDefinitions");
    assert_eq!(names(&format!("{definitions}?$filter=roleName eq 'Storage Blob Data Reader'")), [BLOB_READER]);
}

#[test]
fn a_new_identity_is_not_known_everywhere_at_once() {
    let azure = Azure::ready();
    let container = container(&azure);
    azure.set_looks(Looks { principal: 1, ..Looks::NONE });
    let identity = thing("Microsoft.ManagedIdentity/userAssignedIdentities/machine");
    let made = azure.made(&identity, &json!({"location": "eastus"}));
    let principal = made["properties"]["principalId"].as_str().expect("a principal").to_owned();
    let body = assignment(BLOB_READER, &principal, "ServicePrincipal");
    azure.put(&role(&container, NAME), &body).refused(400, "PrincipalNotFound");
    azure.put(&role(&container, NAME), &body).is(201);
    azure
        .put(&role(&container, OTHER_NAME), &assignment(BLOB_CONTRIBUTOR, &principal, "User"))
        .refused(400, "UnmatchedPrincipalType");
    azure.put(&identity, &json!({"location": "eastus"})).is(200);
    assert_eq!(azure.get(&identity).json()["properties"]["principalId"], principal, "it stays who it is");
    azure.delete(&identity).is(200);
    azure.delete(&identity).is(204);
    azure.get(&role(&container, NAME)).is(200);
    azure.put(&role(&container, OTHER_NAME), &body).refused(400, "PrincipalNotFound");
}

#[test]
fn assignments_go_with_what_they_are_about() {
    let azure = Azure::ready();
    let container = container(&azure);
    azure.put(&role(&container, NAME), &assignment(BLOB_CONTRIBUTOR, CALLER, "User")).is(201);
    azure.gone(&container);
    assert_eq!(azure.account()["role_assignments"], json!([]));
}

#[test]
fn a_condition_has_a_version() {
    let azure = Azure::ready();
    let mut body = assignment(BLOB_CONTRIBUTOR, CALLER, "User");
    body["properties"]["condition"] =
        json!("(@Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringLike 'host/*')");
    azure.put(&role(&group(), NAME), &body).refused(400, "InvalidRoleAssignmentConditionVersion");
    body["properties"]["conditionVersion"] = json!("2.0");
    azure.put(&role(&group(), NAME), &body).is(201);
}

#[test]
fn what_is_locked_is_not_removed() {
    let azure = Azure::ready();
    let subnet = network(&azure);
    azure.made(&thing(MACHINE), &machine(&subnet, SIZE));
    let lock = format!("{}/providers/Microsoft.Authorization/locks/dsctl", thing(MACHINE));
    azure.get(&lock).refused(404, "LockNotFound");
    let body = json!({"properties": {"level": "CanNotDelete", "notes": "dsctl"}});
    azure.put(&lock, &body).is(201);
    azure.put(&lock, &body).is(200);
    assert_eq!(azure.get(&lock).is(200).json()["properties"]["level"], "CanNotDelete");
    azure.delete(&thing(MACHINE)).refused(409, "ScopeLocked");
    azure.delete(&group()).refused(409, "ScopeLocked");
    azure.call(Method::PATCH, &thing(MACHINE), Some(&json!({"tags": {}}))).is(200);
    azure.pass_time();
    let list = azure.get(&format!("{}/providers/Microsoft.Authorization/locks", group())).is(200).json();
    assert_eq!(list["value"].as_array().map(Vec::len), Some(1));
    azure.delete(&lock).is(200);
    azure.delete(&lock).is(204);
    azure.gone(&thing(MACHINE));
}

#[test]
fn a_lock_of_the_group_holds_for_all_in_it() {
    let azure = Azure::ready();
    network(&azure);
    let lock = format!("{}/providers/Microsoft.Authorization/locks/all", group());
    azure.put(&lock, &json!({"properties": {"level": "ReadOnly"}})).is(201);
    azure.delete(&thing("Microsoft.Network/virtualNetworks/main")).refused(409, "ScopeLocked");
    let body = json!({"location": "eastus", "properties": {"addressSpace": {"addressPrefixes": ["10.0.0.0/24"]}}});
    azure.put(&thing("Microsoft.Network/virtualNetworks/main"), &body).refused(409, "ScopeLocked");
}
