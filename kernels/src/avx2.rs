//! The products with AVX2, FMA and F16C, chosen when the program runs.
//!
//! Unsigned weights times signed inputs are added in pairs by `vpmaddubsw` into 16 bits. Four bits: eight such steps stay in
//! 16 bits (8 x 2 x 15 x 127 = 30 480). Six bits: two (2 x 2 x 63 x 127 = 32 004). Eight bits: the sign of the weight goes to
//! the input, one step (2 x 128 x 127 = 32 512). Then comes one conversion and one FMA for each block of 32 inputs.
#![expect(unsafe_code, reason = "vector loads and stores, and the entry behind the check of the processor")]

use std::arch::x86_64::*;

use crate::activations::ActivationBlock;
use crate::attention;
use crate::layout::{BLOCK, LANES, WeightType};
use crate::multiply::Task;
use crate::products::products;

pub fn is_here() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c")
}

/// Computes a task of attention; only after `is_here`.
pub fn attend(task: &attention::Task<'_>) {
    assert!(is_here(), "the processor has no AVX2");
    // SAFETY: the processor has the instructions.
    unsafe { attend_here(task) }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn attend_here(task: &attention::Task<'_>) {
    fn widen_here(from: &[u16], to: &mut [f32]) {
        // SAFETY: whoever calls `attend_here` has seen to it that the processor has the instructions.
        unsafe { widen(from, to) }
    }
    attention::run(task, widen_here);
}

#[target_feature(enable = "avx2,fma,f16c")]
fn widen(from: &[u16], to: &mut [f32]) {
    let (from, to) = (from.as_chunks::<LANES>().0, to.as_chunks_mut::<LANES>().0);
    for (from, to) in from.iter().zip(to) {
        // SAFETY: eight halves are sixteen bytes, eight floats 32; unaligned access.
        unsafe { _mm256_storeu_ps(to.as_mut_ptr(), _mm256_cvtph_ps(_mm_loadu_si128(from.as_ptr().cast()))) };
    }
}

/// `silu(gate) * up`, in place of the gate; only after `is_here`.
pub fn gate(gate: &mut [f32], up: &[f32]) {
    assert!(is_here(), "the processor has no AVX2");
    // SAFETY: the processor has the instructions.
    unsafe { gate_here(gate, up) }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn gate_here(gate: &mut [f32], up: &[f32]) {
    crate::gate::run(gate, up);
}

/// A type of weights known to the compiler, so that each has loops of its own.
pub(crate) trait Layout {
    const KIND: WeightType;
}
pub(crate) struct Q4_0;
pub(crate) struct Q4_1;
pub(crate) struct Q4K;
pub(crate) struct Q6K;
pub(crate) struct Q8_0;
impl Layout for Q4_0 {
    const KIND: WeightType = WeightType::Q4_0;
}
impl Layout for Q4_1 {
    const KIND: WeightType = WeightType::Q4_1;
}
impl Layout for Q4K {
    const KIND: WeightType = WeightType::Q4K;
}
impl Layout for Q6K {
    const KIND: WeightType = WeightType::Q6K;
}
impl Layout for Q8_0 {
    const KIND: WeightType = WeightType::Q8_0;
}

/// Whole sums of a block, for each row and each strip.
pub(crate) type Sums<const ROWS: usize, const STRIPS: usize> = [[__m256i; STRIPS]; ROWS];

products!("avx2,fma,f16c");

pub(crate) const fn has_minima(kind: WeightType) -> bool {
    matches!(kind, WeightType::Q4_0 | WeightType::Q4_1 | WeightType::Q4K)
}

/// The scales of a tile's eight outputs, and what is added to each weight.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn scales<L: Layout>(unit: &[u8], tile: &[u8]) -> (__m256, __m256) {
    match L::KIND {
        WeightType::Q4_0 => {
            let scale = halves(&tile[..16]);
            (scale, _mm256_mul_ps(scale, _mm256_set1_ps(-8.0)))
        }
        WeightType::Q4_1 => (halves(&tile[..16]), halves(&tile[16..32])),
        WeightType::Q8_0 => (halves(&tile[..16]), _mm256_setzero_ps()),
        WeightType::Q6K => (halves(&unit[..16]), _mm256_setzero_ps()),
        WeightType::Q4K => {
            let both = load_half(&tile[..16]);
            let steps = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(both));
            let least = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_srli_si128::<8>(both)));
            let (scale, minimum) =
                (_mm256_mul_ps(halves(&unit[..16]), steps), _mm256_mul_ps(halves(&unit[16..32]), least));
            (scale, _mm256_sub_ps(_mm256_setzero_ps(), minimum))
        }
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn four_bits<L: Layout, const ROWS: usize, const STRIPS: usize>(
    tiles: [&[u8]; STRIPS],
    blocks: [&ActivationBlock; ROWS],
) -> Sums<ROWS, STRIPS> {
    let (nibble, ones) = (_mm256_set1_epi8(15), _mm256_set1_epi16(1));
    let mut sums = [[_mm256_setzero_si256(); STRIPS]; ROWS];
    for vector in 0..4 {
        let mut low = [_mm256_setzero_si256(); STRIPS];
        let mut high = low;
        for strip in 0..STRIPS {
            let both = load(&tiles[strip][L::KIND.scales() + vector * 32..][..32]);
            low[strip] = _mm256_and_si256(both, nibble);
            high[strip] = _mm256_and_si256(_mm256_srli_epi16::<4>(both), nibble);
        }
        for row in 0..ROWS {
            let (first, second) = (four(blocks[row], vector), four(blocks[row], vector + 4));
            for strip in 0..STRIPS {
                let sum = &mut sums[row][strip];
                *sum = _mm256_add_epi16(*sum, _mm256_maddubs_epi16(low[strip], first));
                *sum = _mm256_add_epi16(*sum, _mm256_maddubs_epi16(high[strip], second));
            }
        }
    }
    for sum in sums.as_flattened_mut() {
        *sum = _mm256_madd_epi16(*sum, ones);
    }
    sums
}

/// The numbers are kept as 0..64 here; the 32 too much of each is taken away by the sums of the inputs. The scales of the
/// two halves of a block are multiplied in where pairs of 16 bits are added up anyway.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn six_bits<const ROWS: usize, const STRIPS: usize>(
    tiles: [&[u8]; STRIPS],
    blocks: [&ActivationBlock; ROWS],
) -> Sums<ROWS, STRIPS> {
    let mut sums = [[_mm256_setzero_si256(); STRIPS]; ROWS];
    for strip in 0..STRIPS {
        let pairs = _mm256_cvtepi8_epi16(load_half(&tiles[strip][..16]));
        for row in 0..ROWS {
            let [first, second] = blocks[row].halves.map(|half| i32::from(half as u16));
            let inputs = _mm256_set1_epi32(first | second << 16);
            let too_much = _mm256_slli_epi32::<5>(_mm256_madd_epi16(pairs, inputs));
            sums[row][strip] = _mm256_sub_epi32(sums[row][strip], too_much);
        }
        for half in 0..2 {
            let scale = scale_of_half(pairs, half);
            let numbers = six_bit_numbers(tiles[strip], half);
            for row in 0..ROWS {
                let mut parts = numbers;
                for (at, part) in parts.iter_mut().enumerate() {
                    *part = _mm256_maddubs_epi16(*part, four(blocks[row], 4 * half + at));
                }
                let (front, back) = (_mm256_add_epi16(parts[0], parts[1]), _mm256_add_epi16(parts[2], parts[3]));
                let both = _mm256_add_epi32(_mm256_madd_epi16(front, scale), _mm256_madd_epi16(back, scale));
                sums[row][strip] = _mm256_add_epi32(sums[row][strip], both);
            }
        }
    }
    sums
}

/// The scale of one half in both places of its pair.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn scale_of_half(pairs: __m256i, half: usize) -> __m256i {
    let upper = if half == 0 { _mm256_slli_epi32::<16>(pairs) } else { pairs };
    _mm256_blend_epi16::<0b1010_1010>(_mm256_srli_epi32::<16>(upper), upper)
}

/// The four groups of a half of a tile.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn six_bit_numbers(tile: &[u8], half: usize) -> [__m256i; 4] {
    let (nibble, upper) = (_mm256_set1_epi8(15), _mm256_set1_epi8(0x30));
    let bits = load(&tile[16 + 128 + half * 32..][..32]);
    let bits = [bits, _mm256_srli_epi16::<2>(bits), _mm256_slli_epi16::<4>(bits), _mm256_slli_epi16::<2>(bits)];
    let mut numbers = [_mm256_setzero_si256(); 4];
    for (group, number) in numbers.iter_mut().enumerate() {
        let both = load(&tile[16 + group * 32..][..32]);
        let low = if half == 0 { both } else { _mm256_srli_epi16::<4>(both) };
        *number = _mm256_or_si256(_mm256_and_si256(low, nibble), _mm256_and_si256(bits[group], upper));
    }
    numbers
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn eight_bits<const ROWS: usize, const STRIPS: usize>(
    tiles: [&[u8]; STRIPS],
    blocks: [&ActivationBlock; ROWS],
) -> Sums<ROWS, STRIPS> {
    let ones = _mm256_set1_epi16(1);
    let mut sums = [[_mm256_setzero_si256(); STRIPS]; ROWS];
    for group in 0..8 {
        for strip in 0..STRIPS {
            let weights = load(&tiles[strip][WeightType::Q8_0.scales() + group * 32..][..32]);
            let magnitudes = _mm256_abs_epi8(weights);
            for row in 0..ROWS {
                let inputs = _mm256_sign_epi8(four(blocks[row], group), weights);
                let pairs = _mm256_maddubs_epi16(magnitudes, inputs);
                sums[row][strip] = _mm256_add_epi32(sums[row][strip], _mm256_madd_epi16(pairs, ones));
            }
        }
    }
    sums
}

/// Four inputs, for all eight outputs.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn four(block: &ActivationBlock, group: usize) -> __m256i {
    let [a, b, c, d] = block.numbers.as_chunks::<4>().0[group];
    _mm256_set1_epi32(i32::from_le_bytes([a as u8, b as u8, c as u8, d as u8]))
}

/// Eight f16.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn halves(bytes: &[u8]) -> __m256 {
    _mm256_cvtph_ps(load_half(bytes))
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn load(bytes: &[u8]) -> __m256i {
    assert!(bytes.len() == 32);
    // SAFETY: 32 bytes are there, and the load asks for no alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn load_half(bytes: &[u8]) -> __m128i {
    assert!(bytes.len() == 16);
    // SAFETY: 16 bytes are there, and the load asks for no alignment.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn floats(vector: __m256) -> [f32; LANES] {
    let mut floats = [0.0; LANES];
    // SAFETY: the array has the vector's size, and the store asks for no alignment.
    unsafe { _mm256_storeu_ps(floats.as_mut_ptr(), vector) };
    floats
}
