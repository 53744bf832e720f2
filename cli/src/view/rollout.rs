//! A rollout for the eye: where it is, why, and the evidence of each gate.

use spec::rollout::{Against, Gate, GateReport, RolloutEvent, RolloutReport, Sli};

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
    text.push_str(&format!("verdict {}: {}\n", coloured(report.verdict.as_str()), report.reason));
    let mut rows = vec![["GATE", "OBSERVED", "ANSWERS", "VERDICT", "WHY"].map(str::to_owned).to_vec()];
    rows.extend(report.gates.iter().map(gate_row));
    text.push_str(&table(&rows));
    text
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
        Sli::ErrorRatio | Sli::TruncatedRatio => format!("{:.2}%", value * 100.0),
        Sli::TimeToFirstToken(_) | Sli::Latency(_) => format!("{value:.3}s"),
        Sli::TypicalFirstToken | Sli::TypicalLatency | Sli::Scrape(_) => value.to_string(),
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
