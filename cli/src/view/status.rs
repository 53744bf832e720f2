//! A deployment's state for the eye.

use agent::{ObservedUnit, Summary};
use spec::amount::bytes_text;
use spec::id::Variant;
use spec::route::GatewayStatus;

use super::{clock, coloured, phases, table};
use crate::commands::status::StatusReport;

pub fn status(report: &StatusReport) -> String {
    let host = &report.host;
    let mut text = format!("{}  {}\n", host.deployment, coloured(host.summary.as_str()));
    if let Some(endpoint) = &report.endpoint {
        text.push_str(&format!("endpoint  {endpoint}\n"));
    }
    if let Some(file) = &report.ca_file {
        text.push_str(&format!("CA file   {}\n", file.display()));
    }
    text.push_str(&format!("agent     {}\n\n", agent(report)));
    let mut rows = vec![["UNIT", "STATE", "PROCESS", "RESTARTS", "LAST EXIT"].map(str::to_owned).to_vec()];
    rows.extend(host.units.iter().map(unit_row));
    text.push_str(&table(&rows));
    for line in weights(report).into_iter().chain(unfinished_phases(report)).chain(gateway(report.gateway.as_ref())) {
        text.push('\n');
        text.push_str(&line);
    }
    if let Some(next) = next(host.summary) {
        let name = Some(&host.deployment).filter(|name| name.as_str() != "default");
        text.push_str(&format!("\n\nnext: {}", crate::talk::with_name(next, name)));
    }
    text
}

fn agent(report: &StatusReport) -> String {
    let alive = report.host.agent == agent::AgentLife::Alive;
    let since = report.host.status.as_ref().filter(|_| alive);
    let word = match report.host.agent {
        agent::AgentLife::Alive => "alive",
        agent::AgentLife::Dead => "dead",
        agent::AgentLife::NeverStarted => "never started",
    };
    match since {
        Some(status) => {
            format!("{}  process {} since {}", coloured(word), status.agent.pid, clock(status.agent.started_at))
        }
        None => coloured(word),
    }
}

fn unit_row(unit: &ObservedUnit) -> Vec<String> {
    vec![
        unit.name.to_string(),
        coloured(unit.state.as_str()),
        unit.process.map_or_else(|| "-".to_owned(), |process| process.pid.to_string()),
        unit.restarts.to_string(),
        unit.last_exit.clone().unwrap_or_else(|| "-".to_owned()),
    ]
}

fn weights(report: &StatusReport) -> Vec<String> {
    let all = report.host.status.iter().flat_map(|status| &status.weights);
    all.map(|it| {
        let short = &it.sha256.as_str()[..12];
        format!("weights   {}  {}  sha256 {short}…  from {}", it.name, bytes_text(it.size), it.source)
    })
    .collect()
}

/// Phases that are under way or failed; a host that is ready has none to show.
fn unfinished_phases(report: &StatusReport) -> Vec<String> {
    if matches!(report.host.summary, Summary::Ready | Summary::Unattended | Summary::Stopped) {
        return Vec::new();
    }
    let all = report.host.status.iter().flat_map(|status| &status.phases);
    all.filter(|phase| phase.state != spec::host::PhaseState::Done)
        .map(|phase| match &phase.failure {
            Some(failure) => format!("phase     {}\n{}", phases::line(phase), phases::failure(failure)),
            None => format!("phase     {}", phases::line(phase)),
        })
        .collect()
}

fn gateway(gateway: Option<&GatewayStatus>) -> Vec<String> {
    let Some(gateway) = gateway else { return vec!["gateway   does not answer".to_owned()] };
    let table = &gateway.route_table;
    let mut lines: Vec<String> = gateway
        .variants
        .iter()
        .map(|(variant, seen)| {
            let weight = if gateway.variants.len() == 1 { spec::amount::Weight::ALL } else { table.weight(*variant) };
            format!(
                "{:<9} {weight} of the traffic, {} attempts, {} failed, {} in flight  {}",
                variant.as_str(),
                seen.attempts,
                seen.failures,
                seen.in_flight,
                seen.base_url
            )
        })
        .collect();
    if let Some(rollout) = &gateway.rollout {
        let stage = rollout.stage + 1;
        lines.push(format!(
            "rollout   {}  {}  stage {stage} of {}: {}",
            rollout.id,
            coloured(rollout.phase.as_str()),
            rollout.spec.stages.len(),
            rollout.reason
        ));
    } else if gateway.variants.contains_key(&Variant::Baseline) {
        lines.push("rollout   none yet".to_owned());
    }
    lines
}

const fn next(summary: Summary) -> Option<&'static str> {
    match summary {
        Summary::Ready | Summary::Starting | Summary::Stopping => None,
        Summary::Absent | Summary::Down | Summary::Unattended => Some("dsctl up"),
        Summary::Degraded | Summary::Failed => Some("dsctl logs UNIT"),
        Summary::Stopped => Some("dsctl down"),
    }
}
