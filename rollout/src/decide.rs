//! From what is known to a verdict with a sentence. Pure.
//!
//! What rolls back is looked at first, then what steps back, a promotion needs everything, the rest holds.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use spec::amount::Span;
use spec::rollout::{GateReport, RolloutPhase, RolloutSpec, Verdict};

use crate::evidence::Evidence;
use crate::judge::judge_all;
use crate::machine::Position;
use crate::replay::Rollout;
use crate::statistics::ln_limit;
use crate::statistics::sample_ratio::ln_evidence_misrouted;

/// All that a decision depends on.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'a> {
    pub spec: &'a RolloutSpec,
    pub position: Position,
    pub stage_since: Timestamp,
    /// How often it went back to the stage before so far.
    pub step_backs: u32,
    /// Since when the longest time of a stage counts: its beginning, or when it was resumed.
    pub waiting_since: Timestamp,
    /// Somebody let the next stage begin.
    pub is_approved: bool,
    pub evidence: &'a Evidence,
    pub now: Timestamp,
}

impl<'a> Situation<'a> {
    pub(crate) fn of(rollout: &'a Rollout, now: Timestamp) -> Self {
        Self {
            spec: &rollout.spec,
            position: rollout.position,
            stage_since: rollout.stage_since,
            step_backs: rollout.step_backs,
            waiting_since: rollout.waiting_since,
            is_approved: rollout.is_approved(),
            evidence: &rollout.evidence,
            now,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    pub verdict: Verdict,
    /// One sentence with the numbers.
    pub reason: String,
    pub gates: Vec<GateReport>,
}

impl Decision {
    pub fn hold(reason: impl Into<String>) -> Self {
        Self { verdict: Verdict::Hold, reason: reason.into(), gates: Vec::new() }
    }
}

pub fn decide(situation: &Situation<'_>) -> Decision {
    let gates = judge_all(situation.spec, situation.evidence);
    let failure = why_roll_back(situation, &gates)
        .map(|reason| (Verdict::RollBack, reason))
        .or_else(|| step_back(situation, &gates));
    let mut lacks = what_lacks(situation, &gates);
    lacks.extend(what_forbids(situation));
    let (verdict, reason) = match (situation.position.phase, failure) {
        (RolloutPhase::Baking | RolloutPhase::Paused, Some(failed)) => failed,
        (RolloutPhase::Baking, None) if lacks.is_empty() => (Verdict::Promote, all_passed(situation, &gates)),
        (RolloutPhase::Baking, None) => (Verdict::Hold, format!("waits for {}", lacks.join(", "))),
        (RolloutPhase::Paused, None) => (Verdict::Hold, paused(situation, &lacks)),
        (RolloutPhase::Promoted | RolloutPhase::RolledBack | RolloutPhase::Aborted, _) => {
            (Verdict::Hold, "the rollout is over".to_owned())
        }
    };
    Decision { verdict, reason, gates }
}

fn why_roll_back(situation: &Situation<'_>, gates: &[GateReport]) -> Option<String> {
    let Situation { spec, evidence, .. } = situation;
    let limit = spec.consecutive_failures;
    if let Some(gate) = gates.iter().find(|gate| !gate.gate.dry_run && gate.verdict == Verdict::RollBack) {
        return Some(gate.reason.clone());
    }
    let failures = evidence.candidate.failures_in_a_row;
    if failures >= limit {
        return Some(format!("{failures} answers of the candidate failed in a row (limit {limit})"));
    }
    let probe = &evidence.probe;
    if probe.failures_in_a_row >= limit {
        let (failures, last) = (probe.failures_in_a_row, probe.last_failure.as_deref().unwrap_or_default());
        return Some(format!("{failures} probes of the candidate failed in a row (limit {limit}), the last: {last}"));
    }
    None
}

/// Back to the stage before if a gate asks for that; all the way where there is none, or not once more.
fn step_back(situation: &Situation<'_>, gates: &[GateReport]) -> Option<(Verdict, String)> {
    let Situation { spec, position, step_backs, .. } = situation;
    let failed = gates.iter().find(|gate| !gate.gate.dry_run && gate.verdict == Verdict::StepBack)?;
    let (reason, most) = (&failed.reason, spec.max_step_backs);
    Some(match position.stage.checked_sub(1).and_then(|before| spec.stages.get(before)) {
        None => (Verdict::RollBack, format!("{reason}; there is no stage before to step back to")),
        Some(_) if *step_backs >= most => {
            (Verdict::RollBack, format!("{reason}; it stepped back {step_backs} of {most} times already"))
        }
        Some(weight) => {
            (Verdict::StepBack, format!("{reason}; back to {weight}, the {}. of {most} times", step_backs + 1))
        }
    })
}

/// What a promotion still needs; empty if nothing.
fn what_lacks(situation: &Situation<'_>, gates: &[GateReport]) -> Vec<String> {
    let Situation { spec, evidence, .. } = situation;
    let mut lacks = Vec::new();
    let held = held_for(situation);
    if held < spec.bake {
        lacks.push(format!("bake {} of {}", Span::seconds(held.0.as_secs()), spec.bake));
    }
    let answers = evidence.candidate.counted;
    let is_short = answers < spec.min_requests;
    if is_short {
        lacks.push(format!("{answers} of {} answers", spec.min_requests));
    }
    if let Some(failure) = &evidence.probe.last_failure {
        lacks.push(format!("a good probe of the candidate ({failure})"));
    }
    lacks.extend(wrong_split(situation));
    // While answers are too few, what each gate would say of them is no news.
    let is_news = |gate: &&GateReport| {
        !gate.gate.dry_run && gate.verdict != Verdict::Promote && !(is_short && is_of_answers(gate))
    };
    lacks.extend(gates.iter().filter(is_news).map(|gate| gate.reason.clone()));
    lacks
}

/// What people said of the time to go on.
fn what_forbids(situation: &Situation<'_>) -> impl Iterator<Item = String> {
    let Situation { spec, position, now, is_approved, .. } = situation;
    let approval = position.needs_approval(spec).filter(|_| !is_approved);
    let approval = approval.map(|weight| format!("somebody's approval of {weight} (dsctl rollout approve)"));
    let lockout = spec.locked_out_by(*now).map(|lockout| format!("the end of the lockout {lockout}"));
    approval.into_iter().chain(lockout)
}

/// Why a stage is to be paused: its longest time is over, and it is not for people that it waits.
pub fn baked_too_long(situation: &Situation<'_>, decision: &Decision) -> Option<String> {
    let most = is_too_long(situation)?;
    let is_waiting = situation.position.phase == RolloutPhase::Baking && decision.verdict == Verdict::Hold;
    let lacks = what_lacks(situation, &decision.gates);
    (is_waiting && !lacks.is_empty()).then(|| format!("not passed within {most}: it waited for {}", lacks.join(", ")))
}

fn is_too_long(situation: &Situation<'_>) -> Option<Span> {
    let waited = Span(situation.now.duration_since(situation.waiting_since).try_into().unwrap_or_default());
    situation.spec.max_bake.filter(|most| waited >= *most)
}

fn paused(situation: &Situation<'_>, lacks: &[String]) -> String {
    let why = match is_too_long(situation) {
        Some(most) => format!("paused, and not passed within {most}: resume bakes on"),
        None => "paused".to_owned(),
    };
    match lacks {
        [] => format!("{why}; nothing else is waited for"),
        lacks => format!("{why}; would wait for {}", lacks.join(", ")),
    }
}

/// Evidence that is asked for before the split is doubted, as one chance in so many.
const SPLIT_DOUBTED_AT: f64 = 1_000.0;

/// A split that isn't the weights' means that the answers are no fair sample: then nothing else may be believed. While
/// answers of one variant take much longer, those still under way look like it too, until they come to their end.
fn wrong_split(situation: &Situation<'_>) -> Option<String> {
    let drawn = situation.evidence.tallies.of(|answers| answers.drawn);
    let ln_limit = ln_limit(1.0 / SPLIT_DOUBTED_AT, 1 + situation.spec.most_step_backs());
    if ln_evidence_misrouted(&drawn) < ln_limit {
        return None;
    }
    let came: u64 = drawn.iter().map(|tally| tally.candidate).sum();
    let all: u64 = drawn.iter().map(|tally| tally.candidate + tally.baseline).sum();
    let due: f64 = drawn.iter().map(|tally| tally.weight * (tally.candidate + tally.baseline) as f64).sum();
    Some(format!(
        "requests to be split as the weights say ({came} of {all} without a session came from the candidate, where \
         about {due:.0} should have)"
    ))
}

const fn is_of_answers(report: &GateReport) -> bool {
    !matches!(report.gate.sli, spec::rollout::Sli::Scrape(_))
}

fn all_passed(situation: &Situation<'_>, gates: &[GateReport]) -> String {
    let weight = situation.position.weight(situation.spec);
    let reasons: Vec<&str> = gates.iter().filter(|gate| !gate.gate.dry_run).map(|gate| gate.reason.as_str()).collect();
    let held = Span::seconds(held_for(situation).0.as_secs());
    format!("held {weight} for {held}; {}", reasons.join("; "))
}

/// A clock that was set back makes it zero, which holds.
fn held_for(situation: &Situation<'_>) -> Span {
    let held = situation.now.duration_since(situation.stage_since);
    Span(held.try_into().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::ToSpan;
    use proptest::prelude::*;
    use spec::id::Variant;

    use super::*;
    use crate::ports::{Observation, Outcome};

    fn spec() -> RolloutSpec {
        RolloutSpec { bake: Span::seconds(30), ..RolloutSpec::default() }
    }

    struct Scene {
        spec: RolloutSpec,
        position: Position,
        evidence: Evidence,
        held_for: i64,
        step_backs: u32,
        is_approved: bool,
    }

    impl Scene {
        fn new(good: usize, failed: usize) -> Self {
            let spec = spec();
            let mut scene = Self {
                evidence: Evidence::new(&spec.gates, 1),
                position: Position::first(0),
                spec,
                held_for: 30,
                step_backs: 0,
                is_approved: false,
            };
            scene.answers(good, Outcome::Ok);
            scene.answers(failed, Outcome::UpstreamError);
            scene
        }

        fn answers(&mut self, count: usize, outcome: Outcome) {
            for _ in 0..count {
                let seen = Observation {
                    time_to_first_token: outcome.is_counted().then_some(Duration::from_millis(50)),
                    duration: Duration::from_millis(90),
                    ..Observation::bare(Variant::Candidate, outcome, 1)
                };
                self.evidence.add(&self.spec.gates, &seen);
            }
        }

        fn decide(&self) -> Decision {
            let stage_since = Timestamp::UNIX_EPOCH;
            let now = stage_since + self.held_for.seconds();
            decide(&self.situation(stage_since, now))
        }

        fn situation(&self, stage_since: Timestamp, now: Timestamp) -> Situation<'_> {
            let Self { spec, position, evidence, step_backs, is_approved, .. } = self;
            Situation {
                spec,
                position: *position,
                stage_since,
                step_backs: *step_backs,
                waiting_since: stage_since,
                is_approved: *is_approved,
                evidence,
                now,
            }
        }

        fn verdict(&self) -> (Verdict, String) {
            let decision = self.decide();
            (decision.verdict, decision.reason)
        }
    }

    #[test]
    fn it_holds_saying_what_it_waits_for() {
        let mut scene = Scene::new(12, 0);
        scene.held_for = 14;
        assert_eq!(scene.verdict(), (Verdict::Hold, "waits for bake 14s of 30s, 12 of 20 answers".to_owned()));
        scene.held_for = 30;
        assert_eq!(scene.verdict(), (Verdict::Hold, "waits for 12 of 20 answers".to_owned()));
        scene.answers(8, Outcome::Ok);
        scene.evidence.add_probe(Err("connection refused".to_owned()));
        let waits = "waits for a good probe of the candidate (connection refused)";
        assert_eq!(scene.verdict(), (Verdict::Hold, waits.to_owned()));
        scene.evidence.add_probe(Ok(()));
        assert_eq!(scene.verdict().0, Verdict::Promote);
        assert!(scene.verdict().1.starts_with("held 10% for 30s; error_ratio<5%: 0 of 20 answers failed (0%); "));
    }

    #[test]
    fn no_data_neither_promotes_nor_rolls_back_however_long() {
        let mut scene = Scene::new(0, 0);
        scene.held_for = 1_000_000;
        assert_eq!(scene.verdict(), (Verdict::Hold, "waits for 0 of 20 answers".to_owned()));
        scene.answers(500, Outcome::ClientAbort);
        scene.answers(500, Outcome::ClientError);
        assert_eq!(scene.verdict(), (Verdict::Hold, "waits for 0 of 20 answers".to_owned()));
    }

    #[test]
    fn failures_in_a_row_roll_back_without_statistics() {
        let mut scene = Scene::new(2_000, 4);
        assert_eq!(scene.verdict().0, Verdict::Promote, "4 of 2004 is well below 5%");
        scene.answers(1, Outcome::Truncated);
        let reason = "5 answers of the candidate failed in a row (limit 5)";
        assert_eq!(scene.verdict(), (Verdict::RollBack, reason.to_owned()));

        let mut scene = Scene::new(0, 0);
        for _ in 0..5 {
            assert_eq!(scene.verdict().0, Verdict::Hold);
            scene.evidence.add_probe(Err("refused".to_owned()));
        }
        let reason = "5 probes of the candidate failed in a row (limit 5), the last: refused";
        assert_eq!(scene.verdict(), (Verdict::RollBack, reason.to_owned()));
    }

    #[test]
    fn what_passed_waits_for_its_approval_and_the_end_of_a_lockout_and_is_still_rolled_back() {
        let mut scene = Scene::new(100, 0);
        scene.spec.approve_before = vec!["30%".parse().unwrap()];
        // The epoch was a Thursday.
        scene.spec.lockout = vec!["Thu 00:00-Thu 01:00 UTC".parse().unwrap()];
        let (both, lockout) = ("somebody's approval of 30%", "the end of the lockout Thu 00:00-Thu 01:00 UTC");
        assert!(scene.verdict().1.contains(both) && scene.verdict().1.ends_with(lockout), "{}", scene.verdict().1);
        scene.is_approved = true;
        assert_eq!(scene.verdict(), (Verdict::Hold, format!("waits for {lockout}")));
        scene.held_for = 3_600;
        assert_eq!(scene.verdict().0, Verdict::Promote);
        (scene.is_approved, scene.held_for) = (false, 30);
        scene.answers(5, Outcome::UpstreamError);
        assert_eq!(scene.verdict().0, Verdict::RollBack);
    }

    #[test]
    fn a_stage_that_is_not_passed_in_its_time_is_paused_unless_it_waits_for_people() {
        let too_long = |scene: &Scene| {
            let (since, now) = (Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH + scene.held_for.seconds());
            baked_too_long(&scene.situation(since, now), &scene.decide())
        };
        let mut scene = Scene::new(12, 0);
        scene.spec.max_bake = Some(Span::seconds(60));
        assert_eq!(too_long(&scene), None);
        scene.held_for = 60;
        assert_eq!(too_long(&scene).unwrap(), "not passed within 1m: it waited for 12 of 20 answers");
        scene.position.phase = RolloutPhase::Paused;
        assert_eq!(too_long(&scene), None);
        assert!(scene.verdict().1.starts_with("paused, and not passed within 1m: resume bakes on; would wait"));
        scene.position.phase = RolloutPhase::Baking;
        scene.spec.approve_before = vec!["30%".parse().unwrap()];
        scene.answers(8, Outcome::Ok);
        assert_eq!(too_long(&scene), None, "it waits for somebody");
    }

    #[test]
    fn a_split_that_is_not_the_weights_holds_by_name_and_rolls_nothing_back() {
        for (candidates, is_doubted) in [(100, false), (130, false), (300, true), (5, true)] {
            let mut scene = Scene::new(100, 0);
            scene.evidence.tallies.begin(1, "10%".parse().unwrap());
            for at in 0..1_000 {
                let variant = if at < candidates { Variant::Candidate } else { Variant::Baseline };
                let seen = Observation { is_drawn: true, ..Observation::bare(variant, Outcome::ClientAbort, 1) };
                scene.evidence.add(&scene.spec.gates, &seen);
            }
            let (verdict, reason) = scene.verdict();
            assert_eq!(verdict, if is_doubted { Verdict::Hold } else { Verdict::Promote }, "{reason}");
            let words = format!(
                "split as the weights say ({candidates} of 1000 without a session came from the candidate, where about 100 should"
            );
            assert_eq!(reason.contains(&words), is_doubted, "{reason}");
        }
    }

    #[test]
    fn a_gate_leads_back_a_stage_so_many_times_and_then_all_the_way() {
        let mut scene = Scene::new(0, 0);
        scene.spec.gates = vec!["latency_p50<10ms on_fail=step_back".parse().unwrap()];
        scene.evidence = Evidence::new(&scene.spec.gates, 1);
        scene.answers(40, Outcome::Ok);
        for (stage, step_backs, verdict, ending) in [
            (0, 0, Verdict::RollBack, "there is no stage before to step back to"),
            (2, 0, Verdict::StepBack, "back to 30%, the 1. of 2 times"),
            (2, 1, Verdict::StepBack, "back to 30%, the 2. of 2 times"),
            (2, 2, Verdict::RollBack, "it stepped back 2 of 2 times already"),
        ] {
            (scene.position.stage, scene.step_backs) = (stage, step_backs);
            assert_eq!(scene.verdict().0, verdict);
            assert!(scene.verdict().1.ends_with(ending), "{}", scene.verdict().1);
        }
        scene.position.stage = 2;
        scene.step_backs = 0;
        scene.answers(5, Outcome::UpstreamError);
        assert_eq!(scene.verdict().0, Verdict::RollBack, "what rolls back comes first");
    }

    #[test]
    fn a_paused_rollout_rolls_back_and_never_promotes() {
        let mut scene = Scene::new(100, 0);
        scene.position.phase = RolloutPhase::Paused;
        assert_eq!(scene.verdict(), (Verdict::Hold, "paused; nothing else is waited for".to_owned()));
        scene.answers(5, Outcome::UpstreamError);
        assert_eq!(scene.verdict().0, Verdict::RollBack);
    }

    /// Model check: each phase and stage, with each kind of thing known, and then each move.
    #[test]
    fn no_evidence_leads_to_no_higher_weight_from_anywhere() {
        let phases = [
            RolloutPhase::Baking,
            RolloutPhase::Paused,
            RolloutPhase::Promoted,
            RolloutPhase::RolledBack,
            RolloutPhase::Aborted,
        ];
        for (phase, stage) in phases.into_iter().flat_map(|phase| (0..4).map(move |stage| (phase, stage))) {
            for outcome in [None, Some(Outcome::ClientAbort), Some(Outcome::ClientError)] {
                let mut scene = Scene::new(0, 0);
                (scene.position, scene.held_for) = (Position { phase, stage }, 1_000_000);
                outcome.into_iter().for_each(|outcome| scene.answers(500, outcome));
                assert_eq!(scene.verdict().0, Verdict::Hold, "{phase:?} {stage} {outcome:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn a_promotion_has_had_its_time_and_its_answers(
            good in 0usize..60, failed in 0usize..6, held_for in -5i64..60, phase in 0usize..5,
        ) {
            let mut scene = Scene::new(good, failed);
            scene.held_for = held_for;
            scene.position.phase = [
                RolloutPhase::Baking, RolloutPhase::Paused, RolloutPhase::Promoted, RolloutPhase::RolledBack, RolloutPhase::Aborted,
            ][phase];
            let decision = scene.decide();
            if decision.verdict == Verdict::Promote {
                prop_assert_eq!(scene.position.phase, RolloutPhase::Baking);
                prop_assert!(held_for >= 30 && good + failed >= 20);
                prop_assert!((failed as f64) < 0.05 * (good + failed) as f64);
                prop_assert!(decision.gates.iter().all(|gate| gate.verdict == Verdict::Promote));
            }
            if scene.position.phase.is_over() || failed == 0 {
                prop_assert_ne!(decision.verdict, Verdict::RollBack);
            }
            prop_assert!(!decision.reason.is_empty());
        }
    }
}
