//! Which services a subscription uses: each is registered once, which takes a while.

use serde_json::{Value, json};

use super::arm::not_served;
use super::ask::{Answer, Asked, Refusal};
use super::place::Place;
use super::world::World;

const KNOWN: [&str; 7] = [
    "Microsoft.Authorization",
    "Microsoft.Compute",
    "Microsoft.ManagedIdentity",
    "Microsoft.Network",
    "Microsoft.Resources",
    "Microsoft.Storage",
    "Microsoft.Quota",
];

pub(super) fn answer(world: &mut World, asked: &Asked, place: &Place) -> Result<Answer, Refusal> {
    let namespace = KNOWN.iter().find(|known| known.eq_ignore_ascii_case(&place.namespace)).ok_or_else(|| {
        let message = format!("The resource namespace '{}' is invalid.", place.namespace);
        Refusal::new(404, "InvalidResourceNamespace", message)
    })?;
    let action = place.types.first().map(|word| word.to_ascii_lowercase());
    match (asked.method.as_str(), action.as_deref()) {
        ("GET", None) => {
            look(world, namespace);
            Ok(Answer::json(200, &view(world, namespace)))
        }
        ("POST", Some("register")) => {
            if world.settings.unregistered.remove(&namespace.to_lowercase()) {
                world.registering.insert(namespace.to_lowercase(), world.settings.looks.registration);
            }
            Ok(Answer::json(200, &view(world, namespace)))
        }
        ("POST", Some("unregister")) => {
            world.settings.unregistered.insert(namespace.to_lowercase());
            Ok(Answer::json(200, &view(world, namespace)))
        }
        _ => Err(not_served(asked)),
    }
}

fn look(world: &mut World, namespace: &str) {
    match world.registering.get_mut(&namespace.to_lowercase()) {
        Some(0) => {
            world.registering.remove(&namespace.to_lowercase());
        }
        Some(left) => *left -= 1,
        None => {}
    }
}

fn view(world: &World, namespace: &str) -> Value {
    let name = namespace.to_lowercase();
    let state = match (world.registering.contains_key(&name), world.settings.unregistered.contains(&name)) {
        (true, _) => "Registering",
        (false, true) => "NotRegistered",
        (false, false) => "Registered",
    };
    let id = format!("/subscriptions/{}/providers/{namespace}", world.settings.subscription);
    json!({"id": id, "namespace": namespace, "registrationState": state, "registrationPolicy": "RegistrationRequired",
        "resourceTypes": []})
}

/// The one feature that machines may need; it is asked for once, which takes a while, too.
const FEATURE: &str = "EncryptionAtHost";

/// `…/Microsoft.Features/providers/Microsoft.Compute/features/EncryptionAtHost`.
pub(super) fn features(world: &mut World, asked: &Asked, place: &Place) -> Result<Answer, Refusal> {
    let (thing, is_action) = match place.acted_on() {
        Some((thing, action)) => (thing, action.eq_ignore_ascii_case("register")),
        None => (place.clone(), false),
    };
    if !thing.name().eq_ignore_ascii_case(FEATURE) {
        let message = format!("The feature '{}' could not be found.", thing.name());
        return Err(Refusal::new(404, "FeatureNotFound", message));
    }
    match (asked.method.as_str(), is_action) {
        ("GET", false) => look(world, FEATURE),
        ("POST", true) if !world.settings.encryption_at_host => {
            world.settings.encryption_at_host = true;
            world.registering.insert(FEATURE.to_lowercase(), world.settings.looks.registration);
        }
        ("POST", true) => {}
        _ => return Err(not_served(asked)),
    }
    Ok(Answer::json(200, &feature(world)))
}

fn feature(world: &World) -> Value {
    let state = match (has_feature(world), world.settings.encryption_at_host) {
        (true, _) => "Registered",
        (false, true) => "Registering",
        (false, false) => "NotRegistered",
    };
    let subscription = &world.settings.subscription;
    let id = format!("/subscriptions/{subscription}/providers/Microsoft.Features/providers/Microsoft.Compute/features");
    json!({"id": format!("{id}/{FEATURE}"), "name": format!("Microsoft.Compute/{FEATURE}"),
        "type": "Microsoft.Features/providers/features", "properties": {"state": state}})
}

/// Whether machines may encrypt at their host.
pub(super) fn has_feature(world: &World) -> bool {
    world.settings.encryption_at_host && !world.registering.contains_key(&FEATURE.to_lowercase())
}

/// Whether something of a service may be made.
pub(super) fn is_registered(world: &World, namespace: &str) -> Result<(), Refusal> {
    let name = namespace.to_lowercase();
    if !world.settings.unregistered.contains(&name) && !world.registering.contains_key(&name) {
        return Ok(());
    }
    let message = format!(
        "The subscription is not registered to use namespace '{namespace}'. See https://aka.ms/rps-not-found for how \
         to register subscriptions."
    );
    Err(Refusal::new(409, "MissingSubscriptionRegistration", message))
}
