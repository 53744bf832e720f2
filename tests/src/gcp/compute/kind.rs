//! The kinds of things that are made in Compute, and places: where they lie and what they are called there.

use serde_json::json;

use super::super::call::{Call, Refusal};
use super::super::catalog;
use super::super::world::World;

/// What Google writes before a path.
pub(in crate::gcp) const LINK: &str = "https://www.googleapis.com/compute/v1/";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::gcp) enum Scope {
    Global,
    Region,
    Zone,
}

/// When something new can be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::gcp) enum Shows {
    /// While it is being made: its status says so.
    AtOnce,
    WhenMade,
}

#[derive(Debug, PartialEq, Eq)]
pub(in crate::gcp) struct Kind {
    pub collection: &'static str,
    /// As messages and gaps of paths call one.
    pub single: &'static str,
    pub scope: Scope,
    pub shows: Shows,
}

pub(in crate::gcp) static KINDS: [Kind; 6] = [
    Kind::new("networks", "network", Scope::Global, Shows::WhenMade),
    Kind::new("subnetworks", "subnetwork", Scope::Region, Shows::WhenMade),
    Kind::new("routers", "router", Scope::Region, Shows::WhenMade),
    Kind::new("firewalls", "firewall", Scope::Global, Shows::WhenMade),
    Kind::new("instances", "instance", Scope::Zone, Shows::AtOnce),
    Kind::new("disks", "disk", Scope::Zone, Shows::AtOnce),
];

impl Kind {
    const fn new(collection: &'static str, single: &'static str, scope: Scope, shows: Shows) -> Self {
        Self { collection, single, scope, shows }
    }
}

pub(in crate::gcp) fn kind(collection: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.collection == collection)
}

/// Where a call works: a project, and a region or zone of it.
#[derive(Debug, Clone)]
pub(in crate::gcp) struct Place {
    pub project: String,
    pub region: Option<String>,
    pub zone: Option<String>,
}

impl Place {
    /// As the call's path says; of a zone the region too.
    pub fn of(world: &World, call: &Call) -> Result<Self, Refusal> {
        let project = call.path("project").to_owned();
        if !world.has_project(&project) {
            return Err(not_found(&format!("projects/{project}")));
        }
        let part = |name: &str| Some(call.path(name).to_owned()).filter(|value| !value.is_empty());
        let (region, zone) = (part("region"), part("zone"));
        if let Some(zone) = zone.as_ref().filter(|zone| !catalog::zones().any(|known| known == **zone)) {
            return Err(Refusal::invalid("zone", &json!(zone), "Unknown zone."));
        }
        if let Some(region) =
            region.as_ref().filter(|region| !catalog::REGIONS.iter().any(|(known, _)| known == *region))
        {
            return Err(Refusal::invalid("region", &json!(region), "Unknown region."));
        }
        let region = region.or_else(|| zone.as_deref().map(|zone| catalog::region_of(zone).to_owned()));
        Ok(Self { project, region, zone })
    }

    /// `projects/P/zones/Z`.
    pub fn folder(&self, scope: Scope) -> String {
        let Self { project, region, zone } = self;
        let part = |place: &Option<String>| place.clone().unwrap_or_default();
        match scope {
            Scope::Global => format!("projects/{project}/global"),
            Scope::Region => format!("projects/{project}/regions/{}", part(region)),
            Scope::Zone => format!("projects/{project}/zones/{}", part(zone)),
        }
    }

    pub fn path(&self, kind: &Kind, name: &str) -> String {
        format!("{}/{}/{name}", self.folder(kind.scope), kind.collection)
    }
}

/// The path that a link means: whole, from `projects/` on, or from what stands in the project on.
pub(in crate::gcp) fn path_of(link: &str, project: &str) -> String {
    match link.split_once("/projects/") {
        Some((_, rest)) => format!("projects/{rest}"),
        None if link.starts_with("projects/") => link.to_owned(),
        None => format!("projects/{project}/{}", link.trim_start_matches('/')),
    }
}

pub(in crate::gcp) fn link(path: &str) -> String {
    format!("{LINK}{path}")
}

/// The path that a link of this module's leads to.
pub(in crate::gcp) fn unlinked(link: &str) -> &str {
    link.strip_prefix(LINK).unwrap_or(link)
}

/// The last part of a path.
pub(in crate::gcp) fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

pub(in crate::gcp) fn not_found(path: &str) -> Refusal {
    Refusal::new(404, "notFound", format!("The resource '{path}' was not found"))
}
