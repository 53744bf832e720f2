//! What a host runs, wherever it stands: daemon, gateway, the second daemon of a local baseline. Pure.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use sha2::{Digest, Sha256 as Hasher};
use spec::amount::{Span, Usd};
use spec::audit::{AUDIT_KEY, AuditConfig};
use spec::certificate::{AUTHORITY, CERTIFICATE, CERTIFICATE_KEY, CertificateSpec, Reach};
use spec::host::{Arg, ArtifactSpec, FileSpec, FirstTokenProbe, HostSpec, Phase, Program, RunState, UnitSpec};
use spec::host_monitoring::{DaemonMetrics, HostMonitoring};
use spec::id::{HostName, InvalidId, SecretName, Variant};
use spec::layout::DeploymentLayout;
use spec::monitoring::ReceiverKind;
use spec::resolved::{KeySource, ResolvedApi, ResolvedBaseline, ResolvedModel, ResolvedSpec, ResolvedTls};
use spec::route::{GatewayConfig, Limits, VariantConfig};

use crate::local::facts::Binary;
use crate::local::watchers::Watcher;
use crate::secret::Revisions;

pub const API_KEY: &str = spec::host::CLIENT_KEYS;
pub const ADMIN_TOKEN: &str = "admin-token";
pub const DAEMON_KEY: &str = "daemon-key";
pub const BASELINE_KEY: &str = "baseline-key";
pub const SPARE_KEY: &str = "spare-key";
pub const DAEMON_UNIT: &str = "dsserve";
pub const BASELINE_UNIT: &str = "dsserve-baseline";
pub const GATEWAY_UNIT: &str = "dsgate";
pub const GATEWAY_FILE: &str = "gateway.json";
/// Of dsgate: with it clients come by TLS.
pub const CERTIFICATE_FLAG: &str = "--tls-certificate";
const CERTIFICATE_KEY_FLAG: &str = "--tls-key";

/// Secrets that are made with a deployment, and what each is for.
pub const GENERATED_SECRETS: [(&str, &str); 3] = [
    (API_KEY, "for clients of the gateway"),
    (ADMIN_TOKEN, "for dsctl's own calls to the gateway"),
    (DAEMON_KEY, "between gateway and daemon"),
];

const DAEMON_STOP_GRACE: Span = Span::seconds(30);
const GATEWAY_STOP_GRACE: Span = Span::seconds(35);
const WATCHER_STOP_GRACE: Span = Span::seconds(10);

/// Where the units of a host listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listen {
    pub gateway: SocketAddr,
    pub admin: SocketAddr,
    pub daemon: SocketAddr,
    pub baseline_daemon: SocketAddr,
}

/// Everything that a host spec is made from.
#[derive(Debug, Clone)]
pub struct HostPlan<'a> {
    pub spec: &'a ResolvedSpec,
    pub host: HostName,
    pub binaries: &'a BTreeMap<String, Binary>,
    pub listen: Listen,
    /// That the host's agent is to be; none where the agent is started from here.
    pub agent: Option<&'a Binary>,
    /// Of the traffic split.
    pub salt: &'a str,
    pub revisions: &'a Revisions,
    /// By which names clients come.
    pub reach: Reach,
    /// Of the machine and what goes with it; none if it is not known, or not paid by the hour.
    pub machine_hourly: Option<Usd>,
    /// Programs of the machine's owner that watch the deployment; on a machine of the deployment's own the agent installs them.
    pub watchers: &'a [Watcher],
    /// Graphics cards that the machine has at the least; none where nobody rented it.
    pub gpus: Option<u32>,
    /// Where the agent shows the host's metrics, with what reads them; none where nothing of ours watches the host.
    pub agent_metrics: Option<SocketAddr>,
    /// Where the deployment lies on the host.
    pub layout: &'a DeploymentLayout,
}

#[derive(Debug, thiserror::Error)]
pub enum HostPlanError {
    #[error(transparent)]
    Id(#[from] InvalidId),
    #[error("host spec: {0}")]
    Json(#[from] serde_json::Error),
    #[error("no binary named {0} was looked up")]
    Binary(&'static str),
}

/// For the reader of a plan: which unit listens where.
pub fn summary(host: &HostSpec) -> String {
    let unit = |unit: &UnitSpec| {
        let ports: Vec<String> = unit.ports.iter().map(u16::to_string).collect();
        format!("{} on {}", unit.name, ports.join(" and "))
    };
    let serving = host.units.iter().filter(|unit| unit.phase != Phase::Monitoring);
    serving.map(unit).collect::<Vec<_>>().join(", ")
}

/// Where a baseline's API key comes from; none if it has no key or is none.
pub fn baseline_key_source(spec: &ResolvedSpec) -> Option<String> {
    let Some(ResolvedBaseline::Api(api)) = &spec.baseline else { return None };
    said_of(&api.key)
}

/// The same of the spare.
pub fn spare_key_source(spec: &ResolvedSpec) -> Option<String> {
    said_of(&spec.spare.as_ref()?.key)
}

/// For the reader; none without a key.
fn said_of(key: &KeySource) -> Option<String> {
    match key {
        KeySource::None => None,
        KeySource::Environment(name) => Some(format!("from the environment variable {name}")),
        KeySource::File(path) => Some(format!("from {}", path.display())),
    }
}

/// Those of the receivers that have a key, with the secret's name.
pub fn receiver_keys(spec: &ResolvedSpec) -> Vec<(ReceiverKind, KeySource)> {
    let each = spec.monitoring.receivers.each();
    each.iter()
        .map(|receiver| (receiver.kind, receiver.key_source()))
        .filter(|(_, key)| *key != KeySource::None)
        .collect()
}

/// What is made with a deployment, and what each is for.
pub fn generated_secrets(spec: &ResolvedSpec) -> Vec<(&'static str, &'static str)> {
    let authority =
        (spec.tls == ResolvedTls::Issued).then_some((AUTHORITY, "authority that the gateway's certificate is from"));
    let audit = spec.audit.map(|_| (AUDIT_KEY, "of the audit log: without it nobody can check the log"));
    GENERATED_SECRETS.into_iter().chain(authority).chain(audit).collect()
}

/// What is the user's, where each comes from, and its revision.
pub fn given_secrets(spec: &ResolvedSpec, revisions: &Revisions) -> Vec<(&'static str, String, u64)> {
    let mut all = Vec::new();
    if let Some(from) = baseline_key_source(spec) {
        all.push((BASELINE_KEY, from, revisions.baseline_key));
    }
    if let Some(from) = spare_key_source(spec) {
        all.push((SPARE_KEY, from, revisions.spare_key));
    }
    if let ResolvedTls::Given(files) = &spec.tls {
        let from = |path: &std::path::Path| format!("from {}", path.display());
        all.push((CERTIFICATE, from(&files.chain_file), revisions.certificate));
        all.push((CERTIFICATE_KEY, from(&files.key_file), revisions.certificate));
    }
    for (kind, key) in receiver_keys(spec) {
        let revision = revisions.receivers.get(kind.secret()).copied().unwrap_or_default();
        all.extend(said_of(&key).map(|from| (kind.secret(), from, revision)));
    }
    all
}

impl HostPlan<'_> {
    pub fn host_spec(&self) -> Result<HostSpec, HostPlanError> {
        let config = serde_json::to_string_pretty(&self.gateway_config()?)?;
        let model = &self.spec.model;
        let mut units = vec![self.daemon_unit(model, DAEMON_UNIT, self.listen.daemon, Phase::Daemon)?];
        let mut first_token = vec![probe(model, DAEMON_UNIT, self.listen.daemon)?];
        if let Some(ResolvedBaseline::Local(model)) = &self.spec.baseline {
            let listen = self.listen.baseline_daemon;
            units.push(self.daemon_unit(model, BASELINE_UNIT, listen, Phase::BaselineDaemon)?);
            first_token.push(probe(model, BASELINE_UNIT, listen)?);
        }
        units.push(self.gateway_unit(&config)?);
        let monitoring = self.monitoring()?;
        for watcher in self.watchers {
            units.push(self.watcher_unit(watcher, monitoring.as_ref())?);
        }
        Ok(HostSpec {
            deployment: self.spec.name.clone(),
            host: self.host.clone(),
            generation: 0,
            run: RunState::Running,
            agent: self.agent.map(agent_artifact),
            gpus: self.gpus,
            weights: self.spec.weights(),
            files: vec![FileSpec { name: GATEWAY_FILE.to_owned(), content: config }],
            units,
            first_token,
            monitoring,
            actions: Vec::new(),
        })
    }

    fn monitoring(&self) -> Result<Option<HostMonitoring>, InvalidId> {
        let Some(agent) = self.agent_metrics else { return Ok(None) };
        let mut daemons = vec![DaemonMetrics { unit: DAEMON_UNIT.parse()?, listen: self.listen.daemon }];
        if matches!(self.spec.baseline, Some(ResolvedBaseline::Local(_))) {
            daemons.push(DaemonMetrics { unit: BASELINE_UNIT.parse()?, listen: self.listen.baseline_daemon });
        }
        let wanted = self.spec.monitoring.clone();
        let receiver_keys = self.receiver_keys()?;
        Ok(Some(HostMonitoring { wanted, gateway: self.listen.admin, daemons, agent, receiver_keys }))
    }

    fn receiver_keys(&self) -> Result<BTreeMap<SecretName, u64>, InvalidId> {
        let revisions = &self.revisions.receivers;
        let of = |secret: &'static str| revisions.get(secret).copied().unwrap_or_default();
        let keys = receiver_keys(self.spec).into_iter().map(|(kind, _)| kind.secret());
        keys.map(|secret| Ok((secret.parse()?, of(secret)))).collect()
    }

    fn watcher_unit(&self, watcher: &Watcher, monitoring: Option<&HostMonitoring>) -> Result<UnitSpec, HostPlanError> {
        // What it reads is rendered by the agent: another wish, or another agent, is a changed unit.
        let dsctl = self.artifact("dsctl")?.sha256;
        let digest = hex::encode(Hasher::digest(format!("{}{dsctl}", serde_json::to_string(&monitoring)?)));
        Ok(UnitSpec {
            name: watcher.unit.parse()?,
            program: Program::Installed(watcher.program.clone()),
            args: watcher.args(),
            secrets: Vec::new(),
            env: BTreeMap::from([("DSCTL_MONITORING_SHA256".to_owned(), digest)]),
            ports: vec![watcher.listen.port()],
            ready_url: watcher.ready_url(),
            stop_grace: WATCHER_STOP_GRACE,
            phase: Phase::Monitoring,
        })
    }

    fn artifact(&self, name: &'static str) -> Result<ArtifactSpec, HostPlanError> {
        let binary = self.binaries.get(name).ok_or(HostPlanError::Binary(name))?;
        Ok(ArtifactSpec { name: name.to_owned(), sha256: binary.sha256.clone() })
    }

    fn daemon_unit(
        &self,
        model: &ResolvedModel,
        name: &str,
        listen: SocketAddr,
        phase: Phase,
    ) -> Result<UnitSpec, HostPlanError> {
        Ok(UnitSpec {
            name: name.parse()?,
            program: Program::Artifact(self.artifact("dsserve")?),
            args: self.daemon_args(model, listen)?,
            secrets: Vec::new(),
            env: BTreeMap::new(),
            ports: vec![listen.port()],
            ready_url: format!("http://{listen}/ready"),
            stop_grace: DAEMON_STOP_GRACE,
            phase,
        })
    }

    fn daemon_args(&self, model: &ResolvedModel, listen: SocketAddr) -> Result<Vec<Arg>, InvalidId> {
        let files = model.weights.iter().flat_map(|part| [text("--model"), Arg::Weights(part.name.clone())]);
        let mut args: Vec<Arg> = files.collect();
        args.extend([
            text("--served-model-name"),
            text(&model.served_name),
            text("--listen"),
            text(listen),
            text("--api-key-file"),
            Arg::Secret(DAEMON_KEY.parse()?),
            text("--max-sequences"),
            text(self.spec.daemon.max_sequences),
        ]);
        for (flag, value) in [("--context", self.spec.daemon.context), ("--threads", self.spec.daemon.threads)] {
            if let Some(value) = value {
                args.extend([text(flag), text(value)]);
            }
        }
        args.extend(
            self.spec
                .daemon
                .memory_utilization
                .into_iter()
                .flat_map(|share| [text("--memory-utilization"), text(share)]),
        );
        Ok(args)
    }

    fn gateway_unit(&self, config: &str) -> Result<UnitSpec, HostPlanError> {
        // A changed configuration, or a changed key that it points to, is a changed unit: the agent starts it anew.
        let certificate = match &self.spec.tls {
            ResolvedTls::Given(_) => self.revisions.certificate.to_string(),
            ResolvedTls::Plain | ResolvedTls::Issued => String::new(),
        };
        let spare = self.spec.spare.as_ref().map(|_| self.revisions.spare_key.to_string()).unwrap_or_default();
        let digest = format!("{config}{}{certificate}{spare}", self.revisions.baseline_key);
        let digest = hex::encode(Hasher::digest(digest));
        let Listen { gateway, admin, .. } = self.listen;
        let mut args = vec![text("--config"), Arg::File(GATEWAY_FILE.to_owned()), text("--data-dir"), Arg::DataFolder];
        args.extend(self.certificate_args()?);
        Ok(UnitSpec {
            name: GATEWAY_UNIT.parse()?,
            program: Program::Artifact(self.artifact("dsgate")?),
            args,
            secrets: self.gateway_secrets()?,
            env: BTreeMap::from([("DSGATE_CONFIG_SHA256".to_owned(), digest)]),
            ports: vec![gateway.port(), admin.port()],
            ready_url: self.gateway_ready_url(),
            stop_grace: GATEWAY_STOP_GRACE,
            phase: Phase::Gateway,
        })
    }

    fn certificate_args(&self) -> Result<Vec<Arg>, InvalidId> {
        let (certificate, key) = match self.spec.tls {
            ResolvedTls::Plain => return Ok(Vec::new()),
            ResolvedTls::Issued => {
                let spec = CertificateSpec { authority: AUTHORITY.parse()?, reach: self.reach };
                (Arg::Certificate(spec), Arg::CertificateKey)
            }
            ResolvedTls::Given(_) => (Arg::Secret(CERTIFICATE.parse()?), Arg::Secret(CERTIFICATE_KEY.parse()?)),
        };
        Ok(vec![text(CERTIFICATE_FLAG), certificate, text(CERTIFICATE_KEY_FLAG), key])
    }

    /// The agent asks on the host itself, whoever else may reach the gateway. A certificate of the user's is not for the
    /// host's own addresses, so there it asks where nobody needs one.
    fn gateway_ready_url(&self) -> String {
        let gateway = SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, self.listen.gateway.port()));
        match self.spec.tls {
            ResolvedTls::Plain => format!("http://{gateway}/ready"),
            ResolvedTls::Issued => format!("https://{gateway}/ready"),
            ResolvedTls::Given(_) => format!("http://{}/ready", self.listen.admin),
        }
    }

    /// Its configuration names their files.
    fn gateway_secrets(&self) -> Result<Vec<SecretName>, InvalidId> {
        let baseline = baseline_key_source(self.spec).map(|_| BASELINE_KEY);
        let spare = spare_key_source(self.spec).map(|_| SPARE_KEY);
        let audit = self.spec.audit.map(|_| AUDIT_KEY);
        [API_KEY, ADMIN_TOKEN, DAEMON_KEY]
            .into_iter()
            .chain(baseline)
            .chain(spare)
            .chain(audit)
            .map(str::parse)
            .collect()
    }

    fn gateway_config(&self) -> Result<GatewayConfig, HostPlanError> {
        let mut variants = BTreeMap::new();
        // With a baseline, clients keep asking for the old API's model names: whatever they ask for is ours.
        let takes_any_name = self.spec.baseline.is_some();
        let candidate = self.daemon_variant(&self.spec.model, self.listen.daemon, takes_any_name)?;
        variants.insert(Variant::Candidate, candidate);
        if let Some(baseline) = &self.spec.baseline {
            variants.insert(Variant::Baseline, self.baseline_variant(baseline)?);
        }
        Ok(GatewayConfig {
            listen: self.listen.gateway,
            admin_listen: self.listen.admin,
            api_keys_file: self.secret(API_KEY)?,
            admin_token_file: self.secret(ADMIN_TOKEN)?,
            variants,
            spare: self.spec.spare.as_ref().map(|api| self.api_variant(api, SPARE_KEY)).transpose()?,
            salt: self.salt.to_owned(),
            limits: Limits::default(),
            machine_hourly: self.machine_hourly,
            guards: self.spec.guards.clone(),
            cache: self.spec.cache,
            audit: self.audit_config()?,
        })
    }

    fn audit_config(&self) -> Result<Option<AuditConfig>, InvalidId> {
        let Some(policy) = self.spec.audit else { return Ok(None) };
        Ok(Some(AuditConfig { key_file: self.secret(AUDIT_KEY)?, policy }))
    }

    fn baseline_variant(&self, baseline: &ResolvedBaseline) -> Result<VariantConfig, HostPlanError> {
        match baseline {
            ResolvedBaseline::Local(model) => Ok(self.daemon_variant(model, self.listen.baseline_daemon, true)?),
            ResolvedBaseline::Api(api) => Ok(self.api_variant(api, BASELINE_KEY)?),
        }
    }

    fn api_variant(&self, api: &ResolvedApi, key: &str) -> Result<VariantConfig, InvalidId> {
        Ok(VariantConfig {
            base_url: api.url.clone(),
            replicas: api.replicas.clone(),
            key_file: if api.key == KeySource::None { None } else { Some(self.secret(key)?) },
            models: BTreeMap::new(),
            default_model: api.model.clone(),
            ready_url: None,
            metrics_url: None,
            price: api.price,
        })
    }

    fn daemon_variant(
        &self,
        model: &ResolvedModel,
        listen: SocketAddr,
        takes_any_name: bool,
    ) -> Result<VariantConfig, InvalidId> {
        let names = [model.served_name.clone(), model.name.to_string()];
        Ok(VariantConfig {
            base_url: format!("http://{listen}/v1"),
            replicas: Vec::new(),
            key_file: Some(self.secret(DAEMON_KEY)?),
            models: names.into_iter().map(|name| (name, model.served_name.clone())).collect(),
            default_model: takes_any_name.then(|| model.served_name.clone()),
            ready_url: Some(format!("http://{listen}/ready")),
            metrics_url: Some(format!("http://{listen}/metrics")),
            price: None,
        })
    }

    fn secret(&self, name: &str) -> Result<PathBuf, InvalidId> {
        Ok(self.layout.bucket().secret(&name.parse::<SecretName>()?))
    }
}

fn agent_artifact(binary: &Binary) -> ArtifactSpec {
    ArtifactSpec { name: "dsctl".to_owned(), sha256: binary.sha256.clone() }
}

fn text(word: impl ToString) -> Arg {
    Arg::Text(word.to_string())
}

fn probe(model: &ResolvedModel, unit: &str, listen: SocketAddr) -> Result<FirstTokenProbe, InvalidId> {
    Ok(FirstTokenProbe {
        unit: unit.parse()?,
        base_url: format!("http://{listen}/v1"),
        model: model.served_name.clone(),
        key: DAEMON_KEY.parse()?,
    })
}
