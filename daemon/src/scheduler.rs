//! Decides what each step of the engine runs. Pure: it knows tokens and numbers of blocks, no tensor, no clock, no client.
//!
//! ```text
//! submit -> waiting (first come, first served) -> running (a table of blocks each) -> finish
//!              ^-------- preempted: to the front ---------+
//! step   =  one token of every sequence that decodes  +  pieces of prompts, up to a number of rows
//! ```
//! A sequence takes blocks as it grows. If none is left, the youngest one gives its own back and waits in front of all
//! others; what it had computed is found again as long as its blocks are not used, and computed again if they are.
//! Of the rows for prompts the oldest gets three quarters if others want some, and these are served the shortest rest
//! first: a long prompt neither starves nor holds the short ones up.

use std::collections::VecDeque;

use crate::blocks::{BlockId, BlockKey, BlockPool};

/// Rows of a step: enough to make up for reading the weights once a step, few enough that the tokens of those that decode
/// are not delayed for long.
pub const STEP_ROWS: usize = 64;
/// What prompts get of a step in any case, however many sequences decode.
const LEAST_PROMPT_ROWS: usize = 16;
pub const BLOCK_TOKENS: usize = kernels::BLOCK_TOKENS;

/// A request inside the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SequenceId(pub u64);

/// Rows of one sequence in a step: the tokens `start..start + count` of its text so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Work {
    pub id: SequenceId,
    pub start: usize,
    pub count: usize,
    /// Whether the next token is drawn after these rows.
    pub samples: bool,
}

/// Which tokens have other keys and values as part of a prompt than as part of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rounding {
    /// None: the answer in one request is the prompt's beginning in the next.
    Everywhere,
    /// All: prompts are computed without rounding.
    InAnswers,
}

/// How much there is to be had.
#[derive(Debug, Clone, Copy)]
pub struct Capacity {
    pub max_sequences: usize,
    /// Enough for the longest sequence that is submitted.
    pub blocks: u32,
    pub rounding: Rounding,
}

/// What happened so far, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub preemptions: u64,
    /// Prompt tokens that were looked for in the prefix cache.
    pub queried: u64,
    /// Those of them that were found.
    pub found: u64,
}

#[derive(Debug)]
struct Text {
    id: SequenceId,
    /// The prompt, and later every drawn token.
    tokens: Vec<u32>,
    prompt: usize,
    /// Of the full blocks, as far as they were wanted.
    keys: Vec<BlockKey>,
    table: Vec<BlockId>,
    /// Tokens whose keys and values are in the blocks of the table.
    computed: usize,
    /// Blocks of the table that can be found by others.
    kept: usize,
    /// Prompt tokens that did not have to be computed when the sequence first ran.
    found: usize,
    preempted: bool,
}

#[derive(Debug)]
pub struct Scheduler {
    capacity: Capacity,
    blocks: BlockPool,
    waiting: VecDeque<Text>,
    /// In the order of their admission.
    running: Vec<Text>,
    counts: Counts,
}

impl Scheduler {
    pub fn new(capacity: Capacity) -> Self {
        let blocks = BlockPool::new(capacity.blocks);
        Self { capacity, blocks, waiting: VecDeque::new(), running: Vec::new(), counts: Counts::default() }
    }

    /// Queues a sequence with its prompt, of at least one token. Ids are unique and ascend.
    pub fn submit(&mut self, id: SequenceId, tokens: Vec<u32>) {
        let prompt = tokens.len();
        let (keys, table) = (Vec::new(), Vec::new());
        self.waiting.push_back(Text {
            id,
            tokens,
            prompt,
            keys,
            table,
            computed: 0,
            kept: 0,
            found: 0,
            preempted: false,
        });
    }

    /// A token was drawn for the sequence.
    pub fn extend(&mut self, id: SequenceId, token: u32) {
        if let Some(running) = self.running.iter_mut().find(|running| running.id == id) {
            running.tokens.push(token);
        }
    }

    /// Forgets a sequence, waiting or running, and lets its blocks go. Forgetting twice is harmless.
    pub fn finish(&mut self, id: SequenceId) {
        self.waiting.retain(|waiting| waiting.id != id);
        if let Some(at) = self.running.iter().position(|running| running.id == id) {
            let text = self.running.remove(at);
            self.blocks.release(text.table);
        }
    }

    /// The last step was computed: the blocks that it filled can be found from now on.
    pub fn settle(&mut self) {
        for text in &mut self.running {
            let full = text.computed / BLOCK_TOKENS;
            for at in text.kept..full {
                let key = text.key(at, self.capacity.rounding);
                self.blocks.keep(text.table[at], key);
            }
            text.kept = full;
        }
    }

    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    pub fn running(&self) -> usize {
        self.running.len()
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Share of the blocks that sequences hold.
    pub fn usage(&self) -> f64 {
        1.0 - self.blocks.available() as f64 / self.blocks.total().max(1) as f64
    }

    /// The blocks of a running sequence, in the order of its text.
    pub fn table(&self, id: SequenceId) -> &[BlockId] {
        self.text(id).map_or(&[], |text| &text.table)
    }

    /// Prompt tokens of a running sequence that did not have to be computed.
    pub fn found(&self, id: SequenceId) -> usize {
        self.text(id).map_or(0, |text| text.found)
    }

    pub fn is_running(&self, id: SequenceId) -> bool {
        self.text(id).is_some()
    }

    fn text(&self, id: SequenceId) -> Option<&Text> {
        self.running.iter().find(|text| text.id == id)
    }

    /// Lets waiting sequences run while there are blocks for everything that running ones have still to compute; gives
    /// those that it let. A sequence that is alone always runs.
    pub fn admit(&mut self) -> Vec<SequenceId> {
        let mut admitted = Vec::new();
        while self.running.len() < self.capacity.max_sequences {
            let Some(mut text) = self.waiting.pop_front() else { break };
            let wanted: usize = self.running.iter().map(Text::missing_blocks).sum();
            text.adopt(&mut self.blocks, self.capacity.rounding);
            if !self.running.is_empty() && wanted + text.missing_blocks() > self.blocks.available() {
                self.blocks.release(std::mem::take(&mut text.table));
                (text.computed, text.kept, text.found) = (0, 0, if text.preempted { text.found } else { 0 });
                self.waiting.push_front(text);
                break;
            }
            if !text.preempted {
                self.counts.queried += text.prompt as u64;
                self.counts.found += text.found as u64;
            }
            admitted.push(text.id);
            self.running.push(text);
        }
        admitted
    }

    /// What to run now, in the order of admission; the rows count as computed from here on. Empty when nothing runs, or if
    /// a sequence is alone and still has too few blocks.
    pub fn step(&mut self) -> Vec<Work> {
        let mut works = Vec::with_capacity(self.running.len());
        let shares = self.share_rows();
        let mut at = 0;
        while at < self.running.len() {
            let rows = self.reserve(at, shares[at]);
            if rows > 0 {
                works.push(self.running[at].advance(rows));
            }
            at += 1;
        }
        works
    }

    /// How many rows each running sequence gets.
    fn share_rows(&mut self) -> Vec<usize> {
        // First of all: what is found can leave a prompt with its last token alone, which counts among the single ones.
        for at in 0..self.running.len() {
            self.look_again(at);
        }
        let single = self.running.iter().filter(|text| text.rest() == 1).count();
        let mut left = STEP_ROWS.saturating_sub(single).max(LEAST_PROMPT_ROWS);
        let mut shares: Vec<usize> = self.running.iter().map(|text| usize::from(text.rest() == 1)).collect();
        let mut prompts: Vec<usize> = (0..shares.len()).filter(|at| self.running[*at].rest() > 1).collect();
        if prompts.len() > 1 {
            let oldest = prompts[0];
            shares[oldest] = self.running[oldest].rest().min(left * 3 / 4);
            left -= shares[oldest];
            prompts.sort_by_key(|at| self.running[*at].rest());
        }
        for at in prompts {
            let more = (self.running[at].rest() - shares[at]).min(left);
            shares[at] += more;
            left -= more;
        }
        shares
    }

    /// Others may have computed what comes next since this sequence was admitted.
    fn look_again(&mut self, at: usize) {
        let text = &mut self.running[at];
        let before = text.found;
        text.adopt(&mut self.blocks, self.capacity.rounding);
        self.counts.found += (text.found - before) as u64;
    }

    /// Makes the table long enough for some more rows, or for as many as there are blocks, at the cost of younger sequences
    /// before there is no row at all; gives their number. None if the sequence itself had to give way.
    fn reserve(&mut self, at: usize, rows: usize) -> usize {
        loop {
            let text = &mut self.running[at];
            let room = text.table.len() * BLOCK_TOKENS - text.computed;
            if room >= rows {
                return rows;
            }
            if let Some(block) = self.blocks.allocate() {
                text.table.push(block);
            } else if room > 0 {
                return room;
            } else {
                let youngest = self.running.len() - 1;
                if youngest > 0 {
                    self.preempt();
                }
                if youngest == at {
                    return 0;
                }
            }
        }
    }

    /// The youngest sequence gives its blocks back and waits in front of all others.
    fn preempt(&mut self) {
        if let Some(mut text) = self.running.pop() {
            self.blocks.release(std::mem::take(&mut text.table));
            (text.computed, text.kept, text.preempted) = (0, 0, true);
            self.waiting.push_front(text);
            self.counts.preemptions += 1;
        }
    }
}

impl Text {
    /// Tokens whose keys and values are not there yet.
    fn rest(&self) -> usize {
        self.tokens.len() - self.computed
    }

    /// Blocks to be had until the next token is drawn, and for that token.
    fn missing_blocks(&self) -> usize {
        (self.tokens.len() + 1).div_ceil(BLOCK_TOKENS) - self.table.len()
    }

    /// Takes the blocks that have what comes next, all but the last token: its logits are wanted.
    fn adopt(&mut self, blocks: &mut BlockPool, rounding: Rounding) {
        while self.computed == self.table.len() * BLOCK_TOKENS && self.rest() > BLOCK_TOKENS {
            let key = self.key(self.table.len(), rounding);
            let Some(block) = blocks.find(&key) else { return };
            self.table.push(block);
            self.computed += BLOCK_TOKENS;
            self.kept = self.table.len();
            if !self.preempted {
                self.found += BLOCK_TOKENS;
            }
        }
    }

    /// The key of a full block.
    fn key(&mut self, at: usize, rounding: Rounding) -> BlockKey {
        while self.keys.len() <= at {
            let first = self.keys.len() * BLOCK_TOKENS;
            let exact = match rounding {
                Rounding::Everywhere => 0,
                Rounding::InAnswers => self.prompt.saturating_sub(first).min(BLOCK_TOKENS),
            };
            let key = BlockKey::after(self.keys.last(), &self.tokens[first..first + BLOCK_TOKENS], exact);
            self.keys.push(key);
        }
        self.keys[at]
    }

    fn advance(&mut self, rows: usize) -> Work {
        let start = self.computed;
        self.computed += rows;
        Work { id: self.id, start, count: rows, samples: self.rest() == 0 }
    }
}

#[cfg(test)]
#[path = "scheduler_tests.rs"]
mod tests;
