//! The mean of scores from 0 to 1, from few of them: a confidence sequence by betting. Pure.
//!
//! For each possible mean of a grid one gambler bets that the scores lie above it and one that they lie below; the bets
//! follow from earlier scores alone. If the mean is right both games are fair, so a gambler who makes 2/alpha out of 1
//! refutes it. For the difference of pairs use `(candidate - baseline + 1) / 2`.
//! Source: Waudby-Smith and Ramdas, JRSS-B 86(1) 2024, arXiv 2010.09686, Theorem 3 (predictable plug-in, truncated at 1/2).

use serde::{Deserialize, Serialize};

use super::Interval;

const STEPS: u32 = 200;
const LARGEST_BET: f64 = 0.5;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    pub count: u64,
    alpha: f64,
    sum: f64,
    squares: f64,
    /// Logarithms of the capitals against each mean of the grid.
    ln_above: Vec<f64>,
    ln_below: Vec<f64>,
}

impl Scores {
    pub fn new(alpha: f64) -> Self {
        let capitals = vec![0.0; STEPS as usize + 1];
        Self { count: 0, alpha, sum: 0.0, squares: 0.0, ln_above: capitals.clone(), ln_below: capitals }
    }

    /// A score outside 0 to 1 counts as the nearer end; one that is no number says nothing.
    pub fn add(&mut self, score: f64) {
        if score.is_nan() {
            return;
        }
        let score = score.clamp(0.0, 1.0);
        let bet = self.bet();
        for (at, (above, below)) in self.ln_above.iter_mut().zip(&mut self.ln_below).enumerate() {
            let mean = at as f64 / f64::from(STEPS);
            // The bets are capped so that no score can take more than half of a capital.
            *above += (bet.min(LARGEST_BET / mean) * (score - mean)).ln_1p();
            *below += (-bet.min(LARGEST_BET / (1.0 - mean)) * (score - mean)).ln_1p();
        }
        self.count += 1;
        self.sum += score;
        self.squares += (score - self.estimate()).powi(2);
    }

    /// Of the mean of the scores: the end of the grid's last mean that isn't refuted, and one step for what lies between.
    pub fn interval(&self) -> Interval {
        let (limit, last) = ((2.0 / self.alpha).ln(), STEPS as usize);
        let low = self.ln_above.iter().position(|ln| *ln < limit).unwrap_or(last);
        let high = self.ln_below.iter().rposition(|ln| *ln < limit).unwrap_or(0);
        let step = f64::from(STEPS);
        Interval { low: low.saturating_sub(1) as f64 / step, high: (high + 1).min(last) as f64 / step }
    }

    fn estimate(&self) -> f64 {
        (0.5 + self.sum) / (self.count as f64 + 1.0)
    }

    fn bet(&self) -> f64 {
        let time = self.count as f64 + 1.0;
        let variance = (0.25 + self.squares) / time;
        (2.0 * (2.0 / self.alpha).ln() / (variance * time * time.ln_1p())).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::chance::Chance;
    use super::*;

    proptest! {
        /// Whatever was seen before, one more score from two values with that mean is a fair bet for both gamblers.
        #[test]
        fn both_gamblers_play_a_fair_game_at_the_true_mean(
            before in prop::collection::vec(0.0f64..=1.0, 0..40), at in 1usize..200, low in 0.0f64..1.0, high in 0.0f64..1.0,
        ) {
            let mean = at as f64 / f64::from(STEPS);
            let (low, high) = (mean * low, mean + (1.0 - mean) * high);
            prop_assume!(high - low > 1e-3);
            let mut scores = Scores::new(0.05);
            before.iter().for_each(|score| scores.add(*score));
            let chance = (mean - low) / (high - low);
            let gain = |of: fn(&Scores) -> &Vec<f64>| {
                let after = |score| {
                    let mut next = scores.clone();
                    next.add(score);
                    (of(&next)[at] - of(&scores)[at]).exp()
                };
                chance * after(high) + (1.0 - chance) * after(low)
            };
            prop_assert!((gain(|scores| &scores.ln_above) - 1.0).abs() < 1e-9);
            prop_assert!((gain(|scores| &scores.ln_below) - 1.0).abs() < 1e-9);
        }

        #[test]
        fn an_interval_lies_within_0_and_1_and_is_all_of_it_without_scores(scores in prop::collection::vec(-1.0f64..2.0, 0..60)) {
            let mut seen = Scores::new(0.05);
            prop_assert_eq!(seen.interval(), Interval { low: 0.0, high: 1.0 });
            scores.iter().for_each(|score| seen.add(*score));
            seen.add(f64::NAN);
            let Interval { low, high } = seen.interval();
            prop_assert!(low >= 0.0 && high <= 1.0);
            prop_assert_eq!(seen.count, scores.len() as u64);
        }
    }

    #[test]
    fn the_true_mean_is_seldom_left_out_and_the_interval_gets_tight() {
        let mut chance = Chance(3);
        let mut left_out = 0;
        for _ in 0..100 {
            let mut scores = Scores::new(0.05);
            let mut is_left_out = false;
            for _ in 0..300 {
                scores.add(f64::from(u8::from(chance.is(0.9))));
                let interval = scores.interval();
                is_left_out |= interval.low > 0.9 || interval.high < 0.9;
            }
            left_out += u32::from(is_left_out);
            let interval = scores.interval();
            assert!(interval.high - interval.low < 0.2, "{interval:?}");
        }
        assert!(left_out <= 8, "{left_out} of 100");
    }
}
