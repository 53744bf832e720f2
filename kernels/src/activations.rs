//! Inputs rounded to eight bits, by blocks of 32.

use crate::ShapeError;
use crate::layout::BLOCK;

/// Rows of inputs, rounded.
#[derive(Debug, Clone)]
pub struct Activations {
    rows: usize,
    inputs: usize,
    /// How many rows, from the first on, have what the rounding left over as further rows behind all rows.
    exact: usize,
    blocks: Vec<ActivationBlock>,
}

/// 32 inputs: `scale * numbers[..]`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct ActivationBlock {
    pub numbers: [i8; BLOCK],
    pub scale: f32,
    /// What a constant added to each weight of the block is multiplied with: `scale` times the sum of all numbers.
    pub sum: f32,
    /// The sums of the first and of the second sixteen numbers.
    pub halves: [i16; 2],
}

impl Activations {
    /// `values` are whole rows of `inputs`. The first `exact` rows are kept to about 16 bits, at twice the work.
    ///
    /// A block with a value that is not finite makes every result of its row so.
    pub fn quantize(values: &[f32], inputs: usize, exact: usize) -> Result<Self, ShapeError> {
        if inputs == 0 || !inputs.is_multiple_of(BLOCK) || !values.len().is_multiple_of(inputs) {
            return Err(ShapeError::Inputs { inputs, block: BLOCK });
        }
        let rows = values.len() / inputs;
        let exact = exact.min(rows);
        let mut blocks = Vec::with_capacity((rows + exact) * (inputs / BLOCK));
        blocks.extend(values.as_chunks::<BLOCK>().0.iter().map(round));
        for (at, values) in values[..exact * inputs].as_chunks::<BLOCK>().0.iter().enumerate() {
            blocks.push(round(&left_over(values, &blocks[at])));
        }
        Ok(Self { rows, inputs, exact, blocks })
    }

    pub const fn rows(&self) -> usize {
        self.rows
    }

    pub const fn inputs(&self) -> usize {
        self.inputs
    }

    pub(crate) const fn exact(&self) -> usize {
        self.exact
    }

    /// Rows to be multiplied: the rows, and then what was left over of the exact ones.
    pub(crate) const fn computed(&self) -> usize {
        self.rows + self.exact
    }

    pub(crate) fn row(&self, at: usize) -> &[ActivationBlock] {
        let width = self.inputs / BLOCK;
        &self.blocks[at * width..][..width]
    }
}

/// Adding this and taking it away again rounds to the nearest whole number, without a call of a library for each.
const ROUNDING: f32 = 12_582_912.0;

fn round(values: &[f32; BLOCK]) -> ActivationBlock {
    // As integers the magnitudes are ordered as the floats are, and what is not a number is the largest.
    let largest = values.iter().map(|value| value.to_bits() & 0x7FFF_FFFF).fold(0, u32::max);
    let scale = f32::from_bits(largest) / 127.0;
    // A scale that small has no finite inverse; such a block is nothing beside any other.
    let inverse = if scale > 1e-36 { 1.0 / scale } else { 0.0 };
    let mut numbers = [0; BLOCK];
    for (number, value) in numbers.iter_mut().zip(values) {
        let rounded = (value * inverse + ROUNDING).to_bits().wrapping_sub(ROUNDING.to_bits()) as i32;
        *number = rounded.clamp(-127, 127) as i8;
    }
    let half = |from: usize| numbers[from..from + 16].iter().map(|number| i16::from(*number)).sum::<i16>();
    let halves = [half(0), half(16)];
    let sum = scale * f32::from(halves[0] + halves[1]);
    ActivationBlock { numbers, scale, sum, halves }
}

fn left_over(values: &[f32; BLOCK], rounded: &ActivationBlock) -> [f32; BLOCK] {
    std::array::from_fn(|at| values[at] - rounded.scale * f32::from(rounded.numbers[at]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn rounding_is_half_a_step_and_remainders_make_it_finer(values in prop::array::uniform32(-30.0f32..30.0)) {
            let largest = values.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
            let coarse = round(&values);
            let fine = round(&left_over(&values, &coarse));
            for (at, value) in values.iter().enumerate() {
                let first = coarse.scale * f32::from(coarse.numbers[at]);
                let second = fine.scale * f32::from(fine.numbers[at]);
                prop_assert!((value - first).abs() <= largest / 127.0 * 0.5001);
                prop_assert!((value - first - second).abs() <= largest / 127.0 / 127.0 * 0.26);
            }
        }
    }

    #[test]
    fn what_is_not_finite_does_not_vanish() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut values = [1.0; BLOCK];
            values[7] = bad;
            assert!(!round(&values).scale.is_finite());
        }
        let smallest = round(&[f32::MIN_POSITIVE; BLOCK]);
        assert!(smallest.scale.is_finite() && smallest.sum.is_finite());
    }

    #[test]
    fn rows_must_be_whole_blocks() {
        assert!(Activations::quantize(&[0.0; 48], 48, 0).is_err());
        assert!(Activations::quantize(&[0.0; 48], 32, 0).is_err());
        assert!(Activations::quantize(&[], 0, 0).is_err());
    }
}
