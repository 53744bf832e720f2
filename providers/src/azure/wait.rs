//! Waiting for what Azure does in its own time.

use std::time::Duration;

use engine::provider::{ErrorKind, ProviderError};
use tokio::time::{Instant, sleep};

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(10);
/// However long Azure says to wait.
const LONGEST_TOLD: Duration = Duration::from_secs(60);

/// Pauses between looks: as long as Azure says, else short at first and longer later; until a limit.
#[derive(Debug)]
pub struct Pauses {
    next: Duration,
    until: Instant,
    limit: Duration,
}

impl Pauses {
    pub fn until(limit: Duration) -> Self {
        Self { next: FIRST, until: Instant::now() + limit, limit }
    }

    /// Waits before the next look; an error when the limit is over. `what` is not so yet, in words; `told` by the last answer.
    pub async fn next(&mut self, what: impl ToString, told: Option<Duration>) -> Result<(), ProviderError> {
        if Instant::now() >= self.until {
            let message = format!("after {} s", self.limit.as_secs());
            return Err(ProviderError::new(ErrorKind::Refused, what, message));
        }
        sleep(told.map_or(self.next, |told| told.min(LONGEST_TOLD))).await;
        self.next = self.next.mul_f64(1.6).min(LONGEST);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_and_end() {
        let begun = Instant::now();
        let mut pauses = Pauses::until(Duration::from_secs(60));
        let mut looks = 0;
        while pauses.next("it is not there", None).await.is_ok() {
            looks += 1;
        }
        assert!((8..20).contains(&looks), "{looks}");
        assert!(begun.elapsed() < Duration::from_secs(75));
        let error = pauses.next("it is not there", None).await.unwrap_err();
        assert_eq!(error.to_string(), "it is not there: after 60 s");
    }

    #[tokio::test(start_paused = true)]
    async fn what_azure_says_is_done() {
        let begun = Instant::now();
        let mut pauses = Pauses::until(Duration::from_secs(600));
        pauses.next("x", Some(Duration::ZERO)).await.unwrap();
        assert_eq!(begun.elapsed(), Duration::ZERO);
        pauses.next("x", Some(Duration::from_secs(30))).await.unwrap();
        assert_eq!(begun.elapsed().as_secs(), 30);
    }
}
