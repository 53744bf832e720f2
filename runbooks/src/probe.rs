//! The port through which the runner sees a deployment and acts on it. The command line implements it.

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use spec::host::{Phase, PhaseState, UnitState};
use spec::rollout::RolloutReport;

use crate::runbook::{MetricSource, Remedy, Unit};

/// Why something could not be seen or done.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct ProbeError {
    pub what: String,
    #[source]
    pub source: Option<Box<dyn Error + Send + Sync>>,
}

impl ProbeError {
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), source: None }
    }

    /// The chain of causes on one line.
    pub fn chain(&self) -> String {
        let mut text = self.what.clone();
        let mut next = self.source();
        while let Some(error) = next {
            text = format!("{text}: {error}");
            next = error.source();
        }
        text
    }
}

/// One deployment, seen from outside.
///
/// All methods but `act` only look. `act` may be called again after a crash: each remedy leads to the same end twice.
#[async_trait]
pub trait Probe: Send + Sync {
    /// The truth of now: a unit whose process is gone is not what the last status said.
    async fn status(&self) -> Result<StatusSeen, ProbeError>;

    /// All samples of a `/metrics` page.
    async fn scrape(&self, source: MetricSource) -> Result<Vec<Sample>, ProbeError>;

    /// Bytes free where weights and deployments are kept.
    async fn free_space(&self) -> Result<u64, ProbeError>;

    /// The last rollout; none if there was none.
    async fn rollout(&self) -> Result<Option<RolloutReport>, ProbeError>;

    /// Reads the deployment's weights and compares their digests.
    async fn weights(&self) -> Result<WeightsSeen, ProbeError>;

    /// Carries a remedy out and says in a sentence what was done. Does not wait for it to take effect.
    async fn act(&self, remedy: &Remedy) -> Result<String, ProbeError>;

    /// Lets time pass.
    async fn wait(&self, time: Duration);
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StatusSeen {
    /// Only the units that the deployment has, and the agent.
    pub units: BTreeMap<Unit, StateSeen>,
    pub phases: BTreeMap<Phase, PhaseSeen>,
    /// The last lines that each unit wrote, oldest first; only of units that have a log.
    pub logs: BTreeMap<Unit, Vec<String>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhaseSeen {
    pub state: PhaseState,
    pub detail: String,
}

/// [`UnitState`], and `dead`: it should live and has no process. The agent is `ready` or `dead`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StateSeen {
    Waiting,
    Starting,
    Ready,
    Backoff,
    Stopped,
    Failed,
    Dead,
}

impl StateSeen {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Backoff => "backoff",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Dead => "dead",
        }
    }
}

impl From<UnitState> for StateSeen {
    fn from(state: UnitState) -> Self {
        match state {
            UnitState::Waiting => Self::Waiting,
            UnitState::Starting => Self::Starting,
            UnitState::Ready => Self::Ready,
            UnitState::Backoff => Self::Backoff,
            UnitState::Stopped | UnitState::Drained => Self::Stopped,
            UnitState::Failed => Self::Failed,
        }
    }
}

/// The state of the weights in the cache, with what is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WeightsSeen {
    Sound,
    Damaged(String),
    Missing(String),
}

/// One line of a `/metrics` page.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// As exposed: `NAME_bucket`, `NAME_sum`, `NAME_count` for a histogram.
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}
