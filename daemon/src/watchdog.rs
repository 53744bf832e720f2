//! Tells systemd, where it started the daemon, that the daemon lives: one whose step never ends is started anew.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

use crate::serve::{App, Phase};

/// A few times within the service's `WatchdogSec`.
const EVERY: Duration = Duration::from_secs(5);
/// No step takes so long, not a whole context on a slow machine; one of a graphics card that hangs does.
const LONGEST_STEP: Duration = Duration::from_secs(600);

/// Since when the engine has been in its present step.
#[derive(Debug, Clone, Default)]
pub struct Pulse(Arc<Mutex<Option<Instant>>>);

impl Pulse {
    pub fn step_begins(&self) {
        self.set(Some(Instant::now()));
    }

    pub fn step_ends(&self) {
        self.set(None);
    }

    pub fn is_stuck(&self, limit: Duration) -> bool {
        let since = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        since.is_some_and(|since| since.elapsed() > limit)
    }

    fn set(&self, since: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }
}

/// For as long as the runtime lives.
pub async fn run(app: Arc<App>) {
    let mut ticks = tokio::time::interval(EVERY);
    loop {
        ticks.tick().await;
        if is_stuck(&app.phase(), LONGEST_STEP) {
            tracing::error!("a step has not ended within {} s", LONGEST_STEP.as_secs());
        } else if let Err(error) = sd_notify::notify(&[NotifyState::Watchdog]) {
            tracing::warn!(%error, "can't tell systemd that the daemon lives");
        }
    }
}

fn is_stuck(phase: &Phase, limit: Duration) -> bool {
    matches!(phase, Phase::Ready(service) if service.engine.pulse().is_stuck(limit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_step_that_lasts_is_stuck() {
        let pulse = Pulse::default();
        assert!(!pulse.is_stuck(Duration::ZERO));
        pulse.step_begins();
        assert!(!pulse.is_stuck(LONGEST_STEP));
        while !pulse.is_stuck(Duration::ZERO) {
            std::hint::spin_loop();
        }
        pulse.step_ends();
        assert!(!pulse.is_stuck(Duration::ZERO));
        assert!(!is_stuck(&Phase::Loading, Duration::ZERO));
    }
}
