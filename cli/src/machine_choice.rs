//! Which machines are tried for: those on record, with what the cloud says of them now, less what is too dear and what the
//! account may not have.
//!
//! ```text
//! place (record) -> too dear, out; zones not on record, in -> survey (the cloud) -> place (what was asked about, live)
//!                -> too dear, out -> over the quota, out
//! ```

use std::collections::BTreeSet;

use advisor::place::{Ask, Current, PlaceError, Unlisted, place};
use advisor::{CacheType, Entry, Offers, Workload};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use providers::cloud::{ImageWish, Placed, Question, Quota, Survey};
use spec::amount::Usd;
use spec::deployment::Cloud;
use spec::machine::{Market, Offer, ResolvedMachine};

use crate::exit::{Failure, Kind};
use crate::prepare_cloud::Asked;
use crate::site::CloudSite;

/// Tokens a sequence that must have room if the deployment names no context.
const DEFAULT_CONTEXT: u32 = 4096;

/// How many times the first candidate's price another may have without being asked for.
const DEAR: u64 = 2;

/// The machine to make, and what the cloud said.
pub struct Choice {
    pub machine: ResolvedMachine,
    pub survey: Survey,
    /// What could not be asked, and what will not be tried.
    pub notes: Vec<String>,
}

/// What is not tried for need not be asked about, and what was not asked about is not tried.
pub async fn choose(wish: &Wish<'_>, offers: Offers) -> Result<Choice, Failure> {
    let laid_out = &wish.cloud.laid_out;
    let mut first = wish.on_record(&offers)?;
    let left_out = wish.drop_dear(&mut first);
    let unlisted = wish.unlisted(&offers, &first, left_out.map(|left_out| left_out.limit));
    let asked = types(first.candidates.iter().map(|candidate| &candidate.offer).chain(&unlisted));
    let (cloud, region) = (wish.asked.spec.cloud, first.region);
    let survey = wish.cloud.adapter.survey(&wish.question(&region, asked.clone())).await?;
    let today = today();
    // What is left without an offer and without a limit that says why must not be tried, though Azure would choose its zone.
    let is_known = |name: &str| survey.offers.contains_key(name) || survey.quotas.contains_key(name);
    let told = asked.iter().filter(|offer| cloud != Cloud::Azure || is_known(&offer.machine_type));
    let live: Vec<Offer> = told.flat_map(|offer| survey.rows(offer, &today)).collect();
    refuse_nowhere(&asked, &live, &region)?;
    let offers = offers.with_only(cloud, &region, live);
    // Prices that moved meanwhile do not move the region.
    let placed = wish.place(&offers, Some(region), Unlisted::LeftOut);
    let mut machine = placed.map_err(|error| refused(hinted(error, left_out)))?;
    let left_out = left_out.map(|left_out| left_out.and(wish.drop_dear(&mut machine)));
    let mut notes = survey.notes.clone();
    notes.extend(left_out.and_then(LeftOut::note));
    match &laid_out.machine {
        None => drop_over_quota(&mut machine, &survey, &mut notes)?,
        Some(placed) => stay_in_the_zones(&mut machine, placed, &laid_out.zones),
    }
    Ok(Choice { machine, survey, notes })
}

/// Azure chooses a zone itself, and so a row without one is an offer there.
fn refuse_nowhere(asked: &[Offer], live: &[Offer], region: &str) -> Result<(), Failure> {
    if live.iter().any(|row| row.cloud == Cloud::Azure || !row.zones.is_empty()) {
        return Ok(());
    }
    let names: Vec<&str> = asked.iter().map(|offer| offer.machine_type.as_str()).collect();
    let message = format!("machine: none of {} is offered in {region}", names.join(", "));
    Err(Failure::new(Kind::Resource, message).next("dsctl gpus"))
}

/// Dearer ones may be where the wished ones are not.
fn hinted(error: PlaceError, left_out: Option<LeftOut>) -> PlaceError {
    match error {
        PlaceError::Wish { field, message } if left_out.is_some_and(|left_out| left_out.count > 0) => {
            PlaceError::Wish { field, message: format!("{message}; --max-hourly lets dearer ones be tried") }
        }
        error => error,
    }
}

/// What is wanted of a machine.
pub struct Wish<'a> {
    pub asked: &'a Asked<'a>,
    pub entry: Entry<'a>,
    pub cloud: &'a CloudSite,
}

impl Wish<'_> {
    /// `region` is where it has to be, if that is known.
    fn place(
        &self,
        offers: &Offers,
        region: Option<String>,
        unlisted: Unlisted,
    ) -> Result<ResolvedMachine, PlaceError> {
        let (deployment, spec) = (&self.asked.deployment, &self.asked.spec);
        let default_region = self.cloud.adapter.default_region();
        let placed = self.cloud.laid_out.machine.as_ref();
        let current = region.map(|region| Current {
            region,
            machine_type: placed.map(|placed| placed.machine_type.clone()),
            zone: placed.and_then(|placed| placed.zone.clone()),
            market: placed.map(|placed| placed.market),
        });
        let ask = Ask {
            cloud: spec.cloud,
            region: deployment.region.as_ref(),
            default_region: default_region.as_deref(),
            machine: &deployment.machine,
            network: &deployment.network,
            budget: &deployment.budget,
            packs: &deployment.compliance,
            current: current.as_ref(),
            unlisted,
        };
        let workload = Workload {
            context: spec.daemon.context.unwrap_or(DEFAULT_CONTEXT),
            sequences: spec.daemon.max_sequences,
            cache: CacheType::F16,
        };
        place(self.entry, workload, &ask, offers)
    }

    /// What is known to be offered somewhere; if none of it will do, what may be.
    fn on_record(&self, offers: &Offers) -> Result<ResolvedMachine, Failure> {
        let place = |unlisted| self.place(offers, self.cloud.laid_out.region.clone(), unlisted);
        place(Unlisted::LeftOut).or_else(|error| place(Unlisted::Shown).map_err(|_| refused(error)))
    }

    fn question(&self, region: &str, offers: Vec<Offer>) -> Question {
        let wished = self.asked.deployment.machine.image.clone();
        let booted = self.cloud.laid_out.machine.as_ref().map(|placed| placed.image.clone());
        let image = match (wished, booted) {
            (Some(named), _) => ImageWish::Named(named),
            (None, Some(booted)) => ImageWish::Booted(booted),
            (None, None) => ImageWish::Newest,
        };
        Question { region: region.to_owned(), offers, market: self.market(), image }
    }

    /// Types whose zones are not on record, at no higher price than the others: the cloud knows where they are. That of the
    /// machine that is there is among them at any price.
    fn unlisted(&self, offers: &Offers, first: &ResolvedMachine, limit: Option<Usd>) -> Vec<Offer> {
        // That nothing comes of it was an error before, if it is one.
        let all = self.place(offers, Some(first.region.clone()), Unlisted::Shown);
        let placed = self.cloud.laid_out.machine.as_ref().map(|placed| placed.machine_type.as_str());
        let is_wanted = |offer: &Offer| {
            let is_dear = limit.is_some_and(|limit| offer.hourly(self.market()).is_none_or(|hourly| hourly > limit));
            // Where the cloud chooses the zone itself, such a type is a candidate already.
            let is_asked = first.candidates.iter().any(|it| it.offer.machine_type == offer.machine_type);
            offer.zones.is_empty() && !is_asked && (!is_dear || placed == Some(offer.machine_type.as_str()))
        };
        let all = all.iter().flat_map(|machine| &machine.candidates).map(|candidate| &candidate.offer);
        all.filter(|offer| is_wanted(offer)).cloned().collect()
    }

    fn market(&self) -> Market {
        self.asked.deployment.machine.market.unwrap_or(Market::OnDemand)
    }

    /// Nobody should wake up to a machine of ten times the price because the cheap one could not be had.
    fn drop_dear(&self, machine: &mut ResolvedMachine) -> Option<LeftOut> {
        if self.asked.deployment.budget.max_hourly.is_some() {
            return None;
        }
        let limit = machine.candidates.first().and_then(|candidate| candidate.hourly())?.times(DEAR);
        let before = machine.candidates.len();
        machine.candidates.retain(|candidate| candidate.hourly().is_some_and(|hourly| hourly <= limit));
        Some(LeftOut { count: before - machine.candidates.len(), limit })
    }
}

/// What is too dear to be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct LeftOut {
    count: usize,
    limit: Usd,
}

impl LeftOut {
    /// With what another look left out; both are dearer than the lower limit.
    fn and(self, more: Option<Self>) -> Self {
        more.map_or(self, |more| Self { count: self.count + more.count, limit: self.limit.min(more.limit) })
    }

    fn note(self) -> Option<String> {
        let Self { count, limit } = self;
        let reason = format!("dearer than ${limit}/h, {DEAR} times the first, or of unknown price");
        (count > 0).then(|| format!("not tried: {count} more that are {reason}; --max-hourly sets another limit"))
    }
}

fn refused(error: PlaceError) -> Failure {
    match &error {
        PlaceError::Wish { field, message } => Failure::usage(format!("{field}: {message}")).next("dsctl gpus"),
        PlaceError::Refused(_) => Failure::new(Kind::Policy, &error).next("dsctl gpus"),
        PlaceError::NoMachine { .. } => Failure::new(Kind::Resource, &error).next("dsctl gpus"),
    }
}

/// Each type once, in their order.
fn types<'a>(offers: impl IntoIterator<Item = &'a Offer>) -> Vec<Offer> {
    let mut types: Vec<Offer> = Vec::new();
    for offer in offers {
        if !types.iter().any(|known| known.machine_type == offer.machine_type) {
            types.push(offer.clone());
        }
    }
    types
}

/// As prices are dated.
pub fn today() -> String {
    Timestamp::now().to_zoned_datetime(TimeZone::UTC).date().to_string()
}

/// A machine that stays needs no network in zones that it could have been in as well. A network that reaches into every zone
/// of its region names none.
fn stay_in_the_zones(machine: &mut ResolvedMachine, placed: &Placed, zones: &BTreeSet<String>) {
    let stays = machine.candidates.first().is_some_and(|first| {
        first.offer.machine_type == placed.machine_type && first.zone == placed.zone && first.market == placed.market
    });
    if stays && !zones.is_empty() {
        machine.candidates.retain(|candidate| candidate.zone.as_ref().is_none_or(|zone| zones.contains(zone)));
    }
}

/// What the account may not have is not tried; if nothing is left, the request for more is the next command.
fn drop_over_quota(machine: &mut ResolvedMachine, survey: &Survey, notes: &mut Vec<String>) -> Result<(), Failure> {
    let is_over = |machine_type: &str| survey.quotas.get(machine_type).filter(|quota| !quota.has_room());
    // In their order, each type once: more is asked of what would be tried first.
    let mut over: Vec<(String, &Quota)> = Vec::new();
    let is_told = |over: &[(String, &Quota)], machine_type: &str| over.iter().any(|(told, _)| told == machine_type);
    for machine_type in machine.candidates.iter().map(|candidate| &candidate.offer.machine_type) {
        if let Some(quota) = is_over(machine_type).filter(|_| !is_told(&over, machine_type)) {
            over.push((machine_type.clone(), quota));
        }
    }
    machine.candidates.retain(|candidate| !is_told(&over, &candidate.offer.machine_type));
    let texts: Vec<String> = over.iter().map(|(machine_type, quota)| quota_text(machine_type, quota)).collect();
    if !machine.candidates.is_empty() {
        notes.extend(texts.into_iter().map(|text| format!("not tried: {text}")));
        return Ok(());
    }
    let message = format!("the account's quota has no room for any machine that would do:\n  {}", texts.join("\n  "));
    let request = over.first().map(|(_, quota)| quota.request.clone()).unwrap_or_default();
    Err(Failure::new(Kind::Resource, message).next(request))
}

fn quota_text(machine_type: &str, quota: &Quota) -> String {
    let limit = quota.limit.map_or_else(|| "unknown".to_owned(), |limit| limit.to_string());
    let Quota { code, name, unit, need, used, .. } = quota;
    format!("{machine_type} takes {need} {unit} of \"{name}\" ({code}), whose limit is {limit}, {used} of it in use")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on_record(cloud: Cloud, zones: &[&str]) -> Vec<Offer> {
        let offers = advisor::offers().unwrap();
        let offers = offers.iter().filter(|offer| offer.cloud == cloud).take(2).cloned();
        offers.map(|offer| Offer { zones: zones.iter().map(|zone| (*zone).to_owned()).collect(), ..offer }).collect()
    }

    #[test]
    fn what_no_zone_of_the_region_offers_is_refused_by_name() {
        let nowhere = on_record(Cloud::Gcp, &[]);
        let refusal = refuse_nowhere(&nowhere, &nowhere, "europe-west4").unwrap_err().message;
        for text in [&nowhere[0].machine_type, "europe-west4"] {
            assert!(refusal.contains(text), "{refusal}");
        }
        assert!(refuse_nowhere(&nowhere, &on_record(Cloud::Gcp, &["europe-west4-a"]), "europe-west4").is_ok());
        // Where the cloud chooses the zone, a row without one is an offer; what is not offered there has no row.
        let azure = on_record(Cloud::Azure, &[]);
        assert!(refuse_nowhere(&azure, &azure, "westeurope").is_ok());
        assert!(refuse_nowhere(&azure, &[], "westeurope").is_err());
    }

    #[test]
    fn what_two_looks_left_out_is_told_once_by_the_lower_limit() {
        let usd = |dollars: u64| Usd::from_millionths(1_000_000).times(dollars);
        let (first, second) = (LeftOut { count: 3, limit: usd(16) }, LeftOut { count: 2, limit: usd(9) });
        assert_eq!(first.and(Some(second)), LeftOut { count: 5, limit: usd(9) });
        assert_eq!(first.and(None), first);
        assert!(first.note().unwrap().starts_with("not tried: 3 more that are dearer than $16"));
        assert_eq!(LeftOut { count: 0, ..first }.note(), None);
    }
}
