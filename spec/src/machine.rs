//! A rented machine: what may be wished for, what is on offer, and what was chosen.

use std::fmt;
use std::str::FromStr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::amount::Usd;
use crate::deployment::Cloud;

/// The part of a deployment file that only a cloud needs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MachineWish {
    /// E.g. `g6e.12xlarge`; without it the cheapest that holds the model.
    #[serde(skip_serializing_if = "Option::is_none", rename = "type")]
    pub machine_type: Option<String>,
    /// Zones to try, in this order; without them all that offer the machine.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub zones: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub market: Option<Market>,
    /// Size of the root disk; without it what the weights need.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_gib: Option<u32>,
    /// The image to boot; without it the newest that the cloud names, pinned at the first `up`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
}

/// How a machine is paid for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Market {
    OnDemand,
    /// Cheaper; the cloud may take it back at short notice.
    Spot,
}

impl Market {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OnDemand => "on-demand",
            Self::Spot => "spot",
        }
    }
}

impl fmt::Display for Market {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkWish {
    /// Address range of the network [default: 10.77.0.0/16].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range: Option<Ipv4Net>,
    /// Who may reach port 443 [default: 10.0.0.0/8].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<Ipv4Net>,
    /// A public address for the machine. Needs `allow`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public: Option<bool>,
    /// How the machine reaches the world.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub egress: Option<Egress>,
    /// Who encrypts between clients and the gateway [default: gateway; on this machine nobody].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
}

/// Who encrypts between clients and a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tls {
    /// The gateway itself, with a certificate.
    Gateway,
    /// Something of the user's own in front of it: a load balancer, a mesh, a VPN.
    Elsewhere,
}

/// How a machine without a public address fetches what it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Egress {
    /// A gateway that translates addresses: weights may come from anywhere.
    Nat,
    /// Private endpoints of the cloud's own services only: weights must lie in a bucket of that cloud.
    Endpoints,
}

/// Money that a deployment may cost, and what is assumed for it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BudgetWish {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_hourly: Option<Usd>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_monthly: Option<Usd>,
    /// Answers that leave the cloud, for the monthly total [default: 100].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub egress_gb: Option<u32>,
}

/// A set of rules that a deployment must obey.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pack {
    /// EU regions only.
    Gdpr,
    /// Encrypted disk and transport, no public address, audit log kept six years, access logging.
    Hipaa,
}

impl Pack {
    pub const ALL: [Self; 2] = [Self::Gdpr, Self::Hipaa];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gdpr => "gdpr",
            Self::Hipaa => "hipaa",
        }
    }
}

impl fmt::Display for Pack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Pack {
    type Err = String;

    fn from_str(given: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|pack| pack.as_str() == given);
        found.ok_or_else(|| format!("known are {}", Self::ALL.map(Self::as_str).join(", ")))
    }
}

/// One region by name, or several by a pattern with `*`: `eu-west-1`, `eu-*`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RegionPattern(String);

impl RegionPattern {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The one region that it names, if it is no pattern.
    pub fn single(&self) -> Option<&str> {
        (!self.0.contains('*')).then_some(self.0.as_str())
    }

    pub fn matches(&self, region: &str) -> bool {
        let mut parts = self.0.split('*');
        let Some(mut rest) = parts.next().and_then(|first| region.strip_prefix(first)) else { return false };
        let parts: Vec<&str> = parts.collect();
        let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
        for part in middle {
            let Some(at) = rest.find(part) else { return false };
            rest = &rest[at + part.len()..];
        }
        rest.ends_with(last)
    }
}

impl fmt::Display for RegionPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for RegionPattern {
    type Err = String;

    fn from_str(given: &str) -> Result<Self, String> {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'*');
        if !given.is_empty() && given.len() <= 40 && given.bytes().all(is_plain) {
            return Ok(Self(given.to_owned()));
        }
        Err(format!("\"{given}\" is no region, e.g. eu-west-1 or eu-*"))
    }
}

impl TryFrom<String> for RegionPattern {
    type Error = String;

    fn try_from(given: String) -> Result<Self, String> {
        given.parse()
    }
}

impl From<RegionPattern> for String {
    fn from(pattern: RegionPattern) -> Self {
        pattern.0
    }
}

/// A machine type in a region, and its price.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offer {
    pub cloud: Cloud,
    pub machine_type: String,
    pub region: String,
    /// Full names, e.g. `us-east-1a`; empty = not on record.
    #[serde(default)]
    pub zones: Vec<String>,
    pub vcpus: u32,
    pub memory_mib: u64,
    /// None: it computes on its processors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<Gpu>,
    pub gpu_count: u32,
    /// Absent = unknown, never zero.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_demand_hourly: Option<Usd>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spot_hourly: Option<Usd>,
    /// The day that the prices are of, `YYYY-MM-DD`; for a price asked of the cloud just now, today.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_as_of: Option<String>,
    pub price_source: String,
    /// The account's limits that such a machine counts against, where the cloud has a name for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_demand_quota: Option<QuotaName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spot_quota: Option<QuotaName>,
}

/// A limit of an account, as the cloud calls it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuotaName {
    /// E.g. `L-DB2E81BA`.
    pub code: String,
    /// E.g. `Running On-Demand G and VT instances`.
    pub name: String,
}

/// What a machine without GPUs keeps for its operating system, the gateway and what watches it.
const SYSTEM_MIB: u64 = 2048;

impl Offer {
    /// What holds a model there: how many of them, and the memory of each in MiB.
    pub fn devices(&self) -> (u32, u64) {
        match &self.gpu {
            Some(gpu) => (self.gpu_count, gpu.memory_mib),
            None => (1, self.memory_mib.saturating_sub(SYSTEM_MIB)),
        }
    }

    /// For the reader, e.g. `4 x L40S 44 GiB`, rounded down; `8 vCPUs 16 GiB`.
    pub fn devices_text(&self) -> String {
        match &self.gpu {
            Some(gpu) => format!("{} x {} {} GiB", self.gpu_count, gpu.name, gpu.memory_mib >> 10),
            None => format!("{} vCPUs {} GiB", self.vcpus, self.memory_mib >> 10),
        }
    }

    pub const fn quota(&self, market: Market) -> Option<&QuotaName> {
        match market {
            Market::OnDemand => self.on_demand_quota.as_ref(),
            Market::Spot => self.spot_quota.as_ref(),
        }
    }

    pub const fn hourly(&self, market: Market) -> Option<Usd> {
        match market {
            Market::OnDemand => self.on_demand_hourly,
            Market::Spot => self.spot_hourly,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gpu {
    /// E.g. `L40S`.
    pub name: String,
    /// What the driver reports, of each.
    pub memory_mib: u64,
}

/// One attempt to get a machine: a type in a zone, at a price.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineCandidate {
    pub offer: Offer,
    /// None: wherever in the region the cloud has room, where the cloud can be asked so.
    pub zone: Option<String>,
    pub market: Market,
}

impl MachineCandidate {
    pub const fn hourly(&self) -> Option<Usd> {
        self.offer.hourly(self.market)
    }

    /// E.g. `g6e.12xlarge in us-east-1a, on-demand, $10.49/h`.
    pub fn label(&self) -> String {
        let place = self.zone.as_deref().unwrap_or(&self.offer.region);
        let price = self.hourly().map_or_else(|| "price unknown".to_owned(), |hourly| format!("${hourly}/h"));
        format!("{} in {place}, {}, {price}", self.offer.machine_type, self.market)
    }
}

/// A cloud deployment's machine and what is around it, complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolvedMachine {
    pub region: String,
    /// In the order in which they are tried; at least one.
    pub candidates: Vec<MachineCandidate>,
    pub disk: Disk,
    /// The image that was named; none = the cloud's newest at the first `up`.
    pub image: Option<String>,
    pub network: ResolvedNetwork,
    /// What the packs want to be written down.
    pub records: Records,
    /// Answers that leave the cloud, for the monthly total.
    pub egress_gb: u32,
    pub around: MonthlyCosts,
}

/// Who did what with a deployment's data.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Records {
    /// Days that the audit log is kept; none = nobody asks for it.
    pub audit_days: Option<u32>,
    /// Whether every access to the deployment's bucket is logged.
    pub access_log: bool,
}

/// What stands around a machine costs a month (730 hours); none = unknown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MonthlyCosts {
    /// The root disk, with what it has beyond the included speed.
    pub disk: Option<Usd>,
    /// One, with the answers of `egress_gb` going through it.
    pub nat_gateway: Option<Usd>,
    /// One IPv4 address that the world can reach.
    pub public_address: Option<Usd>,
    /// One private endpoint of a service in one zone.
    pub interface_endpoint: Option<Usd>,
    /// Answers of `egress_gb` that leave the cloud.
    pub egress: Option<Usd>,
    /// The day that these are of, and where they are from.
    pub source: String,
}

/// The root disk; always encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    pub gib: u32,
    pub iops: u32,
    pub mib_a_second: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolvedNetwork {
    pub range: Ipv4Net,
    pub allow: Vec<Ipv4Net>,
    pub public: Exposure,
    pub egress: Egress,
}

/// Whether the machine has an address that the world can reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exposure {
    Private,
    Public,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_whole_names() {
        for (pattern, region, matches) in [
            ("eu-*", "eu-west-1", true),
            ("eu-*", "us-east-1", false),
            ("eu-west-1", "eu-west-1", true),
            ("eu-west-1", "eu-west-10", false),
            ("*-1", "us-east-1", true),
            ("*-1", "us-east-2", false),
            ("us-*-2", "us-west-2", true),
            ("us-*-2", "us-2", false),
            ("*", "anything", true),
            ("europe*", "europe-west4", true),
        ] {
            assert_eq!(pattern.parse::<RegionPattern>().unwrap().matches(region), matches, "{pattern} {region}");
        }
        for bad in ["", "EU-*", "eu west"] {
            assert!(bad.parse::<RegionPattern>().is_err(), "{bad:?}");
        }
    }
}
