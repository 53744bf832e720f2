//! `x W^T + b` with a matrix in the form that is fast to multiply with.

use std::cell::OnceCell;
use std::sync::Arc;

use candle_core::quantized::{GgmlDType, QMatMul, QTensor};
use candle_core::{DType, Device, Error, Module, Result, Tensor};
use kernels::{Activations, PackedWeights, Pool, WeightType, multiply};

use super::repack::{BLOCK, BlockOffset, repack};

#[derive(Debug)]
pub struct Linear {
    weight: Matrix,
    outputs: usize,
    /// What is added to each weight of a block of inputs, (inputs / 32, outputs).
    block_offsets: Option<Vec<f32>>,
    bias: Option<Vec<f32>>,
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

/// Rows of inputs, rounded once for all matrices that they meet.
#[derive(Debug)]
pub struct Inputs {
    values: Vec<f32>,
    width: usize,
    exact: usize,
    rounded: OnceCell<Activations>,
    with_rest: OnceCell<Activations>,
}

impl Inputs {
    /// Whole rows of `width`; the first `exact` are computed without rounding them to eight bits.
    pub fn new(values: Vec<f32>, width: usize, exact: usize) -> Self {
        Self { values, width, exact, rounded: OnceCell::new(), with_rest: OnceCell::new() }
    }

    fn rows(&self) -> usize {
        self.values.len() / self.width
    }

    /// Exact rows cost twice as much. For the K types, whose steps are coarser, the inputs are rounded in every row, as
    /// everywhere else.
    fn activations(&self, kind: WeightType) -> Result<&Activations> {
        let (cell, exact) = if keeps_rest(kind) { (&self.with_rest, self.exact) } else { (&self.rounded, 0) };
        if let Some(known) = cell.get() {
            return Ok(known);
        }
        let activations = Activations::quantize(&self.values, self.width, exact).map_err(Error::wrap)?;
        Ok(cell.get_or_init(|| activations))
    }
}

const fn keeps_rest(kind: WeightType) -> bool {
    !matches!(kind, WeightType::Q4K | WeightType::Q6K)
}

impl Linear {
    /// The values stay the same.
    pub fn new(stored: Arc<QTensor>, bias: Option<Vec<f32>>, pool: &Arc<Pool>) -> Result<Self> {
        let (outputs, inputs) = stored.shape().dims2()?;
        let repacked = repack(stored.dtype(), &stored.data()?);
        let kind = repacked.as_ref().map_or(stored.dtype(), |repacked| repacked.kind);
        let Some(kind) = packed_as(kind) else {
            let weight = Matrix::Stored(QMatMul::from_arc(stored)?);
            return Ok(Self { weight, outputs, block_offsets: None, bias });
        };
        let weights = match &repacked {
            Some(repacked) => PackedWeights::pack(kind, outputs, inputs, &repacked.bytes),
            None => PackedWeights::pack(kind, outputs, inputs, &stored.data()?),
        };
        let weight = Matrix::Packed { weights: weights.map_err(Error::wrap)?, pool: pool.clone() };
        let offset = repacked.and_then(|repacked| repacked.offset);
        let offsets = offset.map(|offset| block_offsets(&offset, outputs, inputs / BLOCK));
        Ok(Self { weight, outputs, block_offsets: offsets.transpose()?, bias })
    }

    /// Whether it makes a difference that rows are exact.
    pub fn keeps_rest(&self) -> bool {
        matches!(&self.weight, Matrix::Packed { weights, .. } if keeps_rest(weights.kind()))
    }

    pub fn forward(&self, inputs: &Inputs) -> Result<Vec<f32>> {
        let mut product = match &self.weight {
            Matrix::Packed { weights, pool } => {
                multiply(weights, inputs.activations(weights.kind())?, pool).map_err(Error::wrap)?
            }
            Matrix::Stored(weight) => {
                let rows = Tensor::from_slice(&inputs.values, (inputs.rows(), inputs.width), &Device::Cpu)?;
                weight.forward(&rows)?.flatten_all()?.to_vec1()?
            }
        };
        for (at, row) in product.chunks_exact_mut(self.outputs).enumerate() {
            if let Some(offsets) = &self.block_offsets {
                add_offsets(row, &inputs.values[at * inputs.width..][..inputs.width], offsets);
            }
            if let Some(bias) = &self.bias {
                row.iter_mut().zip(bias).for_each(|(value, bias)| *value += bias);
            }
        }
        Ok(product)
    }
}

/// The constants of a row's blocks, each times the sum of the block's inputs; block by block, whatever rows are beside it.
fn add_offsets(row: &mut [f32], inputs: &[f32], offsets: &[f32]) {
    for (inputs, offsets) in inputs.chunks_exact(BLOCK).zip(offsets.chunks_exact(row.len())) {
        let sum: f32 = inputs.iter().sum();
        row.iter_mut().zip(offsets).for_each(|(value, offset)| *value += sum * offset);
    }
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

/// Transposed, as they are added.
fn block_offsets(offset: &BlockOffset, outputs: usize, blocks: usize) -> Result<Vec<f32>> {
    let floats = |halves: &[u8]| {
        Tensor::from_raw_buffer(halves, DType::F16, &[outputs, blocks], &Device::Cpu)?.to_dtype(DType::F32)
    };
    let centers = (floats(&offset.scales)? * f64::from(offset.center))?;
    (floats(&offset.minima)? + centers)?.t()?.flatten_all()?.to_vec1()
}
