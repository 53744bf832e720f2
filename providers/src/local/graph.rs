//! The desired graph of a local deployment: a pure function of the resolved spec and the machine's facts.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};

use engine::graph::{Address, Desired, Graph, GraphError};
use serde_json::json;
use spec::certificate::Reach;
use spec::id::{InvalidId, UnitName};
use spec::layout::DeploymentLayout;
use spec::resolved::ResolvedSpec;

use super::facts::{Binary, LocalFacts, Ports};
use super::{host_name, kind};
use crate::host_plan::{self, HostPlan, HostPlanError, Listen, generated_secrets, given_secrets};
use crate::host_spec;

pub use crate::host_plan::{
    ADMIN_TOKEN, API_KEY, BASELINE_KEY, BASELINE_UNIT, DAEMON_KEY, DAEMON_UNIT, GATEWAY_FILE, GATEWAY_UNIT,
};

#[derive(Debug, thiserror::Error)]
pub enum LocalGraphError {
    #[error(transparent)]
    Graph(#[from] GraphError),
    #[error(transparent)]
    Id(#[from] InvalidId),
    #[error("host spec: {0}")]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Host(#[from] HostPlanError),
}

/// Everything that a local deployment consists of.
pub fn build(spec: &ResolvedSpec, facts: &LocalFacts, layout: &DeploymentLayout) -> Result<Graph, LocalGraphError> {
    let bucket = resource(Address::new(kind::BUCKET, "main"), json!({}), "private folder for everything below");
    let mut resources: Vec<Desired> = secrets(spec, facts);
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
    let dsctl = facts.binaries.get("dsctl").ok_or(HostPlanError::Binary("dsctl"))?;
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

fn secrets(spec: &ResolvedSpec, facts: &LocalFacts) -> Vec<Desired> {
    let secret = |name: &str, inputs, summary: &str| resource(Address::new(kind::SECRET, name), inputs, summary);
    let generated = generated_secrets(spec).into_iter().map(|(name, summary)| secret(name, json!({}), summary));
    let given = given_secrets(spec, &facts.revisions);
    let given =
        given.iter().map(|(name, from, revision)| secret(name, json!({"from": from, "revision": revision}), from));
    generated.chain(given).collect()
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn host(spec: &ResolvedSpec, facts: &LocalFacts, layout: &DeploymentLayout) -> Result<Desired, LocalGraphError> {
    let Ports { gateway, admin, daemon, baseline_daemon, agent } = facts.ports;
    let plan = HostPlan {
        spec,
        host: host_name(),
        binaries: &facts.binaries,
        listen: Listen {
            gateway: loopback(gateway),
            admin: loopback(admin),
            daemon: loopback(daemon),
            baseline_daemon: loopback(baseline_daemon),
        },
        agent: None,
        salt: &facts.salt,
        revisions: &facts.revisions,
        reach: Reach::Loopback,
        machine_hourly: None,
        watchers: &facts.watchers,
        gpus: None,
        agent_metrics: (!facts.watchers.is_empty()).then(|| loopback(agent)),
        layout,
    };
    let wanted = plan.host_spec()?;
    Ok(resource(Address::new(kind::HOST_SPEC, "local"), host_spec::inputs(&wanted)?, &host_plan::summary(&wanted)))
}

/// The unit names that `dsctl logs` and `dsctl status` know.
pub fn unit_names() -> Result<Vec<UnitName>, InvalidId> {
    [DAEMON_UNIT, BASELINE_UNIT, GATEWAY_UNIT].iter().map(|name| name.parse()).collect()
}

#[cfg(test)]
mod tests {
    use spec::deployment::CertificateWish;
    use spec::deployment::Cloud;
    use spec::id::Variant;
    use spec::layout::HomeLayout;
    use spec::resolved::{
        KeySource, PortChoice, ResolvedApi, ResolvedBaseline, ResolvedDaemon, ResolvedModel, ResolvedTls,
    };
    use spec::route::{GatewayConfig, TokenPrice};
    use spec::weights::WeightsSpec;

    use super::*;
    use crate::local::facts::Ports;
    use crate::secret::Revisions;

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
            tls: ResolvedTls::Plain,
            daemon: ResolvedDaemon { context: Some(512), max_sequences: 3, threads: None, memory_utilization: None },
            baseline,
            spare: None,
            guards: None,
            cache: None,
            audit: None,
            monitoring: spec::monitoring::MonitoringWish::default().resolve().unwrap(),
            encryption_key: None,
            machine: None,
        }
    }

    fn facts(baseline_key_revision: u64) -> LocalFacts {
        let binary = |size| Binary { sha256: "0".repeat(64).parse().unwrap(), size };
        LocalFacts {
            binaries: [("dsctl", 1), ("dsgate", 2), ("dsserve", 3)]
                .map(|(name, size)| (name.to_owned(), binary(size)))
                .into(),
            ports: Ports { gateway: 1, admin: 2, daemon: 3, baseline_daemon: 4, agent: 5 },
            salt: "salt".to_owned(),
            watchers: Vec::new(),
            revisions: Revisions { baseline_key: baseline_key_revision, ..Revisions::default() },
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
        ResolvedBaseline::Api(ResolvedApi {
            url: "https://api.example.org/v1".to_owned(),
            replicas: Vec::new(),
            model: None,
            key,
            price: None,
        })
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
    fn what_an_api_charges_reaches_the_gateway_and_no_price_leaves_its_configuration_as_it_was() {
        let price = |usd: &str| usd.parse().unwrap();
        let charges = TokenPrice { prompt_per_million: price("1"), completion_per_million: price("4") };
        let ResolvedBaseline::Api(free) = api(KeySource::None) else { panic!("not an API") };
        let priced = ResolvedBaseline::Api(ResolvedApi { price: Some(charges), ..free });
        let config = gateway_file(&graph_of(Some(priced), 1));
        assert_eq!(config.variants[&Variant::Baseline].price, Some(charges));
        assert_eq!((config.variants[&Variant::Candidate].price, config.machine_hourly), (None, None));
        let unpriced = host_inputs(&graph_of(Some(api(KeySource::None)), 1)).to_string();
        assert!(!unpriced.contains("price") && !unpriced.contains("machine_hourly"), "{unpriced}");
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

    #[test]
    fn a_gateway_that_encrypts_has_a_certificate_and_is_asked_accordingly() {
        let layout = HomeLayout::new("/home of dsctl").deployment(&"default".parse().unwrap());
        let given = CertificateWish { chain_file: "/c.pem".into(), key_file: "/k.pem".into() };
        for (tls, secrets, ready, word) in [
            (ResolvedTls::Plain, vec![], "http://127.0.0.1:1/ready", ""),
            (ResolvedTls::Issued, vec!["secret.tls-ca"], "https://127.0.0.1:1/ready", r#""reach":"loopback""#),
            (
                ResolvedTls::Given(given),
                vec!["secret.tls-certificate", "secret.tls-key"],
                "http://127.0.0.1:2/ready",
                r#"{"secret":"tls-key"}"#,
            ),
        ] {
            let graph = build(&ResolvedSpec { tls, ..spec_with(None) }, &facts(1), &layout).unwrap();
            let made = graph.iter().map(|it| it.address.as_str()).filter(|address| address.starts_with("secret.tls"));
            assert_eq!(made.collect::<Vec<_>>(), secrets);
            let gateway = host_inputs(&graph)["units"][1].clone();
            assert_eq!(gateway["ready_url"], ready);
            assert!(gateway["args"].to_string().contains(word), "{gateway}");
            let host = host_spec::from_inputs(&host_inputs(&graph), 1, Vec::new()).unwrap();
            let scheme = if secrets.is_empty() { "http" } else { "https" };
            let url = crate::host_view::endpoint(Some(&host), Some("10.0.0.7"));
            assert_eq!(url, Some(format!("{scheme}://10.0.0.7:1/v1")));
        }
    }
}
