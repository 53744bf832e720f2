//! From flags and file to a graph: what `up` and `plan` share.

use std::path::Path;
use std::sync::Arc;

use engine::apply::Engine;
use engine::graph::Graph;
use engine::plan::Plan;
use engine::provider::Provider;
use engine::saved::SavedPlan;
use providers::local::facts::{FactsError, gather};
use providers::local::{LocalProvider, graph};
use providers::secret::Given;
use spec::deployment::{ApiWish, BaselineWish, Cloud, DaemonWish, Deployment, GatewayWish, WeightsWish};
use spec::layout::DeploymentLayout;
use spec::machine::{BudgetWish, MachineWish, Market, NetworkWish};
use spec::monitoring::{MonitoringWish, Part, Receivers};
use spec::resolved::ResolvedSpec;
use spec::weights::WeightsSource;

use crate::args::{CloudArgs, SpecArgs};
use crate::context::Context;
use crate::exit::{Failure, Kind};
use crate::given::given;
use crate::prepare_cloud::{Asked, CloudTarget, prepare_cloud};
use crate::resolve::resolve;
use crate::session::{Session, look};
use crate::site::{self, Site};

/// Everything that is known before anything is done.
pub struct Prepared {
    /// As it was written; kept with the deployment, so that `up` alone means the same again.
    pub deployment: Deployment,
    pub spec: ResolvedSpec,
    pub layout: DeploymentLayout,
    pub graph: Graph,
    pub site: Site,
    pub target: Target,
    /// The plan that is to be done and no other.
    pub saved: Option<SavedPlan>,
}

/// What is there beside the engine's view of a deployment.
pub enum Target {
    Local(LocalProvider),
    Cloud(Box<CloudTarget>),
}

pub async fn prepare(context: &Context, args: &SpecArgs, command: &str) -> Result<Prepared, Failure> {
    prepare_deployment(context, deployment(context, args)?, args, command).await
}

/// What a plan file says, and nothing beside it.
pub async fn prepare_saved(context: &Context, path: &Path, args: &SpecArgs) -> Result<Prepared, Failure> {
    // What watches may come out of the environment, and be meant for other commands.
    let wishes = Deployment { monitoring: MonitoringWish::default(), ..from_flags(args)? };
    if args.file.is_some() || wishes != Deployment::default() {
        return Err(Failure::usage("a plan file says all there is to do; it goes with no --file and no other wishes"));
    }
    let failed = |error: &dyn std::fmt::Display| Failure::usage(format!("{}: {error}", path.display()));
    let bytes = std::fs::read(path).map_err(|error| failed(&error))?;
    let saved = SavedPlan::parse(&bytes).map_err(|error| failed(&error).next("dsctl plan --output FILE"))?;
    let deployment = serde_json::from_value(saved.deployment.clone()).map_err(|error| failed(&error))?;
    let prepared = prepare_deployment(context, deployment, args, "dsctl up").await?;
    Ok(Prepared { graph: saved.graph.clone(), saved: Some(saved), ..prepared })
}

async fn prepare_deployment(
    context: &Context,
    deployment: Deployment,
    args: &SpecArgs,
    command: &str,
) -> Result<Prepared, Failure> {
    let catalogue = advisor::catalogue().map_err(Failure::failed)?;
    let spec = resolve(deployment.clone(), &catalogue)?;
    let layout = context.home.deployment(&spec.name);
    let deployment = in_its_place(deployment, &spec, &layout)?;
    let given = given(&spec, &layout)?;
    match spec.cloud {
        Cloud::Local => prepare_local(context, deployment, spec, given),
        _ => {
            let binaries = site::host_binaries(context, args.cloud_wishes.binaries.as_ref())?;
            let asked = Asked { deployment, spec, layout, binaries, given, command };
            prepare_cloud(asked, &catalogue).await
        }
    }
}

fn prepare_local(
    context: &Context,
    deployment: Deployment,
    spec: ResolvedSpec,
    given: Given,
) -> Result<Prepared, Failure> {
    let layout = context.home.deployment(&spec.name);
    let binaries = context.binaries()?;
    let facts = gather(&spec, &layout, &binaries, &given).map_err(facts_failure)?;
    let graph = graph::build(&spec, &facts, &layout).map_err(Failure::failed)?;
    let provider = LocalProvider::new(context.home.clone(), spec.name.clone(), binaries).with_given(given);
    let site = Site::local(&layout, &spec.name, provider.clone());
    Ok(Prepared { deployment, spec, layout, graph, site, target: Target::Local(provider), saved: None })
}

/// One name is one deployment in one place with one record: what it has elsewhere would be left behind.
fn in_its_place(
    mut deployment: Deployment,
    spec: &ResolvedSpec,
    layout: &DeploymentLayout,
) -> Result<Deployment, Failure> {
    let Some(kept) = site::kept_deployment(layout)? else { return Ok(deployment) };
    let moved = |what: &str, from: &dyn std::fmt::Display, to: &dyn std::fmt::Display| {
        let message = format!("{what}: {} is on {from}; a deployment does not move to {to}", spec.name);
        Err(Failure::usage(message).next("dsctl down, or the same command with another --name"))
    };
    let cloud = kept.cloud.unwrap_or(Cloud::Local);
    if cloud != spec.cloud {
        return moved("cloud", &cloud, &spec.cloud);
    }
    match (&kept.state, &deployment.state) {
        (Some(kept), None) => deployment.state = Some(kept.clone()),
        (None, Some(wanted)) if layout.state().is_dir() => return moved("state", &layout.state().display(), wanted),
        (Some(kept), Some(wanted)) if kept != wanted => return moved("state", kept, wanted),
        _ => {}
    }
    Ok(deployment)
}

impl Prepared {
    /// The plan as of now. Changes nothing but what an interrupted run left unsettled.
    pub async fn plan(&self, command: &str) -> Result<Plan, Failure> {
        if !self.layout.state().is_dir() || matches!(self.target, Target::Cloud(_)) {
            // What an interrupted run left on a cloud was settled when it was prepared.
            return self.plan_of(&look(self.site.clone()).await?).await;
        }
        let session = Session::open(self.site.clone(), command).await?;
        let plan = self.plan_of(&session.engine).await;
        session.release_after(plan).await
    }

    async fn plan_of(&self, engine: &Engine<Arc<dyn Provider>>) -> Result<Plan, Failure> {
        let plan = match &self.saved {
            Some(saved) => engine.check_saved(saved).await,
            None => engine.plan(&self.graph).await,
        };
        Ok(plan?)
    }
}

fn facts_failure(error: FactsError) -> Failure {
    match &error {
        FactsError::Binary { .. } => Failure::failed(&error).next("cargo build"),
        FactsError::Port { port, .. } => {
            let message = format!("{error}{}", owner_text(*port));
            Failure::new(Kind::Resource, message).next("dsctl up --port 0 (any free port), or stop what holds it")
        }
        FactsError::Provider(_) => Failure::new(Kind::Resource, &error),
    }
}

fn owner_text(port: u16) -> String {
    agent::port_holder(port).map(|holder| format!("; it is held by {holder}")).unwrap_or_default()
}

/// Flags over the file; without a file and a model, flags over what the deployment was made from.
fn deployment(context: &Context, args: &SpecArgs) -> Result<Deployment, Failure> {
    let from_flags = with_absolute_paths(from_flags(args)?, &std::env::current_dir()?);
    let kept = match &args.name {
        Some(name) => context.home.deployment(name),
        None => context.home.deployment(&"default".parse().map_err(Failure::failed)?),
    };
    let path = match &args.file {
        Some(path) => path.clone(),
        None if args.model.is_none() && kept.spec_file().is_file() => kept.spec_file(),
        None => return Ok(from_flags),
    };
    let path = path.as_path();
    let text = std::fs::read_to_string(path).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
    let from_file = Deployment::parse(&text, &path.display().to_string()).map_err(Failure::usage)?;
    let folder = std::path::absolute(path)?;
    let from_file = with_absolute_paths(from_file, folder.parent().unwrap_or(Path::new("/")));
    let from_file = unwatched_as_said(from_file, args.monitoring);
    Ok(from_file.overlaid_by(from_flags))
}

/// Who says on the command line that nothing of ours watches does without what the file says of who is told.
fn unwatched_as_said(mut deployment: Deployment, monitoring: Option<Part>) -> Deployment {
    if matches!(monitoring, Some(Part::None | Part::ScrapeOnly)) {
        deployment.monitoring.receivers = Receivers::default();
        deployment.monitoring.alertmanager = None;
        deployment.monitoring.grafana = None;
        deployment.monitoring.grafana_repository = None;
    }
    deployment
}

/// The agent, and a later `up`, stand in other folders: a path means what it meant where it was written.
fn with_absolute_paths(mut deployment: Deployment, base: &Path) -> Deployment {
    if let Some(BaselineWish::Api(api)) = &mut deployment.baseline {
        api.key_file = api.key_file.take().map(|path| base.join(path));
    }
    if let Some(api) = &mut deployment.spare {
        api.key_file = api.key_file.take().map(|path| base.join(path));
    }
    if let Some(certificate) = &mut deployment.gateway.certificate {
        certificate.chain_file = base.join(&certificate.chain_file);
        certificate.key_file = base.join(&certificate.key_file);
    }
    for key_file in deployment.monitoring.receivers.key_files_mut() {
        *key_file = base.join(&*key_file);
    }
    for source in deployment.weights.iter_mut().flat_map(|weights| &mut weights.sources) {
        if let WeightsSource::File { path } = source {
            *path = base.join(&*path).to_string_lossy().into_owned();
        }
    }
    deployment
}

fn from_flags(args: &SpecArgs) -> Result<Deployment, Failure> {
    let weights = (!args.weights.is_empty())
        .then(|| WeightsWish { sources: args.weights.clone(), sha256: args.weights_sha256.clone() });
    Ok(Deployment {
        name: args.name.clone(),
        cloud: args.cloud,
        model: args.model.clone(),
        gateway: GatewayWish { port: args.port, certificate: None },
        daemon: DaemonWish {
            context: args.context,
            max_sequences: args.max_sequences,
            threads: args.threads,
            memory_utilization: args.memory_utilization,
        },
        baseline: baseline_from_flags(args)?,
        spare: None,
        guards: None,
        cache: None,
        audit: None,
        weights,
        region: args.cloud_wishes.region.clone(),
        machine: machine_from_flags(&args.cloud_wishes),
        network: NetworkWish {
            range: args.cloud_wishes.network,
            allow: args.cloud_wishes.allow.clone(),
            public: args.cloud_wishes.public.then_some(true),
            egress: args.cloud_wishes.egress,
            tls: args.cloud_wishes.tls,
        },
        budget: BudgetWish {
            max_hourly: args.cloud_wishes.max_hourly,
            max_monthly: args.cloud_wishes.max_monthly,
            egress_gb: args.cloud_wishes.egress_gb,
        },
        compliance: args.cloud_wishes.compliance.clone(),
        monitoring: MonitoringWish { prometheus: args.monitoring, ..MonitoringWish::default() },
        encryption_key: args.cloud_wishes.encryption_key.clone(),
        state: args.cloud_wishes.state.clone(),
    })
}

fn machine_from_flags(args: &CloudArgs) -> MachineWish {
    MachineWish {
        machine_type: args.machine_type.clone(),
        zones: args.zone.clone(),
        market: match (args.spot, args.on_demand) {
            (true, _) => Some(Market::Spot),
            (false, true) => Some(Market::OnDemand),
            (false, false) => None,
        },
        disk_gib: args.disk,
        image: args.image.clone(),
    }
}

fn baseline_from_flags(args: &SpecArgs) -> Result<Option<BaselineWish>, Failure> {
    let details = [
        ("--baseline-model", args.baseline_model.is_some()),
        ("--baseline-key-env", args.baseline_key_env.is_some()),
        ("--baseline-key-file", args.baseline_key_file.is_some()),
    ];
    let given = details.iter().find(|(_, given)| *given).map(|(flag, _)| *flag);
    match (&args.baseline, given) {
        (Some(BaselineWish::Api(api)), _) => Ok(Some(BaselineWish::Api(ApiWish {
            url: api.url.clone(),
            replicas: api.replicas.clone(),
            model: args.baseline_model.clone(),
            key_env: args.baseline_key_env.clone(),
            key_file: args.baseline_key_file.clone(),
            price: None,
        }))),
        (other, None) => Ok(other.clone()),
        (_, Some(flag)) => Err(Failure::usage(format!("{flag} goes with --baseline URL"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_means_what_it_meant_where_it_was_written() {
        let text = "weights: {sources: ['file:m.gguf', 'file:/m.gguf', 'https://h/m.gguf']}\n\
                    baseline: {url: 'https://h/v1', key_file: key}\n\
                    gateway: {certificate: {chain_file: c.pem, key_file: /k.pem}}";
        let made = with_absolute_paths(Deployment::parse(text, "dsctl.yaml").unwrap(), Path::new("/here"));
        let sources: Vec<String> = made.weights.unwrap().sources.iter().map(ToString::to_string).collect();
        assert_eq!(sources, ["file:/here/m.gguf", "file:/m.gguf", "https://h/m.gguf"]);
        let Some(BaselineWish::Api(api)) = made.baseline else { panic!("not an API") };
        assert_eq!(api.key_file.as_deref(), Some(Path::new("/here/key")));
        let certificate = made.gateway.certificate.unwrap();
        assert_eq!((certificate.chain_file, certificate.key_file), ("/here/c.pem".into(), "/k.pem".into()));
    }
}
