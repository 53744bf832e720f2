//! `dsctl models`: what can be served, how large it is, and the cheapest machine of each cloud that holds it.

use std::collections::BTreeMap;

use advisor::{CacheType, Catalogue, Entry, Offers, Workload, catalogue, cheapest, offers};
use serde::Serialize;
use spec::amount::{Usd, bytes_text};
use spec::deployment::Cloud;
use spec::machine::{Market, Offer};

use crate::args::JsonArgs;
use crate::exit::Failure;
use crate::talk::{print, print_json};
use crate::view::table;

const CLOUDS: [Cloud; 3] = [Cloud::Aws, Cloud::Gcp, Cloud::Azure];
/// What `dsctl gpus` looks for without flags.
const WORKLOAD: Workload = Workload { context: 4096, sequences: 8, cache: CacheType::F16 };

#[derive(Debug, Serialize)]
struct ModelRow {
    name: String,
    served_name: String,
    quantization: String,
    parameters: u64,
    weight_bytes: u64,
    context: u32,
    licence: String,
    /// On demand, one a cloud that has a machine with a known price.
    cheapest_machines: Vec<MachineRow>,
}

#[derive(Debug, Serialize)]
struct MachineRow {
    cloud: Cloud,
    machine_type: String,
    region: String,
    hourly_usd: Option<Usd>,
    price_as_of: Option<String>,
}

pub fn run(args: &JsonArgs) -> Result<(), Failure> {
    let catalogue = catalogue().map_err(Failure::failed)?;
    let offers = offers().map_err(Failure::failed)?;
    let rows = rows(&catalogue, &offers);
    if args.json { print_json(&rows) } else { print(text(&rows)) }
}

fn rows(catalogue: &Catalogue, offers: &Offers) -> Vec<ModelRow> {
    catalogue.entries().map(|entry| row(entry, offers)).collect()
}

fn row(entry: Entry<'_>, offers: &Offers) -> ModelRow {
    let cheapest = |cloud| cheapest(entry, WORKLOAD, offers, cloud, Market::OnDemand);
    ModelRow {
        name: entry.name.to_string(),
        served_name: entry.model.served_name.clone(),
        quantization: entry.file.quantization.as_str().to_owned(),
        parameters: entry.model.parameters,
        weight_bytes: entry.weight_bytes(),
        context: entry.model.architecture.context,
        licence: entry.model.licence.clone(),
        cheapest_machines: CLOUDS.into_iter().filter_map(cheapest).map(machine).collect(),
    }
}

fn machine(offer: &Offer) -> MachineRow {
    MachineRow {
        cloud: offer.cloud,
        machine_type: offer.machine_type.clone(),
        region: offer.region.clone(),
        hourly_usd: offer.on_demand_hourly,
        price_as_of: offer.price_as_of.clone(),
    }
}

fn text(rows: &[ModelRow]) -> String {
    let head = ["NAME", "SERVED AS", "WEIGHTS", "ON AWS", "ON GCP", "ON AZURE"];
    let mut lines = vec![head.map(str::to_owned).to_vec()];
    lines.extend(rows.iter().map(cells));
    let Workload { context, sequences, .. } = WORKLOAD;
    format!(
        "{}\n\n{}\nThe cheapest machine of each cloud for {sequences} sequences of {context} tokens; `dsctl gpus --model NAME` \
         shows more, with prices.",
        table(&lines),
        licences(rows)
    )
}

fn cells(row: &ModelRow) -> Vec<String> {
    let on = |cloud| {
        let found = row.cheapest_machines.iter().find(|machine| machine.cloud == cloud);
        found.map_or_else(|| "-".to_owned(), |machine| machine.machine_type.clone())
    };
    let mut cells = vec![row.name.clone(), row.served_name.clone(), bytes_text(row.weight_bytes)];
    cells.extend(CLOUDS.map(on));
    cells
}

/// Few licences for many rows: a line instead of a column.
fn licences(rows: &[ModelRow]) -> String {
    let mut by_licence: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for row in rows {
        let served = by_licence.entry(&row.licence).or_default();
        if !served.contains(&row.served_name.as_str()) {
            served.push(&row.served_name);
        }
    }
    let fewest_first = {
        let mut all: Vec<_> = by_licence.into_iter().collect();
        all.sort_by_key(|(licence, served)| (served.len(), *licence));
        all
    };
    let count = fewest_first.len();
    let text = |(at, (licence, served)): (usize, &(&str, Vec<&str>))| match at + 1 {
        last if last == count => format!("{licence} (all{})", if count > 1 { " others" } else { "" }),
        _ => format!("{licence} ({})", served.join(", ")),
    };
    format!("Licences: {}.", fewest_first.iter().enumerate().map(text).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_model_is_listed_with_a_machine_of_each_cloud_that_holds_it() {
        let rows = rows(&catalogue().unwrap(), &offers().unwrap());
        let of = |name: &str| rows.iter().find(|row| row.name == name).unwrap();
        let types: Vec<_> =
            of("70b-int8").cheapest_machines.iter().map(|machine| machine.machine_type.as_str()).collect();
        assert_eq!((types.len(), types[0]), (3, "g7e.2xlarge"));
        assert!(of("671b-bf16").cheapest_machines.len() < 3);
        let shown = text(&rows);
        assert!(shown.contains("Licences: Apache-2.0 (smollm2-135m), MIT (all others)."), "{shown}");
        assert!(shown.lines().all(|line| line.chars().count() <= 125), "{shown}");
    }
}
