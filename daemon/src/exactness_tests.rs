//! The same greedy tokens whatever the schedule: together as alone, in pieces as whole, found in the cache as computed,
//! preempted as not. Scheduler and model as the engine runs them, on a tiny model with real arithmetic.

use std::collections::HashMap;

use candle_core::quantized::GgmlDType;
use proptest::prelude::*;

use crate::engine::segments;
use crate::model::{Model, ModelFile, Segment};
use crate::scheduler::{Capacity, Counts, Scheduler, SequenceId};
use crate::tiny::{Tiny, VOCABULARY};

const MOST_BLOCKS: u32 = 64;

/// A prompt and how many tokens its answer shall have.
type Request = (Vec<u32>, usize);

fn load(architecture: &'static str, matrices: GgmlDType) -> Model {
    let tiny = Tiny { architecture, matrices, ..Tiny::default() };
    ModelFile::open(&[tiny.file().path()]).unwrap().load(MOST_BLOCKS, 2).unwrap()
}

fn likeliest(logits: &[f32]) -> u32 {
    let mut best = 0;
    for (at, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = at;
        }
    }
    best as u32
}

/// Submits each request after so many steps and runs all to their ends; gives the answers in order.
fn answers(
    model: &mut Model,
    requests: &[(usize, Request)],
    max_sequences: usize,
    blocks: u32,
) -> (Vec<Vec<u32>>, Counts) {
    let mut scheduler = Scheduler::new(Capacity { max_sequences, blocks, rounding: model.rounding() });
    let mut texts: HashMap<SequenceId, Vec<u32>> = HashMap::new();
    let mut done = 0;
    for step in 0.. {
        for (at, (_, (prompt, _))) in requests.iter().enumerate().filter(|(_, (when, _))| *when == step) {
            scheduler.submit(SequenceId(at as u64), prompt.clone());
            texts.insert(SequenceId(at as u64), prompt.clone());
        }
        if done == requests.len() {
            break;
        }
        scheduler.admit();
        for (id, token) in run_step(model, &mut scheduler, &texts, requests) {
            let text = texts.get_mut(&id).unwrap();
            text.push(token);
            let (prompt, answer) = &requests[id.0 as usize].1;
            if text.len() == prompt.len() + answer {
                scheduler.finish(id);
                done += 1;
            } else {
                scheduler.extend(id, token);
            }
        }
    }
    let answer =
        |(at, (_, (prompt, _))): (usize, &(usize, Request))| texts[&SequenceId(at as u64)][prompt.len()..].to_vec();
    (requests.iter().enumerate().map(answer).collect(), scheduler.counts())
}

fn run_step(
    model: &mut Model,
    scheduler: &mut Scheduler,
    texts: &HashMap<SequenceId, Vec<u32>>,
    requests: &[(usize, Request)],
) -> Vec<(SequenceId, u32)> {
    let works = scheduler.step();
    let mut all: Vec<(SequenceId, Segment<'_>)> = Vec::new();
    for work in &works {
        let prompt = requests[work.id.0 as usize].1.0.len();
        let parts = segments(work, &texts[&work.id], prompt, scheduler.table(work.id));
        all.extend(parts.into_iter().map(|part| (work.id, part)));
    }
    all.sort_by_key(|(_, segment)| segment.precision);
    let segments: Vec<Segment<'_>> = all.iter().map(|(_, segment)| *segment).collect();
    let logits = model.forward(&segments).unwrap();
    let sampling = all.iter().filter(|(_, segment)| segment.wants_logits);
    let drawn = sampling.zip(&logits).map(|((id, _), logits)| (*id, likeliest(logits))).collect();
    scheduler.settle();
    drawn
}

fn requests() -> impl Strategy<Value = Vec<(usize, Request)>> {
    // Prompts with common beginnings, some of them whole blocks.
    let prompt = (1usize..100, 0u32..3, 1usize..40).prop_map(|(length, ending, common)| {
        let token = |at: usize| (at as u32 * 7 + if at > common { ending * 13 } else { 0 }) % VOCABULARY as u32;
        (0..length).map(token).collect::<Vec<u32>>()
    });
    proptest::collection::vec((0usize..30, (prompt, 1usize..40)), 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn schedules_change_no_token(requests in requests(), max_sequences in 1usize..6, blocks in 9u32..24) {
        for (architecture, matrices) in [("llama", GgmlDType::Q4_1), ("qwen2", GgmlDType::Q8_0), ("qwen3", GgmlDType::Q5_1)] {
            let mut model = load(architecture, matrices);
            let (found, _) = answers(&mut model, &requests, max_sequences, blocks);
            for (at, (_, request)) in requests.iter().enumerate() {
                let (alone, _) = answers(&mut model, &[(0, request.clone())], 1, MOST_BLOCKS);
                prop_assert_eq!(&found[at], &alone[0], "{} {:?}", architecture, matrices);
            }
        }
    }
}

#[test]
fn the_schedules_have_preemptions_and_finds_in_them() {
    let mut model = load("llama", GgmlDType::Q8_0);
    let request = |seed: u32| ((0..40).map(|at| if at < 32 { at } else { at * seed }).collect::<Vec<u32>>(), 40);
    let requests: Vec<(usize, Request)> = (1..6).map(|seed| (3 * seed as usize, request(seed))).collect();
    let (found, counts) = answers(&mut model, &requests, 5, 10);
    assert!(counts.preemptions > 0 && counts.found > 0, "{counts:?}");
    for (at, (_, request)) in requests.iter().enumerate() {
        assert_eq!(found[at], answers(&mut model, &[(0, request.clone())], 1, MOST_BLOCKS).0[0]);
    }
}
