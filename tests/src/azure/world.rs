//! All that the fake keeps: groups, things, what goes on with them, and how it is to behave.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::access::Role;
use super::ask::Refusal;
use super::blob_store::Blobs;
use super::kinds::Kind;
use super::locks::Lock;
use super::operations::Operation;
use super::place::{Place, is_within, key};
use super::settings::Settings;

#[derive(Debug)]
pub(super) struct World {
    /// Where it is asked: `http://127.0.0.1:PORT`.
    pub origin: String,
    pub settings: Settings,
    pub groups: BTreeMap<String, Group>,
    pub things: BTreeMap<String, Thing>,
    pub operations: BTreeMap<String, Operation>,
    pub locks: BTreeMap<String, Lock>,
    pub roles: BTreeMap<String, Role>,
    pub blobs: Blobs,
    /// Namespaces that are being registered, with the looks that are left.
    pub registering: BTreeMap<String, u32>,
    /// Interfaces kept for a machine that failed: whose, and the looks that are left.
    pub reserved: BTreeMap<String, (String, u32)>,
    /// Principals that the directory does not show everywhere yet.
    pub new_principals: BTreeMap<String, u32>,
    pub principals: BTreeSet<String>,
    counter: AtomicU64,
}

#[derive(Debug, Clone)]
pub(super) struct Group {
    pub id: String,
    pub name: String,
    pub location: String,
    pub tags: Value,
    /// The operation that removes it.
    pub going: Option<String>,
    pub unseen: u32,
}

/// A resource.
#[derive(Debug, Clone)]
pub(super) struct Thing {
    pub id: String,
    pub kind: &'static Kind,
    /// As a look shows it, but for what other things say of it.
    pub body: Value,
    /// As it was asked for, with what no look shows.
    pub asked: Value,
    /// What goes on with it.
    pub operation: Option<String>,
    /// Looks in which it does not show.
    pub unseen: u32,
    pub made: Timestamp,
    /// Of machines: `power`, `failure`.
    pub note: Value,
}

impl Thing {
    pub fn place(&self) -> Place {
        Place::of(&self.id).expect("an id")
    }

    pub fn name(&self) -> &str {
        super::place::name_of(&self.id)
    }

    pub fn location(&self) -> &str {
        self.body["location"].as_str().unwrap_or_default()
    }

    pub fn state(&self) -> &str {
        self.body["properties"]["provisioningState"].as_str().unwrap_or("Succeeded")
    }
}

impl World {
    pub fn new(origin: &str) -> Self {
        Self {
            origin: origin.to_owned(),
            settings: Settings::default(),
            groups: BTreeMap::new(),
            things: BTreeMap::new(),
            operations: BTreeMap::new(),
            locks: BTreeMap::new(),
            roles: BTreeMap::new(),
            blobs: Blobs::default(),
            registering: BTreeMap::new(),
            reserved: BTreeMap::new(),
            new_principals: BTreeMap::new(),
            principals: BTreeSet::new(),
            counter: AtomicU64::new(0),
        }
    }

    pub fn thing(&self, id: &str) -> Option<&Thing> {
        self.things.get(&key(id))
    }

    pub fn thing_mut(&mut self, id: &str) -> Option<&mut Thing> {
        self.things.get_mut(&key(id))
    }

    pub fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Thing> {
        self.things.values().filter(move |thing| thing.kind.name == kind)
    }

    /// Ids of the things in a scope.
    pub fn ids_within(&self, scope: &str) -> Vec<String> {
        self.things.values().filter(|thing| is_within(&thing.id, scope)).map(|thing| thing.id.clone()).collect()
    }

    /// Something that another thing speaks of.
    pub fn referred(&self, id: &str, by: &str) -> Result<&Thing, Refusal> {
        let found = self.thing(id).ok_or_else(|| {
            let message = format!(
                "Resource {id} referenced by resource {by} was not found. Please make sure that the referenced \
                 resource exists, and that both resources are in the same region."
            );
            Refusal::new(400, "InvalidResourceReference", message)
        })?;
        if matches!(found.state(), "Succeeded" | "Failed") {
            return Ok(found);
        }
        let message = format!(
            "Cannot proceed with operation because resource {id} used by resource {by} is not in Succeeded state. \
             Resource is in {} state.",
            found.state()
        );
        Err(Refusal::new(429, "ReferencedResourceNotProvisioned", message))
    }

    /// A number that was never given before.
    pub fn number(&self) -> u64 {
        self.counter.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub fn uuid(&self) -> String {
        let digest = hex::encode(Sha256::digest(format!("{}-{}", self.origin, self.number())));
        format!("{}-{}-4{}-8{}-{}", &digest[..8], &digest[8..12], &digest[12..15], &digest[15..18], &digest[18..30])
    }

    pub fn entity_tag(&self) -> String {
        format!("W/\"{}\"", self.uuid())
    }

    /// Removes a thing with all that lies in it or is said of it.
    pub fn forget(&mut self, id: &str) {
        let Some(thing) = self.things.remove(&key(id)) else { return };
        for inner in self.ids_within(id) {
            self.things.remove(&key(&inner));
        }
        self.roles.retain(|_, role| !is_within(&role.scope, id));
        self.locks.retain(|_, lock| !is_within(&lock.scope, id));
        (thing.kind.gone)(self, &thing);
    }
}

/// A moment as ARM writes it.
pub(super) fn written(moment: Timestamp) -> String {
    moment.strftime("%Y-%m-%dT%H:%M:%S.%6f+00:00").to_string()
}

/// `{"id": …}`.
pub(super) fn reference(id: &str) -> Value {
    json!({ "id": id })
}

/// One object laid over another, as `PATCH` does (RFC 7396).
pub(super) fn merge(into: &mut Value, patch: &Value) {
    let (Some(old), Some(new)) = (into.as_object_mut(), patch.as_object()) else {
        *into = patch.clone();
        return;
    };
    for (name, value) in new {
        if value.is_null() {
            old.remove(name);
        } else {
            merge(old.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}
