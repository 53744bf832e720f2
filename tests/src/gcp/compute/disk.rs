//! Disks: those that come with a machine, and those by themselves.

use serde_json::{Value, json};

use super::super::call::{Call, Refusal, Reply, items, text};
use super::super::catalog::{self, Machine};
use super::super::key;
use super::super::world::World;
use super::instance::{Wanted, image};
use super::kind::{Kind, Place, Scope, kind, last, link, path_of, unlinked};
use super::thing::{Life, begun};
use super::{check, operation, target};

/// Kinds of disks that there are.
const TYPES: [&str; 8] = [
    "pd-standard",
    "pd-balanced",
    "pd-ssd",
    "pd-extreme",
    "hyperdisk-balanced",
    "hyperdisk-extreme",
    "hyperdisk-throughput",
    "hyperdisk-ml",
];
/// Families of machines that take no persistent disks, and those that take no hyperdisks.
const ONLY_HYPERDISK: [&str; 4] = ["a4", "c4", "g4", "n4"];
const NO_HYPERDISK: [&str; 3] = ["a2", "e2", "g2"];
/// What a balanced hyperdisk does unless more is paid for.
const HYPERDISK_IOPS: u64 = 3_000;
const HYPERDISK_MIB_A_SECOND: u64 = 140;

pub(super) fn answer(world: &mut World, call: &Call, kind: &'static Kind) -> Result<Reply, Refusal> {
    match call.act().1 {
        "insert" => insert(world, call, kind),
        "delete" => operation::delete(world, call, kind),
        "setLabels" => set_labels(world, call, kind),
        "resize" => resize(world, call, kind),
        "update" => update(world, call, kind),
        _ => Err(Refusal::unserved(call.method)),
    }
}

/// A disk of an instance that is being made.
pub(super) struct Disk {
    path: String,
    /// None for one that is there already.
    body: Option<Value>,
    /// As the instance shows it.
    pub attached: Value,
}

/// Checked against the machine, and complete.
pub(super) fn of_machine(world: &mut World, wanted: &Wanted<'_>) -> Result<Vec<Disk>, Refusal> {
    let asked: Vec<Value> = items(&wanted.body["disks"]).cloned().collect();
    if !asked.first().is_some_and(|disk| disk["boot"] == true) {
        let why = "Boot disk must be the first disk attached to the instance.";
        return Err(Refusal::invalid("resource.disks", &json!(asked.len()), why));
    }
    let numbered = asked.into_iter().enumerate();
    numbered.map(|(index, asked)| attached(world, wanted, index, asked)).collect()
}

fn attached(world: &mut World, wanted: &Wanted<'_>, index: usize, asked: Value) -> Result<Disk, Refusal> {
    let (path, body) = match asked["source"].as_str() {
        Some(source) => (path_of(source, &wanted.place.project), None),
        None => {
            let (path, body) = initialized(world, wanted, &asked)?;
            (path, Some(body))
        }
    };
    let shown = match &body {
        Some(body) => body.clone(),
        None => world.usable(&path)?.body.clone(),
    };
    let mut attached = asked;
    attached.as_object_mut().map(|fields| fields.remove("initializeParams"));
    if !shown["diskEncryptionKey"].is_null() {
        attached["diskEncryptionKey"] = shown["diskEncryptionKey"].clone();
    }
    let (given, interface) = (format!("persistent-disk-{index}"), interface(&shown));
    let fields = [
        ("kind", json!("compute#attachedDisk")),
        ("index", json!(index)),
        ("type", json!("PERSISTENT")),
        ("mode", json!("READ_WRITE")),
        ("source", json!(link(&path))),
        ("deviceName", json!(given)),
        ("interface", json!(interface)),
        ("diskSizeGb", shown["sizeGb"].clone()),
        ("boot", json!(false)),
        ("autoDelete", json!(false)),
    ];
    for (field, value) in fields {
        if attached[field].is_null() {
            attached[field] = value;
        }
    }
    Ok(Disk { path, body, attached })
}

fn interface(disk: &Value) -> &'static str {
    if last(text(&disk["type"])).starts_with("hyperdisk") { "NVME" } else { "SCSI" }
}

/// A disk that is made with the instance.
fn initialized(world: &mut World, wanted: &Wanted<'_>, asked: &Value) -> Result<(String, Value), Refusal> {
    let told = &asked["initializeParams"];
    let name = told["diskName"].as_str().unwrap_or_else(|| last(&wanted.path)).to_owned();
    let size = told["diskSizeGb"].as_str().or_else(|| asked["diskSizeGb"].as_str());
    check::labels(&told["labels"])?;
    let kind = kind("disks").expect("disks are a kind");
    let path = wanted.place.path(kind, &name);
    world.free(&path)?;
    let mut body = json!({"name": name, "sizeGb": size, "type": told["diskType"], "users": [link(&wanted.path)]});
    for (from, to) in [("sourceImage", "sourceImage"), ("labels", "labels"), ("description", "description")] {
        if !told[from].is_null() {
            body[to] = told[from].clone();
        }
    }
    for field in ["provisionedIops", "provisionedThroughput"] {
        if !told[field].is_null() {
            body[field] = told[field].clone();
        }
    }
    if !asked["diskEncryptionKey"].is_null() {
        body["diskEncryptionKey"] = asked["diskEncryptionKey"].clone();
    }
    let mut body = begun(world, &path, kind, &body);
    complete(world, &wanted.place, &mut body)?;
    suits(wanted.machine, last(text(&body["type"])))?;
    Ok((path, body))
}

/// What Google says of every disk.
fn complete(world: &mut World, place: &Place, body: &mut Value) -> Result<(), Refusal> {
    let written = body["type"].as_str().map_or_else(|| "pd-standard".to_owned(), |link| last(link).to_owned());
    if !TYPES.contains(&written.as_str()) {
        let why = "The referenced diskType resource cannot be found.";
        return Err(Refusal::invalid("resource.disks[0].initializeParams.diskType", &body["type"], why));
    }
    let zone = place.folder(Scope::Zone);
    body["type"] = json!(link(&format!("{zone}/diskTypes/{written}")));
    body["zone"] = json!(link(&zone));
    body["status"] = json!("CREATING");
    body["labelFingerprint"] = json!(world.fingerprint());
    body["physicalBlockSizeBytes"] = json!("4096");
    encrypted(world, place, body)?;
    let least = sourced(world, place, body)?;
    let size = gib(body);
    if size.is_some_and(|size| size < least) {
        let why = format!("Requested disk size cannot be smaller than the image size ({least} GB)");
        return Err(Refusal::invalid("resource.disks[0].initializeParams.diskSizeGb", &body["sizeGb"], &why));
    }
    body["sizeGb"] = json!(size.unwrap_or(least.max(10)).to_string());
    speed(body, &written)
}

/// By the key of somebody's own that it names, if it does; its version shows from then on.
fn encrypted(world: &World, place: &Place, body: &mut Value) -> Result<(), Refusal> {
    let Some(written) = body["diskEncryptionKey"]["kmsKeyName"].as_str() else { return Ok(()) };
    let version = key::of_disk(world, written, place.region.as_deref().unwrap_or_default())?;
    body["diskEncryptionKey"]["kmsKeyName"] = json!(version);
    Ok(())
}

/// The image that a disk begins as; gives its size.
fn sourced(world: &mut World, place: &Place, body: &mut Value) -> Result<u64, Refusal> {
    let Some(written) = body["sourceImage"].as_str() else { return Ok(0) };
    let (family, name) = image(world, place, written)?;
    body["sourceImage"] = json!(link(&format!("projects/{}/global/images/{name}", catalog::image_project(&family))));
    body["sourceImageId"] = json!(super::place::image_id(&name));
    body["architecture"] = json!("X86_64");
    Ok(catalog::image_gib(&family).into())
}

fn speed(body: &mut Value, kind: &str) -> Result<(), Refusal> {
    let fields = [("provisionedIops", HYPERDISK_IOPS), ("provisionedThroughput", HYPERDISK_MIB_A_SECOND)];
    for (field, given) in fields {
        match kind.starts_with("hyperdisk") {
            true if body[field].is_null() => body[field] = json!(given.to_string()),
            false if !body[field].is_null() => {
                let why = format!("It cannot be set for disks of the type {kind}.");
                return Err(Refusal::invalid(&format!("resource.{field}"), &body[field], &why));
            }
            _ => {}
        }
    }
    Ok(())
}

/// That a machine takes disks of a type.
fn suits(machine: &Machine, kind: &str) -> Result<(), Refusal> {
    let family = machine.family();
    let is_hyperdisk = kind.starts_with("hyperdisk");
    let is_refused = if is_hyperdisk { NO_HYPERDISK.contains(&family) } else { ONLY_HYPERDISK.contains(&family) };
    if is_refused {
        let message = format!("{kind} disk type cannot be used by {} machine type.", machine.name);
        return Err(Refusal::new(400, "badRequest", message));
    }
    Ok(())
}

/// Puts a disk in its place with its instance; gives its path if it is new.
pub(super) fn put(world: &mut World, disk: Disk) -> Option<String> {
    let body = disk.body?;
    world.put(&disk.path, kind("disks")?, body);
    Some(disk.path)
}

pub(super) fn gib(disk: &Value) -> Option<u64> {
    disk["sizeGb"].as_str().and_then(|size| size.parse().ok())
}

fn insert(world: &mut World, call: &Call, kind: &'static Kind) -> Result<Reply, Refusal> {
    let place = Place::of(world, call)?;
    let path = place.path(kind, check::required(&call.body, "name")?);
    check::labels(&call.body["labels"])?;
    world.free(&path)?;
    let mut body = begun(world, &path, kind, &call.body);
    if let Some(image) = call.query("sourceImage") {
        body["sourceImage"] = json!(image);
    }
    complete(world, &place, &mut body)?;
    world.put(&path, kind, body);
    Ok(operation::making(world, call, vec![path], None))
}

fn set_labels(world: &mut World, call: &Call, kind: &Kind) -> Result<Reply, Refusal> {
    let path = target(world, call, kind)?;
    check::labels(&call.body["labels"])?;
    let thing = world.usable(&path)?;
    check::fingerprint(&call.body["labelFingerprint"], &thing.body["labelFingerprint"], "labels")?;
    let (labels, print) = (call.body["labels"].clone(), world.fingerprint());
    Ok(operation::change(world, call, (&path, "setLabels"), move |body| {
        body["labels"] = labels;
        body["labelFingerprint"] = json!(print);
    }))
}

/// Disks only grow.
fn resize(world: &mut World, call: &Call, kind: &Kind) -> Result<Reply, Refusal> {
    let path = target(world, call, kind)?;
    let disk = &world.usable(&path)?.body;
    let (size, wanted) = (gib(disk).unwrap_or_default(), gib(&call.body).unwrap_or_default());
    if wanted <= size {
        let why = format!("New disk size '{wanted}' must be larger than existing size '{size}'.");
        return Err(Refusal::invalid("sizeGb", &call.body["sizeGb"], &why));
    }
    let asked = call.body["sizeGb"].clone();
    Ok(operation::change(world, call, (&path, "resizeDisk"), move |body| body["sizeGb"] = asked))
}

/// What `paths`, one each, and `updateMask`, all of them, name, of those that can change.
fn update(world: &mut World, call: &Call, kind: &Kind) -> Result<Reply, Refusal> {
    let path = target(world, call, kind)?;
    let disk = world.usable(&path)?;
    let kind_of_disk = last(unlinked(text(&disk.body["type"]))).to_owned();
    if disk.life != Life::Ready {
        let message = format!("The resource '{path}' is not ready");
        return Err(Refusal::new(400, "resourceNotReady", message));
    }
    let masked = call.query("updateMask").into_iter().flat_map(|mask| mask.split(','));
    let named: Vec<String> = call.all("paths").chain(masked).map(str::to_owned).collect();
    let mut changed = json!({});
    for field in named {
        if !["provisionedIops", "provisionedThroughput"].contains(&field.as_str()) {
            return Err(Refusal::unserved(format!("updates of {field}")));
        }
        changed[field.as_str()] = call.body[field.as_str()].clone();
    }
    speed(&mut changed.clone(), &kind_of_disk)?;
    Ok(operation::change(world, call, (&path, "update"), move |body| super::super::storage::merge(body, &changed)))
}
