//! Compute v1: networks, machines and disks, that come and go by operations.
//!
//! ```text
//! answer -> repeated (the request id was here before) -> act -> the room of the collection -> remember
//! kind       what is made, and where it lies         thing      what can be seen of it, and who uses it
//! operation  RUNNING until looked at enough, then its end      list, filter   lists
//! network    networks, subnetworks, routers, firewalls         instance, disk machines
//! place      projects, regions, zones, machine types, images   quota          limits, and what is used
//! ```

pub(super) mod check;
mod disk;
mod filter;
pub(super) mod instance;
mod instance_change;
pub(super) mod kind;
pub(super) mod list;
mod network;
pub(super) mod operation;
mod place;
pub(super) mod quota;
pub(super) mod thing;

use super::call::{Call, Refusal, Reply};
use super::world::World;
use kind::{Kind, Place, kind};

pub(super) fn answer(world: &mut World, call: &Call) -> Result<Reply, Refusal> {
    if let Some(again) = operation::repeated(world, call)? {
        return Ok(again);
    }
    let reply = act(world, call)?;
    operation::remember(world, call, &reply);
    Ok(reply)
}

fn act(world: &mut World, call: &Call) -> Result<Reply, Refusal> {
    let (collection, verb) = call.act();
    if collection.ends_with("Operations") {
        return operation::answer(world, call);
    }
    let Some(kind) = kind(collection) else { return place::answer(world, call) };
    match verb {
        "get" => get(world, call, kind),
        "list" => list(world, call, kind),
        "aggregatedList" => aggregated(world, call, kind),
        _ => match collection {
            "instances" => instance::answer(world, call, kind),
            "disks" => disk::answer(world, call, kind),
            _ => network::answer(world, call, kind),
        },
    }
}

fn get(world: &mut World, call: &Call, kind: &'static Kind) -> Result<Reply, Refusal> {
    let path = target(world, call, kind)?;
    world.seen(&path)?;
    Ok(Reply::Json(world.shown(&path)))
}

fn list(world: &mut World, call: &Call, kind: &'static Kind) -> Result<Reply, Refusal> {
    let folder = Place::of(world, call)?.folder(kind.scope);
    let items = world.of_kind(kind, &folder);
    list::list(world, call, kind.single, items)
}

fn aggregated(world: &mut World, call: &Call, kind: &'static Kind) -> Result<Reply, Refusal> {
    let place = Place::of(world, call)?;
    let scopes = list::scopes(&place, kind.scope);
    let scoped = scopes.into_iter().map(|(scope, folder)| (scope, world.of_kind(kind, &folder))).collect();
    list::aggregated(world, call, (kind.collection, kind.single), scoped)
}

/// The path of what a call is about. Some methods call it `resource`, whatever it is.
fn target(world: &World, call: &Call, kind: &Kind) -> Result<String, Refusal> {
    let place = Place::of(world, call)?;
    let name = if call.path(kind.single).is_empty() { call.path("resource") } else { call.path(kind.single) };
    Ok(place.path(kind, name))
}
