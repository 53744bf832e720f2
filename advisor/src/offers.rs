//! Machine types on offer, read from the dated data file.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use spec::amount::Usd;
use spec::deployment::Cloud;
use spec::machine::{Gpu, Market, Offer, QuotaName};
use spec::yaml::{self, YamlError};

use crate::cost::{Rates, RatesError, rates};

const DATA: &str = include_str!("../data/offers.yaml");

/// Every machine type in every region on record, and what stands around a machine costs there.
#[derive(Debug, Clone)]
pub struct Offers {
    offers: Vec<Offer>,
    /// GPU name -> memory bandwidth in GB/s.
    bandwidth: BTreeMap<String, u32>,
    /// Machine types that can't be had on demand.
    spot_only: BTreeSet<String>,
    rates: Rates,
}

/// Why the data file is no list of offers.
#[derive(Debug, thiserror::Error)]
pub enum OffersError {
    #[error(transparent)]
    Yaml(#[from] YamlError),
    #[error(transparent)]
    Rates(#[from] RatesError),
    #[error("{row}: {message}")]
    Row { row: String, message: &'static str },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    sources: BTreeMap<String, String>,
    gpus: Vec<GpuRow>,
    quotas: BTreeMap<String, QuotaRow>,
    types: Vec<TypeRow>,
    prices: Vec<PriceRow>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GpuRow {
    name: String,
    bandwidth_gb_s: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct QuotaRow {
    on_demand: Option<QuotaName>,
    spot: Option<QuotaName>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TypeRow {
    cloud: Cloud,
    #[serde(rename = "type")]
    machine_type: String,
    vcpus: u32,
    memory_mib: u64,
    /// None: it computes on its processors.
    gpu: Option<String>,
    #[serde(default)]
    gpu_memory_mib: u64,
    #[serde(default)]
    gpu_count: u32,
    quota: Option<String>,
    #[serde(default)]
    spot_only: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PriceRow {
    #[serde(rename = "type")]
    machine_type: String,
    region: String,
    #[serde(default)]
    zones: Vec<String>,
    on_demand: Option<Usd>,
    spot: Option<Usd>,
    as_of: Option<String>,
    source: String,
}

/// The offers that come with the program.
pub fn offers() -> Result<Offers, OffersError> {
    Offers::parse(DATA, "offers.yaml")
}

impl Offers {
    /// Reads a list of offers and checks what types can't. `source_name` is what errors call the text.
    pub fn parse(text: &str, source_name: &str) -> Result<Self, OffersError> {
        let document = yaml::parse::<Document>(text, source_name)?;
        let bandwidth: BTreeMap<String, u32> =
            document.gpus.into_iter().map(|gpu| (gpu.name, gpu.bandwidth_gb_s)).collect();
        let types: BTreeMap<&str, &TypeRow> =
            document.types.iter().map(|row| (row.machine_type.as_str(), row)).collect();
        let mut seen = BTreeSet::new();
        let mut offers = Vec::with_capacity(document.prices.len());
        for row in document.prices {
            let name = format!("{} in {}", row.machine_type, row.region);
            let refused = |message| OffersError::Row { row: name.clone(), message };
            let machine = types.get(row.machine_type.as_str()).ok_or_else(|| refused("no such machine type"))?;
            let source = document.sources.get(&row.source).ok_or_else(|| refused("no such source"))?;
            let quota = machine.quota.as_ref().map(|quota| document.quotas.get(quota));
            let quota = quota.map(|known| known.ok_or_else(|| refused("no such quota"))).transpose()?;
            let offer = offer(machine, quota, row, source);
            check(&offer, &bandwidth).map_err(refused)?;
            if machine.spot_only && offer.on_demand_hourly.is_some() {
                return Err(refused("a price on demand of what is on the spot market only"));
            }
            if !seen.insert(name.clone()) {
                return Err(refused("is given twice"));
            }
            offers.push(offer);
        }
        let spot_only = document.types.iter().filter(|row| row.spot_only).map(|row| row.machine_type.clone()).collect();
        Ok(Self { offers, bandwidth, spot_only, rates: rates()? })
    }

    /// What the cloud said just now in place of what is on record: all rows of the machine types given go, all others stay.
    /// A type may come in several rows, e.g. one a zone, where each has a price of its own.
    #[must_use]
    pub fn with_live(mut self, cloud: Cloud, region: &str, live: Vec<Offer>) -> Self {
        let live: Vec<Offer> =
            live.into_iter().filter(|offer| offer.cloud == cloud && offer.region == region).collect();
        let types: BTreeSet<&str> = live.iter().map(|offer| offer.machine_type.as_str()).collect();
        self.offers.retain(|offer| {
            offer.cloud != cloud || offer.region != region || !types.contains(offer.machine_type.as_str())
        });
        self.offers.extend(live);
        self
    }

    /// Of a region only what the cloud said just now; other regions stay.
    #[must_use]
    pub fn with_only(mut self, cloud: Cloud, region: &str, live: Vec<Offer>) -> Self {
        self.offers.retain(|offer| offer.cloud != cloud || offer.region != region);
        self.with_live(cloud, region, live)
    }

    /// Without what the region does not offer in any zone.
    #[must_use]
    pub fn with_zones_only(mut self, cloud: Cloud, region: &str) -> Self {
        self.offers.retain(|offer| offer.cloud != cloud || offer.region != region || !offer.zones.is_empty());
        self
    }

    /// Whether a machine type can be had there at all, at whatever price.
    pub fn is_sold(&self, machine_type: &str, market: Market) -> bool {
        market == Market::Spot || !self.spot_only.contains(machine_type)
    }

    pub const fn rates(&self) -> &Rates {
        &self.rates
    }

    pub fn iter(&self) -> impl Iterator<Item = &Offer> {
        self.offers.iter()
    }

    /// Memory bandwidth of one GPU in GB/s.
    pub fn bandwidth(&self, gpu: &str) -> Option<u32> {
        self.bandwidth.get(gpu).copied()
    }
}

fn offer(machine: &TypeRow, quota: Option<&QuotaRow>, row: PriceRow, source: &str) -> Offer {
    let separator = if machine.cloud == Cloud::Aws { "" } else { "-" };
    Offer {
        cloud: machine.cloud,
        zones: row.zones.iter().map(|zone| format!("{}{separator}{zone}", row.region)).collect(),
        machine_type: row.machine_type,
        region: row.region,
        vcpus: machine.vcpus,
        memory_mib: machine.memory_mib,
        gpu: machine.gpu.clone().map(|name| Gpu { name, memory_mib: machine.gpu_memory_mib }),
        gpu_count: machine.gpu_count,
        on_demand_hourly: row.on_demand,
        spot_hourly: row.spot,
        price_as_of: row.as_of,
        price_source: source.to_owned(),
        on_demand_quota: quota.and_then(|quota| quota.on_demand.clone()),
        spot_quota: quota.and_then(|quota| quota.spot.clone()),
    }
}

fn check(offer: &Offer, bandwidth: &BTreeMap<String, u32>) -> Result<(), &'static str> {
    let zero = Some(Usd::from_millionths(0));
    let (devices, device_mib) = offer.devices();
    let size = [u64::from(offer.vcpus), offer.memory_mib, device_mib, u64::from(devices)];
    match () {
        () if offer.on_demand_hourly == zero || offer.spot_hourly == zero => Err("a price of zero; leave it out"),
        () if size.contains(&0) => Err("a size of zero"),
        () if offer.gpu.as_ref().is_some_and(|gpu| !bandwidth.contains_key(&gpu.name)) => Err("no such GPU"),
        () if offer.gpu.is_none() && offer.gpu_count > 0 => Err("GPUs without a name"),
        () if !offer.price_as_of.as_deref().is_none_or(is_date) => Err("as_of should be YYYY-MM-DD"),
        () => Ok(()),
    }
}

fn is_date(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let number = |part: &str| part.parse::<u32>().unwrap_or(0);
    let [year, month, day] = parts.as_slice() else { return false };
    text.len() == 10 && number(year) > 2000 && (1..=12).contains(&number(month)) && (1..=31).contains(&number(day))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_file_is_read_with_its_prices_and_zones() {
        let offers = offers().unwrap();
        let find = |name, region| offers.iter().find(|offer| offer.machine_type == name && offer.region == region);
        let offer = find("g6e.12xlarge", "us-east-1").unwrap();
        assert_eq!(offer.on_demand_hourly.unwrap().to_string(), "10.49264");
        let gpu = offer.gpu.as_ref().unwrap();
        assert_eq!((gpu.name.as_str(), gpu.memory_mib, offer.gpu_count), ("L40S", 45_776, 4));
        assert_eq!(offer.zones, ["us-east-1a", "us-east-1b", "us-east-1c", "us-east-1d"]);
        let derived = find("g6e.12xlarge", "eu-central-1").unwrap();
        assert!(derived.price_source.contains("factor"), "{}", derived.price_source);
        for offer in offers.iter() {
            assert!(offer.zones.iter().all(|zone| zone.starts_with(&offer.region)), "{}", offer.machine_type);
        }
    }

    #[test]
    fn every_machine_of_aws_has_the_name_of_its_limit_but_p6_for_spot() {
        for offer in offers().unwrap().iter().filter(|offer| offer.cloud == Cloud::Aws) {
            let code = |market| offer.quota(market).map(|quota| quota.code.as_str());
            let wanted = match &offer.machine_type[..2] {
                "p4" => ("L-417A185B", Some("L-7212CCBC")),
                "p5" => ("L-417A185B", Some("L-C4BD4855")),
                "p6" => ("L-417A185B", None),
                "c7" | "m7" => ("L-1216C47A", Some("L-34B43A08")),
                _ => ("L-DB2E81BA", Some("L-3819A6DF")),
            };
            assert_eq!((code(Market::OnDemand).unwrap(), code(Market::Spot)), wanted, "{}", offer.machine_type);
        }
    }

    #[test]
    fn live_rows_take_the_place_of_their_own_type_in_their_own_region_only() {
        let before = offers().unwrap();
        let is_it = |offer: &&Offer| offer.machine_type == "g6e.xlarge" && offer.region == "us-east-1";
        let live = Offer { on_demand_hourly: "1".parse().ok(), ..before.iter().find(is_it).unwrap().clone() };
        let elsewhere = Offer { region: "us-east-2".to_owned(), ..live.clone() };
        let after = before.clone().with_live(Cloud::Aws, "us-east-1", vec![live.clone(), elsewhere]);
        assert_eq!(after.iter().filter(is_it).collect::<Vec<_>>(), [&live]);
        assert_eq!(after.iter().count(), before.iter().count());
        let others = |offers: &Offers| offers.iter().filter(|offer| !is_it(offer)).cloned().collect::<Vec<_>>();
        assert_eq!(others(&after), others(&before));
    }

    #[test]
    fn a_row_that_cannot_be_is_refused_by_name() {
        for (from, to, message) in [
            ("on_demand: 10.49264", "on_demand: 0", "a price of zero"),
            ("type: g6e.12xlarge, region: us-east-1", "type: x, region: us-east-1", "no such machine type"),
            ("name: L40S", "name: L40", "no such GPU"),
            ("  aws-g:", "  aws-h:", "no such quota"),
            (
                "gpu: T4, gpu_memory_mib: 16384, gpu_count: 4, quota: aws-g}",
                "gpu: T4, gpu_memory_mib: 16384, gpu_count: 4, spot_only: true}",
                "spot market only",
            ),
            ("as_of: 2026-07-20", "as_of: 2026-13-20", "YYYY-MM-DD"),
        ] {
            let error = Offers::parse(&DATA.replace(from, to), "offers.yaml").unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}
