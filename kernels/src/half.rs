//! Half-precision numbers, as GGUF stores scales.

/// The f16 in the first two bytes, little-endian. Exact: every f16 is an f32.
pub fn half(bytes: &[u8]) -> f32 {
    half_of(u16::from_le_bytes([bytes[0], bytes[1]]))
}

/// The same from its bits.
pub fn half_of(bits: u16) -> f32 {
    let bits = u32::from(bits);
    let (sign, exponent, fraction) = (bits >> 15 << 31, bits >> 10 & 31, bits & 1023);
    let magnitude = match exponent {
        0 => fraction as f32 * (1.0 / 16_777_216.0),
        31 => f32::from_bits(0x7F80_0000 | fraction << 13),
        _ => f32::from_bits((exponent + 112) << 23 | fraction << 13),
    };
    f32::from_bits(magnitude.to_bits() | sign)
}

/// The nearest f16, of two the even one; infinite from 65 520 on.
pub fn to_half(value: f32) -> u16 {
    let sign = (value.to_bits() >> 16 & 0x8000) as u16;
    let magnitude = value.to_bits() & 0x7FFF_FFFF;
    let rounded = match magnitude {
        0x7F80_0001.. => 0x7E00,
        0x477F_F000.. => 0x7C00,
        0x3880_0000.. => (magnitude - (112 << 23) + 0xFFF + (magnitude >> 13 & 1)) >> 13,
        // Adding a half makes the last bit of the sum worth what the last bit of so small an f16 is.
        _ => (f32::from_bits(magnitude) + 0.5).to_bits() - 0.5f32.to_bits(),
    };
    sign | rounded as u16
}

#[cfg(test)]
mod tests {
    use super::{half, half_of, to_half};

    #[test]
    fn every_f16_comes_back_and_the_middle_between_two_goes_to_the_even_one() {
        for bits in 0..0x7C00u16 {
            let (value, next) = (half_of(bits), if bits == 0x7BFF { 65536.0 } else { half_of(bits + 1) });
            let middle = value.midpoint(next);
            assert_eq!((to_half(value), to_half(-value)), (bits, bits | 0x8000));
            assert_eq!(to_half(middle), bits + bits % 2, "{middle}");
            assert_eq!(to_half(middle.next_up()), bits + 1);
            assert_eq!(to_half(middle.next_down()), bits);
        }
        assert_eq!((to_half(f32::INFINITY), to_half(1e30)), (0x7C00, 0x7C00));
        assert!(half_of(to_half(f32::NAN)).is_nan());
    }

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
