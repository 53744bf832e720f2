//! What a host must have (`desired.json`) and what it has (`status.json`).

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::action::{Action, ActionOutcome};
use crate::amount::Span;
use crate::certificate::CertificateSpec;
use crate::host_monitoring::HostMonitoring;
use crate::id::{DeploymentName, HostName, SecretName, Sha256, UnitName, WeightsName};
use crate::weights::{WeightsSource, WeightsSpec};

/// The secret that holds the keys of the gateway's clients, one a line. A host in a cloud keeps their digests alone.
pub const CLIENT_KEYS: &str = "api-key";

/// Everything that the agent converges a host to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostSpec {
    pub deployment: DeploymentName,
    pub host: HostName,
    /// Goes up with each change; the status says which one it speaks of.
    pub generation: u64,
    pub run: RunState,
    /// The agent that this is written for: one with another digest puts it in its own place first. None where the agent is
    /// started by whoever writes the host spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<ArtifactSpec>,
    /// Graphics cards that there are at the least; none where nobody looks at them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpus: Option<u32>,
    pub weights: Vec<WeightsSpec>,
    pub files: Vec<FileSpec>,
    pub units: Vec<UnitSpec>,
    /// Asked of each daemon after it is ready: the host is ready when a real token was generated.
    pub first_token: Vec<FirstTokenProbe>,
    /// None where nothing of ours watches the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monitoring: Option<HostMonitoring>,
    /// One-time acts; each id is carried out once.
    #[serde(default)]
    pub actions: Vec<Action>,
}

/// What an agent of any age can read of a host spec: unknown fields are passed over, so that an agent which is too old for
/// the rest still learns of its successor.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct HostSpecHead {
    pub deployment: DeploymentName,
    pub generation: u64,
    #[serde(default)]
    pub agent: Option<ArtifactSpec>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunState {
    Running,
    /// All units stopped, then the agent ends.
    Stopped,
}

/// A file under the host's `files/` folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSpec {
    /// A plain file name.
    pub name: String,
    pub content: String,
}

/// A supervised process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnitSpec {
    pub name: UnitName,
    pub program: Program,
    pub args: Vec<Arg>,
    /// That its files point to; those on its command line stand there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<SecretName>,
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Loopback ports that the unit will listen on: checked to be free before the first start.
    pub ports: Vec<u16>,
    /// Answers 200 when the unit can do its work.
    pub ready_url: String,
    /// Between the polite and the impolite signal.
    pub stop_grace: Span,
    /// The phase that this unit's start is shown under.
    pub phase: Phase,
}

impl HostSpec {
    /// The certificate that the agent issues; at most one, whoever uses it.
    pub fn certificate(&self) -> Option<&CertificateSpec> {
        self.units.iter().flat_map(|unit| &unit.args).find_map(|arg| match arg {
            Arg::Certificate(certificate) => Some(certificate),
            _ => None,
        })
    }
}

/// What a unit runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Program {
    Artifact(ArtifactSpec),
    /// That whoever owns the machine installed there.
    Installed(PathBuf),
}

impl Program {
    pub const fn artifact(&self) -> Option<&ArtifactSpec> {
        match self {
            Self::Artifact(artifact) => Some(artifact),
            Self::Installed(_) => None,
        }
    }
}

/// A binary, by digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArtifactSpec {
    pub name: String,
    pub sha256: Sha256,
}

/// A word of a unit's command line; what is only known on the host is named, not spelt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arg {
    Text(String),
    /// Path of a weights file in the cache.
    Weights(WeightsName),
    /// Path of a secret's file.
    Secret(SecretName),
    /// Path of a file of this host spec.
    File(String),
    /// Path of the unit's own data folder.
    DataFolder,
    /// Path of the certificate that the agent issues; the unit takes up a new one by itself.
    Certificate(CertificateSpec),
    /// Path of that certificate's key.
    CertificateKey,
    /// Path of a file that the agent renders of the host's monitoring, e.g. `prometheus/prometheus.yml`.
    Monitoring(String),
}

/// A completion of one token, asked of a daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirstTokenProbe {
    pub unit: UnitName,
    /// The daemon's base URL, ending in `/v1`.
    pub base_url: String,
    pub model: String,
    pub key: SecretName,
}

/// What a host has and does; written by the agent at each change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostStatus {
    pub deployment: DeploymentName,
    pub host: HostName,
    /// Generation of the host spec that this speaks of.
    pub generation: u64,
    pub written_at: Timestamp,
    pub agent: AgentStatus,
    /// In the order in which they are gone through.
    pub phases: Vec<PhaseLine>,
    pub weights: Vec<WeightsStatus>,
    pub units: Vec<UnitStatus>,
    /// When a real token was generated with this generation; none while the host is not ready.
    pub ready_since: Option<Timestamp>,
    pub outcomes: Vec<ActionOutcome>,
    /// Whom clients of the gateway may trust, in PEM: the authority's certificate, without its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_authority: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentStatus {
    pub pid: u32,
    pub version: String,
    pub started_at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Programs and secrets come out of the bucket.
    Programs,
    /// The graphics cards answer.
    Driver,
    Files,
    Weights,
    Daemon,
    BaselineDaemon,
    Gateway,
    FirstToken,
    /// Prometheus and what belongs to it; the host serves without it.
    Monitoring,
    /// Told only where a host went back to the host spec before, since the new one did not come to serve.
    Upgrade,
}

impl Phase {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Programs => "programs",
            Self::Driver => "driver",
            Self::Files => "files",
            Self::Weights => "weights",
            Self::Daemon => "daemon",
            Self::BaselineDaemon => "baseline daemon",
            Self::Gateway => "gateway",
            Self::FirstToken => "first token",
            Self::Monitoring => "monitoring",
            Self::Upgrade => "upgrade",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PhaseState {
    Waiting,
    Running,
    Done,
    Failed,
}

/// One line of a host's progress.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseLine {
    pub phase: Phase,
    pub state: PhaseState,
    /// What it does or waits for, or how it ended.
    pub detail: String,
    pub progress: Option<Progress>,
    pub started_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    pub failure: Option<PhaseFailure>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    pub done_bytes: u64,
    /// 0 while unknown.
    pub total_bytes: u64,
    /// Over the last seconds.
    pub bytes_per_second: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseFailure {
    pub message: String,
    /// The last lines of the unit's log, 20 at most.
    pub log_tail: Vec<String>,
    /// The next command to run.
    pub next: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeightsStatus {
    pub name: WeightsName,
    pub sha256: Sha256,
    pub size: u64,
    pub path: PathBuf,
    /// Where the bytes came from.
    pub source: WeightsSource,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnitState {
    /// Not started yet.
    Waiting,
    /// Alive, not answering 200 yet.
    Starting,
    Ready,
    /// Ended by itself; starts again at `next_start_at`.
    Backoff,
    Stopped,
    /// Stopped, and stays so until it is restarted.
    Drained,
    /// Can't be started: the phase line says why.
    Failed,
}

impl UnitState {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Backoff => "backoff",
            Self::Stopped => "stopped",
            Self::Drained => "drained",
            Self::Failed => "failed",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitStatus {
    pub name: UnitName,
    pub state: UnitState,
    pub process: Option<ProcessId>,
    pub started_at: Option<Timestamp>,
    /// Starts after the first.
    pub restarts: u64,
    /// How it ended last, e.g. `exit status: 1` or `signal: 9 (SIGKILL)`.
    pub last_exit: Option<String>,
    pub next_start_at: Option<Timestamp>,
}

/// A process, safe against the reuse of its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    pub pid: u32,
    /// Seconds since 1970, as the operating system has it.
    pub started: u64,
}
