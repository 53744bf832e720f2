//! How many times slower the candidate is than the baseline: confidence sequences on the mean logarithm of times. Pure.
//!
//! Logarithms, since times have long tails and a difference of logarithms is a ratio of times. The sequence holds at all
//! looks at once for large counts (asymptotically), whatever the distribution; below [`LEAST`] times there is none.
//! Source: Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, Annals of Statistics 52(6) 2024, arXiv 2103.06476, Proposition 2.5.

use serde::{Deserialize, Serialize};

use super::Interval;

/// Where the asymptotics are trusted from: a few times tell their own variance too badly.
pub const LEAST: u64 = 30;
/// The count at which the sequence is made tightest.
const TIGHTEST_AT: f64 = 150.0;
/// Below any time or price that is told apart.
const SMALLEST: f64 = 1e-9;

/// Count, mean and sum of squared deviations of logarithms (Welford 1962): all that is kept, in any number of times.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct LogTimes {
    pub count: u64,
    mean: f64,
    squares: f64,
}

impl LogTimes {
    pub fn add(&mut self, value: f64) {
        let value = value.max(SMALLEST).ln();
        self.count += 1;
        let deviation = value - self.mean;
        self.mean += deviation / self.count as f64;
        self.squares += deviation * (value - self.mean);
    }

    /// So many times about one second that vary so: what is to be expected before there are any.
    pub(crate) fn alike(count: u64, deviation: f64) -> Self {
        Self { count, mean: 0.0, squares: deviation * deviation * count.saturating_sub(1) as f64 }
    }

    /// How many times as long as the others these are (ratio of geometric means).
    pub fn times_as_long(&self, others: &Self) -> f64 {
        (self.mean - others.mean).exp()
    }

    /// So many times as many with the same mean and variance, for looking ahead.
    #[must_use]
    pub fn scaled(&self, factor: f64) -> Self {
        let count = (self.count as f64 * factor) as u64;
        Self { count, mean: self.mean, squares: self.squares * factor }
    }

    /// The same but for the last bits.
    #[cfg(test)]
    pub(crate) fn is_nearly(&self, other: &Self) -> bool {
        let is_near = |one: f64, other: f64| (one - other).abs() <= 1e-9 * one.abs().max(1.0);
        self.count == other.count && is_near(self.mean, other.mean) && is_near(self.squares, other.squares)
    }

    /// Holds the true mean logarithm at all looks with a chance of at least 1 - alpha.
    pub fn interval(&self, alpha: f64) -> Option<Interval> {
        if self.count < LEAST {
            return None;
        }
        let count = self.count as f64;
        let variance = self.squares / (count - 1.0);
        let ln_alpha = -2.0 * alpha.ln();
        let rho_squared = (ln_alpha + ln_alpha.ln_1p() + 1.0) / TIGHTEST_AT;
        // In units of the standard deviation, so that the tightest count does not depend on how times vary.
        let spread = count * rho_squared + 1.0;
        let margin = (variance * spread / (count * count * rho_squared) * (spread / (alpha * alpha)).ln()).sqrt();
        Some(Interval { low: self.mean - margin, high: self.mean + margin })
    }
}

/// How many times as long as the baseline's the candidate's times are (ratio of geometric means); none with few times.
pub fn slowdown(candidate: &LogTimes, baseline: &LogTimes, alpha: f64) -> Option<Interval> {
    let (candidate, baseline) = (candidate.interval(alpha / 2.0)?, baseline.interval(alpha / 2.0)?);
    Some(Interval { low: (candidate.low - baseline.high).exp(), high: (candidate.high - baseline.low).exp() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::chance::Chance;
    use super::*;

    fn time(chance: &mut Chance, median: f64) -> f64 {
        median * (0.6 * chance.normal()).exp()
    }

    proptest! {
        #[test]
        fn the_mean_is_that_of_all_values_and_the_unit_of_time_does_not_matter(
            times in prop::collection::vec(1_000u64..100_000_000, 30..200), factor in 2u32..100,
        ) {
            let (mut one, mut other) = (LogTimes::default(), LogTimes::default());
            for micros in &times {
                one.add(*micros as f64 / 1e6);
                other.add(*micros as f64 / 1e6 * f64::from(factor));
            }
            let mean = times.iter().map(|micros| (*micros as f64 / 1e6).ln()).sum::<f64>() / times.len() as f64;
            prop_assert!((one.mean - mean).abs() < 1e-6);
            let (one, other) = (one.interval(0.01).unwrap(), other.interval(0.01).unwrap());
            prop_assert!((other.low - one.low - f64::from(factor).ln()).abs() < 1e-6);
            prop_assert!((other.high - one.high - f64::from(factor).ln()).abs() < 1e-6);
        }
    }

    #[test]
    fn few_times_say_nothing() {
        let mut times = LogTimes::default();
        (1..LEAST).for_each(|_| times.add(1.0));
        assert_eq!(times.interval(0.01), None);
        assert_eq!(slowdown(&times, &times, 0.01), None);
    }

    #[test]
    fn equal_times_seldom_look_slower_and_a_half_more_is_seen() {
        for (median, seed, least, most) in [(1.0, 5, 0, 4), (1.5, 6, 190, 200)] {
            let mut chance = Chance(seed);
            let slower = (0..200).filter(|_| {
                let (mut candidate, mut baseline) = (LogTimes::default(), LogTimes::default());
                (0..600).any(|_| {
                    candidate.add(time(&mut chance, median));
                    (0..4).for_each(|_| baseline.add(time(&mut chance, 1.0)));
                    slowdown(&candidate, &baseline, 0.01).is_some_and(|ratio| ratio.low > 1.0)
                })
            });
            let slower = slower.count();
            assert!((least..=most).contains(&slower), "{slower} of 200 at {median}");
        }
    }
}
