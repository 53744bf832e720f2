//! Keys and values of one sequence, layer by layer.
//!
//! The room for a whole context is reserved once and written in place, so that a token costs no copy of those before
//! it. The pages come zeroed from the system and take memory only when first written.

use candle_core::{DType, Device, Result, Tensor};

use super::config::ModelConfig;

#[derive(Debug)]
pub struct KvCache {
    layers: Vec<LayerCache>,
    context: usize,
}

/// Keys and values shaped (context, kv_heads, head_dim).
#[derive(Debug)]
struct LayerCache {
    keys: Tensor,
    values: Tensor,
}

impl KvCache {
    pub fn new(config: &ModelConfig, context: usize) -> Result<Self> {
        let shape = (context, config.kv_heads, config.head_dim);
        let room = || Tensor::zeros(shape, DType::F32, &Device::Cpu);
        let layers = (0..config.layers).map(|_| Ok(LayerCache { keys: room()?, values: room()? }));
        Ok(Self { layers: layers.collect::<Result<_>>()?, context })
    }

    pub fn context(&self) -> usize {
        self.context
    }

    /// Writes rows at `start` and gives the keys and values of everything up to their end.
    pub fn append(&self, layer: usize, start: usize, keys: &Tensor, values: &Tensor) -> Result<(Tensor, Tensor)> {
        let cache = &self.layers[layer];
        cache.keys.slice_set(keys, 0, start)?;
        cache.values.slice_set(values, 0, start)?;
        let length = start + keys.dim(0)?;
        Ok((cache.keys.narrow(0, 0, length)?, cache.values.narrow(0, 0, length)?))
    }
}
