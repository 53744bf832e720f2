//! What all resources have in common: they are put, looked at, changed, removed and listed by id.

use serde_json::{Value, json};

use super::arm::not_served;
use super::ask::{Answer, Asked, Refusal};
use super::kinds::{self, Kind, Put, Style};
use super::operations::{self, Doing, Where};
use super::place::{Place, is_within, key};
use super::world::{Thing, World, merge};
use super::{actions, groups, lists, locks, registrations, tags};

pub(super) fn answer(world: &mut World, asked: &Asked, place: &Place) -> Result<Answer, Refusal> {
    if let Some(kind) = kinds::find(&place.kind()) {
        return match (place.is_thing(), asked.method.as_str()) {
            (true, "PUT") => put(world, asked, place, kind),
            (true, "GET") => get(world, asked, place, kind),
            (true, "PATCH") => patch(world, asked, place, kind),
            (true, "DELETE") => delete(world, place, kind),
            (false, "GET") => list(world, asked, place, kind),
            _ => Err(not_served(asked)),
        };
    }
    let (thing, action) = place.acted_on().ok_or_else(|| not_served(asked))?;
    let kind = kinds::find(&thing.kind()).ok_or_else(|| not_served(asked))?;
    groups::found(world, &thing)?;
    let id = found(world, &thing, kind)?.id.clone();
    actions::answer(world, asked, &id, &action)
}

/// A thing that shows.
pub(super) fn found<'a>(world: &'a World, place: &Place, kind: &Kind) -> Result<&'a Thing, Refusal> {
    let thing = world.things.get(&key(&place.id(kind.name))).filter(|thing| thing.unseen == 0);
    thing.ok_or_else(|| absent(place, kind))
}

fn absent(place: &Place, kind: &Kind) -> Refusal {
    let code = match kind.name {
        kinds::CONTAINER => "ContainerNotFound",
        kinds::LIFE_CYCLE => "ManagementPolicyNotFound",
        kinds::IMMUTABILITY => "ContainerImmutabilityPolicyNotFound",
        _ => "ResourceNotFound",
    };
    if code != "ResourceNotFound" {
        return Refusal::new(
            404,
            code,
            format!("The specified {} does not exist.", place.types.last().map_or("", |it| it)),
        );
    }
    let group = place.group.as_deref().unwrap_or_default();
    let message = format!(
        "The Resource '{}/{}' under resource group '{group}' was not found. For more details please go to \
         https://aka.ms/ARMResourceNotFoundFix",
        kind.name,
        place.names.join("/")
    );
    Refusal::new(404, code, message)
}

fn get(world: &mut World, asked: &Asked, place: &Place, kind: &'static Kind) -> Result<Answer, Refusal> {
    groups::found(world, place)?;
    if let Some((name, _)) = operations::of(world, place, kind.name) {
        world.look(&name);
    }
    let thing = found(world, place, kind)?;
    let mut shown = (kind.view)(world, thing);
    if kind.name == kinds::MACHINE && asked.parameter("$expand").as_deref() == Some("instanceView") {
        shown["properties"]["instanceView"] = actions::instance_view(thing);
    }
    Ok(Answer::json(200, &shown))
}

fn put(world: &mut World, asked: &Asked, place: &Place, kind: &'static Kind) -> Result<Answer, Refusal> {
    let body = asked.json();
    may_write(world, place, kind)?;
    preconditions(world, asked, place, kind)?;
    let old = world.things.get(&key(&place.id(kind.name))).cloned();
    stays_where_it_is(old.as_ref(), &body, place)?;
    is_free(world, place, kind)?;
    lay(world, place, kind, body)
}

fn patch(world: &mut World, asked: &Asked, place: &Place, kind: &'static Kind) -> Result<Answer, Refusal> {
    groups::found(world, place)?;
    let old = found(world, place, kind)?.clone();
    may_write(world, place, kind)?;
    preconditions(world, asked, place, kind)?;
    is_free(world, place, kind)?;
    let mut body = old.asked.clone();
    let patch = asked.json();
    if !patch["tags"].is_null() {
        // Tags are replaced as a whole, everything else is laid over what is there.
        body["tags"] = json!({});
    }
    merge(&mut body, &patch);
    if kind.style != Style::Network {
        return lay(world, place, kind, body).map(|answer| Answer { status: 200, ..answer });
    }
    tags::check(&body["tags"])?;
    let thing = world.thing_mut(&old.id).expect("the thing that was found");
    (thing.body["tags"], thing.asked["tags"]) = (body["tags"].clone(), body["tags"].clone());
    let thing = thing.clone();
    Ok(Answer::json(200, &(kind.view)(world, &thing)))
}

/// Puts a body in its place, new or not.
fn lay(world: &mut World, place: &Place, kind: &'static Kind, asked: Value) -> Result<Answer, Refusal> {
    tags::check(&asked["tags"])?;
    let old = world.things.get(&key(&place.id(kind.name))).cloned();
    let id = old.as_ref().map_or_else(|| place.id(kind.name), |old| old.id.clone());
    let put = Put { id: &id, place, asked: &asked, old: old.as_ref() };
    (kind.may_come)(world, &put)?;
    let made = (kind.put)(world, &put)?;
    let body = whole(world, kind, &put, made);
    let is_new = old.is_none();
    let thing = Thing {
        id: id.clone(),
        kind,
        body,
        asked,
        operation: None,
        unseen: 0,
        made: old.as_ref().map_or_else(jiff::Timestamp::now, |old| old.made),
        note: old.map_or_else(|| json!({}), |old| old.note),
    };
    let failure = (kind.fate)(world, &thing);
    let thing = Thing { note: doomed(thing.note.clone(), failure.is_some()), ..thing };
    world.things.insert(key(&id), thing);
    if is_new {
        (kind.made)(world, &id);
    }
    Ok(accepted(world, kind, &id, is_new, failure))
}

/// What will fail takes nothing of any quota.
fn doomed(mut note: Value, is_doomed: bool) -> Value {
    if is_doomed {
        note["doomed"] = true.into();
    }
    note
}

/// Puts something in its place that another thing brings along.
pub(super) fn lay_whole(world: &mut World, kind: &str, id: &str, asked: Value) {
    let kind = kinds::find(kind).expect("a kind");
    let place = Place::of(id).expect("an id");
    let put = Put { id, place: &place, asked: &asked, old: None };
    let made = (kind.put)(world, &put).unwrap_or_else(|refusal| panic!("{id}: {refusal:?}"));
    let mut body = whole(world, kind, &put, made);
    if kind.has_state() {
        body["properties"]["provisioningState"] = "Succeeded".into();
    }
    let made = jiff::Timestamp::now();
    let thing = Thing { id: id.to_owned(), kind, body, asked, operation: None, unseen: 0, made, note: json!({}) };
    world.things.insert(key(id), thing);
    (kind.made)(world, id);
}

/// With what every resource shows.
fn whole(world: &World, kind: &Kind, put: &Put<'_>, made: Value) -> Value {
    let mut body = json!({"id": put.id, "name": put.place.name(), "type": kind.name});
    if kind.is_tracked {
        body["location"] = put.asked["location"].clone();
        body["tags"] = if put.asked["tags"].is_null() { json!({}) } else { put.asked["tags"].clone() };
    }
    merge(&mut body, &made);
    if kind.style == Style::Network || kind.name == kinds::MACHINE {
        body["etag"] = world.entity_tag().into();
    }
    if kind.has_state() {
        let state = if put.old.is_none() { "Creating" } else { "Updating" };
        let is_account = kind.style == Style::Account && put.old.is_some();
        body["properties"]["provisioningState"] = if is_account { "Succeeded" } else { state }.into();
    }
    body
}

/// The answer to a body that was taken, in the way of its service.
fn accepted(world: &mut World, kind: &'static Kind, id: &str, is_new: bool, failure: Option<Refusal>) -> Answer {
    let doing = if is_new { Doing::Make } else { Doing::Change };
    let is_over = !kind.has_state() || (kind.style == Style::Account && !is_new);
    let name = if is_over { String::new() } else { world.begin(id, doing, kind.looks(world), failure) };
    let thing = world.thing(id).expect("what was laid");
    let (shown, location) = ((kind.view)(world, thing), thing.location().to_owned());
    let url = |place| operations::url(world, kind.style, &location, &name, place);
    match kind.style {
        Style::Direct(status) => Answer::json(if is_new { status } else { 200 }, &shown),
        Style::Account if is_over => Answer::json(200, &shown),
        Style::Account => Answer::empty(202).with("location", &url(Where::Location)).with("retry-after", "0"),
        Style::Disk => Answer::json(202, &shown)
            .with("azure-asyncoperation", &url(Where::Async))
            .with("location", &url(Where::Location))
            .with("retry-after", "0"),
        Style::Machine | Style::Network => Answer::json(if is_new { 201 } else { 200 }, &shown)
            .with("azure-asyncoperation", &url(Where::Async))
            .with("retry-after", "0"),
    }
}

fn may_write(world: &mut World, place: &Place, kind: &Kind) -> Result<(), Refusal> {
    groups::may_change(groups::found(world, place)?)?;
    registrations::is_registered(world, kind.namespace())?;
    locks::may_write(world, &place.id(kind.name))?;
    let Some(parent) = place.parent() else { return Ok(()) };
    let parent_kind = kinds::find(&parent.kind()).ok_or_else(|| absent(place, kind))?;
    if world.things.contains_key(&key(&parent.id(parent_kind.name))) {
        return Ok(());
    }
    let message = format!(
        "Can not perform requested operation on nested resource. Parent resource '{}' not found.",
        parent.name()
    );
    Err(Refusal::new(404, "ParentResourceNotFound", message))
}

/// `If-Match` and `If-None-Match`, where the operation takes them.
fn preconditions(world: &World, asked: &Asked, place: &Place, kind: &Kind) -> Result<(), Refusal> {
    let there = world.things.get(&key(&place.id(kind.name)));
    let refused = |message: &str| Err(Refusal::new(412, "PreconditionFailed", message));
    if asked.header("if-none-match") == Some("*") && there.is_some() {
        return refused("The resource exists already: the condition If-None-Match: * does not hold.");
    }
    match (asked.header("if-match"), there) {
        (None, _) | (Some("*"), Some(_)) => Ok(()),
        (Some(tag), Some(thing)) if thing.body["etag"] == tag => Ok(()),
        _ => refused("The entity tag of the resource is another one."),
    }
}

fn stays_where_it_is(old: Option<&Thing>, body: &Value, place: &Place) -> Result<(), Refusal> {
    let Some(old) = old.filter(|old| old.kind.is_tracked) else { return Ok(()) };
    let location = body["location"].as_str().unwrap_or_default();
    if old.location().eq_ignore_ascii_case(location) {
        return Ok(());
    }
    let message = format!(
        "The resource '{}' already exists in location '{}' in resource group '{}'. A resource with the same name \
         cannot be created in location '{location}'. Please select a new resource name.",
        old.name(),
        old.location(),
        place.group.as_deref().unwrap_or_default()
    );
    Err(Refusal::new(409, "InvalidResourceLocation", message))
}

/// Nothing else goes on with it, in the words of its service.
fn is_free(world: &World, place: &Place, kind: &Kind) -> Result<(), Refusal> {
    let Some((name, _)) = operations::of(world, place, kind.name) else { return Ok(()) };
    Err(match kind.style {
        Style::Network => {
            let url = operations::url(world, kind.style, "eastus", &name, Where::Async);
            let message = format!(
                "Another operation on this or dependent resource is in progress. To retrieve status of the operation \
                 use uri: {url}."
            );
            Refusal::new(429, "AnotherOperationInProgress", message)
        }
        Style::Account => {
            let message =
                "An operation is currently performing on this storage account that requires exclusive access.";
            Refusal::new(409, "StorageAccountOperationInProgress", message)
        }
        Style::Direct(_) | Style::Machine | Style::Disk => {
            let message = "The request failed due to conflict with a concurrent request. To resolve it, please refer \
                           to https://aka.ms/activitylog to get more details on the conflicting requests.";
            Refusal::new(409, "Conflict", message)
        }
    })
}

fn delete(world: &mut World, place: &Place, kind: &'static Kind) -> Result<Answer, Refusal> {
    groups::may_change(groups::found(world, place)?)?;
    let id = place.id(kind.name);
    let Some(thing) = world.thing(&id).cloned() else { return Ok(Answer::empty(204)) };
    locks::may_remove(world, &id)?;
    if let Some((name, operation)) = operations::of(world, place, kind.name) {
        if operation.doing == Doing::Remove {
            return Ok(going(world, kind, thing.location(), &name));
        }
        if kind.style != Style::Machine {
            is_free(world, place, kind)?;
        }
        world.preempt(&name);
    }
    (kind.may_go)(world, &id)?;
    if matches!(kind.style, Style::Direct(_) | Style::Account) {
        world.forget(&id);
        return Ok(Answer::empty(200));
    }
    let name = world.begin(&id, Doing::Remove, kind.looks(world), None);
    if let Some(thing) = world.thing_mut(&id) {
        thing.body["properties"]["provisioningState"] = "Deleting".into();
    }
    Ok(going(world, kind, thing.location(), &name))
}

fn going(world: &World, kind: &Kind, location: &str, name: &str) -> Answer {
    let url = |place| operations::url(world, kind.style, location, name, place);
    Answer::empty(202)
        .with("azure-asyncoperation", &url(Where::Async))
        .with("location", &url(Where::Location))
        .with("retry-after", "0")
}

fn list(world: &World, asked: &Asked, place: &Place, kind: &Kind) -> Result<Answer, Refusal> {
    let scope = match (&place.group, place.names.is_empty()) {
        (None, _) => place.scope.clone(),
        (Some(_), true) => groups::found(world, place)?.id.clone(),
        (Some(_), false) => {
            let parent = Place { types: place.types[..place.names.len()].to_vec(), ..place.clone() };
            parent.id(kind.name.rsplit_once('/').map_or("", |(parent, _)| parent))
        }
    };
    let shown = world.of_kind(kind.name).filter(|thing| thing.unseen == 0 && is_within(&thing.id, &scope));
    let entries = shown.map(|thing| (kind.view)(world, thing)).collect();
    Ok(lists::page(world, asked, entries))
}
