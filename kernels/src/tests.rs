//! Every type against its definition in f64, and the vector instructions against plain Rust.

use proptest::prelude::*;

use super::*;
use crate::half::half;
use crate::layout::BLOCK;
use crate::multiply::{compute, run_portable};

/// Numbers that look random.
struct Stream(u64);

impl Stream {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn float(&mut self) -> f32 {
        (self.next() % 20001) as f32 / 10000.0 - 1.0
    }

    /// An f16 of either sign between about 1/128 and 1/4.
    fn half(&mut self) -> [u8; 2] {
        let number = self.next();
        (0x2000 + (number % 0x1400) as u16 + (number >> 32 & 1) as u16 * 0x8000).to_le_bytes()
    }
}

/// Random bytes are valid blocks of every type once their f16 are small numbers.
fn stored(kind: WeightType, outputs: usize, inputs: usize, stream: &mut Stream) -> Vec<u8> {
    let halves: &[usize] = match kind {
        WeightType::Q4_0 | WeightType::Q8_0 => &[0],
        WeightType::Q4_1 | WeightType::Q4K => &[0, 2],
        WeightType::Q6K => &[208],
    };
    let mut bytes: Vec<u8> =
        (0..outputs * inputs / kind.stored_weights() * kind.stored_bytes()).map(|_| stream.next() as u8).collect();
    for block in bytes.chunks_exact_mut(kind.stored_bytes()) {
        for at in halves {
            block[*at..at + 2].copy_from_slice(&stream.half());
        }
    }
    bytes
}

/// The weights of one block, written from ggml's `dequantize_row_*`.
fn weights(kind: WeightType, block: &[u8]) -> Vec<f64> {
    let half = |at: usize| f64::from(half(&block[at..]));
    let nibbles = |from: usize| (0..32).map(move |at| f64::from(block[from + at % 16] >> (at / 16 * 4) & 15));
    match kind {
        WeightType::Q4_0 => nibbles(2).map(|number| half(0) * (number - 8.0)).collect(),
        WeightType::Q4_1 => nibbles(4).map(|number| half(0) * number + half(2)).collect(),
        WeightType::Q8_0 => block[2..].iter().map(|number| half(0) * f64::from(*number as i8)).collect(),
        WeightType::Q4K => four_bit_weights(block, half(0), half(2)),
        WeightType::Q6K => six_bit_weights(block, half(208)),
    }
}

fn four_bit_weights(block: &[u8], scale: f64, minimum: f64) -> Vec<f64> {
    let packed = &block[4..16];
    let pair = |at: usize| match at {
        0..4 => (packed[at] & 63, packed[at + 4] & 63),
        _ => (packed[at + 4] & 0xF | (packed[at - 4] >> 6) << 4, packed[at + 4] >> 4 | (packed[at] >> 6) << 4),
    };
    let mut weights = Vec::new();
    for (at, bytes) in block[16..].chunks_exact(32).enumerate() {
        for (side, shift) in [(2 * at, 0), (2 * at + 1, 4)] {
            let (steps, least) = pair(side);
            weights.extend(
                bytes
                    .iter()
                    .map(|byte| scale * f64::from(steps) * f64::from(byte >> shift & 15) - minimum * f64::from(least)),
            );
        }
    }
    weights
}

fn six_bit_weights(block: &[u8], scale: f64) -> Vec<f64> {
    let mut weights = vec![0.0; 256];
    for side in 0..2 {
        let (low, high) = (&block[side * 64..], &block[128 + side * 32..]);
        for at in 0..32 {
            let numbers = [
                low[at] & 15 | (high[at] & 3) << 4,
                low[at + 32] & 15 | (high[at] >> 2 & 3) << 4,
                low[at] >> 4 | (high[at] >> 4 & 3) << 4,
                low[at + 32] >> 4 | (high[at] >> 6) << 4,
            ];
            for (quarter, number) in numbers.into_iter().enumerate() {
                let steps = block[192 + side * 8 + at / 16 + 2 * quarter] as i8;
                weights[side * 128 + quarter * 32 + at] = scale * f64::from(steps) * (f64::from(number) - 32.0);
            }
        }
    }
    weights
}

/// What an output should be, and the size of the numbers that were added up for it.
fn expected(weights: &[f64], row: impl Iterator<Item = f64>) -> (f64, f64) {
    weights
        .iter()
        .zip(row)
        .fold((0.0, 0.0), |(sum, size), (weight, input)| (sum + weight * input, size + (weight * input).abs()))
}

fn rounded(activations: &Activations, row: usize) -> impl Iterator<Item = f64> + '_ {
    let blocks = activations.row(row).iter();
    blocks.flat_map(|block| block.numbers.map(|number| f64::from(block.scale) * f64::from(number)))
}

struct Case {
    weights: Vec<Vec<f64>>,
    packed: PackedWeights,
    values: Vec<f32>,
    inputs: usize,
}

impl Case {
    fn new(kind: WeightType, outputs: usize, blocks: usize, rows: usize, seed: u64) -> Self {
        let mut stream = Stream(seed | 1);
        let inputs = blocks * kind.stored_weights();
        let stored = stored(kind, outputs, inputs, &mut stream);
        let row = stored.len() / outputs;
        let of_row = |bytes: &[u8]| bytes.chunks(kind.stored_bytes()).flat_map(|block| weights(kind, block)).collect();
        let packed = PackedWeights::pack(kind, outputs, inputs, &stored).unwrap();
        let values = (0..rows * inputs).map(|_| stream.float()).collect();
        Self { weights: stored.chunks(row).map(of_row).collect(), packed, values, inputs }
    }

    /// Within the rounding of f32 of what the rounded inputs give.
    fn check(&self, found: &[f32], activations: &Activations) {
        for (row, found) in found.chunks(self.weights.len()).enumerate() {
            for (weights, found) in self.weights.iter().zip(found) {
                let (sum, size) = expected(weights, rounded(activations, row));
                assert!((sum - f64::from(*found)).abs() <= 4e-6 * size, "{:?}: {found}, not {sum}", self.packed);
            }
        }
    }
}

#[test]
fn every_type_with_every_number_of_rows() {
    let pools = [Pool::new(1), Pool::new(3)];
    for kind in WeightType::ALL {
        for rows in 1..=9 {
            for outputs in [1, 7, 8, 17, 31, 121] {
                let case = Case::new(kind, outputs, 3, rows, rows as u64 * 1000 + outputs as u64);
                let activations = Activations::quantize(&case.values, case.inputs, 0).unwrap();
                for pool in &pools {
                    case.check(&multiply(&case.packed, &activations, pool).unwrap(), &activations);
                }
                case.check(&compute(&case.packed, &activations, &pools[0], run_portable).unwrap(), &activations);
            }
        }
    }
}

/// The largest numbers that can meet: nothing may overflow on the way.
#[test]
fn extreme_numbers_do_not_overflow() {
    let pool = Pool::new(1);
    for kind in WeightType::ALL {
        for (byte, sign) in [(0xFF, 1.0), (0xFF, -1.0), (0x80, 1.0), (0x80, -1.0), (0x7F, 1.0), (0, -1.0)] {
            let mut case = Case::new(kind, 9, 2, 4, 7);
            let mut bytes = vec![byte; 9 * 2 * kind.stored_bytes()];
            for block in bytes.chunks_exact_mut(kind.stored_bytes()) {
                let at = if kind == WeightType::Q6K { 208 } else { 0 };
                block[at..at + 2].copy_from_slice(&[0, 0x3C]);
                if matches!(kind, WeightType::Q4_1 | WeightType::Q4K) {
                    block[2..4].copy_from_slice(&[0, 0x3C]);
                }
            }
            let row = 2 * kind.stored_bytes();
            let of_row = |bytes: &[u8]| bytes.chunks(row / 2).flat_map(|block| weights(kind, block)).collect();
            case.weights = bytes.chunks(row).map(of_row).collect();
            case.packed = PackedWeights::pack(kind, 9, case.inputs, &bytes).unwrap();
            case.values.fill(sign);
            let activations = Activations::quantize(&case.values, case.inputs, 0).unwrap();
            case.check(&multiply(&case.packed, &activations, &pool).unwrap(), &activations);
        }
    }
}

#[test]
fn sizes_that_do_not_fit_are_refused() {
    let pack = |inputs, bytes: &[u8]| PackedWeights::pack(WeightType::Q4K, 1, inputs, bytes).unwrap_err();
    assert_eq!(pack(32, &[0; 18]), ShapeError::Inputs { inputs: 32, block: 256 });
    assert_eq!(pack(256, &[0; 143]), ShapeError::Bytes { found: 143, expected: 144 });
    let case = Case::new(WeightType::Q8_0, 3, 2, 1, 5);
    let narrow = Activations::quantize(&case.values[..BLOCK], BLOCK, 0).unwrap();
    let refused = multiply(&case.packed, &narrow, &Pool::new(1)).unwrap_err();
    assert_eq!(refused, ShapeError::Width { weights: 64, activations: 32 });
}

#[test]
fn what_is_not_a_number_reaches_every_output_of_its_row() {
    for kind in WeightType::ALL {
        let mut case = Case::new(kind, 9, 2, 2, 3);
        case.values[case.inputs + 5] = f32::NAN;
        let activations = Activations::quantize(&case.values, case.inputs, 0).unwrap();
        let found = multiply(&case.packed, &activations, &Pool::new(1)).unwrap();
        assert!(found[..9].iter().all(|value| value.is_finite()) && found[9..].iter().all(|value| value.is_nan()));
    }
}

/// What a processor has beyond AVX2 makes it faster and nothing else.
#[cfg(target_arch = "x86_64")]
#[test]
fn both_sets_of_vector_instructions_give_the_same_bits() {
    if !vnni::is_here() {
        return;
    }
    let pool = Pool::new(1);
    for kind in WeightType::ALL {
        for rows in 1..=6 {
            let case = Case::new(kind, 41, 3, rows, 77 + rows as u64);
            let activations = Activations::quantize(&case.values, case.inputs, rows / 2).unwrap();
            let run = |run| compute(&case.packed, &activations, &pool, run).unwrap();
            assert_eq!(run(vnni::run), run(avx2::run), "{kind:?}");
        }
    }
}

fn kinds() -> impl Strategy<Value = WeightType> {
    proptest::sample::select(WeightType::ALL.to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Exact rows are the product of the floats themselves, to about 16 bits.
    #[test]
    fn exact_rows_are_hardly_rounded(kind in kinds(), outputs in 1usize..40, rows in 1usize..12, seed: u64) {
        let case = Case::new(kind, outputs, 2, rows, seed);
        let activations = Activations::quantize(&case.values, case.inputs, rows).unwrap();
        let found = multiply(&case.packed, &activations, &Pool::new(1)).unwrap();
        prop_assert_eq!(found.len(), rows * outputs);
        for (row, found) in case.values.chunks(case.inputs).zip(found.chunks(outputs)) {
            for (weights, found) in case.weights.iter().zip(found) {
                let (sum, size) = expected(weights, row.iter().map(|value| f64::from(*value)));
                prop_assert!((sum - f64::from(*found)).abs() <= 1e-4 * size.max(1e-3), "{found}, not {sum}");
            }
        }
    }

    /// The same bits whoever stands beside a row, and however many threads there are.
    #[test]
    fn batched_is_alone(kind in kinds(), outputs in 1usize..70, rows in 1usize..11, threads in 1usize..4, seed: u64) {
        let case = Case::new(kind, outputs, 2, rows, seed);
        let batch = Activations::quantize(&case.values, case.inputs, 0).unwrap();
        let together = multiply(&case.packed, &batch, &Pool::new(threads)).unwrap();
        for (row, together) in case.values.chunks(case.inputs).zip(together.chunks(outputs)) {
            let one = Activations::quantize(row, case.inputs, 0).unwrap();
            let alone = multiply(&case.packed, &one, &Pool::new(1)).unwrap();
            prop_assert_eq!(&alone, together);
        }
    }
}
