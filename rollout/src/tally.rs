//! What both variants had while the candidate had one weight, for each weight of a rollout: what comparisons are made of.
//! Pure.
//!
//! A stage's own counts start anew; these are carried on, since failures of different weights add up (see
//! [`crate::statistics::comparison`]). They are journalled with the rest of the evidence.

use serde::{Deserialize, Serialize};
use spec::amount::Weight;
use spec::id::Variant;

use crate::ports::{Observation, Outcome};
use crate::statistics::comparison::Tally;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tallies(Vec<StageTally>);

/// Of the requests that one stage's table sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageTally {
    pub since_generation: u64,
    pub weight: Weight,
    pub candidate: Answers,
    pub baseline: Answers,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answers {
    pub counted: u64,
    /// Truncated ones included.
    pub failed: u64,
    pub truncated: u64,
    /// Not among the counted ones.
    #[serde(default)]
    pub blocked: u64,
    #[serde(default)]
    pub refused: u64,
    /// Requests that no session kept with a variant, whatever came of them: whether they are split as the weights say
    /// can be told, while one busy session would look like a fault.
    #[serde(default)]
    pub drawn: u64,
}

impl Tallies {
    /// A weight is in force from a generation on.
    pub fn begin(&mut self, since_generation: u64, weight: Weight) {
        let (candidate, baseline) = (Answers::default(), Answers::default());
        self.0.push(StageTally { since_generation, weight, candidate, baseline });
    }

    /// Counts an answer for the weight that sent it, whenever it ends. A table that somebody else changed is put back within
    /// a tick; what it sent until then counts for the weight before.
    pub fn add(&mut self, seen: &Observation) {
        let Some(stage) = self.0.iter_mut().rev().find(|stage| stage.since_generation <= seen.generation) else {
            return;
        };
        let answers = match seen.variant {
            Variant::Candidate => &mut stage.candidate,
            Variant::Baseline => &mut stage.baseline,
        };
        answers.drawn += u64::from(seen.is_drawn);
        answers.blocked += u64::from(seen.outcome == Outcome::Blocked);
        if seen.outcome.is_counted() {
            answers.counted += 1;
            answers.refused += u64::from(seen.is_refused);
            answers.failed += u64::from(seen.outcome.is_failure());
            answers.truncated += u64::from(seen.outcome == Outcome::Truncated);
        }
    }

    /// Whose tally is the last; none before the first stage.
    pub(crate) fn last_generation(&self) -> Option<u64> {
        self.0.last().map(|stage| stage.since_generation)
    }

    /// The weight in force; none before the first stage.
    pub fn weight(&self) -> Option<Weight> {
        self.0.last().map(|stage| stage.weight)
    }

    /// One number of the answers, for each weight at which there was something to compare with.
    pub fn of(&self, count: fn(&Answers) -> u64) -> Vec<Tally> {
        let compared = self.0.iter().filter(|stage| stage.weight > Weight::NONE && stage.weight < Weight::ALL);
        let tally = |stage: &StageTally| Tally {
            weight: f64::from(stage.weight.basis_points()) / f64::from(Weight::ALL.basis_points()),
            candidate: count(&stage.candidate),
            baseline: count(&stage.baseline),
        };
        compared.map(tally).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_for_the_weight_that_sent_it_and_all_of_it_is_written() {
        let mut tallies = Tallies::default();
        let seen = |generation, outcome| Observation::bare(Variant::Candidate, outcome, generation);
        tallies.add(&seen(1, Outcome::Truncated));
        for (generation, weight) in [(3, 1_000), (5, 3_000), (9, 10_000)] {
            tallies.begin(generation, Weight::from_basis_points(weight).unwrap());
        }
        for (generation, outcome) in
            [(2, Outcome::Ok), (3, Outcome::Ok), (4, Outcome::Truncated), (5, Outcome::UpstreamError), (9, Outcome::Ok)]
        {
            tallies.add(&seen(generation, outcome));
        }
        tallies.add(&seen(5, Outcome::ClientAbort));
        let counts = |count| tallies.of(count).iter().map(|tally| tally.candidate).collect::<Vec<_>>();
        assert_eq!(counts(|answers| answers.counted), [2, 1], "at 100% there is nothing to compare");
        assert_eq!(counts(|answers| answers.failed), [1, 1]);
        assert_eq!(counts(|answers| answers.truncated), [1, 0]);
        assert!((tallies.of(|answers| answers.failed)[1].weight - 0.3).abs() < 1e-12);
        let written = serde_json::to_string(&tallies).unwrap();
        assert_eq!(serde_json::from_str::<Tallies>(&written).unwrap(), tallies);
    }
}
