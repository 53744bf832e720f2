//! The sizes of GGUF files, tensor by tensor, as llama.cpp's quantizer lays them out.
//!
//! Source of the layouts and of the choice per tensor: llama.cpp, `ggml/src/ggml-common.h` (blocks) and
//! `src/llama-quant.cpp` (`llama_tensor_get_type`, `use_more_bits`).

use serde::{Deserialize, Serialize};

use crate::model::{Architecture, Family};

/// The file type: which tensor gets which number format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileType {
    #[serde(rename = "Q4_1")]
    Q41,
    #[serde(rename = "Q4_K_M")]
    Q4KM,
    #[serde(rename = "Q8_0")]
    Q80,
    F16,
    #[serde(rename = "BF16")]
    Bf16,
}

impl FileType {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Q41 => "Q4_1",
            Self::Q4KM => "Q4_K_M",
            Self::Q80 => "Q8_0",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
        }
    }
}

/// Parameters of the model; what its `parameters` must say.
pub fn parameter_count(architecture: &Architecture) -> u64 {
    tensors(architecture).iter().map(Tensor::elements).sum()
}

/// Bytes of a GGUF file: tensors, and the metadata with its tokenizer.
pub fn file_bytes(architecture: &Architecture, file_type: FileType) -> u64 {
    /// Token text, its score and merges; 36 in SmolLM2's file, up to 60 in Llama 3's. Under 1% of any file.
    const METADATA_BYTES_A_TOKEN: u64 = 40;
    let tensors: u64 = tensors(architecture)
        .iter()
        .map(|tensor| number_format(tensor, file_type, architecture).bytes(tensor.elements()))
        .sum();
    tensors + u64::from(architecture.vocab) * METADATA_BYTES_A_TOKEN
}

/// How the numbers of one tensor are kept: blocks of some elements in some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct NumberFormat {
    elements: u64,
    bytes: u64,
}

impl NumberFormat {
    const F32: Self = Self { elements: 1, bytes: 4 };
    const SIXTEEN_BIT: Self = Self { elements: 1, bytes: 2 };
    const Q4_1: Self = Self { elements: 32, bytes: 20 };
    const Q5_0: Self = Self { elements: 32, bytes: 22 };
    const Q5_1: Self = Self { elements: 32, bytes: 24 };
    const Q8_0: Self = Self { elements: 32, bytes: 34 };
    const Q4_K: Self = Self { elements: 256, bytes: 144 };
    const Q5_K: Self = Self { elements: 256, bytes: 176 };
    const Q6_K: Self = Self { elements: 256, bytes: 210 };

    const fn bytes(self, elements: u64) -> u64 {
        elements.div_ceil(self.elements) * self.bytes
    }

    /// Rows that no block of 256 divides get the nearest format with blocks of 32.
    fn for_row(self, row: u64) -> Self {
        match self {
            _ if row.is_multiple_of(self.elements) => self,
            Self::Q4_K => Self::Q5_0,
            Self::Q5_K => Self::Q5_1,
            Self::Q6_K => Self::Q8_0,
            other => other,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// One number a channel, and the router of a mixture of experts: kept in F32.
    Small,
    Embedding,
    Output,
    AttentionValue,
    FeedForwardDown,
    Other,
}

#[derive(Debug, Clone, Copy)]
struct Tensor {
    role: Role,
    /// Elements of one row, and how many rows.
    row: u64,
    rows: u64,
    layer: u32,
}

impl Tensor {
    fn elements(&self) -> u64 {
        self.row * self.rows
    }
}

fn number_format(tensor: &Tensor, file_type: FileType, architecture: &Architecture) -> NumberFormat {
    let is_output = tensor.role == Role::Output || (tensor.role == Role::Embedding && architecture.tied_embeddings);
    let format = match (file_type, tensor.role) {
        (_, Role::Small) => NumberFormat::F32,
        (FileType::F16 | FileType::Bf16, _) => NumberFormat::SIXTEEN_BIT,
        (FileType::Q80, _) => NumberFormat::Q8_0,
        (FileType::Q41 | FileType::Q4KM, _) if is_output => NumberFormat::Q6_K,
        (FileType::Q41, _) => NumberFormat::Q4_1,
        (FileType::Q4KM, role) => q4_k_m(role, tensor.layer, architecture.layers),
    };
    format.for_row(tensor.row)
}

/// Values and down projections of the first and last eighth, and of every third layer between, keep six bits.
fn q4_k_m(role: Role, layer: u32, layers: u32) -> NumberFormat {
    let eighth = layers / 8;
    let more_bits = layer < eighth || layer >= 7 * layers / 8 || (layer - eighth) % 3 == 2;
    match role {
        Role::AttentionValue | Role::FeedForwardDown if more_bits => NumberFormat::Q6_K,
        // With 80 layers (the 70B shape) eight heads share a value: too few bits there would cost the most.
        Role::AttentionValue if layers == 80 => NumberFormat::Q5_K,
        _ => NumberFormat::Q4_K,
    }
}

fn tensors(a: &Architecture) -> Vec<Tensor> {
    let hidden = u64::from(a.hidden);
    let vocab = u64::from(a.vocab);
    let mut all = vec![
        Tensor { role: Role::Embedding, row: hidden, rows: vocab, layer: 0 },
        Tensor { role: Role::Small, row: hidden, rows: 1, layer: 0 },
    ];
    if !a.tied_embeddings {
        all.push(Tensor { role: Role::Output, row: hidden, rows: vocab, layer: 0 });
    }
    for layer in 0..a.layers {
        let mut push = |role, row: u64, rows: u64| all.push(Tensor { role, row, rows, layer });
        push(Role::Small, hidden, 2);
        attention(a, &mut push);
        feed_forward(a, layer, &mut push);
    }
    all
}

fn attention(a: &Architecture, push: &mut impl FnMut(Role, u64, u64)) {
    let hidden = u64::from(a.hidden);
    let heads = u64::from(a.heads);
    let head = u64::from(a.head_size);
    if let Some(latent) = a.latent_attention {
        let (query_rank, kv_rank) = (u64::from(latent.query_rank), u64::from(latent.kv_rank));
        let (rope, value) = (u64::from(latent.rope_size), u64::from(latent.value_size));
        push(Role::Small, query_rank + kv_rank, 1);
        push(Role::Other, hidden, query_rank);
        push(Role::Other, query_rank, heads * head);
        push(Role::Other, hidden, kv_rank + rope);
        push(Role::Other, kv_rank, heads * (head - rope + value));
        push(Role::Other, heads * value, hidden);
        return;
    }
    let kv = u64::from(a.kv_heads) * head;
    push(Role::Other, hidden, heads * head);
    push(Role::Other, hidden, kv);
    push(Role::AttentionValue, hidden, kv);
    push(Role::Other, heads * head, hidden);
    if a.family == Family::Qwen2 {
        push(Role::Small, heads * head + 2 * kv, 1);
    }
}

fn feed_forward(a: &Architecture, layer: u32, push: &mut impl FnMut(Role, u64, u64)) {
    let hidden = u64::from(a.hidden);
    let mut network = |ffn: u64, copies: u64| {
        push(Role::Other, hidden, 2 * ffn * copies);
        push(Role::FeedForwardDown, ffn, hidden * copies);
    };
    match a.experts.filter(|experts| layer >= experts.dense_layers) {
        None => network(u64::from(a.ffn), 1),
        Some(experts) => {
            network(u64::from(experts.ffn), u64::from(experts.count + experts.shared));
            // The router, and its bias.
            push(Role::Small, hidden + 1, u64::from(experts.count));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::catalogue::catalogue;

    use super::*;

    fn architecture(name: &str) -> Architecture {
        catalogue().unwrap().find(name).unwrap().model.architecture.clone()
    }

    #[test]
    fn the_smallest_models_file_is_known_to_the_byte_but_for_its_metadata() {
        // 1,785,664 bytes of metadata are counted in the file itself.
        let smollm2 = architecture("smollm2-135m");
        let tensors = file_bytes(&smollm2, FileType::Q41) - u64::from(smollm2.vocab) * 40;
        assert_eq!(tensors + 1_785_664, 98_362_432);
    }

    #[test]
    fn parameters_follow_from_the_shape() {
        for model in catalogue().unwrap().models() {
            let counted = parameter_count(&model.architecture);
            assert_eq!(counted, model.parameters, "{}", model.name);
        }
    }

    #[test]
    fn every_published_size_is_met_within_one_percent() {
        for model in catalogue().unwrap().models() {
            for file in &model.files {
                let Some(published) = file.published_bytes() else { continue };
                let counted = file_bytes(&model.architecture, file.gguf);
                let off = (counted as f64 / published as f64 - 1.0).abs();
                assert!(off < 0.01, "{}-{}: {counted} for {published}", model.name, file.quantization);
            }
        }
    }

    #[test]
    fn bits_a_weight_are_those_that_llama_cpp_states() {
        // llama.cpp's table of quantizations: Q8_0 8.50, F16 16.00, Q4_K_M 4.8 to 4.9 for an 8B (its size over its parameters).
        for (name, file_type, from, to) in [
            ("8b", FileType::Q80, 8.5, 8.52),
            ("70b", FileType::Q80, 8.5, 8.51),
            ("8b", FileType::F16, 16.0, 16.02),
            ("70b", FileType::Bf16, 16.0, 16.01),
            ("8b", FileType::Q4KM, 4.85, 4.95),
            ("32b", FileType::Q4KM, 4.8, 4.9),
            ("70b", FileType::Q4KM, 4.8, 4.85),
        ] {
            let shape = architecture(name);
            let bits = file_bytes(&shape, file_type) as f64 * 8.0 / parameter_count(&shape) as f64;
            assert!((from..to).contains(&bits), "{name} {}: {bits}", file_type.as_str());
        }
    }
}
