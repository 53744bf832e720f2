//! What a plan needs to know of a region: who asks, the image, which zones offer what at which price, what the account may
//! still have. All calls side by side; what can't be asked is a note, and the catalogue's figure stands.

use std::collections::BTreeMap;

use aws_sdk_ec2::types::{Filter, InstanceLifecycleType, InstanceStateName, InstanceType, LocationType};
use engine::provider::ProviderError;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use spec::amount::Usd;
use spec::machine::{Market, Offer, QuotaName};

use super::auth::{Services, identity};
use super::error::failed;
use crate::cloud::{Image, ImageWish, LiveOffer, Question, Quota, Survey};

/// AWS' own parameter of the newest image with NVIDIA's open driver: Turing and newer, all that the catalogue has.
const IMAGE_PARAMETER: &str =
    "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-22.04/latest/ami-id";
const NAME_AN_IMAGE: &str = "dsctl plan --image ami-… (an Ubuntu image with NVIDIA's driver, in that region)";
/// Spot prices older than this say little.
const SPOT_HOURS: i64 = 3;

pub async fn survey(look: &Services, question: &Question) -> Result<Survey, ProviderError> {
    let (identity, image, zones, spot, prices, quotas) = futures::join!(
        identity(look),
        image(look, question),
        zones(look, question),
        spot(look, question),
        on_demand(look, question),
        quotas(look, question),
    );
    let identity = identity?;
    let mut notes = Vec::new();
    let zones = noted(zones, "zones", &mut notes);
    let spot = noted(spot, "spot prices", &mut notes);
    let prices = noted(prices, "prices", &mut notes);
    let quotas = noted(quotas, "quotas", &mut notes);
    Ok(Survey { identity, image: image?, offers: offers(question, zones, &spot, &prices), quotas, notes })
}

fn noted<T: Default>(asked: Result<T, ProviderError>, what: &str, notes: &mut Vec<String>) -> T {
    asked.unwrap_or_else(|error| {
        notes.push(format!("{what} could not be asked, the catalogue's stand: {error}"));
        T::default()
    })
}

type Zones = BTreeMap<String, Vec<String>>;
type SpotPrices = BTreeMap<(String, String), Usd>;
type Prices = BTreeMap<String, Usd>;

/// Zones that could not be asked are the catalogue's.
fn offers(question: &Question, zones: Zones, spot: &SpotPrices, prices: &Prices) -> BTreeMap<String, LiveOffer> {
    let was_asked = !zones.is_empty();
    let live = question.offers.iter().filter_map(|offer| {
        let name = &offer.machine_type;
        let zones = match zones.get(name) {
            Some(zones) => zones.clone(),
            None if was_asked => return None,
            None => offer.zones.clone(),
        };
        let in_zone = |zone: &String| Some((zone.clone(), *spot.get(&(name.clone(), zone.clone()))?));
        let spot_hourly = zones.iter().filter_map(in_zone).collect();
        Some((name.clone(), LiveOffer { zones, on_demand_hourly: prices.get(name).copied(), spot_hourly }))
    });
    live.collect()
}

async fn image(look: &Services, question: &Question) -> Result<Option<Image>, ProviderError> {
    match &question.image {
        ImageWish::None => Ok(None),
        ImageWish::Newest => newest_image(look, question).await.map(Some),
        // AWS withdraws old images; a machine that runs goes on without.
        ImageWish::Booted(id) => {
            Ok(Some(Image { id: id.clone(), source: "pinned when the machine was made".to_owned() }))
        }
        ImageWish::Named(named) => {
            let what = format!("image {named} in {}", question.region);
            let answer = look.ec2.describe_images().image_ids(named).send().await;
            answer.map_err(|error| failed(what)(error).with_next(NAME_AN_IMAGE))?;
            let source = "as named".to_owned();
            Ok(Some(Image { id: named.clone(), source }))
        }
    }
}

async fn newest_image(look: &Services, question: &Question) -> Result<Image, ProviderError> {
    let answer = look.ssm.get_parameter().name(IMAGE_PARAMETER).send().await;
    let what = format!("the newest image in {}", question.region);
    let answer = answer.map_err(|error| failed(what)(error).with_next(NAME_AN_IMAGE))?;
    let id = answer.parameter().and_then(|parameter| parameter.value()).map(str::to_owned);
    let missing = || ProviderError::permanent(IMAGE_PARAMETER, "has no value").with_next(NAME_AN_IMAGE);
    Ok(Image { id: id.ok_or_else(missing)?, source: IMAGE_PARAMETER.to_owned() })
}

fn type_names(question: &Question) -> Vec<String> {
    question.offers.iter().map(|offer| offer.machine_type.clone()).collect()
}

async fn zones(look: &Services, question: &Question) -> Result<Zones, ProviderError> {
    let types = Filter::builder().name("instance-type").set_values(Some(type_names(question))).build();
    let call = look.ec2.describe_instance_type_offerings().location_type(LocationType::AvailabilityZone).filters(types);
    let found = call.into_paginator().items().send().collect::<Result<Vec<_>, _>>().await;
    let mut zones = Zones::new();
    for offering in found.map_err(failed("zones"))? {
        let (Some(kind), Some(zone)) = (offering.instance_type(), offering.location()) else { continue };
        // Local and wavelength zones have a further name and a network of their own.
        if zone.strip_prefix(&question.region).is_some_and(|letter| letter.len() == 1) {
            zones.entry(kind.as_str().to_owned()).or_default().push(zone.to_owned());
        }
    }
    zones.values_mut().for_each(|zones| zones.sort());
    Ok(zones)
}

/// The newest price of each type in each zone.
async fn spot(look: &Services, question: &Question) -> Result<SpotPrices, ProviderError> {
    if question.market == Market::OnDemand {
        return Ok(SpotPrices::new());
    }
    let since = Timestamp::now().checked_sub(SignedDuration::from_hours(SPOT_HOURS)).unwrap_or(Timestamp::UNIX_EPOCH);
    let types = type_names(question).into_iter().map(|name| InstanceType::from(name.as_str())).collect();
    let call = look
        .ec2
        .describe_spot_price_history()
        .set_instance_types(Some(types))
        .product_descriptions("Linux/UNIX")
        .start_time(aws_sdk_ec2::primitives::DateTime::from_secs(since.as_second()));
    let found = call.into_paginator().items().send().collect::<Result<Vec<_>, _>>().await;
    let mut found = found.map_err(failed("spot prices"))?;
    found.sort_by_key(|price| price.timestamp().copied());
    Ok(found.iter().filter_map(spot_price).collect())
}

fn spot_price(price: &aws_sdk_ec2::types::SpotPrice) -> Option<((String, String), Usd)> {
    let key = (price.instance_type()?.as_str().to_owned(), price.availability_zone()?.to_owned());
    Some((key, known(price.spot_price()?)?))
}

/// Absent and zero are unknown.
fn known(price: &str) -> Option<Usd> {
    // Prices come with up to ten places; a millionth of a dollar an hour is enough.
    let millionths = (price.parse::<f64>().ok()? * 1e6).round();
    (1.0..1e15).contains(&millionths).then(|| Usd::from_millionths(millionths as u64))
}

async fn on_demand(look: &Services, question: &Question) -> Result<Prices, ProviderError> {
    if question.market == Market::Spot {
        return Ok(Prices::new());
    }
    let names = type_names(question);
    let asked = names.iter().map(|name| price(look, &question.region, name));
    let prices = futures::future::try_join_all(asked).await?;
    Ok(names.into_iter().zip(prices).filter_map(|(name, price)| Some((name, price?))).collect())
}

async fn price(look: &Services, region: &str, machine_type: &str) -> Result<Option<Usd>, ProviderError> {
    use aws_sdk_pricing::types::{Filter, FilterType};
    let wanted = [
        ("instanceType", machine_type),
        ("regionCode", region),
        ("operatingSystem", "Linux"),
        ("tenancy", "Shared"),
        ("preInstalledSw", "NA"),
        ("capacitystatus", "Used"),
    ];
    let mut call = look.pricing.get_products().service_code("AmazonEC2").max_results(5);
    for (field, value) in wanted {
        let filter = Filter::builder().r#type(FilterType::TermMatch).field(field).value(value).build();
        call = call.filters(filter.map_err(|error| ProviderError::permanent("prices", error))?);
    }
    let answer = call.send().await.map_err(failed(format!("price of {machine_type}")))?;
    Ok(answer.price_list().iter().find_map(|product| on_demand_price(product)))
}

/// `terms.OnDemand.*.priceDimensions.*.pricePerUnit.USD` of an hourly price.
fn on_demand_price(product: &str) -> Option<Usd> {
    let product: Value = serde_json::from_str(product).ok()?;
    let terms = product.pointer("/terms/OnDemand")?.as_object()?.values();
    let dimensions = terms.filter_map(|term| term.get("priceDimensions")?.as_object()).flat_map(|all| all.values());
    let hourly = dimensions.filter(|dimension| dimension["unit"] == "Hrs");
    hourly.filter_map(|dimension| dimension.pointer("/pricePerUnit/USD")?.as_str()).find_map(known)
}

/// What each machine type takes of its limit, and what is left of it.
async fn quotas(look: &Services, question: &Question) -> Result<BTreeMap<String, Quota>, ProviderError> {
    let of = |offer: &Offer| offer.quota(question.market).cloned();
    let mut names: Vec<QuotaName> = question.offers.iter().filter_map(of).collect();
    names.sort();
    names.dedup();
    if names.is_empty() {
        return Ok(BTreeMap::new());
    }
    let limits = futures::future::join_all(names.iter().map(|name| limit(look, name)));
    let (limits, used) = futures::join!(limits, used(look, question.market));
    let used = used?;
    let limits: BTreeMap<&str, Option<f64>> = names.iter().map(|name| name.code.as_str()).zip(limits).collect();
    let quota = |offer: &Offer| {
        let name = offer.quota(question.market)?;
        let limit = limits.get(name.code.as_str()).copied().flatten();
        Some((offer.machine_type.clone(), quota(question, offer, name, limit, &used)))
    };
    Ok(question.offers.iter().filter_map(quota).collect())
}

fn quota(question: &Question, offer: &Offer, name: &QuotaName, limit: Option<f64>, used: &Used) -> Quota {
    let need = f64::from(offer.vcpus);
    let used = used.of(&offer.machine_type);
    let (code, region, wanted) = (&name.code, &question.region, used + need);
    Quota {
        code: code.clone(),
        name: name.name.clone(),
        unit: "vCPUs".to_owned(),
        need,
        limit,
        used,
        request: format!(
            "aws service-quotas request-service-quota-increase --service-code ec2 --quota-code {code} --desired-value {wanted} --region {region}"
        ),
    }
}

/// None: it could not be asked, so that the cloud itself will say.
async fn limit(look: &Services, name: &QuotaName) -> Option<f64> {
    let answer = look.quotas.get_service_quota().service_code("ec2").quota_code(&name.code).send().await;
    answer.ok()?.quota()?.value()
}

/// vCPUs that run already, by the first letters of the machine type.
#[derive(Debug, Default)]
struct Used(BTreeMap<String, f64>);

impl Used {
    fn of(&self, machine_type: &str) -> f64 {
        let class = class(machine_type);
        let of_class = self.0.iter().filter(|(name, _)| self::class(name) == class);
        // An empty sum of floats is minus zero.
        of_class.fold(0.0, |sum, (_, vcpus)| sum + vcpus)
    }
}

/// Types that count against one limit: G and VT together, P alone; spot P5 has one of its own and is counted with P, which
/// errs on the safe side.
fn class(machine_type: &str) -> &str {
    let family = machine_type.split('.').next().unwrap_or_default();
    match family.as_bytes() {
        [b'g', ..] | [b'v', b't', ..] => "g",
        [b'p', ..] => "p",
        _ => family,
    }
}

async fn used(look: &Services, market: Market) -> Result<Used, ProviderError> {
    let alive = [InstanceStateName::Pending, InstanceStateName::Running].map(|state| state.as_str().to_owned());
    let alive = Filter::builder().name("instance-state-name").set_values(Some(alive.into())).build();
    let mut pages = look.ec2.describe_instances().filters(alive).into_paginator().send();
    let mut used = Used::default();
    while let Some(page) = pages.next().await {
        let page = page.map_err(failed("machines that run already"))?;
        for instance in page.reservations().iter().flat_map(|all| all.instances()) {
            let is_spot = instance.instance_lifecycle() == Some(&InstanceLifecycleType::Spot);
            if is_spot != (market == Market::Spot) {
                continue;
            }
            let vcpus = instance.cpu_options().map_or(0, |options| {
                options.core_count().unwrap_or_default() * options.threads_per_core().unwrap_or(1)
            });
            let name = instance.instance_type().map_or("", |kind| kind.as_str());
            *used.0.entry(name.to_owned()).or_default() += f64::from(vcpus);
        }
    }
    Ok(used)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_is_read_from_its_product_and_zero_is_unknown() {
        let product = |usd: &str| {
            serde_json::json!({"terms": {"OnDemand": {"X.Y": {"priceDimensions": {"X.Y.Z":
                {"unit": "Hrs", "pricePerUnit": {"USD": usd}}}}}}})
            .to_string()
        };
        assert_eq!(on_demand_price(&product("10.4926400000")), "10.49264".parse().ok());
        assert_eq!(on_demand_price(&product("0.0000000000")), None);
        assert_eq!(on_demand_price("{}"), None);
    }

    #[test]
    fn what_runs_counts_against_its_own_limit_only() {
        let used = Used(
            [("g5.xlarge".to_owned(), 4.0), ("g6e.12xlarge".to_owned(), 48.0), ("p5.48xlarge".to_owned(), 192.0)]
                .into(),
        );
        assert!((used.of("g6.xlarge") - 52.0).abs() < 1e-9);
        assert!((used.of("p4d.24xlarge") - 192.0).abs() < 1e-9);
        assert!(used.of("m7i.large").abs() < 1e-9);
    }
}
