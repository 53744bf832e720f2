//! A runbook as data. The format is documented in `data/README.md`; [`crate::validate`] checks what types can't.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use spec::amount::Span;
use spec::host::{Phase, PhaseState};
use spec::metric::{self, Metric};
use spec::rollout::{RolloutPhase, Verdict};

use crate::probe::StateSeen;

/// One on-call procedure.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Runbook {
    pub name: String,
    /// Names of the alerts that it answers.
    #[serde(default)]
    pub alerts: Vec<String>,
    /// What the person on call sees.
    pub symptom: String,
    /// What that does to users.
    pub meaning: String,
    /// A decision tree; the first step is its root, and a step leads to later ones only.
    pub steps: Vec<Step>,
    pub causes: Vec<Cause>,
    /// Whom to call with what when the runbook does not help.
    pub call: String,
}

/// One question.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    pub name: String,
    pub ask: String,
    pub see: Check,
    pub yes: Branch,
    pub no: Branch,
}

/// Where an answer leads.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "BranchKeys")]
pub enum Branch {
    Step(String),
    Cause(String),
    /// The runbook is not for this; the text says why.
    NotThis(String),
}

/// What is the matter, and what is done about it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cause {
    pub name: String,
    pub meaning: String,
    #[serde(default)]
    pub remedy: Option<Remedy>,
    /// How to see that the remedy helped.
    #[serde(default)]
    pub verify: Option<Verification>,
    /// How to undo the remedy.
    #[serde(default)]
    pub back: Option<String>,
    /// What a person does; in place of a remedy.
    #[serde(default)]
    pub by_hand: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verification {
    /// Must come to be answered with yes.
    pub see: Check,
    pub within: Span,
}

/// The act that changes things.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RemedyKeys", rename_all = "kebab-case")]
pub enum Remedy {
    /// Stop a unit politely and start it again.
    Restart(Unit),
    /// Stop the rollout; all traffic goes to the baseline.
    RolloutAbort,
    /// Bring the deployment to what its spec says, as `dsctl up` does: starts the agent if it is gone.
    Up,
    /// Take the damaged file out of the cache and fetch it again.
    RefetchWeights,
    /// Let a unit finish what it has, then stop it; it stays down until it is restarted.
    Drain(Unit),
    /// Run a daemon with half of the context that it has.
    SmallerContext(Unit),
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Restart(unit) => write!(f, "restart {unit}"),
            Self::RolloutAbort => f.write_str("abort the rollout: all traffic goes back to the baseline"),
            Self::Up => f.write_str("bring the deployment to what its spec says (dsctl up)"),
            Self::RefetchWeights => f.write_str("take the damaged weights out of the cache and fetch them again"),
            Self::Drain(unit) => write!(f, "drain {unit}: it finishes what it has, then stays down"),
            Self::SmallerContext(unit) => write!(f, "run {unit} with half of its context length"),
        }
    }
}

/// Something with a process of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    Agent,
    Dsserve,
    DsserveBaseline,
    Dsgate,
}

impl Unit {
    /// The unit's name in host spec and status.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Dsserve => "dsserve",
            Self::DsserveBaseline => "dsserve-baseline",
            Self::Dsgate => "dsgate",
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What is looked at; the answer is yes, no, or that it can't be seen.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "CheckKeys")]
pub enum Check {
    Status(StatusCheck),
    Phase(PhaseCheck),
    Metric(MetricCheck),
    Log(LogCheck),
    FreeSpace(FreeSpaceCheck),
    Rollout(RolloutCheck),
    Weights(WeightsCheck),
}

/// Yes if the unit is in one of these states; a unit that the deployment does not have is in none.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatusCheck {
    pub unit: Unit,
    pub is: Vec<StateSeen>,
}

/// Yes if one of the last lines that a unit wrote holds one of these texts, whatever their case.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogCheck {
    pub unit: Unit,
    pub says: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PhaseCheck {
    pub name: Phase,
    pub is: Vec<PhaseState>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricCheck {
    pub source: MetricSource,
    pub name: String,
    pub read: Reading,
    /// Label -> values of the samples that count; all samples without it.
    #[serde(default)]
    pub labels: BTreeMap<String, Vec<String>>,
    /// `share` only: the samples that the share is taken of.
    #[serde(default)]
    pub of: BTreeMap<String, Vec<String>>,
    /// Time between two scrapes; `value` needs none.
    #[serde(default)]
    pub window: Option<Span>,
    #[serde(default)]
    pub above: Option<f64>,
    #[serde(default)]
    pub below: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MetricSource {
    Gateway,
    Daemon,
}

impl MetricSource {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Daemon => "daemon",
        }
    }

    pub fn metrics(self) -> impl Iterator<Item = &'static Metric> {
        let groups: &[&'static [Metric]] = match self {
            Self::Gateway => &[metric::gateway::ALL, metric::audit::ALL],
            Self::Daemon => &[metric::daemon::ALL],
        };
        groups.iter().copied().flatten()
    }
}

/// How samples become one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reading {
    /// A gauge's sum now.
    Value,
    /// A counter's growth over the window.
    Growth,
    /// A counter's growth over the window, as a share of `of`'s.
    Share,
    /// The 95th percentile of what a histogram took in over the window.
    P95,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FreeSpaceCheck {
    pub below_gib: u64,
}

/// Yes if the last rollout is in one of these phases, and its verdict is this one.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RolloutCheck {
    pub phase: Vec<RolloutPhase>,
    #[serde(default)]
    pub verdict: Option<Verdict>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WeightsCheck {
    pub is: WeightsWord,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WeightsWord {
    Sound,
    Damaged,
    Missing,
}

/// A mapping of which exactly one key may be there.
macro_rules! one_of {
    ($keys:ident -> $target:ident, $what:literal, { $($key:ident: $kind:ty => $make:expr),+ $(,)? }) => {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct $keys {
            $(#[serde(default)] $key: Option<$kind>,)+
        }

        impl TryFrom<$keys> for $target {
            type Error = String;

            fn try_from(keys: $keys) -> Result<Self, String> {
                let mut all: Vec<Self> = Vec::new();
                $(all.extend(keys.$key.map($make));)+
                match (all.pop(), all.pop()) {
                    (Some(one), None) => Ok(one),
                    _ => Err(format!(concat!($what, " needs exactly one of: {}"), [$(stringify!($key)),+].join(", "))),
                }
            }
        }
    };
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UnitKey {
    unit: Unit,
}

one_of!(BranchKeys -> Branch, "a branch", {
    step: String => Branch::Step,
    cause: String => Branch::Cause,
    not_this: String => Branch::NotThis,
});

one_of!(RemedyKeys -> Remedy, "a remedy", {
    restart: UnitKey => |key| Remedy::Restart(key.unit),
    rollout_abort: Nothing => |_| Remedy::RolloutAbort,
    up: Nothing => |_| Remedy::Up,
    refetch_weights: Nothing => |_| Remedy::RefetchWeights,
    drain: UnitKey => |key| Remedy::Drain(key.unit),
    smaller_context: UnitKey => |key| Remedy::SmallerContext(key.unit),
});

one_of!(CheckKeys -> Check, "a check", {
    status: StatusCheck => Check::Status,
    phase: PhaseCheck => Check::Phase,
    metric: MetricCheck => Check::Metric,
    log: LogCheck => Check::Log,
    free_space: FreeSpaceCheck => Check::FreeSpace,
    rollout: RolloutCheck => Check::Rollout,
    weights: WeightsCheck => Check::Weights,
});

impl Runbook {
    pub fn step(&self, name: &str) -> Option<&Step> {
        self.steps.iter().find(|step| step.name == name)
    }

    pub fn cause(&self, name: &str) -> Option<&Cause> {
        self.causes.iter().find(|cause| cause.name == name)
    }
}
