//! The catalogue's rows: what is known of a model, and of each file that holds its weights.

use std::fmt;

use serde::{Deserialize, Serialize};
use spec::id::Sha256;
use spec::weights::WeightsSource;

use crate::gguf::FileType;

/// One model, in every quantization that can be had.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// What people type, e.g. `70b`.
    pub name: String,
    /// What the API calls it.
    pub served_name: String,
    #[serde(default)]
    pub aliases: Vec<String>,
    pub licence: String,
    /// Licence of the model that this one was distilled into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_licence: Option<String>,
    /// Hub repository of the original weights.
    pub home: String,
    pub parameters: u64,
    /// The quantization that the name alone means.
    pub default: Quantization,
    pub architecture: Architecture,
    pub facts: Provenance,
    pub files: Vec<WeightsFile>,
}

/// The shape of a transformer, as its `config.json` has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Architecture {
    pub family: Family,
    pub layers: u32,
    pub hidden: u32,
    pub heads: u32,
    pub kv_heads: u32,
    /// Size of a query or key head.
    pub head_size: u32,
    /// Inner size of a dense feed-forward layer.
    pub ffn: u32,
    pub vocab: u32,
    /// Tokens the model was made for.
    pub context: u32,
    /// The output layer is the embedding table.
    pub tied_embeddings: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latent_attention: Option<LatentAttention>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub experts: Option<Experts>,
}

/// The architecture's name in GGUF metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    Llama,
    /// As llama, with biases on query, key and value.
    Qwen2,
    Deepseek2,
}

impl Family {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
            Self::Deepseek2 => "deepseek2",
        }
    }
}

/// Multi-head latent attention: keys and values are kept as one compressed vector a token (DeepSeek-V2, section 2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LatentAttention {
    pub query_rank: u32,
    pub kv_rank: u32,
    pub rope_size: u32,
    pub value_size: u32,
}

/// Mixture of experts: all layers but the first `dense_layers` choose `active` of `count` small feed-forward networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Experts {
    pub count: u32,
    pub active: u32,
    pub shared: u32,
    pub ffn: u32,
    pub dense_layers: u32,
}

/// How finely the weights are kept; the word in `70b-int8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Quantization {
    Int4,
    Int8,
    Fp16,
    Bf16,
}

impl Quantization {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Int4 => "int4",
            Self::Int8 => "int8",
            Self::Fp16 => "fp16",
            Self::Bf16 => "bf16",
        }
    }
}

impl fmt::Display for Quantization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Where a figure is from, and the day it was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    pub source: String,
    pub date: String,
}

/// One GGUF file, or one set of shards.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WeightsFile {
    pub quantization: Quantization,
    pub gguf: FileType,
    /// Empty if the weights come in shards.
    #[serde(default)]
    pub sources: Vec<WeightsSource>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shards: Option<Shards>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Sha256>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// 10^9 bytes, as published in rounded form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about_gb: Option<f64>,
    /// Why the bytes are not held by commit and digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unpinned: Option<String>,
    pub seen: Provenance,
}

impl WeightsFile {
    /// Bytes as published: exact where known, else in rounded form.
    pub fn published_bytes(&self) -> Option<u64> {
        let shards = self.shards.as_ref().filter(|shards| !shards.sizes.is_empty());
        self.size
            .or_else(|| shards.map(|shards| shards.sizes.iter().sum()))
            .or_else(|| self.about_gb.map(|gigabytes| (gigabytes * 1e9) as u64))
    }
}

/// Weights that are published in several files, `FOLDER/STEM-00001-of-00002.gguf` and so on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shards {
    pub repository: String,
    pub revision: String,
    pub folder: String,
    /// What the files' names begin with; the folder's name without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stem: Option<String>,
    /// Absent where not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// One a shard, or none.
    #[serde(default)]
    pub sha256: Vec<Sha256>,
    /// One a shard, or none.
    #[serde(default)]
    pub sizes: Vec<u64>,
}
