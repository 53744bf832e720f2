//! The products with AVX-512's dot products of bytes (VNNI), in vectors of AVX2's length, chosen when the program runs.
//!
//! `vpdpbusd` multiplies unsigned weights with signed inputs and adds four of them to 32 bits at once, where AVX2 takes a
//! multiplication, an addition and a widening. Six bits are AVX2's: their two scales a block want the widening anyway.
#![expect(unsafe_code, reason = "the entry behind the check of the processor")]

use std::arch::x86_64::*;

use crate::activations::ActivationBlock;
use crate::avx2::{Layout, Q4_0, Q4_1, Q4K, Q6K, Q8_0, Sums, floats, four, has_minima, load, scales, six_bits};
use crate::layout::{BLOCK, LANES, WeightType};
use crate::multiply::Task;
use crate::products::products;

pub fn is_here() -> bool {
    crate::avx2::is_here() && is_x86_feature_detected!("avx512vl") && is_x86_feature_detected!("avx512vnni")
}

products!("avx2,fma,f16c,avx512vl,avx512vnni");

#[inline]
#[target_feature(enable = "avx2,fma,f16c,avx512vl,avx512vnni")]
fn four_bits<L: Layout, const ROWS: usize, const STRIPS: usize>(
    tiles: [&[u8]; STRIPS],
    blocks: [&ActivationBlock; ROWS],
) -> Sums<ROWS, STRIPS> {
    let nibble = _mm256_set1_epi8(15);
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
                *sum = _mm256_dpbusd_epi32(_mm256_dpbusd_epi32(*sum, low[strip], first), high[strip], second);
            }
        }
    }
    sums
}

/// The sign of the weight goes to the input.
#[inline]
#[target_feature(enable = "avx2,fma,f16c,avx512vl,avx512vnni")]
fn eight_bits<const ROWS: usize, const STRIPS: usize>(
    tiles: [&[u8]; STRIPS],
    blocks: [&ActivationBlock; ROWS],
) -> Sums<ROWS, STRIPS> {
    let mut sums = [[_mm256_setzero_si256(); STRIPS]; ROWS];
    for group in 0..8 {
        for strip in 0..STRIPS {
            let weights = load(&tiles[strip][WeightType::Q8_0.scales() + group * 32..][..32]);
            let magnitudes = _mm256_abs_epi8(weights);
            for row in 0..ROWS {
                let inputs = _mm256_sign_epi8(four(blocks[row], group), weights);
                sums[row][strip] = _mm256_dpbusd_epi32(sums[row][strip], magnitudes, inputs);
            }
        }
    }
    sums
}
