//! Whether a model fits the GPUs of one machine, its layers split over them. Bounds from above; nothing is rounded away.

use serde::Serialize;

use crate::catalogue::Entry;
use crate::gguf::file_bytes;
use crate::memory::{MemoryNeed, Shortfall, Workload};
use crate::model::Architecture;

/// What the driver's context takes of each GPU: an assumption, near what CUDA 12 reports.
pub const CONTEXT_BYTES: u64 = 600 << 20;

/// A split that holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Fit {
    pub gpus_used: u32,
    /// Of the fullest GPU, in bytes.
    pub per_gpu_need: MemoryNeed,
    pub per_gpu_available: u64,
    /// What the fullest GPU has left.
    pub headroom_bytes: u64,
}

/// Splits an entry over `gpus` (at least one) of `memory_mib` each. The error's figures are of the fullest GPU.
pub fn fit(entry: Entry<'_>, workload: Workload, gpus: u32, memory_mib: u64) -> Result<Fit, Shortfall> {
    let total = entry.memory(workload);
    let shape = &entry.model.architecture;
    let used = gpus.clamp(1, shape.layers.max(1));
    let held = u64::from(shape.layers.div_ceil(used));
    let outer = outer_bytes(entry).min(total.weights);
    let per_gpu_need = MemoryNeed {
        weights: total.weights.min((total.weights - outer).saturating_mul(held).div_ceil(large_layers(shape)) + outer),
        kv_cache: total.kv_cache.div_ceil(u64::from(shape.layers.max(1))).saturating_mul(held),
        overhead: total.overhead.saturating_add(CONTEXT_BYTES),
    };
    let available = memory_mib << 20;
    let headroom_bytes = per_gpu_need.fits(available)?;
    Ok(Fit { gpus_used: used, per_gpu_need, per_gpu_available: available, headroom_bytes })
}

/// Embedding and output: both counted on the fullest GPU, since which end it holds is the daemon's choice.
fn outer_bytes(entry: Entry<'_>) -> u64 {
    let shape = &entry.model.architecture;
    let inner = Architecture { vocab: 0, ..shape.clone() };
    file_bytes(shape, entry.file.gguf) - file_bytes(&inner, entry.file.gguf)
}

/// The few dense layers of a mixture of experts are small: the others are sized as if they were not there.
fn large_layers(shape: &Architecture) -> u64 {
    let dense = shape.experts.map_or(0, |experts| experts.dense_layers);
    u64::from(shape.layers.saturating_sub(dense).max(1))
}

#[cfg(test)]
mod tests {
    use crate::catalogue::catalogue;
    use crate::memory::CacheType;

    use super::*;

    #[test]
    fn llama_70b_in_eight_bits_fits_four_l40s_and_neither_one_nor_two_a100_of_40_gib() {
        let catalogue = catalogue().unwrap();
        let entry = catalogue.find("70b-int8").unwrap();
        let workload = Workload { context: 8192, sequences: 4, cache: CacheType::F16 };
        let split = fit(entry, workload, 4, 45_776).unwrap();
        assert_eq!(split.per_gpu_need.kv_cache, (4 << 10) * 20 * 8192 * 4);
        assert_eq!(split.headroom_bytes + split.per_gpu_need.total(), 45_776 << 20);
        let short = fit(entry, workload, 1, 45_776).unwrap_err();
        assert_eq!(short.need.weights, entry.weight_bytes());
        assert!(fit(entry, workload, 2, 40_960).is_err());
    }
}
