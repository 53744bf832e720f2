//! How long a rollout will take at a rate of requests, and what it can't tell in that time. Pure.
//!
//! A healthy candidate is assumed: one that is like the baseline and within the gates.

use serde::Serialize;
use spec::amount::{Span, Weight};
use spec::rollout::{Against, Gate, RolloutSpec, Sli};

use crate::judge::{allowed, alpha};
use crate::statistics::log_mean::{LogTimes, slowdown};
use crate::statistics::{answers_until, ln_evidence, ln_limit};

/// How times of language models vary about their geometric mean, as a deviation of logarithms.
const LOG_DEVIATION: f64 = 0.6;
/// Longer than any rollout: what takes longer does not come at all.
const LONGEST_SECONDS: f64 = 10.0 * 365.0 * 86_400.0;

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StageForecast {
    pub weight: Weight,
    /// From this stage's beginning to its end; none if it would not end.
    pub takes: Option<Span>,
    /// What takes the longest of all it waits for.
    pub waits_for: String,
    /// Gates that may let something bad by in this time.
    pub blind: Vec<String>,
}

/// Each stage of a rollout, with so many requests a second for both variants together.
pub fn forecast(spec: &RolloutSpec, requests_a_second: f64) -> Vec<StageForecast> {
    spec.stages.iter().map(|weight| Stage::new(spec, *weight, requests_a_second).forecast()).collect()
}

struct Stage<'a> {
    spec: &'a RolloutSpec,
    weight: Weight,
    /// Answers a second.
    candidate: f64,
    baseline: f64,
}

impl<'a> Stage<'a> {
    fn new(spec: &'a RolloutSpec, weight: Weight, requests_a_second: f64) -> Self {
        let share = f64::from(weight.basis_points()) / f64::from(Weight::ALL.basis_points());
        Self { spec, weight, candidate: share * requests_a_second, baseline: (1.0 - share) * requests_a_second }
    }

    fn forecast(&self) -> StageForecast {
        let least = self.spec.min_requests;
        let mut needs = vec![
            (self.spec.bake.0.as_secs_f64(), format!("bake {}", self.spec.bake)),
            (least as f64 / self.candidate, format!("{least} answers")),
        ];
        needs.extend(self.spec.gates.iter().filter(|gate| !gate.dry_run).filter_map(|gate| self.need(gate)));
        let (seconds, waits_for) =
            needs.into_iter().reduce(|one, other| if other.0 > one.0 { other } else { one }).unwrap_or_default();
        let takes = (seconds <= LONGEST_SECONDS).then(|| Span::seconds(seconds.ceil() as u64));
        let blind = self.spec.gates.iter().filter_map(|gate| self.blind(gate, seconds)).collect();
        StageForecast { weight: self.weight, takes, waits_for, blind }
    }

    /// Seconds until a gate can let a healthy candidate go on, if it needs more than the answers of every stage.
    fn need(&self, gate: &Gate) -> Option<(f64, String)> {
        if gate.against == Against::Slo || self.weight == Weight::ALL {
            return None;
        }
        let least = self.spec.min_requests;
        if !matches!(gate.sli, Sli::Typical(_)) {
            return Some((least as f64 / self.baseline, format!("{gate}: {least} answers of the baseline")));
        }
        let alpha = alpha(self.spec) / self.spec.most_stages() as f64;
        let is_shown = |answers: u64| {
            let theirs = (answers as f64 * self.baseline / self.candidate) as u64;
            let (ours, theirs) = (LogTimes::alike(answers, LOG_DEVIATION), LogTimes::alike(theirs, LOG_DEVIATION));
            slowdown(&ours, &theirs, alpha).is_some_and(|interval| interval.high < gate.threshold)
        };
        Some(match answers_until(is_shown) {
            Some(answers) => (answers as f64 / self.candidate, format!("{gate}: about {answers} answers")),
            None => (f64::INFINITY, format!("{gate}: more answers than can be waited for")),
        })
    }

    /// Why a gate can't tell a candidate with twice the bad answers that are allowed in the stage's time.
    fn blind(&self, gate: &Gate, seconds: f64) -> Option<String> {
        let allowed = allowed(gate).filter(|_| gate.against == Against::Slo)?;
        let limit = ln_limit(alpha(self.spec), self.spec.most_stages());
        let bad = |answers: u64| ((2.0 * allowed).min(1.0) * answers as f64) as u64;
        let answers = answers_until(|answers| ln_evidence(allowed, bad(answers), answers) >= limit);
        let come = (self.candidate * seconds) as u64;
        match answers {
            Some(answers) if answers <= come => None,
            Some(answers) => {
                let text = "answers to roll back a candidate with twice as many bad ones as allowed";
                Some(format!("{gate} needs about {answers} {text}; about {come} come"))
            }
            None => Some(format!("{gate} can't tell twice as many bad answers as allowed from any number of answers")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(gates: &[&str]) -> RolloutSpec {
        let gates = gates.iter().map(|gate| gate.parse().unwrap()).collect();
        RolloutSpec { gates, bake: Span::seconds(600), ..RolloutSpec::default() }
    }

    fn waits(gates: &[&str], requests_a_second: f64) -> Vec<String> {
        forecast(&spec(gates), requests_a_second).into_iter().map(|stage| stage.waits_for).collect()
    }

    #[test]
    fn a_stage_waits_for_what_takes_the_longest() {
        assert_eq!(waits(&["error_ratio<5%"], 100.0), ["bake 10m"; 4]);
        assert_eq!(waits(&["error_ratio<5%"], 0.1), ["20 answers", "20 answers", "bake 10m", "bake 10m"]);
        let beside = waits(&["latency<1.2x"], 1.0);
        assert!(beside[0].starts_with("latency<1.2x: about "), "{}", beside[0]);
        assert_eq!(beside[3], "bake 10m", "at 100% there is nothing to compare with");
        assert_eq!(waits(&["error_ratio<5%", "latency<1.2x dry_run"], 1.0)[0], "bake 10m");
    }

    #[test]
    fn without_requests_it_does_not_end_and_more_take_no_longer() {
        assert!(forecast(&spec(&["error_ratio<5%"]), 0.0).iter().all(|stage| stage.takes.is_none()));
        let takes = |rate| forecast(&spec(&["latency<1.2x"]), rate)[0].takes.unwrap();
        assert!(takes(1.0) > takes(10.0));
    }

    #[test]
    fn a_gate_that_needs_more_answers_than_come_is_told_at_once() {
        let blind = |rate| forecast(&spec(&["error_ratio<0.1%"]), rate)[0].blind.len();
        assert_eq!((blind(1.0), blind(10_000.0)), (1, 0));
    }
}
