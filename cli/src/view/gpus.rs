//! Machines for the eye: one line each, and under them what the figures stand on.

use std::collections::BTreeSet;

use spec::amount::bytes_text;
use spec::machine::Market;

use super::table;
use crate::commands::gpus::{GpuRow, GpusReport};

pub fn gpus(report: &GpusReport) -> String {
    if report.machines.is_empty() {
        return "No machine on record is all that was asked for.".to_owned();
    }
    let mut head = vec!["MACHINE", "REGION", "GPU", "$/HOUR", "$/MONTH", "PRICE OF"];
    if report.model.is_some() {
        head.extend(["LEFT/GPU", "TOKENS/S", "$/1M"]);
    }
    head.push("QUOTA");
    let mut lines = vec![head.into_iter().map(str::to_owned).collect::<Vec<_>>()];
    lines.extend(report.machines.iter().map(cells));
    let mut text = table(&lines);
    text.push_str("\n\n");
    text.push_str(&notes(report).join("\n"));
    text
}

fn cells(row: &GpuRow) -> Vec<String> {
    let offer = &row.offer;
    let price = |usd: Option<f64>| usd.map_or_else(|| "unknown".to_owned(), |usd| format!("{usd:.2}"));
    let mut cells = vec![
        offer.machine_type.clone(),
        format!("{} {}", offer.cloud, offer.region),
        // Rounded down: the exact figure is in --json, and a line should stay on a screen.
        offer.devices_text(),
        price(row.hourly_usd.map(|usd| usd.dollars())),
        row.monthly_usd.map_or_else(|| "unknown".to_owned(), |usd| format!("{:.0}", usd.dollars())),
        row.hourly_usd.and(offer.price_as_of.clone()).unwrap_or_else(|| "-".to_owned()),
    ];
    if let Some(holds) = &row.holds {
        cells.push(bytes_text(holds.fit.headroom_bytes));
        cells.push(format!("~{:.0}", holds.estimated_tokens_per_second));
        cells.push(
            holds.estimated_usd_per_million_tokens.map_or_else(|| "unknown".to_owned(), |usd| format!("~{usd:.2}")),
        );
    }
    cells.push(row.quota.as_ref().map_or("-", |quota| quota.code.as_str()).to_owned());
    cells
}

fn notes(report: &GpusReport) -> Vec<String> {
    let mut notes = Vec::new();
    if report.more > 0 {
        notes.push(format!("{} more; --all shows them.", report.more));
    }
    if let Some(model) = &report.model {
        let (context, sequences) = (report.context, report.max_sequences);
        notes.push(format!(
            "{model} with {sequences} sequences of {context} tokens, layers split over the GPUs; {} machines are too small.",
            report.too_small
        ));
        let share = report.assumed_efficiency * 100.0;
        notes.push(format!(
            "Tokens/s and $ for 1M of them are estimates: a full batch at {share:.0}% of one GPU's memory bandwidth; the \
             machine busy all the time."
        ));
    }
    let quotas: BTreeSet<_> = report.machines.iter().filter_map(|row| row.quota.as_ref()).collect();
    notes.extend(quotas.into_iter().map(|quota| format!("Quota {}: {}.", quota.code, quota.name)));
    let market = if report.market == Market::Spot { "spot" } else { "on-demand" };
    let sources: BTreeSet<&str> = report
        .machines
        .iter()
        .filter(|row| row.hourly_usd.is_some())
        .map(|row| row.offer.price_source.as_str())
        .collect();
    notes.extend(sources.into_iter().map(|source| format!("Prices ({market}): {source}.")));
    notes
}
