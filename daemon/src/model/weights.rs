//! Weights out of a GGUF file, in the form in which they are computed with.

use std::collections::HashSet;
use std::sync::Arc;

use candle_core::quantized::gguf_file::TensorInfo;
use candle_core::quantized::{GgmlDType, QMatMul, QTensor};
use candle_core::{DType, Device, Error, Module, Result as CandleResult, Tensor};
use kernels::{Activations, PackedWeights, Pool, WeightType, multiply};

use super::config::ModelConfig;
use super::repack::{BLOCK, BlockOffset, computed_as, repack};
use super::{LoadError, Part};

#[derive(Debug)]
pub struct Weights {
    pub embedding: Arc<QTensor>,
    pub layers: Vec<Layer>,
    pub output_norm: Tensor,
    pub output: Linear,
    pub rope_factors: Option<Vec<f32>>,
}

#[derive(Debug)]
pub struct Layer {
    pub attention_norm: Tensor,
    pub query: Linear,
    pub key: Linear,
    pub value: Linear,
    pub attention_output: Linear,
    pub feed_forward_norm: Tensor,
    pub gate: Linear,
    pub up: Linear,
    pub down: Linear,
}

/// `x W^T + b`.
#[derive(Debug)]
pub struct Linear {
    weight: Matrix,
    /// What is added to each weight of a block of inputs, shaped (inputs / 32, outputs).
    block_offsets: Option<Tensor>,
    bias: Option<Tensor>,
}

#[derive(Debug)]
enum Matrix {
    Packed {
        weights: PackedWeights,
        pool: Arc<Pool>,
    },
    /// Float types, and the quantized ones that have no tiles.
    Stored(QMatMul),
}

impl Linear {
    /// Takes a stored matrix in the form that is fast to multiply with; the values stay the same.
    fn new(stored: Arc<QTensor>, bias: Option<Tensor>, pool: &Arc<Pool>) -> CandleResult<Self> {
        let (outputs, inputs) = stored.shape().dims2()?;
        let repacked = repack(stored.dtype(), &stored.data()?);
        let kind = repacked.as_ref().map_or(stored.dtype(), |repacked| repacked.kind);
        let Some(kind) = packed_as(kind) else {
            return Ok(Self { weight: Matrix::Stored(QMatMul::from_arc(stored)?), block_offsets: None, bias });
        };
        let weights = match &repacked {
            Some(repacked) => PackedWeights::pack(kind, outputs, inputs, &repacked.bytes),
            None => PackedWeights::pack(kind, outputs, inputs, &stored.data()?),
        };
        let weight = Matrix::Packed { weights: weights.map_err(Error::wrap)?, pool: pool.clone() };
        let offset = repacked.and_then(|repacked| repacked.offset);
        let offsets = offset.map(|offset| block_offsets(&offset, outputs, inputs / BLOCK));
        Ok(Self { weight, block_offsets: offsets.transpose()?, bias })
    }

    /// The first `exact` rows are computed without rounding the inputs to eight bits.
    pub fn forward(&self, rows: &Tensor, exact: usize) -> CandleResult<Tensor> {
        let mut product = match &self.weight {
            Matrix::Packed { weights, pool } => packed_product(weights, rows, exact, pool)?,
            Matrix::Stored(weight) => weight.forward(rows)?,
        };
        if let Some(offsets) = &self.block_offsets {
            let (count, inputs) = rows.dims2()?;
            let sums = rows.reshape((count, inputs / BLOCK, BLOCK))?.sum(2)?;
            product = (product + sums.matmul(offsets)?)?;
        }
        match &self.bias {
            Some(bias) => product.broadcast_add(bias),
            None => Ok(product),
        }
    }
}

/// Exact rows cost twice as much. For the K types, whose steps are coarser, the inputs are rounded in every row, as
/// everywhere else.
fn packed_product(weights: &PackedWeights, rows: &Tensor, exact: usize, pool: &Pool) -> CandleResult<Tensor> {
    let (count, inputs) = rows.dims2()?;
    let exact = if matches!(weights.kind(), WeightType::Q4K | WeightType::Q6K) { 0 } else { exact };
    let values = rows.flatten_all()?.to_vec1::<f32>()?;
    let activations = Activations::quantize(&values, inputs, exact).map_err(Error::wrap)?;
    let product = multiply(weights, &activations, pool).map_err(Error::wrap)?;
    Tensor::from_vec(product, (count, weights.outputs()), &Device::Cpu)
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
            true => Some(source.floats("rope_freqs.weight", config.head_dim / 2)?),
            false => None,
        };
        source.refuse_leftovers()?;
        Ok(Self { embedding, layers, output_norm, output, rope_factors })
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
            attention_output: self.linear(&name("attn_output"), query_width, hidden)?,
            feed_forward_norm: self.vector(&name("ffn_norm.weight"), hidden)?,
            gate: self.linear(&name("ffn_gate"), hidden, wide)?,
            up: self.linear(&name("ffn_up"), hidden, wide)?,
            down: self.linear(&name("ffn_down"), wide, hidden)?,
        })
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

    fn vector(&mut self, name: &str, length: usize) -> Result<Tensor, LoadError> {
        self.tensor(name, &[length])?.dequantize(&Device::Cpu).map_err(failed(name))
    }

    fn floats(&mut self, name: &str, length: usize) -> Result<Vec<f32>, LoadError> {
        self.vector(name, length)?.to_vec1().map_err(failed(name))
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

const fn packed_as(kind: GgmlDType) -> Option<WeightType> {
    match kind {
        GgmlDType::Q4_0 => Some(WeightType::Q4_0),
        GgmlDType::Q4_1 => Some(WeightType::Q4_1),
        GgmlDType::Q8_0 => Some(WeightType::Q8_0),
        GgmlDType::Q4K => Some(WeightType::Q4K),
        GgmlDType::Q6K => Some(WeightType::Q6K),
        _ => None,
    }
}

/// Transposed, as the product with the block sums needs it.
fn block_offsets(offset: &BlockOffset, outputs: usize, blocks: usize) -> CandleResult<Tensor> {
    let floats = |halves: &[u8]| {
        Tensor::from_raw_buffer(halves, DType::F16, &[outputs, blocks], &Device::Cpu)?.to_dtype(DType::F32)
    };
    let centers = (floats(&offset.scales)? * f64::from(offset.center))?;
    (floats(&offset.minima)? + centers)?.t()?.contiguous()
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
