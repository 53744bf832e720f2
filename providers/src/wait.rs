//! Waiting for what a cloud does in its own time.

use std::time::Duration;

use engine::provider::{ErrorKind, ProviderError};
use tokio::time::{Instant, sleep};

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(10);

/// Pauses between looks: short at first, longer later, until a limit.
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

    /// Waits before the next look; an error when the limit is over. `what` is not so yet, in words.
    pub async fn next(&mut self, what: impl ToString) -> Result<(), ProviderError> {
        if Instant::now() >= self.until {
            let message = format!("after {} s", self.limit.as_secs());
            return Err(ProviderError::new(ErrorKind::Refused, what, message));
        }
        sleep(self.next).await;
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
        while pauses.next("it is not there").await.is_ok() {
            looks += 1;
        }
        assert!((8..20).contains(&looks), "{looks}");
        assert!(begun.elapsed() < Duration::from_secs(75));
        assert_eq!(pauses.next("it is not there").await.unwrap_err().to_string(), "it is not there: after 60 s");
    }
}
