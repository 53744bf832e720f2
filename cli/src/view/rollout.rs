//! A rollout for the eye: where it is, why, and the evidence of each gate.

use rollout::backtest::Backtest;
use rollout::forecast::StageForecast;
use rollout::recorded::Recorded;
use spec::rollout::{Against, Gate, GateReport, Measure, RolloutEvent, RolloutReport, RolloutSpec, Sli};

use super::{clock, coloured, table};

pub fn report(report: &RolloutReport) -> String {
    let mut text = format!(
        "rollout {}  {}  stage {} of {}  weight {}  since {}\n",
        report.id,
        coloured(report.phase.as_str()),
        report.stage + 1,
        report.spec.stages.len(),
        report.weight,
        clock(report.stage_since),
    );
    text.push_str(&format!("stages  {}\n", stages(report)));
    if let Some(weight) = report.awaits_approval {
        text.push_str(&format!("approval needed before {weight}: dsctl rollout approve\n"));
    }
    text.push_str(&format!("verdict {}: {}\n", coloured(report.verdict.as_str()), report.reason));
    let mut rows = vec![["GATE", "OBSERVED", "ANSWERS", "VERDICT", "WHY"].map(str::to_owned).to_vec()];
    rows.extend(report.gates.iter().map(gate_row));
    text.push_str(&table(&rows));
    text
}

/// What a rollout would do, defaults included.
pub fn spec(spec: &RolloutSpec) -> String {
    let stages = spec.stages.iter().map(ToString::to_string).collect::<Vec<_>>().join(" > ");
    let (bake, least, alpha) = (spec.bake, spec.min_requests, spec.alpha);
    let longest = spec.max_bake.map(|most| format!("\nlongest {most}, then paused")).unwrap_or_default();
    let approvals: String = spec.approve_before.iter().map(|weight| format!("\napproval before {weight}")).collect();
    let lockouts: String = spec.lockout.iter().map(|lockout| format!("\nlockout {lockout}")).collect();
    let gates: String = spec.gates.iter().map(|gate| format!("\n  {gate}")).collect();
    format!(
        "stages  {stages}\neach    {bake} and {least} answers at least, alpha {alpha}{longest}{approvals}{lockouts}\ngates{gates}"
    )
}

/// How long each stage takes, then what its gates can't tell.
pub fn plan(stages: &[StageForecast]) -> String {
    let mut rows = vec![["WEIGHT", "TAKES", "WAITS FOR"].map(str::to_owned).to_vec()];
    rows.extend(stages.iter().map(|stage| {
        let takes = stage.takes.map_or_else(|| "for ever".to_owned(), |takes| takes.to_string());
        vec![stage.weight.to_string(), takes, stage.waits_for.clone()]
    }));
    let blind = stages.iter().flat_map(|stage| stage.blind.iter().map(move |blind| (stage.weight, blind)));
    let blind: String = blind.map(|(weight, blind)| format!("\n{weight}: {blind}")).collect();
    format!("{}{blind}", table(&rows))
}

/// What recorded requests would have led to, step by step.
pub fn backtest(played: &Backtest, records: &[Recorded]) -> String {
    let mut rows = vec![["TIME", "WEIGHT", "ANSWERS", "VERDICT", "WHY"].map(str::to_owned).to_vec()];
    rows.extend(played.steps.iter().map(|step| {
        let (weight, answers) = (step.weight.to_string(), step.answers.to_string());
        vec![clock(step.at), weight, answers, coloured(step.verdict.as_str()), step.reason.clone()]
    }));
    let (weight, reason, span) = (played.weight, &played.reason, rollout::backtest::span(records));
    format!("{}\n{} attempts in {span}; at the end {weight}: {reason}", table(&rows), records.len())
}

fn stages(report: &RolloutReport) -> String {
    let mark = |(at, weight): (usize, &spec::amount::Weight)| match at.cmp(&report.stage) {
        std::cmp::Ordering::Equal if !report.phase.is_over() => format!("[{weight}]"),
        _ => weight.to_string(),
    };
    report.spec.stages.iter().enumerate().map(mark).collect::<Vec<_>>().join(" > ")
}

fn gate_row(gate: &GateReport) -> Vec<String> {
    vec![
        gate.gate.to_string(),
        gate.observed.map_or_else(|| "-".to_owned(), |value| observed(&gate.gate, value)),
        gate.samples.to_string(),
        coloured(gate.verdict.as_str()),
        gate.reason.clone(),
    ]
}

fn observed(gate: &Gate, value: f64) -> String {
    if gate.against == Against::Baseline {
        return format!("{value:.2}x");
    }
    match gate.sli {
        Sli::Ratio(_) => format!("{:.2}%", value * 100.0),
        Sli::Quantile(Measure::Cost, _) => format!("${value:.6}"),
        Sli::Quantile(_, _) => format!("{value:.3}s"),
        Sli::Typical(_) | Sli::Scrape(_) => value.to_string(),
    }
}

pub fn history(events: &[RolloutEvent]) -> String {
    let mut rows = vec![["TIME", "ROLLOUT", "RECORD", "EVENT", "WEIGHT", "DETAIL"].map(str::to_owned).to_vec()];
    rows.extend(events.iter().map(|event| {
        vec![
            clock(event.at),
            event.rollout.clone(),
            event.record.to_string(),
            event.kind.clone(),
            event.weight.to_string(),
            event.detail.clone(),
        ]
    }));
    table(&rows)
}
