//! A tick's look at the candidate itself: its ready URL, and its metrics if a gate wants them.

use std::future::Future;
use std::time::Duration;

use spec::rollout::{Gate, Sli};

use crate::ports::{Traffic, TrafficError};

/// A candidate that doesn't answer in this time failed the probe; without it a stuck one would stop the ticks.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) struct Sight {
    pub probe: Result<(), String>,
    /// None if no gate wants it.
    pub page: Option<Result<String, String>>,
}

pub(super) async fn look(traffic: &dyn Traffic, gates: &[Gate]) -> Sight {
    let page = async { if wants_page(gates) { Some(in_time(traffic.scrape_candidate()).await) } else { None } };
    let (probe, page) = futures::join!(in_time(traffic.probe_candidate()), page);
    Sight { probe, page }
}

async fn in_time<T>(asked: impl Future<Output = Result<T, TrafficError>>) -> Result<T, String> {
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {}s", PATIENCE.as_secs())),
    }
}

/// Whether any gate reads the candidate's own metrics.
fn wants_page(gates: &[Gate]) -> bool {
    gates.iter().any(|gate| matches!(gate.sli, Sli::Scrape(_)))
}
