//! How weights are stored in a GGUF file, and how they lie here.
//!
//! Eight outputs make a strip. A strip is a row of units, a unit a header and one or eight tiles, a tile its scales and
//! then the numbers of 8 outputs x 32 inputs. The inputs of a tile are eight groups of four:
//!
//! ```text
//! four bits   vector j of 4: bytes 4r..4r+4 belong to output r; low nibbles are group j, high nibbles group j + 4
//! two more    vector h of 2: bits 4-5, 6-7, 0-1, 2-3 are the upper bits of groups 4h, 4h + 1, 4h + 2, 4h + 3
//! eight bits  vector g of 8: group g
//! ```
//! Scales stay as short as they are stored (f16, and one byte for a sub-block of the K types), since decoding one sequence
//! is as fast as the weights can be read from memory. Source of the stored layouts: ggml, `ggml-common.h`.

/// Inputs that share one scale of the activations, and one tile of the weights.
pub const BLOCK: usize = 32;
/// Outputs of a strip: the f32 lanes of a vector.
pub const LANES: usize = 8;

/// The types of stored weights that can be packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightType {
    Q4_0,
    Q4_1,
    Q4K,
    Q6K,
    Q8_0,
}

impl WeightType {
    pub const ALL: [Self; 5] = [Self::Q4_0, Self::Q4_1, Self::Q4K, Self::Q6K, Self::Q8_0];

    /// Weights of a stored block.
    pub const fn stored_weights(self) -> usize {
        match self {
            Self::Q4K | Self::Q6K => 256,
            Self::Q4_0 | Self::Q4_1 | Self::Q8_0 => 32,
        }
    }

    /// Bytes of a stored block.
    pub const fn stored_bytes(self) -> usize {
        match self {
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q4K => 144,
            Self::Q6K => 210,
            Self::Q8_0 => 34,
        }
    }

    /// Bytes that a matrix takes once packed.
    pub const fn packed_bytes(self, outputs: usize, inputs: usize) -> usize {
        outputs.div_ceil(LANES) * (inputs / self.stored_weights()) * self.unit()
    }

    /// Tiles of a unit.
    pub(crate) const fn tiles(self) -> usize {
        self.stored_weights() / BLOCK
    }

    /// Bytes before the tiles of a unit: f16 scales of the whole unit, for Q4_K followed by those of its minima.
    pub(crate) const fn header(self) -> usize {
        match self {
            Self::Q4K => 4 * LANES,
            Self::Q6K => 2 * LANES,
            Self::Q4_0 | Self::Q4_1 | Self::Q8_0 => 0,
        }
    }

    /// Bytes before the numbers of a tile.
    pub(crate) const fn scales(self) -> usize {
        match self {
            // f16 scales and f16 minima.
            Self::Q4_1 => 4 * LANES,
            // f16 scales; or a byte for the scale and one for the minimum; or two signed bytes, one for each half.
            Self::Q4_0 | Self::Q8_0 | Self::Q4K | Self::Q6K => 2 * LANES,
        }
    }

    pub(crate) const fn tile(self) -> usize {
        let numbers = match self {
            Self::Q4_0 | Self::Q4_1 | Self::Q4K => BLOCK / 2,
            Self::Q6K => BLOCK / 2 + BLOCK / 4,
            Self::Q8_0 => BLOCK,
        };
        self.scales() + numbers * LANES
    }

    pub(crate) const fn unit(self) -> usize {
        self.header() + self.tiles() * self.tile()
    }

    /// Where the tile of a block lies in its strip.
    pub(crate) const fn place(self, block: usize) -> usize {
        block / self.tiles() * self.unit() + self.header() + block % self.tiles() * self.tile()
    }
}

/// Where the upper two bits of a six-bit number stand in their byte, by group modulo four.
pub const UPPER_BITS: [u32; 4] = [4, 6, 0, 2];
