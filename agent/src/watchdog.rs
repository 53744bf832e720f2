//! Tells systemd that the agent lives, where systemd started it: it starts an agent anew that has stopped saying so.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// A few times within the service's `WatchdogSec`.
const EVERY: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(crate) struct Watchdog {
    told: Option<Instant>,
}

impl Watchdog {
    /// Said often; told seldom. The first time also says that the agent has begun.
    pub fn beat(&mut self) {
        let first = self.told.is_none();
        if self.told.is_some_and(|told| told.elapsed() < EVERY) {
            return;
        }
        self.told = Some(Instant::now());
        let states: &[NotifyState<'_>] =
            if first { &[NotifyState::Ready, NotifyState::Watchdog] } else { &[NotifyState::Watchdog] };
        if let Err(error) = sd_notify::notify(states) {
            tracing::warn!(%error, "can't tell systemd that the agent lives");
        }
    }
}
