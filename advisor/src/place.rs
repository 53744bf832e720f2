//! Which machines may carry a model, in the order in which they are tried, and the region that they lie in.
//!
//! ```text
//! wish + offers -> regions (pattern, packs) -> candidates that fit, region by region -> budget -> one region
//!                         all rules that are broken, at once <----------------------------'
//! ```

mod candidates;
mod region;

#[cfg(test)]
mod tests;

use spec::amount::Usd;
use spec::deployment::Cloud;
use spec::machine::{
    BudgetWish, MachineCandidate, MachineWish, Market, NetworkWish, Pack, RegionPattern, ResolvedMachine,
    ResolvedNetwork,
};

use crate::catalogue::Entry;
use crate::cost::{self, DEFAULT_EGRESS_GB, MonthlyTotal};
use crate::memory::Workload;
use crate::network::{disk, network};
use crate::offers::Offers;
use crate::packs::{self, Violation};

pub use candidates::cheapest;

use candidates::Place;

/// What a machine is looked for by.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    pub cloud: Cloud,
    pub region: Option<&'a RegionPattern>,
    /// Where the user works by default, as their cloud's own tools have it.
    pub default_region: Option<&'a str>,
    pub machine: &'a MachineWish,
    pub network: &'a NetworkWish,
    pub budget: &'a BudgetWish,
    pub packs: &'a [Pack],
    /// What the deployment has already.
    pub current: Option<&'a Current>,
    pub unlisted: Unlisted,
}

/// What becomes of machine types whose zones are not on record, where the cloud does not choose the zone itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unlisted {
    /// Nobody knows where to try for them.
    LeftOut,
    /// In no zone, for who asks the cloud about them.
    Shown,
}

/// Where a deployment lies, and the machine that it has, if it has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Current {
    pub region: String,
    pub machine_type: Option<String>,
    pub zone: Option<String>,
    pub market: Option<Market>,
}

/// Why there is no machine to try.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// What the deployment file says can't be.
    #[error("{field}: {message}")]
    Wish { field: String, message: String },
    /// It could be, but budget or packs forbid it; all that they forbid.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Refused(Vec<Violation>),
    #[error("{message}")]
    NoMachine { message: String },
}

impl PlaceError {
    pub(crate) fn wish(field: &str, message: impl Into<String>) -> Self {
        Self::Wish { field: field.to_owned(), message: message.into() }
    }
}

impl Ask<'_> {
    pub fn market(&self) -> Market {
        self.machine.market.unwrap_or(Market::OnDemand)
    }

    fn egress_gb(&self) -> u32 {
        self.budget.egress_gb.unwrap_or(DEFAULT_EGRESS_GB)
    }
}

/// The machine of a deployment with all that is around it: candidates that hold the model, obey the packs and stay within
/// the budget, in one region. The machine that the deployment has already comes first as long as it is among them.
pub fn place(
    entry: Entry<'_>,
    workload: Workload,
    ask: &Ask<'_>,
    offers: &Offers,
) -> Result<ResolvedMachine, PlaceError> {
    let network = network(ask.network)?;
    let disk = disk(entry, ask.machine.disk_gib)?;
    let mut violations = packs::network_violations(ask.packs, &network);
    let (regions, outside) = region::in_question(ask, offers)?;
    violations.extend(outside);
    let places = candidates::places(entry, workload, ask, offers, &regions)?;
    let places = places.into_iter().map(|place| place.with_costs(ask, offers.rates(), disk)).collect();
    let (places, beyond) = within_budget(places, ask, &network);
    violations.extend(beyond);
    if !violations.is_empty() {
        return Err(PlaceError::Refused(violations));
    }
    let place = region::choose(places, ask.default_region).ok_or_else(|| no_machine(entry))?;
    Ok(ResolvedMachine {
        candidates: current_first(place.candidates, ask),
        region: place.region,
        disk,
        image: ask.machine.image.clone(),
        network,
        records: packs::records(ask.packs),
        egress_gb: ask.egress_gb(),
        around: place.around,
    })
}

/// Never seen while `candidates::places` gives no empty list.
fn no_machine(entry: Entry<'_>) -> PlaceError {
    PlaceError::NoMachine { message: format!("no machine on record holds {}", entry.name) }
}

/// A plan made again must find what it made before, whatever has become cheaper since.
fn current_first(mut candidates: Vec<MachineCandidate>, ask: &Ask<'_>) -> Vec<MachineCandidate> {
    let is_current = |candidate: &MachineCandidate| {
        ask.current.is_some_and(|current| {
            current.machine_type.as_ref() == Some(&candidate.offer.machine_type)
                && current.zone == candidate.zone
                && current.market == Some(candidate.market)
        })
    };
    if let Some(at) = candidates.iter().position(is_current) {
        candidates[..=at].rotate_right(1);
    }
    candidates
}

/// What the budget leaves of each place; if it leaves nothing, which limits are in the way.
fn within_budget(places: Vec<Place>, ask: &Ask<'_>, network: &ResolvedNetwork) -> (Vec<Place>, Vec<Violation>) {
    let mut violations = Vec::new();
    let mut places = places;
    if let Some(most) = ask.budget.max_hourly {
        let under = keep(&places, |_, candidate| candidate.hourly().is_some_and(|hourly| hourly <= most));
        // With nothing left the monthly limit is held against all, so that both are named at once.
        if under.is_empty() { violations.push(above_hourly(&places, most)) } else { places = under }
    }
    if let Some(most) = ask.budget.max_monthly {
        let total = |place: &Place, candidate: &MachineCandidate| place.total(candidate, network);
        let under =
            keep(&places, |place, candidate| total(place, candidate).total.is_some_and(|monthly| monthly <= most));
        if under.is_empty() { violations.push(above_monthly(&places, most, network)) } else { places = under }
    }
    (places, violations)
}

fn keep(places: &[Place], is_kept: impl Fn(&Place, &MachineCandidate) -> bool) -> Vec<Place> {
    let kept = places.iter().map(|place| {
        let candidates = place.candidates.iter().filter(|candidate| is_kept(place, candidate)).cloned().collect();
        Place { candidates, ..place.clone() }
    });
    kept.filter(|place| !place.candidates.is_empty()).collect()
}

fn above_hourly(places: &[Place], most: Usd) -> Violation {
    let priced = places.iter().flat_map(|place| &place.candidates).filter_map(|each| Some((each.hourly()?, each)));
    let message = match priced.min_by_key(|(hourly, each)| (*hourly, &each.offer.machine_type, &each.offer.region)) {
        Some((hourly, each)) => format!(
            "the cheapest that holds the model is {} in {}, {}, at ${hourly}/h, above ${most}/h; raise it to {hourly}, \
             or take a smaller model or quantization",
            each.offer.machine_type, each.offer.region, each.market
        ),
        None => format!(
            "no machine that holds the model has a known price, so none is known to cost at most ${most}/h; leave it out, \
             or take another region or market"
        ),
    };
    Violation { rule: "max-hourly", field: "budget.max_hourly", message }
}

fn above_monthly(places: &[Place], most: Usd, network: &ResolvedNetwork) -> Violation {
    let totals = places
        .iter()
        .flat_map(|place| place.candidates.iter().map(move |candidate| (place.total(candidate, network), candidate)));
    let totals: Vec<(MonthlyTotal, &MachineCandidate)> = totals.collect();
    let known = totals.iter().filter_map(|(total, candidate)| Some((total.total?, &total.parts, *candidate)));
    let cheapest = known.min_by_key(|(total, _, each)| (*total, &each.offer.machine_type, &each.offer.region));
    let message = match cheapest {
        Some((total, parts, each)) => format!(
            "the cheapest comes to ${total} a month, above ${most}: {} in {}, {}; raise it to {total}, or take a smaller \
             model or quantization",
            each.offer.machine_type,
            each.offer.region,
            parts_text(parts)
        ),
        None => {
            let unknown = totals.first().map(|(total, _)| unknown_parts(total)).unwrap_or_default();
            format!("no monthly total is known, since {unknown} has no price on record; leave it out")
        }
    };
    Violation { rule: "max-monthly", field: "budget.max_monthly", message }
}

fn parts_text(parts: &[cost::Part]) -> String {
    let text = |part: &cost::Part| Some(format!("{} ${}", part.name, part.monthly?));
    parts.iter().filter_map(text).collect::<Vec<_>>().join(", ")
}

fn unknown_parts(total: &MonthlyTotal) -> String {
    let unknown = total.parts.iter().filter(|part| part.monthly.is_none()).map(|part| part.name);
    unknown.collect::<Vec<_>>().join(", ")
}
