//! Quotas: what may be had at once, and what is.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::call::{Refusal, items, text};
use super::super::catalog::{self, Machine};
use super::super::failure::{Failure, quota_message};
use super::super::world::World;
use super::disk::gib;
use super::instance::Wanted;
use super::kind::{Kind, last, unlinked};

/// Where a limit holds for all regions together.
const GLOBAL: &str = "global";

/// Whether Google tells of a quota where it tells of a region: of new accelerators it does not, and holds to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    InRegion,
    Nowhere,
}

/// Of each region: a metric and what is plenty of it.
const OF_REGIONS: [(&str, f64, Told); 22] = [
    ("CPUS", 2_000.0, Told::InRegion),
    ("A2_CPUS", 1_000.0, Told::InRegion),
    ("PREEMPTIBLE_CPUS", 0.0, Told::InRegion),
    ("INSTANCES", 100.0, Told::InRegion),
    ("DISKS_TOTAL_GB", 40_000.0, Told::InRegion),
    ("SSD_TOTAL_GB", 40_000.0, Told::InRegion),
    ("HDB_TOTAL_GB", 40_000.0, Told::InRegion),
    ("IN_USE_ADDRESSES", 8.0, Told::InRegion),
    ("STATIC_ADDRESSES", 8.0, Told::InRegion),
    ("NVIDIA_T4_GPUS", 16.0, Told::InRegion),
    ("NVIDIA_L4_GPUS", 16.0, Told::InRegion),
    ("NVIDIA_A100_GPUS", 16.0, Told::InRegion),
    ("NVIDIA_A100_80GB_GPUS", 16.0, Told::InRegion),
    ("PREEMPTIBLE_NVIDIA_L4_GPUS", 16.0, Told::InRegion),
    ("PREEMPTIBLE_NVIDIA_A100_GPUS", 16.0, Told::InRegion),
    ("PREEMPTIBLE_NVIDIA_A100_80GB_GPUS", 16.0, Told::InRegion),
    ("PREEMPTIBLE_NVIDIA_H100_GPUS", 16.0, Told::InRegion),
    ("NVIDIA_H100_GPUS", 16.0, Told::Nowhere),
    ("NVIDIA_H100_MEGA_GPUS", 16.0, Told::Nowhere),
    ("PREEMPTIBLE_NVIDIA_H100_MEGA_GPUS", 16.0, Told::Nowhere),
    ("NVIDIA_RTX_PRO_6000_GPUS", 16.0, Told::Nowhere),
    ("PREEMPTIBLE_NVIDIA_RTX_PRO_6000_GPUS", 16.0, Told::Nowhere),
];
const OF_PROJECTS: [(&str, f64); 6] = [
    ("CPUS_ALL_REGIONS", 4_000.0),
    ("GPUS_ALL_REGIONS", 64.0),
    ("NETWORKS", 30.0),
    ("SUBNETWORKS", 100.0),
    ("ROUTERS", 20.0),
    ("FIREWALLS", 100.0),
];

/// Enough of everything for any test that is not about quotas.
pub(in crate::gcp) fn plenty() -> BTreeMap<(String, String), f64> {
    let global = OF_PROJECTS.map(|(metric, limit)| ((GLOBAL.to_owned(), metric.to_owned()), limit));
    let regional = catalog::REGIONS
        .into_iter()
        .flat_map(|(region, _)| OF_REGIONS.map(|(metric, limit, _)| ((region.to_owned(), metric.to_owned()), limit)));
    global.into_iter().chain(regional).collect()
}

fn limit(world: &World, place: &str, metric: &str) -> f64 {
    world.settings.quotas.get(&(place.to_owned(), metric.to_owned())).copied().unwrap_or(0.0)
}

/// `quotas` of a region.
pub(super) fn of_region(world: &World, project: &str, region: &str) -> Vec<Value> {
    let used = used(world, project, region);
    let told = OF_REGIONS.into_iter().filter(|(.., told)| *told == Told::InRegion);
    told.map(|(metric, ..)| quota(metric, limit(world, region, metric), &used)).collect()
}

/// `quotas` of a project.
pub(super) fn of_project(world: &World, project: &str) -> Vec<Value> {
    let used = used(world, project, GLOBAL);
    OF_PROJECTS.into_iter().map(|(metric, _)| quota(metric, limit(world, GLOBAL, metric), &used)).collect()
}

fn quota(metric: &str, limit: f64, used: &BTreeMap<String, f64>) -> Value {
    json!({"metric": metric, "limit": limit, "usage": used.get(metric).copied().unwrap_or(0.0)})
}

/// What is used in a region, or everywhere.
fn used(world: &World, project: &str, place: &str) -> BTreeMap<String, f64> {
    let mut used = BTreeMap::new();
    let within = format!("projects/{project}/");
    for (path, thing) in world.things.iter().filter(|(path, _)| path.starts_with(&within)) {
        let needs = match thing.kind.collection {
            "instances" => needs_of(world, path, &thing.body),
            "disks" => vec![disk_need(&thing.body, region_of(path))],
            collection => vec![(GLOBAL.to_owned(), collection.to_uppercase(), 1.0)],
        };
        for (_, metric, amount) in needs.into_iter().filter(|(of, ..)| of == place) {
            *used.entry(metric).or_insert(0.0) += amount;
        }
    }
    used
}

/// Of a path in a zone.
fn region_of(path: &str) -> &str {
    catalog::region_of(path.split('/').nth(3).unwrap_or_default())
}

/// A place, a metric, and how much of it.
type Need = (String, String, f64);

fn needs_of(world: &World, path: &str, instance: &Value) -> Vec<Need> {
    let kind = last(unlinked(text(&instance["machineType"])));
    let machine = catalog::machines().iter().find(|machine| machine.name == kind);
    machine.map(|machine| needs(world, region_of(path), machine, instance)).unwrap_or_default()
}

fn needs(world: &World, region: &str, machine: &Machine, instance: &Value) -> Vec<Need> {
    let is_spot = instance["scheduling"]["provisioningModel"] == "SPOT";
    let chosen = |metric: String| {
        let spot = format!("PREEMPTIBLE_{}", metric.replace("A2_CPUS", "CPUS"));
        // Without a quota of their own, spot machines count with the others.
        if is_spot && limit(world, region, &spot) > 0.0 { spot } else { metric }
    };
    let cpus = if machine.family() == "a2" { "A2_CPUS" } else { "CPUS" };
    let mut needs = vec![
        (region.to_owned(), chosen(cpus.to_owned()), f64::from(machine.cpus)),
        (GLOBAL.to_owned(), "CPUS_ALL_REGIONS".to_owned(), f64::from(machine.cpus)),
        (region.to_owned(), "INSTANCES".to_owned(), 1.0),
    ];
    if machine.accelerators > 0 {
        let count = f64::from(machine.accelerators);
        needs.push((region.to_owned(), chosen(accelerator_metric(machine.accelerator)), count));
        needs.push((GLOBAL.to_owned(), "GPUS_ALL_REGIONS".to_owned(), count));
    }
    let outside = items(&instance["networkInterfaces"]).flat_map(|it| items(&it["accessConfigs"])).count();
    needs.push((region.to_owned(), "IN_USE_ADDRESSES".to_owned(), outside as f64));
    needs
}

/// `NVIDIA_A100_80GB_GPUS` of `nvidia-a100-80gb`.
fn accelerator_metric(accelerator: &str) -> String {
    match accelerator {
        "nvidia-tesla-a100" => "NVIDIA_A100_GPUS".to_owned(),
        "nvidia-h100-80gb" => "NVIDIA_H100_GPUS".to_owned(),
        "nvidia-h100-mega-80gb" => "NVIDIA_H100_MEGA_GPUS".to_owned(),
        other => format!("{}_GPUS", other.to_uppercase().replace('-', "_")),
    }
}

fn disk_need(disk: &Value, region: &str) -> Need {
    let metric = match last(unlinked(text(&disk["type"]))) {
        kind if kind.starts_with("hyperdisk") => "HDB_TOTAL_GB",
        "pd-standard" => "DISKS_TOTAL_GB",
        _ => "SSD_TOTAL_GB",
    };
    (region.to_owned(), metric.to_owned(), gib(disk).unwrap_or_default() as f64)
}

/// How an insert of a machine ends for which there is no quota left.
pub(super) fn exceeded(world: &World, wanted: &Wanted<'_>) -> Option<Failure> {
    let region = wanted.place.region.as_deref().unwrap_or_default();
    let project = &wanted.place.project;
    let mut needs = needs(world, region, wanted.machine, wanted.body);
    for disk in items(&wanted.body["disks"]).map(|disk| &disk["initializeParams"]).filter(|it| it.is_object()) {
        let size = &disk["diskSizeGb"];
        needs.push(disk_need(&json!({"type": disk["diskType"], "sizeGb": size}), region));
    }
    let short = needs.into_iter().find(|(place, metric, amount)| {
        let used = used(world, project, place).get(metric).copied().unwrap_or(0.0);
        used + amount > limit(world, place, metric)
    });
    short.map(|(place, metric, _)| Failure::quota(&metric, limit(world, &place, &metric), &place))
}

/// Networks and what lies in them are refused at once.
pub(super) fn admits(world: &World, project: &str, kind: &Kind) -> Result<(), Refusal> {
    let metric = kind.collection.to_uppercase();
    let most = limit(world, GLOBAL, &metric);
    if used(world, project, GLOBAL).get(&metric).copied().unwrap_or(0.0) < most {
        return Ok(());
    }
    Err(Refusal::new(403, "quotaExceeded", quota_message(&metric, most, GLOBAL)))
}
