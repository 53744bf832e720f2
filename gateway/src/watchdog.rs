//! Tells systemd, where it started the gateway, that the gateway lives: it starts one anew that has stopped saying so.

use std::time::Duration;

use sd_notify::NotifyState;

/// A few times within the service's `WatchdogSec`.
const EVERY: Duration = Duration::from_secs(5);

/// For as long as the runtime lives.
pub async fn run() {
    let mut ticks = tokio::time::interval(EVERY);
    loop {
        ticks.tick().await;
        if let Err(error) = sd_notify::notify(&[NotifyState::Watchdog]) {
            tracing::warn!(%error, "can't tell systemd that the gateway lives");
        }
    }
}
