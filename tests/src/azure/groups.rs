//! Resource groups, the resources in them, and the subscription itself.

use axum::http::Method;
use serde_json::{Value, json};

use super::ask::{Answer, Asked, Refusal};
use super::lists::{self, Filter};
use super::operations::{Doing, group_url};
use super::place::{Place, is_within, key};
use super::world::{Group, Thing, World, merge, written};
use super::{arm, locks, tags};

pub(super) fn answer(world: &mut World, asked: &Asked, place: &Place) -> Result<Answer, Refusal> {
    let segments = asked.segments();
    let below: Vec<String> = segments.iter().skip(2).map(|part| part.to_ascii_lowercase()).collect();
    match below.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => Ok(Answer::json(200, &subscription(world))),
        ["resources"] => list_resources(world, asked, &format!("/subscriptions/{}", place.subscription)),
        ["resourcegroups"] => list(world, asked),
        ["resourcegroups", _] => group(world, asked, place),
        ["resourcegroups", _, "resources"] => {
            found(world, place)?;
            list_resources(world, asked, &place.group_id())
        }
        _ => Err(arm::not_served(asked)),
    }
}

fn subscription(world: &World) -> Value {
    let id = &world.settings.subscription;
    json!({
        "id": format!("/subscriptions/{id}"), "subscriptionId": id, "tenantId": super::settings::TENANT,
        "displayName": "Tests", "state": "Enabled", "authorizationSource": "RoleBased",
        "subscriptionPolicies": {"locationPlacementId": "Public_2014-09-01", "quotaId": "PayAsYouGo_2014-09-01",
            "spendingLimit": "Off"},
    })
}

/// The group of a place.
pub(super) fn found<'a>(world: &'a World, place: &Place) -> Result<&'a Group, Refusal> {
    let name = place.group.as_deref().unwrap_or_default();
    let group = world.groups.get(&key(name)).filter(|group| group.unseen == 0);
    group.ok_or_else(|| {
        Refusal::new(404, "ResourceGroupNotFound", format!("Resource group '{name}' could not be found."))
    })
}

fn view(group: &Group) -> Value {
    let state = if group.going.is_some() { "Deleting" } else { "Succeeded" };
    json!({
        "id": group.id, "name": group.name, "type": "Microsoft.Resources/resourceGroups", "location": group.location,
        "tags": group.tags, "properties": {"provisioningState": state},
    })
}

fn group(world: &mut World, asked: &Asked, place: &Place) -> Result<Answer, Refusal> {
    let name = place.group.clone().unwrap_or_default();
    match asked.method.as_str() {
        "PUT" => put(world, asked, place, &name),
        "PATCH" => patch(world, asked, place),
        "DELETE" => delete(world, place),
        _ => {
            look(world, &name);
            let shown = view(found(world, place)?);
            let is_asked_only_whether = asked.method == Method::HEAD;
            Ok(if is_asked_only_whether { Answer::empty(204) } else { Answer::json(200, &shown) })
        }
    }
}

/// A group that goes is gone some looks later.
fn look(world: &mut World, name: &str) {
    let Some(group) = world.groups.get_mut(&key(name)) else { return };
    let going = group.going.clone();
    if let Some(operation) = going {
        world.look(&operation);
    }
}

fn put(world: &mut World, asked: &Asked, place: &Place, name: &str) -> Result<Answer, Refusal> {
    let body = asked.json();
    tags::check(&body["tags"])?;
    let location = body["location"].as_str().unwrap_or_default().to_owned();
    let old = world.groups.get(&key(name)).cloned();
    if let Some(old) = &old {
        may_change(old)?;
        if old.location != location {
            let message = format!(
                "Invalid resource group location '{location}'. The Resource group already exists in location '{}'.",
                old.location
            );
            return Err(Refusal::new(409, "InvalidResourceGroupLocation", message));
        }
    }
    let tags = if body["tags"].is_null() { json!({}) } else { body["tags"].clone() };
    let made = Group { id: place.group_id(), name: name.to_owned(), location, tags, going: None, unseen: 0 };
    let answer = Answer::json(if old.is_some() { 200 } else { 201 }, &view(&made));
    world.groups.insert(key(name), made);
    Ok(answer)
}

pub(super) fn may_change(group: &Group) -> Result<(), Refusal> {
    if group.going.is_none() {
        return Ok(());
    }
    let message =
        format!("The resource group '{}' is in deprovisioning state and cannot perform this operation.", group.name);
    Err(Refusal::new(409, "ResourceGroupBeingDeleted", message))
}

fn patch(world: &mut World, asked: &Asked, place: &Place) -> Result<Answer, Refusal> {
    let body = asked.json();
    tags::check(&body["tags"])?;
    may_change(found(world, place)?)?;
    let name = place.group.as_deref().unwrap_or_default();
    let group = world.groups.get_mut(&key(name)).expect("the group that was found");
    if !body["tags"].is_null() {
        group.tags = body["tags"].clone();
    }
    Ok(Answer::json(200, &view(group)))
}

fn delete(world: &mut World, place: &Place) -> Result<Answer, Refusal> {
    let group = found(world, place)?.clone();
    locks::may_remove(world, &group.id)?;
    let operation = match group.going {
        Some(operation) => operation,
        None => {
            let looks = world.settings.looks.group;
            world.begin(&group.id, Doing::RemoveGroup, looks, None)
        }
    };
    if let Some(group) = world.groups.get_mut(&key(&group.name)) {
        group.going = Some(operation.clone());
    }
    Ok(Answer::empty(202).with("location", &group_url(world, &operation)).with("retry-after", "0"))
}

impl World {
    /// A group with all that is in it.
    pub fn forget_group(&mut self, id: &str) {
        for thing in self.ids_within(id) {
            self.forget(&thing);
        }
        self.roles.retain(|_, role| !is_within(&role.scope, id));
        self.locks.retain(|_, lock| !is_within(&lock.scope, id));
        self.groups.retain(|_, group| key(&group.id) != key(id));
    }
}

fn list(world: &World, asked: &Asked) -> Result<Answer, Refusal> {
    let filter = asked_filter(asked)?;
    let shown = world.groups.values().filter(|group| group.unseen == 0);
    let fitting = shown.filter(|group| lists::has_tags(&filter, &group.tags, |_| None));
    Ok(lists::page(world, asked, fitting.map(view).collect()))
}

fn asked_filter(asked: &Asked) -> Result<Filter, Refusal> {
    lists::filter(&asked.parameter("$filter").unwrap_or_default())
}

fn list_resources(world: &World, asked: &Asked, scope: &str) -> Result<Answer, Refusal> {
    let filter = asked_filter(asked)?;
    let expand = asked.parameter("$expand").unwrap_or_default();
    let shown = world.things.values().filter(|it| it.kind.is_tracked && it.unseen == 0 && is_within(&it.id, scope));
    let fitting = shown.filter(|thing| fits(&filter, thing));
    let is_by_tag = filter.iter().flatten().any(|(name, _)| name == "tagName");
    let entries = fitting.map(|thing| entry(thing, &expand, is_by_tag)).collect();
    Ok(lists::page(world, asked, entries))
}

fn fits(filter: &Filter, thing: &Thing) -> bool {
    lists::has_tags(filter, &thing.body["tags"], |name| match name {
        "resourceType" => Some(thing.kind.name.to_owned()),
        "name" => Some(thing.name().to_owned()),
        "location" => Some(thing.location().to_owned()),
        "resourceGroup" => thing.place().group,
        _ => None,
    })
}

/// Where it was asked by tag, Azure leaves the tags out.
fn entry(thing: &Thing, expand: &str, is_by_tag: bool) -> Value {
    let mut entry =
        json!({"id": thing.id, "name": thing.name(), "type": thing.kind.name, "location": thing.location()});
    if !is_by_tag && thing.body["tags"].is_object() {
        entry["tags"] = thing.body["tags"].clone();
    }
    for (word, value) in [
        ("createdTime", written(thing.made)),
        ("changedTime", written(thing.made)),
        ("provisioningState", thing.state().to_owned()),
    ] {
        if expand.split(',').any(|asked| asked.trim() == word) {
            merge(&mut entry, &json!({ word: value }));
        }
    }
    entry
}
