//! The image that a machine boots from: the newest of a list, or that which is named; always with its version.

use engine::provider::ProviderError;
use serde_json::{Value, json};

use crate::azure::arm::Arm;
use crate::azure::id::COMPUTE_VERSION;
use crate::azure::network::{list, text};
use crate::cloud::{Image, ImageWish};

/// Microsoft's own images with NVIDIA's driver and CUDA, in the order in which they are looked for.
const NEWEST: [Urn<'static>; 2] = [
    Urn { publisher: "microsoft-dsvm", offer: "ubuntu-hpc", sku: "2204" },
    Urn { publisher: "microsoft-dsvm", offer: "ubuntu-hpc", sku: "2404" },
];
const LATEST: &str = "latest";
/// Of galleries and their images.
const GALLERY_VERSION: &str = "2025-03-03";
pub const NAME_AN_IMAGE: &str = "dsctl plan --image PUBLISHER:OFFER:SKU:VERSION (an Ubuntu image with NVIDIA's driver)";

/// A line of images of the marketplace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Urn<'a> {
    publisher: &'a str,
    offer: &'a str,
    sku: &'a str,
}

/// What an image's name means to Azure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name<'a> {
    Marketplace(Urn<'a>, &'a str),
    /// Of Resource Manager.
    Own(&'a str),
    Community(&'a str),
    Shared(&'a str),
}

/// Where images are looked for.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    pub arm: &'a Arm,
    pub subscription: &'a str,
    pub region: &'a str,
}

pub async fn ask(place: Place<'_>, wish: &ImageWish) -> Result<Option<Image>, ProviderError> {
    match wish {
        ImageWish::None => Ok(None),
        ImageWish::Newest => place.newest().await.map(Some),
        // Microsoft withdraws old images; a machine that runs goes on without.
        ImageWish::Booted(id) => {
            Ok(Some(Image { id: id.clone(), source: "pinned when the machine was made".to_owned() }))
        }
        ImageWish::Named(named) => place.named(named).await.map(Some),
    }
}

/// As the call that makes a machine takes it.
pub fn reference(image: &str) -> Result<Value, ProviderError> {
    Ok(match Name::parse(image)? {
        Name::Marketplace(urn, version) => {
            json!({ "publisher": urn.publisher, "offer": urn.offer, "sku": urn.sku, "version": version })
        }
        Name::Own(id) => json!({ "id": id }),
        Name::Community(id) => json!({ "communityGalleryImageId": id }),
        Name::Shared(id) => json!({ "sharedGalleryImageId": id }),
    })
}

/// The name of what a machine was made from; none if Azure does not say.
pub fn name_of(reference: &Value) -> Option<String> {
    let id = ["/id", "/communityGalleryImageId", "/sharedGalleryImageId"];
    if let Some(id) = id.iter().map(|pointer| text(reference, pointer)).find(|id| !id.is_empty()) {
        return Some(id.to_owned());
    }
    let parts = ["/publisher", "/offer", "/sku", "/version"].map(|pointer| text(reference, pointer));
    parts.iter().all(|part| !part.is_empty()).then(|| parts.join(":"))
}

impl<'a> Name<'a> {
    fn parse(image: &'a str) -> Result<Self, ProviderError> {
        let begins = |prefix: &str| image.get(..prefix.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(prefix));
        let parts: Vec<&str> = image.split(':').collect();
        match parts.as_slice() {
            _ if begins("/subscriptions/") => Ok(Self::Own(image)),
            _ if begins("/CommunityGalleries/") => Ok(Self::Community(image)),
            _ if begins("/SharedGalleries/") => Ok(Self::Shared(image)),
            [publisher, offer, sku, version] if parts.iter().all(|part| !part.is_empty()) => {
                Ok(Self::Marketplace(Urn { publisher, offer, sku }, version))
            }
            _ => {
                let message = "it is no PUBLISHER:OFFER:SKU:VERSION and no image's id";
                Err(ProviderError::permanent(format!("image {image}"), message).with_next(NAME_AN_IMAGE))
            }
        }
    }
}

impl Place<'_> {
    async fn newest(&self) -> Result<Image, ProviderError> {
        for urn in NEWEST {
            if let Some(version) = self.newest_of(urn).await? {
                return Ok(image(urn, &version, "the newest of Microsoft's with NVIDIA's driver"));
            }
        }
        Err(self.missing("an image with NVIDIA's driver"))
    }

    async fn named(&self, named: &str) -> Result<Image, ProviderError> {
        let as_named = || Image { id: named.to_owned(), source: "as named".to_owned() };
        match Name::parse(named)? {
            Name::Marketplace(urn, LATEST) => {
                let version = self.newest_of(urn).await?.ok_or_else(|| self.missing(named))?;
                self.check_version(urn, &version, named).await?;
                Ok(image(urn, &version, "the newest of what was named"))
            }
            Name::Marketplace(urn, version) => self.check_version(urn, version, named).await.map(|()| as_named()),
            Name::Own(id) => self.check_own(id).await.map(|()| as_named()),
            Name::Community(_) | Name::Shared(_) => Ok(as_named()),
        }
    }

    async fn check_version(&self, urn: Urn<'_>, version: &str, named: &str) -> Result<(), ProviderError> {
        let path = format!("{}/{version}", self.versions(urn));
        let seen = self.arm.look_at(&path, COMPUTE_VERSION, &[]).await?.ok_or_else(|| self.missing(named))?;
        check_demands(named, &seen)
    }

    /// What an image of a gallery demands, its definition says.
    async fn check_own(&self, id: &str) -> Result<(), ProviderError> {
        let plain = id.to_ascii_lowercase();
        let is_in_gallery = plain.contains("/galleries/");
        let version = if is_in_gallery { GALLERY_VERSION } else { COMPUTE_VERSION };
        let seen = self.arm.look_at(id, version, &[]).await?.ok_or_else(|| self.missing(id))?;
        match plain.find("/versions/").filter(|_| is_in_gallery).and_then(|end| id.get(..end)) {
            Some(definition) => {
                let seen = self.arm.look_at(definition, version, &[]).await?.ok_or_else(|| self.missing(id))?;
                check_demands(id, &seen)
            }
            None => check_demands(id, &seen),
        }
    }

    /// The highest version; Azure's list is a plain one.
    async fn newest_of(&self, urn: Urn<'_>) -> Result<Option<String>, ProviderError> {
        let found = self.arm.look_at(&self.versions(urn), COMPUTE_VERSION, &[]).await?.unwrap_or_default();
        let all = found.as_array().into_iter().flatten().map(|version| text(version, "/name").to_owned());
        Ok(all.filter(|name| !name.is_empty()).max_by_key(|name| numbers(name)))
    }

    fn versions(&self, Urn { publisher, offer, sku }: Urn<'_>) -> String {
        let Self { subscription, region, .. } = self;
        format!(
            "/subscriptions/{subscription}/providers/Microsoft.Compute/locations/{region}/publishers/{publisher}/artifacttypes/vmimage/offers/{offer}/skus/{sku}/versions"
        )
    }

    fn missing(&self, what: &str) -> ProviderError {
        let message = format!("there is none in {}", self.region);
        ProviderError::permanent(format!("image {what}"), message).with_next(NAME_AN_IMAGE)
    }
}

/// Nobody here may accept terms that cost money, and our machines start with secure boot off, which NVIDIA's driver needs.
fn check_demands(named: &str, seen: &Value) -> Result<(), ProviderError> {
    let plan = ["/properties/plan/name", "/properties/purchasePlan/name"].map(|pointer| text(seen, pointer));
    let features = list(seen, "/properties/features").iter();
    let security = features.filter(|it| text(it, "/name") == "SecurityType").map(|it| text(it, "/value"));
    let demanded = security.into_iter().find(|value| ["TrustedLaunch", "ConfidentialVM"].contains(value));
    let message = match (plan.into_iter().find(|name| !name.is_empty()), demanded) {
        (Some(plan), _) => format!("it is sold by a plan ({plan}), whose terms dsctl does not accept for you"),
        (None, Some(demanded)) => format!("it starts as {demanded} only, and dsctl's machines start without"),
        (None, None) => return Ok(()),
    };
    Err(ProviderError::permanent(format!("image {named}"), message).with_next(NAME_AN_IMAGE))
}

fn image(Urn { publisher, offer, sku }: Urn<'_>, version: &str, source: &str) -> Image {
    Image { id: format!("{publisher}:{offer}:{sku}:{version}"), source: source.to_owned() }
}

/// `22.04.2026072801` is later than `22.04.999`.
fn numbers(version: &str) -> Vec<u64> {
    version.split('.').map(|part| part.parse().unwrap_or_default()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_goes_to_azure_and_comes_back() {
        for name in [
            "microsoft-dsvm:ubuntu-hpc:2204:22.04.2026072801",
            "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/images/mine",
            "/CommunityGalleries/x/Images/y/Versions/1.0.0",
            "/SharedGalleries/x/Images/y/Versions/1.0.0",
        ] {
            assert_eq!(name_of(&reference(name).unwrap()).as_deref(), Some(name));
        }
        let shown = json!({"publisher": "p", "offer": "o", "sku": "s", "version": "1", "exactVersion": "1"});
        assert_eq!(name_of(&shown).as_deref(), Some("p:o:s:1"));
        assert_eq!(name_of(&json!({})), None);
    }

    #[test]
    fn what_is_no_image_is_refused_with_the_shape_of_one() {
        for name in ["ami-1", "a:b:c", "a:b::d", ""] {
            assert!(reference(name).unwrap_err().next().unwrap().contains("PUBLISHER:OFFER:SKU:VERSION"), "{name}");
        }
    }

    #[test]
    fn what_demands_a_plan_or_secure_boot_is_refused_and_what_only_can_is_not() {
        let refused = |seen: Value| check_demands("x", &seen).map_err(|error| (error.message.clone(), error));
        let security = |value: &str| json!({"properties": {"features": [{"name": "SecurityType", "value": value}]}});
        assert!(refused(json!({"properties": {"plan": null, "features": []}})).is_ok());
        for able in ["TrustedLaunchSupported", "TrustedLaunchAndConfidentialVmSupported", "Standard"] {
            assert!(refused(security(able)).is_ok(), "{able}");
        }
        for demanded in ["TrustedLaunch", "ConfidentialVM"] {
            let (message, error) = refused(security(demanded)).unwrap_err();
            assert!(message.contains(demanded) && error.next().unwrap().contains("--image"), "{message}");
        }
        for plan in ["plan", "purchasePlan"] {
            let (message, _) = refused(json!({"properties": {plan: {"name": "gold"}}})).unwrap_err();
            assert!(message.contains("(gold)"), "{message}");
        }
    }

    #[test]
    fn versions_are_numbers_and_no_words() {
        let newest = ["22.04.999", "22.04.2026072801", "22.04.2025120101"].into_iter().max_by_key(|name| numbers(name));
        assert_eq!(newest, Some("22.04.2026072801"));
    }
}
