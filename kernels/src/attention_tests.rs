//! Attention over blocks against its definition in f64.

use proptest::prelude::*;

use crate::attention::{compute, run_portable};
use crate::half::{half_of, to_half};
use crate::{BLOCK_TOKENS, KvBlocks, Pool, Span, attend};

/// A sequence: its keys and values, and where its blocks lie.
struct Text {
    table: Vec<u32>,
    keys: Vec<f32>,
    values: Vec<f32>,
}

struct Shape {
    kv_heads: usize,
    group: usize,
    dim: usize,
}

fn floats(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|at| ((at * 7919 + seed * 104_729) % 1009) as f32 / 250.0 - 2.0).collect()
}

/// The definition, with the rounding of what is stored.
fn plain(shape: &Shape, text: &Text, query: &[f32], position: usize) -> Vec<f64> {
    let width = shape.kv_heads * shape.dim;
    let stored = |values: &[f32], token: usize, at: usize| f64::from(half_of(to_half(values[token * width + at])));
    let mut attended = Vec::new();
    for head in 0..shape.kv_heads * shape.group {
        let first = head / shape.group * shape.dim;
        let query = &query[head * shape.dim..][..shape.dim];
        let score = |token: usize| {
            let dot = |(at, query): (usize, &f32)| f64::from(*query) * stored(&text.keys, token, first + at);
            (query.iter().enumerate().map(dot).sum::<f64>() / (shape.dim as f64).sqrt()).exp()
        };
        let scores: Vec<f64> = (0..=position).map(score).collect();
        let total: f64 = scores.iter().sum();
        attended.extend((0..shape.dim).map(|at| {
            let weighted = |(token, score): (usize, &f64)| score / total * stored(&text.values, token, first + at);
            scores.iter().enumerate().map(weighted).sum::<f64>()
        }));
    }
    attended
}

/// Sequences of the given lengths, their blocks dealt out in turns, from behind.
fn texts(shape: &Shape, lengths: &[usize]) -> (KvBlocks, Vec<Text>) {
    let width = shape.kv_heads * shape.dim;
    let mut next = lengths.iter().map(|length| length.div_ceil(BLOCK_TOKENS) as u32).sum::<u32>();
    let mut cache = KvBlocks::new(next as usize, shape.kv_heads, shape.dim).unwrap();
    let mut texts: Vec<Text> = Vec::new();
    for (seed, length) in lengths.iter().enumerate() {
        let (keys, values) = (floats(length * width, seed), floats(length * width, seed + 50));
        texts.push(Text { table: Vec::new(), keys, values });
    }
    for at in 0..lengths.iter().max().map_or(0, |longest| longest.div_ceil(BLOCK_TOKENS)) {
        for (text, length) in texts.iter_mut().zip(lengths) {
            if at * BLOCK_TOKENS < *length {
                next -= 1;
                text.table.push(next);
            }
        }
    }
    for (text, length) in texts.iter().zip(lengths) {
        cache.store(&[Span { table: &text.table, start: 0, rows: 0..*length }], &text.keys, &text.values);
    }
    (cache, texts)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_row_is_what_its_definition_says_whoever_is_beside_it(
        kv_heads in 1usize..4, group in 1usize..8, half_dim in 1usize..40,
        pieces in proptest::collection::vec((0usize..60, 1usize..30), 1..4),
    ) {
        let shape = Shape { kv_heads, group, dim: 2 * half_dim };
        let lengths: Vec<usize> = pieces.iter().map(|(start, count)| start + count).collect();
        let (cache, texts) = texts(&shape, &lengths);
        let width = kv_heads * group * shape.dim;
        let rows: usize = pieces.iter().map(|(_, count)| count).sum();
        let query = floats(rows * width, 99);
        let mut spans = Vec::new();
        let mut first = 0;
        for (text, (start, count)) in texts.iter().zip(&pieces) {
            spans.push(Span { table: &text.table, start: *start, rows: first..first + count });
            first += count;
        }
        let (heads, pool) = (kv_heads * group, Pool::new(2));
        let found = attend(&cache, &spans, &query, heads, &pool).unwrap();
        prop_assert_eq!(&found, &compute(&cache, &spans, &query, heads, &Pool::new(1), run_portable).unwrap());
        for (text, span) in texts.iter().zip(&spans) {
            for (position, row) in (span.start..).zip(span.rows.clone()) {
                let own = &query[row * width..][..width];
                let alone = attend(&cache, &[Span { start: position, rows: 0..1, ..span.clone() }], own, heads, &pool);
                prop_assert_eq!(&found[row * width..][..width], &alone.unwrap()[..]);
                for (found, expected) in found[row * width..].iter().zip(plain(&shape, text, own, position)) {
                    prop_assert!((f64::from(*found) - expected).abs() < 2e-5, "{} is not {}", found, expected);
                }
            }
        }
    }
}

#[test]
fn what_was_stored_by_others_behind_a_row_does_not_matter() {
    let shape = Shape { kv_heads: 1, group: 2, dim: 8 };
    let (mut cache, texts) = texts(&shape, &[20]);
    let query = floats(16, 3);
    let span = [Span { table: &texts[0].table, start: 17, rows: 0..1 }];
    let found = attend(&cache, &span, &query, 2, &Pool::new(1)).unwrap();
    let nothing = [f32::NAN; 16];
    cache.store(&[Span { table: &texts[0].table, start: 18, rows: 0..2 }], &nothing, &nothing);
    assert_eq!(attend(&cache, &span, &query, 2, &Pool::new(1)).unwrap(), found);
}

#[test]
fn what_is_not_finite_is_not_hidden() {
    let shape = Shape { kv_heads: 1, group: 1, dim: 8 };
    let (mut cache, texts) = texts(&shape, &[20]);
    cache.store(&[Span { table: &texts[0].table, start: 3, rows: 0..1 }], &[f32::NAN; 8], &[0.0; 8]);
    let span = [Span { table: &texts[0].table, start: 17, rows: 0..1 }];
    let found = attend(&cache, &span, &floats(8, 3), 1, &Pool::new(1)).unwrap();
    assert!(found.iter().all(|value| value.is_nan()));
}
