//! Management locks: what is locked, or lies below, is not removed, or not changed at all.

use serde_json::{Value, json};

use super::arm::not_served;
use super::ask::{Answer, Asked, Refusal};
use super::lists;
use super::place::{Place, is_within, key};
use super::world::World;

#[derive(Debug, Clone)]
pub(super) struct Lock {
    id: String,
    name: String,
    pub scope: String,
    properties: Value,
}

impl Lock {
    fn view(&self) -> Value {
        json!({"id": self.id, "name": self.name, "type": "Microsoft.Authorization/locks", "properties": self.properties})
    }

    fn is_for_writing(&self) -> bool {
        self.properties["level"] == "ReadOnly"
    }
}

pub(super) fn answer(world: &mut World, asked: &Asked, place: &Place) -> Result<Answer, Refusal> {
    let id = format!("{}/providers/Microsoft.Authorization/locks/{}", place.scope, place.name());
    if place.is_thing() {
        scope_exists(world, &place.scope)?;
    }
    match (asked.method.as_str(), place.is_thing()) {
        ("PUT", true) => put(world, asked, place, &id),
        ("GET", true) => {
            let absent =
                || Refusal::new(404, "LockNotFound", format!("The lock '{}' could not be found.", place.name()));
            world.locks.get(&key(&id)).map(|lock| Answer::json(200, &lock.view())).ok_or_else(absent)
        }
        ("DELETE", true) => {
            let was_there = world.locks.remove(&key(&id)).is_some();
            Ok(Answer::empty(if was_there { 200 } else { 204 }))
        }
        ("GET", false) => {
            let within = world.locks.values().filter(|lock| is_within(&lock.scope, &place.scope));
            Ok(lists::page(world, asked, within.map(Lock::view).collect()))
        }
        _ => Err(not_served(asked)),
    }
}

fn put(world: &mut World, asked: &Asked, place: &Place, id: &str) -> Result<Answer, Refusal> {
    let (scope, properties) = (place.scope.clone(), asked.json()["properties"].clone());
    let lock = Lock { id: id.to_owned(), name: place.name().to_owned(), scope, properties };
    let shown = lock.view();
    let is_new = world.locks.insert(key(id), lock).is_none();
    Ok(Answer::json(if is_new { 201 } else { 200 }, &shown))
}

/// Something that is said of a scope needs the scope.
pub(super) fn scope_exists(world: &World, scope: &str) -> Result<(), Refusal> {
    let place = Place::of(scope).ok_or_else(|| Refusal::new(400, "InvalidScope", format!("{scope} is no scope.")))?;
    if place.group.is_none() {
        return Ok(());
    }
    super::groups::found(world, &place)?;
    if place.types.is_empty() || world.thing(scope).is_some() {
        return Ok(());
    }
    let message = format!(
        "The Resource '{}/{}' under resource group '{}' was not found. For more details please go to \
         https://aka.ms/ARMResourceNotFoundFix",
        place.kind(),
        place.names.join("/"),
        place.group.as_deref().unwrap_or_default()
    );
    Err(Refusal::new(404, "ResourceNotFound", message))
}

fn refusal(id: &str, verb: &str, locked: &[String]) -> Refusal {
    let message = format!(
        "The scope '{id}' cannot perform {verb} operation because following scope(s) are locked: '{}'. Please remove \
         the lock and try again.",
        locked.join(",")
    );
    Refusal::new(409, "ScopeLocked", message)
}

/// Nothing above it, in it or on it is locked.
pub(super) fn may_remove(world: &World, id: &str) -> Result<(), Refusal> {
    let meets = |lock: &&Lock| is_within(id, &lock.scope) || is_within(&lock.scope, id);
    let locked: Vec<String> = world.locks.values().filter(meets).map(|lock| lock.scope.clone()).collect();
    if locked.is_empty() { Ok(()) } else { Err(refusal(id, "delete", &locked)) }
}

pub(super) fn may_write(world: &World, id: &str) -> Result<(), Refusal> {
    let meets = |lock: &&Lock| lock.is_for_writing() && is_within(id, &lock.scope);
    let locked: Vec<String> = world.locks.values().filter(meets).map(|lock| lock.scope.clone()).collect();
    if locked.is_empty() { Ok(()) } else { Err(refusal(id, "write", &locked)) }
}
