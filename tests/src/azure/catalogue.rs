//! What can be had: sizes of machines, quotas, images, names of accounts.

use serde_json::{Value, json};

use super::arm::not_served;
use super::ask::{Answer, Asked, Refusal};
use super::place::Place;
use super::sizes::{self, REGIONS};
use super::world::World;
use super::{images, lists, quota, storage};

pub(super) fn answer(world: &World, asked: &Asked, place: &Place) -> Result<Answer, Refusal> {
    let segments = asked.segments();
    let below: Vec<&str> = segments.iter().skip(4).map(String::as_str).collect();
    let lower: Vec<String> = below.iter().map(|part| part.to_ascii_lowercase()).collect();
    match lower.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["skus"] => skus(world, asked),
        ["locations", region, "usages"] => {
            is_region(region)?;
            Ok(lists::page(world, asked, quota::usages(world, region)))
        }
        ["locations", region, "publishers", rest @ ..] => image(world, asked, region, rest),
        ["checknameavailability"] => Ok(Answer::json(200, &name(world, &asked.json()))),
        _ => Err(Refusal { message: format!("{place:?}"), ..not_served(asked) }),
    }
}

fn is_region(region: &str) -> Result<(), Refusal> {
    if REGIONS.contains(&region) {
        return Ok(());
    }
    let message = format!(
        "The provided location '{region}' is not available. List of available regions is '{}'.",
        REGIONS.join(",")
    );
    Err(Refusal::new(400, "NoRegisteredProviderFound", message))
}

fn skus(world: &World, asked: &Asked) -> Result<Answer, Refusal> {
    let filter = lists::filter(&asked.parameter("$filter").unwrap_or_default())?;
    let regions = REGIONS
        .iter()
        .filter(|region| lists::holds(&filter, |name| (name == "location").then(|| (**region).to_owned())));
    let mut entries = Vec::new();
    for region in regions {
        entries.extend(sizes::all().iter().filter_map(|size| size.entry(world, region)));
        entries.push(json!({"resourceType": "disks", "name": "Premium_LRS", "tier": "Premium", "size": "P10", "locations": [region],
            "locationInfo": [{"location": region, "zones": ["1", "2", "3"]}], "capabilities": [], "restrictions": []}));
    }
    Ok(lists::page(world, asked, entries))
}

fn image(world: &World, asked: &Asked, region: &str, rest: &[&str]) -> Result<Answer, Refusal> {
    is_region(region)?;
    let [publisher, "artifacttypes", "vmimage", "offers", offer, "skus", sku, "versions", version @ ..] = rest else {
        return Err(not_served(asked));
    };
    if [*publisher, *offer, *sku] != [images::PUBLISHER, images::OFFER, images::SKU] {
        let message = format!("Artifact: VMImage was not found: {publisher}:{offer}:{sku}.");
        return Err(Refusal::new(404, "NotFound", message));
    }
    match version {
        [] => Ok(Answer::json(200, &images::versions(world, region))),
        [version] => images::version(world, region, version).map(|image| Answer::json(200, &image)),
        _ => Err(not_served(asked)),
    }
}

fn name(world: &World, asked: &Value) -> Value {
    let name = asked["name"].as_str().unwrap_or_default();
    if world.settings.taken.contains(name) || storage::account(world, name).is_some() {
        let message = format!("The storage account named {name} is already taken.");
        return json!({"nameAvailable": false, "reason": "AlreadyExists", "message": message});
    }
    json!({"nameAvailable": true})
}
