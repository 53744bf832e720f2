//! What the graphs of all clouds have in common: the kinds that each has, the host with what it fetches, what a machine costs.
//! Pure. Each cloud's `graph` draws the rest around it.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};

use engine::graph::{Address, Desired, Graph};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use spec::action::Action;
use spec::amount::Usd;
use spec::certificate::Reach;
use spec::layout::HomeLayout;
use spec::machine::{Egress, Exposure, MachineCandidate, ResolvedMachine};
use spec::resolved::{PortChoice, ResolvedBaseline, ResolvedSpec};
use spec::weights::{ObjectScheme, WeightsSource};

use crate::cloud::{Begun, CloudFacts, CloudGraphError, HOST_HOME, host_name};
use crate::host_plan::{self, HostPlan, Listen, generated_secrets, given_secrets};
use crate::host_spec;
use crate::local::facts::Binary;
use crate::secret::KeyChange;

/// `network.main`: holds the deployment's range; says where the deployment lies, and is the last to go.
pub const NETWORK: &str = "network";
/// `bucket.main`: private, versioned, encrypted, TLS only.
pub const BUCKET: &str = "bucket";
/// `artifact.dsctl`, …: a binary under `artifacts/SHA256/NAME`.
pub const ARTIFACT: &str = "artifact";
/// `secret.api-key`, …: under `secrets/NAME`; generated where it is made, or the baseline's key.
pub const SECRET: &str = "secret";
/// `host-spec.main`: `host/main/desired.json`.
pub const HOST_SPEC: &str = "host-spec";
/// `machine.main`.
pub const MACHINE: &str = "machine";

/// Where the gateway listens unless the spec says otherwise.
pub const GATEWAY_PORT: u16 = 443;
const ADMIN_PORT: u16 = 8081;
const DAEMON_PORT: u16 = 8082;
const BASELINE_DAEMON_PORT: u16 = 8083;
const AGENT_PORT: u16 = 8084;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArtifactInputs {
    pub bucket: String,
    pub sha256: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretInputs {
    pub bucket: String,
    /// Where it comes from: `generated`, or the name of an environment variable or file.
    pub from: String,
    pub revision: u64,
    /// Asked for with one update, and not recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<KeyChange>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostSpecInputs {
    pub bucket: String,
    /// A `spec::host::HostSpec` less `generation`, `actions` and `run`.
    pub host: Value,
    /// Asked for with one update, and not recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask: Option<Action>,
}

/// What all parts of a graph are made from.
#[derive(Debug, Clone, Copy)]
pub struct Ground<'a> {
    pub spec: &'a ResolvedSpec,
    pub machine: &'a ResolvedMachine,
    pub facts: &'a CloudFacts,
    /// Of the machine's candidates.
    pub first: &'a MachineCandidate,
    /// Of the gateway.
    pub port: u16,
}

impl<'a> Ground<'a> {
    pub fn new(spec: &'a ResolvedSpec, facts: &'a CloudFacts) -> Result<Self, CloudGraphError> {
        if matches!(spec.baseline, Some(ResolvedBaseline::Local(_))) {
            return Err(wrong("baseline: local:MODEL is for trying out on this machine; name the old API's URL"));
        }
        let machine = spec.machine.as_ref().ok_or_else(|| wrong("machine: none was chosen"))?;
        let first = machine.candidates.first().ok_or_else(|| wrong("machine: there is no candidate"))?;
        let port = match spec.gateway_port {
            PortChoice::Fixed(port) => port,
            PortChoice::AnyFree => GATEWAY_PORT,
        };
        Ok(Self { spec, machine, facts, first, port })
    }

    pub fn is_public(&self) -> bool {
        self.machine.network.public == Exposure::Public
    }

    pub fn has_nat(&self) -> bool {
        !self.is_public() && self.machine.network.egress == Egress::Nat
    }

    /// `BUCKET/KEY` of all weights that an object store of this kind has; sorted.
    pub fn weights_in(&self, scheme: ObjectScheme) -> Vec<String> {
        let weights = self.spec.weights();
        let sources = weights.iter().flat_map(|weights| &weights.sources);
        let objects = sources.filter_map(|source| match source {
            WeightsSource::Object { scheme: found, bucket, key } if *found == scheme => Some(format!("{bucket}/{key}")),
            _ => None,
        });
        objects.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// A machine without a way out must find all weights in the cloud's own object store.
    pub fn check_way_out(&self, scheme: ObjectScheme, cloud: &str) -> Result<(), CloudGraphError> {
        let is_there =
            |source: &WeightsSource| matches!(source, WeightsSource::Object { scheme: found, .. } if *found == scheme);
        let all_there = self.spec.weights().iter().all(|weights| weights.sources.iter().any(is_there));
        if self.machine.network.egress == Egress::Nat || all_there {
            return Ok(());
        }
        Err(wrong(format!(
            "network.egress: with endpoints only, the machine reaches nothing but {cloud}; give weights.sources an \
             {}: one",
            scheme.as_str()
        )))
    }

    /// Ranges that may reach the gateway, as clouds write them (without the bits of a host), sorted.
    pub fn allowed(&self) -> Vec<String> {
        ranges(&self.machine.network.allow)
    }

    /// What the host fetches: programs, secrets, and the spec that says what to do with them.
    pub fn objects(&self) -> Result<Vec<Desired>, CloudGraphError> {
        let artifacts = self.facts.binaries.iter().map(|(file, binary)| artifact(file, binary));
        let mut all = artifacts.collect::<Result<Vec<_>, _>>()?;
        all.extend(self.secrets()?);
        all.push(self.host()?);
        Ok(all)
    }

    fn secrets(&self) -> Result<Vec<Desired>, CloudGraphError> {
        let generated = generated_secrets(self.spec)
            .into_iter()
            .map(|(secret, summary)| (secret, "generated".to_owned(), 1, summary.to_owned()));
        let given = given_secrets(self.spec, &self.facts.revisions)
            .into_iter()
            .map(|(secret, from, revision)| (secret, from.clone(), revision, from));
        let secret = |(secret, from, revision, summary): (&str, String, u64, String)| {
            resource(SECRET, secret, &SecretInputs { bucket: bucket(), from, revision, change: None }, &summary)
        };
        generated.chain(given).map(secret).collect()
    }

    fn host(&self) -> Result<Desired, CloudGraphError> {
        let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let plan = HostPlan {
            spec: self.spec,
            host: host_name()?,
            binaries: &self.facts.binaries,
            listen: Listen {
                gateway: SocketAddr::from((Ipv4Addr::UNSPECIFIED, self.port)),
                admin: loopback(ADMIN_PORT),
                daemon: loopback(DAEMON_PORT),
                baseline_daemon: loopback(BASELINE_DAEMON_PORT),
            },
            agent: Some(self.dsctl()?),
            salt: &self.facts.salt,
            revisions: &self.facts.revisions,
            reach: if self.is_public() { Reach::Public(self.spec.cloud) } else { Reach::Network },
            machine_hourly: self.facts.machine_hourly,
            watchers: &[],
            gpus: Some(self.facts.gpus),
            agent_metrics: Some(loopback(AGENT_PORT)),
            layout: &HomeLayout::new(HOST_HOME).deployment(&self.spec.name),
        };
        let wanted = plan.host_spec()?;
        let inputs = HostSpecInputs { bucket: bucket(), host: host_spec::inputs(&wanted)?, ask: None };
        resource(HOST_SPEC, "main", &inputs, &host_plan::summary(&wanted))
    }

    /// Of the `dsctl` that the machine's first boot fetches.
    pub fn dsctl_sha256(&self) -> Result<String, CloudGraphError> {
        Ok(self.dsctl()?.sha256.to_string())
    }

    fn dsctl(&self) -> Result<&Binary, CloudGraphError> {
        Ok(self.facts.binaries.get("dsctl").ok_or(host_plan::HostPlanError::Binary("dsctl"))?)
    }

    /// For the reader: the machine and its disk.
    pub fn machine_summary(&self) -> String {
        let disk = self.machine.disk;
        format!("{}; disk {} GiB, {} IOPS, {} MiB/s", self.first.label(), disk.gib, disk.iops, disk.mib_a_second)
    }

    /// With its disk and with the answers that leave the cloud, since they go with the machine.
    pub fn monthly(&self, candidate: &MachineCandidate) -> Option<f64> {
        let around = &self.machine.around;
        let address = if self.is_public() { around.public_address } else { Some(Usd::from_millionths(0)) };
        let parts = [candidate.hourly().map(Usd::a_month), around.disk, around.egress, address];
        parts.into_iter().map(|part| part.map(Usd::dollars)).sum()
    }
}

fn artifact(file: &str, binary: &Binary) -> Result<Desired, CloudGraphError> {
    let sha256 = binary.sha256.to_string();
    let summary = format!("sha256 {}…", sha256.get(..12).unwrap_or(&sha256));
    resource(ARTIFACT, file, &ArtifactInputs { bucket: bucket(), sha256 }, &summary)
}

pub fn wrong(message: impl ToString) -> CloudGraphError {
    CloudGraphError::Spec(message.to_string())
}

/// An address, as inputs name it.
pub fn name(kind: &str, name: &str) -> String {
    Address::new(kind, name).to_string()
}

pub fn bucket() -> String {
    name(BUCKET, "main")
}

/// As clouds write them, each once, sorted.
pub fn ranges(ranges: &[Ipv4Net]) -> Vec<String> {
    let written: BTreeSet<String> = ranges.iter().map(|range| range.trunc().to_string()).collect();
    written.into_iter().collect()
}

/// What it depends on is found by [`connected`].
pub fn resource(kind: &str, named: &str, inputs: &impl Serialize, summary: &str) -> Result<Desired, CloudGraphError> {
    Ok(Desired {
        address: Address::new(kind, named),
        depends_on: BTreeSet::new(),
        inputs: serde_json::to_value(inputs)?,
        summary: summary.to_owned(),
        disk_bytes: 0,
        monthly_usd: Some(0.0),
        candidates: Vec::new(),
    })
}

/// What must be there first though no input names it.
pub fn after(mut wanted: Desired, on: &[String]) -> Desired {
    wanted.depends_on.extend(on.iter().filter_map(|on| Address::parse(on)));
    wanted
}

pub fn priced(wanted: Desired, monthly: Option<Usd>) -> Desired {
    Desired { monthly_usd: monthly.map(Usd::dollars), ..wanted }
}

/// Each resource depends on whatever its inputs name, and the machine on everything: what it boots from must be there.
pub fn connected(mut resources: Vec<Desired>) -> Result<Graph, CloudGraphError> {
    let all: BTreeSet<Address> = resources.iter().map(|it| it.address.clone()).collect();
    let kinds: BTreeSet<&str> = all.iter().map(Address::kind).collect();
    for wanted in &mut resources {
        let on = match wanted.address.kind() {
            MACHINE => all.iter().filter(|address| address.kind() != MACHINE).cloned().collect(),
            _ => named_in(&wanted.inputs, &kinds),
        };
        wanted.depends_on.extend(on);
    }
    Ok(Graph::new(resources)?)
}

/// Addresses of these kinds that stand in an input's fields.
fn named_in(inputs: &Value, kinds: &BTreeSet<&str>) -> BTreeSet<Address> {
    let fields = inputs.as_object().into_iter().flat_map(Map::values);
    let texts = fields.flat_map(|field| match field {
        Value::String(text) => vec![text.as_str()],
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    });
    texts.filter_map(Address::parse).filter(|address| kinds.contains(address.kind())).collect()
}

/// Inputs of all resources of a kind.
pub fn of_kind<'a>(begun: &'a Begun, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    begun.iter().filter(move |(address, _)| address.kind() == kind).map(|(_, inputs)| inputs)
}

/// A field of inputs.
pub fn text(inputs: &Value, field: &str) -> Option<String> {
    Some(inputs.get(field)?.as_str()?.to_owned())
}
