//! Draws the next token from the model's logits. Pure but for its own seeded random numbers.
//!
//! Order: biases and penalties, then log probabilities (what is reported), then temperature, then min-p, top-k and top-p,
//! then one draw.

use std::collections::HashMap;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// How to draw; ranges were checked when the request was parsed.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// 0 takes the most likely token.
    pub temperature: f32,
    pub top_p: f32,
    pub frequency_penalty: f32,
    pub presence_penalty: f32,
    /// Only so many of the most likely tokens.
    pub top_k: Option<usize>,
    /// No token less likely than this share of the most likely one.
    pub min_p: f32,
    /// What is added to the logits of single tokens.
    pub logit_bias: Vec<(u32, f32)>,
    pub seed: Option<u64>,
    /// `Some(n)`: report the drawn token's log probability and those of the `n` most likely ones.
    pub logprobs: Option<usize>,
}

impl Default for Sampling {
    fn default() -> Self {
        let (frequency_penalty, presence_penalty) = (0.0, 0.0);
        Self {
            temperature: 1.0,
            top_p: 1.0,
            frequency_penalty,
            presence_penalty,
            top_k: None,
            min_p: 0.0,
            logit_bias: Vec::new(),
            seed: None,
            logprobs: None,
        }
    }
}

/// A drawn token, with the log probabilities that were asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Drawn {
    pub token: u32,
    pub logprobs: Option<TokenLogprobs>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct TokenLogprobs {
    pub logprob: f32,
    /// Most likely first.
    pub top: Vec<(u32, f32)>,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the model gave no finite logit: its weights are damaged or their format is not computed correctly")]
pub struct NoFiniteLogit;

/// One sequence's random numbers and what it has drawn so far.
#[derive(Debug)]
pub struct Sampler {
    sampling: Sampling,
    random: StdRng,
    counts: HashMap<u32, u32>,
}

impl Sampler {
    pub fn new(sampling: Sampling) -> Self {
        let random = sampling.seed.map_or_else(StdRng::from_os_rng, StdRng::seed_from_u64);
        Self { sampling, random, counts: HashMap::new() }
    }

    /// Draws one token; the same seed and the same logits give the same tokens.
    pub fn draw(&mut self, mut logits: Vec<f32>) -> Result<Drawn, NoFiniteLogit> {
        for (token, bias) in &self.sampling.logit_bias {
            if let Some(logit) = logits.get_mut(*token as usize) {
                *logit += bias;
            }
        }
        self.penalise(&mut logits);
        let best = most_likely(&logits).ok_or(NoFiniteLogit)?;
        let logprobs_of = self.sampling.logprobs.map(|top| (top, log_sum_exp(&logits, logits[best])));
        let reported = logprobs_of.map(|(top, total)| (top_logprobs(&logits, top, total), total));
        let token = if self.sampling.temperature == 0.0 { best } else { self.draw_random(&logits, best) };
        let logprobs = reported.map(|(top, total)| TokenLogprobs { logprob: logits[token] - total, top });
        *self.counts.entry(token as u32).or_default() += 1;
        Ok(Drawn { token: token as u32, logprobs })
    }

    /// OpenAI's penalties: logit - count * frequency - (count > 0) * presence, over the tokens drawn so far.
    fn penalise(&self, logits: &mut [f32]) {
        let Sampling { frequency_penalty, presence_penalty, .. } = self.sampling;
        if frequency_penalty == 0.0 && presence_penalty == 0.0 {
            return;
        }
        for (token, count) in &self.counts {
            if let Some(logit) = logits.get_mut(*token as usize) {
                *logit -= *count as f32 * frequency_penalty + presence_penalty;
            }
        }
    }

    fn draw_random(&mut self, logits: &[f32], best: usize) -> usize {
        let mut weights = tempered(logits, logits[best], self.sampling.temperature);
        let least = self.sampling.top_k.map_or(0.0, |count| nth_largest(&weights, count)).max(self.sampling.min_p);
        weights.iter_mut().filter(|weight| **weight < least).for_each(|weight| *weight = 0.0);
        let candidates = nucleus(&weights, best, self.sampling.top_p);
        let total: f64 = candidates.iter().map(|token| f64::from(weights[*token])).sum();
        let mut left = self.random.random::<f64>() * total;
        for token in &candidates {
            left -= f64::from(weights[*token]);
            if left < 0.0 {
                return *token;
            }
        }
        best
    }
}

/// The largest finite logit, the lowest token of equals.
fn most_likely(logits: &[f32]) -> Option<usize> {
    let finite = logits.iter().enumerate().filter(|(_, logit)| logit.is_finite());
    finite
        .fold(None, |best: Option<(usize, f32)>, (token, logit)| match best {
            Some((_, largest)) if largest >= *logit => best,
            _ => Some((token, *logit)),
        })
        .map(|(token, _)| token)
}

/// Unnormalised probabilities at a temperature, the most likely token's being 1; never NaN.
fn tempered(logits: &[f32], largest: f32, temperature: f32) -> Vec<f32> {
    let weight = |logit: &f32| ((logit - largest) / temperature).exp();
    logits.iter().map(|logit| if logit.is_finite() { weight(logit) } else { 0.0 }).collect()
}

/// 0 if there are no more than `count`, which is at least 1.
fn nth_largest(weights: &[f32], count: usize) -> f32 {
    if count >= weights.len() {
        return 0.0;
    }
    let mut order = weights.to_vec();
    let (_, nth, _) = order.select_nth_unstable_by(count.saturating_sub(1), |a, b| b.total_cmp(a));
    *nth
}

/// The smallest set of most likely tokens whose share reaches `top_p`; it always holds `best`.
fn nucleus(weights: &[f32], best: usize, top_p: f32) -> Vec<usize> {
    if top_p >= 1.0 {
        return (0..weights.len()).filter(|token| weights[*token] > 0.0).collect();
    }
    let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
    // A token below this can't be in the nucleus: even all such tokens together have less than 1 - top_p. It spares
    // sorting a vocabulary of 150 000 for a handful of candidates.
    let least = ((1.0 - f64::from(top_p)) * total / weights.len() as f64) as f32;
    let mut candidates: Vec<usize> = (0..weights.len()).filter(|token| weights[*token] >= least).collect();
    candidates.sort_unstable_by(|a, b| weights[*b].total_cmp(&weights[*a]).then(a.cmp(b)));
    let mut share = 0.0;
    let mut kept = 0;
    while kept < candidates.len() && share < f64::from(top_p) * total {
        share += f64::from(weights[candidates[kept]]);
        kept += 1;
    }
    candidates.truncate(kept.max(1));
    if candidates.is_empty() { vec![best] } else { candidates }
}

fn log_sum_exp(logits: &[f32], largest: f32) -> f32 {
    let sum: f64 = logits.iter().filter(|logit| logit.is_finite()).map(|logit| f64::from(logit - largest).exp()).sum();
    largest + sum.ln() as f32
}

fn top_logprobs(logits: &[f32], count: usize, total: f32) -> Vec<(u32, f32)> {
    let mut order: Vec<usize> = (0..logits.len()).filter(|token| logits[*token].is_finite()).collect();
    let by_logit = |a: &usize, b: &usize| logits[*b].total_cmp(&logits[*a]).then(a.cmp(b));
    if count < order.len() {
        order.select_nth_unstable_by(count, by_logit);
        order.truncate(count);
    }
    order.sort_unstable_by(by_logit);
    order.into_iter().map(|token| (token as u32, logits[token] - total)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sampler(sampling: Sampling) -> Sampler {
        Sampler::new(Sampling { seed: Some(sampling.seed.unwrap_or(7)), ..sampling })
    }

    #[test]
    fn temperature_zero_takes_the_first_of_the_most_likely() {
        let mut greedy = sampler(Sampling { temperature: 0.0, ..Sampling::default() });
        assert_eq!(greedy.draw(vec![1.0, 3.0, f32::NAN, 3.0]).unwrap().token, 1);
        assert_eq!(greedy.draw(vec![f32::NAN, f32::NEG_INFINITY]), Err(NoFiniteLogit));
    }

    #[test]
    fn draws_follow_the_probabilities() {
        let mut fair = sampler(Sampling::default());
        let logits = vec![0.7f32.ln(), 0.2f32.ln(), 0.1f32.ln()];
        let mut counts = [0u32; 3];
        for _ in 0..20_000 {
            counts[fair.draw(logits.clone()).unwrap().token as usize] += 1;
        }
        for (count, share) in counts.iter().zip([0.7, 0.2, 0.1]) {
            assert!((f64::from(*count) / 20_000.0 - share).abs() < 0.02, "{counts:?}");
        }
    }

    #[test]
    fn penalties_push_repeated_tokens_down() {
        let frequency = Sampling { temperature: 0.0, frequency_penalty: 1.0, ..Sampling::default() };
        let mut penalised = sampler(frequency);
        let drawn: Vec<u32> = (0..4).map(|_| penalised.draw(vec![1.5, 1.0, -5.0]).unwrap().token).collect();
        assert_eq!(drawn, [0, 1, 0, 1]);
    }

    #[test]
    fn unlikely_tokens_are_left_out_as_asked() {
        let logits = || vec![0.5f32.ln(), 0.3f32.ln(), 0.15f32.ln(), 0.05f32.ln()];
        let drawn = |sampling: Sampling| {
            let mut sampler = sampler(sampling);
            let mut seen: Vec<u32> = (0..500).map(|_| sampler.draw(logits()).unwrap().token).collect();
            seen.sort_unstable();
            seen.dedup();
            seen
        };
        assert_eq!(drawn(Sampling::default()), [0, 1, 2, 3]);
        assert_eq!(drawn(Sampling { top_k: Some(2), ..Sampling::default() }), [0, 1]);
        assert_eq!(drawn(Sampling { top_k: Some(9), ..Sampling::default() }), [0, 1, 2, 3]);
        assert_eq!(drawn(Sampling { min_p: 0.2, ..Sampling::default() }), [0, 1, 2]);
        assert_eq!(drawn(Sampling { logit_bias: vec![(0, -100.0), (99, 1.0)], ..Sampling::default() }), [1, 2, 3]);
    }

    #[test]
    fn logprobs_are_those_of_the_softmax() {
        let mut reporting = sampler(Sampling { temperature: 0.0, logprobs: Some(2), ..Sampling::default() });
        let drawn = reporting.draw(vec![0.5f32.ln(), 0.25f32.ln(), 0.25f32.ln()]).unwrap().logprobs.unwrap();
        assert!((drawn.logprob - 0.5f32.ln()).abs() < 1e-6);
        assert_eq!(drawn.top.iter().map(|(token, _)| *token).collect::<Vec<_>>(), [0, 1]);
        assert!((drawn.top[1].1 - 0.25f32.ln()).abs() < 1e-6);
    }

    /// The nucleus by the definition, without the shortcut.
    fn plain_nucleus(weights: &[f32], top_p: f32) -> Vec<usize> {
        let mut order: Vec<usize> = (0..weights.len()).collect();
        order.sort_by(|a, b| weights[*b].total_cmp(&weights[*a]).then(a.cmp(b)));
        let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
        let mut share = 0.0;
        let mut kept = Vec::new();
        for token in order {
            if !kept.is_empty() && share >= f64::from(top_p) * total {
                break;
            }
            share += f64::from(weights[token]);
            kept.push(token);
        }
        kept
    }

    proptest! {
        #[test]
        fn the_nucleus_is_the_smallest_set_that_reaches_top_p(
            logits in proptest::collection::vec(-8.0f32..8.0, 1..60), top_p in 0.0f32..0.999,
        ) {
            let best = most_likely(&logits).unwrap();
            let weights = tempered(&logits, logits[best], 1.0);
            prop_assert_eq!(nucleus(&weights, best, top_p), plain_nucleus(&weights, top_p));
        }

        #[test]
        fn a_seed_fixes_the_draws(logits in proptest::collection::vec(-4.0f32..4.0, 2..40), seed: u64, top_p in 0.1f32..=1.0) {
            let sampling = Sampling { seed: Some(seed), top_p, temperature: 0.8, ..Sampling::default() };
            let mut one = Sampler::new(sampling.clone());
            let mut two = Sampler::new(sampling);
            for _ in 0..8 {
                prop_assert_eq!(one.draw(logits.clone()), two.draw(logits.clone()));
            }
        }
    }
}
