//! `dsctl gpus`: which machines hold a model, and what they cost.

use advisor::fit::Fit;
use advisor::throughput::{EFFICIENCY, decode_tokens_per_second, usd_per_million_tokens};
use advisor::{CacheType, Catalogue, Entry, Offers, Workload, catalogue, fit, offers};
use providers::cloud::{ImageWish, Question};
use serde::Serialize;
use spec::amount::Usd;
use spec::machine::{Market, Offer, QuotaName};

use crate::args::GpusArgs;
use crate::clouds;
use crate::exit::Failure;
use crate::machine_choice::today;
use crate::talk::{print, print_json, say};
use crate::view;

/// Shown without `--all`.
const SHOWN: usize = 20;

/// What `gpus --json` prints.
#[derive(Debug, Serialize)]
pub struct GpusReport {
    pub model: Option<String>,
    pub context: u32,
    pub max_sequences: u32,
    pub market: Market,
    /// What the estimate of tokens a second takes of the memory bandwidth.
    pub assumed_efficiency: f64,
    /// Cheapest first, unknown prices last.
    pub machines: Vec<GpuRow>,
    /// Left out of `machines`.
    pub more: usize,
    /// Machines in the wanted places that do not hold the model.
    pub too_small: usize,
}

#[derive(Debug, Serialize)]
pub struct GpuRow {
    #[serde(flatten)]
    pub offer: Offer,
    /// In the market asked for; absent = unknown.
    pub hourly_usd: Option<Usd>,
    pub monthly_usd: Option<Usd>,
    /// The account's limit that the machine counts against, in the market asked for; absent = no name on record.
    pub quota: Option<QuotaName>,
    pub holds: Option<Holds>,
}

/// How a model fits, and how fast it may be.
#[derive(Debug, Serialize)]
pub struct Holds {
    pub fit: Fit,
    pub estimated_tokens_per_second: f64,
    pub estimated_usd_per_million_tokens: Option<f64>,
}

/// From the dated catalogue; asks nobody.
pub fn run(args: &GpusArgs) -> Result<(), Failure> {
    show(args, &offers().map_err(Failure::failed)?)
}

/// With zones and prices as the cloud says them just now.
pub async fn run_live(args: &GpusArgs) -> Result<(), Failure> {
    let offers = offers().map_err(Failure::failed)?;
    let region = args.region.as_ref().and_then(|region| region.single());
    let (Some(cloud), Some(region)) = (args.cloud, region) else {
        return Err(Failure::usage("--live: asks one region of one cloud; give --cloud and a --region without *"));
    };
    let rows: Vec<Offer> =
        offers.iter().filter(|offer| offer.cloud == cloud && offer.region == region).cloned().collect();
    let market = if args.spot { Market::Spot } else { Market::OnDemand };
    let question = Question { region: region.to_owned(), offers: rows.clone(), market, image: ImageWish::None };
    let survey = clouds::adapter(cloud).await?.survey(&question).await?;
    survey.notes.iter().for_each(|note| say(format!("Note: {note}")));
    let today = today();
    // What the region does not offer has no zones left, and is not shown.
    let live = rows.iter().flat_map(|row| survey.rows(row, &today)).collect();
    let offers = offers.with_live(cloud, region, live).with_zones_only(cloud, region);
    show(args, &offers)
}

fn show(args: &GpusArgs, offers: &Offers) -> Result<(), Failure> {
    let catalogue = catalogue().map_err(Failure::failed)?;
    let report = report(args, &catalogue, offers)?;
    if args.json.json { print_json(&report) } else { print(view::gpus::gpus(&report)) }
}

fn report(args: &GpusArgs, catalogue: &Catalogue, offers: &Offers) -> Result<GpusReport, Failure> {
    let entry = args.model.as_deref().map(|name| catalogue.find(name)).transpose();
    let entry = entry.map_err(|error| Failure::usage(format!("model: {error}")).next("dsctl models"))?;
    let market = if args.spot { Market::Spot } else { Market::OnDemand };
    let workload = Workload { context: args.context, sequences: args.max_sequences, cache: CacheType::F16 };
    let wanted = offers.iter().filter(|offer| is_wanted(offer, args, market));
    let (mut machines, mut too_small) = (Vec::new(), 0);
    for offer in wanted {
        match entry.map(|entry| holds(entry, workload, offer, offers, market)) {
            Some(None) => too_small += 1,
            holds => machines.push(row(offer, market, holds.flatten())),
        }
    }
    let key = |row: &GpuRow| {
        let unknown = row.hourly_usd.is_none();
        (unknown, row.hourly_usd, row.offer.machine_type.clone(), row.offer.region.clone())
    };
    machines.sort_by_key(key);
    let more = if args.all { 0 } else { machines.len().saturating_sub(SHOWN) };
    machines.truncate(machines.len() - more);
    Ok(GpusReport {
        model: entry.map(|entry| entry.name.to_string()),
        context: args.context,
        max_sequences: args.max_sequences,
        market,
        assumed_efficiency: EFFICIENCY,
        machines,
        more,
        too_small,
    })
}

fn is_wanted(offer: &Offer, args: &GpusArgs, market: Market) -> bool {
    offer.gpu.is_some()
        && args.cloud.is_none_or(|cloud| cloud == offer.cloud)
        && args.region.as_ref().is_none_or(|region| region.matches(&offer.region))
        && args.max_hourly.is_none_or(|most| offer.hourly(market).is_some_and(|hourly| hourly <= most))
}

/// None if it does not fit.
fn holds(entry: Entry<'_>, workload: Workload, offer: &Offer, offers: &Offers, market: Market) -> Option<Holds> {
    let gpu = offer.gpu.as_ref()?;
    let fit = fit(entry, workload, offer.gpu_count, gpu.memory_mib).ok()?;
    let rate = decode_tokens_per_second(entry, workload, offers.bandwidth(&gpu.name)?);
    Some(Holds {
        fit,
        estimated_tokens_per_second: rate,
        estimated_usd_per_million_tokens: offer.hourly(market).map(|hourly| usd_per_million_tokens(hourly, rate)),
    })
}

fn row(offer: &Offer, market: Market, holds: Option<Holds>) -> GpuRow {
    let hourly_usd = offer.hourly(market);
    let quota = offer.quota(market).cloned();
    GpuRow { offer: offer.clone(), hourly_usd, monthly_usd: hourly_usd.map(Usd::a_month), quota, holds }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    fn asked(words: &[&str]) -> GpusReport {
        let cli = Cli::try_parse_from(["dsctl", "gpus"].iter().chain(words)).unwrap();
        let Command::Gpus(args) = cli.command else { panic!("gpus") };
        report(&args, &catalogue().unwrap(), &offers().unwrap()).unwrap()
    }

    #[test]
    fn what_is_listed_holds_the_model_is_in_the_place_and_under_the_price() {
        let report = asked(&["--model", "70b-int8", "--cloud", "aws", "--region", "us-*", "--max-hourly", "12"]);
        assert!(!report.machines.is_empty() && report.too_small > 0);
        let mut last = Usd::default();
        for row in &report.machines {
            let price = row.hourly_usd.unwrap();
            assert!(price <= "12".parse().unwrap() && price >= last, "{}", row.offer.machine_type);
            assert!(row.offer.region.starts_with("us-"));
            let fit = row.holds.as_ref().unwrap().fit;
            assert_eq!(fit.per_gpu_need.total() + fit.headroom_bytes, row.offer.gpu.as_ref().unwrap().memory_mib << 20);
            last = price;
        }
    }

    #[test]
    fn an_unknown_price_comes_last_and_is_never_under_a_limit() {
        let report = asked(&["--all"]);
        let first_unknown = report.machines.iter().position(|row| row.hourly_usd.is_none()).unwrap();
        assert!(report.machines[first_unknown..].iter().all(|row| row.hourly_usd.is_none()));
        let capped = asked(&["--all", "--max-hourly", "1000"]);
        assert_eq!(capped.machines.len(), first_unknown);
    }

    #[test]
    fn every_row_names_the_limit_of_the_market_asked_for() {
        for (market, code) in [(&[][..], "L-DB2E81BA"), (&["--spot"], "L-3819A6DF")] {
            let words: Vec<&str> = ["--cloud", "aws", "--max-hourly", "5"].iter().chain(market).copied().collect();
            let report = asked(&words);
            assert_eq!(report.machines[0].quota.as_ref().unwrap().code, code);
            let shown = view::gpus::gpus(&report);
            assert!(shown.contains(&format!("Quota {code}: ")), "{shown}");
        }
    }

    #[test]
    fn a_line_stays_on_a_screen() {
        // Google's names of limits and Azure's of machines are long; AWS' are not.
        for (cloud, most) in [("aws", 126), ("gcp", 140), ("azure", 140)] {
            let shown = view::gpus::gpus(&asked(&["--model", "70b-int8", "--cloud", cloud]));
            let table = shown.lines().take_while(|line| !line.is_empty());
            let widest = table.max_by_key(|line| line.chars().count()).unwrap();
            assert!(widest.chars().count() <= most, "{} {widest}", widest.chars().count());
        }
    }
}
