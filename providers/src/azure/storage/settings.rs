//! What a storage account is set to: what Azure shows and what we want, and the calls that lead from one to the other.

use engine::graph::Desired;
use engine::provider::ProviderError;
use serde_json::{Map, Value, json};

use super::lifecycle;
use crate::azure::auth::Azure;
use crate::azure::id::name_of;
use crate::azure::kind::StorageInputs;
use crate::azure::tags::{self, Tags};
use crate::azure::thing::{fulfils, with_oddities};

/// Days that what was removed can be brought back.
const RETENTION_DAYS: u32 = 7;

/// All that is set on an account.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    pub account: Value,
    /// Of its blob service.
    pub blobs: Value,
    /// Null where there is none.
    pub policy: Value,
    pub access_log: bool,
}

/// What an account is made with. Encryption twice over, by keys of Azure's own: one of a vault is of no use to the machine,
/// whose identity may not use it.
pub fn made_with() -> Value {
    let mut properties = protected();
    properties["encryption"] = json!({
        "keySource": "Microsoft.Storage", "requireInfrastructureEncryption": true,
        "services": {"blob": {"enabled": true, "keyType": "Account"}},
    });
    json!({ "kind": "StorageV2", "sku": {"name": "Standard_LRS"}, "properties": properties })
}

/// Each protection: how it shows when it is off, and what Azure shows when it is on.
fn protections() -> [(&'static str, &'static str, Value); 7] {
    [
        ("public_blobs", "allowed", json!({"allowBlobPublicAccess": false})),
        ("account_keys", "allowed", json!({"allowSharedKeyAccess": false, "defaultToOAuthAuthentication": true})),
        ("replication_to_others", "allowed", json!({"allowCrossTenantReplication": false})),
        ("tls", "older than 1.2", json!({"minimumTlsVersion": "TLS1_2"})),
        ("plain_http", "allowed", json!({"supportsHttpsTrafficOnly": true})),
        ("public_network", "off", json!({"publicNetworkAccess": "Enabled"})),
        ("network_rules", "other", json!({"networkAcls": {"defaultAction": "Allow", "bypass": "AzureServices"}})),
    ]
}

fn protected() -> Value {
    let all = protections().into_iter().filter_map(|(_, _, wanted)| wanted.as_object().cloned());
    Value::Object(all.flatten().collect())
}

fn blob_service() -> Value {
    json!({ "properties": {
        "isVersioningEnabled": true,
        "deleteRetentionPolicy": {"enabled": true, "days": RETENTION_DAYS},
        // A container that is made again under its name must not be in the way of itself.
        "containerDeleteRetentionPolicy": {"enabled": false},
    }})
}

fn blob_service_of(id: &str) -> String {
    format!("{id}/blobServices/default")
}

fn policy_of(id: &str) -> String {
    format!("{id}/managementPolicies/default")
}

/// All settings of the account that was seen, side by side. The log is asked about only where there should be one.
pub async fn look(azure: &Azure, id: &str, account: Value, recorded: &Value) -> Result<Settings, ProviderError> {
    let (service, policy) = (blob_service_of(id), policy_of(id));
    let (blobs, policy, access_log) = futures::try_join!(
        azure.arm.get(&service),
        azure.arm.get(&policy),
        is_logged(azure, id, recorded["access_log"] == true),
    )?;
    Ok(Settings { account, blobs: blobs.unwrap_or_default(), policy: policy.unwrap_or_default(), access_log })
}

async fn is_logged(azure: &Azure, id: &str, asked: bool) -> Result<bool, ProviderError> {
    if asked { azure.blobs.is_logged(name_of(id)).await } else { Ok(false) }
}

/// Days that audit records of an account are kept; none where nobody asks for it.
pub async fn audit_days(azure: &Azure, id: &str) -> Result<Option<u32>, ProviderError> {
    Ok(azure.arm.get(&policy_of(id)).await?.as_ref().and_then(lifecycle::audit_days))
}

impl Settings {
    /// In the shape of [`StorageInputs`]; what is not as it is always made shows as a further key. Pure.
    pub fn observed(&self, group: String) -> Value {
        let audit_days = lifecycle::audit_days(&self.policy);
        let mut shown = json!({ "group": group, "audit_days": audit_days, "access_log": self.access_log });
        let odd: Map<String, Value> =
            self.oddities(audit_days).map(|(key, how)| (key.to_owned(), json!(how))).collect();
        if let Some(fields) = shown.as_object_mut() {
            fields.extend(odd);
        }
        with_oddities(shown, &self.account)
    }

    fn oddities(&self, audit_days: Option<u32>) -> impl Iterator<Item = (&'static str, &'static str)> {
        let properties = &self.account["properties"];
        let of_account = protections()
            .map(|(key, how, wanted)| (key, how, fulfils(properties, &wanted) || is_newer(properties, key)));
        let wanted = blob_service();
        let is_on = |key: &str| fulfils(&self.blobs["properties"][key], &wanted["properties"][key]);
        let of_blobs = [
            ("versioning", "off", is_on("isVersioningEnabled")),
            ("delete_retention", "other", is_on("deleteRetentionPolicy")),
            ("lifecycle", "other", lifecycle::is_as_wanted(&self.policy, audit_days)),
        ];
        of_account.into_iter().chain(of_blobs).filter(|(.., is_well)| !is_well).map(|(key, how, _)| (key, how))
    }
}

/// Who asks for more than we do is not put right.
fn is_newer(properties: &Value, key: &str) -> bool {
    key == "tls" && properties["minimumTlsVersion"] == "TLS1_3"
}

/// Makes what differs as it is wanted; no call for what does not.
pub async fn mend(
    azure: &Azure,
    id: &str,
    desired: &Desired,
    inputs: &StorageInputs,
    seen: &Settings,
    wanted_tags: &Tags,
) -> Result<(), ProviderError> {
    let address = &desired.address;
    if seen.oddities(inputs.audit_days).any(|(key, _)| protections().iter().any(|(own, ..)| *own == key)) {
        azure.arm.patch(address, id, &json!({ "properties": protected() })).await?;
    }
    if tags::of(&seen.account) != *wanted_tags {
        azure.arm.patch(address, id, &json!({ "tags": wanted_tags })).await?;
    }
    if !fulfils(&seen.blobs, &blob_service()) {
        azure.arm.put(format!("{address}: versions"), &blob_service_of(id), &blob_service()).await?;
    }
    if !lifecycle::is_as_wanted(&seen.policy, inputs.audit_days) {
        let policy = lifecycle::policy(inputs.audit_days);
        azure.arm.put(format!("{address}: lifecycle"), &policy_of(id), &policy).await?;
    }
    // A pack that asks for a log asks for records that are kept too: without either nobody needs to ask about it.
    if inputs.access_log || lifecycle::audit_days(&seen.policy).is_some() {
        set_log(azure, name_of(id), inputs.access_log).await?;
    }
    Ok(())
}

async fn set_log(azure: &Azure, account: &str, wanted: bool) -> Result<(), ProviderError> {
    if azure.blobs.is_logged(account).await? == wanted {
        return Ok(());
    }
    azure.blobs.set_logged(account, wanted).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(audit_days: Option<u32>, access_log: bool) -> Settings {
        let mut account = made_with();
        account["tags"] =
            json!({"dsctl-token": "x", "dsctl-address": "x", "dsctl-lineage": "x", "dsctl-deployment": "x"});
        Settings { account, blobs: blob_service(), policy: lifecycle::policy(audit_days), access_log }
    }

    #[test]
    fn an_account_as_it_is_made_shows_its_inputs_only() {
        for (audit_days, access_log) in [(None, false), (Some(2192), true)] {
            let inputs = StorageInputs { group: "group.main".to_owned(), audit_days, access_log };
            let shown = made(audit_days, access_log).observed("group.main".to_owned());
            assert_eq!(shown, serde_json::to_value(inputs).unwrap());
        }
    }

    #[test]
    fn each_protection_that_is_off_shows() {
        let shown = Settings { account: json!({}), blobs: Value::Null, policy: Value::Null, access_log: false };
        let shown = shown.observed("group.main".to_owned());
        for (key, how, _) in protections() {
            assert_eq!(shown[key], how);
        }
        for (key, how) in
            [("versioning", "off"), ("delete_retention", "other"), ("lifecycle", "other"), ("tags", "incomplete")]
        {
            assert_eq!(shown[key], how);
        }
    }

    #[test]
    fn one_setting_that_was_changed_shows_alone() {
        let mut seen = made(None, false);
        seen.account["properties"]["allowSharedKeyAccess"] = json!(true);
        let shown = seen.observed("g".to_owned());
        assert_eq!(shown["account_keys"], "allowed");
        assert_eq!(shown.as_object().unwrap().len(), 4, "{shown}");
        let mut newer = made(None, false);
        newer.account["properties"]["minimumTlsVersion"] = json!("TLS1_3");
        assert!(newer.observed("g".to_owned()).get("tls").is_none());
    }
}
