//! A rollout as data: what is asked, what is seen, what was decided.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::amount::{Span, Weight};

mod gate;
mod lockout;

pub use lockout::{InvalidLockout, Lockout};

pub use gate::{Against, Fault, Gate, InvalidGate, Measure, OnFail, Quantile, Sli};

/// A staged cutover, as flags or a YAML file say it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RolloutSpec {
    /// Weights of the candidate, each higher than the one before, the last 100%.
    pub stages: Vec<Weight>,
    /// A stage is held for at least this long.
    #[serde(default = "default_bake")]
    pub bake: Span,
    /// All must hold for a promotion; any that fails rolls back, unless it says otherwise.
    #[serde(default = "default_gates")]
    pub gates: Vec<Gate>,
    /// Counted answers of the candidate that a stage needs before any gate may promote.
    #[serde(default = "default_min_requests")]
    pub min_requests: u64,
    /// Chance of rolling back a candidate that is exactly at its thresholds, however often it is looked at; the gates on
    /// answers share it.
    #[serde(default = "default_alpha")]
    pub alpha: f64,
    /// Failures in a row, of requests or of health probes, that roll back without statistics.
    #[serde(default = "default_consecutive_failures")]
    pub consecutive_failures: u32,
    /// A stage that isn't passed after this long is paused until somebody resumes it; none waits for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bake: Option<Span>,
    /// Stages that begin only when somebody has approved, by their weights; what is in force is watched meanwhile.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approve_before: Vec<Weight>,
    /// When nothing is promoted; what goes wrong is taken back all the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lockout: Vec<Lockout>,
    /// How often a gate with `on_fail=step_back` may lead back to the stage before; the next time rolls back.
    #[serde(default = "default_max_step_backs")]
    pub max_step_backs: u32,
    /// Time between two decisions.
    #[serde(default = "default_tick")]
    pub tick: Span,
}

const fn default_bake() -> Span {
    Span::seconds(30 * 60)
}

fn default_gates() -> Vec<Gate> {
    vec![Gate::slo(Sli::Ratio(Fault::Failed), 0.05), Gate::slo(Sli::Quantile(Measure::FirstToken, Quantile::P95), 15.0)]
}

const fn default_min_requests() -> u64 {
    20
}

const fn default_alpha() -> f64 {
    0.01
}

const fn default_consecutive_failures() -> u32 {
    5
}

const fn default_max_step_backs() -> u32 {
    2
}

const fn default_tick() -> Span {
    Span::seconds(1)
}

/// More would divide the chance of each test away.
const MOST_STEP_BACKS: u32 = 20;

impl Default for RolloutSpec {
    fn default() -> Self {
        Self {
            stages: [1_000, 3_000, 6_000, 10_000].into_iter().filter_map(Weight::from_basis_points).collect(),
            bake: default_bake(),
            gates: default_gates(),
            min_requests: default_min_requests(),
            alpha: default_alpha(),
            consecutive_failures: default_consecutive_failures(),
            max_step_backs: default_max_step_backs(),
            max_bake: None,
            approve_before: Vec::new(),
            lockout: Vec::new(),
            tick: default_tick(),
        }
    }
}

/// Why a rollout can't be started as asked.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum InvalidRollout {
    #[error("stages: at least one weight is needed, e.g. 10%, 30%, 60%, 100%")]
    NoStage,
    #[error("stages[{at}]: {weight} does not go up from {before}")]
    NotRising { at: usize, weight: Weight, before: Weight },
    #[error("stages[{at}]: the last stage is {weight}; it must be 100%")]
    NotAll { at: usize, weight: Weight },
    #[error("approve_before[{at}]: {weight} is none of the stages after the first")]
    NothingToApprove { at: usize, weight: Weight },
    #[error("gates: at least one gate is needed; without evidence nothing is promoted")]
    NoGate,
    #[error("gates: all are dry runs; at least one must decide, without evidence nothing is promoted")]
    OnlyDryRuns,
    #[error("gates[{at}]: {gate} has no baseline to be held against, since the only stage is 100%")]
    NothingToCompare { at: usize, gate: Gate },
    #[error("gates[{at}]: {gate} is there twice")]
    GateTwice { at: usize, gate: Gate },
    #[error("{field}: {given} is not {wanted}")]
    OutOfRange { field: &'static str, given: String, wanted: &'static str },
}

impl RolloutSpec {
    /// The window that keeps everything where it is now.
    pub fn locked_out_by(&self, now: Timestamp) -> Option<&Lockout> {
        self.lockout.iter().find(|lockout| lockout.contains(now))
    }

    /// How many times a stage can begin at the most: one that is stepped back from begins again, as does the one before.
    pub fn most_stages(&self) -> usize {
        self.stages.len() + 2 * self.most_step_backs()
    }

    /// None if no gate that decides leads back.
    pub fn most_step_backs(&self) -> usize {
        let leads_back = self.gates.iter().any(|gate| gate.on_fail == OnFail::StepBack && !gate.dry_run);
        if leads_back { self.max_step_backs as usize } else { 0 }
    }

    /// Checks what types can't: order, ends, ranges.
    pub fn validate(&self) -> Result<(), InvalidRollout> {
        self.validate_stages()?;
        self.validate_gates()?;
        let is_later_stage = |weight: &Weight| self.stages.iter().skip(1).any(|stage| stage == weight);
        if let Some(at) = self.approve_before.iter().position(|weight| !is_later_stage(weight)) {
            return Err(InvalidRollout::NothingToApprove { at, weight: self.approve_before[at] });
        }
        let out_of_range = |field, given: &dyn fmt::Display, wanted| {
            Err(InvalidRollout::OutOfRange { field, given: given.to_string(), wanted })
        };
        if !(self.alpha > 0.0 && self.alpha <= 0.5) {
            return out_of_range("alpha", &self.alpha, "above 0 and at most 0.5");
        }
        if self.min_requests == 0 {
            return out_of_range("min_requests", &self.min_requests, "at least 1");
        }
        if self.consecutive_failures == 0 {
            return out_of_range("consecutive_failures", &self.consecutive_failures, "at least 1");
        }
        if let Some(max_bake) = self.max_bake.filter(|max_bake| *max_bake <= self.bake) {
            return out_of_range("max_bake", &max_bake, "longer than bake");
        }
        if self.max_step_backs > MOST_STEP_BACKS {
            return out_of_range("max_step_backs", &self.max_step_backs, "at most 20");
        }
        let tick = self.tick.0.as_millis();
        if !(10..=60_000).contains(&tick) {
            return out_of_range("tick", &self.tick, "from 10ms to 60s");
        }
        Ok(())
    }

    fn validate_stages(&self) -> Result<(), InvalidRollout> {
        let mut before = Weight::NONE;
        for (at, weight) in self.stages.iter().copied().enumerate() {
            if weight <= before {
                return Err(InvalidRollout::NotRising { at, weight, before });
            }
            before = weight;
        }
        match self.stages.last() {
            None => Err(InvalidRollout::NoStage),
            Some(&Weight::ALL) => Ok(()),
            Some(&weight) => Err(InvalidRollout::NotAll { at: self.stages.len() - 1, weight }),
        }
    }

    fn validate_gates(&self) -> Result<(), InvalidRollout> {
        if self.gates.is_empty() {
            return Err(InvalidRollout::NoGate);
        }
        if self.gates.iter().all(|gate| gate.dry_run) {
            return Err(InvalidRollout::OnlyDryRuns);
        }
        for (at, gate) in self.gates.iter().enumerate() {
            if gate.against == Against::Baseline && self.stages.len() == 1 {
                return Err(InvalidRollout::NothingToCompare { at, gate: gate.clone() });
            }
            if self.gates[..at].iter().any(|other| (&other.sli, other.against) == (&gate.sli, gate.against)) {
                return Err(InvalidRollout::GateTwice { at, gate: gate.clone() });
            }
        }
        Ok(())
    }
}

/// Never only two: no evidence is never a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    Promote,
    Hold,
    /// To the stage before.
    StepBack,
    RollBack,
}

impl Verdict {
    pub const ALL: [Self; 4] = [Self::Promote, Self::Hold, Self::StepBack, Self::RollBack];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Promote => "promote",
            Self::Hold => "hold",
            Self::StepBack => "step-back",
            Self::RollBack => "roll-back",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RolloutPhase {
    /// A stage's weight is in force and is being watched.
    Baking,
    /// Held by hand; still watched, and still rolled back when a gate fails.
    Paused,
    /// At 100% and done.
    Promoted,
    /// Back at 0% because the evidence said so.
    RolledBack,
    /// Back at 0% because somebody said so.
    Aborted,
}

impl RolloutPhase {
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Promoted | Self::RolledBack | Self::Aborted)
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Baking => "baking",
            Self::Paused => "paused",
            Self::Promoted => "promoted",
            Self::RolledBack => "rolled-back",
            Self::Aborted => "aborted",
        }
    }
}

/// Where a rollout is, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RolloutReport {
    pub id: String,
    pub spec: RolloutSpec,
    pub phase: RolloutPhase,
    /// Index into the spec's stages.
    pub stage: usize,
    /// Intended weight of the candidate.
    pub weight: Weight,
    pub started_at: Timestamp,
    pub stage_since: Timestamp,
    pub ended_at: Option<Timestamp>,
    /// How often it went back to the stage before.
    #[serde(default)]
    pub step_backs: u32,
    /// The next stage's weight, if somebody must approve before it begins and hasn't.
    #[serde(default)]
    pub awaits_approval: Option<Weight>,
    pub gates: Vec<GateReport>,
    pub verdict: Verdict,
    /// One sentence with the numbers.
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GateReport {
    pub gate: Gate,
    /// Counted answers of this stage.
    pub samples: u64,
    /// The SLI's value; none without samples.
    pub observed: Option<f64>,
    pub verdict: Verdict,
    pub reason: String,
}

/// One record of a rollout's journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RolloutEvent {
    pub rollout: String,
    /// Counted from 1 within the rollout.
    pub record: u64,
    pub at: Timestamp,
    /// `started`, `weight-intended`, `weight-set`, `promoted-stage`, `stepped-back`, `approved`, `paused`, `baked-too-long`, `resumed`, `promoted`, `rolled-back`, `aborted`.
    pub kind: String,
    pub weight: Weight,
    pub detail: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(yaml: &str) -> RolloutSpec {
        crate::yaml::parse(yaml, "rollout.yaml").unwrap()
    }

    #[test]
    fn defaults_are_valid_and_bad_specs_are_refused_with_the_place() {
        assert_eq!(RolloutSpec::default().validate(), Ok(()));
        for (bad, hint) in [
            ("stages: []", "stages: at least one"),
            ("stages: [10%, 10%, 100%]", "stages[1]: 10% does not go up from 10%"),
            ("stages: [0%, 100%]", "stages[0]: 0% does not go up"),
            ("stages: [10%, 60%]", "stages[1]: the last stage is 60%"),
            ("stages: [100%]\ngates: []", "gates: at least one"),
            ("stages: [100%]\ngates: [error_ratio<5%, error_ratio<6%]", "gates[1]: error_ratio<6% is there twice"),
            ("stages: [100%]\ngates: [error_ratio<5% dry_run]", "gates: all are dry runs"),
            ("stages: [100%]\ngates: [error_ratio<1.5x]", "gates[0]: error_ratio<1.5x has no baseline"),
            ("stages: [100%]\nalpha: 0", "alpha: 0 is not above 0"),
            ("stages: [100%]\nmin_requests: 0", "min_requests: 0"),
            ("stages: [100%]\nbake: 1h\nmax_bake: 30m", "max_bake: 30m is not longer than bake"),
            ("stages: [10%, 100%]\napprove_before: [10%]", "approve_before[0]: 10% is none of the stages after"),
            ("stages: [10%, 100%]\napprove_before: [100%, 60%]", "approve_before[1]: 60%"),
            ("stages: [100%]\nmax_step_backs: 21", "max_step_backs: 21"),
            ("stages: [100%]\ntick: 1ms", "tick: 1ms"),
        ] {
            let error = spec(bad).validate().unwrap_err().to_string();
            assert!(error.contains(hint), "{bad}: {error}");
        }
    }
}
