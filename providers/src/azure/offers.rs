//! What a plan needs to know of a region: who asks, the image, which zones offer what at which price, what the subscription
//! may still have. All calls side by side; what can't be asked is a note, and the catalogue's figure stands.

use std::collections::BTreeMap;

use engine::provider::ProviderError;
use serde_json::Value;
use spec::amount::Usd;
use spec::machine::{Market, Offer};

use super::auth::Session;
use super::error::quota_command;
use super::id::COMPUTE_VERSION;
use super::network::text;
use crate::cloud::{ImageWish, LiveOffer, Question, Quota, Survey};
use image::Place;
use prices::{Price, Prices};
use sizes::{Size, Sizes};

pub mod image;
pub mod prices;
pub mod sizes;

/// Limits that count all families together.
const ALL_CORES: &str = "cores";
const SPOT_CORES: &str = "lowPriorityCores";
/// Types with a driver of their own.
const NEEDS_GRID: &str = "Standard_NV";

pub async fn survey(session: &Session, question: &Question) -> Result<Survey, ProviderError> {
    let (question, without_driver) = by_driver(question)?;
    let question = &question;
    let (subscription, region) = (session.subscription()?, question.region.as_str());
    let place = Place { arm: &session.arm, subscription, region };
    let types: Vec<String> = question.offers.iter().map(|offer| offer.machine_type.clone()).collect();
    let (identity, image, sizes, prices, usages) = futures::join!(
        session.identity(),
        image::ask(place, &question.image),
        Sizes::ask(&session.arm, subscription, region),
        asked_prices(session, region, &types),
        usages(place),
    );
    let identity = identity?;
    let mut notes = Vec::new();
    let sizes = noted(sizes, "zones", &mut notes);
    let prices = noted(prices, "prices", &mut notes);
    let usages = noted(usages, "quotas", &mut notes);
    notes.extend(without_driver);
    let quotas = Limits { subscription, question, sizes: &sizes, usages: &usages }.quotas();
    Ok(Survey { identity, image: image?, offers: offers(question, &sizes, &prices), quotas, notes })
}

fn noted<T: Default>(asked: Result<T, ProviderError>, what: &str, notes: &mut Vec<String>) -> T {
    asked.unwrap_or_else(|error| {
        notes.push(format!("{what} could not be asked, the catalogue's stand: {error}"));
        T::default()
    })
}

async fn asked_prices(session: &Session, region: &str, types: &[String]) -> Result<Prices, ProviderError> {
    if types.is_empty() {
        return Ok(Prices::new());
    }
    prices::ask(&session.http, &session.prices, region, types).await
}

/// What can be asked about, and what is left out of it: a machine whose driver the image has not would never serve.
fn by_driver(question: &Question) -> Result<(Question, Option<String>), ProviderError> {
    let needs_grid = |offer: &Offer| question.image == ImageWish::Newest && offer.machine_type.starts_with(NEEDS_GRID);
    let (left_out, offers): (Vec<Offer>, Vec<Offer>) = question.offers.iter().cloned().partition(needs_grid);
    if left_out.is_empty() {
        return Ok((question.clone(), None));
    }
    let names = left_out.iter().map(|offer| offer.machine_type.as_str()).collect::<Vec<_>>().join(", ");
    let why = "NVIDIA's GRID driver is needed there, which Microsoft's image does not have";
    if offers.is_empty() {
        return Err(ProviderError::permanent(names, why).with_next(image::NAME_AN_IMAGE));
    }
    let note = format!("not tried: {names}: {why}; --image names one that has it");
    Ok((Question { offers, ..question.clone() }, Some(note)))
}

/// Zones that could not be asked are the catalogue's.
fn offers(question: &Question, sizes: &Sizes, prices: &Prices) -> BTreeMap<String, LiveOffer> {
    let live = question.offers.iter().filter_map(|offer| {
        let name = &offer.machine_type;
        let price = prices.get(name).copied().unwrap_or_default();
        let zones = match sizes.get(name) {
            _ if sizes.is_empty() => offer.zones.clone(),
            Some(size) if size.withheld.is_none() => full_names(size, &question.region),
            _ => return None,
        };
        let spot_hourly = spot(price, question);
        let on_demand_hourly = price.on_demand.filter(|_| question.market == Market::OnDemand);
        Some((name.clone(), LiveOffer { zones, on_demand_hourly, spot_hourly }))
    });
    live.collect()
}

/// One price in all zones.
fn spot(price: Price, question: &Question) -> BTreeMap<String, Usd> {
    let spot = price.spot.filter(|_| question.market == Market::Spot);
    spot.map(|spot| (question.region.clone(), spot)).into_iter().collect()
}

fn full_names(size: &Size, region: &str) -> Vec<String> {
    size.zones.iter().map(|zone| format!("{region}-{zone}")).collect()
}

/// A limit of the region: how much there may be, and is.
#[derive(Debug, Clone, PartialEq)]
struct Usage {
    code: String,
    name: String,
    limit: f64,
    used: f64,
}

async fn usages(place: Place<'_>) -> Result<Vec<Usage>, ProviderError> {
    let Place { arm, subscription, region } = place;
    let path = format!("/subscriptions/{subscription}/providers/Microsoft.Compute/locations/{region}/usages");
    let all = arm.list(&path, COMPUTE_VERSION, &[]).await?;
    Ok(all.iter().filter_map(usage).collect())
}

fn usage(seen: &Value) -> Option<Usage> {
    let code = text(seen, "/name/value").trim().to_owned();
    let name = text(seen, "/name/localizedValue").trim().to_owned();
    Some(Usage { code, name, limit: seen.get("limit")?.as_f64()?, used: seen.get("currentValue")?.as_f64()? })
}

/// Azure's names of one family differ from list to list, by spaces and by case.
fn plain(name: &str) -> String {
    name.replace(' ', "").to_ascii_lowercase()
}

/// What the quotas of machine types are found by.
struct Limits<'a> {
    subscription: &'a str,
    question: &'a Question,
    sizes: &'a Sizes,
    usages: &'a [Usage],
}

impl Limits<'_> {
    fn quotas(&self) -> BTreeMap<String, Quota> {
        let quota = |offer: &Offer| Some((offer.machine_type.clone(), self.quota(offer)?));
        self.question.offers.iter().filter_map(quota).collect()
    }

    /// The tightest of those that count: of its family and of all; for spot, of all spot machines.
    fn quota(&self, offer: &Offer) -> Option<Quota> {
        if let Some(withheld) = self.withheld(offer) {
            return Some(withheld);
        }
        let recorded = offer.quota(self.question.market).map(|name| name.code.as_str());
        let family = self.sizes.get(&offer.machine_type).map(|size| size.family.as_str()).or(recorded);
        let codes = match self.question.market {
            Market::OnDemand => vec![family?, ALL_CORES],
            Market::Spot => vec![SPOT_CORES],
        };
        let found = codes.iter().filter_map(|code| self.usages.iter().find(|it| plain(&it.code) == plain(code)));
        let left = |usage: &Usage| usage.limit - usage.used;
        let tightest = found.min_by(|one, other| left(one).total_cmp(&left(other)))?;
        Some(self.counted(offer, tightest))
    }

    fn counted(&self, offer: &Offer, usage: &Usage) -> Quota {
        let need = f64::from(offer.vcpus);
        Quota {
            code: usage.code.clone(),
            name: usage.name.clone(),
            unit: "vCPUs".to_owned(),
            need,
            limit: Some(usage.limit),
            used: usage.used,
            request: quota_command(self.subscription, &self.question.region, &usage.code, usage.used + need),
        }
    }

    /// Azure may not offer a machine type to a subscription at all, whatever the limit of its family: as good as none of it.
    fn withheld(&self, offer: &Offer) -> Option<Quota> {
        if self.sizes.is_empty() {
            return None;
        }
        let (name, region) = (&offer.machine_type, &self.question.region);
        let code = match self.sizes.get(name) {
            Some(size) => size.withheld.clone()?,
            None => "NotOffered".to_owned(),
        };
        Some(Quota {
            code,
            name: format!("{name} in {region}, which Azure does not offer to this subscription"),
            unit: "vCPUs".to_owned(),
            need: f64::from(offer.vcpus),
            limit: Some(0.0),
            used: 0.0,
            request: format!(
                "az vm list-skus --location {region} --size {name} --all --output table (a support request lifts it; or --region)"
            ),
        })
    }
}

#[cfg(test)]
#[path = "offers_tests.rs"]
mod tests;
