//! Keys and values in blocks of 16 tokens, and attention over them.
//!
//! ```text
//! keys of a block    kv head, component, token    a vector is one component of all tokens: scores need no sum across it
//! values of a block  kv head, token, component    a vector is some components of one token
//! ```
//! Both are kept as f16. A task is some rows of one sequence and one KV head with all query heads that share it, so that a
//! block is read and widened once for all of them. A row goes over the blocks in their order with the softmax of what it
//! has seen so far (Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018): what comes out depends on
//! the row and on what its table leads to alone, not on the rows beside it, to the last bit.

use std::collections::TryReserveError;
use std::ops::Range;

use crate::exponential::exp;
use crate::half::{half_of, to_half};
use crate::multiply::Output;
use crate::{Pool, ShapeError};

/// Tokens of a block.
pub const BLOCK_TOKENS: usize = 16;
/// Query vectors of a task: with a widened block they stay in the first-level cache.
const TASK_QUERIES: usize = 16;

/// Keys and values of one layer, in all blocks.
#[derive(Debug)]
pub struct KvBlocks {
    kv_heads: usize,
    head_dim: usize,
    keys: Vec<u16>,
    values: Vec<u16>,
}

/// Some rows of one sequence: the first of `rows` stands at `start` of the text whose blocks are in `table`.
#[derive(Debug, Clone)]
pub struct Span<'a> {
    pub table: &'a [u32],
    pub start: usize,
    pub rows: Range<usize>,
}

impl KvBlocks {
    /// Takes the memory here and now, written to, so that none is to be had later; an error if there is none.
    pub fn new(blocks: usize, kv_heads: usize, head_dim: usize) -> Result<Self, TryReserveError> {
        let room = || -> Result<Vec<u16>, TryReserveError> {
            let length = blocks.saturating_mul(kv_heads * head_dim * BLOCK_TOKENS);
            let mut halves = Vec::new();
            halves.try_reserve_exact(length)?;
            halves.resize(length, 0);
            Ok(halves)
        };
        Ok(Self { kv_heads, head_dim, keys: room()?, values: room()? })
    }

    /// Writes keys and values, each (rows, kv heads, head dim), to where their tokens stand.
    pub fn store(&mut self, spans: &[Span<'_>], keys: &[f32], values: &[f32]) {
        let width = self.kv_heads * self.head_dim;
        for span in spans {
            for (position, row) in (span.start..).zip(span.rows.clone()) {
                let block = span.table[position / BLOCK_TOKENS] as usize;
                let token = position % BLOCK_TOKENS;
                self.store_row(block, token, &keys[row * width..][..width], &values[row * width..][..width]);
            }
        }
    }

    fn store_row(&mut self, block: usize, token: usize, keys: &[f32], values: &[f32]) {
        let width = self.kv_heads * self.head_dim;
        let stored = &mut self.keys[block * width * BLOCK_TOKENS..][..width * BLOCK_TOKENS];
        for (place, key) in stored[token..].iter_mut().step_by(BLOCK_TOKENS).zip(keys) {
            *place = to_half(*key);
        }
        for (head, values) in values.chunks_exact(self.head_dim).enumerate() {
            let at = ((block * self.kv_heads + head) * BLOCK_TOKENS + token) * self.head_dim;
            for (place, value) in self.values[at..].iter_mut().zip(values) {
                *place = to_half(*value);
            }
        }
    }

    /// Keys and values of one head in one block.
    fn block(&self, block: u32, head: usize) -> (&[u16], &[u16]) {
        let length = self.head_dim * BLOCK_TOKENS;
        let at = (block as usize * self.kv_heads + head) * length;
        (&self.keys[at..][..length], &self.values[at..][..length])
    }
}

/// Causal attention of rows (rows, heads, head dim) over everything up to themselves, in the same shape.
pub fn attend(
    cache: &KvBlocks,
    spans: &[Span<'_>],
    query: &[f32],
    heads: usize,
    pool: &Pool,
) -> Result<Vec<f32>, ShapeError> {
    #[cfg(target_arch = "x86_64")]
    if crate::avx2::is_here() {
        return compute(cache, spans, query, heads, pool, crate::avx2::attend);
    }
    compute(cache, spans, query, heads, pool, run_portable)
}

pub(crate) fn compute(
    cache: &KvBlocks,
    spans: &[Span<'_>],
    query: &[f32],
    heads: usize,
    pool: &Pool,
    run: fn(&Task<'_>),
) -> Result<Vec<f32>, ShapeError> {
    let width = heads * cache.head_dim;
    let rows = spans.iter().map(|span| span.rows.end).max().unwrap_or(0);
    if query.len() < rows * width || !heads.is_multiple_of(cache.kv_heads) {
        return Err(ShapeError::Width { weights: rows * width, activations: query.len() });
    }
    let mut attended = vec![0.0; query.len()];
    let output = Output::new(&mut attended, width);
    let group = heads / cache.kv_heads;
    let cut = |span: &Span<'_>| {
        let (first, end, step) = (span.rows.start, span.rows.end, (TASK_QUERIES / group).max(1));
        (first..end).step_by(step).map(move |from| from..end.min(from + step)).collect::<Vec<_>>()
    };
    let pieces: Vec<(usize, Range<usize>)> =
        spans.iter().enumerate().flat_map(|(at, span)| cut(span).into_iter().map(move |rows| (at, rows))).collect();
    pool.run(pieces.len() * cache.kv_heads, &|at| {
        let (span, rows) = &pieces[at / cache.kv_heads];
        let (span, head) = (&spans[*span], at % cache.kv_heads);
        let start = span.start + rows.start - span.rows.start;
        run(&Task { cache, table: span.table, start, rows: rows.clone(), head, group, query, output: &output });
    });
    Ok(attended)
}

/// Some rows of one sequence and the query heads that share one KV head.
#[derive(Debug)]
pub struct Task<'a> {
    cache: &'a KvBlocks,
    table: &'a [u32],
    start: usize,
    rows: Range<usize>,
    head: usize,
    group: usize,
    query: &'a [f32],
    output: &'a Output<'a>,
}

/// A query vector on its way over the blocks.
#[derive(Debug, Clone, Copy)]
struct Progress {
    position: usize,
    largest: f32,
    /// The sum of all weights, by the tokens' places in their blocks.
    sums: [f32; BLOCK_TOKENS],
}

pub(crate) fn run_portable(task: &Task<'_>) {
    run(task, |from, to| {
        for (to, from) in to.iter_mut().zip(from) {
            *to = half_of(*from);
        }
    });
}

/// `widen` turns f16 into f32. To be compiled once for each set of instructions, with everything that it calls.
#[inline(always)]
pub fn run(task: &Task<'_>, widen: fn(&[u16], &mut [f32])) {
    let dim = task.cache.head_dim;
    let (queries, mut progress) = begin(task);
    let mut totals = vec![0.0; queries.len()];
    let mut keys = vec![0.0; dim * BLOCK_TOKENS];
    let mut values = vec![0.0; dim * BLOCK_TOKENS];
    let last = task.start + task.rows.len() - 1;
    for (at, block) in task.table[..=last / BLOCK_TOKENS].iter().enumerate() {
        let (stored_keys, stored_values) = task.cache.block(*block, task.head);
        widen(stored_keys, &mut keys);
        widen(stored_values, &mut values);
        let first = at * BLOCK_TOKENS;
        let mut from = 0;
        while from < progress.len() {
            from = if progress.len() - from >= 4 {
                several::<4>(from, first, (&queries, &keys, &values), &mut progress, &mut totals)
            } else {
                several::<1>(from, first, (&queries, &keys, &values), &mut progress, &mut totals)
            };
        }
    }
    finish(task, &progress, &mut totals);
}

/// The query vectors of a task, scaled, row by row, each with its position.
#[inline(always)]
fn begin(task: &Task<'_>) -> (Vec<f32>, Vec<Progress>) {
    let dim = task.cache.head_dim;
    let width = task.group * dim;
    let stride = width * task.cache.kv_heads;
    let scale = 1.0 / (dim as f32).sqrt();
    let rows = task.rows.clone().flat_map(|row| &task.query[row * stride + task.head * width..][..width]);
    let positions = (0..task.rows.len() * task.group).map(|at| task.start + at / task.group);
    (rows.map(|value| value * scale).collect(), positions.map(Progress::new).collect())
}

/// Takes some query vectors over one block whose first token stands at `first`; gives the number of the next vector.
#[inline(always)]
fn several<const COUNT: usize>(
    from: usize,
    first: usize,
    (queries, keys, values): (&[f32], &[f32], &[f32]),
    progress: &mut [Progress],
    totals: &mut [f32],
) -> usize {
    let dim = keys.len() / BLOCK_TOKENS;
    let scores = scores::<COUNT>(&queries[from * dim..][..COUNT * dim], keys.as_chunks::<BLOCK_TOKENS>().0);
    for (at, mut scores) in (from..).zip(scores) {
        let progress = &mut progress[at];
        if first > progress.position {
            continue;
        }
        let visible = BLOCK_TOKENS.min(progress.position + 1 - first);
        scores[visible..].fill(f32::NEG_INFINITY);
        let correction = progress.weigh(&mut scores);
        // What is not visible was never written, or by somebody else.
        let (weights, values) = (&scores[..visible], &values[..visible * dim]);
        add_all(&mut totals[at * dim..][..dim], correction, weights, values);
    }
    from + COUNT
}

#[inline(always)]
fn scores<const COUNT: usize>(queries: &[f32], keys: &[[f32; BLOCK_TOKENS]]) -> [[f32; BLOCK_TOKENS]; COUNT] {
    let mut scores = [[0.0f32; BLOCK_TOKENS]; COUNT];
    let dim = keys.len();
    for (component, keys) in keys.iter().enumerate() {
        for at in 0..COUNT {
            let query = queries[at * dim + component];
            for token in 0..BLOCK_TOKENS {
                scores[at][token] = query.mul_add(keys[token], scores[at][token]);
            }
        }
    }
    scores
}

impl Progress {
    const fn new(position: usize) -> Self {
        Self { position, largest: f32::NEG_INFINITY, sums: [0.0; BLOCK_TOKENS] }
    }

    /// Makes weights of scores; gives what everything before is to be multiplied with.
    #[inline(always)]
    fn weigh(&mut self, scores: &mut [f32; BLOCK_TOKENS]) -> f32 {
        let mut largest = self.largest;
        for score in *scores {
            largest = if score > largest { score } else { largest };
        }
        let correction = exp(self.largest - largest);
        for (score, sum) in scores.iter_mut().zip(&mut self.sums) {
            *score = exp(*score - largest);
            *sum = sum.mul_add(correction, *score);
        }
        self.largest = largest;
        correction
    }
}

/// `totals * correction + weights * values`, in pieces that stay in registers.
#[inline(always)]
fn add_all(totals: &mut [f32], correction: f32, weights: &[f32], values: &[f32]) {
    let dim = totals.len();
    let (wide, rest) = totals.as_chunks_mut::<32>();
    let mut from = 0;
    for totals in wide {
        add(totals, correction, weights, values, (from, dim));
        from += 32;
    }
    let (narrow, rest) = rest.as_chunks_mut::<8>();
    for totals in narrow {
        add(totals, correction, weights, values, (from, dim));
        from += 8;
    }
    for total in rest {
        add(std::array::from_mut(total), correction, weights, values, (from, dim));
        from += 1;
    }
}

#[inline(always)]
fn add<const WIDTH: usize>(
    totals: &mut [f32; WIDTH],
    correction: f32,
    weights: &[f32],
    values: &[f32],
    (from, dim): (usize, usize),
) {
    let mut sums = *totals;
    for sum in &mut sums {
        *sum *= correction;
    }
    for (weight, values) in weights.iter().zip(values.chunks_exact(dim)) {
        let values = &values[from..from + WIDTH];
        for at in 0..WIDTH {
            sums[at] = weight.mul_add(values[at], sums[at]);
        }
    }
    *totals = sums;
}

#[inline(always)]
fn finish(task: &Task<'_>, progress: &[Progress], totals: &mut [f32]) {
    let dim = task.cache.head_dim;
    for (at, (progress, totals)) in progress.iter().zip(totals.chunks_exact_mut(dim)).enumerate() {
        let inverse = 1.0 / progress.sums.iter().sum::<f32>();
        for total in &mut *totals {
            *total *= inverse;
        }
        let head = task.head * task.group + at % task.group;
        task.output.write(task.rows.start + at / task.group, head * dim, totals);
    }
}
