//! Azure Resource Manager: which room a request is for, and what every resource has in common.
//!
//! ```text
//! answer -> operations | groups | access, locks | registrations | catalogue | nested | resources
//! ```

use axum::http::Method;

use super::ask::{Answer, Asked, Refusal};
use super::place::{Place, key};
use super::world::{Thing, World};
use super::{access, catalogue, groups, locks, nested, operations, registrations, resources};

pub(super) fn answer(world: &mut World, asked: &Asked) -> Answer {
    let answer = routed(world, asked).unwrap_or_else(|refusal| refusal.answer(false, &asked.method));
    if [Method::GET, Method::HEAD].contains(&asked.method) {
        world.looked(asked);
    }
    answer
}

impl World {
    /// What a call made does not show in so many looks.
    pub fn hide(&mut self, asked: &Asked, looks: u32) {
        let path = format!("/{}", asked.segments().join("/"));
        if let Some(thing) = self.thing_mut(&path) {
            thing.unseen = looks;
        }
        if let Some(group) = self.groups.values_mut().find(|group| key(&group.id) == key(&path)) {
            group.unseen = looks;
        }
    }

    /// A look at something that does not show, or at a list that it would be in.
    fn looked(&mut self, asked: &Asked) {
        let path = key(&format!("/{}", asked.segments().join("/")));
        let listed = Place::of(&path).filter(|place| place.types.len() == place.names.len() + 1);
        let listed = listed.map(|place| place.kind()).unwrap_or_default();
        let is_shown_in = |thing: &Thing| thing.kind.name.eq_ignore_ascii_case(&listed) || path.ends_with("/resources");
        let things = self.things.values_mut().filter(|it| key(&it.id) == path || is_shown_in(it));
        things.for_each(|thing| thing.unseen = thing.unseen.saturating_sub(1));
        let groups = self.groups.values_mut().filter(|it| key(&it.id) == path || path.ends_with("/resourcegroups"));
        groups.for_each(|group| group.unseen = group.unseen.saturating_sub(1));
    }
}

fn routed(world: &mut World, asked: &Asked) -> Result<Answer, Refusal> {
    if asked.bearer().is_none() {
        let message = "Authentication failed. The 'Authorization' header is missing.";
        return Err(Refusal::new(401, "AuthenticationFailed", message));
    }
    let path = format!("/{}", asked.segments().join("/"));
    let place = Place::of(&path).ok_or_else(|| not_served(asked))?;
    if !place.subscription.eq_ignore_ascii_case(&world.settings.subscription) {
        let message = format!("The subscription '{}' could not be found.", place.subscription);
        return Err(Refusal::new(404, "SubscriptionNotFound", message));
    }
    if let Some(name) = operations::asked_for(asked) {
        return operations::poll(world, asked, &name);
    }
    room(world, asked, &place)
}

fn room(world: &mut World, asked: &Asked, place: &Place) -> Result<Answer, Refusal> {
    let namespace = place.namespace.to_ascii_lowercase();
    let first = place.types.first().map(|word| word.to_ascii_lowercase()).unwrap_or_default();
    match (namespace.as_str(), first.as_str()) {
        ("", "") => groups::answer(world, asked, place),
        ("microsoft.authorization", "locks") => locks::answer(world, asked, place),
        ("microsoft.authorization", "roleassignments") => access::answer(world, asked, place),
        ("microsoft.authorization", "roledefinitions") => access::definitions(world, asked, place),
        ("microsoft.compute", "skus" | "locations") | ("microsoft.storage", "checknameavailability") => {
            catalogue::answer(world, asked, place)
        }
        _ if place.scope.to_ascii_lowercase().ends_with("/providers/microsoft.features") => {
            registrations::features(world, asked, place)
        }
        (_, "" | "register" | "unregister") => registrations::answer(world, asked, place),
        _ if nested::is_inline(place) => nested::answer(world, asked, place),
        _ => resources::answer(world, asked, place),
    }
}

/// Something of Azure's that the fake does not have: whoever asks for it fails the test.
pub(super) fn not_served(asked: &Asked) -> Refusal {
    Refusal::new(501, "NotServed", format!("The fake does not serve {} {}.", asked.method, asked.path()))
}
