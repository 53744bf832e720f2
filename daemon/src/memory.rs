//! How many blocks of keys and values fit into this machine's memory beside the weights: asked once, before anything is
//! loaded. What is not used stays free for a step's intermediate values, the HTTP side and the neighbours.

use sysinfo::{MemoryRefreshKind, RefreshKind, System};

use crate::scheduler::BLOCK_TOKENS;

/// What the daemon wants to hold in memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demand {
    pub weights: u64,
    pub cache_per_token: u64,
    pub sequences: usize,
    pub context: usize,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemoryError {
    #[error(
        "the weights need {} and {} of memory can be used: use a smaller model or a larger machine",
        human(*weights), human(*usable)
    )]
    Weights { weights: u64, usable: u64 },
    #[error(
        "a sequence of {context} tokens needs {} of key-value cache, the weights {}, and {} of memory can be \
         used: the largest context that fits is --context {largest}",
        human(*cache), human(*weights), human(*usable)
    )]
    Cache { context: usize, cache: u64, weights: u64, usable: u64, largest: u64 },
}

impl Demand {
    fn block_bytes(&self) -> u64 {
        self.cache_per_token.saturating_mul(BLOCK_TOKENS as u64).max(1)
    }

    /// Bytes of so many blocks.
    pub fn cache(&self, blocks: u32) -> u64 {
        self.block_bytes().saturating_mul(u64::from(blocks))
    }

    /// The blocks to reserve if weights and cache may take `usable` bytes: for all sequences at their longest, or as many as
    /// fit. Refuses if that is not even enough for one.
    pub fn blocks(&self, usable: u64) -> Result<u32, MemoryError> {
        let (weights, context) = (self.weights, self.context);
        let fitting = usable.saturating_sub(weights) / self.block_bytes();
        let one = context.div_ceil(BLOCK_TOKENS) as u64;
        if fitting == 0 {
            return Err(MemoryError::Weights { weights, usable });
        }
        if fitting < one {
            let largest = fitting * BLOCK_TOKENS as u64;
            let cache = self.block_bytes().saturating_mul(one);
            return Err(MemoryError::Cache { context, cache, weights, usable, largest });
        }
        let blocks = one.saturating_mul(self.sequences as u64).min(fitting);
        Ok(u32::try_from(blocks).unwrap_or(u32::MAX))
    }
}

/// The bytes of those available that may be used.
pub fn usable(available: u64, utilization: f64) -> u64 {
    (available as f64 * utilization) as u64
}

/// Bytes this process may still take: what the machine has left, or its control group if that is less.
pub fn available() -> u64 {
    let system =
        System::new_with_specifics(RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram()));
    let machine = system.available_memory();
    system.cgroup_limits().map_or(machine, |limits| machine.min(limits.free_memory))
}

fn human(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DEMAND: Demand = Demand { weights: 1 << 30, cache_per_token: 1 << 20, sequences: 8, context: 4096 };

    #[test]
    fn the_refusal_names_the_largest_context_that_fits() {
        let error = DEMAND.blocks(usable(4 << 30, 0.75)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a sequence of 4096 tokens needs 4.0 GiB of key-value cache, the weights 1.0 GiB, and 3.0 GiB of memory can be \
             used: the largest context that fits is --context 2048"
        );
        let huge = Demand { weights: 20 << 30, ..DEMAND };
        assert!(huge.blocks(10 << 30).unwrap_err().to_string().starts_with("the weights need 20.0 GiB"));
    }

    #[test]
    fn sequences_share_what_there_is_and_take_no_more_than_they_can_use() {
        assert_eq!(DEMAND.blocks(1 << 40), Ok(8 * 256));
        assert_eq!(DEMAND.blocks(6 << 30), Ok(320));
    }

    proptest! {
        #[test]
        fn what_is_reserved_fits_and_holds_a_whole_context(
            weights in 0u64..1 << 33, per_token in 1u64..1 << 22, sequences in 1usize..64, context in 1usize..1 << 20,
            usable in 1u64..1 << 36,
        ) {
            let demand = Demand { weights, cache_per_token: per_token, sequences, context };
            match demand.blocks(usable) {
                Ok(blocks) => {
                    prop_assert!(weights + demand.cache(blocks) <= usable);
                    prop_assert!(blocks as usize * BLOCK_TOKENS >= context);
                }
                Err(MemoryError::Cache { largest, .. }) => {
                    let (fits, more) = (largest as usize, largest as usize + 1);
                    let is_ok = |context: usize| Demand { context, ..demand }.blocks(usable).is_ok();
                    prop_assert!(is_ok(fits) && !is_ok(more));
                }
                Err(MemoryError::Weights { .. }) => prop_assert!(weights + demand.block_bytes() > usable),
            }
        }
    }
}
