//! The attempts at a machine, region by region: what fits, cheapest first, zone by zone.

use spec::amount::Usd;
use spec::deployment::Cloud;
use spec::machine::{Disk, MachineCandidate, Market, MonthlyCosts, Offer, ResolvedNetwork};
use spec::yaml;

use super::{Ask, PlaceError, Unlisted};
use crate::catalogue::Entry;
use crate::cost::{self, MonthlyTotal, Rates};
use crate::fit::{Fit, fit};
use crate::memory::{Shortfall, Workload};
use crate::offers::Offers;

/// Named where something else must be taken.
const ALTERNATIVES: usize = 3;

/// A region with what could be had there; never without a candidate.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub region: String,
    pub candidates: Vec<MachineCandidate>,
    pub around: MonthlyCosts,
    /// Zones of all that fits, before the budget: what the network may have to span.
    pub zones: u64,
}

impl Place {
    pub(super) fn with_costs(self, ask: &Ask<'_>, rates: &Rates, disk: Disk) -> Self {
        Self { around: rates.around(ask.cloud, &self.region, disk, ask.egress_gb()), ..self }
    }

    pub(super) fn total(&self, candidate: &MachineCandidate, network: &ResolvedNetwork) -> MonthlyTotal {
        cost::total(candidate, &self.around, network, self.zones)
    }
}

/// The cheapest machine of a cloud that holds a model; among equals the first by name. None without a known price.
pub fn cheapest<'a>(
    entry: Entry<'_>,
    workload: Workload,
    offers: &'a Offers,
    cloud: Cloud,
    market: Market,
) -> Option<&'a Offer> {
    let of_cloud =
        offers.iter().filter(|offer| offer.cloud == cloud && offer.gpu.is_some() && offer.hourly(market).is_some());
    let fitting = of_cloud.filter(|offer| fit_offer(entry, workload, offer).is_ok());
    fitting.min_by_key(|offer| order(offer, market))
}

fn fit_offer(entry: Entry<'_>, workload: Workload, offer: &Offer) -> Result<Fit, Shortfall> {
    let (devices, memory_mib) = offer.devices();
    fit(entry, workload, devices, memory_mib)
}

fn where_short(offer: &Offer) -> String {
    match offer.gpu {
        Some(_) => format!("on the fullest of its {} GPUs ", offer.gpu_count),
        None => String::new(),
    }
}

/// Unknown prices last, equal prices by name.
fn order(offer: &Offer, market: Market) -> (bool, Option<Usd>, String, String) {
    let hourly = offer.hourly(market);
    (hourly.is_none(), hourly, offer.machine_type.clone(), offer.region.clone())
}

/// Everything that fits in the regions given, and is as it was wished for; never an empty list.
pub(super) fn places(
    entry: Entry<'_>,
    workload: Workload,
    ask: &Ask<'_>,
    offers: &Offers,
    regions: &[String],
) -> Result<Vec<Place>, PlaceError> {
    let in_regions = |offer: &&Offer| offer.cloud == ask.cloud && regions.contains(&offer.region);
    let is_sold = |offer: &&Offer| offers.is_sold(&offer.machine_type, ask.market());
    // One without a GPU is far slower: nobody gets it unasked, however cheap it is.
    let is_meant = |offer: &&Offer| {
        offer.gpu.is_some() || ask.machine.machine_type.as_ref().is_some_and(|name| *name == offer.machine_type)
    };
    let of_market = offers.iter().filter(in_regions).filter(is_sold).filter(is_meant);
    let mut fitting: Vec<&Offer> = of_market.filter(|offer| fit_offer(entry, workload, offer).is_ok()).collect();
    fitting.sort_by_key(|offer| order(offer, ask.market()));
    let look = Look { entry, workload, ask, offers, regions, fitting };
    if let Some(machine_type) = &ask.machine.machine_type {
        look.check_type(machine_type)?;
    }
    let places: Vec<Place> = regions.iter().filter_map(|region| look.place(region)).collect();
    if places.is_empty() { Err(look.nothing()) } else { Ok(places) }
}

/// What the errors speak of as well.
struct Look<'a> {
    entry: Entry<'a>,
    workload: Workload,
    ask: &'a Ask<'a>,
    offers: &'a Offers,
    regions: &'a [String],
    /// In the regions, cheapest first, of any type.
    fitting: Vec<&'a Offer>,
}

impl Look<'_> {
    fn place(&self, region: &str) -> Option<Place> {
        let here = self.wanted().filter(|offer| offer.region == region);
        let candidates: Vec<MachineCandidate> = here.flat_map(|offer| self.attempts(offer)).collect();
        let zones = cost::zone_count(&candidates);
        let around = MonthlyCosts::default();
        (!candidates.is_empty()).then(|| Place { region: region.to_owned(), candidates, around, zones })
    }

    fn wanted(&self) -> impl Iterator<Item = &Offer> {
        let pinned = self.ask.machine.machine_type.as_deref();
        self.fitting.iter().copied().filter(move |offer| pinned.is_none_or(|name| name == offer.machine_type))
    }

    fn attempts(&self, offer: &Offer) -> Vec<MachineCandidate> {
        let market = self.ask.market();
        let attempt = |zone| MachineCandidate { offer: offer.clone(), zone, market };
        zones(self.ask, offer).into_iter().map(attempt).collect()
    }

    fn check_type(&self, name: &str) -> Result<(), PlaceError> {
        let of_cloud = self.offers.iter().filter(|offer| offer.cloud == self.ask.cloud);
        let mut of_type = of_cloud.filter(|offer| offer.machine_type == name).peekable();
        let Some(first) = of_type.peek() else { return Err(self.unknown_type(name)) };
        if let Err(short) = fit_offer(self.entry, self.workload, first) {
            let message = format!(
                "{name} does not hold {}: {}{short}; {}",
                self.work_text(),
                where_short(first),
                self.alternatives()
            );
            return Err(PlaceError::wish("machine.type", message));
        }
        if !self.offers.is_sold(name, self.ask.market()) {
            let message =
                format!("{name} can't be had on demand, only on the spot market (--spot); {}", self.alternatives());
            return Err(PlaceError::wish("machine.type", message));
        }
        let elsewhere: Vec<&str> = of_type.map(|offer| offer.region.as_str()).collect();
        if elsewhere.iter().any(|region| self.regions.iter().any(|wanted| wanted == region)) {
            return Ok(());
        }
        let message = format!(
            "{name} is not offered in {}, but in {}; {}",
            self.regions.join(", "),
            elsewhere.join(", "),
            self.alternatives()
        );
        Err(PlaceError::wish("machine.type", message))
    }

    fn unknown_type(&self, name: &str) -> PlaceError {
        let of_cloud = self.offers.iter().filter(|offer| offer.cloud == self.ask.cloud);
        let names: Vec<String> = of_cloud.map(|offer| offer.machine_type.clone()).collect();
        let near = yaml::closest(name, &names).map(|near| format!(", did you mean {near}?")).unwrap_or_default();
        let message = format!("{} has no {name} on record{near}; {}", self.ask.cloud, self.alternatives());
        PlaceError::wish("machine.type", message)
    }

    /// The cheapest that would do, each type once.
    fn alternatives(&self) -> String {
        let mut seen = Vec::new();
        let mut texts = Vec::new();
        for offer in &self.fitting {
            if seen.contains(&&offer.machine_type) || texts.len() == ALTERNATIVES {
                continue;
            }
            seen.push(&offer.machine_type);
            let price = offer.hourly(self.ask.market()).map(|hourly| format!(", ${hourly}/h")).unwrap_or_default();
            texts.push(format!("{} ({}{price})", offer.machine_type, offer.region));
        }
        if texts.is_empty() { self.largest() } else { format!("it fits on {}", texts.join(", ")) }
    }

    fn nothing(&self) -> PlaceError {
        if self.fitting.is_empty() {
            let message = format!("no machine on record holds {}: {}", self.work_text(), self.largest());
            return PlaceError::NoMachine { message };
        }
        let mut known: Vec<&str> = self.wanted().flat_map(|offer| &offer.zones).map(String::as_str).collect();
        known.sort_unstable();
        known.dedup();
        let message = match (self.ask.machine.zones.as_slice(), known.is_empty()) {
            ([], _) => "the zones of the machines that fit are not on record; name the zones to try".to_owned(),
            (given, true) => format!("{} lies in none of {}", given.join(", "), self.regions.join(", ")),
            (given, false) => {
                format!("no machine that fits is offered in {}, but in {}", given.join(", "), known.join(", "))
            }
        };
        PlaceError::wish("machine.zones", message)
    }

    /// How much the one with the most memory is short of.
    fn largest(&self) -> String {
        let here =
            self.offers.iter().filter(|offer| offer.cloud == self.ask.cloud && self.regions.contains(&offer.region));
        let here = here.filter(|offer| offer.gpu.is_some());
        let largest = here.max_by_key(|offer| {
            let (devices, memory_mib) = offer.devices();
            (u64::from(devices) * memory_mib, std::cmp::Reverse(offer.machine_type.clone()))
        });
        let place = self.regions.join(", ");
        let short = largest.and_then(|offer| Some((offer, fit_offer(self.entry, self.workload, offer).err()?)));
        match short {
            Some((offer, short)) => {
                format!("the largest in {place} is {}, and {}{short}", offer.machine_type, where_short(offer))
            }
            None => format!("nothing is on record in {place}"),
        }
    }

    fn work_text(&self) -> String {
        let Workload { context, sequences, .. } = self.workload;
        format!("{} with {sequences} sequences of {context} tokens", self.entry.name)
    }
}

/// The zones to try, in their order. None = the cloud chooses, where it can be asked to.
fn zones(ask: &Ask<'_>, offer: &Offer) -> Vec<Option<String>> {
    let given = &ask.machine.zones;
    if !given.is_empty() {
        return given.iter().filter(|zone| may_be_in(offer, zone)).cloned().map(Some).collect();
    }
    let mut known = offer.zones.clone();
    known.sort();
    known.dedup();
    let is_shown = known.is_empty() && ask.unlisted == Unlisted::Shown;
    let unpinned = (ask.cloud == Cloud::Azure || is_shown).then_some(None);
    unpinned.into_iter().chain(known.into_iter().map(Some)).collect()
}

/// Where its zones are not on record, a zone of the region may be one.
fn may_be_in(offer: &Offer, zone: &str) -> bool {
    if !offer.zones.is_empty() {
        return offer.zones.iter().any(|known| known == zone);
    }
    // A zone is its region's name and one letter (AWS) or a dash and one more (GCP, Azure): not `us-east-10` for `us-east-1`.
    zone.strip_prefix(offer.region.as_str()).is_some_and(|rest| match offer.cloud {
        Cloud::Aws => rest.len() == 1 && rest.bytes().all(|byte| byte.is_ascii_lowercase()),
        _ => rest.strip_prefix('-').is_some_and(|name| name.len() == 1),
    })
}
