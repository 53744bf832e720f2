//! From a deployment on a cloud to its graph: what is on record, what the cloud says, a machine under the rules.
//!
//! ```text
//! record -> place (catalogue) -> survey (the cloud, now) -> place (live) -> facts -> graph (pure)
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use advisor::cost::{MonthlyTotal, monthly_total};
use advisor::place::{Ask, Current, PlaceError, place};
use advisor::{CacheType, Catalogue, Entry, Offers, Workload};
use engine::graph::Address;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use providers::cloud::{
    CloudAdapter, CloudFacts, Handed, Image, ImageWish, Placed, Question, Quota, Survey, key_revision, new_salt,
};
use providers::local::SecretText;
use providers::local::facts::{BINARIES, Binary, FactsError, find_binaries};
use serde::Serialize;
use spec::deployment::{Cloud, Deployment};
use spec::layout::DeploymentLayout;
use spec::machine::{Market, Offer, ResolvedMachine};
use spec::resolved::{KeySource, ResolvedBaseline, ResolvedSpec};
use spec::route::GatewayConfig;

use crate::clouds;
use crate::exit::{Failure, Kind};
use crate::prepare::{Prepared, Target};
use crate::site::CloudSite;

/// Tokens a sequence that must have room if the deployment names no context.
const DEFAULT_CONTEXT: u32 = 4096;

/// How many times the first candidate's price another may have without being asked for.
const DEAR: u64 = 2;

/// What a cloud deployment is prepared from.
pub struct Asked<'a> {
    pub deployment: Deployment,
    /// Without a machine yet.
    pub spec: ResolvedSpec,
    pub layout: DeploymentLayout,
    pub binaries: PathBuf,
    pub baseline_key: Option<SecretText>,
    pub command: &'a str,
}

/// The cloud's side of a prepared deployment.
pub struct CloudTarget {
    pub adapter: Arc<dyn CloudAdapter>,
    pub region: String,
    pub report: CloudReport,
}

/// What the reader of a plan should know of the cloud.
#[derive(Debug, Clone, Serialize)]
pub struct CloudReport {
    pub cloud: String,
    pub account: String,
    pub caller: String,
    pub region: String,
    pub image: String,
    pub image_source: String,
    /// In the order in which they are tried.
    pub candidates: Vec<String>,
    pub price_source: String,
    /// Of the first candidate.
    pub quota: Option<Quota>,
    /// Of the first candidate.
    pub monthly: Option<MonthlyTotal>,
    pub egress_gb: u32,
    pub around_source: String,
    /// Nobody was said to encrypt between clients and the gateway.
    pub plain_http: bool,
    /// What could not be asked, and what will not be tried.
    pub notes: Vec<String>,
}

pub async fn prepare_cloud(asked: Asked<'_>, catalogue: &Catalogue) -> Result<Prepared, Failure> {
    let cloud = CloudSite::look(&asked.deployment, &asked.spec.name, &asked.layout).await?;
    let cloud = cloud.settled(asked.command).await?;
    refuse_missing_key(&asked, &cloud)?;
    let entry = catalogue.find(asked.spec.model.name.as_str()).map_err(Failure::usage)?;
    let offers = advisor::offers().map_err(Failure::failed)?;
    let wish = Wish { asked: &asked, entry, cloud: &cloud };
    // What is not tried for need not be asked about.
    let mut first = wish.place(&offers, cloud.laid_out.region.clone())?;
    wish.drop_dear(&mut first);
    let mut survey = cloud.adapter.survey(&wish.question(&first)).await?;
    let image = survey.image.take().ok_or_else(|| Failure::failed("the cloud named no image"))?;
    let rows = live(&first, &survey);
    let offers = offers.with_live(asked.spec.cloud, &first.region, rows.clone());
    // Prices that moved meanwhile do not move the region.
    let mut machine = wish.place(&offers, Some(first.region.clone()))?;
    let mut notes = survey.notes.clone();
    notes.extend(wish.drop_dear(&mut machine));
    drop_unasked(&mut machine, &first, &rows)?;
    match &cloud.laid_out.machine {
        None => drop_over_quota(&mut machine, &survey, &mut notes)?,
        Some(placed) => stay_in_the_zones(&mut machine, placed, &cloud.laid_out.zones),
    }
    let account = survey.identity.account.clone();
    refuse_another_account(&cloud, asked.spec.cloud, &account)?;
    let report = report(&asked, &machine, &survey, &image, notes);
    let facts = facts(&asked, &cloud, survey, image)?;
    let region = machine.region.clone();
    let spec = ResolvedSpec { machine: Some(machine), ..asked.spec };
    let graph = cloud.adapter.graph(&spec, &facts);
    let graph = graph.map_err(|error| Failure::usage(error).next("dsctl plan --help"))?;
    let account = Some(account);
    let site = cloud.site(&region, Handed { account, binaries: asked.binaries, baseline_key: asked.baseline_key });
    let deployment = pinned(asked.deployment, &region)?;
    let target = Target::Cloud(Box::new(CloudTarget { adapter: cloud.adapter, region, report }));
    Ok(Prepared { deployment, spec, layout: asked.layout, graph, site, target, saved: None })
}

fn refuse_another_account(site: &CloudSite, cloud: Cloud, found: &str) -> Result<(), Failure> {
    match &site.laid_out.account {
        Some(home) if home != found => {
            let message = format!("the deployment lies in the account {home}; the credentials are of {found}");
            Err(Failure::new(Kind::Credentials, message).next(clouds::switch_account(cloud, home)))
        }
        _ => Ok(()),
    }
}

/// A key that is kept in the bucket goes on to serve; without one it must be at hand.
fn refuse_missing_key(asked: &Asked<'_>, cloud: &CloudSite) -> Result<(), Failure> {
    let Some(ResolvedBaseline::Api { key: KeySource::Environment(name), .. }) = &asked.spec.baseline else {
        return Ok(());
    };
    if asked.baseline_key.is_some() || cloud.peek.begun.contains_key(&Address::new("secret", "baseline-key")) {
        return Ok(());
    }
    Err(Failure::usage(format!("baseline.key_env: environment variable {name} is not set")))
}

/// A later command must not look elsewhere, whatever is cheapest by then.
fn pinned(mut deployment: Deployment, region: &str) -> Result<Deployment, Failure> {
    deployment.region = Some(region.parse().map_err(Failure::failed)?);
    Ok(deployment)
}

struct Wish<'a> {
    asked: &'a Asked<'a>,
    entry: Entry<'a>,
    cloud: &'a CloudSite,
}

impl Wish<'_> {
    /// `region` is where it has to be, if that is known.
    fn place(&self, offers: &Offers, region: Option<String>) -> Result<ResolvedMachine, Failure> {
        let (deployment, spec) = (&self.asked.deployment, &self.asked.spec);
        let default_region = self.cloud.adapter.default_region();
        let placed = self.cloud.laid_out.machine.as_ref();
        let current = region.map(|region| Current {
            region,
            machine_type: placed.map(|placed| placed.machine_type.clone()),
            zone: placed.and_then(|placed| placed.zone.clone()),
            market: placed.map(|placed| placed.market),
        });
        let ask = Ask {
            cloud: spec.cloud,
            region: deployment.region.as_ref(),
            default_region: default_region.as_deref(),
            machine: &deployment.machine,
            network: &deployment.network,
            budget: &deployment.budget,
            packs: &deployment.compliance,
            current: current.as_ref(),
        };
        let workload = Workload {
            context: spec.daemon.context.unwrap_or(DEFAULT_CONTEXT),
            sequences: spec.daemon.max_sequences,
            cache: CacheType::F16,
        };
        place(self.entry, workload, &ask, offers).map_err(refused)
    }

    fn question(&self, machine: &ResolvedMachine) -> Question {
        let mut offers: Vec<Offer> = Vec::new();
        for candidate in &machine.candidates {
            if !offers.iter().any(|offer| offer.machine_type == candidate.offer.machine_type) {
                offers.push(candidate.offer.clone());
            }
        }
        let wished = self.asked.deployment.machine.image.clone();
        let market = self.asked.deployment.machine.market.unwrap_or(Market::OnDemand);
        let booted = self.cloud.laid_out.machine.as_ref().map(|placed| placed.image.clone());
        let image = match (wished, booted) {
            (Some(named), _) => ImageWish::Named(named),
            (None, Some(booted)) => ImageWish::Booted(booted),
            (None, None) => ImageWish::Newest,
        };
        Question { region: machine.region.clone(), offers, market, image }
    }

    /// Nobody should wake up to a machine of ten times the price because the cheap one could not be had: what is left out,
    /// in words.
    fn drop_dear(&self, machine: &mut ResolvedMachine) -> Option<String> {
        if self.asked.deployment.budget.max_hourly.is_some() {
            return None;
        }
        let most = machine.candidates.first().and_then(|candidate| candidate.hourly())?.times(DEAR);
        let before = machine.candidates.len();
        machine.candidates.retain(|candidate| candidate.hourly().is_some_and(|hourly| hourly <= most));
        let dropped = before - machine.candidates.len();
        let reason = format!("dearer than ${most}/h, {DEAR} times the first, or of unknown price");
        (dropped > 0).then(|| format!("not tried: {dropped} more that are {reason}; --max-hourly sets another limit"))
    }
}

fn refused(error: PlaceError) -> Failure {
    match &error {
        PlaceError::Wish { field, message } => Failure::usage(format!("{field}: {message}")).next("dsctl gpus"),
        PlaceError::Refused(_) => Failure::new(Kind::Policy, &error).next("dsctl gpus"),
        PlaceError::NoMachine { .. } => Failure::new(Kind::Resource, &error).next("dsctl gpus"),
    }
}

/// The catalogue's rows of what is tried for, with what the cloud said in their place.
fn live(machine: &ResolvedMachine, survey: &Survey) -> Vec<Offer> {
    let mut seen = BTreeMap::new();
    for candidate in &machine.candidates {
        seen.entry(&candidate.offer.machine_type).or_insert(&candidate.offer);
    }
    let today = today();
    seen.into_values().flat_map(|offer| survey.rows(offer, &today)).collect()
}

/// What was too dear to be asked about stays out, also where all that was asked about fell away: nobody knows whether it is
/// there.
fn drop_unasked(machine: &mut ResolvedMachine, asked: &ResolvedMachine, rows: &[Offer]) -> Result<(), Failure> {
    let types: BTreeSet<&str> =
        asked.candidates.iter().map(|candidate| candidate.offer.machine_type.as_str()).collect();
    machine.candidates.retain(|candidate| types.contains(candidate.offer.machine_type.as_str()));
    if !machine.candidates.is_empty() {
        return Ok(());
    }
    let wished: BTreeSet<&str> = asked.candidates.iter().filter_map(|candidate| candidate.zone.as_deref()).collect();
    let zones: BTreeSet<&str> = rows.iter().flat_map(|row| &row.zones).map(String::as_str).collect();
    let list = |names: BTreeSet<&str>| names.into_iter().collect::<Vec<_>>().join(", ");
    let message = format!(
        "machine.zones: none of {} is offered in {}, but in {}; --max-hourly lets dearer ones be tried",
        list(types),
        list(wished),
        if zones.is_empty() { "no zone".to_owned() } else { list(zones) },
    );
    Err(Failure::usage(message).next("dsctl gpus"))
}

/// As prices are dated.
pub fn today() -> String {
    Timestamp::now().to_zoned_datetime(TimeZone::UTC).date().to_string()
}

/// A machine that stays needs no network in zones that it could have been in as well. A network that reaches into every zone
/// of its region names none.
fn stay_in_the_zones(machine: &mut ResolvedMachine, placed: &Placed, zones: &BTreeSet<String>) {
    let stays = machine.candidates.first().is_some_and(|first| {
        first.offer.machine_type == placed.machine_type && first.zone == placed.zone && first.market == placed.market
    });
    if stays && !zones.is_empty() {
        machine.candidates.retain(|candidate| candidate.zone.as_ref().is_none_or(|zone| zones.contains(zone)));
    }
}

/// What the account may not have is not tried; if nothing is left, the request for more is the next command.
fn drop_over_quota(machine: &mut ResolvedMachine, survey: &Survey, notes: &mut Vec<String>) -> Result<(), Failure> {
    let is_over = |machine_type: &str| survey.quotas.get(machine_type).filter(|quota| !quota.has_room());
    let over: BTreeMap<String, &Quota> = machine
        .candidates
        .iter()
        .filter_map(|candidate| Some((candidate.offer.machine_type.clone(), is_over(&candidate.offer.machine_type)?)))
        .collect();
    machine.candidates.retain(|candidate| !over.contains_key(&candidate.offer.machine_type));
    let texts: Vec<String> = over.iter().map(|(machine_type, quota)| quota_text(machine_type, quota)).collect();
    if !machine.candidates.is_empty() {
        notes.extend(texts.into_iter().map(|text| format!("not tried: {text}")));
        return Ok(());
    }
    let message = format!("the account's quota has no room for any machine that would do:\n  {}", texts.join("\n  "));
    let request = over.values().next().map(|quota| quota.request.clone()).unwrap_or_default();
    Err(Failure::new(Kind::Resource, message).next(request))
}

fn quota_text(machine_type: &str, quota: &Quota) -> String {
    let limit = quota.limit.map_or_else(|| "unknown".to_owned(), |limit| limit.to_string());
    let Quota { code, name, unit, need, used, .. } = quota;
    format!("{machine_type} takes {need} {unit} of \"{name}\" ({code}), whose limit is {limit}, {used} of it in use")
}

fn report(
    asked: &Asked<'_>,
    machine: &ResolvedMachine,
    survey: &Survey,
    image: &Image,
    notes: Vec<String>,
) -> CloudReport {
    let first = machine.candidates.first();
    let offer = first.map(|candidate| &candidate.offer);
    let as_of = offer.and_then(|offer| offer.price_as_of.clone()).unwrap_or_else(|| "an unknown day".to_owned());
    let source = offer.map(|offer| offer.price_source.clone()).unwrap_or_default();
    let of_first = offer.and_then(|offer| survey.quotas.get(&offer.machine_type));
    CloudReport {
        cloud: asked.spec.cloud.to_string(),
        account: survey.identity.account.clone(),
        caller: survey.identity.caller.clone(),
        region: machine.region.clone(),
        image: image.id.clone(),
        image_source: image.source.clone(),
        candidates: machine.candidates.iter().map(|candidate| candidate.label()).collect(),
        price_source: format!("{source}, as of {as_of}"),
        quota: of_first.cloned(),
        monthly: first.map(|first| monthly_total(machine, first)),
        egress_gb: machine.egress_gb,
        plain_http: machine.network.tls.is_none(),
        around_source: machine.around.source.clone(),
        notes,
    }
}

fn facts(asked: &Asked<'_>, cloud: &CloudSite, survey: Survey, image: Image) -> Result<CloudFacts, Failure> {
    let kept = kept_salt(cloud);
    let salt = kept.unwrap_or_else(new_salt);
    Ok(CloudFacts {
        identity: survey.identity,
        image,
        binaries: binaries(asked)?,
        boot_script: clouds::boot_script(asked.spec.cloud).to_owned(),
        baseline_key_revision: revision(asked.baseline_key.as_ref(), &salt, cloud),
        salt,
        laid_out: cloud.laid_out.clone(),
    })
}

fn binaries(asked: &Asked<'_>) -> Result<BTreeMap<String, Binary>, Failure> {
    find_binaries(&asked.binaries).map_err(|error| match error {
        FactsError::Binary { name, folder, source } => {
            let message = format!("binaries: {name} is not in {}: {source}", folder.display());
            let names = BINARIES.join(", ");
            Failure::usage(message)
                .next(format!("dsctl up --binaries DIR (a folder with {names} for the cloud's machine)"))
        }
        other => Failure::failed(other),
    })
}

/// Of the gateway's configuration that an earlier `up` made: who is in the candidate's share stays in it.
fn kept_salt(cloud: &CloudSite) -> Option<String> {
    let inputs = cloud.peek.begun.get(&Address::new("host-spec", "main"))?;
    let content = inputs.pointer("/host/files/0/content")?.as_str()?;
    serde_json::from_str::<GatewayConfig>(content).ok().map(|config| config.salt)
}

/// Without a key at hand the one that is kept goes on to serve.
fn revision(key: Option<&SecretText>, salt: &str, cloud: &CloudSite) -> u64 {
    match key {
        Some(key) => key_revision(key, salt),
        None => {
            let inputs = cloud.peek.begun.get(&Address::new("secret", "baseline-key"));
            inputs.and_then(|inputs| inputs["revision"].as_u64()).unwrap_or_default()
        }
    }
}
