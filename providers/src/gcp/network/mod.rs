//! The network that a deployment lives in, one thing of Compute Engine a file. It has no way in but the gateway's port, and
//! no way out but the router's NAT, or Google's own services.
//!
//! ```text
//! vpc <- subnet <- router (NAT)
//!  ^
//! firewall -> service account
//! ```

use std::time::Duration;

use engine::graph::Address;
use engine::provider::{ErrorKind, ProviderError};

use crate::wait::Pauses;

pub mod firewall;
pub mod router;
pub mod subnet;
pub mod vpc;

/// What was made a moment ago does not show everywhere at once.
const SHOW_LIMIT: Duration = Duration::from_secs(60);

/// What a look gives, as soon as it gives something. What never shows was made once and is gone: its token leads to nothing
/// any more.
async fn shown<T, F>(address: &Address, look: impl Fn() -> F) -> Result<T, ProviderError>
where
    F: Future<Output = Result<Option<T>, ProviderError>>,
{
    let mut pauses = Pauses::until(SHOW_LIMIT);
    loop {
        if let Some(seen) = look().await? {
            return Ok(seen);
        }
        let waited = pauses.next(format!("{address} does not show")).await;
        waited.map_err(|error| ProviderError { kind: ErrorKind::TokenSpent, ..error })?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_look_is_repeated_until_it_shows_or_the_time_is_over() {
        let address = Address::new("network", "main");
        let looks = std::cell::Cell::new(0);
        let look = || {
            looks.set(looks.get() + 1);
            let seen = (looks.get() > 2).then_some("n");
            async move { Ok(seen) }
        };
        assert_eq!(shown(&address, look).await.unwrap(), "n");
        let error = shown(&address, || async { Ok(None::<()>) }).await.unwrap_err();
        assert_eq!(error.to_string(), "network.main does not show: after 60 s");
        assert_eq!(error.kind, ErrorKind::TokenSpent);
    }
}
