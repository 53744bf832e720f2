//! What counts say: an anytime-valid test of a share, and quantiles for the reader. Pure.
//!
//! The test is against "at most `allowed` of the answers are bad". Its evidence is a mixture of likelihood ratios: each
//! alternative share above `allowed` bets a part of one unit against it, and wins with every bad answer. While the claim
//! holds the capital is a supermartingale, so it ever reaches 1/alpha with a chance of at most alpha (Ville's
//! inequality), however often it is looked at and whenever the looking stops. Nothing is assumed of the answers but
//! that each one's chance of being bad, given those before it, is at most `allowed`.
//! Sources: Ville 1939; Howard, Ramdas, McAuliffe and Sekhon, arXiv 1810.08240; Waudby-Smith and Ramdas, arXiv 2010.09686.

pub mod bounded;
#[doc(hidden)]
pub mod chance;
pub mod comparison;
pub mod log_mean;
pub mod sample_ratio;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Bounds that hold at all looks at once.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    pub low: f64,
    pub high: f64,
}

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

/// The evidence that rolls back: the chance `alpha` is for a whole rollout, each of whose stages starts anew.
pub fn ln_limit(alpha: f64, stages: usize) -> f64 {
    (stages as f64 / alpha).ln()
}

/// What each gate may use up of the chance that is for all of them together (Bonferroni), so that more gates are no more
/// risk for a healthy candidate.
pub fn alpha_of_each(alpha: f64, gates: usize) -> f64 {
    alpha / gates.max(1) as f64
}

/// The most answers that are looked ahead for.
const HORIZON: u64 = 10_000_000;

/// Answers still needed until the evidence reaches the limit, if they go on as bad as they were; none if that never is.
pub fn answers_until_refuted(allowed: f64, bad: u64, total: u64, ln_limit: f64) -> Option<u64> {
    let is_refuted = |more: u64| {
        let all_bad = bad + (bad as f64 / total.max(1) as f64 * more as f64) as u64;
        ln_evidence(allowed, all_bad, total + more) >= ln_limit
    };
    answers_until(is_refuted)
}

/// The shares that the answers do not refute, each side with the chance alpha of being wrong at any look.
pub fn share_interval(bad: u64, total: u64, alpha: f64) -> Interval {
    let ln_limit = ln_limit(alpha, 1);
    // What refutes "at most" for bad answers refutes "at least" for good ones.
    let below = |bad: u64| {
        let (mut refuted, mut possible) = (0.0, 1.0);
        // To a hundredth of a percent: it is only told.
        for _ in 0..14 {
            let share = f64::midpoint(refuted, possible);
            if ln_evidence(share, bad, total) >= ln_limit { refuted = share } else { possible = share }
        }
        refuted
    };
    Interval { low: below(bad), high: 1.0 - below(total.saturating_sub(bad)) }
}

/// The fewest further answers (at least one) with which it is so, by doubling and halving; none within the horizon.
pub fn answers_until(is_so: impl Fn(u64) -> bool) -> Option<u64> {
    let mut enough = 1;
    while !is_so(enough) {
        enough *= 2;
        if enough > HORIZON {
            return None;
        }
    }
    let mut few = enough / 2;
    while enough - few > 1 {
        let middle = u64::midpoint(few, enough);
        if is_so(middle) { enough = middle } else { few = middle }
    }
    Some(enough)
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
/// Below any time or price that is told apart.
const SMALLEST: f64 = 1e-9;

/// How times (or costs) are spread, in little room: for what is reported. Gates count exactly, see [`crate::evidence`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spread {
    buckets: BTreeMap<i32, u64>,
    /// Answers that have no such time; they lie above all others.
    without: u64,
}

impl Spread {
    pub fn add(&mut self, value: Option<f64>) {
        match value {
            Some(value) => {
                let bucket = (value.max(SMALLEST).ln() / BUCKET_RATIO.ln()).ceil() as i32;
                *self.buckets.entry(bucket).or_default() += 1;
            }
            None => self.without += 1,
        }
    }

    /// The value that at most the share `allowed_above` lies above; none without times, or where the answers without one lie.
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
    use std::time::Duration;

    use proptest::prelude::*;

    use super::chance::Chance;
    use super::*;

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
            times.iter().for_each(|micros| spread.add(Some(*micros as f64 / 1e6)));
            times.sort_unstable();
            for allowed in [0.5, 0.05, 0.01] {
                let above = (allowed * times.len() as f64 + 1e-9).floor() as usize;
                let exact = Duration::from_micros(times[times.len() - above - 1]).as_secs_f64();
                let estimate = spread.quantile(allowed).unwrap();
                prop_assert!((estimate / exact - 1.0).abs() < 0.010_001, "{estimate} for {exact}");
            }
        }
    }

    proptest! {
        #[test]
        fn an_interval_holds_the_share_seen_and_narrows(total in 1u64..5_000, share in 0.0f64..=1.0) {
            let bad = (share * total as f64) as u64;
            let (few, many) = (share_interval(bad, total, 0.01), share_interval(bad * 10, total * 10, 0.01));
            let seen = bad as f64 / total as f64;
            prop_assert!(few.low <= seen && seen <= few.high, "{few:?} {seen}");
            prop_assert!(many.high - many.low < few.high - few.low);
        }

        #[test]
        fn who_goes_on_as_told_is_there_when_told(total in 1u64..2_000, share in 0.0f64..1.0, allowed in 0.01f64..0.5) {
            let bad = (share * total as f64) as u64;
            if let Some(more) = answers_until_refuted(allowed, bad, total, 8.0) {
                let all_bad = bad + (bad as f64 / total as f64 * more as f64) as u64;
                prop_assert!(ln_evidence(allowed, all_bad, total + more) >= 8.0);
            }
        }
    }

    #[test]
    fn the_fewest_answers_are_found() {
        for wanted in [1, 2, 3, 4, 5, 1_000, 12_345] {
            assert_eq!(answers_until(|more| more >= wanted), Some(wanted));
        }
        assert_eq!(answers_until(|_| false), None);
    }

    #[test]
    fn a_share_below_the_threshold_is_never_refuted_however_long_it_goes_on() {
        assert_eq!(answers_until_refuted(0.05, 1, 100, 8.0), None);
        assert_eq!(answers_until_refuted(0.05, 0, 0, 8.0), None);
    }

    #[test]
    fn gates_share_the_chance_and_no_gate_divides_by_zero() {
        assert!((alpha_of_each(0.01, 4) - 0.0025).abs() < 1e-12);
        assert!((alpha_of_each(0.01, 0) - 0.01).abs() < 1e-12);
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
        spread.add(Some(1.0));
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
