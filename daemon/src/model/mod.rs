//! The model: weights out of a GGUF file and the forward pass over rows of several sequences at once.
//!
//! ```text
//! header -> ModelConfig -> Weights (tensor by tensor) -> Model { caches } -> forward(segments) -> logits
//! ```
//! One pass takes the rows of all segments through every matrix together, so that a weight is read once for all of
//! them; only attention looks at one sequence at a time.

mod cache;
mod config;
mod forward;
mod header;
mod metadata;
mod repack;
mod rope;
mod weights;

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use candle_core::quantized::gguf_file::Content;

pub use config::ModelConfig;
pub use forward::{Model, Segment};
pub use metadata::{Metadata, MetadataError};

/// Why a file can't be served.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("cannot read the file")]
    Open(#[source] std::io::Error),
    #[error("not a readable GGUF file")]
    Header(#[source] candle_core::Error),
    #[error("tensor {tensor} has the type {kind}, which can't be computed: use a Q8_0, Q4_K_M, Q6_K or F16 file")]
    TensorType { tensor: String, kind: String },
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    #[error("architecture {0} is not supported: llama and qwen2 are")]
    Architecture(String),
    #[error("{feature} is not supported")]
    Feature { feature: String },
    #[error("tensor {0} is missing")]
    MissingTensor(String),
    #[error("tensor {tensor} has the shape {found:?}, expected {expected:?}")]
    Shape { tensor: String, found: Vec<usize>, expected: Vec<usize> },
    #[error("tensors that this architecture does not have: {}", .0.join(", "))]
    UnknownTensors(Vec<String>),
    #[error("cannot load tensor {tensor}")]
    Tensor { tensor: String, source: candle_core::Error },
    #[error("cannot allocate the key-value cache")]
    Cache(#[source] candle_core::Error),
}

/// An opened GGUF file: its header is read, its tensors are not.
#[derive(Debug)]
pub struct ModelFile {
    content: Content,
    reader: BufReader<File>,
    pub config: ModelConfig,
}

impl ModelFile {
    pub fn open(path: &Path) -> Result<Self, LoadError> {
        let mut reader = BufReader::new(File::open(path).map_err(LoadError::Open)?);
        let content = match Content::read(&mut reader) {
            Ok(content) => content,
            Err(source) => return Err(header::unreadable_tensor(path).unwrap_or(LoadError::Header(source))),
        };
        let config = ModelConfig::from_metadata(&Metadata::new(&content.metadata))?;
        Ok(Self { content, reader, config })
    }

    pub fn metadata(&self) -> Metadata<'_> {
        Metadata::new(&self.content.metadata)
    }

    /// Bytes that the loaded weights will take.
    pub fn weight_bytes(&self) -> u64 {
        weights::loaded_bytes(&self.content)
    }

    /// Reads the weights and makes room for the keys and values of `sequences` sequences of `context` tokens.
    pub fn load(mut self, sequences: usize, context: usize) -> Result<Model, LoadError> {
        let weights = weights::Weights::load(&self.content, &mut self.reader, &self.config)?;
        let caches = (0..sequences)
            .map(|_| cache::KvCache::new(&self.config, context))
            .collect::<candle_core::Result<Vec<_>>>()
            .map_err(LoadError::Cache)?;
        Ok(Model::new(self.config, weights, caches))
    }
}

#[cfg(test)]
mod tests;
