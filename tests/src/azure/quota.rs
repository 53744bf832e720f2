//! How many cores a subscription may have, how many it has, and how many machines of a size there is room for.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::ask::Refusal;
use super::kinds::MACHINE;
use super::settings::{PLENTY, Shortage};
use super::sizes::{self, Size};
use super::world::{Thing, World};

pub(super) const CORES: &str = "cores";
pub(super) const SPOT_CORES: &str = "lowPriorityCores";
const MACHINES: &str = "virtualMachines";
const CORES_OF_ALL: i64 = 4096;

/// What a machine would take of each limit.
pub(super) fn needs(size: &Size, is_spot: bool) -> Vec<(String, i64)> {
    let of_cores = if is_spot {
        vec![(SPOT_CORES.to_owned(), size.cores)]
    } else {
        vec![(size.family.clone(), size.cores), (CORES.to_owned(), size.cores)]
    };
    [of_cores, vec![(MACHINES.to_owned(), 1)]].concat()
}

/// Machines that were had: those that failed take nothing.
fn had<'a>(world: &'a World, region: &'a str) -> impl Iterator<Item = (&'a Thing, &'static Size)> {
    let here = world.of_kind(MACHINE).filter(move |machine| machine.location().eq_ignore_ascii_case(region));
    here.filter(|machine| machine.note["failure"].is_null() && machine.note["doomed"].is_null()).filter_map(
        move |machine| {
            let size = machine.body["properties"]["hardwareProfile"]["vmSize"].as_str()?;
            Some((machine, sizes::find(size, region)?))
        },
    )
}

fn used(world: &World, region: &str, but: &str) -> BTreeMap<String, i64> {
    let mut used = BTreeMap::new();
    for (machine, size) in had(world, region).filter(|(machine, _)| machine.id != but) {
        for (name, amount) in needs(size, machine.body["properties"]["priority"] == "Spot") {
            *used.entry(name).or_default() += amount;
        }
    }
    used
}

fn limit(world: &World, name: &str) -> i64 {
    let usual = if name == CORES { CORES_OF_ALL } else { PLENTY };
    world.settings.quotas.get(&name.to_lowercase()).copied().unwrap_or(usual)
}

/// As `locations/REGION/usages` lists it.
pub(super) fn usages(world: &World, region: &str) -> Vec<Value> {
    let used = used(world, region, "");
    let mut names: Vec<(String, String)> = vec![
        ("availabilitySets".to_owned(), "Availability Sets".to_owned()),
        (CORES.to_owned(), "Total Regional vCPUs".to_owned()),
        (MACHINES.to_owned(), "Virtual Machines".to_owned()),
        (SPOT_CORES.to_owned(), "Total Regional Low-priority vCPUs".to_owned()),
    ];
    for size in sizes::all().iter().filter(|size| size.zones_in(region).is_some()) {
        let name = (size.family.clone(), format!("{} vCPUs", size.family));
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let entry = |(name, told): &(String, String)| {
        json!({"unit": "Count", "currentValue": used.get(name).copied().unwrap_or_default(), "limit": limit(world, name),
            "name": {"value": name, "localizedValue": told}})
    };
    names.iter().map(entry).collect()
}

/// Whether the subscription may have one more.
pub(super) fn check(world: &World, machine: &str, region: &str, size: &Size, is_spot: bool) -> Result<(), Refusal> {
    let used = used(world, region, machine);
    for (name, more) in needs(size, is_spot) {
        let (limit, now) = (limit(world, &name), used.get(&name).copied().unwrap_or_default());
        if now + more > limit {
            return Err(refusal(region, &name, (limit, now, more)));
        }
    }
    Ok(())
}

pub(super) fn refusal(region: &str, name: &str, (limit, now, more): (i64, i64, i64)) -> Refusal {
    let told = match name {
        CORES => "Total Regional Cores".to_owned(),
        SPOT_CORES => "LowPriorityCores".to_owned(),
        _ => format!("{name} Cores"),
    };
    let message = format!(
        "Operation could not be completed as it results in exceeding approved {told} quota. Additional details - \
         Deployment Model: Resource Manager, Location: {region}, Current Limit: {limit}, Current Usage: {now}, \
         Additional Required: {more}, (Minimum) New Limit Required: {}. Setup Alerts when Quota reaches threshold. \
         Learn more at https://aka.ms/quotamonitoringalerting . Submit a request for Quota increase at \
         https://aka.ms/ProdportalCRP by specifying parameters listed in the 'Details' section for deployment to \
         succeed. Please read more about quota limits at \
         https://docs.microsoft.com/en-us/azure/azure-supportability/per-vm-quota-requests",
        now + more
    );
    Refusal::new(409, "OperationNotAllowed", message)
}

/// How it is said that there is no room for one more of a size in a zone; none if there is.
pub(super) fn shortage(world: &World, machine: &Thing) -> Option<Shortage> {
    let size = machine.body["properties"]["hardwareProfile"]["vmSize"].as_str()?;
    let zone = machine.body["zones"][0].as_str().map(str::to_owned);
    let (room, how) = world.settings.room.get(&(size.to_lowercase(), zone.clone()))?;
    let is_like_it = |other: &&Thing| {
        let same_size = other.body["properties"]["hardwareProfile"]["vmSize"]
            .as_str()
            .is_some_and(|it| it.eq_ignore_ascii_case(size));
        other.id != machine.id && same_size && other.body["zones"][0].as_str() == zone.as_deref()
    };
    let there = had(world, machine.location()).map(|(other, _)| other).filter(is_like_it).count();
    (there >= *room as usize).then_some(*how)
}

pub(super) fn told(shortage: Shortage, size: &str, region: &str) -> Refusal {
    let (code, message) = match shortage {
        Shortage::SkuNotAvailable => {
            let message = format!(
                "The requested VM size for resource 'Following SKUs have failed for Capacity Restrictions: {size}' \
                 is currently not available in location '{region}'. Please try another size or deploy to a different \
                 location or different zone. See https://aka.ms/azureskunotavailable for details."
            );
            return Refusal::new(409, "SkuNotAvailable", message);
        }
        Shortage::AllocationFailed => ("AllocationFailed", "in this region"),
        Shortage::ZonalAllocationFailed => ("ZonalAllocationFailed", "in this zone"),
        Shortage::OverconstrainedZonalAllocationRequest => {
            let message = "Allocation failed. VM(s) with the following constraints cannot be allocated, because the \
                           condition is too restrictive. Please remove some constraints and try again. Constraints \
                           applied are: VM Size, Availability Zone";
            return Refusal::new(409, "OverconstrainedZonalAllocationRequest", message);
        }
    };
    let message = format!(
        "Allocation failed. We do not have sufficient capacity for the requested VM size {message}. Read more about \
         improving likelihood of allocation success at http://aka.ms/allocation-guidance"
    );
    Refusal::new(409, code, message)
}
