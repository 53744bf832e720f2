//! Whether weights and key-value cache fit into this machine's memory: asked once, before anything is loaded.

use sysinfo::{MemoryRefreshKind, RefreshKind, System};

/// Kept free for the step's intermediate values, the HTTP side and the neighbours: a tenth of what is available.
const RESERVE_DIVISOR: u64 = 10;

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
        "{sequences} sequences of {context} tokens need {} of key-value cache, the weights {}, and {} of memory can be \
         used: the largest context that fits is --context {largest}, or use fewer --max-sequences",
        human(*cache), human(*weights), human(*usable)
    )]
    Cache { sequences: usize, context: usize, cache: u64, weights: u64, usable: u64, largest: u64 },
}

impl Demand {
    /// Bytes of key-value cache when every sequence is full.
    pub fn cache(&self) -> u64 {
        self.cache_per_token.saturating_mul(self.context as u64).saturating_mul(self.sequences as u64)
    }

    /// Refuses what would not fit into `available` bytes.
    pub fn check(&self, available: u64) -> Result<(), MemoryError> {
        let usable = available - available / RESERVE_DIVISOR;
        let cache = self.cache();
        if self.weights.saturating_add(cache) <= usable {
            return Ok(());
        }
        let per_context_token = self.cache_per_token.saturating_mul(self.sequences as u64).max(1);
        let largest = usable.saturating_sub(self.weights) / per_context_token;
        if largest == 0 {
            return Err(MemoryError::Weights { weights: self.weights, usable });
        }
        let (sequences, context, weights) = (self.sequences, self.context, self.weights);
        Err(MemoryError::Cache { sequences, context, cache, weights, usable, largest })
    }
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

    #[test]
    fn the_refusal_names_the_largest_context_that_fits() {
        let demand = Demand { weights: 1 << 30, cache_per_token: 1 << 20, sequences: 8, context: 4096 };
        let error = demand.check(10 << 30).unwrap_err();
        assert_eq!(
            error.to_string(),
            "8 sequences of 4096 tokens need 32.0 GiB of key-value cache, the weights 1.0 GiB, and 9.0 GiB of memory \
             can be used: the largest context that fits is --context 1024, or use fewer --max-sequences"
        );
        let huge = Demand { weights: 20 << 30, ..demand };
        assert!(huge.check(10 << 30).unwrap_err().to_string().starts_with("the weights need 20.0 GiB"));
    }

    proptest! {
        #[test]
        fn the_largest_context_fits_and_one_more_does_not(
            weights in 0u64..1 << 33, per_token in 1u64..1 << 22, sequences in 1usize..64, available in 1u64..1 << 36,
        ) {
            let demand = Demand { weights, cache_per_token: per_token, sequences, context: 1 << 30 };
            if let Err(MemoryError::Cache { largest, .. }) = demand.check(available) {
                let fits = Demand { context: largest as usize, ..demand };
                prop_assert!(fits.check(available).is_ok());
                let more = Demand { context: largest as usize + 1, ..demand };
                prop_assert!(more.check(available).is_err());
            }
        }
    }
}
