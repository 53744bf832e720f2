//! From a deployment on a cloud to its graph: what is on record, what the cloud says, a machine under the rules.
//!
//! ```text
//! record -> machine_choice (catalogue, and the cloud's survey) -> facts -> graph (pure)
//! ```

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use advisor::Catalogue;
use advisor::cost::{MonthlyTotal, monthly_total};
use engine::graph::Address;
use providers::cloud::{CloudAdapter, CloudFacts, Handed, Image, Quota, Survey, key_revision, new_salt};
use providers::host_plan::{BASELINE_KEY, SPARE_KEY, receiver_keys};
use providers::local::facts::{BINARIES, Binary, FactsError, find_binaries};
use providers::secret::{Given, GivenCertificate, Revisions, SecretText, slow_revision};
use serde::Serialize;
use spec::amount::Usd;
use spec::deployment::{Cloud, Deployment};
use spec::encryption_key::EncryptionKey;
use spec::layout::DeploymentLayout;
use spec::machine::ResolvedMachine;
use spec::resolved::{KeySource, ResolvedApi, ResolvedBaseline, ResolvedSpec, ResolvedTls};
use spec::route::GatewayConfig;

use crate::clouds;
use crate::exit::{Failure, Kind};
use crate::given::not_set;
use crate::machine_choice::{Choice, Wish, choose};
use crate::prepare::{Prepared, Target};
use crate::site::CloudSite;

/// What a cloud deployment is prepared from.
pub struct Asked<'a> {
    pub deployment: Deployment,
    /// Without a machine yet.
    pub spec: ResolvedSpec,
    pub layout: DeploymentLayout,
    pub binaries: PathBuf,
    pub given: Given,
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
    /// The gateway does not encrypt what it says to clients.
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
    let Choice { machine, mut survey, notes } = choose(&wish, offers).await?;
    let image = survey.image.take().ok_or_else(|| Failure::failed("the cloud named no image"))?;
    let account = survey.identity.account.clone();
    refuse_another_account(&cloud, asked.spec.cloud, &account)?;
    refuse_key_elsewhere(asked.spec.encryption_key.as_ref(), &machine.region)?;
    let report = report(&asked, &machine, &survey, &image, notes);
    let facts = facts(&asked, &cloud, survey, image, &machine)?;
    let region = machine.region.clone();
    let spec = ResolvedSpec { machine: Some(machine), ..asked.spec };
    let graph = cloud.adapter.graph(&spec, &facts);
    let graph = graph.map_err(|error| Failure::usage(error).next("dsctl plan --help"))?;
    let account = Some(account);
    let site = cloud.site(&region, Handed { account, binaries: asked.binaries, given: asked.given });
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

/// A bucket in one region takes no key but that region's: none of a continent, and none that is global.
fn refuse_key_elsewhere(key: Option<&EncryptionKey>, region: &str) -> Result<(), Failure> {
    match key {
        Some(EncryptionKey { name, location }) if location != region => {
            let message = format!("encryption_key: {name} lies in {location}, the deployment in {region}");
            let next = format!("the same command with a key in {region}, or with the key's own region by --region");
            Err(Failure::usage(message).next(next))
        }
        _ => Ok(()),
    }
}

/// A key that is kept in the bucket goes on to serve; without one it must be at hand.
fn refuse_missing_key(asked: &Asked<'_>, cloud: &CloudSite) -> Result<(), Failure> {
    let is_missing = |secret: &str| {
        asked.given.value(secret).is_none() && !cloud.peek.begun.contains_key(&Address::new("secret", secret))
    };
    if let Some(ResolvedBaseline::Api(ResolvedApi { key: KeySource::Environment(name), .. })) = &asked.spec.baseline
        && is_missing(BASELINE_KEY)
    {
        return Err(not_set("baseline", name));
    }
    if let Some(ResolvedApi { key: KeySource::Environment(name), .. }) = &asked.spec.spare
        && is_missing(SPARE_KEY)
    {
        return Err(not_set("spare", name));
    }
    for (kind, key) in receiver_keys(&asked.spec) {
        if let KeySource::Environment(name) = key
            && is_missing(kind.secret())
        {
            return Err(not_set(&format!("monitoring.receivers.{}", kind.as_str()), &name));
        }
    }
    Ok(())
}

/// A later command must not look elsewhere, whatever is cheapest by then.
fn pinned(mut deployment: Deployment, region: &str) -> Result<Deployment, Failure> {
    deployment.region = Some(region.parse().map_err(Failure::failed)?);
    Ok(deployment)
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
        plain_http: asked.spec.tls == ResolvedTls::Plain,
        around_source: machine.around.source.clone(),
        notes,
    }
}

fn facts(
    asked: &Asked<'_>,
    cloud: &CloudSite,
    survey: Survey,
    image: Image,
    machine: &ResolvedMachine,
) -> Result<CloudFacts, Failure> {
    let kept = kept_config(cloud);
    let kept_hourly = kept.as_ref().and_then(|kept| kept.machine_hourly);
    let machine_hourly = steady(kept_hourly, planned_hourly(machine), stays(cloud, machine));
    let salt = kept.map_or_else(new_salt, |kept| kept.salt);
    Ok(CloudFacts {
        machine_hourly,
        gpus: steady(kept_gpus(cloud), fewest_gpus(machine), stays(cloud, machine)).unwrap_or_default(),
        identity: survey.identity,
        image,
        binaries: binaries(asked)?,
        boot_script: clouds::boot_script(asked.spec.cloud).to_owned(),
        revisions: revisions(asked, &salt, cloud)?,
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

/// The gateway's configuration that an earlier `up` made: its salt stays, so that who is in the candidate's share does.
fn kept_config(cloud: &CloudSite) -> Option<GatewayConfig> {
    let inputs = cloud.peek.begun.get(&Address::new("host-spec", "main"))?;
    let content = inputs.pointer("/host/files/0/content")?.as_str()?;
    serde_json::from_str(content).ok()
}

/// Of the machine that is planned, with what the plan's total has beside it.
fn planned_hourly(machine: &ResolvedMachine) -> Option<Usd> {
    let total = monthly_total(machine, machine.candidates.first()?).total?;
    Some(Usd::from_millionths((total.dollars() * 1e6 / Usd::HOURS_A_MONTH as f64).round() as u64))
}

/// Which of the candidates it becomes is not known before.
fn fewest_gpus(machine: &ResolvedMachine) -> Option<u32> {
    machine.candidates.iter().map(|candidate| candidate.offer.gpu_count).min()
}

fn kept_gpus(cloud: &CloudSite) -> Option<u32> {
    let inputs = cloud.peek.begun.get(&Address::new("host-spec", "main"))?;
    inputs.pointer("/host/gpus")?.as_u64().and_then(|gpus| gpus.try_into().ok())
}

/// The price stays as it was planned for as long as the machine stays: a spot price moves by the hour, and telling the
/// gateway is a change of its host. So it is after a fail-over too: the price is of the machine that was planned first.
fn steady<T>(kept: Option<T>, now: Option<T>, machine: Stays) -> Option<T> {
    match machine {
        Stays::AsItIs => kept.or(now),
        Stays::NotYetOrNoMore => now,
    }
}

/// Whether the machine that is planned is the one that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stays {
    AsItIs,
    NotYetOrNoMore,
}

fn stays(cloud: &CloudSite, machine: &ResolvedMachine) -> Stays {
    let (placed, first) = (cloud.laid_out.machine.as_ref(), machine.candidates.first());
    let is_same = placed.zip(first).is_some_and(|(placed, first)| {
        placed.machine_type == first.offer.machine_type && placed.market == first.market
    });
    if is_same { Stays::AsItIs } else { Stays::NotYetOrNoMore }
}

/// Without a key at hand the one that is kept goes on to serve.
fn revisions(asked: &Asked<'_>, salt: &str, cloud: &CloudSite) -> Result<Revisions, Failure> {
    let given = &asked.given;
    let mut receivers = BTreeMap::new();
    for (kind, _) in receiver_keys(&asked.spec) {
        let revision = match given.value(kind.secret()) {
            Some(key) => slow_revision(key, salt).map_err(Failure::failed)?,
            None => kept_revision(kind.secret(), cloud),
        };
        receivers.insert(kind.secret(), revision);
    }
    let revision = |secret: &str, given: Option<&SecretText>| {
        given.map_or_else(|| kept_revision(secret, cloud), |key| key_revision(key, salt))
    };
    Ok(Revisions {
        baseline_key: revision(BASELINE_KEY, given.baseline_key.as_ref()),
        spare_key: revision(SPARE_KEY, given.spare_key.as_ref()),
        certificate: given.certificate.as_ref().map_or(0, GivenCertificate::revision),
        receivers,
    })
}

fn kept_revision(secret: &str, cloud: &CloudSite) -> u64 {
    let inputs = cloud.peek.begun.get(&Address::new("secret", secret));
    inputs.and_then(|inputs| inputs["revision"].as_u64()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_price_stays_with_the_machine() {
        let usd = |text: &str| Some(text.parse::<Usd>().unwrap());
        assert_eq!(steady(usd("10"), usd("12"), Stays::AsItIs), usd("10"));
        assert_eq!(steady(None, usd("12"), Stays::AsItIs), usd("12"));
        assert_eq!(steady(usd("10"), usd("12"), Stays::NotYetOrNoMore), usd("12"));
        assert_eq!(steady(usd("10"), None, Stays::NotYetOrNoMore), None, "another machine's price is not this one's");
    }
}
