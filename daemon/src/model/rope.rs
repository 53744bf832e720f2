//! Rotary position embedding: the angles of each row, computed for the positions of a step, so that no table bounds
//! the context.

use candle_core::{Device, Result, Tensor};

use super::config::{ModelConfig, RopePairs};

/// The rotation frequencies of a model.
#[derive(Debug)]
pub struct Rope {
    pairs: RopePairs,
    /// Radians per position of each pair of components.
    frequencies: Vec<f64>,
}

/// Cosines and sines of one step's rows, shaped (rows, 1, head_dim / 2).
#[derive(Debug)]
pub struct Angles {
    pairs: RopePairs,
    cos: Tensor,
    sin: Tensor,
}

impl Rope {
    /// `factors` are the `rope_freqs.weight` of llama 3 files (its frequency-dependent scaling, worked out by the
    /// converter): each frequency is divided by its own.
    pub fn new(config: &ModelConfig, factors: Option<&[f32]>) -> Self {
        let half = config.head_dim / 2;
        let frequency = |pair: usize| {
            let plain = config.rope_base.powf(-(pair as f64) / half as f64);
            let factor = factors.map_or(1.0, |factors| f64::from(factors[pair]));
            plain / factor / config.rope_divisor
        };
        Self { pairs: config.rope_pairs(), frequencies: (0..half).map(frequency).collect() }
    }

    pub fn angles(&self, positions: &[usize]) -> Result<Angles> {
        let half = self.frequencies.len();
        let angles = || positions.iter().flat_map(|at| self.frequencies.iter().map(move |step| *at as f64 * step));
        let tensor = |values: Vec<f32>| Tensor::from_vec(values, (positions.len(), 1, half), &Device::Cpu);
        let cos = tensor(angles().map(|angle| angle.cos() as f32).collect())?;
        let sin = tensor(angles().map(|angle| angle.sin() as f32).collect())?;
        Ok(Angles { pairs: self.pairs, cos, sin })
    }
}

impl Angles {
    /// Rotates rows of heads, shaped (rows, heads, head_dim).
    pub fn rotate(&self, rows: &Tensor) -> Result<Tensor> {
        // Every row is a batch entry with a position of its own: no transposition of heads and rows is needed.
        let rows = rows.unsqueeze(2)?;
        let rotated = match self.pairs {
            RopePairs::Interleaved => candle_nn::rotary_emb::rope_i(&rows, &self.cos, &self.sin)?,
            RopePairs::Halves => candle_nn::rotary_emb::rope(&rows, &self.cos, &self.sin)?,
        };
        rotated.squeeze(2)
    }
}
