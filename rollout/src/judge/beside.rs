//! Gates beside the baseline: failures over all stages so far, times within the stage. Pure.

use spec::amount::Weight;
use spec::rollout::{Fault, Gate, GateReport, Measure, RolloutSpec, Sli, Verdict};

use super::{alpha, e_value, what_is_wrong};
use crate::evidence::Evidence;
use crate::statistics::comparison::{Tally, estimate, ln_evidence_above, ratio_interval, scaled};
use crate::statistics::log_mean::{LEAST, LogTimes, slowdown};
use crate::statistics::{Interval, answers_until, ln_limit};
use crate::tally::Answers;

pub(super) struct Beside<'a> {
    pub spec: &'a RolloutSpec,
    pub evidence: &'a Evidence,
    pub gate: &'a Gate,
}

/// What a gate says so far: its value, verdict and sentence.
type Said = (Option<f64>, Verdict, String);

impl Beside<'_> {
    pub fn judge(&self) -> GateReport {
        let (observed, verdict, reason) = match self.gate.sli {
            Sli::Typical(measure) | Sli::Quantile(measure, _) => self.typical(measure),
            Sli::Ratio(Fault::Truncated) => self.faults(Fault::Truncated, |answers| answers.truncated),
            Sli::Ratio(Fault::Blocked) => self.faults(Fault::Blocked, |answers| answers.blocked),
            Sli::Ratio(Fault::Refused) => self.faults(Fault::Refused, |answers| answers.refused),
            Sli::Ratio(Fault::Failed) | Sli::Scrape(_) => self.faults(Fault::Failed, |answers| answers.failed),
        };
        let (gate, samples) = (self.gate.clone(), self.evidence.candidate.counted);
        let reason = format!("{gate}: {reason}");
        GateReport { gate, samples, observed, verdict, reason }
    }

    /// What can't be judged now: without answers, with few, or with nothing to hold them against.
    fn few(&self) -> Option<String> {
        let (candidate, baseline) = (self.evidence.candidate.counted, self.evidence.baseline.counted);
        let least = self.spec.min_requests;
        if candidate == 0 || self.evidence.tallies.weight().is_none() {
            Some("no data".to_owned())
        } else if candidate < least {
            Some(format!("{candidate} of {least} answers"))
        } else if baseline < least && !self.is_alone() {
            Some(format!("{baseline} of {least} answers of the baseline"))
        } else {
            None
        }
    }

    /// At 100% there is no baseline; what came so far had passed at each stage before.
    fn is_alone(&self) -> bool {
        self.evidence.tallies.weight() == Some(Weight::ALL)
    }

    fn faults(&self, fault: Fault, count: fn(&Answers) -> u64) -> Said {
        let (ratio, what) = (self.gate.threshold, what_is_wrong(fault));
        let tallies = self.evidence.tallies.of(count);
        let total: fn(&Answers) -> u64 = match fault {
            Fault::Blocked => |answers| answers.counted + answers.blocked,
            Fault::Failed | Fault::Truncated | Fault::Refused => |answers| answers.counted,
        };
        let totals = self.evidence.tallies.of(total);
        // Each step back begins the tallies anew, and each beginning is a further chance to err.
        let ln_limit = ln_limit(alpha(self.spec), 1 + self.spec.most_step_backs());
        let ln_evidence = ln_evidence_above(ratio, &tallies);
        let (seen, estimate) = (seen(what, &tallies, &totals), estimate(&tallies));
        let (verdict, reason) = if ln_evidence >= ln_limit {
            let (evidence, limit) = (e_value(ln_evidence), e_value(ln_limit));
            (Verdict::RollBack, format!("{seen}; the evidence against it is {evidence}, the limit {limit}"))
        } else if let Some(few) = self.few() {
            (Verdict::Hold, format!("{seen}; {few}"))
        } else if estimate.is_none_or(|estimate| estimate <= ratio) {
            (Verdict::Promote, format!("{seen}{}", between(&ratio_interval(&tallies, ln_limit))))
        } else {
            let between = between(&ratio_interval(&tallies, ln_limit));
            (Verdict::Hold, format!("{seen}{between}; {}", until_refuted(ratio, &tallies, &totals, ln_limit)))
        };
        (estimate, verdict, reason)
    }

    fn typical(&self, measure: Measure) -> Said {
        let Evidence { candidate, baseline, .. } = self.evidence;
        let (candidate, baseline) = (candidate.typical(measure), baseline.typical(measure));
        let ratio = self.gate.threshold;
        // A stage starts anew: times of different weights are of different hours and can't be thrown together.
        let alpha = alpha(self.spec) / self.spec.most_stages() as f64;
        let few = self.few();
        if few.is_none() && self.is_alone() {
            return (None, Verdict::Promote, "at 100% there is no baseline; it passed at each stage before".to_owned());
        }
        let Some(interval) = slowdown(candidate, baseline, alpha) else {
            let (ours, theirs) = (candidate.count, baseline.count);
            let good = match measure {
                Measure::FirstToken | Measure::Latency => "good answers",
                Measure::PerToken => "good streams that say their tokens",
                Measure::Cost => "good answers with a known cost",
            };
            let reason = format!("{ours} {good} and {theirs} of the baseline; each needs {LEAST} to be compared");
            return (None, Verdict::Hold, few.unwrap_or(reason));
        };
        let estimate = candidate.times_as_long(baseline);
        let seen = format!("the answers {} the baseline's{}", times_as(measure, estimate), between(&interval));
        let (verdict, reason) = if interval.low > ratio {
            (Verdict::RollBack, seen)
        } else if let Some(few) = few {
            (Verdict::Hold, format!("{seen}; {few}"))
        } else if interval.high < ratio {
            (Verdict::Promote, seen)
        } else {
            (Verdict::Hold, format!("{seen}; {}", until_decided(candidate, baseline, ratio, alpha)))
        };
        (Some(estimate), verdict, reason)
    }
}

fn times_as(measure: Measure, estimate: f64) -> String {
    match measure {
        Measure::FirstToken => format!("took {estimate:.2} times as long to their first byte as"),
        Measure::Latency => format!("took {estimate:.2} times as long in all as"),
        Measure::PerToken => format!("took {estimate:.2} times as long per token as"),
        Measure::Cost => format!("cost {estimate:.2} times as much as"),
    }
}

fn seen(what: &str, tallies: &[Tally], totals: &[Tally]) -> String {
    let sum = |tallies: &[Tally], of: fn(&Tally) -> u64| tallies.iter().map(of).sum::<u64>();
    let (bad, total) = (sum(tallies, |tally| tally.candidate), sum(totals, |tally| tally.candidate));
    let (their_bad, their_total) = (sum(tallies, |tally| tally.baseline), sum(totals, |tally| tally.baseline));
    format!("{bad} of {total} answers {what}, {their_bad} of {their_total} of the baseline, in all stages so far")
}

fn between(interval: &Interval) -> String {
    format!(" (the truth lies between {:.2} and {:.2} times the baseline's)", interval.low, interval.high)
}

fn until_refuted(ratio: f64, tallies: &[Tally], totals: &[Tally], ln_limit: f64) -> String {
    let answers = totals.iter().map(|tally| tally.candidate).sum::<u64>().max(1);
    let is_refuted = |more: u64| {
        let factor = 1.0 + more as f64 / answers as f64;
        ln_evidence_above(ratio, &scaled(tallies, factor)) >= ln_limit
    };
    match answers_until(is_refuted) {
        Some(more) => format!("about {more} more like these roll back"),
        None => "more like these do not decide".to_owned(),
    }
}

fn until_decided(candidate: &LogTimes, baseline: &LogTimes, ratio: f64, alpha: f64) -> String {
    let is_decided = |more: u64| {
        let factor = 1.0 + more as f64 / candidate.count.max(1) as f64;
        slowdown(&candidate.scaled(factor), &baseline.scaled(factor), alpha)
            .is_some_and(|interval| interval.low > ratio || interval.high < ratio)
    };
    match answers_until(is_decided) {
        Some(more) => format!("about {more} more like these decide"),
        None => "more like these do not decide".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::judge_all;
    use super::*;
    use crate::ports::{Observation, Outcome};
    use spec::id::Variant;

    struct Scene {
        spec: RolloutSpec,
        evidence: Evidence,
        generation: u64,
    }

    impl Scene {
        fn new(gate: &str) -> Self {
            let spec = RolloutSpec { gates: vec![gate.parse().unwrap()], ..RolloutSpec::default() };
            let mut scene = Self { evidence: Evidence::new(&spec.gates, 0), spec, generation: 0 };
            scene.stage(1_000);
            scene
        }

        fn stage(&mut self, weight: u32) {
            self.generation += 1;
            self.evidence = self.evidence.next_stage(&self.spec.gates, self.generation);
            let weight = Weight::from_basis_points(weight.try_into().unwrap()).unwrap();
            self.evidence.tallies.begin(self.generation, weight);
        }

        fn answers(&mut self, variant: Variant, count: u64, outcome: Outcome, millis: u64) {
            for at in 0..count {
                // A fifth more and less in turns, so that times have a variance.
                let duration = Duration::from_millis(if at % 2 == 0 { millis * 4 / 5 } else { millis * 6 / 5 });
                let time_to_first_token = Some(duration / 2);
                let bare = Observation::bare(variant, outcome, self.generation);
                let (stream_tokens, dollars) = (Some(11), Some(duration.as_secs_f64() / 100.0));
                let seen = Observation { time_to_first_token, duration, stream_tokens, dollars, ..bare };
                self.evidence.add(&self.spec.gates, &seen);
            }
        }

        fn judge(&self) -> (Verdict, String) {
            let report = judge_all(&self.spec, &self.evidence).remove(0);
            (report.verdict, report.reason)
        }
    }

    #[test]
    fn failures_are_held_against_the_baselines_and_carried_through_the_stages() {
        let mut scene = Scene::new("error_ratio<1.5x");
        assert_eq!(scene.judge().0, Verdict::Hold);
        assert!(scene.judge().1.ends_with("no data"), "{}", scene.judge().1);
        scene.answers(Variant::Candidate, 100, Outcome::Ok, 100);
        let (verdict, reason) = scene.judge();
        assert_eq!(verdict, Verdict::Hold, "without a baseline nothing is no worse: {reason}");
        assert!(reason.ends_with("0 of 20 answers of the baseline"), "{reason}");
        scene.answers(Variant::Baseline, 900, Outcome::Ok, 100);
        assert_eq!(scene.judge().0, Verdict::Promote);
        for (failures, verdict) in [(2, Verdict::Hold), (2, Verdict::RollBack)] {
            scene.answers(Variant::Candidate, failures, Outcome::UpstreamError, 100);
            assert_eq!(scene.judge().0, verdict, "{}", scene.judge().1);
        }
        scene.stage(3_000);
        assert_eq!(scene.judge().0, Verdict::RollBack, "evidence is carried");
    }

    #[test]
    fn blocks_are_held_against_the_baselines_too() {
        let mut scene = Scene::new("blocked_ratio<2x");
        scene.answers(Variant::Candidate, 100, Outcome::Ok, 100);
        scene.answers(Variant::Baseline, 900, Outcome::Ok, 100);
        scene.answers(Variant::Baseline, 9, Outcome::Blocked, 100);
        assert_eq!(scene.judge().0, Verdict::Promote, "{}", scene.judge().1);
        scene.answers(Variant::Candidate, 20, Outcome::Blocked, 100);
        let (verdict, reason) = scene.judge();
        assert_eq!(verdict, Verdict::RollBack, "{reason}");
        assert!(reason.contains("20 of 120 answers were blocked by a guard, 9 of 909 of the baseline"), "{reason}");
    }

    #[test]
    fn a_bad_hour_of_both_speaks_against_none() {
        let mut scene = Scene::new("error_ratio<1.5x");
        scene.answers(Variant::Candidate, 50, Outcome::UpstreamError, 100);
        scene.answers(Variant::Candidate, 50, Outcome::Ok, 100);
        scene.answers(Variant::Baseline, 450, Outcome::UpstreamError, 100);
        scene.answers(Variant::Baseline, 450, Outcome::Ok, 100);
        let (verdict, reason) = scene.judge();
        assert_eq!(verdict, Verdict::Promote, "{reason}");
        assert!(reason.contains("50 of 100 answers failed, 450 of 900 of the baseline"), "{reason}");
    }

    #[test]
    fn times_hold_until_they_are_shown_to_be_within_the_bound() {
        let mut scene = Scene::new("latency<1.2x");
        scene.answers(Variant::Candidate, 25, Outcome::Ok, 100);
        scene.answers(Variant::Baseline, 225, Outcome::Ok, 100);
        assert_eq!(scene.judge().0, Verdict::Hold);
        assert!(scene.judge().1.contains("each needs 30"), "{}", scene.judge().1);
        scene.answers(Variant::Candidate, 15, Outcome::Ok, 100);
        assert!(scene.judge().1.contains("more like these decide"), "{}", scene.judge().1);
        scene.answers(Variant::Candidate, 960, Outcome::Ok, 100);
        scene.answers(Variant::Baseline, 2_000, Outcome::Ok, 100);
        assert_eq!(scene.judge().0, Verdict::Promote, "{}", scene.judge().1);
        scene.stage(10_000);
        assert_eq!(scene.judge().0, Verdict::Hold, "no data is never a pass");
        scene.answers(Variant::Candidate, 20, Outcome::Ok, 100);
        assert_eq!(scene.judge().0, Verdict::Promote, "{}", scene.judge().1);
    }

    #[test]
    fn a_slow_candidate_is_rolled_back_or_held_as_the_gate_says() {
        for (gate, verdict) in [
            ("ttft<1.2x", Verdict::RollBack),
            ("ttft<1.2x on_fail=hold", Verdict::Hold),
            ("ttft<1.2x on_fail=step_back", Verdict::StepBack),
            ("tpot<1.2x", Verdict::RollBack),
            ("cost<1.2x", Verdict::RollBack),
        ] {
            let mut scene = Scene::new(gate);
            scene.answers(Variant::Candidate, 200, Outcome::Ok, 200);
            scene.answers(Variant::Baseline, 1_800, Outcome::Ok, 100);
            assert_eq!(scene.judge().0, verdict, "{}", scene.judge().1);
        }
    }
}
