//! Images that machines start from: one of Microsoft's with its versions, and those of the subscription's own, in galleries or not.

use serde_json::{Value, json};

use super::ask::Refusal;
use super::kinds::Put;
use super::world::World;

pub const PUBLISHER: &str = "microsoft-dsvm";
pub const OFFER: &str = "ubuntu-hpc";
pub const SKU: &str = "2204";

pub(super) fn put(_: &World, put: &Put<'_>) -> Result<Value, Refusal> {
    Ok(json!({"properties": put.asked["properties"]}))
}

/// As `…/skus/2204/versions` lists them: a plain list, in no order.
pub(super) fn versions(world: &World, region: &str) -> Value {
    world.settings.image_versions.iter().map(|version| entry(world, region, version)).collect()
}

fn entry(world: &World, region: &str, version: &str) -> Value {
    let id = format!(
        "/Subscriptions/{}/Providers/Microsoft.Compute/Locations/{region}/Publishers/{PUBLISHER}/ArtifactTypes/VMImage/Offers/\
         {OFFER}/Skus/{SKU}/Versions/{version}",
        world.settings.subscription
    );
    json!({"location": region, "name": version, "id": id})
}

pub(super) fn version(world: &World, region: &str, version: &str) -> Result<Value, Refusal> {
    if !world.settings.image_versions.iter().any(|known| known == version) {
        let message = format!("Artifact: VMImage was not found: {PUBLISHER}:{OFFER}:{SKU}:{version} in {region}.");
        return Err(Refusal::new(404, "NotFound", message));
    }
    let mut shown = entry(world, region, version);
    shown["properties"] = json!({"hyperVGeneration": "V2", "architecture": "x64", "osDiskImage": {"operatingSystem": "Linux"},
        "features": [{"name": "IsAcceleratedNetworkSupported", "value": "True"}]});
    Ok(shown)
}

/// Whether it is Microsoft's one, which does not start as a trusted launch.
pub(super) fn is_plain(put: &Put<'_>) -> bool {
    put.property("storageProfile")["imageReference"]["publisher"].is_string()
}

/// Whether a machine can start from what it names.
pub(super) fn exists(world: &World, put: &Put<'_>) -> Result<(), Refusal> {
    let image = &put.property("storageProfile")["imageReference"];
    if let Some(id) = image["id"].as_str() {
        return world.referred(id, put.id).map(|_| ());
    }
    let text = |name: &str| image[name].as_str().unwrap_or_default();
    let is_it = text("publisher").eq_ignore_ascii_case(PUBLISHER)
        && text("offer").eq_ignore_ascii_case(OFFER)
        && text("sku") == SKU;
    let version = text("version");
    let is_there = version == "latest" || world.settings.image_versions.iter().any(|known| known == version);
    let is_shared = image["communityGalleryImageId"].is_string() || image["sharedGalleryImageId"].is_string();
    if (is_it && is_there) || is_shared || put.old.is_some() {
        return Ok(());
    }
    let message = format!(
        "The platform image '{}:{}:{}:{version}' is not available. Verify that all fields in the storage profile are \
         correct. For more details about storage profile information, please refer to https://aka.ms/storageprofile",
        text("publisher"),
        text("offer"),
        text("sku")
    );
    Err(Refusal::new(400, "PlatformImageNotFound", message))
}
