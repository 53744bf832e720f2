//! The model: weights out of a GGUF file and the forward pass over rows of several sequences at once.
//!
//! ```text
//! header -> ModelConfig -> Weights (tensor by tensor) -> Model { blocks } -> forward(segments) -> logits
//! ```
//! One pass takes the rows of all segments through every matrix together, so that a weight is read once for all of
//! them; only attention looks at one sequence at a time.

mod config;
mod forward;
mod header;
mod linear;
mod metadata;
mod repack;
mod rope;
mod rope_scaling;
mod weights;

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use candle_core::quantized::gguf_file::Content;
use kernels::KvBlocks;

pub use config::ModelConfig;
pub use forward::{Model, Precision, Segment};
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
    #[error("architecture {0} is not supported: llama, qwen2 and qwen3 are")]
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
    #[error("{}: it says that it is part {} of {count}, and it was given as part {} of {given}", .path.display(), .number + 1, .place + 1)]
    Part { path: PathBuf, number: usize, count: usize, place: usize, given: usize },
    #[error("{}: tensor {tensor} is in an earlier part already", .path.display())]
    TensorTwice { path: PathBuf, tensor: String },
    #[error("cannot allocate the key-value cache")]
    Cache(#[source] std::collections::TryReserveError),
}

/// An opened GGUF file, or the parts of one: the headers are read, the tensors are not.
#[derive(Debug)]
pub struct ModelFile {
    parts: Vec<Part>,
    pub config: ModelConfig,
}

/// One GGUF file. The first part has the model's metadata, each has tensors of its own.
#[derive(Debug)]
struct Part {
    content: Content,
    reader: BufReader<File>,
}

impl Part {
    fn open(path: &Path) -> Result<Self, LoadError> {
        let mut reader = BufReader::new(File::open(path).map_err(LoadError::Open)?);
        match Content::read(&mut reader) {
            Ok(content) => Ok(Self { content, reader }),
            Err(source) => Err(header::unreadable_tensor(path).unwrap_or(LoadError::Header(source))),
        }
    }

    /// Which part of how many the file says it is; a file that says nothing is the only one.
    fn place(&self) -> Result<(usize, usize), LoadError> {
        let metadata = Metadata::new(&self.content.metadata);
        let number = metadata.optional_size("split.no")?.unwrap_or(0);
        Ok((number, metadata.optional_size("split.count")?.unwrap_or(1).max(1)))
    }
}

impl ModelFile {
    /// Opens all parts, which must be given whole and in their order.
    pub fn open(paths: &[impl AsRef<Path>]) -> Result<Self, LoadError> {
        let mut parts: Vec<Part> = Vec::with_capacity(paths.len());
        for (place, path) in paths.iter().map(AsRef::as_ref).enumerate() {
            let part = Part::open(path)?;
            let (number, count) = part.place()?;
            if (number, count) != (place, paths.len()) {
                return Err(LoadError::Part { path: path.to_owned(), number, count, place, given: paths.len() });
            }
            let names = part.content.tensor_infos.keys();
            let twice =
                names.into_iter().find(|name| parts.iter().any(|it| it.content.tensor_infos.contains_key(*name)));
            if let Some(tensor) = twice {
                return Err(LoadError::TensorTwice { path: path.to_owned(), tensor: tensor.clone() });
            }
            parts.push(part);
        }
        let first = parts.first().ok_or_else(|| LoadError::Open(std::io::ErrorKind::NotFound.into()))?;
        let config = ModelConfig::from_metadata(&Metadata::new(&first.content.metadata))?;
        Ok(Self { parts, config })
    }

    pub fn metadata(&self) -> Metadata<'_> {
        // `open` has seen to it that there is a first part.
        Metadata::new(&self.parts[0].content.metadata)
    }

    /// Bytes that the loaded weights will take.
    pub fn weight_bytes(&self) -> u64 {
        weights::loaded_bytes(&self.parts)
    }

    /// Reads the weights and takes the memory for `blocks` blocks of keys and values; the products are computed by
    /// `threads`.
    pub fn load(mut self, blocks: u32, threads: usize) -> Result<Model, LoadError> {
        let config = self.config;
        let weights = weights::Weights::load(&mut self.parts, &config, threads)?;
        let layer = |_| KvBlocks::new(blocks as usize, config.kv_heads, config.head_dim);
        let caches = (0..config.layers).map(layer).collect::<Result<Vec<_>, _>>().map_err(LoadError::Cache)?;
        Ok(Model::new(config, weights, caches))
    }
}

#[cfg(test)]
mod tests;
