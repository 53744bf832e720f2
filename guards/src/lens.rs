//! What one direction is looked at with: which patterns, and what is done about each.

use std::sync::LazyLock;

use spec::guards::{Direction, GuardAction, Placeholders};

use crate::automaton::Automaton;
use crate::detector::{DETECTORS, Finds};

/// What is done about something that is found, and under which name it is counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Treatment {
    pub kind: Kind,
    /// The entity's or the rule's.
    pub name: String,
    pub action: GuardAction,
    /// What stands for a value that does not come back.
    pub placeholder: String,
    /// Whether the answer may get the value back.
    pub is_reversible: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Entity,
    Rule,
}

/// A pattern that was given, with what is done about it.
#[derive(Debug, Clone)]
pub struct Given {
    pub pattern: String,
    pub treatment: usize,
}

#[derive(Debug)]
pub struct Lens {
    pub direction: Direction,
    pub treatments: Vec<Treatment>,
    /// For each detector its treatment.
    pub(crate) detected: Vec<Option<usize>>,
    pub(crate) built_in: Option<&'static Automaton>,
    pub(crate) given: Option<Automaton>,
    /// For each given pattern its treatment.
    pub(crate) given_treatments: Vec<usize>,
    pub(crate) starts: [bool; 256],
    /// Bytes of all texts of one request or answer, and what counts more of them.
    pub(crate) limit: Option<(u64, usize)>,
}

impl Lens {
    pub(crate) fn new(
        direction: Direction,
        treatments: Vec<Treatment>,
        entities: &[(&str, usize)],
        given: Option<Automaton>,
        given_treatments: Vec<usize>,
    ) -> Self {
        let treatment =
            |name: &str| entities.iter().find(|(entity, _)| *entity == name).map(|(_, treatment)| *treatment);
        let detected = DETECTORS.iter().map(|detector| match detector.finds {
            Finds::Entity(name) => treatment(name),
            Finds::Context(_) => None,
        });
        let built_in = (!entities.is_empty()).then(built_in).flatten();
        let starts = starts(built_in.into_iter().chain(&given));
        Self {
            direction,
            treatments,
            detected: detected.collect(),
            built_in,
            given,
            given_treatments,
            starts,
            limit: None,
        }
    }

    /// Whether there is nothing to look for.
    pub fn is_blind(&self) -> bool {
        self.built_in.is_none() && self.given.is_none() && self.limit.is_none()
    }

    /// Whether a match of a pattern is of no interest beside a longer one.
    pub(crate) fn only_redacts(&self, pattern: usize) -> bool {
        let treatment = match pattern.checked_sub(DETECTORS.len()) {
            None => self.detected[pattern],
            Some(given) => Some(self.given_treatments[given]),
        };
        treatment.is_some_and(|treatment| self.treatments[treatment].action == GuardAction::Redact)
    }

    /// What counts a length that is too much.
    pub(crate) fn limit_passed(&self, length: u64) -> Option<usize> {
        self.limit.filter(|(limit, _)| length > *limit).map(|(_, treatment)| treatment)
    }
}

/// Placeholders of secrets never lead back: what must not be known must not be kept.
pub const fn may_come_back(entity: &str, placeholders: Placeholders) -> bool {
    let is_secret = matches!(entity.as_bytes(), b"API_KEY" | b"JWT" | b"PRIVATE_KEY" | b"URL_CREDENTIALS");
    matches!(placeholders, Placeholders::Reversible) && !is_secret
}

fn starts<'a>(automata: impl Iterator<Item = &'a Automaton>) -> [bool; 256] {
    let mut starts = [false; 256];
    for automaton in automata {
        for (start, is_first) in starts.iter_mut().zip(automaton.first_bytes()) {
            *start |= is_first;
        }
    }
    // An escape is stepped over, and no place inside a character is one.
    starts[usize::from(b'\\')] = true;
    starts[0x80..0xC0].fill(false);
    starts
}

/// Made once. A test makes it too, so that it can't be one that can't be made.
pub(crate) fn built_in() -> Option<&'static Automaton> {
    static BUILT_IN: LazyLock<Option<Automaton>> =
        LazyLock::new(|| Automaton::new(&DETECTORS.iter().map(|detector| detector.pattern).collect::<Vec<_>>()).ok());
    BUILT_IN.as_ref()
}
