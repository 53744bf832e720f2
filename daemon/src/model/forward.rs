//! The forward pass of the llama family (llama and qwen2 differ in rotation pairs and biases only).

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::attention::{AttnMask, flash_attn};

use super::cache::KvCache;
use super::config::ModelConfig;
use super::rope::{Angles, Rope};
use super::weights::{Layer, Weights};

/// Consecutive rows of one sequence: `tokens` stand at `start..` of the text whose keys and values are in `slot`.
#[derive(Debug, Clone, Copy)]
pub struct Segment<'a> {
    pub slot: usize,
    pub start: usize,
    pub tokens: &'a [u32],
    /// Whether the logits after the last row are wanted.
    pub wants_logits: bool,
}

/// What all layers of one pass share.
struct Step<'a> {
    segments: &'a [Segment<'a>],
    angles: Angles,
    /// How many rows, from the first on, belong to long segments.
    exact: usize,
}

/// Segments of at least so many rows are pieces of prompts, and computed without rounding inputs to eight bits: what a
/// prompt leaves in the cache is read by every later token, and for many rows it is the faster way, too. Single tokens
/// are computed with rounded inputs, as in llama.cpp; on SmolLM2-135M that moves the log probabilities of the likely
/// tokens by 0.14 (root mean square).
const LONG: usize = 8;

/// Decided by segment and not by step, so that a sequence is computed in the same way whoever else is in the step.
fn rows_of_long(segments: &[Segment<'_>]) -> usize {
    segments.iter().map(|segment| segment.tokens.len()).take_while(|count| *count >= LONG).sum()
}

#[derive(Debug)]
pub struct Model {
    config: ModelConfig,
    weights: Weights,
    rope: Rope,
    caches: Vec<KvCache>,
}

impl Model {
    pub(super) fn new(config: ModelConfig, weights: Weights, caches: Vec<KvCache>) -> Self {
        let rope = Rope::new(&config, weights.rope_factors.as_deref());
        Self { config, weights, rope, caches }
    }

    /// Tokens that one sequence may have.
    pub fn context(&self) -> usize {
        self.caches.first().map_or(0, KvCache::context)
    }

    /// Runs the rows of all segments; gives the logits of those that want them, in order. Long segments come first.
    ///
    /// Each row's result depends on its own segment alone, up to the rounding of kernels that treat one row and many
    /// differently (K-quants and float matrices).
    pub fn forward(&self, segments: &[Segment<'_>]) -> Result<Vec<Vec<f32>>> {
        let tokens: Vec<u32> = segments.iter().flat_map(|segment| segment.tokens).copied().collect();
        let positions: Vec<usize> =
            segments.iter().flat_map(|segment| segment.start..segment.start + segment.tokens.len()).collect();
        let exact = rows_of_long(segments);
        let angles = self.rope.angles(&positions)?;
        let mut rows = self.embed(&tokens)?;
        let step = Step { segments, angles, exact };
        for (at, layer) in self.weights.layers.iter().enumerate() {
            rows = (&rows + self.attend(at, layer, &rows, &step)?)?;
            rows = (&rows + self.feed_forward(layer, &rows, exact)?)?;
        }
        self.logits(&rows, segments, exact)
    }

    /// Looks up the tokens' rows without expanding the table, which in f32 would be the largest thing in memory.
    fn embed(&self, tokens: &[u32]) -> Result<Tensor> {
        let tokens = Tensor::new(tokens, &Device::Cpu)?;
        self.weights.embedding.embedding(&tokens)?.to_dtype(DType::F32)
    }

    fn attend(&self, at: usize, layer: &Layer, rows: &Tensor, step: &Step<'_>) -> Result<Tensor> {
        let Step { segments, angles, exact } = step;
        let ModelConfig { heads, kv_heads, head_dim, .. } = self.config;
        let count = rows.dim(0)?;
        let normed = self.norm(rows, &layer.attention_norm)?;
        let query = angles.rotate(&layer.query.forward(&normed, *exact)?.reshape((count, heads, head_dim))?)?;
        let key = angles.rotate(&layer.key.forward(&normed, *exact)?.reshape((count, kv_heads, head_dim))?)?;
        let value = layer.value.forward(&normed, *exact)?.reshape((count, kv_heads, head_dim))?;
        let mut attended = Vec::with_capacity(segments.len());
        let mut first = 0;
        for segment in *segments {
            let part = |tensor: &Tensor| tensor.narrow(0, first, segment.tokens.len())?.contiguous();
            let cache = &self.caches[segment.slot];
            let (keys, values) = cache.append(at, segment.start, &part(&key)?, &part(&value)?)?;
            attended.push(self.attend_one(&part(&query)?, &keys, &values, segment.start)?);
            first += segment.tokens.len();
        }
        let attended = if attended.len() == 1 { attended.remove(0) } else { Tensor::cat(&attended, 0)? };
        layer.attention_output.forward(&attended, *exact)
    }

    /// Causal attention of one sequence's rows over its keys and values: (rows, heads * head_dim).
    fn attend_one(&self, query: &Tensor, keys: &Tensor, values: &Tensor, start: usize) -> Result<Tensor> {
        let scale = 1.0 / (self.config.head_dim as f32).sqrt();
        let (query, keys, values) = (query.unsqueeze(0)?, keys.unsqueeze(0)?, values.unsqueeze(0)?);
        let mask = AttnMask::causal_with_offset(start);
        let attended = flash_attn::<f32>(&query, &keys, &values, scale, mask, None, None)?;
        attended.squeeze(0)?.transpose(0, 1)?.contiguous()?.flatten_from(1)
    }

    fn feed_forward(&self, layer: &Layer, rows: &Tensor, exact: usize) -> Result<Tensor> {
        let normed = self.norm(rows, &layer.feed_forward_norm)?;
        let gated = (layer.gate.forward(&normed, exact)?.silu()? * layer.up.forward(&normed, exact)?)?;
        layer.down.forward(&gated, exact)
    }

    /// Only the last row of a segment is taken through the output matrix, which is the largest of small models.
    fn logits(&self, rows: &Tensor, segments: &[Segment<'_>], exact: usize) -> Result<Vec<Vec<f32>>> {
        let mut end = 0;
        let mut wanted: Vec<u32> = Vec::new();
        let mut exact_ends = 0;
        for segment in segments {
            end += segment.tokens.len();
            if segment.wants_logits {
                wanted.push(end as u32 - 1);
                exact_ends += usize::from(end <= exact);
            }
        }
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let last_rows = rows.index_select(&Tensor::new(wanted, &Device::Cpu)?, 0)?;
        self.weights.output.forward(&self.norm(&last_rows, &self.weights.output_norm)?, exact_ends)?.to_vec2()
    }

    fn norm(&self, rows: &Tensor, weight: &Tensor) -> Result<Tensor> {
        candle_nn::ops::rms_norm(rows, weight, self.config.rms_eps)
    }
}
