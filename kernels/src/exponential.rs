//! The exponential function in steps that a compiler can do for a whole vector at once, with the same result each time.

const LOWEST: f32 = -87.0;
const HIGHEST: f32 = 88.0;
/// Adding this and taking it away again rounds to the nearest whole number.
const ROUNDING: f32 = 12_582_912.0;
/// ln 2 in two parts, the first of few bits, so that a whole multiple of it is exact.
const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
/// The polynomial of Cephes' `expf` on half of ln 2 to either side of zero, the highest power first.
const TERMS: [f32; 6] = [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];

/// Off by at most two units in the last place between the bounds, where it stays beyond them. What is not a number stays so.
#[inline(always)]
pub fn exp(value: f32) -> f32 {
    let value = if value < LOWEST { LOWEST } else { value };
    let value = if value > HIGHEST { HIGHEST } else { value };
    let shifted = value.mul_add(std::f32::consts::LOG2_E, ROUNDING);
    let whole = shifted - ROUNDING;
    let rest = (-whole).mul_add(LN_2[1], (-whole).mul_add(LN_2[0], value));
    let mut sum = TERMS[0];
    for term in &TERMS[1..] {
        sum = sum.mul_add(rest, *term);
    }
    let fraction = (sum * rest).mul_add(rest, rest) + 1.0;
    let exponent = shifted.to_bits().wrapping_sub(ROUNDING.to_bits()).wrapping_add(127);
    fraction * f32::from_bits(exponent << 23)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_one_of_the_library_up_to_rounding() {
        for step in -8700..8800 {
            let value = step as f32 / 100.0;
            let (found, expected) = (f64::from(exp(value)), f64::from(value).exp());
            assert!((found / expected - 1.0).abs() < 2.5e-7, "{value}: {found} is not {expected}");
        }
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f32::NEG_INFINITY) < 2e-38 && exp(f32::INFINITY).is_finite());
        assert!(exp(f32::NAN).is_nan());
    }
}
