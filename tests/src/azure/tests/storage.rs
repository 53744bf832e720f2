//! Accounts, the settings of their blobs, containers and what keeps blobs.

use reqwest::Method;
use serde_json::{Value, json};

use super::super::{Azure, Looks, SUBSCRIPTION};
use super::{group, tags, thing};

const ACCOUNT: &str = "Microsoft.Storage/storageAccounts/dsctltests";

pub fn account_body() -> Value {
    json!({"location": "eastus", "tags": tags("s"), "kind": "StorageV2", "sku": {"name": "Standard_LRS"}, "properties": {
        "allowBlobPublicAccess": false, "allowSharedKeyAccess": false, "allowCrossTenantReplication": false,
        "minimumTlsVersion": "TLS1_2", "supportsHttpsTrafficOnly": true, "defaultToOAuthAuthentication": true,
        "publicNetworkAccess": "Enabled", "networkAcls": {"defaultAction": "Allow", "bypass": "AzureServices"},
        "encryption": {"requireInfrastructureEncryption": true, "keySource": "Microsoft.Storage",
            "services": {"blob": {"enabled": true, "keyType": "Account"}}}}})
}

/// An account with a container, `dsctl`; gives the container's id.
#[track_caller]
pub fn container(azure: &Azure) -> String {
    azure.made(&thing(ACCOUNT), &account_body());
    let container = format!("{}/blobServices/default/containers/dsctl", thing(ACCOUNT));
    azure.made(&container, &json!({"properties": {"publicAccess": "None", "metadata": {"dsctl_token": "c"}}}));
    container
}

#[test]
fn an_account_is_made_while_it_is_asked_for() {
    let azure = Azure::ready();
    azure.set_looks(Looks { storage: 1, ..Looks::NONE });
    let told = azure.put(&thing(ACCOUNT), &account_body()).is(202);
    let url = told.header("location").expect("where to ask").to_owned();
    azure.put(&thing(ACCOUNT), &account_body()).refused(409, "StorageAccountOperationInProgress");
    azure.follow(&url).is(202);
    let made = azure.follow(&url).is(200).json();
    assert_eq!(made["properties"]["provisioningState"], "Succeeded");
    assert_eq!(made["properties"]["encryption"]["requireInfrastructureEncryption"], true);
    azure.put(&thing(ACCOUNT), &account_body()).is(200);
    azure.delete(&thing(ACCOUNT)).is(200);
    azure.delete(&thing(ACCOUNT)).is(204);
}

#[test]
fn names_of_accounts_are_the_whole_worlds() {
    let azure = Azure::ready();
    azure.take_name("dsctltests");
    azure.put(&thing(ACCOUNT), &account_body()).refused(409, "StorageAccountAlreadyTaken");
    let check = format!("/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Storage/checkNameAvailability");
    let asked = |name: &str| {
        let body = json!({"name": name, "type": "Microsoft.Storage/storageAccounts"});
        azure.call(Method::POST, &check, Some(&body)).is(200).json()["nameAvailable"].clone()
    };
    assert_eq!((asked("dsctltests"), asked("dsctlothers")), (json!(false), json!(true)));
    azure.put(&thing("Microsoft.Storage/storageAccounts/dsctlothers"), &account_body()).is(202);
    let other_group = group().replace("/g", "/h");
    azure.put(&other_group, &json!({"location": "eastus"})).is(201);
    let twin = format!("{other_group}/providers/Microsoft.Storage/storageAccounts/dsctlothers");
    azure.put(&twin, &account_body()).refused(409, "StorageAccountInAnotherResourceGroup");
}

#[test]
fn an_account_is_changed_in_part_but_not_in_its_nature() {
    let azure = Azure::ready();
    azure.made(&thing(ACCOUNT), &account_body());
    let patch = json!({"properties": {"allowSharedKeyAccess": true}});
    let changed = azure.call(Method::PATCH, &thing(ACCOUNT), Some(&patch)).is(200).json();
    assert_eq!(
        (&changed["properties"]["allowSharedKeyAccess"], &changed["tags"]["dsctl-token"]),
        (&json!(true), &json!("s"))
    );
    let mut other = account_body();
    other["properties"]["encryption"]["requireInfrastructureEncryption"] = json!(false);
    azure.put(&thing(ACCOUNT), &other).refused(409, "StorageAccountPropertyCannotBeUpdated");
}

#[test]
fn settings_of_blobs_are_there_from_the_first() {
    let azure = Azure::ready();
    azure.made(&thing(ACCOUNT), &account_body());
    let service = format!("{}/blobServices/default", thing(ACCOUNT));
    assert_eq!(azure.get(&service).is(200).json()["properties"]["isVersioningEnabled"], false);
    let body = json!({"properties": {"isVersioningEnabled": true, "deleteRetentionPolicy": {"enabled": true, "days": 7},
        "containerDeleteRetentionPolicy": {"enabled": false}}});
    azure.put(&service, &body).is(200);
    assert_eq!(azure.get(&service).json()["properties"]["deleteRetentionPolicy"], json!({"enabled": true, "days": 7}));
    let life = format!("{}/managementPolicies/default", thing(ACCOUNT));
    azure.get(&life).refused(404, "ManagementPolicyNotFound");
    let rule = json!({"name": "old", "enabled": true, "type": "Lifecycle", "definition": {
        "actions": {"version": {"delete": {"daysAfterCreationGreaterThan": 1}}}, "filters": {"blobTypes": ["blockBlob"]}}});
    azure.put(&life, &json!({"properties": {"policy": {"rules": [rule]}}})).is(200);
    let shown = azure.get(&life).is(200).json()["properties"]["policy"]["rules"][0].clone();
    let days = "/definition/actions/version/delete/daysAfterCreationGreaterThan";
    assert_eq!((&shown["name"], shown.pointer(days).map(Value::to_string).as_deref()), (&json!("old"), Some("1.0")));
    azure.delete(&life).is(200);
    azure.delete(&life).is(204);
    let nowhere = service.replace("dsctltests", "dsctlnone");
    azure.put(&nowhere, &body).refused(404, "ParentResourceNotFound");
}

#[test]
fn containers_are_private_and_carry_metadata() {
    let azure = Azure::ready();
    let container = container(&azure);
    let shown = azure.get(&container).is(200).json();
    assert_eq!(
        (&shown["properties"]["metadata"]["dsctl_token"], &shown["properties"]["publicAccess"]),
        (&json!("c"), &json!("None"))
    );
    azure.put(&container, &json!({"properties": {"publicAccess": "Blob"}})).refused(409, "PublicAccessNotPermitted");
    azure.put(&container, &json!({"properties": {"metadata": {"a-b": "c"}}})).refused(400, "InvalidMetadata");
    let list = container.rsplit_once('/').expect("a list").0.to_owned();
    assert_eq!(azure.get(&list).is(200).json()["value"][0]["name"], "dsctl");
    azure.delete(&container).is(200);
    azure.delete(&container).is(204);
    azure.get(&container).refused(404, "ContainerNotFound");
}

#[test]
fn a_locked_policy_keeps_container_and_account() {
    let azure = Azure::ready();
    let container = container(&azure);
    let policy = format!("{container}/immutabilityPolicies/default");
    azure.get(&policy).refused(404, "ContainerImmutabilityPolicyNotFound");
    let made = azure.put(&policy, &json!({"properties": {"immutabilityPeriodSinceCreationInDays": 30}})).is(200).json();
    assert_eq!(
        (&made["properties"]["state"], azure.get(&container).json()["properties"]["hasImmutabilityPolicy"].clone()),
        (&json!("Unlocked"), json!(true))
    );
    let tag = made["etag"].as_str().expect("a tag");
    azure.call_with(Method::POST, &format!("{policy}/lock"), &[("if-match", tag)], None).is(200);
    azure.delete(&container).refused(409, "ContainerProtectedFromDeletion");
    azure.delete(&thing(ACCOUNT)).refused(409, "AccountProtectedFromDeletion");
}
