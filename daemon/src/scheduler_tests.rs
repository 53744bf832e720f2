//! The scheduler with a model that needs no arithmetic: what a block's place holds is a digest of the text up to there, and
//! the next token follows from the digest that is read back through the table.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use proptest::prelude::*;

use super::*;

fn digest(tokens: &[u32]) -> u64 {
    let mut hasher = DefaultHasher::new();
    tokens.hash(&mut hasher);
    hasher.finish()
}

fn draw(digest: u64) -> u32 {
    (digest % 5) as u32
}

/// The answer of a sequence that is alone.
fn answer_of(prompt: &[u32], count: usize) -> Vec<u32> {
    let mut tokens = prompt.to_vec();
    for _ in 0..count {
        tokens.push(draw(digest(&tokens)));
    }
    tokens.split_off(prompt.len())
}

struct Simulation {
    scheduler: Scheduler,
    capacity: Capacity,
    memory: HashMap<(BlockId, usize), u64>,
    /// Prompt and answer of each sequence, and how long the answer shall be.
    texts: HashMap<SequenceId, (Vec<u32>, usize, usize)>,
    next: u64,
}

impl Simulation {
    fn new(max_sequences: usize, blocks: u32) -> Self {
        let capacity = Capacity { max_sequences, blocks, rounding: Rounding::InAnswers };
        let scheduler = Scheduler::new(capacity);
        Self { scheduler, capacity, memory: HashMap::new(), texts: HashMap::new(), next: 0 }
    }

    fn submit(&mut self, prompt: Vec<u32>, answer: usize) -> SequenceId {
        let id = SequenceId(self.next);
        self.next += 1;
        self.scheduler.submit(id, prompt.clone());
        self.texts.insert(id, (prompt.clone(), prompt.len(), answer));
        id
    }

    fn cancel(&mut self, id: SequenceId) {
        self.scheduler.finish(id);
        self.texts.remove(&id);
    }

    /// One step as the engine does it, with all that must hold of it.
    fn step(&mut self) -> Vec<Work> {
        self.scheduler.admit();
        let works = self.scheduler.step();
        assert_eq!(works.is_empty(), self.texts.is_empty(), "nothing ran, or what is gone did");
        assert!(works.iter().map(|work| work.count).sum::<usize>() <= STEP_ROWS.max(LEAST_PROMPT_ROWS + works.len()));
        for work in &works {
            let (tokens, ..) = &self.texts[&work.id];
            let table = self.scheduler.table(work.id).to_vec();
            for position in work.start..work.start + work.count {
                let place = (table[position / BLOCK_TOKENS], position % BLOCK_TOKENS);
                self.memory.insert(place, digest(&tokens[..=position]));
            }
        }
        self.scheduler.settle();
        for work in &works {
            self.finish_work(work);
        }
        self.scheduler.blocks_are_held_by_tables();
        works
    }

    /// Reads everything back that attention would read, and draws.
    fn finish_work(&mut self, work: &Work) {
        let table = self.scheduler.table(work.id).to_vec();
        let (tokens, prompt, answer) = self.texts.get_mut(&work.id).unwrap();
        for position in 0..work.start + work.count {
            let found = self.memory[&(table[position / BLOCK_TOKENS], position % BLOCK_TOKENS)];
            assert_eq!(found, digest(&tokens[..=position]), "{:?} reads another text at {position}", work.id);
        }
        assert_eq!(work.samples, work.start + work.count == tokens.len());
        if work.samples {
            let last = tokens.len() - 1;
            let token = draw(self.memory[&(table[last / BLOCK_TOKENS], last % BLOCK_TOKENS)]);
            tokens.push(token);
            if tokens.len() == *prompt + *answer {
                let expected = answer_of(&tokens[..*prompt], *answer);
                assert_eq!(tokens[*prompt..], expected);
                self.cancel(work.id);
            } else {
                self.scheduler.extend(work.id, token);
            }
        }
    }

    fn run_out(&mut self) -> usize {
        let mut steps = 0;
        while !self.texts.is_empty() {
            self.step();
            steps += 1;
            assert!(steps < 20_000, "somebody starves");
        }
        assert_eq!(self.scheduler.usage(), 0.0, "blocks leaked");
        assert_eq!((self.scheduler.running(), self.scheduler.waiting()), (0, 0));
        steps
    }
}

impl Scheduler {
    fn blocks_are_held_by_tables(&self) {
        let mut held: Vec<BlockId> = self.running.iter().flat_map(|text| &text.table).copied().collect();
        held.sort_unstable();
        held.dedup();
        assert_eq!(held.len(), self.blocks.total() - self.blocks.available());
        assert!(self.waiting.iter().all(|text| text.table.is_empty()));
        assert!(self.running.len() <= self.capacity.max_sequences);
    }
}

fn prompt(count: usize, seed: u32) -> Vec<u32> {
    (0..count as u32).map(|at| (at * seed) % 7).collect()
}

#[test]
fn a_long_prompt_does_not_hold_up_a_decoding_sequence() {
    let mut simulation = Simulation::new(2, 100);
    simulation.submit(prompt(3, 1), 10);
    simulation.submit(prompt(10 * STEP_ROWS, 3), 1);
    simulation.step();
    for _ in 0..9 {
        let counts: Vec<usize> = simulation.step().iter().map(|work| work.count).collect();
        assert_eq!(counts, [1, STEP_ROWS - 1]);
    }
}

#[test]
fn short_prompts_pass_a_long_one_that_still_gets_most() {
    let mut simulation = Simulation::new(3, 100);
    simulation.submit(prompt(10 * STEP_ROWS, 3), 1);
    simulation.submit(prompt(30, 5), 9);
    simulation.submit(prompt(10, 2), 9);
    let counts: Vec<usize> = simulation.step().iter().map(|work| work.count).collect();
    assert_eq!(counts, [48, 6, 10]);
    let counts: Vec<usize> = simulation.step().iter().map(|work| work.count).collect();
    assert_eq!(counts, [47, 16, 1]);
}

#[test]
fn a_prompt_that_was_there_before_is_found_but_for_its_end() {
    let mut simulation = Simulation::new(2, 100);
    simulation.submit(prompt(64, 3), 1);
    simulation.run_out();
    simulation.submit(prompt(64, 3), 1);
    let works = simulation.step();
    assert_eq!((works[0].start, works[0].count), (48, 16));
    let counts = simulation.scheduler.counts();
    assert_eq!((counts.queried, counts.found, counts.preemptions), (128, 48, 0));
}

#[test]
fn sequences_that_came_together_share_what_the_first_one_computes() {
    let mut simulation = Simulation::new(4, 400);
    for end in 0..4 {
        simulation.submit([prompt(10 * STEP_ROWS, 3), vec![end]].concat(), 1);
    }
    let steps = simulation.run_out();
    assert!(steps < 16, "{steps} steps");
}

#[test]
fn an_answer_is_found_as_a_prompt_only_if_it_is_computed_in_the_same_way() {
    for (rounding, start) in [(Rounding::Everywhere, 32), (Rounding::InAnswers, 16)] {
        let mut simulation = Simulation::new(1, 100);
        simulation.scheduler = Scheduler::new(Capacity { rounding, ..simulation.capacity });
        let first = prompt(20, 3);
        simulation.submit(first.clone(), 20);
        simulation.run_out();
        let next = [first.clone(), answer_of(&first, 20)].concat();
        simulation.submit(next, 1);
        assert_eq!(simulation.step()[0].start, start);
    }
}

#[test]
fn the_youngest_gives_way_and_comes_back_first() {
    let mut simulation = Simulation::new(3, 6);
    for seed in 1..=3 {
        simulation.submit(prompt(30, seed), 40);
    }
    simulation.run_out();
    assert!(simulation.scheduler.counts().preemptions > 0);
}

#[test]
fn what_can_never_fit_runs_nothing_and_leaves_the_rest_in_place() {
    let mut scheduler = Scheduler::new(Capacity { max_sequences: 2, blocks: 2, rounding: Rounding::Everywhere });
    scheduler.submit(SequenceId(1), prompt(40, 3));
    scheduler.admit();
    assert_eq!(scheduler.step()[0].count, 32);
    scheduler.settle();
    assert_eq!(scheduler.step(), []);
    scheduler.finish(SequenceId(1));
    assert_eq!(scheduler.usage(), 0.0);
}

#[derive(Debug, Clone)]
enum Act {
    Submit { length: usize, seed: u32, answer: usize },
    Cancel(u64),
    Step,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let submit = (1usize..150, 1u32..4, 1usize..40);
    let act = prop_oneof![
        2 => submit.prop_map(|(length, seed, answer)| Act::Submit { length, seed, answer }),
        1 => (0u64..20).prop_map(Act::Cancel),
        5 => Just(Act::Step),
    ];
    proptest::collection::vec(act, 0..150)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Everybody reads their own text and gets the answer they get alone; blocks are neither lost nor shared wrongly;
    /// everybody comes to an end.
    #[test]
    fn schedules_change_no_answer(acts in acts(), max_sequences in 1usize..6, blocks in 12u32..40) {
        let mut simulation = Simulation::new(max_sequences, blocks);
        for act in acts {
            match act {
                Act::Submit { length, seed, answer } => {
                    simulation.submit(prompt(length, seed), answer);
                }
                Act::Cancel(id) => simulation.cancel(SequenceId(id)),
                Act::Step => {
                    simulation.step();
                }
            }
        }
        simulation.run_out();
    }
}
