//! CRC32C (Castagnoli), as storage writes it: RFC 4960, appendix B, big-endian, in base64.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

/// The polynomial, its bits the other way round.
const CASTAGNOLI: u32 = 0x82f6_3b78;
const TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut rest = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            rest = if rest & 1 == 1 { (rest >> 1) ^ CASTAGNOLI } else { rest >> 1 };
            bit += 1;
        }
        table[byte] = rest;
        byte += 1;
    }
    table
}

pub(super) fn crc32c(bytes: &[u8]) -> String {
    let rest =
        bytes.iter().fold(u32::MAX, |rest, byte| TABLE[((rest ^ u32::from(*byte)) & 0xff) as usize] ^ (rest >> 8));
    BASE64_STANDARD.encode((!rest).to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_rfc() {
        // The check value of CRC-32C is that of nine digits: e3069283.
        assert_eq!(crc32c(b"123456789"), BASE64_STANDARD.encode(0xe306_9283_u32.to_be_bytes()));
        assert_eq!(crc32c(b""), "AAAAAA==");
    }
}
