//! Decides what each step of the engine runs. Pure: it knows numbers of tokens, no tensor, no clock, no client.
//!
//! ```text
//! submit -> waiting (first come, first served) -> running (a slot each) -> finish
//! step   =  one token of every sequence that decodes  +  one prompt chunk of one sequence, in turn
//! ```
//! A prompt is cut into equal pieces by its length alone, whatever else runs, so that the same request is computed in
//! the same pieces under any load; a long prompt costs the others one piece of delay per token, never all of it.

use std::collections::VecDeque;

/// The most prompt tokens computed in one step: enough rows to make up for expanding the weights once a step, few enough
/// that the tokens of everyone else are not delayed for long.
pub const CHUNK: usize = 64;

/// A request inside the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SequenceId(pub u64);

/// Rows of one sequence in a step: the tokens `start..start + count` of its text so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Work {
    pub id: SequenceId,
    /// Which key-value cache the sequence owns.
    pub slot: usize,
    pub start: usize,
    pub count: usize,
    /// Whether the next token is drawn after these rows.
    pub samples: bool,
}

#[derive(Debug)]
struct Running {
    id: SequenceId,
    slot: usize,
    /// Tokens known: the prompt, and later every drawn token.
    length: usize,
    /// Prompt tokens that go together; the last piece may be shorter by less than the number of pieces.
    piece: usize,
    /// Tokens whose keys and values are in the cache.
    computed: usize,
}

#[derive(Debug)]
pub struct Scheduler {
    waiting: VecDeque<(SequenceId, usize)>,
    running: Vec<Running>,
    free_slots: Vec<usize>,
    /// The sequence whose prompt had the last turn.
    last_turn: Option<SequenceId>,
}

impl Scheduler {
    pub fn new(max_sequences: usize) -> Self {
        let free_slots = (0..max_sequences).rev().collect();
        Self { waiting: VecDeque::new(), running: Vec::new(), free_slots, last_turn: None }
    }

    /// Queues a sequence with its prompt's length, at least 1. Ids are unique and ascend.
    pub fn submit(&mut self, id: SequenceId, prompt_tokens: usize) {
        self.waiting.push_back((id, prompt_tokens));
    }

    /// A token was drawn for the sequence.
    pub fn extend(&mut self, id: SequenceId) {
        if let Some(running) = self.running.iter_mut().find(|running| running.id == id) {
            running.length += 1;
        }
    }

    /// Forgets a sequence, waiting or running, and frees its slot. Forgetting twice is harmless.
    pub fn finish(&mut self, id: SequenceId) {
        self.waiting.retain(|(waiting, _)| *waiting != id);
        if let Some(at) = self.running.iter().position(|running| running.id == id) {
            self.free_slots.push(self.running.remove(at).slot);
        }
    }

    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// Tokens in the key-value cache.
    pub fn cached_tokens(&self) -> usize {
        self.running.iter().map(|running| running.computed).sum()
    }

    /// Moves waiting sequences into free slots; gives those that moved.
    pub fn admit(&mut self) -> Vec<SequenceId> {
        let mut admitted = Vec::new();
        while let Some(slot) = self.free_slots.pop() {
            let Some((id, length)) = self.waiting.pop_front() else {
                self.free_slots.push(slot);
                break;
            };
            let piece = length.div_ceil(length.div_ceil(CHUNK).max(1));
            self.running.push(Running { id, slot, length, piece, computed: 0 });
            admitted.push(id);
        }
        admitted
    }

    /// What to run now, the prompt's piece first; the rows count as computed from here on. Empty when nothing runs.
    pub fn step(&mut self) -> Vec<Work> {
        let turn = self.next_prompt();
        let mut works = Vec::with_capacity(self.running.len());
        for running in &mut self.running {
            let decodes = running.length - running.computed == 1 && running.computed > 0;
            if Some(running.id) == turn {
                works.insert(0, running.advance());
            } else if decodes {
                works.push(running.advance());
            }
        }
        self.last_turn = turn.or(self.last_turn);
        works
    }

    /// The prompt whose turn it is: the first one after the last that had a turn, else the first.
    fn next_prompt(&self) -> Option<SequenceId> {
        let unfinished = || self.running.iter().filter(|running| running.is_prefilling()).map(|running| running.id);
        unfinished().filter(|id| Some(*id) > self.last_turn).min().or_else(|| unfinished().min())
    }
}

impl Running {
    fn is_prefilling(&self) -> bool {
        self.computed == 0 || self.length - self.computed > 1
    }

    fn advance(&mut self) -> Work {
        let start = self.computed;
        let end = self.length.min(start + self.piece);
        self.computed = end;
        Work { id: self.id, slot: self.slot, start, count: end - start, samples: end == self.length }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn ids(works: &[Work]) -> Vec<u64> {
        works.iter().map(|work| work.id.0).collect()
    }

    #[test]
    fn a_long_prompt_does_not_hold_up_a_decoding_sequence() {
        let mut scheduler = Scheduler::new(2);
        scheduler.submit(SequenceId(1), 3);
        scheduler.submit(SequenceId(2), 10 * CHUNK);
        scheduler.admit();
        assert_eq!(ids(&scheduler.step()), [1]);
        for _ in 0..10 {
            scheduler.extend(SequenceId(1));
            assert_eq!(ids(&scheduler.step()), [2, 1]);
        }
    }

    #[test]
    fn prompts_take_turns() {
        let mut scheduler = Scheduler::new(3);
        for id in 1..=3 {
            scheduler.submit(SequenceId(id), 2 * CHUNK);
        }
        scheduler.admit();
        let turns: Vec<u64> = (0..6).flat_map(|_| ids(&scheduler.step())).collect();
        assert_eq!(turns, [1, 2, 3, 1, 2, 3]);
        assert_eq!(scheduler.step(), []);
    }

    #[test]
    fn pieces_of_a_prompt_are_equal() {
        let mut scheduler = Scheduler::new(1);
        scheduler.submit(SequenceId(1), 2 * CHUNK + 5);
        scheduler.admit();
        let pieces: Vec<usize> = (0..3).flat_map(|_| scheduler.step()).map(|work| work.count).collect();
        assert_eq!(pieces, [45, 45, 43]);
    }

    #[test]
    fn slots_are_given_in_order_of_arrival() {
        let mut scheduler = Scheduler::new(1);
        scheduler.submit(SequenceId(1), 1);
        scheduler.submit(SequenceId(2), 1);
        assert_eq!(scheduler.admit(), [SequenceId(1)]);
        assert_eq!((scheduler.waiting(), scheduler.running()), (1, 1));
        assert_eq!(scheduler.admit(), []);
        scheduler.finish(SequenceId(1));
        assert_eq!(scheduler.admit(), [SequenceId(2)]);
    }

    #[derive(Debug, Clone)]
    enum Act {
        Submit(usize),
        Cancel(u64),
        Step,
    }

    fn acts() -> impl Strategy<Value = Vec<Act>> {
        let act = prop_oneof![
            (1usize..5 * CHUNK).prop_map(Act::Submit),
            (0u64..20).prop_map(Act::Cancel),
            Just(Act::Step),
            Just(Act::Step),
        ];
        proptest::collection::vec(act, 0..200)
    }

    proptest! {
        /// Rows are computed once, in order, without a gap; no slot is used twice; nothing starves.
        #[test]
        fn every_token_is_computed_once_and_in_order(acts in acts(), slots in 1usize..4) {
            let mut scheduler = Scheduler::new(slots);
            let mut lengths: HashMap<u64, usize> = HashMap::new();
            let mut computed: HashMap<u64, usize> = HashMap::new();
            let mut next = 0;
            for act in acts {
                match act {
                    Act::Submit(tokens) => {
                        scheduler.submit(SequenceId(next), tokens);
                        lengths.insert(next, tokens);
                        next += 1;
                    }
                    Act::Cancel(id) => {
                        scheduler.finish(SequenceId(id));
                        lengths.remove(&id);
                    }
                    Act::Step => {
                        scheduler.admit();
                        let works = scheduler.step();
                        prop_assert_eq!(works.is_empty(), lengths.is_empty());
                        let mut used: Vec<usize> = works.iter().map(|work| work.slot).collect();
                        used.sort_unstable();
                        used.dedup();
                        prop_assert_eq!(used.len(), works.len());
                        for work in works {
                            let done = computed.entry(work.id.0).or_default();
                            prop_assert_eq!(work.start, *done);
                            prop_assert!(work.count >= 1 && work.count <= CHUNK);
                            *done += work.count;
                            let length = lengths.get_mut(&work.id.0).expect("a cancelled sequence ran");
                            prop_assert_eq!(work.samples, *done == *length);
                            if work.samples {
                                scheduler.extend(work.id);
                                *length += 1;
                            }
                        }
                        prop_assert!(scheduler.running() <= slots);
                    }
                }
            }
        }
    }
}
