//! The desired graph of a local deployment: a pure function of the resolved spec and the machine's facts.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};

use engine::graph::{Address, Desired, Graph, GraphError};
use serde_json::json;
use sha2::{Digest, Sha256 as Hasher};
use spec::amount::Span;
use spec::host::{Arg, ArtifactSpec, FileSpec, FirstTokenProbe, HostSpec, Phase, RunState, UnitSpec};
use spec::id::{InvalidId, SecretName, UnitName, Variant};
use spec::layout::DeploymentLayout;
use spec::resolved::{KeySource, ResolvedBaseline, ResolvedModel, ResolvedSpec};
use spec::route::{GatewayConfig, Limits, VariantConfig};

use super::facts::{Binary, LocalFacts};
use super::{host_name, host_spec, kind};

pub const API_KEY: &str = "api-key";
pub const ADMIN_TOKEN: &str = "admin-token";
pub const DAEMON_KEY: &str = "daemon-key";
pub const BASELINE_KEY: &str = "baseline-key";
pub const DAEMON_UNIT: &str = "dsserve";
pub const BASELINE_UNIT: &str = "dsserve-baseline";
pub const GATEWAY_UNIT: &str = "dsgate";
pub const GATEWAY_FILE: &str = "gateway.json";

const DAEMON_STOP_GRACE: Span = Span::seconds(30);
const GATEWAY_STOP_GRACE: Span = Span::seconds(35);

#[derive(Debug, thiserror::Error)]
pub enum LocalGraphError {
    #[error(transparent)]
    Graph(#[from] GraphError),
    #[error(transparent)]
    Id(#[from] InvalidId),
    #[error("host spec: {0}")]
    Json(#[from] serde_json::Error),
    #[error("no binary named {0} was looked up")]
    Binary(&'static str),
}

/// Everything that a local deployment consists of.
pub fn build(spec: &ResolvedSpec, facts: &LocalFacts, layout: &DeploymentLayout) -> Result<Graph, LocalGraphError> {
    let bucket = resource(Address::new(kind::BUCKET, "main"), json!({}), "private folder for everything below");
    let mut resources: Vec<Desired> = secrets(spec, facts.baseline_key_revision);
    for (name, binary) in &facts.binaries {
        resources.push(artifact(name, binary));
    }
    for weights in spec.weights() {
        let size = weights.size.unwrap_or_default();
        let from = weights.sources.first().map(ToString::to_string).unwrap_or_default();
        let inputs = serde_json::to_value(&weights)?;
        let wanted = resource(Address::new(kind::WEIGHTS, weights.name.as_str()), inputs, &from);
        resources.push(Desired { disk_bytes: size, ..wanted });
    }
    for it in &mut resources {
        it.depends_on.insert(bucket.address.clone());
    }
    let mut host = host(spec, facts, layout)?;
    host.depends_on = resources.iter().map(|it| it.address.clone()).collect();
    let dsctl = facts.binaries.get("dsctl").ok_or(LocalGraphError::Binary("dsctl"))?;
    let mut agent = resource(
        Address::new(kind::AGENT, "local"),
        json!({"sha256": dsctl.sha256}),
        "detached process that keeps the units running",
    );
    agent.depends_on = [host.address.clone()].into();
    resources.extend([bucket, host, agent]);
    Ok(Graph::new(resources)?)
}

fn resource(address: Address, inputs: serde_json::Value, summary: &str) -> Desired {
    let (summary, depends_on) = (summary.to_owned(), BTreeSet::new());
    Desired { address, inputs, depends_on, summary, disk_bytes: 0, monthly_usd: Some(0.0), candidates: Vec::new() }
}

fn artifact(name: &str, binary: &Binary) -> Desired {
    let short = &binary.sha256.as_str()[..12];
    let wanted =
        resource(Address::new(kind::ARTIFACT, name), json!({"sha256": binary.sha256}), &format!("sha256 {short}…"));
    Desired { disk_bytes: binary.size, ..wanted }
}

fn secrets(spec: &ResolvedSpec, baseline_key_revision: u64) -> Vec<Desired> {
    let generated = [
        (API_KEY, "for clients of the gateway"),
        (ADMIN_TOKEN, "for dsctl's own calls to the gateway"),
        (DAEMON_KEY, "between gateway and daemon"),
    ];
    let secret = |name: &str, inputs, summary: &str| resource(Address::new(kind::SECRET, name), inputs, summary);
    let mut all: Vec<Desired> = generated.iter().map(|(name, summary)| secret(name, json!({}), summary)).collect();
    if let Some(ResolvedBaseline::Api { key, .. }) = &spec.baseline {
        let from = match key {
            KeySource::None => return all,
            KeySource::Environment(name) => format!("from the environment variable {name}"),
            KeySource::File(path) => format!("from {}", path.display()),
        };
        all.push(secret(BASELINE_KEY, json!({"from": from, "revision": baseline_key_revision}), &from));
    }
    all
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn host(spec: &ResolvedSpec, facts: &LocalFacts, layout: &DeploymentLayout) -> Result<Desired, LocalGraphError> {
    let config = serde_json::to_string_pretty(&gateway_config(spec, facts, layout)?)?;
    let mut units = vec![daemon_unit(spec, facts, &spec.model, DAEMON_UNIT, facts.ports.daemon, Phase::Daemon)?];
    let mut first_token = vec![probe(&spec.model, DAEMON_UNIT, facts.ports.daemon)?];
    if let Some(ResolvedBaseline::Local(model)) = &spec.baseline {
        let port = facts.ports.baseline_daemon;
        units.push(daemon_unit(spec, facts, model, BASELINE_UNIT, port, Phase::BaselineDaemon)?);
        first_token.push(probe(model, BASELINE_UNIT, port)?);
    }
    units.push(gateway_unit(facts, &config)?);
    let summary = units
        .iter()
        .map(|unit| {
            let ports: Vec<String> = unit.ports.iter().map(u16::to_string).collect();
            format!("{} on {}", unit.name, ports.join(" and "))
        })
        .collect::<Vec<_>>()
        .join(", ");
    let wanted = HostSpec {
        deployment: spec.name.clone(),
        host: host_name(),
        generation: 0,
        run: RunState::Running,
        weights: spec.weights(),
        files: vec![FileSpec { name: GATEWAY_FILE.to_owned(), content: config }],
        units,
        first_token,
        actions: Vec::new(),
    };
    Ok(resource(Address::new(kind::HOST_SPEC, "local"), host_spec::inputs(&wanted)?, &summary))
}

fn artifact_spec(facts: &LocalFacts, name: &'static str) -> Result<ArtifactSpec, LocalGraphError> {
    let binary = facts.binaries.get(name).ok_or(LocalGraphError::Binary(name))?;
    Ok(ArtifactSpec { name: name.to_owned(), sha256: binary.sha256.clone() })
}

fn text(word: impl ToString) -> Arg {
    Arg::Text(word.to_string())
}

fn daemon_unit(
    spec: &ResolvedSpec,
    facts: &LocalFacts,
    model: &ResolvedModel,
    name: &str,
    port: u16,
    phase: Phase,
) -> Result<UnitSpec, LocalGraphError> {
    let files = model.weights.iter().flat_map(|part| [text("--model"), Arg::Weights(part.name.clone())]);
    let mut args: Vec<Arg> = files.collect();
    args.extend([
        text("--served-model-name"),
        text(&model.served_name),
        text("--listen"),
        text(loopback(port)),
        text("--api-key-file"),
        Arg::Secret(DAEMON_KEY.parse()?),
        text("--max-sequences"),
        text(spec.daemon.max_sequences),
    ]);
    for (flag, value) in [("--context", spec.daemon.context), ("--threads", spec.daemon.threads)] {
        if let Some(value) = value {
            args.extend([text(flag), text(value)]);
        }
    }
    Ok(UnitSpec {
        name: name.parse()?,
        artifact: artifact_spec(facts, "dsserve")?,
        args,
        env: BTreeMap::new(),
        ports: vec![port],
        ready_url: format!("http://{}/ready", loopback(port)),
        stop_grace: DAEMON_STOP_GRACE,
        phase,
    })
}

fn probe(model: &ResolvedModel, unit: &str, port: u16) -> Result<FirstTokenProbe, LocalGraphError> {
    Ok(FirstTokenProbe {
        unit: unit.parse()?,
        base_url: format!("http://{}/v1", loopback(port)),
        model: model.served_name.clone(),
        key: DAEMON_KEY.parse()?,
    })
}

fn gateway_unit(facts: &LocalFacts, config: &str) -> Result<UnitSpec, LocalGraphError> {
    // A changed configuration, or a changed key that it points to, is a changed unit: the agent starts it anew.
    let digest = hex::encode(Hasher::digest(format!("{config}{}", facts.baseline_key_revision)));
    Ok(UnitSpec {
        name: GATEWAY_UNIT.parse()?,
        artifact: artifact_spec(facts, "dsgate")?,
        args: vec![text("--config"), Arg::File(GATEWAY_FILE.to_owned()), text("--data-dir"), Arg::DataFolder],
        env: BTreeMap::from([("DSGATE_CONFIG_SHA256".to_owned(), digest)]),
        ports: vec![facts.ports.gateway, facts.ports.admin],
        ready_url: format!("http://{}/ready", loopback(facts.ports.gateway)),
        stop_grace: GATEWAY_STOP_GRACE,
        phase: Phase::Gateway,
    })
}

fn gateway_config(
    spec: &ResolvedSpec,
    facts: &LocalFacts,
    layout: &DeploymentLayout,
) -> Result<GatewayConfig, LocalGraphError> {
    let secret = |name: &str| Ok::<_, InvalidId>(layout.bucket().secret(&name.parse::<SecretName>()?));
    let mut variants = BTreeMap::new();
    // With a baseline, clients keep asking for the old API's model names: whatever they ask for is ours.
    let takes_any_name = spec.baseline.is_some();
    let candidate = daemon_variant(&spec.model, facts.ports.daemon, secret(DAEMON_KEY)?, takes_any_name);
    variants.insert(Variant::Candidate, candidate);
    match &spec.baseline {
        None => {}
        Some(ResolvedBaseline::Local(model)) => {
            let variant = daemon_variant(model, facts.ports.baseline_daemon, secret(DAEMON_KEY)?, takes_any_name);
            variants.insert(Variant::Baseline, variant);
        }
        Some(ResolvedBaseline::Api { url, model, key }) => {
            let variant = VariantConfig {
                base_url: url.clone(),
                key_file: if *key == KeySource::None { None } else { Some(secret(BASELINE_KEY)?) },
                models: BTreeMap::new(),
                default_model: model.clone(),
                ready_url: None,
                metrics_url: None,
            };
            variants.insert(Variant::Baseline, variant);
        }
    }
    Ok(GatewayConfig {
        listen: loopback(facts.ports.gateway),
        admin_listen: loopback(facts.ports.admin),
        api_keys_file: secret(API_KEY)?,
        admin_token_file: secret(ADMIN_TOKEN)?,
        variants,
        salt: facts.salt.clone(),
        limits: Limits::default(),
    })
}

fn daemon_variant(model: &ResolvedModel, port: u16, key: std::path::PathBuf, takes_any_name: bool) -> VariantConfig {
    let names = [model.served_name.clone(), model.name.to_string()];
    VariantConfig {
        base_url: format!("http://{}/v1", loopback(port)),
        key_file: Some(key),
        models: names.into_iter().map(|name| (name, model.served_name.clone())).collect(),
        default_model: takes_any_name.then(|| model.served_name.clone()),
        ready_url: Some(format!("http://{}/ready", loopback(port))),
        metrics_url: Some(format!("http://{}/metrics", loopback(port))),
    }
}

/// The unit names that `dsctl logs` and `dsctl status` know.
pub fn unit_names() -> Result<Vec<UnitName>, InvalidId> {
    [DAEMON_UNIT, BASELINE_UNIT, GATEWAY_UNIT].iter().map(|name| name.parse()).collect()
}

#[cfg(test)]
mod tests {
    use spec::deployment::Cloud;
    use spec::layout::HomeLayout;
    use spec::resolved::{PortChoice, ResolvedDaemon};
    use spec::weights::WeightsSpec;

    use super::*;
    use crate::local::facts::Ports;

    fn model(name: &str, parts: &[&str]) -> ResolvedModel {
        let weights = parts.iter().map(|part| WeightsSpec {
            name: part.parse().unwrap(),
            sources: vec![format!("file:/{part}.gguf").parse().unwrap()],
            sha256: None,
            size: Some(7),
        });
        ResolvedModel { name: name.parse().unwrap(), served_name: format!("served-{name}"), weights: weights.collect() }
    }

    fn spec_with(baseline: Option<ResolvedBaseline>) -> ResolvedSpec {
        ResolvedSpec {
            name: "default".parse().unwrap(),
            cloud: Cloud::Local,
            model: model("m", &["m-1", "m-2"]),
            gateway_port: PortChoice::Fixed(1),
            daemon: ResolvedDaemon { context: Some(512), max_sequences: 3, threads: None },
            baseline,
            machine: None,
        }
    }

    fn facts(baseline_key_revision: u64) -> LocalFacts {
        let binary = |size| Binary { sha256: "0".repeat(64).parse().unwrap(), size };
        LocalFacts {
            binaries: [("dsctl", 1), ("dsgate", 2), ("dsserve", 3)]
                .map(|(name, size)| (name.to_owned(), binary(size)))
                .into(),
            ports: Ports { gateway: 1, admin: 2, daemon: 3, baseline_daemon: 4 },
            salt: "salt".to_owned(),
            baseline_key_revision,
        }
    }

    fn graph_of(baseline: Option<ResolvedBaseline>, revision: u64) -> Graph {
        let layout = HomeLayout::new("/home of dsctl").deployment(&"default".parse().unwrap());
        build(&spec_with(baseline), &facts(revision), &layout).unwrap()
    }

    fn host_inputs(graph: &Graph) -> serde_json::Value {
        graph.get(&Address::new(kind::HOST_SPEC, "local")).unwrap().inputs.clone()
    }

    fn gateway_file(graph: &Graph) -> GatewayConfig {
        serde_json::from_str(host_inputs(graph)["files"][0]["content"].as_str().unwrap()).unwrap()
    }

    fn api(key: KeySource) -> ResolvedBaseline {
        ResolvedBaseline::Api { url: "https://api.example.org/v1".to_owned(), model: None, key }
    }

    #[test]
    fn everything_stands_on_the_bucket_and_the_agent_on_everything() {
        let graph = graph_of(None, 1);
        let order = engine::graph::order(&graph.edges()).unwrap();
        assert_eq!(order.first().unwrap().as_str(), "bucket.main");
        assert_eq!(order.last().unwrap().as_str(), "agent.local");
        assert_eq!(graph.iter().map(|it| it.disk_bytes).sum::<u64>(), 1 + 2 + 3 + 2 * 7);
        assert!(graph.iter().all(|it| it.monthly_usd == Some(0.0)));
    }

    #[test]
    fn a_model_in_parts_is_given_part_by_part() {
        let args = host_inputs(&graph_of(None, 1))["units"][0]["args"].clone();
        let words: Vec<String> = args.as_array().unwrap().iter().take(4).map(ToString::to_string).collect();
        assert_eq!(
            words,
            [r#"{"text":"--model"}"#, r#"{"weights":"m-1"}"#, r#"{"text":"--model"}"#, r#"{"weights":"m-2"}"#]
        );
    }

    #[test]
    fn names_are_mapped_as_each_variant_knows_them() {
        let alone = gateway_file(&graph_of(None, 1));
        assert_eq!(alone.variants.len(), 1);
        let candidate = &alone.variants[&Variant::Candidate];
        assert_eq!(candidate.models["m"], "served-m");
        assert_eq!(candidate.default_model, None, "without a baseline an unknown name is the client's error");
        let both = gateway_file(&graph_of(Some(api(KeySource::None)), 1));
        assert_eq!(both.variants[&Variant::Candidate].default_model.as_deref(), Some("served-m"));
        assert_eq!(both.variants[&Variant::Baseline].key_file, None);
    }

    #[test]
    fn a_new_key_of_the_baseline_changes_its_secret_and_restarts_the_gateway_only() {
        let baseline = || Some(api(KeySource::Environment("OLD_API_KEY".to_owned())));
        let (before, after) = (graph_of(baseline(), 1), graph_of(baseline(), 2));
        let changed: Vec<&str> = before
            .iter()
            .filter(|it| after.get(&it.address).unwrap().inputs != it.inputs)
            .map(|it| it.address.as_str())
            .collect();
        assert_eq!(changed, ["host-spec.local", "secret.baseline-key"]);
        let units = |graph: &Graph| host_inputs(graph)["units"].as_array().unwrap().clone();
        let (before, after) = (units(&before), units(&after));
        assert_eq!(before[0], after[0], "the daemon goes on");
        assert_ne!(before[1], after[1], "the gateway reads the key at its start");
    }
}
