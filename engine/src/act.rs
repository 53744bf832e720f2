//! One act of the provider, until it is known what came of it: what is throttled is called again, what is ambiguous is
//! looked at before it is called again.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::apply::Settings;
use crate::graph::{Address, Desired};
use crate::plan::{Action, Change};
use crate::provider::{ErrorKind, Known, Observed, Provider, ProviderError, Token};
use crate::state::{RemoteId, Resource};

/// The wait after the first failure; it doubles with each further one, and a random share of it is waited.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(20);
/// Between two looks for something that may not be visible yet.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What the provider is asked to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    Create(Desired),
    Update(RemoteId, Desired),
    Delete {
        address: Address,
        resource: Resource,
    },
    /// Nothing is there to be acted on.
    Nothing,
}

impl Act {
    /// What a change means, given what is wanted and what is in the state.
    pub fn of(change: &Change, want: Option<Desired>, existing: Option<Resource>) -> Self {
        match (change.action, want, existing) {
            (Action::Create | Action::Replace, Some(want), _) | (Action::Update, Some(want), None) => {
                Self::Create(want)
            }
            (Action::Update, Some(want), Some(existing)) => Self::Update(existing.remote_id, want),
            (Action::Delete, _, Some(resource)) => Self::Delete { address: change.address.clone(), resource },
            (Action::NoOp | Action::Delete, ..) | (Action::Create | Action::Replace | Action::Update, None, _) => {
                Self::Nothing
            }
        }
    }
}

/// Carries an act out. The id is that of what now exists; none after a delete.
pub async fn perform<P: Provider>(
    provider: &P,
    mut act: Act,
    known: Known,
    settings: &Settings,
    token: Token,
) -> Result<Option<RemoteId>, ProviderError> {
    let mut failures = 0;
    loop {
        let error = match call(provider, &act, &known, &token).await {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        failures += 1;
        let wait = wait_after(&error, failures, settings.attempts).ok_or(error)?;
        if let (Act::Create(want), ErrorKind::Ambiguous) = (&act, wait.kind) {
            let found = look_for(provider, &want.address, &token, &known, settings.visibility).await?;
            if let Some(found) = found {
                act = Act::Update(found, want.clone());
            }
        }
        sleep(wait.time).await;
    }
}

/// A look that is repeated like any other call.
pub async fn read<P: Provider>(
    provider: &P,
    address: &Address,
    resource: &Resource,
    known: &Known,
    settings: &Settings,
) -> Result<Option<Observed>, ProviderError> {
    let mut failures = 0;
    loop {
        match provider.read(address, resource, known).await {
            Ok(seen) => return Ok(seen),
            Err(error) => {
                failures += 1;
                sleep(wait_after(&error, failures, settings.attempts).ok_or(error)?.time).await;
            }
        }
    }
}

/// Looks for what a token made, again and again until the time is up; at least once.
pub async fn look_for<P: Provider>(
    provider: &P,
    address: &Address,
    token: &Token,
    known: &Known,
    time: Duration,
) -> Result<Option<RemoteId>, ProviderError> {
    let until = Instant::now() + time;
    let mut failures = 0;
    loop {
        match provider.find(address, token, known).await {
            Ok(Some(found)) => return Ok(Some(found)),
            Ok(None) if Instant::now() >= until => return Ok(None),
            Ok(None) => sleep(LOOK_EVERY.min(until - Instant::now())).await,
            Err(error) => {
                failures += 1;
                sleep(wait_after(&error, failures, Settings::default().attempts).ok_or(error)?.time).await;
            }
        }
    }
}

async fn call<P: Provider>(
    provider: &P,
    act: &Act,
    known: &Known,
    token: &Token,
) -> Result<Option<RemoteId>, ProviderError> {
    match act {
        Act::Create(want) => provider.create(want, token, known).await.map(Some),
        Act::Update(id, want) => provider.update(id, want, known).await.map(Some),
        Act::Delete { address, resource } => provider.delete(address, resource, known).await.map(|()| None),
        Act::Nothing => Ok(None),
    }
}

struct Wait {
    time: Duration,
    kind: ErrorKind,
}

/// None: calling again would not help, or it was called often enough.
fn wait_after(error: &ProviderError, failures: u32, attempts: u32) -> Option<Wait> {
    let asked = match error.kind {
        ErrorKind::Throttled { retry_after } => retry_after,
        ErrorKind::Ambiguous | ErrorKind::NotYet => None,
        ErrorKind::Capacity
        | ErrorKind::Quota
        | ErrorKind::Credentials
        | ErrorKind::Refused
        | ErrorKind::TokenSpent => return None,
    };
    if failures >= attempts {
        return None;
    }
    let longest = FIRST_WAIT.saturating_mul(1 << (failures - 1).min(10)).min(LONGEST_WAIT);
    let time = asked.unwrap_or_else(|| longest.mul_f64(rand::random::<f64>()));
    Some(Wait { time, kind: error.kind })
}
