//! An estimate of how fast a machine generates, and of what a million tokens cost on it: for comparing machines, not for a promise.

use spec::amount::Usd;

use crate::catalogue::Entry;
use crate::memory::{Workload, kv_cache_bytes};

/// The share of a GPU's memory bandwidth that decoding is taken to reach: an assumption, stated wherever the figure is shown.
pub const EFFICIENCY: f64 = 0.6;

/// Tokens a second of a full batch. Each step reads all weights and each sequence's cache, taken half full; the layers' GPUs
/// work one after the other, so that a step goes at the bandwidth of one of them (GB/s).
pub fn decode_tokens_per_second(entry: Entry<'_>, workload: Workload, bandwidth_gb_s: u32) -> f64 {
    let cache = kv_cache_bytes(&entry.model.architecture, workload) as f64 / 2.0;
    let read_a_step = entry.weight_bytes() as f64 + cache;
    let steps_a_second = f64::from(bandwidth_gb_s) * 1e9 * EFFICIENCY / read_a_step;
    steps_a_second * f64::from(workload.sequences)
}

/// US dollars for a million generated tokens on a machine that is busy all the time.
pub fn usd_per_million_tokens(hourly: Usd, tokens_per_second: f64) -> f64 {
    hourly.dollars() / (tokens_per_second * 3600.0) * 1e6
}

#[cfg(test)]
mod tests {
    use crate::catalogue::catalogue;
    use crate::memory::CacheType;

    use super::*;

    #[test]
    fn the_figures_are_those_of_a_calculation_by_hand() {
        let catalogue = catalogue().unwrap();
        let entry = catalogue.find("8b-int8").unwrap();
        let workload = Workload { context: 4096, sequences: 8, cache: CacheType::F16 };
        // 32 layers * 2 * 8 heads * 128 * 2 bytes = 128 KiB a token; 8 sequences of 2,048 tokens are 2 GiB.
        let bytes = entry.weight_bytes() as f64 + f64::from(2_u32 << 30);
        let wanted = 8.0 * 864e9 * 0.6 / bytes;
        let rate = decode_tokens_per_second(entry, workload, 864);
        assert!((rate - wanted).abs() < 1e-6, "{rate} {wanted}");
        let million = usd_per_million_tokens("3.6".parse().unwrap(), 100.0);
        assert!((million - 10.0).abs() < 1e-9, "{million}");
    }
}
