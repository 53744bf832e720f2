//! Whether the candidate fails more often than the baseline, from failures alone. Pure.
//!
//! Given that a request failed, the chance that it was the candidate's is `w d / (w d + 1 - w)`: `w` is the candidate's
//! weight at that time, known exactly, and `d` how many times as often it fails. How often both fail cancels out, so a
//! day on which everything fails more says nothing, and failures of stages with different weights add up: this evidence
//! is carried through a whole rollout and needs no new start at each stage.
//! The evidence is a mixture of likelihood ratios against the bound; its ever reaching 1/alpha has a chance of at most alpha.
//! Source: Lindon and Malek, Anytime-Valid Inference for Multinomial Count Data, NeurIPS 2022, arXiv 2011.03567.

use serde::{Deserialize, Serialize};

use super::{Interval, ln_sum};

/// Alternatives reach from a fifth worse than the bound to 200 times as bad.
const RATIO_STEP: f64 = 1.25;
const ALTERNATIVES: i32 = 24;
/// No ratio that is told is larger, and none smaller than one to that.
const LARGEST_RATIO: f64 = 1_000.0;

/// What both variants had (failures, or requests for the sample ratio) while the candidate's weight was one value.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    /// The candidate's share of the requests, 0 to 1. At 0 and 1 there is nothing to compare.
    pub weight: f64,
    pub candidate: u64,
    pub baseline: u64,
}

/// Natural logarithm of the evidence against "the candidate fails at most `ratio` times as often as the baseline".
pub fn ln_evidence_above(ratio: f64, tallies: &[Tally]) -> f64 {
    ln_mixture(ratio, RATIO_STEP, tallies)
}

/// The same against "at least `ratio` times as often": what shows that a candidate is no worse.
pub fn ln_evidence_below(ratio: f64, tallies: &[Tally]) -> f64 {
    ln_mixture(ratio, 1.0 / RATIO_STEP, tallies)
}

/// How many times as often the candidate fails (Mantel and Haenszel 1959, over the weights); none without failures.
pub fn estimate(tallies: &[Tally]) -> Option<f64> {
    let candidate: f64 = tallies.iter().map(|tally| tally.candidate as f64 * (1.0 - tally.weight)).sum();
    let baseline: f64 = tallies.iter().map(|tally| tally.baseline as f64 * tally.weight).sum();
    (candidate + baseline > 0.0).then(|| (candidate / baseline).min(LARGEST_RATIO))
}

/// The ratios that the failures do not refute, each side by the evidence `ln_limit`.
pub fn ratio_interval(tallies: &[Tally], ln_limit: f64) -> Interval {
    let last_refuted = |refutes: &dyn Fn(f64) -> bool| {
        // Halved in logarithms: the refuted side is where the search starts.
        let (mut refuted, mut possible) = (LARGEST_RATIO.ln(), -LARGEST_RATIO.ln());
        // To a thousandth of itself: it is only told.
        for _ in 0..14 {
            let middle = f64::midpoint(refuted, possible);
            if refutes(middle) { refuted = middle } else { possible = middle }
        }
        refuted.exp()
    };
    let high = last_refuted(&|ln_ratio| ln_evidence_below(ln_ratio.exp(), tallies) >= ln_limit);
    let low = 1.0 / last_refuted(&|ln_ratio| ln_evidence_above((-ln_ratio).exp(), tallies) >= ln_limit);
    Interval { low, high }
}

/// So many times as many of each, for looking ahead.
pub fn scaled(tallies: &[Tally], factor: f64) -> Vec<Tally> {
    let times = |count: u64| (count as f64 * factor) as u64;
    let scaled = |tally: &Tally| Tally {
        weight: tally.weight,
        candidate: times(tally.candidate),
        baseline: times(tally.baseline),
    };
    tallies.iter().map(scaled).collect()
}

fn ln_mixture(ratio: f64, step: f64, tallies: &[Tally]) -> f64 {
    let ln_stake = -f64::from(ALTERNATIVES).ln();
    let bets = (1..=ALTERNATIVES).map(|power| {
        let alternative = ratio * step.powi(power);
        ln_stake + tallies.iter().map(|tally| tally.ln_likelihood_ratio(alternative, ratio)).sum::<f64>()
    });
    ln_sum(&bets.collect::<Vec<_>>())
}

impl Tally {
    fn ln_likelihood_ratio(&self, alternative: f64, ratio: f64) -> f64 {
        let Self { weight, candidate, baseline } = *self;
        if !(weight > 0.0 && weight < 1.0) {
            return 0.0;
        }
        let ln_norms = ((weight * ratio + 1.0 - weight) / (weight * alternative + 1.0 - weight)).ln();
        candidate as f64 * ((alternative / ratio).ln() + ln_norms) + baseline as f64 * ln_norms
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tally(weight: f64, candidate: u64, baseline: u64) -> Tally {
        Tally { weight, candidate, baseline }
    }

    /// What the evidence is multiplied by on average with one more failure, if the candidate fails `truth` times as often.
    fn mean_gain(evidence: impl Fn(&[Tally]) -> f64, before: [Tally; 2], truth: f64) -> f64 {
        let now = evidence(&before);
        let [first, last] = before;
        let chance = last.weight * truth / (last.weight * truth + 1.0 - last.weight);
        let after = |candidate, baseline| {
            let last = tally(last.weight, last.candidate + candidate, last.baseline + baseline);
            (evidence(&[first, last]) - now).exp()
        };
        chance * after(1, 0) + (1.0 - chance) * after(0, 1)
    }

    proptest! {
        #[test]
        fn evidence_is_a_fair_bet_at_the_bound_and_a_losing_one_on_its_good_side(
            ratio in 0.5f64..3.0, weights in (0.01f64..0.99, 0.01f64..0.99), counts in (0u64..400, 0u64..400, 0u64..400, 0u64..400),
            share in 0.01f64..1.0,
        ) {
            let before = [tally(weights.0, counts.0, counts.1), tally(weights.1, counts.2, counts.3)];
            let (above, below) = (|t: &[Tally]| ln_evidence_above(ratio, t), |t: &[Tally]| ln_evidence_below(ratio, t));
            prop_assert!((mean_gain(above, before, ratio) - 1.0).abs() < 1e-6);
            prop_assert!((mean_gain(below, before, ratio) - 1.0).abs() < 1e-6);
            prop_assert!(mean_gain(above, before, ratio * share) <= 1.0 + 1e-6);
            prop_assert!(mean_gain(below, before, ratio / share) <= 1.0 + 1e-6);
        }
    }

    #[test]
    fn without_failures_and_without_a_baseline_there_is_no_evidence() {
        for tallies in [&[][..], &[tally(0.1, 0, 0)], &[tally(1.0, 500, 0)], &[tally(0.0, 0, 500)]] {
            assert!(ln_evidence_above(1.5, tallies).abs() < 1e-12);
            assert!(ln_evidence_below(1.5, tallies).abs() < 1e-12);
        }
    }

    proptest! {
        #[test]
        fn the_interval_holds_the_estimate(counts in (0u64..400, 0u64..400, 0u64..400, 0u64..400)) {
            let tallies = [tally(0.1, counts.0, counts.1), tally(0.6, counts.2, counts.3)];
            let Interval { low, high } = ratio_interval(&tallies, 100f64.ln());
            prop_assert!(low < high);
            let one = [tallies[1]];
            let Interval { low, high } = ratio_interval(&one, 100f64.ln());
            if let Some(ratio) = estimate(&one).filter(|ratio| (0.002..500.0).contains(ratio)) {
                prop_assert!(low <= ratio && ratio <= high, "{low} {ratio} {high}");
            }
        }
    }

    #[test]
    fn the_estimate_is_of_the_rates_and_not_of_the_counts() {
        let even = [tally(0.1, 10, 90), tally(0.6, 60, 40)];
        assert!((estimate(&even).unwrap() - 1.0).abs() < 1e-12);
        assert_eq!(estimate(&[tally(0.1, 0, 0)]), None);
        assert_eq!(estimate(&[tally(0.1, 3, 0)]), Some(LARGEST_RATIO));
    }

    #[test]
    fn stages_add_up_where_each_alone_would_not_do() {
        let stages = [tally(0.1, 6, 6), tally(0.3, 8, 3), tally(0.6, 10, 1)];
        let limit = (1.0f64 / 0.01).ln();
        assert!(ln_evidence_above(1.5, &stages) > limit, "{}", ln_evidence_above(1.5, &stages));
        assert!(stages.iter().all(|stage| ln_evidence_above(1.5, &[*stage]) < limit));
    }

    #[test]
    fn three_failures_of_a_tenth_of_the_traffic_are_enough_where_the_baseline_has_none() {
        let caught = (1..10).find(|&failures| ln_evidence_above(1.5, &[tally(0.1, failures, 0)]) >= 100f64.ln());
        assert!(caught.is_some_and(|failures| failures <= 4), "{caught:?}");
    }
}
