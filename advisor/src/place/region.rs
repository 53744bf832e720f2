//! Which regions come into question, and which one it is in the end.

use std::collections::BTreeSet;

use super::candidates::Place;
use super::{Ask, PlaceError};
use crate::offers::Offers;
use crate::packs::{self, Violation};

/// All on record of a cloud, by name.
fn on_record(ask: &Ask<'_>, offers: &Offers) -> Vec<String> {
    let names = offers.iter().filter(|offer| offer.cloud == ask.cloud).map(|offer| offer.region.clone());
    names.collect::<BTreeSet<_>>().into_iter().collect()
}

/// The regions that pattern and packs allow, by name. If the packs allow none of them: all, and what is broken, so that the
/// other rules can be held against them too.
pub(super) fn in_question(ask: &Ask<'_>, offers: &Offers) -> Result<(Vec<String>, Option<Violation>), PlaceError> {
    let known = on_record(ask, offers);
    let wanted = wanted(ask, &known)?;
    let allow = |region: &String| packs::allow_region(ask.packs, ask.cloud, region);
    let allowed: Vec<String> = wanted.iter().filter(|region| allow(region)).cloned().collect();
    if allowed.is_empty() && !wanted.is_empty() {
        let outside = packs::outside(ask.cloud, &wanted, &known);
        return Ok((wanted, Some(outside)));
    }
    Ok((allowed, None))
}

fn wanted(ask: &Ask<'_>, known: &[String]) -> Result<Vec<String>, PlaceError> {
    let matches = |region: &str| ask.region.is_none_or(|pattern| pattern.matches(region));
    if let Some(current) = ask.current {
        if matches(&current.region) {
            return Ok(vec![current.region.clone()]);
        }
        let given = ask.region.map(ToString::to_string).unwrap_or_default();
        let message = format!(
            "the deployment lies in {}, which {given} is not, and a deployment is not moved; `dsctl down` first, or give it \
             another name",
            current.region
        );
        return Err(PlaceError::wish("region", message));
    }
    let found: Vec<String> = known.iter().filter(|region| matches(region)).cloned().collect();
    match ask.region {
        Some(pattern) if found.is_empty() => {
            let message = format!("no region on record of {} is {pattern}; there are {}", ask.cloud, known.join(", "));
            Err(PlaceError::wish("region", message))
        }
        _ => Ok(found),
    }
}

/// The user's own region if something is left there, else that of the cheapest.
pub(super) fn choose(places: Vec<Place>, default_region: Option<&str>) -> Option<Place> {
    let own = places.iter().position(|place| Some(place.region.as_str()) == default_region);
    let key = |place: &Place| {
        let hourly = place.candidates.first().and_then(|candidate| candidate.hourly());
        (hourly.is_none(), hourly, place.region.clone())
    };
    match own {
        Some(at) => places.into_iter().nth(at),
        None => places.into_iter().min_by_key(key),
    }
}
