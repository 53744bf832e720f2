//! What a rollout's rules would have decided of requests that were recorded: the same evidence, the same `decide`. Pure.
//!
//! The recorded split stays what it was, whatever stage is played: what is tested are gates and times, not load. Each
//! recorded route table's weight is read off its own requests.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use spec::amount::{Span, Weight};
use spec::id::Variant;
use spec::rollout::{RolloutSpec, Verdict};

use crate::decide::{Decision, Situation, decide};
use crate::evidence::Evidence;
use crate::machine::{Move, Position};
use crate::recorded::Recorded;

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Backtest {
    pub steps: Vec<Step>,
    /// What the last look at the last record said; over if that promoted the last stage or rolled back.
    pub verdict: Verdict,
    pub reason: String,
    /// The weight that it ends with.
    pub weight: Weight,
}

/// A look that changed something.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    pub at: Timestamp,
    pub verdict: Verdict,
    /// In force until then.
    pub weight: Weight,
    /// The candidate's counted answers of the stage.
    pub answers: u64,
    pub reason: String,
}

/// Looks as often as the spec's ticks, where anything was recorded between two.
pub fn backtest(spec: &RolloutSpec, records: &[Recorded]) -> Backtest {
    let mut play = Play::begin(spec, records);
    let mut rest = records;
    while let Some(first) = rest.first().filter(|_| !play.position.phase.is_over()) {
        let until = first.at.checked_add(spec.tick.0).unwrap_or(Timestamp::MAX);
        let (tick, later) = rest.split_at(rest.partition_point(|recorded| recorded.at <= until));
        tick.iter().for_each(|recorded| play.see(recorded));
        play.look(tick.last().map_or(until, |recorded| recorded.at));
        rest = later;
    }
    play.end()
}

struct Play<'a> {
    spec: &'a RolloutSpec,
    /// Of each recorded generation.
    weights: BTreeMap<u64, Weight>,
    position: Position,
    since: Timestamp,
    step_backs: u32,
    evidence: Evidence,
    decision: Decision,
    steps: Vec<Step>,
}

impl<'a> Play<'a> {
    fn begin(spec: &'a RolloutSpec, records: &[Recorded]) -> Self {
        let first = records.first().map(|recorded| recorded.seen.generation).unwrap_or_default();
        let mut play = Self {
            spec,
            weights: weights(records),
            position: Position::first(0),
            since: records.first().map_or(Timestamp::UNIX_EPOCH, |recorded| recorded.at),
            step_backs: 0,
            evidence: Evidence::new(&spec.gates, first).next_stage(&spec.gates, first),
            decision: Decision::hold("nothing was recorded"),
            steps: Vec::new(),
        };
        play.tally(first);
        play
    }

    fn tally(&mut self, generation: u64) {
        let weight = self.weights.get(&generation).copied().unwrap_or(Weight::NONE);
        self.evidence.tallies.begin(generation, weight);
    }

    fn see(&mut self, recorded: &Recorded) {
        let generation = recorded.seen.generation;
        if self.evidence.tallies.last_generation().is_none_or(|last| last < generation) {
            self.tally(generation);
        }
        self.evidence.add(&self.spec.gates, &recorded.seen);
    }

    fn look(&mut self, now: Timestamp) {
        let Self { spec, position, since, step_backs, .. } = *self;
        let (stage_since, waiting_since, is_approved) = (since, since, true);
        let evidence = &self.evidence;
        self.decision =
            decide(&Situation { spec, position, stage_since, step_backs, waiting_since, is_approved, evidence, now });
        let asked = match self.decision.verdict {
            Verdict::Hold => return,
            Verdict::Promote => Move::Promote,
            Verdict::StepBack => Move::StepBack,
            Verdict::RollBack => Move::RollBack,
        };
        self.steps.push(Step {
            at: now,
            verdict: self.decision.verdict,
            weight: position.weight(spec),
            answers: self.evidence.candidate.counted,
            reason: self.decision.reason.clone(),
        });
        if let Ok(after) = position.after(asked, spec.stages.len()) {
            (self.position, self.since) = (after, now);
            self.next_stage(asked);
        }
    }

    /// The same generations go on: what is recorded later is of the next stage.
    fn next_stage(&mut self, asked: Move) {
        let generation = self.evidence.tallies.last_generation().unwrap_or_default();
        let gates = &self.spec.gates;
        if asked == Move::StepBack {
            self.step_backs += 1;
            self.evidence = self.evidence.step_back(gates, generation);
            self.tally(generation);
        } else {
            self.evidence = self.evidence.next_stage(gates, generation);
        }
    }

    fn end(self) -> Backtest {
        let Decision { verdict, reason, .. } = self.decision;
        Backtest { steps: self.steps, verdict, reason, weight: self.position.weight(self.spec) }
    }
}

fn weights(records: &[Recorded]) -> BTreeMap<u64, Weight> {
    let mut counts: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    for Recorded { seen, .. } in records.iter().filter(|recorded| !recorded.seen.is_fallback) {
        let (candidate, all) = counts.entry(seen.generation).or_default();
        *candidate += u64::from(seen.variant == Variant::Candidate);
        *all += 1;
    }
    let share = |(candidate, all): (u64, u64)| u16::try_from(candidate * 10_000 / all.max(1)).unwrap_or(10_000);
    let weight = |counts| Weight::from_basis_points(share(counts)).unwrap_or(Weight::NONE);
    counts.into_iter().map(|(generation, counts)| (generation, weight(counts))).collect()
}

/// How long the records last.
pub fn span(records: &[Recorded]) -> Span {
    let ends = records.first().zip(records.last());
    Span(ends.and_then(|(first, last)| last.at.duration_since(first.at).try_into().ok()).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::{Observation, Outcome};

    fn spec(gate: &str) -> RolloutSpec {
        let gates = vec![gate.parse().unwrap()];
        RolloutSpec { gates, bake: Span::seconds(60), consecutive_failures: 1_000, ..RolloutSpec::default() }
    }

    /// Ten requests a second, three of them the candidate's, whose first byte takes so many milliseconds.
    fn records(seconds: i64, outcome: fn(i64) -> Outcome, millis: u64) -> Vec<Recorded> {
        let one = |(second, at): (i64, i64)| {
            let variant = if at < 3 { Variant::Candidate } else { Variant::Baseline };
            let is_candidate = variant == Variant::Candidate;
            let time = Duration::from_millis(if is_candidate { millis } else { 100 } + (second % 7) as u64);
            let outcome = if is_candidate { outcome(second) } else { Outcome::Ok };
            let bare = Observation::bare(variant, outcome, 4);
            let seen = Observation { time_to_first_token: Some(time), duration: time, ..bare };
            Recorded { at: Timestamp::from_second(1_000_000 + second).unwrap(), seen }
        };
        (0..seconds).flat_map(|second| (0..10).map(move |at| (second, at))).map(one).collect()
    }

    fn verdicts(backtest: &Backtest) -> Vec<Verdict> {
        backtest.steps.iter().map(|step| step.verdict).collect()
    }

    #[test]
    fn healthy_records_are_promoted_as_far_as_they_last() {
        let (healthy, gate): (fn(i64) -> Outcome, _) = (|_| Outcome::Ok, "error_ratio<5%");
        let enough = backtest(&spec(gate), &records(400, healthy, 100));
        assert_eq!((verdicts(&enough), enough.weight), (vec![Verdict::Promote; 4], Weight::ALL));
        let short = backtest(&spec(gate), &records(100, healthy, 100));
        assert_eq!((verdicts(&short), short.weight.to_string()), (vec![Verdict::Promote], "30%".to_owned()));
        assert!(short.reason.contains("bake"), "{}", short.reason);
        let none = backtest(&spec(gate), &[]);
        assert_eq!((none.verdict, none.reason.as_str()), (Verdict::Hold, "nothing was recorded"));
    }

    #[test]
    fn what_the_gates_would_have_caught_is_told_with_its_time() {
        let failing: fn(i64) -> Outcome = |second| if second < 90 { Outcome::Ok } else { Outcome::UpstreamError };
        for gate in ["error_ratio<5%", "error_ratio<1.5x"] {
            let caught = backtest(&spec(gate), &records(400, failing, 100));
            assert_eq!(verdicts(&caught), [Verdict::Promote, Verdict::RollBack], "{}", caught.reason);
            assert!((1_000_090..1_000_100).contains(&caught.steps[1].at.as_second()), "{}", caught.steps[1].at);
            assert_eq!(caught.weight, Weight::NONE);
        }
        let slow = backtest(&spec("ttft<1.2x"), &records(400, |_| Outcome::Ok, 200));
        assert_eq!((verdicts(&slow), slow.verdict), (vec![Verdict::RollBack], Verdict::RollBack), "{}", slow.reason);
        let back = backtest(&spec("error_ratio<5% on_fail=step_back"), &records(400, failing, 100));
        assert_eq!(verdicts(&back), [Verdict::Promote, Verdict::StepBack, Verdict::RollBack], "{}", back.reason);
    }
}
