//! The forward pass of the llama family (llama, qwen2 and qwen3: they differ in rotation pairs, biases and norms of heads).

use candle_core::{DType, Device, Error, Result, Tensor};
use kernels::{KvBlocks, Span, attend, gate};

use super::config::ModelConfig;
use super::linear::Inputs;
use super::rope::{Angles, Rope};
use super::weights::{Layer, Weights};
use crate::blocks::BlockId;
use crate::scheduler::Rounding;

/// Whether a row's inputs are rounded to eight bits where they meet quantized weights.
///
/// What a prompt leaves in the cache is read by every later token, so that its rows are exact. Answers are computed with
/// rounded inputs, as in llama.cpp; on SmolLM2-135M that moves the log probabilities of the likely tokens by 0.14 (root
/// mean square). It goes with a token's place in its request and nothing else, so that a sequence is computed in the same
/// way in whatever pieces, again after a preemption, and whoever else is in the step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Precision {
    Exact,
    Rounded,
}

/// Consecutive rows of one sequence: `tokens` stand at `start..` of the text whose keys and values are in the blocks of
/// `table`.
#[derive(Debug, Clone, Copy)]
pub struct Segment<'a> {
    pub table: &'a [BlockId],
    pub start: usize,
    pub tokens: &'a [u32],
    pub precision: Precision,
    /// Whether the logits after the last row are wanted.
    pub wants_logits: bool,
}

/// What all layers of one pass share.
struct Step<'a> {
    spans: Vec<Span<'a>>,
    angles: Angles,
    /// How many rows, from the first on, are exact.
    exact: usize,
}

impl<'a> Step<'a> {
    fn new(segments: &[Segment<'a>], rope: &Rope) -> Self {
        let mut spans = Vec::with_capacity(segments.len());
        let mut first = 0;
        for Segment { table, start, tokens, .. } in segments {
            spans.push(Span { table, start: *start, rows: first..first + tokens.len() });
            first += tokens.len();
        }
        let angles = rope.angles(spans.iter().flat_map(|span| span.start..span.start + span.rows.len()));
        let exact = segments.iter().take_while(|segment| segment.precision == Precision::Exact);
        let exact = exact.map(|segment| segment.tokens.len()).sum();
        Self { spans, angles, exact }
    }
}

#[derive(Debug)]
pub struct Model {
    config: ModelConfig,
    weights: Weights,
    rope: Rope,
    /// Keys and values, layer by layer.
    caches: Vec<KvBlocks>,
}

impl Model {
    pub(super) fn new(config: ModelConfig, weights: Weights, caches: Vec<KvBlocks>) -> Self {
        let rope = Rope::new(&config, weights.rope_factors.as_deref());
        Self { config, weights, rope, caches }
    }

    pub fn rounding(&self) -> Rounding {
        if self.weights.keep_rest() { Rounding::InAnswers } else { Rounding::Everywhere }
    }

    /// Runs the rows of all segments; gives the logits of those that want them, in order. Exact segments come first;
    /// segments of one text may follow each other in one call.
    ///
    /// Each row's result depends on its own text alone, to the last bit, but for the float matrices and the K types without
    /// tiles: there one row and many are rounded differently.
    pub fn forward(&mut self, segments: &[Segment<'_>]) -> Result<Vec<Vec<f32>>> {
        let step = Step::new(segments, &self.rope);
        let mut rows = self.embed(segments)?;
        for at in 0..self.weights.layers.len() {
            let attended = self.attend(at, &rows, &step)?;
            add(&mut rows, &attended);
            let fed = self.feed_forward(&self.weights.layers[at], &rows, step.exact)?;
            add(&mut rows, &fed);
        }
        self.logits(&rows, segments, step.exact)
    }

    /// Looks up the tokens' rows without expanding the table, which in f32 would be the largest thing in memory.
    fn embed(&self, segments: &[Segment<'_>]) -> Result<Vec<f32>> {
        let tokens: Vec<u32> = segments.iter().flat_map(|segment| segment.tokens).copied().collect();
        let tokens = Tensor::new(tokens, &Device::Cpu)?;
        self.weights.embedding.embedding(&tokens)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1()
    }

    fn attend(&mut self, at: usize, rows: &[f32], step: &Step<'_>) -> Result<Vec<f32>> {
        let ModelConfig { heads, kv_heads, head_dim, .. } = self.config;
        let layer = &self.weights.layers[at];
        let inputs = self.normed(rows, &layer.attention_norm, step.exact);
        let (mut query, mut key) = (layer.query.forward(&inputs)?, layer.key.forward(&inputs)?);
        let value = layer.value.forward(&inputs)?;
        if let Some(norms) = &layer.head_norms {
            query = norm(&query, &norms.query, self.config.rms_eps);
            key = norm(&key, &norms.key, self.config.rms_eps);
        }
        step.angles.rotate(&mut query, heads);
        step.angles.rotate(&mut key, kv_heads);
        let cache = &mut self.caches[at];
        // All rows before any is attended to: later rows of a text may be in a segment of their own.
        cache.store(&step.spans, &key, &value);
        let attended = attend(cache, &step.spans, &query, heads, &self.weights.pool).map_err(Error::wrap)?;
        layer.attention_output.forward(&Inputs::new(attended, heads * head_dim, step.exact))
    }

    fn feed_forward(&self, layer: &Layer, rows: &[f32], exact: usize) -> Result<Vec<f32>> {
        let inputs = self.normed(rows, &layer.feed_forward_norm, exact);
        let (mut gated, up) = (layer.gate.forward(&inputs)?, layer.up.forward(&inputs)?);
        gate(&mut gated, &up, &self.weights.pool);
        layer.down.forward(&Inputs::new(gated, self.config.feed_forward, exact))
    }

    /// Only the last row of a segment is taken through the output matrix, which is the largest of small models.
    fn logits(&self, rows: &[f32], segments: &[Segment<'_>], exact: usize) -> Result<Vec<Vec<f32>>> {
        let hidden = self.config.hidden;
        let mut end = 0;
        let mut wanted: Vec<f32> = Vec::new();
        let mut exact_ends = 0;
        for segment in segments {
            end += segment.tokens.len();
            if segment.wants_logits {
                wanted.extend(&rows[(end - 1) * hidden..end * hidden]);
                exact_ends += usize::from(end <= exact);
            }
        }
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let inputs = self.normed(&wanted, &self.weights.output_norm, exact_ends);
        let logits = self.weights.output.forward(&inputs)?;
        Ok(logits.chunks_exact(self.config.vocabulary).map(<[f32]>::to_vec).collect())
    }

    fn normed(&self, rows: &[f32], weight: &[f32], exact: usize) -> Inputs {
        Inputs::new(norm(rows, weight, self.config.rms_eps), weight.len(), exact)
    }
}

/// Rows as long as the weight, each divided by its root mean square.
fn norm(rows: &[f32], weight: &[f32], epsilon: f32) -> Vec<f32> {
    let mut values = Vec::with_capacity(rows.len());
    for row in rows.chunks_exact(weight.len()) {
        let scale = 1.0 / (sum_of_squares(row) / row.len() as f32 + epsilon).sqrt();
        values.extend(row.iter().zip(weight).map(|(value, weight)| value * scale * weight));
    }
    values
}

fn add(rows: &mut [f32], more: &[f32]) {
    rows.iter_mut().zip(more).for_each(|(value, more)| *value += more);
}

/// In eight sums, which a vector register can hold.
fn sum_of_squares(row: &[f32]) -> f32 {
    let (wide, rest) = row.as_chunks::<8>();
    let mut sums = [0.0f32; 8];
    for values in wide {
        for (sum, value) in sums.iter_mut().zip(values) {
            *sum += value * value;
        }
    }
    sums.iter().sum::<f32>() + rest.iter().map(|value| value * value).sum::<f32>()
}
