//! What a plan needs to know of this machine before it can be made: binaries, ports, what an earlier `up` chose.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use engine::provider::ProviderError;
use spec::host::HostSpec;
use spec::id::Sha256;
use spec::layout::DeploymentLayout;
use spec::resolved::{PortChoice, ResolvedBaseline, ResolvedSpec};
use spec::route::GatewayConfig;

use super::watchers::{self, Watcher};
use super::{graph, host_spec, storage};
use crate::host_plan;
use crate::secret::{Given, GivenCertificate, Revisions};

/// The binaries of a deployment.
pub const BINARIES: [&str; 3] = ["dsctl", "dsgate", "dsserve"];

#[derive(Debug, Clone, PartialEq)]
pub struct LocalFacts {
    pub binaries: BTreeMap<String, Binary>,
    pub ports: Ports,
    pub salt: String,
    /// That are installed on this machine, and wished for.
    pub watchers: Vec<Watcher>,
    /// Those of keys go up when one is another than that in `secrets/`.
    pub revisions: Revisions,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Binary {
    pub sha256: Sha256,
    pub size: u64,
}

/// Loopback ports of a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    pub gateway: u16,
    pub admin: u16,
    pub daemon: u16,
    pub baseline_daemon: u16,
    /// Where the agent shows its measurements, if something reads them.
    pub agent: u16,
}

#[derive(Debug, thiserror::Error)]
pub enum FactsError {
    #[error("{name} is not in {folder}, where dsctl is: {source}")]
    Binary { name: &'static str, folder: PathBuf, source: io::Error },
    #[error("port {port} on 127.0.0.1 can't be used: {source}")]
    Port { port: u16, source: io::Error },
    #[error(transparent)]
    Provider(#[from] ProviderError),
}

/// Looks at the machine. Ports and salt that an earlier `up` chose are kept.
pub fn gather(
    spec: &ResolvedSpec,
    layout: &DeploymentLayout,
    binaries: &Path,
    given: &Given,
) -> Result<LocalFacts, FactsError> {
    let earlier = host_spec::load(layout)?;
    let config = earlier.as_ref().and_then(gateway_config);
    let ports = choose_ports(spec, earlier.as_ref(), config.as_ref())?;
    // Units outlive their agent, so what an earlier `up` chose may rightly be taken; the agent looks before it starts one.
    let ours = earlier.as_ref().map(all_ports).unwrap_or_default();
    let watchers = place_watchers(spec, earlier.as_ref())?;
    let watching =
        watchers.iter().map(|watcher| watcher.listen.port()).chain((!watchers.is_empty()).then_some(ports.agent));
    for port in needed(spec, ports).into_iter().chain(watching) {
        if !ours.contains(&port) {
            bind(port).map_err(|source| FactsError::Port { port, source })?;
        }
    }
    let salt = config.map_or_else(|| hex::encode(rand::random::<[u8; 8]>()), |config| config.salt);
    let revisions = revisions(spec, layout, given)?;
    Ok(LocalFacts { binaries: find_binaries(binaries)?, ports, salt, watchers, revisions })
}

fn revisions(spec: &ResolvedSpec, layout: &DeploymentLayout, given: &Given) -> Result<Revisions, ProviderError> {
    let of = |secret: &'static str| storage::key_revision(layout, secret, given.value(secret));
    let receivers = host_plan::receiver_keys(spec).into_iter().map(|(kind, _)| kind.secret());
    Ok(Revisions {
        baseline_key: of(graph::BASELINE_KEY)?,
        spare_key: of(host_plan::SPARE_KEY)?,
        certificate: given.certificate.as_ref().map_or(0, GivenCertificate::revision),
        receivers: receivers.map(|secret| Ok((secret, of(secret)?))).collect::<Result<_, ProviderError>>()?,
    })
}

pub fn find_binaries(folder: &Path) -> Result<BTreeMap<String, Binary>, FactsError> {
    let mut found = BTreeMap::new();
    for name in BINARIES {
        let (sha256, size) = storage::digest_file(&folder.join(name)).map_err(|source| FactsError::Binary {
            name,
            folder: folder.to_owned(),
            source,
        })?;
        found.insert(name.to_owned(), Binary { sha256, size });
    }
    Ok(found)
}

fn gateway_config(spec: &HostSpec) -> Option<GatewayConfig> {
    let file = spec.files.iter().find(|file| file.name == graph::GATEWAY_FILE)?;
    serde_json::from_str(&file.content).ok()
}

fn all_ports(spec: &HostSpec) -> Vec<u16> {
    let agent = spec.monitoring.as_ref().map(|monitoring| monitoring.agent.port());
    spec.units.iter().flat_map(|unit| unit.ports.iter().copied()).chain(agent).collect()
}

fn needed(spec: &ResolvedSpec, ports: Ports) -> Vec<u16> {
    let mut needed = vec![ports.gateway, ports.admin, ports.daemon];
    if matches!(spec.baseline, Some(ResolvedBaseline::Local(_))) {
        needed.push(ports.baseline_daemon);
    }
    needed
}

fn choose_ports(
    spec: &ResolvedSpec,
    earlier: Option<&HostSpec>,
    config: Option<&GatewayConfig>,
) -> Result<Ports, FactsError> {
    let unit_port = |name: &str| earlier?.units.iter().find(|unit| unit.name.as_str() == name)?.ports.first().copied();
    let gateway = match spec.gateway_port {
        PortChoice::Fixed(port) => Some(port),
        PortChoice::AnyFree => config.map(|config| config.listen.port()),
    };
    let known = [
        gateway,
        config.map(|config| config.admin_listen.port()),
        unit_port(graph::DAEMON_UNIT),
        unit_port(graph::BASELINE_UNIT),
        earlier.and_then(|earlier| Some(earlier.monitoring.as_ref()?.agent.port())),
    ];
    let mut free = free_ports(known.len())?.into_iter();
    let mut pick = |known: Option<u16>| known.or_else(|| free.next()).unwrap_or_default();
    Ok(Ports {
        gateway: pick(known[0]),
        admin: pick(known[1]),
        daemon: pick(known[2]),
        baseline_daemon: pick(known[3]),
        agent: pick(known[4]),
    })
}

/// Each at the port that it had, or at a free one.
fn place_watchers(spec: &ResolvedSpec, earlier: Option<&HostSpec>) -> Result<Vec<Watcher>, FactsError> {
    let had = |name: &str| earlier?.units.iter().find(|unit| unit.name.as_str() == name)?.ports.first().copied();
    let installed = watchers::installed(&spec.monitoring);
    let free = free_ports(installed.len())?;
    let placed = installed.into_iter().zip(free).map(|((unit, program), free)| {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, had(unit).unwrap_or(free)));
        Watcher { unit, program, listen }
    });
    Ok(placed.collect())
}

/// Bound all at once, so that no two are the same.
fn free_ports(count: usize) -> Result<Vec<u16>, FactsError> {
    let any = |source| FactsError::Port { port: 0, source };
    let listeners: Vec<TcpListener> = (0..count).map(|_| bind(0)).collect::<Result<_, _>>().map_err(any)?;
    listeners.iter().map(|listener| listener.local_addr().map(|at| at.port()).map_err(any)).collect()
}

fn bind(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}
