//! What the machine types of a region are and can do, for this subscription: Azure calls it the list of SKUs.

use std::collections::BTreeMap;

use engine::provider::ProviderError;
use serde_json::Value;

use crate::azure::arm::Arm;
use crate::azure::id::SIZES_VERSION;
use crate::azure::network::{list, text};
use crate::azure::thing::same_text;

const MACHINES: &str = "virtualMachines";

/// One machine type in one region.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Size {
    /// What its quota is called by, e.g. `standardNCADSA100v4Family`.
    pub family: String,
    /// Numbers of zones; none where the region has none, or it is in none of them.
    pub zones: Vec<String>,
    /// Why it is not offered at all, in Azure's word.
    pub withheld: Option<String>,
    pub accelerated_networking: bool,
    pub encryption_at_host: bool,
}

/// By name, in small letters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sizes(BTreeMap<String, Size>);

impl Sizes {
    pub async fn ask(arm: &Arm, subscription: &str, region: &str) -> Result<Self, ProviderError> {
        let path = format!("/subscriptions/{subscription}/providers/Microsoft.Compute/skus");
        let filter = format!("location eq '{region}'");
        Ok(Self::of(&arm.list(&path, SIZES_VERSION, &[("$filter", &filter)]).await?, region))
    }

    pub(super) fn of(all: &[Value], region: &str) -> Self {
        let machines = all.iter().filter(|sku| text(sku, "/resourceType").eq_ignore_ascii_case(MACHINES));
        Self(machines.map(|sku| (text(sku, "/name").to_ascii_lowercase(), size(sku, region))).collect())
    }

    pub fn get(&self, machine_type: &str) -> Option<&Size> {
        self.0.get(&machine_type.to_ascii_lowercase())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn size(sku: &Value, region: &str) -> Size {
    let here = list(sku, "/locationInfo").iter().find(|info| same_text(text(info, "/location"), region));
    let mut zones: Vec<String> = here.map(|info| texts(info, "/zones")).unwrap_or_default();
    let mut withheld = None;
    for restriction in list(sku, "/restrictions") {
        let reason = text(restriction, "/reasonCode").to_owned();
        if text(restriction, "/type").eq_ignore_ascii_case("Zone") {
            let gone = texts(restriction, "/restrictionInfo/zones");
            zones.retain(|zone| !gone.contains(zone));
        } else {
            withheld = Some(reason);
        }
    }
    zones.sort();
    let can = |name: &str| list(sku, "/capabilities").iter().any(|it| is_true(it, name));
    Size {
        family: text(sku, "/family").trim().to_owned(),
        zones,
        withheld,
        accelerated_networking: can("AcceleratedNetworkingEnabled"),
        encryption_at_host: can("EncryptionAtHostSupported"),
    }
}

fn texts(value: &Value, pointer: &str) -> Vec<String> {
    list(value, pointer).iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn is_true(capability: &Value, name: &str) -> bool {
    text(capability, "/name") == name && text(capability, "/value").eq_ignore_ascii_case("true")
}

#[cfg(test)]
pub mod tests {
    use serde_json::json;

    use super::*;

    /// As the list of SKUs shows one.
    pub fn sku(name: &str, zones: &[&str], restrictions: &Value) -> Value {
        json!({
            "resourceType": "virtualMachines", "name": name, "tier": "Standard", "family": "standardNCADSA100v4Family",
            "locations": ["westeurope"],
            "locationInfo": [{"location": "westeurope", "zones": zones}],
            "capabilities": [{"name": "vCPUs", "value": "24"}, {"name": "AcceleratedNetworkingEnabled", "value": "True"},
                {"name": "EncryptionAtHostSupported", "value": "True"}],
            "restrictions": restrictions,
        })
    }

    #[test]
    fn a_size_is_in_the_zones_that_are_not_restricted() {
        let zone = json!([{"type": "Zone", "values": ["westeurope"], "reasonCode": "NotAvailableForSubscription",
            "restrictionInfo": {"locations": ["westeurope"], "zones": ["1"]}}]);
        let sizes = Sizes::of(&[sku("Standard_NC24ads_A100_v4", &["3", "1", "2"], &zone)], "westeurope");
        let size = sizes.get("standard_nc24ads_a100_v4").unwrap();
        assert_eq!((&size.zones, &size.withheld), (&vec!["2".to_owned(), "3".to_owned()], &None));
        assert!(size.accelerated_networking && size.encryption_at_host);
        assert_eq!(size.family, "standardNCADSA100v4Family");
    }

    #[test]
    fn what_is_withheld_says_why_and_disks_are_no_machines() {
        let location = json!([{"type": "Location", "values": ["westeurope"], "reasonCode": "NotAvailableForSubscription",
            "restrictionInfo": {"locations": ["westeurope"]}}]);
        let disk = json!({"resourceType": "disks", "name": "Premium_LRS"});
        let sizes = Sizes::of(&[sku("A", &[], &location), disk], "westeurope");
        assert_eq!(sizes.get("A").unwrap().withheld.as_deref(), Some("NotAvailableForSubscription"));
        assert!(sizes.get("Premium_LRS").is_none());
    }
}
