//! Weights from their stored blocks into tiles.

use crate::ShapeError;
use crate::layout::{BLOCK, LANES, UPPER_BITS, WeightType};

/// A matrix of `outputs` rows and `inputs` columns, in the layout that `multiply` reads.
#[derive(Clone)]
pub struct PackedWeights {
    kind: WeightType,
    outputs: usize,
    inputs: usize,
    /// Strips of eight outputs; what the last has too many is zero.
    bytes: Vec<u8>,
}

impl std::fmt::Debug for PackedWeights {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(to, "PackedWeights({:?}, {} x {})", self.kind, self.outputs, self.inputs)
    }
}

impl PackedWeights {
    /// `stored` holds the blocks of one output after the other, as in a GGUF file.
    pub fn pack(kind: WeightType, outputs: usize, inputs: usize, stored: &[u8]) -> Result<Self, ShapeError> {
        let block = kind.stored_weights();
        if !inputs.is_multiple_of(block) {
            return Err(ShapeError::Inputs { inputs, block });
        }
        let row = inputs / block * kind.stored_bytes();
        if stored.len() != outputs * row {
            return Err(ShapeError::Bytes { found: stored.len(), expected: outputs * row });
        }
        let mut bytes = vec![0; kind.packed_bytes(outputs, inputs)];
        for output in 0..outputs {
            let width = inputs / block * kind.unit();
            let strip = &mut bytes[output / LANES * width..][..width];
            let blocks = stored[output * row..][..row].chunks_exact(kind.stored_bytes());
            for (unit, block) in strip.chunks_exact_mut(kind.unit()).zip(blocks) {
                pack_block(kind, unit, output % LANES, block);
            }
        }
        Ok(Self { kind, outputs, inputs, bytes })
    }

    pub const fn kind(&self) -> WeightType {
        self.kind
    }

    pub const fn outputs(&self) -> usize {
        self.outputs
    }

    pub const fn inputs(&self) -> usize {
        self.inputs
    }

    pub(crate) const fn strips(&self) -> usize {
        self.outputs.div_ceil(LANES)
    }

    /// Bytes of a strip.
    pub(crate) const fn width(&self) -> usize {
        self.inputs / self.kind.stored_weights() * self.kind.unit()
    }

    pub(crate) fn strip(&self, at: usize) -> &[u8] {
        &self.bytes[at * self.width()..][..self.width()]
    }
}

/// Lays one stored block of one output (`lane` of its strip) into its unit.
fn pack_block(kind: WeightType, unit: &mut [u8], lane: usize, block: &[u8]) {
    let (header, tiles) = unit.split_at_mut(kind.header());
    let tile = &mut tiles[..];
    match kind {
        WeightType::Q4_0 | WeightType::Q8_0 => {
            set_pair(tile, lane, &block[..2]);
            pack_numbers(kind, tile, lane, &block[2..]);
        }
        WeightType::Q4_1 => {
            set_pair(tile, lane, &block[..2]);
            set_pair(&mut tile[2 * LANES..], lane, &block[2..4]);
            pack_numbers(kind, tile, lane, &block[4..]);
        }
        WeightType::Q4K => {
            set_pair(header, lane, &block[..2]);
            set_pair(&mut header[2 * LANES..], lane, &block[2..4]);
            pack_four_bit_blocks(tile, lane, block);
        }
        WeightType::Q6K => {
            set_pair(header, lane, &block[208..]);
            pack_six_bit_blocks(tile, lane, block);
        }
    }
}

fn set_pair(to: &mut [u8], lane: usize, pair: &[u8]) {
    to[2 * lane..2 * lane + 2].copy_from_slice(pair);
}

fn pack_numbers(kind: WeightType, tile: &mut [u8], lane: usize, stored: &[u8]) {
    let numbers = &mut tile[kind.scales()..];
    if kind == WeightType::Q8_0 {
        for (group, four) in stored.chunks_exact(4).enumerate() {
            numbers[group * BLOCK + 4 * lane..][..4].copy_from_slice(four);
        }
        return;
    }
    let nibble = |at: usize| if at < 16 { stored[at] & 15 } else { stored[at - 16] >> 4 };
    set_nibbles(numbers, lane, nibble);
}

/// Inputs four times the number of the vector, and sixteen further on, share a byte.
fn set_nibbles(to: &mut [u8], lane: usize, number: impl Fn(usize) -> u8) {
    for at in 0..BLOCK / 2 {
        to[at / 4 * BLOCK + 4 * lane + at % 4] = number(at) & 15 | number(at + 16) << 4;
    }
}

fn pack_four_bit_blocks(tiles: &mut [u8], lane: usize, block: &[u8]) {
    let numbers = &block[16..];
    for (at, tile) in tiles.chunks_exact_mut(WeightType::Q4K.tile()).enumerate() {
        let (scale, minimum) = six_bit_scales(&block[4..16], at);
        tile[lane] = scale;
        tile[LANES + lane] = minimum;
        // Two blocks of 32 share their bytes: the even one has the low nibbles.
        let nibble = |input: usize| numbers[at / 2 * BLOCK + input] >> (at % 2 * 4) & 15;
        set_nibbles(&mut tile[WeightType::Q4K.scales()..], lane, nibble);
    }
}

/// Scale and minimum of one of eight blocks; the upper bits of the last four stand above those of the first four.
fn six_bit_scales(packed: &[u8], at: usize) -> (u8, u8) {
    if at < 4 {
        return (packed[at] & 63, packed[at + 4] & 63);
    }
    let upper = |from: usize| packed[from] >> 6 << 4;
    (packed[at + 4] & 15 | upper(at - 4), packed[at + 4] >> 4 | upper(at))
}

fn pack_six_bit_blocks(tiles: &mut [u8], lane: usize, block: &[u8]) {
    let (low, high, scales) = (&block[..128], &block[128..192], &block[192..208]);
    for (at, tile) in tiles.chunks_exact_mut(WeightType::Q6K.tile()).enumerate() {
        set_pair(tile, lane, &scales[2 * at..2 * at + 2]);
        let (side, quarter) = (at / 4, at % 4);
        let lower = |input: usize| low[side * 64 + quarter % 2 * BLOCK + input] >> (quarter / 2 * 4);
        let upper = |input: usize| high[side * BLOCK + input] >> (2 * quarter) & 3;
        let (four, two) = tile[WeightType::Q6K.scales()..].split_at_mut(BLOCK / 2 * LANES);
        set_nibbles(four, lane, |input| lower(input) & 15);
        for input in 0..BLOCK {
            let group = input / 4;
            two[group / 4 * BLOCK + 4 * lane + input % 4] |= upper(input) << UPPER_BITS[group % 4];
        }
    }
}
