//! Why a rollout is where it is, in sentences with numbers: made of its report alone.

use jiff::Timestamp;
use serde::Serialize;
use spec::amount::Span;
use spec::rollout::{GateReport, RolloutPhase, RolloutReport, Verdict};

use super::clock;

#[derive(Debug, Serialize)]
pub struct Explanation {
    pub rollout: String,
    pub phase: RolloutPhase,
    pub verdict: Verdict,
    pub sentences: Vec<String>,
}

pub fn explain(report: &RolloutReport, now: Timestamp) -> Explanation {
    let mut sentences = vec![place(report), decision(report)];
    if !report.phase.is_over() {
        sentences.push(pace(report, now));
    }
    sentences.extend(report.gates.iter().map(|gate| format!("Gate {}: {}.", stance(gate), gate.reason)));
    Explanation { rollout: report.id.clone(), phase: report.phase, verdict: report.verdict, sentences }
}

pub fn text(explanation: &Explanation) -> String {
    explanation.sentences.join("\n")
}

fn place(report: &RolloutReport) -> String {
    let (id, phase, weight, stages) = (&report.id, report.phase.as_str(), report.weight, report.spec.stages.len());
    let since = clock(report.ended_at.unwrap_or(report.stage_since));
    format!(
        "Rollout {id} is {phase} with {weight} on the candidate, at stage {} of {stages}, since {since}.",
        report.stage + 1
    )
}

fn decision(report: &RolloutReport) -> String {
    let reason = &report.reason;
    match (report.phase, report.verdict) {
        (RolloutPhase::Promoted, _) => format!("It reached the end: {reason}."),
        (RolloutPhase::RolledBack, _) => format!("It was taken back: {reason}."),
        (RolloutPhase::Aborted, _) => "It was taken back by hand.".to_owned(),
        (RolloutPhase::Baking | RolloutPhase::Paused, Verdict::Promote) => format!("It goes on: {reason}."),
        (RolloutPhase::Baking | RolloutPhase::Paused, Verdict::Hold) => format!("It stays: {reason}."),
        (RolloutPhase::Baking | RolloutPhase::Paused, Verdict::StepBack) => format!("It goes back a stage: {reason}."),
        (RolloutPhase::Baking | RolloutPhase::Paused, Verdict::RollBack) => format!("It goes back: {reason}."),
    }
}

/// How fast answers come, and when time and answers are enough at that pace.
fn pace(report: &RolloutReport, now: Timestamp) -> String {
    let held = u64::try_from(now.duration_since(report.stage_since).as_secs()).unwrap_or_default();
    let answers = report.gates.iter().map(|gate| gate.samples).max().unwrap_or_default();
    let (bake, least) = (report.spec.bake.0.as_secs(), report.spec.min_requests);
    let until_baked = bake.saturating_sub(held);
    let missing = least.saturating_sub(answers);
    if missing > 0 && answers == 0 {
        return format!(
            "No answers came in {} so far, so nothing can be said of when it goes on.",
            Span::seconds(held)
        );
    }
    let per_minute = answers as f64 * 60.0 / held.max(1) as f64;
    let until_answered = (missing as f64 * 60.0 / per_minute.max(f64::MIN_POSITIVE)).ceil() as u64;
    let until = Span::seconds(until_baked.max(until_answered));
    format!(
        "{answers} answers came in {}, {per_minute:.1} a minute; time and answers are enough in {until}.",
        Span::seconds(held)
    )
}

const fn stance(gate: &GateReport) -> &'static str {
    match (gate.gate.dry_run, gate.verdict) {
        (false, Verdict::Promote) => "lets it go on",
        (false, Verdict::Hold) => "holds it",
        (false, Verdict::StepBack) => "takes it back a stage",
        (false, Verdict::RollBack) => "takes it back",
        (true, Verdict::Promote) => "would let it go on (dry run)",
        (true, Verdict::Hold) => "would hold it (dry run)",
        (true, Verdict::StepBack) => "would take it back a stage (dry run)",
        (true, Verdict::RollBack) => "would take it back (dry run)",
    }
}

#[cfg(test)]
mod tests {
    use spec::amount::Weight;
    use spec::rollout::RolloutSpec;

    use super::*;

    fn report(samples: u64, verdict: Verdict) -> RolloutReport {
        let spec = RolloutSpec::default();
        let gate = spec.gates[0].clone();
        let reason = "error_ratio<5%: 1 of 10 answers failed (10%)".to_owned();
        RolloutReport {
            id: "20261123T154500-0001".to_owned(),
            phase: RolloutPhase::Baking,
            stage: 1,
            weight: Weight::from_basis_points(3_000).unwrap(),
            started_at: Timestamp::UNIX_EPOCH,
            stage_since: Timestamp::UNIX_EPOCH,
            ended_at: None,
            step_backs: 0,
            awaits_approval: None,
            gates: vec![GateReport { gate, samples, observed: Some(0.1), verdict, reason: reason.clone() }],
            verdict,
            reason,
            spec,
        }
    }

    fn sentences(report: &RolloutReport, held: i64) -> Vec<String> {
        explain(report, Timestamp::from_second(held).unwrap()).sentences
    }

    #[test]
    fn it_says_where_it_is_why_and_when_it_goes_on() {
        let said = sentences(&report(10, Verdict::Hold), 60);
        assert!(said[0].contains("baking with 30% on the candidate, at stage 2 of 4"), "{}", said[0]);
        assert_eq!(said[1], "It stays: error_ratio<5%: 1 of 10 answers failed (10%).");
        assert_eq!(said[2], "10 answers came in 1m, 10.0 a minute; time and answers are enough in 29m.");
        assert!(said[3].starts_with("Gate holds it: error_ratio<5%: 1 of 10"), "{}", said[3]);
    }

    #[test]
    fn few_answers_take_longer_than_the_bake_and_none_tell_nothing() {
        let mut slow = report(1, Verdict::Hold);
        assert!(sentences(&slow, 600)[2].ends_with("enough in 3h 10m."), "{}", sentences(&slow, 600)[2]);
        slow.gates[0].samples = 0;
        assert!(sentences(&slow, 600)[2].starts_with("No answers came in 10m so far"));
    }

    #[test]
    fn what_is_over_has_no_pace_and_a_dry_run_only_would() {
        let mut over = report(10, Verdict::Hold);
        over.phase = RolloutPhase::RolledBack;
        over.gates[0].verdict = Verdict::RollBack;
        over.gates[0].gate.dry_run = true;
        let said = sentences(&over, 60);
        assert_eq!(said.len(), 3);
        assert!(said[1].starts_with("It was taken back: "));
        assert!(said[2].starts_with("Gate would take it back (dry run): "));
    }
}
