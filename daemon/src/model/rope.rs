//! Rotary position embedding: the angles of each row, computed for the positions of a step, so that no table bounds
//! the context.

use super::config::{ModelConfig, RopePairs};

/// The rotation frequencies of a model.
#[derive(Debug)]
pub struct Rope {
    pairs: RopePairs,
    /// Radians per position of each pair of components.
    frequencies: Vec<f64>,
    magnitude: f64,
}

/// Cosines and sines of one step's rows, row by row those of each pair.
#[derive(Debug)]
pub struct Angles {
    pairs: RopePairs,
    half: usize,
    turns: Vec<(f32, f32)>,
}

impl Rope {
    /// `factors` are the `rope_freqs.weight` of llama 3 files (its frequency-dependent scaling, worked out by the
    /// converter): each frequency is divided by its own.
    pub fn new(config: &ModelConfig, factors: Option<&[f32]>) -> Self {
        let half = config.head_dim / 2;
        let frequency = |pair: usize| {
            let plain = config.rope_base.powf(-(pair as f64) / half as f64);
            let factor = factors.map_or(1.0, |factors| f64::from(factors[pair]));
            config.rope_scaling.frequency(plain / factor, pair, half, config.rope_base)
        };
        let (pairs, magnitude) = (config.rope_pairs(), config.rope_scaling.magnitude());
        Self { pairs, frequencies: (0..half).map(frequency).collect(), magnitude }
    }

    pub fn angles(&self, positions: impl Iterator<Item = usize>) -> Angles {
        let angles = positions.flat_map(|at| self.frequencies.iter().map(move |step| at as f64 * step));
        let grown = |part: f64| (part * self.magnitude) as f32;
        let turns = angles.map(|angle| (grown(angle.cos()), grown(angle.sin()))).collect();
        Angles { pairs: self.pairs, half: self.frequencies.len(), turns }
    }
}

impl Angles {
    /// Rotates rows of so many heads, in place.
    pub fn rotate(&self, rows: &mut [f32], heads: usize) {
        let dim = 2 * self.half;
        for (row, turns) in rows.chunks_exact_mut(heads * dim).zip(self.turns.chunks_exact(self.half)) {
            for head in row.chunks_exact_mut(dim) {
                match self.pairs {
                    RopePairs::Interleaved => rotate_interleaved(head, turns),
                    RopePairs::Halves => rotate_halves(head, turns),
                }
            }
        }
    }
}

fn rotate_interleaved(head: &mut [f32], turns: &[(f32, f32)]) {
    for ([first, second], (cos, sin)) in head.as_chunks_mut::<2>().0.iter_mut().zip(turns) {
        (*first, *second) = (*first * cos - *second * sin, *first * sin + *second * cos);
    }
}

fn rotate_halves(head: &mut [f32], turns: &[(f32, f32)]) {
    let (firsts, seconds) = head.split_at_mut(turns.len());
    for ((first, second), (cos, sin)) in firsts.iter_mut().zip(seconds).zip(turns) {
        (*first, *second) = (*first * cos - *second * sin, *first * sin + *second * cos);
    }
}
