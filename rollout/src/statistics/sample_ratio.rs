//! Whether the requests were split as the weights say. Pure.
//!
//! A split that is off means that a variant's answers are not a fair sample (a routing fault, answers that get lost), so
//! that nothing else may be believed. The unit is whatever is routed on its own: a session, or a request without a key.
//! Source: Lindon and Malek, arXiv 2011.03567: the requests are to the weights what failures are to a ratio of 1.

use super::comparison::{Tally, ln_evidence_above, ln_evidence_below};
use super::ln_sum;

/// Natural logarithm of the evidence against "each request was the candidate's with the chance that was its weight".
pub fn ln_evidence_misrouted(tallies: &[Tally]) -> f64 {
    ln_sum(&[ln_evidence_above(1.0, tallies), ln_evidence_below(1.0, tallies)]) - 2f64.ln()
}

#[cfg(test)]
mod tests {
    use super::super::chance::Chance;
    use super::*;

    #[test]
    fn a_true_split_is_seldom_doubted_though_looked_at_after_each_request() {
        let mut chance = Chance(11);
        let doubted = (0..300).filter(|_| {
            let mut tally = Tally { weight: 0.1, candidate: 0, baseline: 0 };
            (0..1_000).any(|_| {
                let of = if chance.is(tally.weight) { &mut tally.candidate } else { &mut tally.baseline };
                *of += 1;
                ln_evidence_misrouted(&[tally]) >= 100f64.ln()
            })
        });
        assert!(doubted.count() <= 6);
    }

    #[test]
    fn a_wrong_split_is_found_in_either_direction() {
        for (candidate, baseline) in [(600, 1_400), (20, 1_980)] {
            assert!(ln_evidence_misrouted(&[Tally { weight: 0.1, candidate, baseline }]) > 1_000f64.ln());
        }
        assert!(ln_evidence_misrouted(&[Tally { weight: 0.1, candidate: 205, baseline: 1_795 }]) < 0.0);
    }
}
