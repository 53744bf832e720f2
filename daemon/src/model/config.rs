//! The shape of a model, from its metadata; whatever would change the arithmetic and isn't known is refused by name.

use super::rope_scaling::RopeScaling;
use super::{LoadError, Metadata, MetadataError};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    Llama,
    Qwen2,
    Qwen3,
}

/// Which components of a head are rotated together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RopePairs {
    /// 2i with 2i + 1: GGUF files of llama models have their q and k rows permuted for this.
    Interleaved,
    /// i with i + half.
    Halves,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    pub architecture: Architecture,
    pub layers: usize,
    pub hidden: usize,
    pub feed_forward: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub rms_eps: f32,
    pub rope_base: f64,
    pub rope_scaling: RopeScaling,
    pub context: usize,
    pub vocabulary: usize,
}

impl ModelConfig {
    pub fn from_metadata(metadata: &Metadata<'_>) -> Result<Self, LoadError> {
        let name = metadata.string("general.architecture")?;
        let architecture = match name {
            "llama" => Architecture::Llama,
            "qwen2" => Architecture::Qwen2,
            "qwen3" => Architecture::Qwen3,
            other => return Err(LoadError::Architecture(other.to_owned())),
        };
        let key = |suffix: &str| format!("{name}.{suffix}");
        let heads = metadata.size(&key("attention.head_count"))?;
        let hidden = metadata.size(&key("embedding_length"))?;
        let head_dim = match metadata.optional_size(&key("attention.key_length"))? {
            Some(length) => length,
            None if heads > 0 => hidden / heads,
            None => 0,
        };
        let config = Self {
            architecture,
            layers: metadata.size(&key("block_count"))?,
            hidden,
            feed_forward: metadata.size(&key("feed_forward_length"))?,
            heads,
            kv_heads: metadata.optional_size(&key("attention.head_count_kv"))?.unwrap_or(heads),
            head_dim,
            rms_eps: metadata.float(&key("attention.layer_norm_rms_epsilon"))? as f32,
            rope_base: metadata.optional_float(&key("rope.freq_base"))?.unwrap_or(10_000.0),
            rope_scaling: RopeScaling::from_metadata(metadata, name)?,
            context: metadata.size(&key("context_length"))?,
            vocabulary: metadata.length("tokenizer.ggml.tokens")?,
        };
        refuse_unknown(metadata, &key, &config)?;
        Ok(config)
    }

    pub fn rope_pairs(&self) -> RopePairs {
        match self.architecture {
            Architecture::Llama => RopePairs::Interleaved,
            Architecture::Qwen2 | Architecture::Qwen3 => RopePairs::Halves,
        }
    }

    /// Whether each head of queries and keys is normed before it is rotated.
    pub fn norms_heads(&self) -> bool {
        self.architecture == Architecture::Qwen3
    }

    pub fn kv_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// Bytes of keys and values (f16) that one token takes in all layers.
    pub fn cache_bytes_per_token(&self) -> u64 {
        let factors = [self.layers, self.kv_heads, self.head_dim, size_of::<u16>()];
        factors.iter().fold(2, |bytes: u64, factor| bytes.saturating_mul(*factor as u64))
    }
}

fn refuse_unknown(
    metadata: &Metadata<'_>,
    key: &impl Fn(&str) -> String,
    config: &ModelConfig,
) -> Result<(), LoadError> {
    let shape = [
        ("block_count", config.layers),
        ("embedding_length", config.hidden),
        ("attention.head_count", config.heads),
        ("attention.head_count_kv", config.kv_heads),
        ("context_length", config.context),
    ];
    if let Some((suffix, _)) = shape.iter().find(|(_, value)| *value == 0) {
        return Err(MetadataError::Unsupported { key: key(suffix), value: "0".to_owned() }.into());
    }
    let is_even = config.head_dim > 0 && config.head_dim.is_multiple_of(2);
    if !config.heads.is_multiple_of(config.kv_heads) || !is_even {
        let feature = format!(
            "{} query heads over {} key-value heads of {} components",
            config.heads, config.kv_heads, config.head_dim
        );
        return Err(LoadError::Feature { feature });
    }
    let only = [
        ("rope.dimension_count", config.head_dim),
        ("attention.value_length", config.head_dim),
        ("expert_count", 0),
        ("attention.sliding_window", 0),
    ];
    for (suffix, known) in only {
        match metadata.optional_size(&key(suffix))? {
            Some(value) if value != known => {
                return Err(MetadataError::Unsupported { key: key(suffix), value: value.to_string() }.into());
            }
            _ => {}
        }
    }
    Ok(())
}
