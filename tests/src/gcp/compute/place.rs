//! What is there without being made: the project, regions, zones, machine types, images.

use serde_json::{Value, json};

use super::super::call::{Call, Refusal, Reply};
use super::super::catalog::{self, Machine};
use super::super::world::World;
use super::instance::offers;
use super::kind::{Place, Scope, link, not_found};
use super::{list, quota};

/// When everything of Google's own began.
const THEN: &str = "2026-08-18T04:00:00.000-07:00";

pub(super) fn answer(world: &mut World, call: &Call) -> Result<Reply, Refusal> {
    match call.act() {
        ("projects", "get") => project(world, call),
        ("regions", "get") => region(world, call),
        ("regions", "list") => regions(world, call),
        ("zones", "get") => zone(world, call),
        ("zones", "list") => zones(world, call),
        ("machineTypes", "get") => machine_type(world, call),
        ("machineTypes", "list") => machine_types(world, call),
        ("machineTypes", "aggregatedList") => all_machine_types(world, call),
        ("images", "get") => image(world, call),
        ("images", "getFromFamily") => image_of_family(world, call),
        _ => Err(Refusal::unserved(call.method)),
    }
}

/// A number that stays the same.
fn number(text: &str) -> String {
    let sum =
        text.bytes().fold(1_000_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)) % 1_000_000_007);
    (4_000_000_000 + sum).to_string()
}

pub(super) fn image_id(name: &str) -> String {
    number(name)
}

fn project(world: &World, call: &Call) -> Result<Reply, Refusal> {
    let place = Place::of(world, call)?;
    let (project, number) = (&place.project, world.project_number(&place.project));
    Ok(Reply::Json(json!({
        "kind": "compute#project", "id": number.to_string(), "creationTimestamp": THEN, "name": project,
        "commonInstanceMetadata": {"kind": "compute#metadata", "fingerprint": "AAAAAAAAAAE="},
        "quotas": quota::of_project(world, project), "selfLink": link(&format!("projects/{project}")),
        "defaultServiceAccount": format!("{number}-compute@developer.gserviceaccount.com"),
        "xpnProjectStatus": "UNSPECIFIED_XPN_PROJECT_STATUS", "defaultNetworkTier": "PREMIUM",
    })))
}

fn region(world: &World, call: &Call) -> Result<Reply, Refusal> {
    let place = Place::of(world, call)?;
    Ok(Reply::Json(region_body(world, &place.project, call.path("region"))))
}

fn regions(world: &World, call: &Call) -> Result<Reply, Refusal> {
    let place = Place::of(world, call)?;
    let all = catalog::REGIONS.into_iter().map(|(region, _)| region_body(world, &place.project, region));
    list::list(world, call, "region", all.collect())
}

fn region_body(world: &World, project: &str, region: &str) -> Value {
    let zones = catalog::zones().filter(|zone| catalog::region_of(zone) == region);
    json!({
        "kind": "compute#region", "id": number(region), "creationTimestamp": THEN, "name": region,
        "description": region, "status": "UP", "quotas": quota::of_region(world, project, region),
        "zones": zones.map(|zone| link(&format!("projects/{project}/zones/{zone}"))).collect::<Vec<_>>(),
        "selfLink": link(&format!("projects/{project}/regions/{region}")), "supportsPzs": false,
    })
}

fn zone(world: &World, call: &Call) -> Result<Reply, Refusal> {
    let place = Place::of(world, call)?;
    Ok(Reply::Json(zone_body(world, &place.project, call.path("zone"))))
}

fn zones(world: &World, call: &Call) -> Result<Reply, Refusal> {
    let place = Place::of(world, call)?;
    let all = catalog::zones().map(|zone| zone_body(world, &place.project, &zone)).collect();
    list::list(world, call, "zone", all)
}

fn zone_body(world: &World, project: &str, zone: &str) -> Value {
    let status = if world.settings.zones_down.contains(zone) { "DOWN" } else { "UP" };
    json!({
        "kind": "compute#zone", "id": number(zone), "creationTimestamp": THEN, "name": zone, "description": zone,
        "status": status, "region": link(&format!("projects/{project}/regions/{}", catalog::region_of(zone))),
        "selfLink": link(&format!("projects/{project}/zones/{zone}")), "supportsPzs": false,
    })
}

fn machine_type(world: &World, call: &Call) -> Result<Reply, Refusal> {
    let place = Place::of(world, call)?;
    let (zone, name) = (call.path("zone"), call.path("machineType"));
    let found = catalog::machines().iter().find(|machine| machine.name == name && offers(world, machine, zone));
    let path = format!("{}/machineTypes/{name}", place.folder(Scope::Zone));
    let machine = found.ok_or_else(|| not_found(&path))?;
    Ok(Reply::Json(machine_body(&place.project, zone, machine)))
}

fn machine_types(world: &World, call: &Call) -> Result<Reply, Refusal> {
    let place = Place::of(world, call)?;
    list::list(world, call, "machineType", in_zone(world, &place.project, call.path("zone")))
}

fn all_machine_types(world: &World, call: &Call) -> Result<Reply, Refusal> {
    let place = Place::of(world, call)?;
    let scoped = catalog::zones().map(|zone| (format!("zones/{zone}"), in_zone(world, &place.project, &zone)));
    list::aggregated(world, call, ("machineTypes", "machineType"), scoped.collect())
}

fn in_zone(world: &World, project: &str, zone: &str) -> Vec<Value> {
    let here = catalog::machines().iter().filter(|machine| offers(world, machine, zone));
    here.map(|machine| machine_body(project, zone, machine)).collect()
}

fn machine_body(project: &str, zone: &str, machine: &Machine) -> Value {
    let path = format!("projects/{project}/zones/{zone}/machineTypes/{}", machine.name);
    let mut body = json!({
        "kind": "compute#machineType", "id": number(machine.name), "creationTimestamp": THEN, "name": machine.name,
        "guestCpus": machine.cpus, "memoryMb": machine.memory_mib, "zone": zone, "selfLink": link(&path),
        "description": format!("{} vCPUs, {} MiB", machine.cpus, machine.memory_mib), "isSharedCpu": false,
        "maximumPersistentDisks": 128, "maximumPersistentDisksSizeGb": "263168", "architecture": "X86_64",
    });
    if machine.accelerators > 0 {
        body["accelerators"] =
            json!([{"guestAcceleratorType": machine.accelerator, "guestAcceleratorCount": machine.accelerators}]);
    }
    body
}

fn image(world: &World, call: &Call) -> Result<Reply, Refusal> {
    let name = call.path("image");
    let family = world.settings.images.get(name);
    image_body(call, family, Some(name), &format!("images/{name}"))
}

fn image_of_family(world: &World, call: &Call) -> Result<Reply, Refusal> {
    let family = call.path("family").to_owned();
    let name = world.settings.families.get(&family).map(String::as_str);
    image_body(call, Some(&family), name, &format!("images/family/{family}"))
}

fn image_body(call: &Call, family: Option<&String>, name: Option<&str>, asked: &str) -> Result<Reply, Refusal> {
    let project = call.path("project");
    let path = format!("projects/{project}/global/{asked}");
    let found = family.zip(name).filter(|(family, _)| catalog::image_project(family) == project);
    let (family, name) = found.ok_or_else(|| not_found(&path))?;
    Ok(Reply::Json(json!({
        "kind": "compute#image", "id": number(name), "creationTimestamp": THEN, "name": name, "family": family,
        "status": "READY", "sourceType": "RAW", "diskSizeGb": catalog::image_gib(family).to_string(),
        "archiveSizeBytes": "12884901888", "architecture": "X86_64", "labelFingerprint": "42WmSpB8rSM=",
        "storageLocations": ["us"], "selfLink": link(&format!("projects/{project}/global/images/{name}")),
    })))
}
