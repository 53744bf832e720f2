//! Everything that is alive in the subscription, as the fake itself knows it, past all requests and faults.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::kinds::{self, CONTAINER};
use super::place::is_within;
use super::world::{Thing, World};
use super::{disks, interfaces};

/// Kinds by the names under which a test knows them; what lies in an account or a container is part of it.
const KINDS: [(&str, &str); 10] = [
    ("networks", kinds::NETWORK),
    ("security_groups", kinds::SECURITY_GROUP),
    ("public_addresses", kinds::ADDRESS),
    ("nat_gateways", kinds::GATEWAY),
    ("interfaces", kinds::INTERFACE),
    ("machines", kinds::MACHINE),
    ("disks", kinds::DISK),
    ("identities", kinds::IDENTITY),
    ("storage_accounts", kinds::ACCOUNT),
    ("containers", CONTAINER),
];

/// By kind, in lists: `groups`, `networks`, `security_groups`, `public_addresses`, `nat_gateways`, `interfaces`,
/// `machines`, `disks`, `identities`, `storage_accounts`, `containers`, `role_assignments`, `locks`. Each has `id` and
/// `tags`; the rest is as a look shows it. Machines have `custom_data`, `power`; disks, interfaces and addresses
/// `attached_to`; containers `keys` and `versions`, as many as are kept of all keys together.
pub(super) fn list(world: &World) -> Value {
    let mut account = Map::new();
    let groups =
        world.groups.values().map(|group| json!({"id": group.id, "tags": group.tags, "location": group.location}));
    account.insert("groups".to_owned(), groups.collect());
    for (name, kind) in KINDS {
        account.insert(name.to_owned(), world.of_kind(kind).map(|thing| entry(world, thing)).collect());
    }
    let roles = world
        .roles
        .iter()
        .map(|(id, role)| with(&role.properties, &json!({"id": id, "tags": described(role.text("description"))})));
    account.insert("role_assignments".to_owned(), roles.collect());
    account.insert(
        "locks".to_owned(),
        world.locks.iter().map(|(id, lock)| json!({"id": id, "tags": {}, "scope": lock.scope})).collect(),
    );
    Value::Object(account)
}

fn with(one: &Value, other: &Value) -> Value {
    let mut whole = one.clone();
    super::world::merge(&mut whole, other);
    whole
}

/// `dsctl deployment=demo token=…`: what an assignment has in place of tags.
fn described(text: &str) -> Value {
    let pairs = text.split(' ').filter_map(|word| word.split_once('='));
    pairs.map(|(name, value)| (format!("dsctl-{name}"), Value::from(value))).collect::<Map<_, _>>().into()
}

fn entry(world: &World, thing: &Thing) -> Value {
    let mut shown = (thing.kind.view)(world, thing);
    let tags = if thing.kind.name == CONTAINER { &thing.body["properties"]["metadata"] } else { &thing.body["tags"] };
    shown["tags"] = if tags.is_object() { tags.clone() } else { json!({}) };
    with(&shown, &beside(world, thing))
}

/// What no look shows, or not all at once.
fn beside(world: &World, thing: &Thing) -> Value {
    let user = |id: Option<String>| json!({"attached_to": id.unwrap_or_default()});
    match thing.kind.name {
        kinds::MACHINE => {
            let mut said = thing.note.clone();
            said["custom_data"] = thing.asked["properties"]["osProfile"]["customData"].clone();
            said
        }
        kinds::DISK => user(disks::machine_of(world, &thing.id)),
        kinds::INTERFACE => user(interfaces::machine_of(world, &thing.id).map(|machine| machine.id.clone())),
        kinds::ADDRESS => user(super::addresses::user_of(world, &thing.id)),
        kinds::ACCOUNT => account(world, thing),
        CONTAINER => container(world, thing),
        _ => json!({}),
    }
}

fn account(world: &World, thing: &Thing) -> Value {
    let inner = |kind: &'static str| world.of_kind(kind).find(|inner| is_within(&inner.id, &thing.id));
    let shown = |kind| inner(kind).map(|inner| inner.body["properties"].clone()).unwrap_or_default();
    json!({"blob_service": shown(kinds::BLOB_SERVICE), "life_cycle": shown(kinds::LIFE_CYCLE)})
}

fn container(world: &World, thing: &Thing) -> Value {
    let place = thing.place();
    let (account, name) = (place.names.first().map_or("", String::as_str), thing.name());
    let keys: Vec<&String> = world
        .blobs
        .keys(account, name)
        .filter(|(_, all)| all.iter().any(|it| it.is_current))
        .map(|(key, _)| key)
        .collect();
    let versions: usize = world.blobs.keys(account, name).map(|(_, all)| all.len()).sum();
    json!({"keys": keys, "versions": versions, "account": account})
}

/// The things of a kind.
pub fn things<'a>(account: &'a Value, kind: &str) -> impl Iterator<Item = &'a Value> {
    let list = account[kind].as_array().unwrap_or_else(|| panic!("no {kind} in {account}"));
    list.iter()
}

/// The only one of its kind.
#[track_caller]
pub fn only<'a>(account: &'a Value, kind: &str) -> &'a Value {
    let all: Vec<&Value> = things(account, kind).collect();
    assert_eq!(all.len(), 1, "{kind}: {all:?}");
    all[0]
}

/// Azure's case of an id is its own.
pub fn is_id(found: &Value, id: &str) -> bool {
    found.as_str().is_some_and(|found| found.eq_ignore_ascii_case(id))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

/// Ids of everything that a deployment's state records, sorted, in lower case as ids are compared;
/// `az://account/container/key` for blobs. Disks, interfaces and a machine's addresses are their machine's; [`orphans`]
/// tells those that have none. An assignment with a condition is recorded with the one that goes before it.
pub fn alive(account: &Value) -> Vec<String> {
    let recorded = [
        "groups",
        "networks",
        "security_groups",
        "nat_gateways",
        "machines",
        "identities",
        "storage_accounts",
        "containers",
    ];
    let ids = recorded.iter().flat_map(|kind| things(account, kind)).map(|thing| text(&thing["id"]).to_lowercase());
    let of_no_interface = things(account, "public_addresses")
        .filter(|address| !text(&address["attached_to"]).to_lowercase().contains("/ipconfigurations/"));
    let blobs = things(account, "containers").flat_map(|container| {
        let name = super::place::name_of(text(&container["id"])).to_owned();
        let keys = container["keys"].as_array().into_iter().flatten();
        keys.map(move |key| format!("az://{}/{name}/{}", text(&container["account"]), text(key))).collect::<Vec<_>>()
    });
    let roles = things(account, "role_assignments").filter(|role| role["condition"].is_null());
    let roles = roles.map(|role| text(&role["id"]).to_lowercase());
    let addresses = of_no_interface.map(|address| text(&address["id"]).to_lowercase());
    let mut alive: Vec<String> = ids.chain(roles).chain(addresses).chain(blobs).collect();
    alive.sort();
    alive
}

/// What costs money and belongs to no machine: free disks, interfaces and addresses.
pub fn orphans(account: &Value) -> BTreeSet<String> {
    let free = |kind| {
        things(account, kind)
            .filter(|thing| text(&thing["attached_to"]).is_empty())
            .map(|thing| text(&thing["id"]).to_owned())
    };
    ["disks", "interfaces", "public_addresses"].into_iter().flat_map(free).collect()
}
