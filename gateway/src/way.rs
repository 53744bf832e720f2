//! Whom a request is offered to, in which order: the variant that its weight names, then the rest of the chain.
//!
//! ```text
//! candidate (its upstreams, least busy first) -> spare -> baseline (the same)
//! ```
//! A request that fell to the baseline begins there, then candidate, then spare.

use std::sync::Arc;

use spec::id::Variant;
use tokio::time::Instant;

use crate::config::Settings;
use crate::upstream::Upstream;

/// The chain's names: of variants, and of the upstream that is none.
pub const SPARE: &str = "spare";

/// Upstreams of each part of the chain. More attempts only make the client wait; but no part crowds out what comes after it.
const MOST_OF_EACH: usize = 2;

/// One upstream that may be asked.
#[derive(Debug, Clone)]
pub struct Stop {
    /// None: a spare.
    pub variant: Option<Variant>,
    pub upstream: Arc<Upstream>,
    /// It is asked though it is held back, if nobody of its variant was asked before.
    pub is_owed: bool,
}

impl Stop {
    pub fn label(&self) -> &'static str {
        self.variant.map_or(SPARE, Variant::as_str)
    }
}

/// All that may be asked, and whether breakers are passed over since none of them lets anybody pass.
pub fn of(settings: &Settings, first: Variant, is_judged: bool) -> (Vec<Stop>, Force) {
    let mut stops = Vec::new();
    add(&mut stops, settings, first);
    if let Some(last) = stops.last_mut() {
        last.is_owed = is_judged;
    }
    let other = settings.configured.other(first);
    let spare =
        least_busy(&settings.spare).into_iter().map(|upstream| Stop { variant: None, upstream, is_owed: false });
    match first {
        Variant::Candidate => {
            stops.extend(spare);
            other.into_iter().for_each(|other| add(&mut stops, settings, other));
        }
        Variant::Baseline => {
            other.into_iter().for_each(|other| add(&mut stops, settings, other));
            stops.extend(spare);
        }
    }
    let now = Instant::now();
    let is_passable = stops.iter().any(|stop| stop.upstream.health.is_passable(now));
    (stops, if is_passable { Force::No } else { Force::Yes })
}

/// A client that is refused without a try learns nothing: where all are held back, all are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Force {
    No,
    Yes,
}

fn add(stops: &mut Vec<Stop>, settings: &Settings, variant: Variant) {
    let upstreams = least_busy(settings.upstreams.get(&variant).into_iter().flatten());
    stops.extend(upstreams.into_iter().map(|upstream| Stop { variant: Some(variant), upstream, is_owed: false }));
}

/// Those that are not held back, then the least busy first; equals in the order of the configuration.
fn least_busy<'a>(upstreams: impl IntoIterator<Item = &'a Arc<Upstream>>) -> Vec<Arc<Upstream>> {
    let now = Instant::now();
    let mut upstreams: Vec<_> = upstreams.into_iter().cloned().collect();
    upstreams.sort_by_key(|upstream| (!upstream.health.is_passable(now), upstream.health.outstanding()));
    upstreams.truncate(MOST_OF_EACH);
    upstreams
}
