//! The sizes of machines there are, and where: a table in `sizes.csv`.

use std::sync::OnceLock;

use serde_json::{Value, json};

use super::world::World;

pub const REGIONS: [&str; 3] = ["eastus", "westeurope", "swedencentral"];

/// A row of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Size {
    pub name: String,
    pub family: String,
    pub cores: i64,
    memory: String,
    gpus: String,
    pub has_accelerated_networking: bool,
    pub has_encryption_at_host: bool,
    pub has_premium_disks: bool,
    pub is_spot: bool,
    /// In the order of [`REGIONS`]; none where it is not offered.
    zones: Vec<Option<Vec<String>>>,
}

pub(super) fn all() -> &'static [Size] {
    static SIZES: OnceLock<Vec<Size>> = OnceLock::new();
    SIZES.get_or_init(|| include_str!("sizes.csv").lines().filter(|line| !line.starts_with('#')).map(row).collect())
}

fn row(line: &str) -> Size {
    let cells: Vec<&str> = line.split(',').collect();
    let is = |index: usize| cells[index] == "yes";
    let zones = |text: &&str| (*text != "-").then(|| text.chars().map(String::from).collect());
    Size {
        name: cells[0].to_owned(),
        family: cells[1].to_owned(),
        cores: cells[2].parse().expect("a number of vCPUs"),
        memory: cells[3].to_owned(),
        gpus: cells[4].to_owned(),
        has_accelerated_networking: is(5),
        has_encryption_at_host: is(6),
        has_premium_disks: is(7),
        is_spot: is(8),
        zones: cells[9..].iter().map(zones).collect(),
    }
}

/// A size where it is offered.
pub(super) fn find(name: &str, region: &str) -> Option<&'static Size> {
    all().iter().find(|size| size.name.eq_ignore_ascii_case(name) && size.zones_in(region).is_some())
}

impl Size {
    /// Where it is offered in a region; none if it is not, empty if in no zone of its own.
    pub fn zones_in(&self, region: &str) -> Option<&[String]> {
        let place = REGIONS.iter().position(|known| known.eq_ignore_ascii_case(region))?;
        self.zones[place].as_deref()
    }

    /// Zones that the subscription may not use it in; none if it may not use it at all.
    pub fn closed_zones(&self, world: &World, region: &str) -> Option<Vec<String>> {
        let of_it = world.settings.restrictions.iter().filter(|restriction| {
            restriction.size.eq_ignore_ascii_case(&self.name) && restriction.region.eq_ignore_ascii_case(region)
        });
        let closed: Vec<&Vec<String>> = of_it.map(|restriction| &restriction.zones).collect();
        let is_closed = closed.iter().any(|zones| zones.is_empty());
        (!is_closed).then(|| closed.into_iter().flatten().cloned().collect())
    }

    /// As `Microsoft.Compute/skus` lists it.
    pub fn entry(&self, world: &World, region: &str) -> Option<Value> {
        let zones = self.zones_in(region)?;
        Some(json!({
            "resourceType": "virtualMachines", "name": self.name, "tier": "Standard",
            "size": self.name.trim_start_matches("Standard_"), "family": self.family, "locations": [region],
            "locationInfo": [{"location": region, "zones": zones, "zoneDetails": []}],
            "capabilities": self.capabilities(), "restrictions": self.restrictions(world, region),
        }))
    }

    fn capabilities(&self) -> Vec<Value> {
        let written = |is: bool| if is { "True" } else { "False" };
        let named = [
            ("vCPUs", self.cores.to_string()),
            ("vCPUsAvailable", self.cores.to_string()),
            ("MemoryGB", self.memory.clone()),
            ("GPUs", self.gpus.clone()),
            ("PremiumIO", written(self.has_premium_disks).to_owned()),
            ("AcceleratedNetworkingEnabled", written(self.has_accelerated_networking).to_owned()),
            ("EncryptionAtHostSupported", written(self.has_encryption_at_host).to_owned()),
            ("LowPriorityCapable", written(self.is_spot).to_owned()),
            ("HyperVGenerations", "V1,V2".to_owned()),
            ("CpuArchitectureType", "x64".to_owned()),
        ];
        // Azure leaves the number of GPUs out where there is none.
        named
            .into_iter()
            .filter(|(_, value)| value != "0")
            .map(|(name, value)| json!({"name": name, "value": value}))
            .collect()
    }

    fn restrictions(&self, world: &World, region: &str) -> Vec<Value> {
        let reason = "NotAvailableForSubscription";
        let entry = |kind: &str, values: Value, info: Value| json!({"type": kind, "values": values, "restrictionInfo": info, "reasonCode": reason});
        match self.closed_zones(world, region) {
            None => {
                let zones = self.zones_in(region).unwrap_or_default();
                let mut all = vec![entry("Location", json!([region]), json!({"locations": [region]}))];
                if !zones.is_empty() {
                    all.push(entry("Zone", json!([region]), json!({"locations": [region], "zones": zones})));
                }
                all
            }
            Some(zones) if zones.is_empty() => Vec::new(),
            Some(zones) => vec![entry("Zone", json!([region]), json!({"locations": [region], "zones": zones}))],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_whole() {
        assert_eq!(all().len(), 16);
        let size = find("standard_nc24ads_a100_v4", "westeurope").expect("a size");
        assert_eq!((size.cores, size.zones_in("eastus").map(<[String]>::len)), (24, Some(2)));
        assert_eq!((find("Standard_ND96isr_H200_v5", "eastus"), find("Standard_D2s_v5", "northpole")), (None, None));
        let unzoned = find("Standard_ND96isr_H100_v5", "eastus").and_then(|size| size.zones_in("eastus"));
        assert_eq!(unzoned, Some(&[][..]));
    }
}
