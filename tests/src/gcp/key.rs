//! Keys of Cloud KMS, as far as those feel them who encrypt by one: whether it lies near enough, and whether their service
//! may use it. The keys themselves are nobody's here.

use super::call::Refusal;
use super::contract;
use super::world::World;

const NAME: &str =
    "projects/[-a-z0-9.:]+/locations/([-a-z0-9]+)/keyRings/[-_a-zA-Z0-9]{1,63}/cryptoKeys/[-_a-zA-Z0-9]{1,63}";
/// Of every key.
const VERSION: &str = "cryptoKeyVersions/1";

/// By a disk; gives the version that it takes.
pub(super) fn of_disk(world: &World, key: &str, region: &str) -> Result<String, Refusal> {
    let refused = |reason: &str, why: &str| {
        let message = format!("Cloud KMS error when using key {key}: {why}");
        Err(Refusal::new(400, reason, message))
    };
    match location(key) {
        None => refused("invalid", "it is no name of a key."),
        Some(place) if place != region && place != "global" => {
            refused("invalid", &format!("the key must be in the region {region} or global."))
        }
        Some(_) if world.settings.locked_out.contains("compute") => {
            let permission = "Permission 'cloudkms.cryptoKeyVersions.useToEncrypt' denied on resource";
            refused("kmsPermissionDenied", &format!("{permission} '{key}' (or it may not exist)."))
        }
        Some(_) => Ok(version(key)),
    }
}

/// By a bucket; `place` is as buckets write it.
pub(super) fn of_bucket(world: &World, key: &str, place: &str) -> Result<(), Refusal> {
    match location(key) {
        None => Err(Refusal::new(400, "invalid", format!("Invalid Cloud KMS key name: '{key}'."))),
        Some(found) if !found.eq_ignore_ascii_case(place) => {
            let message = format!("Cloud KMS key in location '{found}' cannot be used for a bucket in '{place}'.");
            Err(Refusal::new(400, "invalid", message))
        }
        Some(_) if world.settings.locked_out.contains("storage") => {
            let message = "Permission denied on Cloud KMS key. Please ensure that your Cloud Storage service account has \
                           been authorized to use this key.";
            Err(Refusal::new(403, "forbidden", message))
        }
        Some(_) => Ok(()),
    }
}

/// The one that something is encrypted by.
pub(super) fn version(key: &str) -> String {
    format!("{key}/{VERSION}")
}

fn location(key: &str) -> Option<&str> {
    let is_key = contract::fits(NAME, key).unwrap_or(false);
    key.split('/').nth(3).filter(|_| is_key)
}
