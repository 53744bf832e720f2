//! Half-precision numbers, as GGUF stores scales.

/// The f16 in the first two bytes, little-endian. Exact: every f16 is an f32.
pub fn half(bytes: &[u8]) -> f32 {
    let bits = u32::from(bytes[0]) | u32::from(bytes[1]) << 8;
    let (sign, exponent, fraction) = (bits >> 15 << 31, bits >> 10 & 31, bits & 1023);
    let magnitude = match exponent {
        0 => fraction as f32 * (1.0 / 16_777_216.0),
        31 => f32::from_bits(0x7F80_0000 | fraction << 13),
        _ => f32::from_bits((exponent + 112) << 23 | fraction << 13),
    };
    f32::from_bits(magnitude.to_bits() | sign)
}

#[cfg(test)]
mod tests {
    use super::half;

    #[test]
    fn known_numbers() {
        let known =
            [(0x3C00, 1.0), (0xC000, -2.0), (0x7BFF, 65504.0), (0x0001, 5.960_464_5e-8), (0x0400, 6.103_515_6e-5)];
        for (bits, value) in known {
            assert_eq!(half(&u16::to_le_bytes(bits)), value);
        }
        assert_eq!(half(&[0, 0x80]).to_bits(), (-0.0f32).to_bits());
        assert_eq!(half(&[0, 0xFC]), f32::NEG_INFINITY);
        assert!(half(&[1, 0x7C]).is_nan());
    }
}
