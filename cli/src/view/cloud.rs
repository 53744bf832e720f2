//! A cloud for the eye: who pays, where, which machine is tried for, what it costs.

use engine::state::State;
use spec::amount::Usd;

use super::{clock, coloured, phases, table};
use crate::commands::orphans::OrphanRow;
use crate::commands::status::CloudStatusReport;
use crate::prepare_cloud::CloudReport;

/// Candidates that are listed; the rest is counted.
const LISTED: usize = 6;

/// What stands above a plan.
pub fn report(report: &CloudReport) -> String {
    let CloudReport { cloud, account, caller, region, image, image_source, .. } = report;
    let mut text =
        format!("On {cloud}, account {account}, region {region}, as {caller}\nImage {image} ({image_source})\n");
    text.push_str("\nMachine, tried in this order:\n");
    for (at, candidate) in report.candidates.iter().take(LISTED).enumerate() {
        text.push_str(&format!("  {}. {candidate}\n", at + 1));
    }
    if report.candidates.len() > LISTED {
        text.push_str(&format!("  and {} more\n", report.candidates.len() - LISTED));
    }
    text.push_str(&format!(
        "  prices: {}\n\nA month (730 hours), {} GB of answers leaving:\n",
        report.price_source, report.egress_gb
    ));
    text.push_str(&month(report));
    if let Some(quota) = &report.quota {
        let limit = quota.limit.map_or_else(|| "unknown".to_owned(), |limit| limit.to_string());
        text.push_str(&format!(
            "Quota \"{}\" ({}): {} of {limit} {} in use, {} more with this\n",
            quota.name, quota.code, quota.used, quota.unit, quota.need
        ));
    }
    if report.plain_http {
        text.push_str(
            "Note: the gateway speaks plain HTTP; what stands in front of it is to encrypt (--tls elsewhere)\n",
        );
    }
    for note in &report.notes {
        text.push_str(&format!("Note: {note}\n"));
    }
    text
}

fn month(report: &CloudReport) -> String {
    let usd =
        |monthly: Option<Usd>| monthly.map_or_else(|| "unknown".to_owned(), |usd| format!("${:.2}", usd.dollars()));
    let Some(monthly) = &report.monthly else { return String::new() };
    let parts = monthly.parts.iter().map(|part| (part.name, part.monthly));
    let rows: Vec<Vec<String>> = parts
        .chain([("in all", monthly.total)])
        .map(|(name, monthly)| vec![format!("  {name}"), usd(monthly)])
        .collect();
    format!("{}\n  rates around the machine: {}\n\n", table(&rows), report.around_source)
}

/// A deployment on a cloud.
pub fn status(report: &CloudStatusReport) -> String {
    let word = if report.host.is_ready() { "ready" } else { "not ready" };
    let unknown = || "not known yet".to_owned();
    let region = report.region.clone().unwrap_or_else(unknown);
    let mut text = format!("{}  {}\n", report.deployment, coloured(word));
    let mut rows = vec![
        ("endpoint", report.host.endpoint.clone().unwrap_or_else(unknown)),
        ("API key", report.host.api_key.clone().unwrap_or_else(unknown)),
        ("machine", format!("{} in {} {region}", report.host.machine.clone().unwrap_or_else(unknown), report.cloud)),
        ("costs", format!("{}, {} resources", cost(report.monthly_usd), report.resources)),
        ("reported", reported(report)),
    ];
    if let Some(file) = &report.ca_file {
        rows.insert(2, ("CA file", file.display().to_string()));
    }
    let rows: Vec<_> = rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
    text.push_str(&table(&rows));
    let phases = report.host.status.iter().flat_map(|status| &status.phases);
    for line in phases.map(phases::line) {
        text.push_str(&format!("\n  {line}"));
    }
    if !report.is_settled {
        text.push_str("\nA command was interrupted; `dsctl up` goes on from there, `dsctl down` takes it back.");
    }
    text
}

fn reported(report: &CloudStatusReport) -> String {
    match &report.host.status {
        Some(status) => format!("{}, generation {}", clock(status.written_at), status.generation),
        None => "nothing yet".to_owned(),
    }
}

/// What a deployment costs while it lives; none if a price is unknown.
pub fn monthly(state: &State) -> Option<f64> {
    let replaced = state.replaced.iter().map(|it| &it.resource);
    state.resources.values().chain(replaced).map(|it| it.monthly_usd).sum()
}

pub fn an_hour(monthly: f64) -> f64 {
    monthly / Usd::HOURS_A_MONTH as f64
}

/// E.g. `$10.53 an hour, $7,686.90 a month`.
pub fn cost(monthly: Option<f64>) -> String {
    match monthly {
        Some(monthly) => format!("${:.2} an hour, ${monthly:.2} a month", an_hour(monthly)),
        None => "unknown, since a price is".to_owned(),
    }
}

/// For whoever stopped half-way: what is there, and what it costs.
pub fn what_exists(state: &State) -> String {
    match state.resources.len() + state.replaced.len() {
        0 => "\nNothing exists.".to_owned(),
        count => {
            let cost = cost(monthly(state));
            format!(
                "\n{count} resources exist and cost {cost}. `dsctl up` goes on from here, `dsctl down` removes them."
            )
        }
    }
}

/// Everything that carries dsctl's tags.
pub fn orphans(rows: &[OrphanRow]) -> String {
    if rows.is_empty() {
        return "Nothing carries dsctl's tags.".to_owned();
    }
    let heading = ["REGION", "DEPLOYMENT", "KIND", "ID", "WHAT", "MADE", "KNOWN HERE"].map(str::to_owned).to_vec();
    let row = |row: &OrphanRow| {
        let found = &row.found;
        let known = if row.known_here { "yes" } else { "no" };
        vec![
            found.region.clone(),
            found.deployment.clone(),
            found.kind.clone(),
            found.owned.remote_id.0.clone(),
            found.detail.clone(),
            found.created.clone().unwrap_or_default(),
            known.to_owned(),
        ]
    };
    let lines: Vec<Vec<String>> = [heading].into_iter().chain(rows.iter().map(row)).collect();
    let unknown = rows.iter().filter(|row| !row.known_here).count();
    let note = match unknown {
        0 => "All of it belongs to deployments on this machine.".to_owned(),
        _ => format!(
            "{unknown} not known to a deployment on this machine: another machine's or a team's (`--state`), or nobody's. \
             The owner tag (--json) says who made it."
        ),
    };
    format!("{}\n\n{note}", table(&lines))
}
