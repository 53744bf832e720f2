//! Machines: what Google checks before it makes one, what it fills in, and what goes with one.

use ipnet::Ipv4Net;
use serde_json::{Value, json};

use super::super::call::{Call, Refusal, Reply, items, text};
use super::super::catalog::{self, Machine};
use super::super::failure::Failure;
use super::super::world::World;
use super::kind::{Kind, Place, Scope, last, link, not_found, path_of, unlinked};
use super::thing::{Life, begun};
use super::{check, disk, instance_change, operation, quota, target};

/// Addresses of a subnetwork that Google keeps for itself at its beginning.
const KEPT_ADDRESSES: usize = 2;
/// Machine types that are made on the spot market only, as long as nobody waits for them in a queue.
const SPOT_ONLY: [&str; 3] = ["a3-highgpu-1g", "a3-highgpu-2g", "a3-highgpu-4g"];

pub(super) fn answer(world: &mut World, call: &Call, kind: &'static Kind) -> Result<Reply, Refusal> {
    match call.act().1 {
        "insert" => insert(world, call, kind),
        "delete" => delete(world, call, kind),
        "getSerialPortOutput" => serial_port(world, call, kind),
        _ => instance_change::answer(world, call, kind),
    }
}

/// An insert on its way.
pub(super) struct Wanted<'a> {
    pub place: Place,
    pub path: String,
    pub machine: &'static Machine,
    pub body: &'a Value,
}

impl Wanted<'_> {
    pub fn zone(&self) -> &str {
        self.place.zone.as_deref().unwrap_or_default()
    }

    pub fn is_spot(&self) -> bool {
        self.body["scheduling"]["provisioningModel"] == "SPOT"
    }
}

fn insert(world: &mut World, call: &Call, kind: &'static Kind) -> Result<Reply, Refusal> {
    let place = Place::of(world, call)?;
    let path = place.path(kind, check::required(&call.body, "name")?);
    world.free(&path)?;
    let machine = machine(world, &place, check::required(&call.body, "machineType")?)?;
    let wanted = Wanted { place, path: path.clone(), machine, body: &call.body };
    check::labels(&call.body["labels"])?;
    check::metadata(&call.body["metadata"])?;
    scheduling(&wanted)?;
    let disks = disk::of_machine(world, &wanted)?;
    let interfaces = interfaces(world, &wanted)?;
    let failure = failure(world, &wanted, call.method);
    let mut body = completed(world, &wanted, kind);
    body["networkInterfaces"] = json!(interfaces);
    body["disks"] = disks.iter().map(|disk| disk.attached.clone()).collect();
    world.put(&path, kind, body);
    let mut paths = vec![path];
    for disk in disks {
        paths.extend(disk::put(world, disk));
    }
    Ok(operation::making(world, call, paths, failure))
}

/// The type that a link names, in this very zone.
pub(super) fn machine(world: &World, place: &Place, written: &str) -> Result<&'static Machine, Refusal> {
    let zone = place.zone.as_deref().unwrap_or_default();
    let path = path_of(written, &place.project);
    let name = last(&path);
    let is_here = path == format!("{}/machineTypes/{name}", place.folder(Scope::Zone));
    let found = catalog::machines().iter().find(|machine| machine.name == name && offers(world, machine, zone));
    found.filter(|_| is_here).ok_or_else(|| {
        let why = format!("Machine type with name '{name}' does not exist in zone '{zone}'.");
        Refusal::invalid("resource.machineType", &json!(link(&path)), &why)
    })
}

/// Whether a zone has a type, to look at.
pub(super) fn offers(world: &World, machine: &Machine, zone: &str) -> bool {
    let is_missing = world.settings.missing.contains(&(machine.name.to_owned(), zone.to_owned()));
    machine.zones.contains(&zone) && !is_missing
}

/// What may not be said together of how a machine is kept running.
fn scheduling(wanted: &Wanted<'_>) -> Result<(), Refusal> {
    let asked = &wanted.body["scheduling"];
    let bad = |message: &str| Err(Refusal::new(400, "badRequest", message));
    if wanted.machine.accelerators > 0 && asked["onHostMaintenance"] != "TERMINATE" {
        return bad("Instances with guest accelerators do not support live migration.");
    }
    if !wanted.is_spot() && SPOT_ONLY.contains(&wanted.machine.name) {
        let message =
            format!("The machine type {} does not support the standard provisioning model.", wanted.machine.name);
        return bad(&message);
    }
    if wanted.is_spot() && asked["automaticRestart"] == true {
        return bad("Scheduling must not restart instances of the provisioning model SPOT automatically.");
    }
    if wanted.is_spot() && asked["onHostMaintenance"] == "MIGRATE" {
        return bad("Instances of the provisioning model SPOT do not support live migration.");
    }
    if !wanted.is_spot() && asked["instanceTerminationAction"].is_string() {
        return bad(
            "You cannot specify a termination action for a VM instance that has the standard provisioning model.",
        );
    }
    Ok(())
}

/// As Google shows them: with links, addresses and names.
fn interfaces(world: &mut World, wanted: &Wanted<'_>) -> Result<Vec<Value>, Refusal> {
    let asked: Vec<Value> = items(&wanted.body["networkInterfaces"]).cloned().collect();
    if asked.is_empty() {
        let value = &wanted.body["networkInterfaces"];
        return Err(Refusal::invalid(
            "resource.networkInterfaces",
            value,
            "At least one network interface is required.",
        ));
    }
    let numbered = asked.into_iter().enumerate();
    numbered.map(|(number, asked)| interface(world, wanted, number, asked)).collect()
}

fn interface(world: &mut World, wanted: &Wanted<'_>, number: usize, mut body: Value) -> Result<Value, Refusal> {
    let path = path_of(check::required(&body, "subnetwork")?, &wanted.place.project);
    let subnetwork = world.usable(&path)?.body.clone();
    if subnetwork["region"] != link(&wanted.place.folder(Scope::Region)).as_str() {
        let why = "The referenced subnetwork resource lies in another region.";
        return Err(Refusal::invalid("resource.networkInterfaces[0].subnetwork", &json!(link(&path)), why));
    }
    let given = text(&body["network"]);
    if !given.is_empty() && link(&path_of(given, &wanted.place.project)) != text(&subnetwork["network"]) {
        let message = format!("Subnetwork \"{path}\" is not valid for Network \"{}\".", last(given));
        return Err(Refusal::new(400, "badRequest", message));
    }
    let taken = world.count();
    let range: Ipv4Net = text(&subnetwork["ipCidrRange"]).parse().expect("a range that was checked");
    let free = range.hosts().nth(KEPT_ADDRESSES + (taken % 200) as usize).or_else(|| range.hosts().last());
    body["kind"] = json!("compute#networkInterface");
    body["name"] = json!(format!("nic{number}"));
    body["network"] = subnetwork["network"].clone();
    body["subnetwork"] = json!(link(&path));
    body["networkIP"] = json!(free.map(|address| address.to_string()));
    body["fingerprint"] = json!(world.fingerprint());
    if body["stackType"].is_null() {
        body["stackType"] = json!("IPV4_ONLY");
    }
    if let Some(configs) = body.get_mut("accessConfigs").and_then(Value::as_array_mut) {
        configs.iter_mut().for_each(|config| access_config(world, config));
    }
    Ok(body)
}

/// A way from outside, with an address of the range that is kept for examples.
pub(super) fn access_config(world: &mut World, config: &mut Value) {
    let address = format!("203.0.113.{}", world.count() % 250 + 1);
    let given = [
        ("kind", json!("compute#accessConfig")),
        ("type", json!("ONE_TO_ONE_NAT")),
        ("name", json!("external-nat")),
        ("networkTier", json!("PREMIUM")),
        ("natIP", json!(address)),
    ];
    for (field, value) in given {
        if config[field].is_null() {
            config[field] = value;
        }
    }
}

/// Why the operation will end badly, if it will.
fn failure(world: &mut World, wanted: &Wanted<'_>, method: &str) -> Option<Failure> {
    if let Some(armed) = world.armed_failure(method) {
        return Some(armed);
    }
    let unknown = items(&wanted.body["serviceAccounts"])
        .map(|account| text(&account["email"]))
        .find(|email| *email != "default" && !world.accounts.contains_key(*email));
    if let Some(email) = unknown {
        let message = format!("The resource '{email}' of type 'serviceAccount' was not found.");
        return Some(Failure::new("RESOURCE_NOT_FOUND", 404, message));
    }
    quota::exceeded(world, wanted).or_else(|| is_exhausted(world, wanted))
}

fn is_exhausted(world: &World, wanted: &Wanted<'_>) -> Option<Failure> {
    let (zone, kind) = (wanted.zone().to_owned(), wanted.machine.name.to_owned());
    let type_link = link(&format!("{}/machineTypes/{kind}", wanted.place.folder(Scope::Zone)));
    let taken = world.things.values().filter(|it| it.body["machineType"] == type_link.as_str()).count();
    let is_down = world.settings.zones_down.contains(&zone);
    let is_full = world.settings.capacity.get(&(zone.clone(), kind)).is_some_and(|most| taken >= *most);
    (is_down || is_full).then(|| Failure::exhausted(&wanted.place.project, &zone))
}

/// The instance as Google shows it from the first moment on.
fn completed(world: &mut World, wanted: &Wanted<'_>, kind: &Kind) -> Value {
    let mut body = begun(world, &wanted.path, kind, wanted.body);
    let zone = wanted.place.folder(Scope::Zone);
    body["zone"] = json!(link(&zone));
    body["machineType"] = json!(link(&format!("{zone}/machineTypes/{}", wanted.machine.name)));
    body["status"] = json!("PROVISIONING");
    body["cpuPlatform"] = json!("Unknown CPU Platform");
    body["startRestricted"] = json!(false);
    for field in ["fingerprint", "labelFingerprint"] {
        body[field] = json!(world.fingerprint());
    }
    for field in ["deletionProtection", "canIpForward"] {
        body[field] = json!(wanted.body[field] == true);
    }
    body["tags"]["fingerprint"] = json!(world.fingerprint());
    body["metadata"]["fingerprint"] = json!(world.fingerprint());
    body["metadata"]["kind"] = json!("compute#metadata");
    body["scheduling"] = kept_running(wanted);
    body["shieldedInstanceConfig"] = shield(&wanted.body["shieldedInstanceConfig"]);
    body["shieldedInstanceIntegrityPolicy"] = json!({"updateAutoLearnPolicy": true});
    if wanted.machine.accelerators > 0 {
        let accelerator = link(&format!("{zone}/acceleratorTypes/{}", wanted.machine.accelerator));
        body["guestAccelerators"] =
            json!([{"acceleratorType": accelerator, "acceleratorCount": wanted.machine.accelerators}]);
    }
    body
}

fn kept_running(wanted: &Wanted<'_>) -> Value {
    let mut scheduling = wanted.body["scheduling"].clone();
    let is_spot = wanted.is_spot();
    let given = [
        ("provisioningModel", json!("STANDARD")),
        ("onHostMaintenance", json!(if is_spot { "TERMINATE" } else { "MIGRATE" })),
        ("automaticRestart", json!(!is_spot)),
        ("preemptible", json!(is_spot)),
    ];
    for (field, value) in given {
        if scheduling[field].is_null() {
            scheduling[field] = value;
        }
    }
    scheduling
}

fn shield(asked: &Value) -> Value {
    let or = |field: &str, given: bool| asked[field].as_bool().unwrap_or(given);
    json!({
        "enableSecureBoot": or("enableSecureBoot", false), "enableVtpm": or("enableVtpm", true),
        "enableIntegrityMonitoring": or("enableIntegrityMonitoring", true),
    })
}

/// With its disks that go with it. One that is still being made may go too: then its making ends in an error.
fn delete(world: &mut World, call: &Call, kind: &Kind) -> Result<Reply, Refusal> {
    let path = target(world, call, kind)?;
    let thing = world.usable(&path)?;
    if thing.body["deletionProtection"] == true {
        let message = "Invalid resource usage: 'Resource cannot be deleted if it's protected against deletion.'.";
        return Err(Refusal::new(400, "invalidResourceUsage", message));
    }
    let is_making = thing.life == Life::Making;
    let paths = with_disks(world, &path);
    if is_making {
        world.overtake(&path);
    }
    Ok(operation::going(world, call, paths))
}

/// The path of an instance and of the disks that end with it.
pub(in crate::gcp) fn with_disks(world: &World, path: &str) -> Vec<String> {
    let body = world.things.get(path).map(|thing| &thing.body);
    let disks = body.into_iter().flat_map(|body| items(&body["disks"])).filter(|disk| disk["autoDelete"] == true);
    let disks = disks.map(|disk| unlinked(text(&disk["source"])).to_owned());
    std::iter::once(path.to_owned()).chain(disks).collect()
}

fn serial_port(world: &mut World, call: &Call, kind: &Kind) -> Result<Reply, Refusal> {
    let path = target(world, call, kind)?;
    world.seen(&path)?;
    let contents = world.settings.serial_ports.get(&path).cloned().unwrap_or_default();
    let next = contents.len().to_string();
    Ok(Reply::Json(json!({
        "kind": "compute#serialPortOutput", "contents": contents, "start": "0", "next": next,
        "selfLink": link(&format!("{path}/serialPort")),
    })))
}

/// Of an image that an insert names.
pub(super) fn image(world: &World, place: &Place, written: &str) -> Result<(String, String), Refusal> {
    let path = path_of(written, &place.project);
    let family = match path.split_once("/images/family/") {
        Some((_, family)) => Some(family.to_owned()),
        None => world.settings.images.get(last(&path)).cloned(),
    };
    let name = match path.contains("/images/family/") {
        true => family.as_ref().and_then(|family| world.settings.families.get(family)).cloned(),
        false => Some(last(&path).to_owned()),
    };
    let found = family.zip(name).filter(|(family, _)| path.split('/').nth(1) == Some(catalog::image_project(family)));
    found.ok_or_else(|| not_found(&path))
}
