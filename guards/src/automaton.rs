//! All patterns as one dense automaton that is walked from a place on, and says at which byte nothing can follow any more.
//!
//! A search would have to be told where the text ends; a walk tells by itself whether more text could matter, which is
//! what lets a stream pass as early as can be.

use regex_automata::dfa::dense::{BuildError, Builder, Config, DFA};
use regex_automata::dfa::{Automaton as _, StartKind};
use regex_automata::nfa::thompson;
use regex_automata::util::primitives::StateID;
use regex_automata::util::syntax;
use regex_automata::{Anchored, MatchKind};

/// Tables larger than this would not stay in any cache, and take seconds to make.
const MAX_TABLE_BYTES: usize = 32 << 20;

#[derive(Debug, Clone)]
pub struct Automaton {
    dfa: DFA<Vec<u32>>,
    start: StateID,
}

/// A pattern that matched, and where its match ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    pub end: usize,
    pub pattern: usize,
}

/// How a walk ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Walk {
    /// No byte that may follow changes what was found.
    Decided,
    /// The text ended while something could still match.
    Open,
}

impl Automaton {
    pub fn new<P: AsRef<str>>(patterns: &[P]) -> Result<Self, Box<BuildError>> {
        let limit = Some(MAX_TABLE_BYTES);
        let config = Config::new()
            .match_kind(MatchKind::All)
            .start_kind(StartKind::Anchored)
            .accelerate(false)
            .dfa_size_limit(limit)
            .determinize_size_limit(limit);
        let dfa = Builder::new()
            .configure(config)
            .syntax(syntax::Config::new().unicode(false).utf8(false))
            .thompson(thompson::Config::new().utf8(false))
            .build_many(patterns)?;
        // No pattern looks around, so that there is one start for all places.
        let start = dfa.universal_start_state(Anchored::Yes).unwrap_or_default();
        Ok(Self { dfa, start })
    }

    /// The bytes that something can begin with.
    pub fn first_bytes(&self) -> [bool; 256] {
        std::array::from_fn(|byte| !self.dfa.is_dead_state(self.dfa.next_state(self.start, byte as u8)))
    }

    /// Tries all patterns from a place on; adds what matches.
    pub fn walk(&self, text: &[u8], from: usize, found: &mut Vec<Candidate>) -> Walk {
        let mut state = self.start;
        for (at, byte) in text.iter().enumerate().skip(from) {
            state = self.dfa.next_state(state, *byte);
            if self.dfa.is_special_state(state) {
                if self.dfa.is_dead_state(state) {
                    return Walk::Decided;
                }
                self.note(state, at, found);
            }
        }
        self.note(self.dfa.next_eoi_state(state), text.len(), found);
        Walk::Open
    }

    /// A match shows one byte after its end.
    fn note(&self, state: StateID, end: usize, found: &mut Vec<Candidate>) {
        if self.dfa.is_match_state(state) {
            let patterns = 0..self.dfa.match_len(state);
            found.extend(patterns.map(|at| Candidate { end, pattern: self.dfa.match_pattern(state, at).as_usize() }));
        }
    }
}
