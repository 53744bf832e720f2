//! What a deployment costs a month: the machine, and what stands around it. From dated rates; what is unknown stays unknown.
//!
//! ```text
//! Rates::around(region, disk, egress) -> MonthlyCosts -> monthly_total(machine, candidate) -> parts and their sum
//! ```

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use spec::amount::Usd;
use spec::deployment::Cloud;
use spec::machine::{Disk, Egress, Exposure, MachineCandidate, MonthlyCosts, ResolvedMachine, ResolvedNetwork};
use spec::yaml::{self, YamlError};

const DATA: &str = include_str!("../data/rates.yaml");

/// Private endpoints that a machine without a way out needs in each zone, so that a person can still reach it: on AWS those
/// of Session Manager.
pub const ENDPOINT_SERVICES: u64 = 3;

/// What is assumed of answers that leave the cloud, in GB a month.
pub const DEFAULT_EGRESS_GB: u32 = 100;

/// What stands around machines costs, by cloud and region.
#[derive(Debug, Clone)]
pub struct Rates {
    rows: Vec<Row>,
}

/// What a machine candidate comes to in a month, with what stands around it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct MonthlyTotal {
    /// Only what the deployment has.
    pub parts: Vec<Part>,
    /// None as soon as one part is unknown.
    pub total: Option<Usd>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Part {
    /// E.g. `nat gateway`.
    pub name: &'static str,
    /// None = unknown.
    pub monthly: Option<Usd>,
}

/// Why the data file is no list of rates.
#[derive(Debug, thiserror::Error)]
pub enum RatesError {
    #[error(transparent)]
    Yaml(#[from] YamlError),
    #[error("{cloud} {region}: {message}")]
    Row { cloud: Cloud, region: String, message: &'static str },
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    cloud: Cloud,
    regions: Vec<String>,
    as_of: String,
    source: String,
    disk: Option<DiskRate>,
    nat: Option<NatRate>,
    public_address_hourly: Option<Usd>,
    interface_endpoint_hourly: Option<Usd>,
    egress: Option<EgressRate>,
}

/// A month. Speed without a rate comes with the size.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct DiskRate {
    gib: Usd,
    iops: Option<Usd>,
    #[serde(default)]
    included_iops: u32,
    mib_a_second: Option<Usd>,
    #[serde(default)]
    included_mib_a_second: u32,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct NatRate {
    hourly: Usd,
    gb: Usd,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct EgressRate {
    gb: Usd,
    free_gb: u32,
}

/// The rates that come with the program.
pub fn rates() -> Result<Rates, RatesError> {
    Rates::parse(DATA, "rates.yaml")
}

impl Rates {
    /// Reads a list of rates and checks what types can't. `source_name` is what errors call the text.
    pub fn parse(text: &str, source_name: &str) -> Result<Self, RatesError> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Document {
            rates: Vec<Row>,
        }
        let rows = yaml::parse::<Document>(text, source_name)?.rates;
        let mut seen = BTreeSet::new();
        for row in &rows {
            for region in &row.regions {
                let refused = |message| RatesError::Row { cloud: row.cloud, region: region.clone(), message };
                if has_zero(row) {
                    return Err(refused("a rate of zero; leave it out"));
                }
                if !seen.insert((row.cloud.as_str(), region)) {
                    return Err(refused("is given twice"));
                }
            }
        }
        Ok(Self { rows })
    }

    /// What stands around one machine in a region; all of it, whether a deployment has it or not.
    pub fn around(&self, cloud: Cloud, region: &str, disk: Disk, egress_gb: u32) -> MonthlyCosts {
        let Some(row) = self.row(cloud, region) else {
            return MonthlyCosts { source: format!("no rates of {cloud} on record"), ..MonthlyCosts::default() };
        };
        MonthlyCosts {
            disk: row.disk.map(|rate| rate.monthly(disk)),
            nat_gateway: row.nat.map(|nat| nat.hourly.a_month().plus(nat.gb.times(u64::from(egress_gb)))),
            public_address: row.public_address_hourly.map(Usd::a_month),
            interface_endpoint: row.interface_endpoint_hourly.map(Usd::a_month),
            egress: row.egress.map(|egress| egress.gb.times(u64::from(egress_gb.saturating_sub(egress.free_gb)))),
            source: format!("{}, {}", row.source, row.as_of),
        }
    }

    fn row(&self, cloud: Cloud, region: &str) -> Option<&Row> {
        let of = |name: &str| {
            self.rows.iter().find(|row| row.cloud == cloud && row.regions.iter().any(|region| region == name))
        };
        of(region).or_else(|| of("*"))
    }
}

impl DiskRate {
    fn monthly(self, disk: Disk) -> Usd {
        let beyond = |rate: Option<Usd>, given: u32, included: u32| {
            rate.map_or_else(Usd::default, |rate| rate.times(u64::from(given.saturating_sub(included))))
        };
        self.gib.times(u64::from(disk.gib)).plus(beyond(self.iops, disk.iops, self.included_iops)).plus(beyond(
            self.mib_a_second,
            disk.mib_a_second,
            self.included_mib_a_second,
        ))
    }
}

/// What a deployment comes to in a month on one of its candidates.
pub fn monthly_total(machine: &ResolvedMachine, candidate: &MachineCandidate) -> MonthlyTotal {
    total(candidate, &machine.around, &machine.network, zone_count(&machine.candidates))
}

/// The network spans the zones of all candidates from the start.
pub(crate) fn zone_count(candidates: &[MachineCandidate]) -> u64 {
    let zones: BTreeSet<Option<&str>> = candidates.iter().map(|candidate| candidate.zone.as_deref()).collect();
    zones.len() as u64
}

pub(crate) fn total(
    candidate: &MachineCandidate,
    around: &MonthlyCosts,
    network: &ResolvedNetwork,
    zones: u64,
) -> MonthlyTotal {
    let mut parts = vec![part("machine", candidate.hourly().map(Usd::a_month)), part("disk", around.disk)];
    match (network.public, network.egress) {
        (Exposure::Public, _) => parts.push(part("public address", around.public_address)),
        (Exposure::Private, Egress::Nat) => {
            parts.push(part("nat gateway", around.nat_gateway));
            parts.push(part("public address of the nat gateway", around.public_address));
        }
        // Private Google Access and Azure's service endpoints cost nothing.
        (Exposure::Private, Egress::Endpoints) if candidate.offer.cloud != Cloud::Aws => {}
        (Exposure::Private, Egress::Endpoints) => {
            let monthly = around.interface_endpoint.map(|each| each.times(ENDPOINT_SERVICES).times(zones));
            parts.push(part("private endpoints", monthly));
        }
    }
    parts.push(part("answers that leave the cloud", around.egress));
    let total = parts.iter().map(|part| part.monthly).try_fold(Usd::default(), |sum, next| Some(sum.plus(next?)));
    MonthlyTotal { parts, total }
}

const fn part(name: &'static str, monthly: Option<Usd>) -> Part {
    Part { name, monthly }
}

fn has_zero(row: &Row) -> bool {
    let disk = row.disk.map(|disk| [Some(disk.gib), disk.iops, disk.mib_a_second]);
    let nat = row.nat.map(|nat| [nat.hourly, nat.gb]);
    let flat = [row.public_address_hourly, row.interface_endpoint_hourly, row.egress.map(|egress| egress.gb)];
    let all = disk.into_iter().flatten().chain(nat.into_iter().flatten().map(Some)).chain(flat);
    all.flatten().any(|rate| rate == Usd::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DISK: Disk = Disk { gib: 200, iops: 4000, mib_a_second: 225 };

    #[test]
    fn the_figures_are_those_of_a_calculation_by_hand() {
        let around = rates().unwrap().around(Cloud::Aws, "us-east-1", DISK, 300);
        let text = |usd: Option<Usd>| usd.unwrap().to_string();
        // 200 * 0.08 + 1,000 * 0.005 + 100 * 0.04
        assert_eq!(text(around.disk), "25.00");
        // 730 * 0.045 + 300 * 0.045
        assert_eq!(text(around.nat_gateway), "46.35");
        assert_eq!(text(around.public_address), "3.65");
        assert_eq!(text(around.interface_endpoint), "7.30");
        assert_eq!(text(around.egress), "18.00");
        assert!(around.source.ends_with("2026-11-26"), "{}", around.source);
    }

    #[test]
    fn a_region_without_figures_is_dearer_than_the_first_and_says_so() {
        let rates = rates().unwrap();
        let around = rates.around(Cloud::Aws, "eu-north-1", DISK, 100);
        assert!(around.source.contains("no figures on record"), "{}", around.source);
        assert!(around.disk > rates.around(Cloud::Aws, "us-east-1", DISK, 100).disk);
        // Within the free amount: nothing, which is known.
        assert_eq!(around.egress, Some(Usd::default()));
    }

    #[test]
    fn what_is_unknown_stays_unknown() {
        let rates = rates().unwrap();
        let gcp = rates.around(Cloud::Gcp, "europe-west4", DISK, 100);
        assert!(gcp.interface_endpoint.is_none() && gcp.nat_gateway.is_some());
        let local = rates.around(Cloud::Local, "here", DISK, 100);
        assert!(local.disk.is_none() && local.egress.is_none() && local.source.contains("no rates"));
    }

    #[test]
    fn rows_that_cannot_be_are_refused_by_name() {
        for (from, to, message) in [
            ("gib: 0.088", "gib: 0", "aws eu-west-1: a rate of zero"),
            ("[eu-west-1]", "[eu-central-1]", "aws eu-central-1: is given twice"),
            ("nat:", "nut:", "unknown key \"nut\""),
        ] {
            let error = Rates::parse(&DATA.replace(from, to), "rates.yaml").unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}
