//! What serving a model takes of a machine's memory: weights, key-value cache, overhead.
//!
//! First form: the weights are exact or counted tensor by tensor, the cache is exact for the shape, the overhead is a
//! bound on what the formulas leave out.

use serde::{Deserialize, Serialize};

use crate::gguf::{FileType, file_bytes};
use crate::model::Architecture;

/// How much is to be served at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// Tokens a sequence, prompt and answer together.
    pub context: u32,
    pub sequences: u32,
    pub cache: CacheType,
}

/// The number format of the key-value cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CacheType {
    F32,
    F16,
}

impl CacheType {
    pub const fn bytes(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
        }
    }
}

/// Bytes, by what they are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryNeed {
    pub weights: u64,
    pub kv_cache: u64,
    pub overhead: u64,
}

/// The memory does not hold it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} are needed (weights {}, cache {}, overhead {}) and {} are there: {} short",
    text(need.total()), text(need.weights), text(need.kv_cache), text(need.overhead), text(*available), text(*missing)
)]
pub struct Shortfall {
    pub need: MemoryNeed,
    pub available: u64,
    pub missing: u64,
}

fn text(bytes: u64) -> String {
    spec::amount::bytes_text(bytes)
}

impl MemoryNeed {
    pub fn of(architecture: &Architecture, file_type: FileType, workload: Workload) -> Self {
        Self {
            weights: file_bytes(architecture, file_type),
            kv_cache: kv_cache_bytes(architecture, workload),
            overhead: overhead_bytes(architecture, workload),
        }
    }

    pub const fn total(&self) -> u64 {
        self.weights.saturating_add(self.kv_cache).saturating_add(self.overhead)
    }

    /// What would be left over.
    pub fn fits(&self, available: u64) -> Result<u64, Shortfall> {
        available.checked_sub(self.total()).ok_or_else(|| Shortfall {
            need: *self,
            available,
            missing: self.total() - available,
        })
    }
}

/// Keys and values of every token of every sequence: 2 * layers * kv heads * head size * tokens * bytes a number.
///
/// With latent attention one compressed vector and one rotary key a token and layer stand for both.
pub fn kv_cache_bytes(architecture: &Architecture, workload: Workload) -> u64 {
    let numbers_a_layer = match architecture.latent_attention {
        Some(latent) => u64::from(latent.kv_rank) + u64::from(latent.rope_size),
        None => 2 * u64::from(architecture.kv_heads) * u64::from(architecture.head_size),
    };
    [u64::from(architecture.layers), u64::from(workload.context), u64::from(workload.sequences), workload.cache.bytes()]
        .into_iter()
        .fold(numbers_a_layer, u64::saturating_mul)
}

/// The program itself, one prefill's activations, and the logits of every sequence.
fn overhead_bytes(architecture: &Architecture, workload: Workload) -> u64 {
    /// Code, tokenizer tables, sockets.
    const PROGRAM: u64 = 256 << 20;
    /// Tokens of a prompt that go through the layers together.
    const PREFILL_TOKENS: u64 = 512;
    /// Activations are F32 whatever the weights are.
    const NUMBER: u64 = 4;
    let hidden = u64::from(architecture.hidden);
    let ffn = u64::from(architecture.ffn);
    // Residual, normed, query, key, value and attention output are at most `hidden` each; gate, up and product `ffn` each.
    let activations = PREFILL_TOKENS * (6 * hidden + 3 * ffn) * NUMBER;
    let logits = u64::from(architecture.vocab).saturating_mul(u64::from(workload.sequences)).saturating_mul(NUMBER);
    (PROGRAM + activations).saturating_add(logits)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::catalogue::catalogue;

    use super::*;

    fn need(name: &str, context: u32, sequences: u32) -> MemoryNeed {
        let catalogue = catalogue().unwrap();
        catalogue.find(name).unwrap().memory(Workload { context, sequences, cache: CacheType::F16 })
    }

    #[test]
    fn the_cache_of_llama_70b_is_320_kib_a_token() {
        assert_eq!(need("70b-int8", 1, 1).kv_cache, 320 << 10);
        assert_eq!(need("70b-int8", 8192, 4).kv_cache, (320 << 10) * 8192 * 4);
        // 61 layers of 512 + 64 numbers: the figure that makes latent attention worth its trouble.
        assert_eq!(need("671b", 1, 1).kv_cache, 61 * 576 * 2);
    }

    #[test]
    fn a_shortfall_names_its_parts() {
        let need = need("smollm2-135m", 4096, 8);
        assert_eq!(need.fits(need.total()).unwrap(), 0);
        assert_eq!(need.fits(need.total() + 5).unwrap(), 5);
        let short = need.fits(100 << 20).unwrap_err();
        assert_eq!(short.missing + (100 << 20), need.total());
        let message = short.to_string();
        assert!(message.contains("weights 93.8 MiB") && message.contains("100.0 MiB are there"), "{message}");
    }

    proptest! {
        #[test]
        fn more_work_never_takes_less_and_nothing_overflows(context in any::<u32>(), sequences in any::<u32>()) {
            let small = need("7b", context / 2, sequences / 2);
            let large = need("7b", context, sequences);
            prop_assert!(small.total() <= large.total());
            prop_assert!(large.total() >= large.weights);
        }
    }
}
