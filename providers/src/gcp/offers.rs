//! What a plan needs to know of a region: the image, which zones offer what, what the project may still have. All calls side
//! by side; what can't be asked is a note, and the catalogue's figure stands. Prices are the catalogue's: Google tells them by
//! parts (cores, memory, cards), not by machine types.

use std::collections::{BTreeMap, BTreeSet};

use engine::provider::{ErrorKind, ProviderError};
use google_cloud_compute_v1::model::{Image as Described, Quota as Told, zone};
use spec::machine::{Offer, QuotaName};

use super::auth::Services;
use super::clients::{all, everywhere};
use super::error::{failed, quota_id, quota_request, seen};
use super::names::{last, relative};
use crate::cloud::{Identity, Image, ImageWish, LiveOffer, Question, Quota, Survey};

/// Whose images have NVIDIA's driver in them.
const IMAGE_PROJECT: &str = "deeplearning-platform-release";
/// Google gives them new names and lets old ones go: the first that is there.
const IMAGE_FAMILIES: [&str; 4] = [
    "common-cu129-ubuntu-2404-nvidia-580",
    "common-cu129-ubuntu-2204-nvidia-580",
    "common-cu128-ubuntu-2204-nvidia-570",
    "pytorch-2-9-cu129-ubuntu-2204-nvidia-580",
];
const NAME_AN_IMAGE: &str =
    "dsctl plan --image projects/PROJECT/global/images/NAME (an Ubuntu image with NVIDIA's driver)";
const NAME_A_PROJECT: &str = "gcloud projects list, then gcloud config set project PROJECT";
/// What the project may have of all cards together, wherever they are.
const ALL_GPUS: &str = "GPUS_ALL_REGIONS";

pub async fn survey(services: &Services, identity: Identity, question: &Question) -> Result<Survey, ProviderError> {
    let (image, zones, limits) =
        futures::join!(image(services, question), zones(services, question), limits(services, &question.region));
    if let (Err(_), Err(error)) = (&zones, &limits)
        && let Some(hidden) = hidden(&services.project, error)
    {
        return Err(hidden);
    }
    let mut notes = Vec::new();
    let zones = noted(zones, "zones", &mut notes);
    let limits = noted(limits, "quotas", &mut notes);
    let quotas = quotas(question, &limits, &identity.account);
    Ok(Survey { identity, image: image?, offers: offers(question, zones), quotas, notes })
}

/// Who sees neither zones nor quotas of a project may make nothing in it, or there is none of that name: the plan that stands
/// on the catalogue alone would only fail at its first call.
fn hidden(project: &str, error: &ProviderError) -> Option<ProviderError> {
    let next = match error.kind {
        ErrorKind::Credentials => error.next().unwrap_or(NAME_A_PROJECT),
        // What else would be said to show late.
        ErrorKind::NotYet => NAME_A_PROJECT,
        _ => return None,
    };
    let hidden = ProviderError::new(ErrorKind::Credentials, format!("project {project}"), &error.message);
    Some(hidden.with_next(next))
}

fn noted<T: Default>(asked: Result<T, ProviderError>, what: &str, notes: &mut Vec<String>) -> T {
    asked.unwrap_or_else(|error| {
        notes.push(format!("{what} could not be asked, the catalogue's stand: {error}"));
        T::default()
    })
}

/// By machine type.
type Zones = BTreeMap<String, Vec<String>>;

/// Zones that could not be asked are the catalogue's.
fn offers(question: &Question, zones: Zones) -> BTreeMap<String, LiveOffer> {
    let was_asked = !zones.is_empty();
    let live = question.offers.iter().filter_map(|offer| {
        let zones = match zones.get(&offer.machine_type) {
            Some(zones) => zones.clone(),
            None if was_asked => return None,
            None => offer.zones.clone(),
        };
        Some((offer.machine_type.clone(), LiveOffer { zones, ..LiveOffer::default() }))
    });
    live.collect()
}

async fn image(services: &Services, question: &Question) -> Result<Option<Image>, ProviderError> {
    match &question.image {
        ImageWish::None => Ok(None),
        ImageWish::Newest => newest_image(services).await.map(Some),
        // Google withdraws old images; a machine that runs goes on without.
        ImageWish::Booted(id) => {
            Ok(Some(Image { id: id.clone(), source: "pinned when the machine was made".to_owned() }))
        }
        ImageWish::Named(named) => named_image(services, named).await.map(Some),
    }
}

async fn newest_image(services: &Services) -> Result<Image, ProviderError> {
    for family in IMAGE_FAMILIES {
        if let Some(image) = of_family(services, IMAGE_PROJECT, family).await? {
            return Ok(image);
        }
    }
    let tried = IMAGE_FAMILIES.join(", ");
    let error = ProviderError::permanent("image", format!("{IMAGE_PROJECT} has none of the families {tried} any more"));
    Err(error.with_next(NAME_AN_IMAGE))
}

async fn of_family(services: &Services, project: &str, family: &str) -> Result<Option<Image>, ProviderError> {
    let call = services.compute.images.get_from_family().set_project(project).set_family(family);
    let found = seen(format!("image family {family}"), call.send().await)?;
    Ok(found.map(|image| Image { id: id(&image, project), source: format!("family {family} of {project}") }))
}

/// Where it lies, as a machine is told: never a family, which would be another image tomorrow.
fn id(image: &Described, project: &str) -> String {
    let named = || format!("projects/{project}/global/images/{}", image.name.as_deref().unwrap_or_default());
    image.self_link.as_deref().map_or_else(named, |link| relative(link).to_owned())
}

async fn named_image(services: &Services, named: &str) -> Result<Image, ProviderError> {
    let missing = || {
        ProviderError::new(ErrorKind::Refused, format!("image {named}"), "there is no such image")
            .with_next(NAME_AN_IMAGE)
    };
    let (project, name) = match relative(named).split('/').collect::<Vec<_>>()[..] {
        ["projects", project, "global", "images", "family", family] => {
            return of_family(services, project, family).await?.ok_or_else(missing);
        }
        ["projects", project, "global", "images", name] => (project, name),
        _ => (services.project.as_str(), named),
    };
    let call = services.compute.images.get().set_project(project).set_image(name);
    let found = seen(format!("image {named}"), call.send().await)?;
    let image = found.ok_or_else(missing)?;
    Ok(Image { id: id(&image, project), source: "as named".to_owned() })
}

/// Zones of the region that are up, by the machine types that they offer.
async fn zones(services: &Services, question: &Question) -> Result<Zones, ProviderError> {
    let compute = &services.compute;
    let types = compute.machine_types.aggregated_list().set_project(&services.project);
    let types = types.set_filter(by_name(&question.offers));
    let (up, types) =
        futures::join!(all!(compute.zones.list().set_project(&services.project)), everywhere!(types, machine_types),);
    let is_here = |zone: &google_cloud_compute_v1::model::Zone| {
        zone.region.as_deref().map(last) == Some(question.region.as_str()) && zone.status == Some(zone::Status::Up)
    };
    let up = up.map_err(failed("zones"))?;
    let up: BTreeSet<String> = up.into_iter().filter(is_here).filter_map(|zone| zone.name).collect();
    let mut zones = Zones::new();
    for found in types.map_err(failed("machine types"))? {
        let (Some(name), Some(zone)) = (found.name, found.zone) else { continue };
        if up.contains(last(&zone)) {
            zones.entry(name).or_default().push(last(&zone).to_owned());
        }
    }
    zones.values_mut().for_each(|zones| zones.sort());
    Ok(zones)
}

/// A filter of these machine types.
fn by_name(offers: &[Offer]) -> String {
    let names: BTreeSet<&str> = offers.iter().map(|offer| offer.machine_type.as_str()).collect();
    names.into_iter().map(|name| format!("(name = \"{name}\")")).collect::<Vec<_>>().join(" OR ")
}

/// Limit and use, by the metric's name.
#[derive(Debug, Default)]
struct Limits {
    regional: BTreeMap<String, (f64, f64)>,
    global: BTreeMap<String, (f64, f64)>,
}

async fn limits(services: &Services, region: &str) -> Result<Limits, ProviderError> {
    let project = services.compute.projects.get().set_project(&services.project);
    let of_region = services.compute.regions.get().set_project(&services.project).set_region(region);
    let (project, of_region) = futures::join!(project.send(), of_region.send());
    let project = project.map_err(failed(format!("quotas of {}", services.project)))?;
    let of_region = of_region.map_err(failed(format!("quotas in {region}")))?;
    Ok(Limits { regional: by_metric(&of_region.quotas), global: by_metric(&project.quotas) })
}

fn by_metric(quotas: &[Told]) -> BTreeMap<String, (f64, f64)> {
    let told = |quota: &Told| Some((quota.metric.as_ref()?.name()?.to_owned(), (quota.limit?, quota.usage?)));
    quotas.iter().filter_map(told).collect()
}

/// What each machine type takes of its limit, and what is left of it.
fn quotas(question: &Question, limits: &Limits, project: &str) -> BTreeMap<String, Quota> {
    let quota = |offer: &Offer| Some((offer.machine_type.clone(), tightest(question, offer, limits, project)?));
    question.offers.iter().filter_map(quota).collect()
}

/// A card counts against the region's limit of its kind and against the project's of all kinds: the one with less room is
/// told. None where Google names neither.
fn tightest(question: &Question, offer: &Offer, limits: &Limits, project: &str) -> Option<Quota> {
    offer.gpu.as_ref()?;
    let regional = offer.quota(question.market).map(|name| {
        let found = limits.regional.get(&name.code).copied();
        quota(offer, name, found, Some(&question.region), project)
    });
    let name = QuotaName { code: ALL_GPUS.to_owned(), name: "GPUs (all regions)".to_owned() };
    let global = limits.global.get(ALL_GPUS).map(|found| quota(offer, &name, Some(*found), None, project));
    let room = |quota: &Quota| quota.limit.map_or(f64::INFINITY, |limit| limit - quota.used);
    match (regional, global) {
        (Some(regional), Some(global)) if room(&global) < room(&regional) => Some(global),
        (Some(regional), _) => Some(regional),
        (None, global) => global,
    }
}

fn quota(offer: &Offer, name: &QuotaName, found: Option<(f64, f64)>, region: Option<&str>, project: &str) -> Quota {
    let need = f64::from(offer.gpu_count);
    let used = found.map_or(0.0, |(_, used)| used);
    let dimensions = region.map(|region| ("region".to_owned(), region.to_owned())).into_iter().collect();
    let request = quota_request(&quota_id(&name.code, region.is_some()), &dimensions, Some(used + need));
    Quota {
        code: name.code.clone(),
        name: name.name.clone(),
        unit: "GPUs".to_owned(),
        need,
        limit: found.map(|(limit, _)| limit),
        used,
        request: format!("{request} --project={project}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use spec::deployment::Cloud;
    use spec::machine::{Gpu, Market};

    use super::*;

    fn offer(machine_type: &str, gpu_count: u32) -> Offer {
        let name = |code: &str| Some(QuotaName { code: code.to_owned(), name: code.to_owned() });
        Offer {
            cloud: Cloud::Gcp,
            machine_type: machine_type.to_owned(),
            region: "europe-west4".to_owned(),
            zones: vec!["europe-west4-a".to_owned()],
            vcpus: 24,
            memory_mib: 1 << 16,
            gpu: Some(Gpu { name: "L4".to_owned(), memory_mib: 23_034 }),
            gpu_count,
            on_demand_hourly: None,
            spot_hourly: None,
            price_as_of: None,
            price_source: String::new(),
            on_demand_quota: name("NVIDIA_L4_GPUS"),
            spot_quota: name("PREEMPTIBLE_NVIDIA_L4_GPUS"),
        }
    }

    fn question(market: Market) -> Question {
        let offers = vec![offer("g2-standard-24", 2), offer("g2-standard-48", 4)];
        Question { region: "europe-west4".to_owned(), offers, market, image: ImageWish::None }
    }

    fn limits() -> Limits {
        let regional = json!([{"metric": "NVIDIA_L4_GPUS", "limit": 8.0, "usage": 2.0},
            {"metric": "PREEMPTIBLE_NVIDIA_L4_GPUS", "limit": 1.0, "usage": 0.0}, {"metric": "NEW_ONE", "limit": 1.0}]);
        let global = json!([{"metric": "GPUS_ALL_REGIONS", "limit": 4.0, "usage": 3.0}]);
        let told = |quotas| by_metric(&serde_json::from_value::<Vec<Told>>(quotas).unwrap());
        Limits { regional: told(regional), global: told(global) }
    }

    #[test]
    fn the_limit_with_less_room_is_told() {
        let found = quotas(&question(Market::OnDemand), &limits(), "p");
        let quota = &found["g2-standard-24"];
        assert_eq!((quota.code.as_str(), quota.need, quota.limit, quota.used), (ALL_GPUS, 2.0, Some(4.0), 3.0));
        assert!(!quota.has_room());
        assert!(quota.request.contains("--quota-id=GPUS-ALL-REGIONS-per-project --preferred-value=5 --project=p"));
        let wide = Limits { global: BTreeMap::new(), ..limits() };
        let regional = &quotas(&question(Market::OnDemand), &wide, "p")["g2-standard-48"];
        assert_eq!((regional.code.as_str(), regional.has_room()), ("NVIDIA_L4_GPUS", true));
        assert!(
            regional.request.contains("--dimensions=region=europe-west4 --preferred-value=6"),
            "{}",
            regional.request
        );
        let spot = &quotas(&question(Market::Spot), &wide, "p")["g2-standard-24"];
        assert_eq!((spot.code.as_str(), spot.has_room()), ("PREEMPTIBLE_NVIDIA_L4_GPUS", false));
    }

    #[test]
    fn what_can_not_be_asked_counts_as_room() {
        let found = quotas(&question(Market::OnDemand), &Limits::default(), "p");
        assert!(found["g2-standard-24"].has_room() && found["g2-standard-24"].limit.is_none());
        let unnamed = Question {
            offers: vec![Offer { on_demand_quota: None, ..offer("g4-standard-48", 1) }],
            ..question(Market::OnDemand)
        };
        assert!(quotas(&unnamed, &Limits::default(), "p").is_empty());
        assert_eq!(quotas(&unnamed, &limits(), "p")["g4-standard-48"].code, ALL_GPUS);
    }

    #[test]
    fn a_project_that_is_not_there_or_not_ours_is_no_lack_of_quotas() {
        let of = |kind, next: Option<&str>| {
            let error = ProviderError::new(kind, "quotas of p", "The resource 'projects/p' was not found");
            hidden("p", &next.iter().fold(error, |error, next| error.with_next(next)))
        };
        let absent = of(ErrorKind::NotYet, None).unwrap();
        assert_eq!((absent.kind, absent.what.as_str()), (ErrorKind::Credentials, "project p"));
        assert!(absent.next().unwrap().contains("gcloud config set project"));
        let off = of(ErrorKind::Credentials, Some("gcloud services enable compute.googleapis.com")).unwrap();
        assert_eq!(off.next(), Some("gcloud services enable compute.googleapis.com"));
        assert!(of(ErrorKind::Ambiguous, None).is_none(), "who can't be reached may answer the next time");
    }

    #[test]
    fn a_type_that_no_zone_offers_is_not_on_offer_and_without_an_answer_the_catalogues_zones_stand() {
        let zones = Zones::from([("g2-standard-24".to_owned(), vec!["europe-west4-b".to_owned()])]);
        let live = offers(&question(Market::OnDemand), zones);
        assert_eq!(live.keys().collect::<Vec<_>>(), ["g2-standard-24"]);
        assert_eq!(live["g2-standard-24"].zones, ["europe-west4-b"]);
        let live = offers(&question(Market::OnDemand), Zones::new());
        assert_eq!(live["g2-standard-48"].zones, ["europe-west4-a"]);
    }

    #[test]
    fn an_image_is_pinned_where_it_lies() {
        let image = Described::new().set_name("i-v1");
        assert_eq!(id(&image, "q"), "projects/q/global/images/i-v1");
        let link = "https://www.googleapis.com/compute/v1/projects/q/global/images/i-v1";
        assert_eq!(id(&image.set_self_link(link), "p"), "projects/q/global/images/i-v1");
        assert_eq!(
            by_name(&question(Market::Spot).offers),
            "(name = \"g2-standard-24\") OR (name = \"g2-standard-48\")"
        );
    }
}
