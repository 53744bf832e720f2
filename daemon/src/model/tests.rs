//! The forward pass against a plain one written from the papers, and the files that are refused.

use std::collections::HashMap;
use std::io::{Seek, SeekFrom, Write};
use std::sync::Arc;

use candle_core::quantized::gguf_file::Value;
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use tempfile::NamedTempFile;

use super::*;
use crate::tiny::{EPSILON, HEAD_DIM, HEADS, HIDDEN, KV_HEADS, LAYERS, ROPE_BASE, Tiny, VOCABULARY};

/// Blocks of a sequence of these tests.
const BLOCKS: u32 = 32;

fn load(tiny: &Tiny, sequences: u32) -> Model {
    ModelFile::open(&[tiny.file().path()]).unwrap().load(sequences * BLOCKS, 2).unwrap()
}

/// The sequence's blocks, from behind, so that no place is right by chance.
fn table(sequence: u32) -> Vec<u32> {
    (sequence * BLOCKS..(sequence + 1) * BLOCKS).rev().collect()
}

/// Many rows are of a prompt, and exact; few are of an answer.
fn precision(tokens: &[u32]) -> Precision {
    if tokens.len() >= 8 { Precision::Exact } else { Precision::Rounded }
}

fn run(model: &mut Model, sequence: u32, start: usize, tokens: &[u32]) -> Vec<f32> {
    let (table, precision) = (table(sequence), precision(tokens));
    model.forward(&[Segment { table: &table, start, tokens, precision, wants_logits: true }]).unwrap().remove(0)
}

fn tokens(count: usize, step: u32) -> Vec<u32> {
    (0..count as u32).map(|at| (at * step + 3) % VOCABULARY as u32).collect()
}

fn furthest(one: &[f32], other: &[f32]) -> f32 {
    assert_eq!(one.len(), other.len());
    one.iter().zip(other).map(|(one, other)| (one - other).abs()).fold(0.0, f32::max)
}

/// What it moves the logits at most that keys and values are kept as f16; with f32 it was below 2e-4.
const STORED_AS_HALVES: f32 = 5e-3;

type Rows = Vec<Vec<f64>>;

/// The model in f64, one token at a time, with nothing clever in it.
struct Plain {
    tiny: Tiny,
    tensors: HashMap<String, Vec<f32>>,
}

impl Plain {
    fn new(tiny: &Tiny) -> Self {
        let tensors = tiny.tensors().into_iter().map(|(name, _, values)| (name, values)).collect();
        Self { tiny: tiny.clone(), tensors }
    }

    fn linear(&self, name: &str, input: &[f64]) -> Vec<f64> {
        let weight = &self.tensors[&format!("{name}.weight")];
        let dot = |row: &[f32]| row.iter().zip(input).map(|(weight, value)| f64::from(*weight) * value).sum();
        let mut output: Vec<f64> = weight.chunks(input.len()).map(dot).collect();
        if let Some(bias) = self.tensors.get(&format!("{name}.bias")) {
            output.iter_mut().zip(bias).for_each(|(value, bias)| *value += f64::from(*bias));
        }
        output
    }

    fn norm(&self, name: &str, input: &[f64]) -> Vec<f64> {
        let mean = input.iter().map(|value| value * value).sum::<f64>() / input.len() as f64;
        let scale = 1.0 / (mean + f64::from(EPSILON)).sqrt();
        input.iter().zip(&self.tensors[name]).map(|(value, weight)| value * scale * f64::from(*weight)).collect()
    }

    /// qwen3's, over each head by itself.
    fn norm_heads(&self, name: &str, heads: &mut [f64]) {
        if self.tensors.contains_key(name) {
            for head in heads.chunks_mut(HEAD_DIM) {
                let normed = self.norm(name, head);
                head.copy_from_slice(&normed);
            }
        }
    }

    fn rotate(&self, heads: &mut [f64], position: usize) {
        for head in heads.chunks_mut(HEAD_DIM) {
            for pair in 0..HEAD_DIM / 2 {
                let (a, b) = match self.tiny.architecture {
                    "llama" => (2 * pair, 2 * pair + 1),
                    _ => (pair, pair + HEAD_DIM / 2),
                };
                let factor = self.tiny.rope_factors.as_ref().map_or(1.0, |factors| f64::from(factors[pair]));
                let angle = position as f64 * f64::from(ROPE_BASE).powf(-2.0 * pair as f64 / HEAD_DIM as f64) / factor;
                let (x, y) = (head[a], head[b]);
                head[a] = x * angle.cos() - y * angle.sin();
                head[b] = x * angle.sin() + y * angle.cos();
            }
        }
    }

    fn attention(query: &[f64], keys: &[Vec<f64>], values: &[Vec<f64>]) -> Vec<f64> {
        let mut output = Vec::new();
        for head in 0..HEADS {
            let shared = head / (HEADS / KV_HEADS) * HEAD_DIM;
            let query = &query[head * HEAD_DIM..(head + 1) * HEAD_DIM];
            let score = |key: &Vec<f64>| {
                let dot: f64 = query.iter().zip(&key[shared..]).map(|(query, key)| query * key).sum();
                (dot / (HEAD_DIM as f64).sqrt()).exp()
            };
            let scores: Vec<f64> = keys.iter().map(score).collect();
            let total: f64 = scores.iter().sum();
            output.extend((0..HEAD_DIM).map(|at| {
                scores.iter().zip(values).map(|(score, value)| score / total * value[shared + at]).sum::<f64>()
            }));
        }
        output
    }

    fn logits(&self, tokens: &[u32]) -> Vec<f32> {
        let mut caches = vec![(Rows::new(), Rows::new()); LAYERS];
        let mut last = Vec::new();
        for (position, token) in tokens.iter().enumerate() {
            let at = *token as usize * HIDDEN;
            let row = &self.tensors["token_embd.weight"][at..at + HIDDEN];
            let mut state: Vec<f64> = row.iter().map(|value| f64::from(*value)).collect();
            for (layer, (keys, values)) in caches.iter_mut().enumerate() {
                let name = |part: &str| format!("blk.{layer}.{part}");
                let normed = self.norm(&name("attn_norm.weight"), &state);
                let mut query = self.linear(&name("attn_q"), &normed);
                let mut key = self.linear(&name("attn_k"), &normed);
                self.norm_heads(&name("attn_q_norm.weight"), &mut query);
                self.norm_heads(&name("attn_k_norm.weight"), &mut key);
                self.rotate(&mut query, position);
                self.rotate(&mut key, position);
                keys.push(key);
                values.push(self.linear(&name("attn_v"), &normed));
                let attended = self.linear(&name("attn_output"), &Self::attention(&query, keys, values));
                state.iter_mut().zip(attended).for_each(|(state, value)| *state += value);
                let normed = self.norm(&name("ffn_norm.weight"), &state);
                let gate = self.linear(&name("ffn_gate"), &normed);
                let up = self.linear(&name("ffn_up"), &normed);
                let gated: Vec<f64> = gate.iter().zip(up).map(|(gate, up)| gate / (1.0 + (-gate).exp()) * up).collect();
                let down = self.linear(&name("ffn_down"), &gated);
                state.iter_mut().zip(down).for_each(|(state, value)| *state += value);
            }
            last = state;
        }
        let head = if self.tiny.has_output { "output" } else { "token_embd" };
        let normed = self.norm("output_norm.weight", &last);
        self.linear(head, &normed).into_iter().map(|logit| logit as f32).collect()
    }
}

#[test]
fn the_forward_pass_is_the_one_of_the_papers() {
    let base = Tiny { matrices: GgmlDType::F32, ..Tiny::default() };
    let factors = Some(vec![1.0, 1.0, 4.0, 8.0]);
    let cases = [
        base.clone(),
        Tiny { architecture: "qwen2", ..base.clone() },
        Tiny { architecture: "qwen3", ..base.clone() },
        Tiny { has_output: true, ..base.clone() },
        Tiny { rope_factors: factors, ..base.clone() },
    ];
    for tiny in cases {
        let tokens = tokens(40, 7);
        let apart = furthest(&run(&mut load(&tiny, 1), 0, 0, &tokens), &Plain::new(&tiny).logits(&tokens));
        assert!(apart < STORED_AS_HALVES, "{tiny:?}: {apart}");
    }
}

#[test]
fn linear_scaling_divides_positions() {
    let plain = Tiny { matrices: GgmlDType::F32, ..Tiny::default() };
    let scaling = [
        ("llama.rope.scaling.type".to_owned(), Value::String("linear".to_owned())),
        ("llama.rope.scaling.factor".to_owned(), Value::F32(2.0)),
    ];
    let scaled = Tiny { extra: scaling.to_vec(), ..plain.clone() };
    let all_twice = Tiny { rope_factors: Some(vec![2.0; HEAD_DIM / 2]), ..plain };
    let tokens = tokens(20, 5);
    let apart = furthest(&run(&mut load(&scaled, 1), 0, 0, &tokens), &Plain::new(&all_twice).logits(&tokens));
    assert!(apart < STORED_AS_HALVES, "{apart}");
}

#[test]
fn a_prompt_in_pieces_is_the_prompt_at_once() {
    for (matrices, most) in
        [(GgmlDType::F32, 1e-4), (GgmlDType::Q8_0, 0.0), (GgmlDType::Q4_1, 0.0), (GgmlDType::Q5_1, 0.0)]
    {
        for architecture in ["llama", "qwen2"] {
            let mut model = load(&Tiny { architecture, matrices, ..Tiny::default() }, 2);
            let tokens = tokens(100, 7);
            let at_once = run(&mut model, 0, 0, &tokens);
            let mut start = 0;
            let mut pieces = Vec::new();
            for end in [20, 60, 90, 100] {
                pieces = run(&mut model, 1, start, &tokens[start..end]);
                start = end;
            }
            let apart = furthest(&at_once, &pieces);
            assert!(apart <= most, "{matrices:?} {architecture}: {apart}");
        }
    }
}

#[test]
fn sequences_in_one_batch_do_not_touch_each_other() {
    let tiny = Tiny::default();
    let (one, two) = (tokens(37, 7), tokens(21, 11));
    let tables = [table(0), table(1)];
    let segment = |sequence: usize, start, tokens| {
        let (table, precision) = (&tables[sequence][..], precision(tokens));
        Segment { table, start, tokens, precision, wants_logits: true }
    };
    let steps = [
        vec![segment(1, 0, &two[..20]), segment(0, 0, &one[..5])],
        vec![segment(0, 5, &one[5..30])],
        vec![segment(0, 30, &one[30..36]), segment(1, 20, &two[20..])],
        vec![segment(0, 36, &one[36..])],
    ];
    let (mut together, mut alone) = (load(&tiny, 2), load(&tiny, 2));
    for step in steps {
        let expected: Vec<_> = step.iter().map(|segment| alone.forward(&[*segment]).unwrap().remove(0)).collect();
        assert_eq!(together.forward(&step).unwrap(), expected);
    }
}

/// The rows of prompts meet the weights of a quantized file without being rounded.
#[test]
fn a_prompt_is_computed_without_rounding_its_inputs() {
    for kind in [GgmlDType::Q8_0, GgmlDType::Q4_0, GgmlDType::Q4_1, GgmlDType::Q5_0, GgmlDType::Q5_1] {
        let tiny = Tiny { matrices: kind, ..Tiny::default() };
        // The same weights as the file's, exactly, in f32.
        let stored = |(name, shape, values): (String, Vec<usize>, Vec<f32>)| {
            let kind = if shape.len() == 2 { kind } else { GgmlDType::F32 };
            let tensor = Tensor::from_vec(values, shape, &Device::Cpu).unwrap();
            let rounded = QTensor::quantize(&tensor, kind).unwrap().dequantize(&Device::Cpu).unwrap();
            (name, Arc::new(QTensor::quantize(&rounded, GgmlDType::F32).unwrap()))
        };
        let exact = tiny.write(&tiny.tensors().into_iter().map(stored).collect::<Vec<_>>());
        let mut exact = ModelFile::open(&[exact.path()]).unwrap().load(BLOCKS, 2).unwrap();
        let mut model = load(&tiny, 1);
        let tokens = tokens(17, 7);
        let apart = furthest(&run(&mut model, 0, 0, &tokens[..16]), &run(&mut exact, 0, 0, &tokens[..16]));
        assert!(apart < 2e-3, "{kind:?}: {apart}");
        let next = run(&mut exact, 0, 16, &tokens[16..]);
        let scale = next.iter().map(|logit| logit.abs()).fold(0.0, f32::max);
        let apart = furthest(&run(&mut model, 0, 16, &tokens[16..]), &next);
        assert!(apart < 0.03 * scale, "{kind:?}: {apart} of {scale}");
    }
}

#[test]
fn blocks_can_be_used_again() {
    let mut model = load(&Tiny::default(), 1);
    let fresh = run(&mut model, 0, 0, &tokens(10, 7));
    run(&mut model, 0, 0, &tokens(50, 11));
    assert_eq!(run(&mut model, 0, 0, &tokens(10, 7)), fresh);
}

fn refusal(tiny: &Tiny) -> String {
    let file = tiny.file();
    let opened = ModelFile::open(&[file.path()]).and_then(|opened| opened.load(BLOCKS, 2));
    crate::describe(&opened.expect_err("the file was accepted"))
}

#[test]
fn what_would_be_computed_wrongly_is_refused_by_name() {
    let with = |key: &str, value: Value| Tiny { extra: vec![(key.to_owned(), value)], ..Tiny::default() };
    let cases = [
        (Tiny { architecture: "mamba", ..Tiny::default() }, "architecture mamba"),
        (with("llama.rope.scaling.type", Value::String("longrope".to_owned())), "llama.rope.scaling.type longrope"),
        (with("llama.rope.scaling.factor", Value::F32(0.0)), "llama.rope.scaling.factor has the value 0"),
        (Tiny { architecture: "qwen2moe", ..Tiny::default() }, "architecture qwen2moe is not supported"),
        (Tiny { architecture: "deepseek2", ..Tiny::default() }, "architecture deepseek2 is not supported"),
        (with("llama.expert_count", Value::U32(8)), "llama.expert_count has the value 8"),
        (with("llama.rope.dimension_count", Value::U32(4)), "llama.rope.dimension_count"),
        (with("llama.block_count", Value::U32(1)), "blk.1.attn_k.weight"),
        (with("llama.block_count", Value::U32(3)), "tensor blk.2.attn_norm.weight is missing"),
        (with("llama.embedding_length", Value::U32(64)), "expected"),
        (with("llama.attention.head_count", Value::String("4".to_owned())), "must be a whole number"),
        (with("llama.attention.head_count_kv", Value::U32(3)), "4 query heads over 3"),
        (with("llama.attention.head_count", Value::U32(0)), "llama.attention.head_count has the value 0"),
    ];
    for (tiny, problem) in cases {
        let error = refusal(&tiny);
        assert!(error.contains(problem), "expected {problem:?} in {error:?}");
    }
}

#[test]
fn a_tensor_of_an_unknown_type_is_named() {
    let tiny = Tiny::default();
    let mut file = tiny.file();
    let bytes = std::fs::read(file.path()).unwrap();
    let name = b"blk.1.ffn_up.weight";
    let at = bytes.windows(name.len()).position(|window| window == name).unwrap();
    // After the name: the number of dimensions, two dimensions, the type.
    file.as_file_mut().seek(SeekFrom::Start((at + name.len() + 4 + 16) as u64)).unwrap();
    file.as_file_mut().write_all(&23u32.to_le_bytes()).unwrap();
    let error = ModelFile::open(&[file.path()]).unwrap_err().to_string();
    assert!(error.contains("blk.1.ffn_up.weight") && error.contains("IQ4_XS"), "{error}");
}

#[test]
fn broken_files_are_refused_without_a_panic() {
    let missing = ModelFile::open(&[Path::new("/nowhere/m.gguf")]).unwrap_err();
    assert!(matches!(missing, LoadError::Open(_)));
    let mut text = NamedTempFile::new().unwrap();
    text.write_all(b"this is no model").unwrap();
    assert!(matches!(ModelFile::open(&[text.path()]), Err(LoadError::Header(_))));
    let whole = std::fs::read(Tiny::default().file().path()).unwrap();
    for length in [0, 3, 20, 1000, whole.len() / 2, whole.len() - 1000] {
        let mut cut = NamedTempFile::new().unwrap();
        cut.write_all(&whole[..length]).unwrap();
        assert!(
            ModelFile::open(&[cut.path()]).and_then(|file| file.load(BLOCKS, 2)).is_err(),
            "{length} bytes were accepted"
        );
    }
}

/// The tensors of a tiny model dealt out over several files, as `gguf-split` does it.
fn in_parts(tiny: &Tiny, count: usize) -> Vec<NamedTempFile> {
    let whole = tiny.quantized();
    (0..count)
        .map(|number| {
            let place = [("split.no", number), ("split.count", count)];
            let place = place.map(|(key, value)| (key.to_owned(), Value::U16(value as u16)));
            let part = Tiny { extra: place.to_vec(), ..tiny.clone() };
            let own = whole.iter().enumerate().filter(|(at, _)| at % count == number);
            part.write(&own.map(|(_, tensor)| tensor.clone()).collect::<Vec<_>>())
        })
        .collect()
}

#[test]
fn a_model_in_parts_computes_what_the_whole_one_does() {
    let tiny = Tiny::default();
    let parts = in_parts(&tiny, 3);
    let paths: Vec<&Path> = parts.iter().map(NamedTempFile::path).collect();
    let mut model = ModelFile::open(&paths).unwrap().load(BLOCKS, 2).unwrap();
    assert_eq!(run(&mut model, 0, 0, &tokens(10, 7)), run(&mut load(&tiny, 1), 0, 0, &tokens(10, 7)));
}

#[test]
fn parts_that_do_not_belong_together_are_refused() {
    let parts = in_parts(&Tiny::default(), 2);
    let (first, second) = (parts[0].path(), parts[1].path());
    let refused = |paths: &[&Path]| ModelFile::open(paths).unwrap_err().to_string();
    assert!(refused(&[first]).contains("part 1 of 2, and it was given as part 1 of 1"), "{}", refused(&[first]));
    assert!(refused(&[second, first]).contains("part 2 of 2, and it was given as part 1 of 2"));
    assert!(refused(&[first, first]).contains("part 1 of 2, and it was given as part 2 of 2"));
    assert!(refused(&[]).contains("cannot read the file"));
}
