//! Weights out of a GGUF file, in the form in which they are computed with.

use std::collections::HashSet;
use std::sync::Arc;

use candle_core::quantized::gguf_file::TensorInfo;
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Error};
use kernels::Pool;

use super::config::ModelConfig;
use super::linear::Linear;
use super::repack::computed_as;
use super::{LoadError, Part};

#[derive(Debug)]
pub struct Weights {
    pub embedding: Arc<QTensor>,
    pub layers: Vec<Layer>,
    pub output_norm: Vec<f32>,
    pub output: Linear,
    pub rope_factors: Option<Vec<f32>>,
    pub pool: Arc<Pool>,
}

#[derive(Debug)]
pub struct Layer {
    pub attention_norm: Vec<f32>,
    pub query: Linear,
    pub key: Linear,
    pub value: Linear,
    pub head_norms: Option<HeadNorms>,
    pub attention_output: Linear,
    pub feed_forward_norm: Vec<f32>,
    pub gate: Linear,
    pub up: Linear,
    pub down: Linear,
}

/// The weights that each head's components are normed with.
#[derive(Debug)]
pub struct HeadNorms {
    pub query: Vec<f32>,
    pub key: Vec<f32>,
}

impl Weights {
    /// `threads` take part in each product.
    pub fn load(parts: &mut [Part], config: &ModelConfig, threads: usize) -> Result<Self, LoadError> {
        let mut source = Source { parts, taken: HashSet::new(), pool: Arc::new(Pool::new(threads)) };
        let (hidden, vocabulary) = (config.hidden, config.vocabulary);
        let layers = (0..config.layers).map(|at| source.layer(at, config)).collect::<Result<_, _>>()?;
        let output_norm = source.vector("output_norm.weight", hidden)?;
        let (embedding, output) = if source.has("output.weight") {
            let embedding = source.tensor("token_embd.weight", &[vocabulary, hidden])?;
            (embedding, source.linear("output", hidden, vocabulary)?)
        } else {
            let shared = source.tensor("token_embd.weight", &[vocabulary, hidden])?;
            (shared.clone(), Linear::new(shared, None, &source.pool).map_err(failed("token_embd.weight"))?)
        };
        let rope_factors = match source.has("rope_freqs.weight") {
            true => Some(source.vector("rope_freqs.weight", config.head_dim / 2)?),
            false => None,
        };
        source.refuse_leftovers()?;
        let pool = source.pool;
        Ok(Self { embedding, layers, output_norm, output, rope_factors, pool })
    }

    /// Whether it makes a difference that rows are exact.
    pub fn keep_rest(&self) -> bool {
        let linears = |layer: &Layer| {
            let Layer { query, key, value, attention_output, gate, up, down, .. } = layer;
            [query, key, value, attention_output, gate, up, down].into_iter().any(Linear::keeps_rest)
        };
        self.output.keeps_rest() || self.layers.iter().any(linears)
    }
}

/// The parts, and which of their tensors were used.
struct Source<'a> {
    parts: &'a mut [Part],
    taken: HashSet<String>,
    pool: Arc<Pool>,
}

impl Source<'_> {
    fn layer(&mut self, at: usize, config: &ModelConfig) -> Result<Layer, LoadError> {
        let name = |part: &str| format!("blk.{at}.{part}");
        let (hidden, wide) = (config.hidden, config.feed_forward);
        let (query_width, kv_width) = (config.heads * config.head_dim, config.kv_width());
        Ok(Layer {
            attention_norm: self.vector(&name("attn_norm.weight"), hidden)?,
            query: self.linear(&name("attn_q"), hidden, query_width)?,
            key: self.linear(&name("attn_k"), hidden, kv_width)?,
            value: self.linear(&name("attn_v"), hidden, kv_width)?,
            head_norms: if config.norms_heads() { Some(self.head_norms(at, config.head_dim)?) } else { None },
            attention_output: self.linear(&name("attn_output"), query_width, hidden)?,
            feed_forward_norm: self.vector(&name("ffn_norm.weight"), hidden)?,
            gate: self.linear(&name("ffn_gate"), hidden, wide)?,
            up: self.linear(&name("ffn_up"), hidden, wide)?,
            down: self.linear(&name("ffn_down"), wide, hidden)?,
        })
    }

    fn head_norms(&mut self, at: usize, head_dim: usize) -> Result<HeadNorms, LoadError> {
        let query = self.vector(&format!("blk.{at}.attn_q_norm.weight"), head_dim)?;
        let key = self.vector(&format!("blk.{at}.attn_k_norm.weight"), head_dim)?;
        Ok(HeadNorms { query, key })
    }

    fn has(&self, name: &str) -> bool {
        self.parts.iter().any(|part| part.content.tensor_infos.contains_key(name))
    }

    /// A weight and, if the file has one, its bias.
    fn linear(&mut self, name: &str, inputs: usize, outputs: usize) -> Result<Linear, LoadError> {
        let weight_name = format!("{name}.weight");
        let weight = self.tensor(&weight_name, &[outputs, inputs])?;
        let bias_name = format!("{name}.bias");
        let bias = if self.has(&bias_name) { Some(self.vector(&bias_name, outputs)?) } else { None };
        Linear::new(weight, bias, &self.pool).map_err(failed(&weight_name))
    }

    fn vector(&mut self, name: &str, length: usize) -> Result<Vec<f32>, LoadError> {
        let tensor = self.tensor(name, &[length])?;
        tensor.dequantize(&Device::Cpu).and_then(|tensor| tensor.to_vec1()).map_err(failed(name))
    }

    fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Arc<QTensor>, LoadError> {
        let mut places = self.parts.iter_mut();
        let found =
            places.find_map(|part| Some((part.content.tensor_infos.get(name)?, &part.content, &mut part.reader)));
        let (info, content, reader) = found.ok_or_else(|| LoadError::MissingTensor(name.to_owned()))?;
        if info.shape.dims() != shape {
            let (found, expected) = (info.shape.dims().to_vec(), shape.to_vec());
            return Err(LoadError::Shape { tensor: name.to_owned(), found, expected });
        }
        self.taken.insert(name.to_owned());
        let tensor = info.read(reader, content.tensor_data_offset, &Device::Cpu);
        Ok(Arc::new(tensor.map_err(failed(name))?))
    }

    /// A tensor that nobody asked for belongs to arithmetic that would be left out: wrong answers, not an error.
    fn refuse_leftovers(&self) -> Result<(), LoadError> {
        let names = self.parts.iter().flat_map(|part| part.content.tensor_infos.keys());
        let mut unknown: Vec<String> = names.filter(|name| !self.taken.contains(*name)).cloned().collect();
        unknown.sort_unstable();
        if unknown.is_empty() { Ok(()) } else { Err(LoadError::UnknownTensors(unknown)) }
    }
}

fn failed(tensor: &str) -> impl FnOnce(Error) -> LoadError + '_ {
    |source| LoadError::Tensor { tensor: tensor.to_owned(), source }
}

/// From the headers alone, the memory that the loaded weights take, but for some rows of padding.
pub fn loaded_bytes(parts: &[Part]) -> u64 {
    let infos = || parts.iter().flat_map(|part| &part.content.tensor_infos);
    let stored: u64 = infos().map(|(_, info)| tensor_bytes(info)).sum();
    // A table that is also the output matrix is kept as it is for look-ups, and packed beside.
    let has_output = infos().any(|(name, _)| name == "output.weight");
    let table = infos().find(|(name, _)| !has_output && *name == "token_embd.weight");
    stored + table.map_or(0, |(_, info)| tensor_bytes(info))
}

fn tensor_bytes(info: &TensorInfo) -> u64 {
    let elements = info.shape.elem_count() as u64;
    let (kind, offset) = computed_as(info.ggml_dtype);
    let stored = elements.div_ceil(kind.block_size() as u64) * (kind.type_size() as u64 + offset);
    match kind {
        // Matrices of these types are expanded to f32, beside the original.
        GgmlDType::F16 | GgmlDType::BF16 | GgmlDType::F32 => stored + elements * 4,
        // The scales of the blocks of 32 take a byte each in place of six bits.
        GgmlDType::Q4K => stored + stored / 32,
        _ => stored,
    }
}
