//! From flags and file to a graph: what `up` and `plan` share.

use engine::graph::Graph;
use engine::plan::Plan;
use providers::local::facts::{FactsError, gather};
use providers::local::{LocalProvider, SecretText, graph};
use spec::deployment::{ApiWish, BaselineWish, DaemonWish, Deployment, GatewayWish, WeightsWish};
use spec::layout::DeploymentLayout;
use spec::resolved::{KeySource, ResolvedBaseline, ResolvedSpec};

use crate::args::SpecArgs;
use crate::context::Context;
use crate::exit::{Failure, Kind};
use crate::resolve::resolve;
use crate::session::{Session, plan_fresh};

/// Everything that is known before anything is done.
#[derive(Debug)]
pub struct Prepared {
    pub spec: ResolvedSpec,
    pub layout: DeploymentLayout,
    pub graph: Graph,
    pub provider: LocalProvider,
}

pub fn prepare(context: &Context, args: &SpecArgs) -> Result<Prepared, Failure> {
    let catalogue = advisor::catalogue().map_err(Failure::failed)?;
    let spec = resolve(deployment(args)?, &catalogue)?;
    let baseline_key = baseline_key(&spec)?;
    let layout = context.home.deployment(&spec.name);
    let binaries = context.binaries()?;
    let facts = gather(&spec, &layout, &binaries, baseline_key.as_ref()).map_err(facts_failure)?;
    let graph = graph::build(&spec, &facts, &layout).map_err(Failure::failed)?;
    let provider =
        LocalProvider::new(context.home.clone(), spec.name.clone(), binaries).with_baseline_key(baseline_key);
    Ok(Prepared { spec, layout, graph, provider })
}

impl Prepared {
    /// The plan as of now. Changes nothing but what an interrupted run left unsettled.
    pub async fn plan(&self, context: &Context, command: &str) -> Result<Plan, Failure> {
        let name = &self.spec.name;
        if !self.layout.state().is_dir() {
            return plan_fresh(&context.home, name, self.provider.clone(), &self.graph).await;
        }
        let session = Session::open(&context.home, name, self.provider.clone(), command).await?;
        let plan = session.engine.plan(&self.graph).await;
        session.release().await?;
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

fn deployment(args: &SpecArgs) -> Result<Deployment, Failure> {
    let from_flags = from_flags(args)?;
    let Some(path) = &args.file else { return Ok(from_flags) };
    let text = std::fs::read_to_string(path).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
    let from_file = Deployment::parse(&text, &path.display().to_string()).map_err(Failure::usage)?;
    Ok(from_file.overlaid_by(from_flags))
}

fn from_flags(args: &SpecArgs) -> Result<Deployment, Failure> {
    let weights = (!args.weights.is_empty())
        .then(|| WeightsWish { sources: args.weights.clone(), sha256: args.weights_sha256.clone() });
    Ok(Deployment {
        name: args.name.clone(),
        cloud: args.cloud,
        model: args.model.clone(),
        gateway: GatewayWish { port: args.port },
        daemon: DaemonWish { context: args.context, max_sequences: args.max_sequences, threads: args.threads },
        baseline: baseline_from_flags(args)?,
        weights,
    })
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
            model: args.baseline_model.clone(),
            key_env: args.baseline_key_env.clone(),
            key_file: args.baseline_key_file.clone(),
        }))),
        (other, None) => Ok(other.clone()),
        (_, Some(flag)) => Err(Failure::usage(format!("{flag} goes with --baseline URL"))),
    }
}

/// Reads the baseline's API key from where the spec says it is.
fn baseline_key(spec: &ResolvedSpec) -> Result<Option<SecretText>, Failure> {
    let Some(ResolvedBaseline::Api { key, .. }) = &spec.baseline else { return Ok(None) };
    let (place, text) = match key {
        KeySource::None => return Ok(None),
        KeySource::Environment(name) => {
            let place = format!("environment variable {name}");
            (
                place.clone(),
                std::env::var(name).map_err(|_| Failure::usage(format!("baseline.key_env: {place} is not set")))?,
            )
        }
        KeySource::File(path) => {
            let place = path.display().to_string();
            (
                place.clone(),
                std::fs::read_to_string(path)
                    .map_err(|error| Failure::usage(format!("baseline.key_file: {place}: {error}")))?,
            )
        }
    };
    let text = text.trim();
    if text.is_empty() || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(Failure::usage(format!("baseline: {place} holds no API key: one line without spaces is wanted")));
    }
    Ok(Some(SecretText::new(text)))
}
