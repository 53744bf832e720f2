//! What counts say: an anytime-valid test of a share, and quantiles for the reader. Pure.
//!
//! The test is against "at most `allowed` of the answers are bad". Its evidence is a mixture of likelihood ratios: each
//! alternative share above `allowed` bets a part of one unit against it, and wins with every bad answer. While the claim
//! holds the capital is a supermartingale, so it ever reaches 1/alpha with a chance of at most alpha (Ville's
//! inequality), however often it is looked at and whenever the looking stops. Nothing is assumed of the answers but
//! that each one's chance of being bad, given those before it, is at most `allowed`.
//! Sources: Ville 1939; Howard, Ramdas, McAuliffe and Sekhon, arXiv 1810.08240; Waudby-Smith and Ramdas, arXiv 2010.09686.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Alternatives lie on a logarithmic grid of odds, so that one grid serves a threshold of 0.1% as well as one of 50%.
const ODDS_STEP: f64 = 1.5;
const ALTERNATIVES: u32 = 16;

/// Natural logarithm of the evidence against "at most `allowed` are bad", after `bad` of `total` answers.
/// `allowed` lies between 0 and 1, both excluded.
pub fn ln_evidence(allowed: f64, bad: u64, total: u64) -> f64 {
    let good = total.saturating_sub(bad) as f64;
    let bad = bad as f64;
    let odds = allowed / (1.0 - allowed);
    let terms: Vec<f64> = (1..=ALTERNATIVES)
        .map(|step| {
            let odds = odds * ODDS_STEP.powi(step as i32);
            let ln_ratio_if_bad = (odds / (1.0 + odds) / allowed).ln();
            let ln_ratio_if_good = -odds.ln_1p() - (-allowed).ln_1p();
            ln_stake(step) + bad * ln_ratio_if_bad + good * ln_ratio_if_good
        })
        .collect();
    ln_sum(&terms)
}

/// The evidence that rolls back: the chance `alpha` is for a whole rollout, and each of its stages starts anew.
pub fn ln_limit(alpha: f64, stages: usize) -> f64 {
    (stages as f64 / alpha).ln()
}

/// More for the alternatives near the threshold, which need the most answers to be told apart. All stakes sum to 1.
fn ln_stake(step: u32) -> f64 {
    let parts = if step == ALTERNATIVES { step } else { step * (step + 1) };
    -f64::from(parts).ln()
}

fn ln_sum(terms: &[f64]) -> f64 {
    let largest = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    largest + terms.iter().map(|term| (term - largest).exp()).sum::<f64>().ln()
}

/// Width of a bucket of [`Spread`]: its estimates are within 1% (the sketch of Masson, Rim and Lee, VLDB 2019).
const BUCKET_RATIO: f64 = 1.01 / 0.99;
const SMALLEST_SECONDS: f64 = 1e-6;

/// How times are spread, in little room: for what is reported. Gates count exactly, see [`crate::evidence`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spread {
    buckets: BTreeMap<i32, u64>,
    /// Answers that have no such time; they lie above all others.
    without: u64,
}

impl Spread {
    pub fn add(&mut self, time: Option<Duration>) {
        match time {
            Some(time) => {
                let seconds = time.as_secs_f64().max(SMALLEST_SECONDS);
                *self.buckets.entry((seconds.ln() / BUCKET_RATIO.ln()).ceil() as i32).or_default() += 1;
            }
            None => self.without += 1,
        }
    }

    /// Seconds that at most the share `allowed_above` lies above; none without times, or where the answers without one lie.
    pub fn quantile(&self, allowed_above: f64) -> Option<f64> {
        let total = self.buckets.values().sum::<u64>() + self.without;
        // Room for the binary fraction of 5%: of 20 answers exactly one may lie above.
        let above = (allowed_above * total as f64 + 1e-9).floor() as u64;
        let rank = total.checked_sub(above)?;
        let mut seen = 0;
        for (bucket, count) in &self.buckets {
            seen += count;
            if seen >= rank {
                return Some(2.0 * BUCKET_RATIO.powi(*bucket) / (BUCKET_RATIO + 1.0));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Splitmix64: a seed gives the same numbers on every machine.
    struct Chance(u64);

    impl Chance {
        fn is(&mut self, probability: f64) -> bool {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = self.0;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1u64 << 53) as f64 <= probability
        }
    }

    /// Answers until the evidence is over the limit; looked at after each of the first 200, then after every tenth.
    fn answers_until_caught(allowed: f64, truth: f64, alpha: f64, most: u64, chance: &mut Chance) -> Option<u64> {
        let mut bad = 0;
        (1..=most).find(|&total| {
            bad += u64::from(chance.is(truth));
            (total <= 200 || total % 10 == 0) && ln_evidence(allowed, bad, total) >= ln_limit(alpha, 1)
        })
    }

    proptest! {
        /// The whole proof but Ville's: a fair bet at the threshold, a losing one below it, from wherever one stands.
        #[test]
        fn the_evidence_is_a_fair_bet_at_the_threshold_and_a_losing_one_below(
            allowed in 0.000_1f64..0.9, below in 0.0f64..1.0, total in 0u64..5_000, share in 0.0f64..1.0,
        ) {
            let bad = (share * total as f64) as u64;
            let now = ln_evidence(allowed, bad, total);
            let after = |truth: f64| {
                truth * (ln_evidence(allowed, bad + 1, total + 1) - now).exp()
                    + (1.0 - truth) * (ln_evidence(allowed, bad, total + 1) - now).exp()
            };
            prop_assert!((after(allowed) - 1.0).abs() < 1e-6, "{}", after(allowed));
            prop_assert!(after(allowed * below) <= 1.0 + 1e-6);
        }

        #[test]
        fn evidence_is_a_number_and_grows_with_what_is_bad(
            allowed in 0.000_1f64..0.99, total in 1u64..10_000_000, share in 0.0f64..1.0,
        ) {
            let bad = (share * (total - 1) as f64) as u64;
            let (less, more) = (ln_evidence(allowed, bad, total), ln_evidence(allowed, bad + 1, total));
            prop_assert!(less.is_finite() && more.is_finite() && more > less);
        }

        #[test]
        fn a_quantile_is_within_one_percent(mut times in prop::collection::vec(1u64..100_000_000, 1..300)) {
            let mut spread = Spread::default();
            times.iter().for_each(|micros| spread.add(Some(Duration::from_micros(*micros))));
            times.sort_unstable();
            for allowed in [0.5, 0.05, 0.01] {
                let above = (allowed * times.len() as f64 + 1e-9).floor() as usize;
                let exact = Duration::from_micros(times[times.len() - above - 1]).as_secs_f64();
                let estimate = spread.quantile(allowed).unwrap();
                prop_assert!((estimate / exact - 1.0).abs() < 0.010_001, "{estimate} for {exact}");
            }
        }
    }

    #[test]
    fn without_answers_there_is_no_evidence() {
        for allowed in [0.001, 0.05, 0.5] {
            assert!(ln_evidence(allowed, 0, 0).abs() < 1e-12);
        }
        assert_eq!(Spread::default().quantile(0.05), None);
    }

    #[test]
    fn answers_without_a_time_lie_above_all_others() {
        let mut spread = Spread::default();
        spread.add(Some(Duration::from_secs(1)));
        spread.add(None);
        assert!((spread.quantile(0.5).unwrap() - 1.0).abs() < 0.01);
        assert_eq!(spread.quantile(0.05), None);
    }

    #[test]
    fn a_candidate_at_the_threshold_is_seldom_rolled_back_however_often_it_is_looked_at() {
        for (allowed, alpha, seed) in [(0.05, 0.05, 1), (0.05, 0.01, 2), (0.01, 0.05, 3), (0.5, 0.05, 4)] {
            let mut chance = Chance(seed);
            let runs = 400;
            let caught =
                (0..runs).filter(|_| answers_until_caught(allowed, allowed, alpha, 1_000, &mut chance).is_some());
            let expected = alpha * f64::from(runs);
            // Two standard deviations over what the bound allows; in truth it stays well under it.
            assert!((caught.count() as f64) <= expected + 2.0 * expected.sqrt(), "{allowed} {alpha}");
        }
    }

    #[test]
    fn a_candidate_that_always_fails_is_caught_within_five_answers() {
        for (stages, most) in [(1, 3), (4, 4), (20, 5)] {
            let caught = (1..10).find(|&total| ln_evidence(0.05, total, total) >= ln_limit(0.01, stages)).unwrap();
            assert!((2..=most).contains(&caught), "{caught} with {stages} stages");
        }
    }

    #[test]
    fn a_candidate_that_is_clearly_worse_is_caught_in_reasonable_time() {
        for (truth, typical) in [(0.5, 15), (0.2, 60), (0.1, 400)] {
            let mut chance = Chance(7);
            let mut answers: Vec<u64> =
                (0..101).map(|_| answers_until_caught(0.05, truth, 0.01, 20_000, &mut chance).unwrap()).collect();
            answers.sort_unstable();
            assert!(answers[50] <= typical, "half of the runs took more than {} answers at {truth}", answers[50]);
        }
    }
}
