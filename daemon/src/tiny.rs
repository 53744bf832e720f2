//! Tiny models with random weights, written as real GGUF files: what the tests load and serve.

use std::collections::HashMap;
use std::io::Write;
use std::sync::Arc;

use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tempfile::NamedTempFile;

/// The shape of a tiny model.
#[derive(Debug, Clone)]
pub struct Tiny {
    pub architecture: &'static str,
    pub pre: String,
    pub adds_begin: bool,
    pub matrices: GgmlDType,
    pub has_output: bool,
    pub rope_factors: Option<Vec<f32>>,
    pub context: u32,
    pub extra: Vec<(String, Value)>,
}

pub const HIDDEN: usize = 32;
pub const WIDE: usize = 64;
pub const HEADS: usize = 4;
pub const KV_HEADS: usize = 2;
pub const HEAD_DIM: usize = HIDDEN / HEADS;
pub const LAYERS: usize = 2;
pub const ROPE_BASE: f32 = 100.0;
pub const EPSILON: f32 = 1e-5;
const MERGES: [&str; 4] = ["1 2", "Ġ t", "Ġt h", "Ġth e"];
const SPECIALS: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];
pub const VOCABULARY: usize = 256 + MERGES.len() + SPECIALS.len();
const TEMPLATE: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

impl Default for Tiny {
    fn default() -> Self {
        Self {
            architecture: "llama",
            pre: "smollm".to_owned(),
            adds_begin: false,
            matrices: GgmlDType::Q8_0,
            has_output: false,
            rope_factors: None,
            context: 512,
            extra: Vec::new(),
        }
    }
}

impl Tiny {
    pub fn metadata(&self) -> HashMap<String, Value> {
        let architecture = self.architecture;
        let sizes = [
            ("block_count", LAYERS as u32),
            ("context_length", self.context),
            ("embedding_length", HIDDEN as u32),
            ("feed_forward_length", WIDE as u32),
            ("attention.head_count", HEADS as u32),
            ("attention.head_count_kv", KV_HEADS as u32),
        ];
        let mut values: HashMap<String, Value> =
            sizes.into_iter().map(|(key, size)| (format!("{architecture}.{key}"), Value::U32(size))).collect();
        values.insert("general.architecture".to_owned(), Value::String(architecture.to_owned()));
        values.insert(format!("{architecture}.attention.layer_norm_rms_epsilon"), Value::F32(EPSILON));
        values.insert(format!("{architecture}.rope.freq_base"), Value::F32(ROPE_BASE));
        let strings = |texts: Vec<String>| Value::Array(texts.into_iter().map(Value::String).collect());
        let tokens = vocabulary();
        let types = (0..tokens.len()).map(|at| Value::I32(if at >= tokens.len() - SPECIALS.len() { 3 } else { 1 }));
        let last = tokens.len() as u32 - 1;
        let tokenizer = [
            ("model", Value::String("gpt2".to_owned())),
            ("pre", Value::String(self.pre.clone())),
            ("token_type", Value::Array(types.collect())),
            ("tokens", strings(tokens)),
            ("merges", strings(MERGES.iter().map(|merge| (*merge).to_owned()).collect())),
            ("bos_token_id", Value::U32(last - 1)),
            ("eos_token_id", Value::U32(last)),
            ("add_bos_token", Value::Bool(self.adds_begin)),
        ];
        values.extend(tokenizer.map(|(key, value)| (format!("tokenizer.ggml.{key}"), value)));
        values.insert("tokenizer.chat_template".to_owned(), Value::String(TEMPLATE.to_owned()));
        values.extend(self.extra.iter().cloned());
        values
    }

    /// Name and values of every tensor, the same for every call.
    pub fn tensors(&self) -> Vec<(String, Vec<usize>, Vec<f32>)> {
        let mut random = StdRng::seed_from_u64(11);
        let mut tensors = Vec::new();
        let mut add = |name: String, shape: Vec<usize>, middle: f32, spread: f32| {
            let count = shape.iter().product();
            let values = (0..count).map(|_| middle + spread * (random.random::<f32>() * 2.0 - 1.0)).collect();
            tensors.push((name, shape, values));
        };
        let matrix = |inputs: usize| 1.7 / (inputs as f32).sqrt();
        add("token_embd.weight".to_owned(), vec![VOCABULARY, HIDDEN], 0.0, 1.0);
        let (query, kv) = (HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM);
        for layer in 0..LAYERS {
            let name = |part: &str| format!("blk.{layer}.{part}");
            add(name("attn_norm.weight"), vec![HIDDEN], 1.0, 0.2);
            add(name("ffn_norm.weight"), vec![HIDDEN], 1.0, 0.2);
            for (part, outputs) in [("attn_q", query), ("attn_k", kv), ("attn_v", kv)] {
                add(name(&format!("{part}.weight")), vec![outputs, HIDDEN], 0.0, matrix(HIDDEN));
                if self.architecture == "qwen2" {
                    add(name(&format!("{part}.bias")), vec![outputs], 0.0, 0.5);
                }
            }
            if self.architecture == "qwen3" {
                add(name("attn_q_norm.weight"), vec![HEAD_DIM], 1.0, 0.2);
                add(name("attn_k_norm.weight"), vec![HEAD_DIM], 1.0, 0.2);
            }
            add(name("attn_output.weight"), vec![HIDDEN, query], 0.0, matrix(query));
            add(name("ffn_gate.weight"), vec![WIDE, HIDDEN], 0.0, matrix(HIDDEN));
            add(name("ffn_up.weight"), vec![WIDE, HIDDEN], 0.0, matrix(HIDDEN));
            add(name("ffn_down.weight"), vec![HIDDEN, WIDE], 0.0, matrix(WIDE));
        }
        add("output_norm.weight".to_owned(), vec![HIDDEN], 1.0, 0.2);
        if self.has_output {
            add("output.weight".to_owned(), vec![VOCABULARY, HIDDEN], 0.0, matrix(HIDDEN));
        }
        if let Some(factors) = &self.rope_factors {
            tensors.push(("rope_freqs.weight".to_owned(), vec![factors.len()], factors.clone()));
        }
        tensors
    }

    pub fn file(&self) -> NamedTempFile {
        self.write(&self.quantized())
    }

    pub fn quantized(&self) -> Vec<(String, Arc<QTensor>)> {
        let quantize = |(name, shape, values): (String, Vec<usize>, Vec<f32>)| {
            let kind = if shape.len() == 2 { self.matrices } else { GgmlDType::F32 };
            let tensor = Tensor::from_vec(values, shape, &Device::Cpu).unwrap();
            (name, Arc::new(QTensor::quantize(&tensor, kind).unwrap()))
        };
        self.tensors().into_iter().map(quantize).collect()
    }

    pub fn write(&self, tensors: &[(String, Arc<QTensor>)]) -> NamedTempFile {
        let metadata = self.metadata();
        let metadata: Vec<(&str, &Value)> = metadata.iter().map(|(key, value)| (key.as_str(), value)).collect();
        let tensors: Vec<(&str, &QTensor)> = tensors.iter().map(|(name, tensor)| (name.as_str(), &**tensor)).collect();
        let mut file = NamedTempFile::with_suffix(".gguf").unwrap();
        gguf_file::write(file.as_file_mut(), &metadata, &tensors).unwrap();
        file.flush().unwrap();
        file
    }
}

/// The 256 bytes in GPT-2's spelling, the merged tokens, the special ones.
fn vocabulary() -> Vec<String> {
    let mut bytes: Vec<(u8, char)> =
        crate::tokenizer::byte_alphabet().into_iter().map(|(character, byte)| (byte, character)).collect();
    bytes.sort_unstable();
    let mut tokens: Vec<String> = bytes.into_iter().map(|(_, character)| character.to_string()).collect();
    tokens.extend(MERGES.iter().map(|merge| merge.replace(' ', "")));
    tokens.extend(SPECIALS.iter().map(|token| (*token).to_owned()));
    tokens
}
