//! Products of quantized weights with float rows, and attention over keys and values in blocks, on a CPU.
//!
//! ```text
//! GGUF blocks -> PackedWeights ─┐
//! rows of f32 -> Activations  ──┴─ multiply (Pool) -> rows of f32
//! queries, KvBlocks, tables of blocks ─ attend (Pool) -> rows of f32
//! ```
//! Weights are packed once into tiles of eight outputs by 32 inputs, so that one vector register holds four
//! inputs of all eight outputs and no sum ever goes across a register. Inputs are rounded to eight bits by blocks of 32.
//! All rows of a call share one pass over the weights: many rows (a prompt, or the sequences of a batch) cost little more
//! memory traffic than one.
//!
//! A row's result does not depend on the rows beside it, nor on the number of threads, to the last bit.

mod activations;
mod attention;
#[cfg(target_arch = "x86_64")]
mod avx2;
mod exponential;
mod gate;
mod half;
mod layout;
mod multiply;
mod pack;
mod pool;
mod portable;
#[cfg(target_arch = "x86_64")]
mod products;
#[cfg(target_arch = "x86_64")]
mod vnni;

pub use activations::Activations;
pub use attention::{BLOCK_TOKENS, KvBlocks, Span, attend};
pub use gate::gate;
pub use layout::WeightType;
pub use multiply::multiply;
pub use pack::PackedWeights;
pub use pool::Pool;

/// Sizes that do not fit together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShapeError {
    /// The inputs of a row are not whole blocks of the type.
    Inputs { inputs: usize, block: usize },
    /// The stored weights are not as long as their shape says.
    Bytes { found: usize, expected: usize },
    /// The activations have another width than the weights.
    Width { weights: usize, activations: usize },
}

impl std::fmt::Display for ShapeError {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Inputs { inputs, block } => write!(to, "{inputs} inputs are not whole blocks of {block}"),
            Self::Bytes { found, expected } => write!(to, "{found} bytes of weights, expected {expected}"),
            Self::Width { weights, activations } => {
                write!(to, "weights for {weights} inputs, activations of {activations}")
            }
        }
    }
}

impl std::error::Error for ShapeError {}

#[cfg(test)]
mod attention_tests;
#[cfg(test)]
mod tests;
