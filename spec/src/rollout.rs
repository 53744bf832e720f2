//! A rollout as data: what is asked, what is seen, what was decided.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::amount::{Span, Weight};

/// A staged cutover, as flags or a YAML file say it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RolloutSpec {
    /// Weights of the candidate, each higher than the one before, the last 100%.
    pub stages: Vec<Weight>,
    /// A stage is held for at least this long.
    #[serde(default = "default_bake")]
    pub bake: Span,
    /// All must hold for a promotion; any that fails rolls back.
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
    /// Time between two decisions.
    #[serde(default = "default_tick")]
    pub tick: Span,
}

const fn default_bake() -> Span {
    Span::seconds(30 * 60)
}

fn default_gates() -> Vec<Gate> {
    vec![
        Gate { sli: Sli::ErrorRatio, threshold: 0.05 },
        Gate { sli: Sli::TimeToFirstToken(Quantile::P95), threshold: 15.0 },
    ]
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

const fn default_tick() -> Span {
    Span::seconds(1)
}

impl Default for RolloutSpec {
    fn default() -> Self {
        Self {
            stages: [1_000, 3_000, 6_000, 10_000].into_iter().filter_map(Weight::from_basis_points).collect(),
            bake: default_bake(),
            gates: default_gates(),
            min_requests: default_min_requests(),
            alpha: default_alpha(),
            consecutive_failures: default_consecutive_failures(),
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
    #[error("gates: at least one gate is needed; without evidence nothing is promoted")]
    NoGate,
    #[error("gates[{at}]: {gate} is there twice")]
    GateTwice { at: usize, gate: Gate },
    #[error("{field}: {given} is not {wanted}")]
    OutOfRange { field: &'static str, given: String, wanted: &'static str },
}

impl RolloutSpec {
    /// Checks what types can't: order, ends, ranges.
    pub fn validate(&self) -> Result<(), InvalidRollout> {
        self.validate_stages()?;
        self.validate_gates()?;
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
        for (at, gate) in self.gates.iter().enumerate() {
            if self.gates[..at].iter().any(|other| other.sli == gate.sli) {
                return Err(InvalidRollout::GateTwice { at, gate: gate.clone() });
            }
        }
        Ok(())
    }
}

/// What is measured on the candidate.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Sli {
    /// `error_ratio`: upstream errors and truncated answers, of all counted answers.
    ErrorRatio,
    /// `truncated_ratio`: streams that ended without their end.
    TruncatedRatio,
    /// `ttft_p50`, `ttft_p95`, `ttft_p99`: seconds to the first byte of the answer.
    TimeToFirstToken(Quantile),
    /// `latency_p50` …: seconds to the last byte.
    Latency(Quantile),
    /// `scrape:NAME`: the sum of a metric's samples on the candidate's /metrics.
    Scrape(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Quantile {
    P50,
    P95,
    P99,
}

impl Quantile {
    /// The share that may lie above the threshold.
    pub const fn allowed_above(self) -> f64 {
        match self {
            Self::P50 => 0.5,
            Self::P95 => 0.05,
            Self::P99 => 0.01,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::P50 => "p50",
            Self::P95 => "p95",
            Self::P99 => "p99",
        }
    }
}

/// A condition to leave a stage: the SLI must stay below the threshold.
///
/// Text form `SLI<THRESHOLD`: a ratio takes `5%`, a time `15s` or `250ms`, a scrape a plain number.
#[derive(Debug, Clone, PartialEq)]
pub struct Gate {
    pub sli: Sli,
    /// 0 to 1 for ratios, seconds for times, the metric's own unit for a scrape.
    pub threshold: f64,
}

/// Why a text is no gate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidGate {
    #[error("gate \"{0}\" should read SLI<THRESHOLD, e.g. error_ratio<5% or ttft_p95<15s")]
    Form(String),
    #[error(
        "gate \"{gate}\": unknown SLI \"{sli}\"; known are error_ratio, truncated_ratio, ttft_p50, ttft_p95, ttft_p99, \
         latency_p50, latency_p95, latency_p99, scrape:METRIC{}", did_you_mean(near.as_deref())
    )]
    Sli { gate: String, sli: String, near: Option<String> },
    #[error("gate \"{gate}\": \"{threshold}\" is not {wanted}")]
    Threshold { gate: String, threshold: String, wanted: &'static str },
}

fn did_you_mean(near: Option<&str>) -> String {
    near.map(|near| format!("; did you mean {near}?")).unwrap_or_default()
}

impl fmt::Display for Sli {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ErrorRatio => f.write_str("error_ratio"),
            Self::TruncatedRatio => f.write_str("truncated_ratio"),
            Self::TimeToFirstToken(quantile) => write!(f, "ttft_{}", quantile.as_str()),
            Self::Latency(quantile) => write!(f, "latency_{}", quantile.as_str()),
            Self::Scrape(name) => write!(f, "scrape:{name}"),
        }
    }
}

const KNOWN_SLIS: [(&str, Sli); 8] = [
    ("error_ratio", Sli::ErrorRatio),
    ("truncated_ratio", Sli::TruncatedRatio),
    ("ttft_p50", Sli::TimeToFirstToken(Quantile::P50)),
    ("ttft_p95", Sli::TimeToFirstToken(Quantile::P95)),
    ("ttft_p99", Sli::TimeToFirstToken(Quantile::P99)),
    ("latency_p50", Sli::Latency(Quantile::P50)),
    ("latency_p95", Sli::Latency(Quantile::P95)),
    ("latency_p99", Sli::Latency(Quantile::P99)),
];

fn parse_sli(gate: &str, text: &str) -> Result<Sli, InvalidGate> {
    if let Some(name) = text.strip_prefix("scrape:") {
        let is_name = !name.is_empty()
            && !name.as_bytes()[0].is_ascii_digit()
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b':'));
        return if is_name { Ok(Sli::Scrape(name.to_owned())) } else { Err(unknown_sli(gate, text)) };
    }
    KNOWN_SLIS.iter().find(|(name, _)| *name == text).map(|(_, sli)| sli.clone()).ok_or_else(|| unknown_sli(gate, text))
}

fn unknown_sli(gate: &str, text: &str) -> InvalidGate {
    let known: Vec<String> = KNOWN_SLIS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let near = crate::yaml::closest(text, &known).map(str::to_owned);
    InvalidGate::Sli { gate: gate.to_owned(), sli: text.to_owned(), near }
}

fn parse_threshold(gate: &str, sli: &Sli, text: &str) -> Result<f64, InvalidGate> {
    let invalid = |wanted| InvalidGate::Threshold { gate: gate.to_owned(), threshold: text.to_owned(), wanted };
    match sli {
        Sli::ErrorRatio | Sli::TruncatedRatio => {
            let wanted = "a share above 0% and below 100%, e.g. 5%";
            let percent = text.strip_suffix('%').ok_or_else(|| invalid(wanted))?;
            let ratio = percent.trim().parse::<f64>().map_err(|_| invalid(wanted))? / 100.0;
            if ratio > 0.0 && ratio < 1.0 { Ok(ratio) } else { Err(invalid(wanted)) }
        }
        Sli::TimeToFirstToken(_) | Sli::Latency(_) => {
            let wanted = "a span of time above 0, e.g. 15s or 250ms";
            let span: Span = text.parse().map_err(|_| invalid(wanted))?;
            if span.0.is_zero() { Err(invalid(wanted)) } else { Ok(span.0.as_secs_f64()) }
        }
        Sli::Scrape(_) => {
            let number = text.parse::<f64>().map_err(|_| invalid("a number"))?;
            if number.is_finite() { Ok(number) } else { Err(invalid("a number")) }
        }
    }
}

impl FromStr for Gate {
    type Err = InvalidGate;

    fn from_str(given: &str) -> Result<Self, InvalidGate> {
        let (sli, threshold) = given.split_once('<').ok_or_else(|| InvalidGate::Form(given.to_owned()))?;
        let sli = parse_sli(given, sli.trim())?;
        let threshold = parse_threshold(given, &sli, threshold.trim())?;
        Ok(Self { sli, threshold })
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.sli {
            Sli::ErrorRatio | Sli::TruncatedRatio => {
                // Twelve digits keep what was typed and drop what binary fractions add.
                let percent = (self.threshold * 100.0 * 1e10).round() / 1e10;
                write!(f, "{}<{percent}%", self.sli)
            }
            Sli::TimeToFirstToken(_) | Sli::Latency(_) => {
                let span = Span(std::time::Duration::from_secs_f64(self.threshold));
                write!(f, "{}<{}", self.sli, span.to_string().replace(' ', ""))
            }
            Sli::Scrape(_) => write!(f, "{}<{}", self.sli, self.threshold),
        }
    }
}

impl Serialize for Gate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Gate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Three values, never two: no evidence is never a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    Promote,
    Hold,
    RollBack,
}

impl Verdict {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Promote => "promote",
            Self::Hold => "hold",
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
    /// `started`, `weight-intended`, `weight-set`, `promoted-stage`, `paused`, `resumed`, `promoted`, `rolled-back`, `aborted`.
    pub kind: String,
    pub weight: Weight,
    pub detail: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_survives_being_written() {
        for text in [
            "error_ratio<5%",
            "truncated_ratio<0.1%",
            "ttft_p95<15s",
            "latency_p50<250ms",
            "scrape:vllm:num_requests_waiting<100",
        ] {
            assert_eq!(text.parse::<Gate>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_gate_is_refused_by_name() {
        for (bad, hint) in [
            ("error_ratio", "SLI<THRESHOLD"),
            ("error_ratio>5%", "SLI<THRESHOLD"),
            ("eror_ratio<5%", "did you mean error_ratio"),
            ("error_ratio<5", "\"5\" is not a share"),
            ("error_ratio<0%", "is not a share"),
            ("ttft_p95<15", "is not a span of time"),
            ("ttft_p95<0s", "is not a span of time"),
            ("scrape:<1", "unknown SLI"),
            ("scrape:up<many", "is not a number"),
            ("scrape:up<inf", "is not a number"),
        ] {
            let error = bad.parse::<Gate>().unwrap_err().to_string();
            assert!(error.contains(hint), "{bad}: {error}");
        }
    }

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
            ("stages: [100%]\nalpha: 0", "alpha: 0 is not above 0"),
            ("stages: [100%]\nmin_requests: 0", "min_requests: 0"),
            ("stages: [100%]\ntick: 1ms", "tick: 1ms"),
        ] {
            let error = spec(bad).validate().unwrap_err().to_string();
            assert!(error.contains(hint), "{bad}: {error}");
        }
    }
}
