//! Exact rewriting of block types that have no tiles into one that has.
//!
//! candle multiplies Q5_0 and Q5_1 one weight at a time on a CPU, far slower than `kernels` does Q8_0.
//! Requantizing them would be simple and would move every weight a little, which on a model of 135 million parameters
//! adds more error than the rounding of the activations does, enough to change greedy answers. But their blocks of 32
//! are sums of what Q8_0 can hold exactly and a constant per block:
//!
//! ```text
//! Q5_0  d (q - 16)     = d (q - 16)  as Q8_0                  q in 0..32
//! Q5_1  d q + m        = d (q - 16)  as Q8_0   + (m + 16 d)
//! ```
//! The constants meet the sum of each block's inputs in a second, 32 times smaller product.
//! Source of the layouts: ggml, `ggml-common.h`.

use candle_core::quantized::GgmlDType;

pub const BLOCK: usize = 32;
const SCALE: usize = 2;
const HIGH_BITS: usize = 4;

/// Blocks of another type, equal to the original once `offset` is added to each weight of a block.
#[derive(Debug, PartialEq, Eq)]
pub struct Repacked {
    pub kind: GgmlDType,
    pub bytes: Vec<u8>,
    pub offset: Option<BlockOffset>,
}

/// `minima + center * scales`, block by block; both lists are little-endian f16.
#[derive(Debug, PartialEq, Eq)]
pub struct BlockOffset {
    pub scales: Vec<u8>,
    pub minima: Vec<u8>,
    pub center: u8,
}

/// `None` for types that are fast as they are.
pub fn repack(kind: GgmlDType, data: &[u8]) -> Option<Repacked> {
    match kind {
        GgmlDType::Q5_0 => {
            let blocks = data.chunks_exact(SCALE + HIGH_BITS + BLOCK / 2);
            let bytes = blocks.flat_map(|block| eight_bits(&block[..SCALE], &block[SCALE..])).collect();
            Some(Repacked { kind: GgmlDType::Q8_0, bytes, offset: None })
        }
        GgmlDType::Q5_1 => {
            let blocks = || data.chunks_exact(2 * SCALE + HIGH_BITS + BLOCK / 2);
            let bytes = blocks().flat_map(|block| eight_bits(&block[..SCALE], &block[2 * SCALE..])).collect();
            Some(Repacked { kind: GgmlDType::Q8_0, bytes, offset: Some(offset(blocks(), 16)) })
        }
        _ => None,
    }
}

/// The type in which a matrix is multiplied with, and the bytes of f32 offset that each block has beside it.
pub const fn computed_as(kind: GgmlDType) -> (GgmlDType, u64) {
    match kind {
        GgmlDType::Q5_0 => (GgmlDType::Q8_0, 0),
        GgmlDType::Q5_1 => (GgmlDType::Q8_0, 4),
        other => (other, 0),
    }
}

fn offset<'a>(blocks: impl Iterator<Item = &'a [u8]> + Clone, center: u8) -> BlockOffset {
    let scales = blocks.clone().flat_map(|block| &block[..SCALE]).copied().collect();
    let minima = blocks.flat_map(|block| &block[SCALE..2 * SCALE]).copied().collect();
    BlockOffset { scales, minima, center }
}

/// A Q8_0 block from a scale and five-bit numbers: the fifth bits, then the low nibbles of the first half and, in the
/// same bytes, of the second.
fn eight_bits(scale: &[u8], numbers: &[u8]) -> [u8; SCALE + BLOCK] {
    let (high, low) = numbers.split_at(HIGH_BITS);
    let high = high.iter().rev().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte));
    let mut block = [0; SCALE + BLOCK];
    block[..SCALE].copy_from_slice(scale);
    for at in 0..BLOCK {
        let nibble = if at < BLOCK / 2 { low[at] & 0xF } else { low[at - BLOCK / 2] >> 4 };
        let number = nibble | ((high >> at & 1) as u8) << 4;
        block[SCALE + at] = number.wrapping_sub(16);
    }
    block
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::quantized::{QStorage, QTensor};
    use candle_core::{DType, Device, Tensor};
    use proptest::prelude::*;

    fn dequantize(kind: GgmlDType, bytes: Vec<u8>, count: usize) -> Vec<f32> {
        let storage = QStorage::from_data(bytes.into(), &Device::Cpu, kind).unwrap();
        QTensor::new(storage, count).unwrap().dequantize(&Device::Cpu).unwrap().to_vec1().unwrap()
    }

    fn halves(bytes: &[u8]) -> Vec<f32> {
        let tensor = Tensor::from_raw_buffer(bytes, DType::F16, &[bytes.len() / 2], &Device::Cpu).unwrap();
        tensor.to_dtype(DType::F32).unwrap().to_vec1().unwrap()
    }

    proptest! {
        #[test]
        fn the_values_stay_the_same(
            values in proptest::collection::vec(-3.0f32..3.0, 4 * BLOCK),
            kind in prop_oneof![Just(GgmlDType::Q5_0), Just(GgmlDType::Q5_1)],
        ) {
            let count = values.len();
            let tensor = Tensor::from_vec(values, count, &Device::Cpu).unwrap();
            let stored = QTensor::quantize(&tensor, kind).unwrap();
            let expected: Vec<f32> = stored.dequantize(&Device::Cpu).unwrap().to_vec1().unwrap();
            let repacked = repack(kind, &stored.data().unwrap()).unwrap();
            prop_assert_eq!(repacked.kind, computed_as(kind).0);
            let mut found = dequantize(repacked.kind, repacked.bytes, count);
            if let Some(BlockOffset { scales, minima, center }) = repacked.offset {
                let offsets = halves(&scales).into_iter().zip(halves(&minima));
                for (block, (scale, least)) in found.chunks_mut(BLOCK).zip(offsets) {
                    block.iter_mut().for_each(|value| *value += least + scale * f32::from(center));
                }
            }
            for (found, expected) in found.iter().zip(&expected) {
                // The same sum in another order: equal up to the rounding of f32.
                prop_assert!((found - expected).abs() <= 4e-6, "{} is not {}", found, expected);
            }
        }
    }
}
