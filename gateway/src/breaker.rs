//! Whether an upstream is asked: not while it fails again and again, nor before the time that it named itself. Pure.
//!
//! ```text
//! closed --failures in a row, or a time to wait--> open --time is over--> half-open --probe answers--> closed
//!                                                   ^------probe fails, twice as long------'
//! ```

use std::time::Duration;

use tokio::time::Instant;

const SHORTEST: Duration = Duration::from_secs(2);
const LONGEST: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breaker {
    Closed {
        failures: u32,
    },
    Open {
        until: Instant,
        pause: Duration,
    },
    /// One request is on its way to see.
    HalfOpen {
        pause: Duration,
    },
}

impl Default for Breaker {
    fn default() -> Self {
        Self::Closed { failures: 0 }
    }
}

/// How a request of an upstream ended, as its breaker sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    Answered,
    /// With the time after which it wants to be asked again, if it named one.
    Failed {
        wait: Option<Duration>,
    },
    /// It says nothing of the upstream: the client left.
    Nothing,
}

impl Breaker {
    /// Whether it would let a request pass.
    pub fn is_passable(self, now: Instant) -> bool {
        match self {
            Self::Closed { .. } => true,
            Self::Open { until, .. } => until <= now,
            Self::HalfOpen { .. } => false,
        }
    }

    /// Lets a request pass, or not; what passes must be [`Self::note`]d.
    pub fn pass(&mut self, now: Instant) -> bool {
        let is_passable = self.is_passable(now);
        if let (true, Self::Open { pause, .. }) = (is_passable, *self) {
            *self = Self::HalfOpen { pause };
        }
        is_passable
    }

    /// Of a probe that has begun to answer; how it ends is noted as of any other.
    pub fn probe_answers(&mut self) {
        if matches!(self, Self::HalfOpen { .. }) {
            *self = Self::default();
        }
    }

    /// `limit` is of failures in a row: one answer in between shows that it lives.
    pub fn note(&mut self, seen: Seen, limit: u32, now: Instant) {
        *self = match (*self, seen) {
            (_, Seen::Answered) => Self::default(),
            (_, Seen::Failed { wait: Some(wait) }) => {
                let pause = wait.min(LONGEST);
                Self::Open { until: now + pause, pause: SHORTEST }
            }
            (Self::Closed { failures }, Seen::Failed { wait: None }) if failures + 1 < limit => {
                Self::Closed { failures: failures + 1 }
            }
            (Self::Closed { .. }, Seen::Failed { wait: None }) => Self::Open { until: now + SHORTEST, pause: SHORTEST },
            (Self::HalfOpen { pause }, Seen::Failed { wait: None }) => {
                let pause = (pause * 2).min(LONGEST);
                Self::Open { until: now + pause, pause }
            }
            // One that was let pass earlier, or by force.
            (open @ Self::Open { .. }, Seen::Failed { wait: None }) => open,
            (Self::HalfOpen { pause }, Seen::Nothing) => Self::Open { until: now, pause },
            (same, Seen::Nothing) => same,
        };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FAILURES: u32 = 5;
    const FAILED: Seen = Seen::Failed { wait: None };

    fn failed(breaker: &mut Breaker, times: u32, now: Instant) {
        (0..times).for_each(|_| breaker.note(FAILED, FAILURES, now));
    }

    #[test]
    fn only_failures_in_a_row_open_it_and_a_probe_closes_it() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        failed(&mut breaker, FAILURES - 1, now);
        breaker.note(Seen::Answered, FAILURES, now);
        failed(&mut breaker, FAILURES - 1, now);
        assert!(breaker.is_passable(now));
        failed(&mut breaker, 1, now);
        assert!(!breaker.pass(now) && !breaker.pass(now + SHORTEST - Duration::from_millis(1)));
        assert!(breaker.pass(now + SHORTEST) && !breaker.pass(now + SHORTEST), "one probe");
        breaker.note(Seen::Answered, FAILURES, now + SHORTEST);
        assert_eq!(breaker, Breaker::default());
    }

    /// A stream that goes on for minutes, or whose client reads no more, holds nobody else up.
    #[test]
    fn a_probe_that_begins_to_answer_lets_others_pass_and_still_counts_how_it_ends() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        failed(&mut breaker, FAILURES, now);
        breaker.probe_answers();
        assert!(!breaker.is_passable(now), "only of a probe");
        assert!(breaker.pass(now + SHORTEST));
        breaker.probe_answers();
        assert!(breaker.is_passable(now + SHORTEST));
        failed(&mut breaker, FAILURES, now + SHORTEST);
        assert!(!breaker.is_passable(now + SHORTEST), "a beginning is no end");
    }

    #[test]
    fn pauses_grow_to_a_minute_and_a_probe_whose_client_left_is_repeated() {
        let (mut breaker, mut now) = (Breaker::default(), Instant::now());
        failed(&mut breaker, FAILURES, now);
        for seconds in [2, 4, 8, 16, 32, 60, 60] {
            assert!(!breaker.is_passable(now + Duration::from_millis(seconds * 1000 - 1)));
            now += Duration::from_secs(seconds);
            assert!(breaker.pass(now));
            breaker.note(Seen::Nothing, FAILURES, now);
            assert!(breaker.pass(now));
            failed(&mut breaker, 1, now);
        }
    }

    #[test]
    fn a_time_that_the_upstream_names_is_kept_up_to_a_minute() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        breaker.note(Seen::Failed { wait: Some(Duration::from_secs(7)) }, FAILURES, now);
        assert!(
            !breaker.is_passable(now + Duration::from_secs(6)) && breaker.is_passable(now + Duration::from_secs(7))
        );
        breaker.note(Seen::Failed { wait: Some(Duration::from_secs(86_400)) }, FAILURES, now);
        assert!(breaker.is_passable(now + LONGEST));
    }

    proptest! {
        #[test]
        fn whatever_comes_it_lets_somebody_pass_within_the_longest_pause(
            steps in proptest::collection::vec((0_u64..3, 0_u64..90_000, any::<bool>()), 0..50),
        ) {
            let (mut breaker, mut now) = (Breaker::default(), Instant::now());
            for (seen, milliseconds, is_noted) in steps {
                now += Duration::from_millis(milliseconds);
                let has_passed = breaker.pass(now);
                if has_passed || is_noted {
                    breaker.note([Seen::Answered, FAILED, Seen::Nothing][seen as usize], FAILURES, now);
                }
            }
            prop_assert!(breaker.is_passable(now + LONGEST), "{breaker:?}");
        }
    }
}
