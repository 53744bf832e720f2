//! The products in plain Rust: for machines without the vector instructions, and what the tests hold those against.

use crate::activations::ActivationBlock;
use crate::half::half;
use crate::layout::{BLOCK, LANES, UPPER_BITS, WeightType};

/// One strip of weights times one row.
pub fn product(kind: WeightType, strip: &[u8], row: &[ActivationBlock]) -> [f32; LANES] {
    let mut sums = [0.0; LANES];
    for (at, block) in row.iter().enumerate() {
        let header = &strip[at / kind.tiles() * kind.unit()..][..kind.header()];
        let tile = &strip[kind.place(at)..][..kind.tile()];
        for (lane, sum) in sums.iter_mut().enumerate() {
            let (scale, minimum) = scales(kind, header, tile, lane);
            let whole = whole_sum(kind, tile, lane, block) as f32;
            *sum = (scale * block.scale).mul_add(whole, *sum);
            if minimum != 0.0 {
                *sum = minimum.mul_add(block.sum, *sum);
            }
        }
    }
    sums
}

/// The scale of the numbers, and what is added to each weight.
fn scales(kind: WeightType, header: &[u8], tile: &[u8], lane: usize) -> (f32, f32) {
    let pair = |from: &[u8], list: usize| half(&from[2 * (list * LANES + lane)..]);
    match kind {
        WeightType::Q4_0 => (pair(tile, 0), -8.0 * pair(tile, 0)),
        WeightType::Q4_1 => (pair(tile, 0), pair(tile, 1)),
        WeightType::Q8_0 => (pair(tile, 0), 0.0),
        WeightType::Q6K => (pair(header, 0), 0.0),
        WeightType::Q4K => {
            let (scale, minimum) = (f32::from(tile[lane]), f32::from(tile[LANES + lane]));
            (pair(header, 0) * scale, -(pair(header, 1) * minimum))
        }
    }
}

/// Numbers times numbers, exactly; for Q6_K each sixteen of them times their scale.
fn whole_sum(kind: WeightType, tile: &[u8], lane: usize, block: &ActivationBlock) -> i32 {
    let numbers = &tile[kind.scales()..];
    let sum = |inputs: std::ops::Range<usize>| -> i32 {
        inputs.map(|at| number(kind, numbers, lane, at) * i32::from(block.numbers[at])).sum()
    };
    match kind {
        WeightType::Q6K => {
            let scale = |side: usize| i32::from(tile[2 * lane + side] as i8);
            scale(0) * sum(0..16) + scale(1) * sum(16..BLOCK)
        }
        _ => sum(0..BLOCK),
    }
}

fn number(kind: WeightType, numbers: &[u8], lane: usize, input: usize) -> i32 {
    let (group, place) = (input / 4, 4 * lane + input % 4);
    let nibble = || i32::from(numbers[group % 4 * BLOCK + place] >> (group / 4 * 4) & 15);
    match kind {
        WeightType::Q8_0 => i32::from(numbers[group * BLOCK + place] as i8),
        WeightType::Q6K => {
            let upper = numbers[(BLOCK / 2 * LANES) + group / 4 * BLOCK + place] >> UPPER_BITS[group % 4] & 3;
            (nibble() | i32::from(upper) << 4) - 32
        }
        WeightType::Q4_0 | WeightType::Q4_1 | WeightType::Q4K => nibble(),
    }
}
