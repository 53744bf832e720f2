//! Subnets and security rules: each has an id and calls of its own, and stands in its parent's body.

use serde_json::{Value, json};

use super::arm::not_served;
use super::ask::{Answer, Asked, Refusal};
use super::kinds::{self, Kind, Put, Style};
use super::operations::{self, Doing, Where};
use super::place::Place;
use super::world::World;
use super::{groups, lists, resources};

/// Kind of the parent and the name of its list, for each type that stands in one.
const INLINE: [(&str, &str, &str); 2] =
    [("subnets", kinds::NETWORK, "subnets"), ("securityrules", kinds::SECURITY_GROUP, "securityRules")];

fn inline(place: &Place) -> Option<(&'static Kind, &'static str)> {
    let [parent, inner] = place.types.as_slice() else { return None };
    let (_, kind, list) = INLINE.iter().find(|(word, kind, _)| {
        inner.eq_ignore_ascii_case(word) && kind.to_ascii_lowercase().ends_with(&parent.to_ascii_lowercase())
    })?;
    Some((kinds::find(kind)?, list))
}

pub(super) fn is_inline(place: &Place) -> bool {
    inline(place).is_some()
}

pub(super) fn answer(world: &mut World, asked: &Asked, place: &Place) -> Result<Answer, Refusal> {
    let (kind, list) = inline(place).ok_or_else(|| not_served(asked))?;
    groups::found(world, place)?;
    let parent = Place { types: place.types[..1].to_vec(), names: place.names[..1].to_vec(), ..place.clone() };
    let thing = resources::found(world, &parent, kind)?;
    let (id, asked_for) = (thing.id.clone(), thing.asked.clone());
    let shown = (kind.view)(world, thing)["properties"][list].as_array().cloned().unwrap_or_default();
    let entry = shown.iter().find(|entry| is_called(entry, place.name())).cloned();
    match (asked.method.as_str(), place.is_thing()) {
        ("GET", false) => Ok(lists::page(world, asked, shown)),
        ("GET", true) => entry.map(|entry| Answer::json(200, &entry)).ok_or_else(|| absent(place)),
        ("PUT", true) => {
            let others = without(&asked_for, list, place.name());
            let mut new = asked.json();
            new["name"] = place.name().into();
            lay(world, (&id, kind, list), [others, vec![new]].concat())?;
            written(world, (&id, kind, list), place, entry.is_none())
        }
        ("DELETE", true) if entry.is_none() => Ok(Answer::empty(204)),
        ("DELETE", true) => {
            lay(world, (&id, kind, list), without(&asked_for, list, place.name()))?;
            Ok(going(world, kind, &id))
        }
        _ => Err(not_served(asked)),
    }
}

fn is_called(entry: &Value, name: &str) -> bool {
    entry["name"].as_str().is_some_and(|of_entry| of_entry.eq_ignore_ascii_case(name))
}

fn without(asked: &Value, list: &str, name: &str) -> Vec<Value> {
    let entries = asked["properties"][list].as_array().into_iter().flatten();
    entries.filter(|entry| !is_called(entry, name)).cloned().collect()
}

fn absent(place: &Place) -> Refusal {
    Refusal::new(404, "NotFound", format!("Resource {} not found.", place.name()))
}

/// The parent with another list.
fn lay(world: &mut World, (id, kind, list): (&str, &Kind, &str), entries: Vec<Value>) -> Result<(), Refusal> {
    let old = world.thing(id).expect("the parent").clone();
    let mut asked = old.asked.clone();
    asked["properties"][list] = json!(entries);
    let put = Put { id, place: &old.place(), asked: &asked, old: Some(&old) };
    let made = (kind.put)(world, &put)?;
    let etag = world.entity_tag();
    let parent = world.thing_mut(id).expect("the parent");
    parent.body["properties"][list] = made["properties"][list].clone();
    parent.body["etag"] = etag.into();
    parent.asked = asked;
    Ok(())
}

fn written(world: &mut World, of: (&str, &Kind, &str), place: &Place, is_new: bool) -> Result<Answer, Refusal> {
    let (id, kind, list) = of;
    let parent = world.thing(id).expect("the parent");
    let shown = (kind.view)(world, parent)["properties"][list].as_array().cloned().unwrap_or_default();
    let entry = shown.into_iter().find(|entry| is_called(entry, place.name())).ok_or_else(|| absent(place))?;
    Ok(Answer::json(if is_new { 201 } else { 200 }, &entry).with("azure-asyncoperation", &begun(world, id)))
}

fn going(world: &mut World, kind: &Kind, id: &str) -> Answer {
    debug_assert_eq!(kind.style, Style::Network);
    let url = begun(world, id);
    Answer::empty(202)
        .with("azure-asyncoperation", &url)
        .with("location", &url.replace("/operations/", "/operationResults/"))
}

/// The list is as it will be at once; only the answer takes its time.
fn begun(world: &mut World, id: &str) -> String {
    let looks = world.settings.looks.network;
    let location = world.thing(id).map(|thing| thing.location().to_owned()).unwrap_or_default();
    let name = world.begin(id, Doing::Change, looks, None);
    operations::url(world, Style::Network, &location, &name, Where::Async)
}
