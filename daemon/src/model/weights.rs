//! Weights out of a GGUF file, in the form in which they are computed with.

use std::collections::HashSet;
use std::sync::Arc;

use candle_core::quantized::gguf_file::{Content, TensorInfo};
use candle_core::quantized::{GgmlDType, QMatMul, QStorage, QTensor};
use candle_core::{DType, Device, Module, Result as CandleResult, Tensor};

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
    weight: QMatMul,
    /// What is added to each weight of a block of inputs, shaped (inputs / 32, outputs).
    block_offsets: Option<Tensor>,
    bias: Option<Tensor>,
}

impl Linear {
    /// Takes a stored matrix in the form that is fast to multiply with; the values stay the same.
    fn new(stored: Arc<QTensor>, bias: Option<Tensor>) -> CandleResult<Self> {
        let Some(repacked) = repack(stored.dtype(), &stored.data()?) else {
            return Ok(Self { weight: QMatMul::from_arc(stored)?, block_offsets: None, bias });
        };
        let (outputs, inputs) = stored.shape().dims2()?;
        let storage = QStorage::from_data(repacked.bytes.into(), &Device::Cpu, repacked.kind)?;
        let weight = QMatMul::from_qtensor(QTensor::new(storage, (outputs, inputs))?)?;
        let offsets = repacked.offset.map(|offset| block_offsets(&offset, outputs, inputs / BLOCK));
        Ok(Self { weight, block_offsets: offsets.transpose()?, bias })
    }

    /// The first `exact` rows are computed without rounding the inputs to eight bits.
    pub fn forward(&self, rows: &Tensor, exact: usize) -> CandleResult<Tensor> {
        let mut product = self.multiply(rows, exact)?;
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

    fn multiply(&self, rows: &Tensor, exact: usize) -> CandleResult<Tensor> {
        match &self.weight {
            QMatMul::QTensor(weight) if exact > 0 && rounds_inputs(weight.dtype()) => {
                let count = rows.dim(0)?;
                let first = rows.narrow(0, 0, exact)?.contiguous()?;
                let first = if exact < MANY { self.multiply_twice(&first)? } else { expand(weight, &first)? };
                if exact == count {
                    return Ok(first);
                }
                let rest = self.weight.forward(&rows.narrow(0, exact, count - exact)?.contiguous()?)?;
                Tensor::cat(&[first, rest], 0)
            }
            weight => weight.forward(rows),
        }
    }

    /// The rounded inputs and what the rounding left over are both multiplied: exact to about 16 bits.
    fn multiply_twice(&self, rows: &Tensor) -> CandleResult<Tensor> {
        // A copy of its own: `quantize` reads the whole storage, whatever part of it a tensor shows.
        let rows = rows.force_contiguous()?;
        let rounded = QTensor::quantize(&rows, GgmlDType::Q8_0)?.dequantize(&Device::Cpu)?;
        self.weight.forward(&rounded)? + self.weight.forward(&(rows - &rounded)?)?
    }
}

impl Weights {
    pub fn load(parts: &mut [Part], config: &ModelConfig) -> Result<Self, LoadError> {
        let mut source = Source { parts, taken: HashSet::new() };
        let (hidden, vocabulary) = (config.hidden, config.vocabulary);
        let layers = (0..config.layers).map(|at| source.layer(at, config)).collect::<Result<_, _>>()?;
        let output_norm = source.vector("output_norm.weight", hidden)?;
        let (embedding, output) = if source.has("output.weight") {
            let embedding = source.tensor("token_embd.weight", &[vocabulary, hidden])?;
            (embedding, source.linear("output", hidden, vocabulary)?)
        } else {
            let shared = source.tensor("token_embd.weight", &[vocabulary, hidden])?;
            (shared.clone(), Linear::new(shared, None).map_err(failed("token_embd.weight"))?)
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
        Linear::new(weight, bias).map_err(failed(&weight_name))
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

fn failed(tensor: &str) -> impl FnOnce(candle_core::Error) -> LoadError + '_ {
    |source| LoadError::Tensor { tensor: tensor.to_owned(), source }
}

/// candle's kernels for these types round the inputs to eight bits, and take one row at a time.
const fn rounds_inputs(kind: GgmlDType) -> bool {
    matches!(kind, GgmlDType::Q4_0 | GgmlDType::Q8_0)
}

/// Rows from which on it costs less to expand the weights to f32 and to use the float product.
const MANY: usize = 8;

fn expand(weight: &QTensor, rows: &Tensor) -> CandleResult<Tensor> {
    rows.matmul(&weight.dequantize(&Device::Cpu)?.t()?)
}

/// Transposed, as the product with the block sums needs it.
fn block_offsets(offset: &BlockOffset, outputs: usize, blocks: usize) -> CandleResult<Tensor> {
    let floats = |halves: &[u8]| {
        Tensor::from_raw_buffer(halves, DType::F16, &[outputs, blocks], &Device::Cpu)?.to_dtype(DType::F32)
    };
    let centers = (floats(&offset.scales)? * f64::from(offset.center))?;
    (floats(&offset.minima)? + centers)?.t()?.contiguous()
}

/// An upper bound, from the header alone, of the memory that the loaded weights take.
pub fn loaded_bytes(content: &Content) -> u64 {
    content.tensor_infos.values().map(tensor_bytes).sum()
}

fn tensor_bytes(info: &TensorInfo) -> u64 {
    let elements = info.shape.elem_count() as u64;
    let (kind, offset) = computed_as(info.ggml_dtype);
    let stored = elements.div_ceil(kind.block_size() as u64) * (kind.type_size() as u64 + offset);
    match kind {
        // Matrices of these types are expanded to f32, beside the original.
        GgmlDType::F16 | GgmlDType::BF16 | GgmlDType::F32 => stored + elements * 4,
        // candle keeps a second copy, repacked into tiles with f32 scales: up to 4/3 of the original.
        GgmlDType::Q4K | GgmlDType::Q6K => stored + stored * 4 / 3,
        _ => stored,
    }
}
