//! Everything that is alive in the account, seen from within; and what Google does there by itself.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::call::{items, text};
use super::compute::instance::with_disks;
use super::compute::kind::KINDS;
use super::compute::thing::users;
use super::storage::bucket::Bucket;
use super::world::World;

/// What dsctl writes on what it makes, as labels and metadata call it.
const OWNED: [&str; 4] = ["deployment", "address", "token", "lineage"];
const PREFIX: &str = "dsctl-";

/// By kind, in lists: `networks`, `subnetworks`, `routers`, `firewalls`, `instances`, `disks`, `service_accounts`,
/// `buckets`. Each has `id`, `name`, `ownership` (null for what is not dsctl's) and `body`, as Google shows it; a bucket
/// has `objects` (each with `key` and `ownership`), `generations` (how many are paid for) and `policy` besides.
pub(super) fn of(world: &World) -> Value {
    let mut account = Map::new();
    for kind in &KINDS {
        let of_kind = world.things.iter().filter(|(_, thing)| thing.kind == kind);
        let things = of_kind.map(|(path, _)| thing(path, &world.shown(path)));
        account.insert(kind.collection.to_owned(), things.collect());
    }
    let accounts = world.accounts.values().map(|account| thing(text(&account.body["name"]), &account.body));
    account.insert("service_accounts".to_owned(), accounts.collect());
    account.insert("buckets".to_owned(), world.buckets.iter().map(|(name, it)| bucket(name, it)).collect());
    Value::Object(account)
}

fn thing(id: &str, body: &Value) -> Value {
    let name = if body["name"] == id { body["email"].clone() } else { body["name"].clone() };
    let name = if name.is_string() { name } else { json!(id) };
    json!({"id": id, "name": name, "ownership": ownership(body), "body": body})
}

fn bucket(name: &str, bucket: &Bucket) -> Value {
    let (keys, generations) = bucket.contents();
    let objects = keys.into_iter().map(|key| {
        let told = bucket.told(key).cloned().unwrap_or_default();
        json!({"key": key, "ownership": written(&told["metadata"])})
    });
    let mut told = thing(name, &bucket.body);
    told["objects"] = objects.collect();
    told["generations"] = json!(generations);
    told["policy"] = json!(bucket.policy.bindings);
    told
}

/// Of labels, or of a description where Google has no labels.
fn ownership(body: &Value) -> Value {
    let told: Value = serde_json::from_str(text(&body["description"])).unwrap_or_default();
    if told["dsctl"].is_object() { told["dsctl"].clone() } else { written(&body["labels"]) }
}

fn written(labels: &Value) -> Value {
    let own =
        OWNED.iter().filter_map(|name| Some(((*name).to_owned(), labels.get(format!("{PREFIX}{name}"))?.clone())));
    let own: Map<String, Value> = own.collect();
    if own.is_empty() { Value::Null } else { Value::Object(own) }
}

/// Kinds whose ids a state records as they are. Disks are their machine's: [`orphans`] tells those that have none.
const BY_ID: [&str; 7] =
    ["networks", "subnetworks", "routers", "firewalls", "instances", "service_accounts", "buckets"];

/// Of everything that a deployment's state records, sorted: paths from `projects/` on, names of buckets,
/// `gs://BUCKET/KEY` of objects, `iam://BUCKET/EMAIL` for who may do something in a bucket.
pub fn alive(account: &Value) -> Vec<String> {
    let ids = BY_ID.iter().flat_map(|kind| things(account, kind)).map(|thing| text(&thing["id"]).to_owned());
    let mut alive: Vec<String> = ids.chain(things(account, "buckets").flat_map(within)).collect();
    alive.sort();
    alive
}

/// Of a bucket: objects, and the service accounts of its policy.
fn within(bucket: &Value) -> Vec<String> {
    let name = text(&bucket["id"]);
    let objects = items(&bucket["objects"]).map(|object| format!("gs://{name}/{}", text(&object["key"])));
    let members = items(&bucket["policy"]).flat_map(|binding| super::iam::named(&binding["members"]));
    let members: BTreeSet<String> = members.map(|email| format!("iam://{name}/{email}")).collect();
    objects.chain(members).collect()
}

/// What costs money and belongs to no machine: free disks.
pub fn orphans(account: &Value) -> BTreeSet<String> {
    let free = things(account, "disks").filter(|disk| users(&disk["body"]).is_empty());
    free.map(|disk| text(&disk["id"]).to_owned()).collect()
}

/// The things of a kind.
pub fn things<'a>(account: &'a Value, kind: &str) -> impl Iterator<Item = &'a Value> {
    let list = account[kind].as_array().unwrap_or_else(|| panic!("no {kind} in {account}"));
    list.iter()
}

/// As Google does with a spot machine that it needs elsewhere.
#[track_caller]
pub(super) fn preempt(world: &mut World, path: &str) {
    let scheduling = world.things.get(path).map(|thing| thing.body["scheduling"].clone());
    let scheduling = scheduling.unwrap_or_else(|| panic!("{path} is not there"));
    assert_eq!(scheduling["provisioningModel"], "SPOT", "only spot machines are taken back");
    if scheduling["instanceTerminationAction"] == "DELETE" {
        let paths = with_disks(world, path);
        world.remove(&paths);
    } else if let Some(thing) = world.things.get_mut(path) {
        thing.body["status"] = json!("TERMINATED");
    }
}

impl World {
    /// Whatever goes on comes to its end.
    pub(super) fn settle(&mut self) {
        let all: Vec<String> = self.operations.keys().cloned().collect();
        all.iter().for_each(|path| self.finish(path));
    }
}
