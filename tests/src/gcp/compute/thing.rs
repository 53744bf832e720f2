//! Things as they come and go: what of them can be seen, and who may be referred to.

use serde_json::{Value, json};

use super::super::call::{Refusal, text};
use super::super::world::World;
use super::kind::{Kind, Shows, last, link, not_found, unlinked};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::gcp) enum Life {
    Making,
    Ready,
    Going,
}

#[derive(Debug)]
pub(in crate::gcp) struct Thing {
    pub kind: &'static Kind,
    pub life: Life,
    /// As Google writes it.
    pub body: Value,
    /// Looks that do not find it, though it would show.
    unseen: u32,
}

/// Fields with links that do not say that something is used.
const NO_USE: [&str; 9] =
    ["selfLink", "selfLinkWithId", "users", "zone", "region", "machineType", "sourceImage", "subnetworks", "peerings"];

impl World {
    /// Puts something new in its place.
    pub fn put(&mut self, path: &str, kind: &'static Kind, body: Value) {
        let unseen = if kind.shows == Shows::AtOnce { self.settings.looks.machine } else { 0 };
        self.things.insert(path.to_owned(), Thing { kind, life: Life::Making, body, unseen });
    }

    /// What is at a path for who looks there, which is a look at what goes on there too.
    pub fn seen(&mut self, path: &str) -> Result<&mut Thing, Refusal> {
        self.look(path);
        let thing = self.things.get_mut(path).ok_or_else(|| not_found(path))?;
        if thing.unseen > 0 {
            thing.unseen -= 1;
            return Err(not_found(path));
        }
        if thing.shows() { Ok(thing) } else { Err(not_found(path)) }
    }

    /// What is at a path for a call that changes it or something on it.
    pub fn usable(&mut self, path: &str) -> Result<&mut Thing, Refusal> {
        self.look(path);
        let thing = self.things.get_mut(path).ok_or_else(|| not_found(path))?;
        match (thing.life, thing.kind.shows) {
            (Life::Ready, _) | (Life::Making, Shows::AtOnce) => Ok(thing),
            (Life::Making, Shows::WhenMade) | (Life::Going, _) => Err(not_ready(path)),
        }
    }

    /// That nothing of this name is there, in whatever state.
    pub fn free(&mut self, path: &str) -> Result<(), Refusal> {
        self.look(path);
        if self.things.contains_key(path) {
            let message = format!("The resource '{path}' already exists");
            return Err(Refusal::new(409, "alreadyExists", message));
        }
        Ok(())
    }

    /// That nobody uses what is at a path.
    pub fn unused(&self, path: &str) -> Result<(), Refusal> {
        let wanted = link(path);
        let user = self.things.iter().find(|(other, thing)| *other != path && uses(&thing.body, &wanted));
        let Some((user, _)) = user else { return Ok(()) };
        let single = self.things.get(path).map_or("", |thing| thing.kind.single);
        let message = format!("The {single} resource '{path}' is already being used by '{user}'");
        Err(Refusal::new(400, "resourceInUseByAnotherResource", message))
    }

    /// Things of a kind in a folder that show, with their paths; every one of them is looked at.
    pub fn of_kind(&mut self, kind: &Kind, folder: &str) -> Vec<Value> {
        let begins = format!("{folder}/{}/", kind.collection);
        let paths: Vec<String> = self.things.keys().filter(|path| path.starts_with(&begins)).cloned().collect();
        let bodies = paths.iter().filter_map(|path| {
            self.seen(path).ok()?;
            Some(self.shown(path))
        });
        bodies.collect()
    }

    /// The body with what others say about it.
    pub fn shown(&self, path: &str) -> Value {
        let Some(thing) = self.things.get(path) else { return Value::Null };
        let mut body = thing.body.clone();
        if thing.kind.collection == "networks" {
            let wanted = link(path);
            let within = self.things.values().filter(|it| it.kind.collection == "subnetworks" && it.shows());
            let links: Vec<&Value> =
                within.filter(|it| it.body["network"] == wanted.as_str()).map(|it| &it.body["selfLink"]).collect();
            if !links.is_empty() {
                body["subnetworks"] = json!(links);
            }
        }
        body
    }

    /// Removes things; disks forget machines that are no more.
    pub fn remove(&mut self, paths: &[String]) {
        for path in paths {
            self.things.remove(path);
        }
        let gone: Vec<String> = paths.iter().map(|path| link(path)).collect();
        for disk in self.things.values_mut().filter(|it| it.kind.collection == "disks") {
            let left = disk.body.get_mut("users").and_then(Value::as_array_mut).map(|users| {
                users.retain(|user| !gone.iter().any(|link| user == link.as_str()));
                users.len()
            });
            if left == Some(0) {
                disk.body.as_object_mut().map(|body| body.remove("users"));
            }
        }
    }
}

impl Thing {
    fn shows(&self) -> bool {
        self.kind.shows == Shows::AtOnce || self.life != Life::Making
    }
}

fn not_ready(path: &str) -> Refusal {
    Refusal::new(400, "resourceNotReady", format!("The resource '{path}' is not ready"))
}

/// Whether a link stands in a body where it means use.
fn uses(body: &Value, wanted: &str) -> bool {
    match body {
        Value::String(text) => text == wanted,
        Value::Array(list) => list.iter().any(|item| uses(item, wanted)),
        Value::Object(fields) => {
            fields.iter().any(|(name, value)| !NO_USE.contains(&name.as_str()) && uses(value, wanted))
        }
        _ => false,
    }
}

/// What every new thing has: an id, a time, links.
pub(in crate::gcp) fn begun(world: &mut World, path: &str, kind: &Kind, asked: &Value) -> Value {
    let mut body = asked.clone();
    body["kind"] = json!(format!("compute#{}", kind.single));
    body["id"] = json!(world.id());
    body["creationTimestamp"] = json!(world.local_time());
    body["selfLink"] = json!(link(path));
    body
}

/// The names of a disk's users, for who tells of orphans.
pub(in crate::gcp) fn users(disk: &Value) -> Vec<&str> {
    super::super::call::items(&disk["users"]).map(|user| last(unlinked(text(user)))).collect()
}
