//! Which blocks of the key-value cache are whose, and which content a free one still has. Pure: a block is a number.
//!
//! ```text
//! blank --allocate--> held --keep(key)--> held, with content --release--> free, with content --find(key)--> held
//!                      |                                                    |
//!                      +--release--> blank                                  +--allocate, the longest free first--> held
//! ```
//! A key names what a block holds: a digest of its tokens and of everything before them, so that equal keys are equal keys
//! and values. Several sequences may hold one block with content; nobody writes to it any more.

use std::collections::{BTreeMap, HashMap};

use sha2::{Digest, Sha256};

/// A block, below the number of blocks.
pub type BlockId = u32;

/// What a block holds: the tokens of a text from its beginning to the end of this block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BlockKey([u8; 32]);

impl BlockKey {
    /// `exact` is how many of the tokens are computed without rounding, which gives other keys and values than with it.
    pub fn after(before: Option<&Self>, tokens: &[u32], exact: usize) -> Self {
        let mut digest = Sha256::new();
        digest.update(before.map_or([0; 32], |key| key.0));
        digest.update((exact as u64).to_le_bytes());
        for token in tokens {
            digest.update(token.to_le_bytes());
        }
        Self(digest.finalize().into())
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Block {
    holders: u32,
    key: Option<BlockKey>,
    /// When it became free; unique among those that are free with content.
    freed: u64,
}

/// All blocks of a key-value cache.
#[derive(Debug)]
pub struct BlockPool {
    blocks: Vec<Block>,
    by_key: HashMap<BlockKey, BlockId>,
    blank: Vec<BlockId>,
    /// Free blocks with content, by when they became free.
    free: BTreeMap<u64, BlockId>,
    clock: u64,
}

impl BlockPool {
    pub fn new(blocks: u32) -> Self {
        Self {
            blocks: vec![Block::default(); blocks as usize],
            by_key: HashMap::new(),
            blank: (0..blocks).rev().collect(),
            free: BTreeMap::new(),
            clock: 0,
        }
    }

    pub fn total(&self) -> usize {
        self.blocks.len()
    }

    /// Blocks that nobody holds, whether they have content or not.
    pub fn available(&self) -> usize {
        self.blank.len() + self.free.len()
    }

    /// A block to write to; its content is forgotten. `None` if all are held.
    pub fn allocate(&mut self) -> Option<BlockId> {
        let id = self.blank.pop().or_else(|| self.free.pop_first().map(|(_, id)| id))?;
        let block = &mut self.blocks[id as usize];
        block.holders = 1;
        if let Some(key) = block.key.take() {
            self.by_key.remove(&key);
        }
        Some(id)
    }

    /// Takes hold of the block with this content.
    pub fn find(&mut self, key: &BlockKey) -> Option<BlockId> {
        let id = *self.by_key.get(key)?;
        let block = &mut self.blocks[id as usize];
        if block.holders == 0 {
            self.free.remove(&block.freed);
        }
        block.holders += 1;
        Some(id)
    }

    /// A held block is full, and what it holds can be found from now on. If another one has it already, that one is found.
    pub fn keep(&mut self, id: BlockId, key: BlockKey) {
        let block = &mut self.blocks[id as usize];
        if block.key.is_none() && !self.by_key.contains_key(&key) {
            block.key = Some(key);
            self.by_key.insert(key, id);
        }
    }

    /// Lets go of blocks, the last one first: what is free the longest goes first, and a beginning is worth the most.
    pub fn release(&mut self, table: Vec<BlockId>) {
        for id in table.into_iter().rev() {
            let block = &mut self.blocks[id as usize];
            block.holders -= 1;
            if block.holders > 0 {
                continue;
            }
            if block.key.is_none() {
                self.blank.push(id);
                continue;
            }
            self.clock += 1;
            block.freed = self.clock;
            self.free.insert(self.clock, id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(number: u32) -> BlockKey {
        BlockKey::after(None, &[number], 0)
    }

    #[test]
    fn a_key_stands_for_everything_before_it() {
        let first = [key(1), key(2)];
        assert_eq!(BlockKey::after(Some(&first[0]), &[7], 0), BlockKey::after(Some(&key(1)), &[7], 0));
        assert_ne!(BlockKey::after(Some(&first[0]), &[7], 0), BlockKey::after(Some(&first[1]), &[7], 0));
        assert_ne!(BlockKey::after(None, &[7], 0), BlockKey::after(None, &[7], 1));
    }

    #[test]
    fn what_was_let_go_first_is_forgotten_first_and_a_beginning_last() {
        let mut pool = BlockPool::new(4);
        let tables: Vec<Vec<BlockId>> = (0..2).map(|_| (0..2).filter_map(|_| pool.allocate()).collect()).collect();
        for (at, id) in tables.iter().flatten().enumerate() {
            pool.keep(*id, key(at as u32));
        }
        assert_eq!(pool.allocate(), None);
        for table in tables {
            pool.release(table);
        }
        for forgotten in [1, 0, 3, 2] {
            assert!(pool.by_key.contains_key(&key(forgotten)));
            pool.allocate();
            assert!(!pool.by_key.contains_key(&key(forgotten)));
        }
    }

    #[derive(Debug, Clone)]
    enum Act {
        Allocate,
        Find(u32),
        Keep(usize, u32),
        Release(usize),
    }

    fn acts() -> impl Strategy<Value = Vec<Act>> {
        let act = prop_oneof![
            Just(Act::Allocate),
            (0u32..12).prop_map(Act::Find),
            (any::<usize>(), 0u32..12).prop_map(|(at, key)| Act::Keep(at, key)),
            any::<usize>().prop_map(Act::Release),
        ];
        proptest::collection::vec(act, 0..300)
    }

    proptest! {
        /// Against a plain record of who holds what: no block is lost, given twice, or found with another content.
        #[test]
        fn blocks_never_leak(acts in acts(), blocks in 1u32..12) {
            let mut pool = BlockPool::new(blocks);
            let mut held: Vec<BlockId> = Vec::new();
            let mut content: HashMap<BlockId, u32> = HashMap::new();
            for act in acts {
                match act {
                    Act::Allocate => {
                        let is_full = pool.available() == 0;
                        let Some(id) = pool.allocate() else {
                            prop_assert!(is_full);
                            continue;
                        };
                        prop_assert!(!held.contains(&id));
                        content.remove(&id);
                        held.push(id);
                    }
                    Act::Find(number) => match pool.find(&key(number)) {
                        Some(id) => {
                            prop_assert_eq!(content.get(&id), Some(&number));
                            held.push(id);
                        }
                        None => prop_assert!(!content.values().any(|content| *content == number)),
                    },
                    Act::Keep(at, number) if !held.is_empty() => {
                        let id = held[at % held.len()];
                        pool.keep(id, key(number));
                        if !content.contains_key(&id) && !content.values().any(|content| *content == number) {
                            content.insert(id, number);
                        }
                    }
                    Act::Release(at) if !held.is_empty() => pool.release(vec![held.swap_remove(at % held.len())]),
                    Act::Keep(..) | Act::Release(_) => {}
                }
                let mut distinct = held.clone();
                distinct.sort_unstable();
                distinct.dedup();
                prop_assert_eq!(pool.available(), blocks as usize - distinct.len());
                for id in distinct {
                    let holders = held.iter().filter(|held| **held == id).count();
                    prop_assert_eq!(pool.blocks[id as usize].holders as usize, holders);
                }
            }
            pool.release(held);
            prop_assert_eq!(pool.available(), pool.total());
        }
    }
}
