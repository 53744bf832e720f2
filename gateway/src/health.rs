//! How an upstream fares: its breaker and the requests that it has in hand. Stays over a reload.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::HeaderValue;
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use tokio::time::Instant;

use crate::breaker::{Breaker, Seen};
use crate::way::Force;

#[derive(Debug)]
pub struct Health {
    /// Failures in a row.
    limit: u32,
    breaker: Mutex<Breaker>,
    outstanding: AtomicU64,
}

impl Health {
    pub fn new(limit: u32) -> Self {
        Self { limit, breaker: Mutex::default(), outstanding: AtomicU64::new(0) }
    }

    pub const fn limit(&self) -> u32 {
        self.limit
    }

    pub fn is_passable(&self, now: Instant) -> bool {
        self.breaker().is_passable(now)
    }

    /// Requests that it has in hand.
    pub fn outstanding(&self) -> u64 {
        self.outstanding.load(Ordering::Relaxed)
    }

    /// To ask it; none while it is held back.
    pub fn enter(self: &Arc<Self>, force: Force) -> Option<Visit> {
        if !self.breaker().pass(Instant::now()) && force == Force::No {
            return None;
        }
        self.outstanding.fetch_add(1, Ordering::Relaxed);
        Some(Visit { health: Arc::clone(self), seen: Seen::Nothing })
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that an upstream has in hand; over when it is dropped.
#[derive(Debug)]
pub struct Visit {
    health: Arc<Health>,
    seen: Seen,
}

impl Visit {
    /// It answers, though the answer may take long: a probe need not wait for its end.
    pub fn is_answered(&self) {
        self.health.breaker().probe_answers();
    }

    pub const fn note(&mut self, seen: Seen) {
        self.seen = seen;
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.health.outstanding.fetch_sub(1, Ordering::Relaxed);
        self.health.breaker().note(self.seen, self.health.limit, Instant::now());
    }
}

/// A `Retry-After` header: seconds, or a date (RFC 9110, section 10.2.3).
pub fn wait_of(retry_after: &HeaderValue) -> Option<Duration> {
    let text = retry_after.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    u64::try_from(at.as_second() - Timestamp::now().as_second()).ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_wait_is_seconds_or_a_date_to_come() {
        let wait = |text: &str| wait_of(&HeaderValue::from_str(text).unwrap());
        assert_eq!(wait(" 30 "), Some(Duration::from_secs(30)));
        assert_eq!(wait("Wed, 21 Oct 2015 07:28:00 GMT"), None, "it is over");
        assert!(wait("Thu, 21 Oct 2100 07:28:00 GMT").is_some_and(|wait| wait.as_secs() > 86_400));
        assert_eq!(wait("soon"), None);
    }

    #[test]
    fn what_is_in_hand_is_counted_until_it_is_over() {
        let health = Arc::new(Health::new(5));
        let visits: Vec<_> = (0..3).map(|_| health.enter(Force::No).unwrap()).collect();
        assert_eq!(health.outstanding(), 3);
        drop(visits);
        assert_eq!(health.outstanding(), 0);
        health.enter(Force::No).unwrap().note(Seen::Failed { wait: Some(Duration::from_secs(9)) });
        assert!(health.enter(Force::No).is_none() && health.enter(Force::Yes).is_some());
    }
}
