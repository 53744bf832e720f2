//! A gate: what is measured, against what, and what happens when it fails.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::amount::Span;

/// What is measured on the candidate.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Sli {
    /// `error_ratio`, `truncated_ratio`, `blocked_ratio`, `refused_ratio`: a share of the answers.
    Ratio(Fault),
    /// `ttft_p50`, `ttft_p95`, `ttft_p99`, and so for each measure.
    Quantile(Measure, Quantile),
    /// `ttft`, `latency`, `tpot`, `cost`: the typical value (geometric mean); only beside the baseline.
    Typical(Measure),
    /// `scrape:NAME`: the sum of a metric's samples on the candidate's /metrics.
    Scrape(String),
}

/// What may be wrong with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Upstream errors and truncated answers, of all counted answers.
    Failed,
    /// Streams that ended without their end.
    Truncated,
    /// Answers that a guard of the gateway ended, of these and all counted ones.
    Blocked,
    /// Answers that ended with `finish_reason` `content_filter`.
    Refused,
}

/// What is measured of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Measure {
    /// Seconds to the first byte.
    FirstToken,
    /// Seconds to the last byte.
    Latency,
    /// Seconds between two tokens, after the first; of good answers that say how many tokens they have.
    PerToken,
    /// Dollars, of answers that say their tokens, from a variant with a price.
    Cost,
}

impl Fault {
    pub const ALL: [Self; 4] = [Self::Failed, Self::Truncated, Self::Blocked, Self::Refused];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "error_ratio",
            Self::Truncated => "truncated_ratio",
            Self::Blocked => "blocked_ratio",
            Self::Refused => "refused_ratio",
        }
    }
}

impl Measure {
    pub const ALL: [Self; 4] = [Self::FirstToken, Self::Latency, Self::PerToken, Self::Cost];

    const fn as_str(self) -> &'static str {
        match self {
            Self::FirstToken => "ttft",
            Self::Latency => "latency",
            Self::PerToken => "tpot",
            Self::Cost => "cost",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Quantile {
    P50,
    P95,
    P99,
}

impl Quantile {
    pub const ALL: [Self; 3] = [Self::P50, Self::P95, Self::P99];

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
/// Text form `SLI<THRESHOLD`: a ratio takes `5%`, a time `15s` or `250ms`, a cost `$0.02`, a scrape a plain number, and a
/// comparison with the baseline `1.5x`; then perhaps ` on_fail=hold` (or `step_back`) and ` dry_run`. A rollout file may also say
/// `{gate: error_ratio<1.5x, on_fail: hold, dry_run: true}`.
#[derive(Debug, Clone, PartialEq)]
pub struct Gate {
    pub sli: Sli,
    /// 0 to 1 for ratios, seconds for times, dollars for costs, the metric's own unit for a scrape; how many times the baseline's for a
    /// comparison.
    pub threshold: f64,
    pub against: Against,
    pub on_fail: OnFail,
    /// Judged and shown, and decides nothing.
    pub dry_run: bool,
}

/// What an SLI is held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Against {
    /// A value that was promised.
    Slo,
    /// The baseline's answers of the same time.
    Baseline,
}

/// What a gate that fails does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFail {
    #[default]
    Rollback,
    /// Keeps the weight, for somebody to look.
    Hold,
    /// Goes back to the stage before and bakes anew; rolls back where there is none, or after the last time allowed.
    #[serde(rename = "step_back")]
    StepBack,
}

impl Gate {
    /// Against a value, and rolls back.
    pub const fn slo(sli: Sli, threshold: f64) -> Self {
        Self { sli, threshold, against: Against::Slo, on_fail: OnFail::Rollback, dry_run: false }
    }
}

/// Why a text is no gate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidGate {
    #[error("gate \"{0}\" should read SLI<THRESHOLD, e.g. error_ratio<5% or ttft_p95<15s")]
    Form(String),
    #[error(
        "gate \"{gate}\": unknown SLI \"{sli}\"; known are error_ratio, truncated_ratio, blocked_ratio, \
         refused_ratio, ttft, latency, tpot, cost, the last four with _p50, _p95 or _p99 too, scrape:METRIC{}", did_you_mean(near.as_deref())
    )]
    Sli { gate: String, sli: String, near: Option<String> },
    #[error("gate \"{gate}\": on_fail takes rollback, hold or step_back, not \"{given}\"")]
    OnFail { gate: String, given: String },
    #[error("gate \"{gate}\": \"{threshold}\" is not {wanted}")]
    Threshold { gate: String, threshold: String, wanted: &'static str },
}

fn did_you_mean(near: Option<&str>) -> String {
    near.map(|near| format!("; did you mean {near}?")).unwrap_or_default()
}

impl fmt::Display for Sli {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ratio(fault) => f.write_str(fault.as_str()),
            Self::Quantile(measure, quantile) => write!(f, "{}_{}", measure.as_str(), quantile.as_str()),
            Self::Typical(measure) => f.write_str(measure.as_str()),
            Self::Scrape(name) => write!(f, "scrape:{name}"),
        }
    }
}

/// All but scrapes, each with its text.
fn known_slis() -> Vec<(String, Sli)> {
    let of_measure = |measure: Measure| {
        let quantiles = Quantile::ALL.into_iter().map(move |quantile| Sli::Quantile(measure, quantile));
        quantiles.chain([Sli::Typical(measure)])
    };
    let slis = Fault::ALL.into_iter().map(Sli::Ratio).chain(Measure::ALL.into_iter().flat_map(of_measure));
    slis.map(|sli| (sli.to_string(), sli)).collect()
}

fn parse_sli(gate: &str, text: &str) -> Result<Sli, InvalidGate> {
    if let Some(name) = text.strip_prefix("scrape:") {
        let is_name = !name.is_empty()
            && !name.as_bytes()[0].is_ascii_digit()
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b':'));
        return if is_name { Ok(Sli::Scrape(name.to_owned())) } else { Err(unknown_sli(gate, text)) };
    }
    known_slis().into_iter().find(|(name, _)| name == text).map(|(_, sli)| sli).ok_or_else(|| unknown_sli(gate, text))
}

fn unknown_sli(gate: &str, text: &str) -> InvalidGate {
    let known: Vec<String> = known_slis().into_iter().map(|(name, _)| name).collect();
    let near = crate::yaml::closest(text, &known).map(str::to_owned);
    InvalidGate::Sli { gate: gate.to_owned(), sli: text.to_owned(), near }
}

const TIMES_BASELINE: &str = "a multiple of the baseline's, above 1x and at most 100x, e.g. 1.5x";

fn parse_threshold(gate: &str, sli: &Sli, text: &str) -> Result<(f64, Against), InvalidGate> {
    let invalid = |wanted| InvalidGate::Threshold { gate: gate.to_owned(), threshold: text.to_owned(), wanted };
    let value = match (sli, text.strip_suffix('x')) {
        (Sli::Ratio(_) | Sli::Typical(_), Some(times)) => {
            let times = parse_times(times).ok_or_else(|| invalid(TIMES_BASELINE))?;
            return Ok((times, Against::Baseline));
        }
        (Sli::Typical(_), None) => return Err(invalid(TIMES_BASELINE)),
        (Sli::Ratio(_), None) => {
            parse_share(text).ok_or_else(|| invalid("a share above 0% and below 100%, e.g. 5%"))?
        }
        (Sli::Quantile(Measure::Cost, _), _) => {
            parse_dollars(text).ok_or_else(|| invalid("a price of an answer above 0, e.g. $0.02"))?
        }
        (Sli::Quantile(_, _), _) => {
            let wanted = "a span of time above 0, e.g. 15s or 250ms (beside the baseline: ttft<1.2x, latency<1.2x)";
            parse_seconds(text).ok_or_else(|| invalid(wanted))?
        }
        (Sli::Scrape(_), _) => {
            text.parse().ok().filter(|number: &f64| number.is_finite()).ok_or_else(|| invalid("a number"))?
        }
    };
    Ok((value, Against::Slo))
}

fn parse_times(text: &str) -> Option<f64> {
    text.parse().ok().filter(|times| *times > 1.0 && *times <= 100.0)
}

fn parse_share(text: &str) -> Option<f64> {
    let percent: f64 = text.strip_suffix('%')?.trim().parse().ok()?;
    Some(percent / 100.0).filter(|share| *share > 0.0 && *share < 1.0)
}

fn parse_dollars(text: &str) -> Option<f64> {
    text.strip_prefix('$')?.parse().ok().filter(|dollars: &f64| *dollars > 0.0 && dollars.is_finite())
}

fn parse_seconds(text: &str) -> Option<f64> {
    let span: Span = text.parse().ok()?;
    Some(span.0.as_secs_f64()).filter(|seconds| *seconds > 0.0)
}

impl FromStr for Gate {
    type Err = InvalidGate;

    fn from_str(given: &str) -> Result<Self, InvalidGate> {
        let (mut rest, mut on_fail, mut dry_run) = (given.trim(), OnFail::default(), false);
        while let Some((before, word)) = rest.rsplit_once(char::is_whitespace) {
            match word.strip_prefix("on_fail=") {
                Some("rollback") => on_fail = OnFail::Rollback,
                Some("hold") => on_fail = OnFail::Hold,
                Some("step_back") => on_fail = OnFail::StepBack,
                Some(other) => return Err(InvalidGate::OnFail { gate: given.to_owned(), given: other.to_owned() }),
                None if word == "dry_run" => dry_run = true,
                None => break,
            }
            rest = before.trim_end();
        }
        let (sli, threshold) = rest.split_once('<').ok_or_else(|| InvalidGate::Form(given.to_owned()))?;
        let sli = parse_sli(given, sli.trim())?;
        let (threshold, against) = parse_threshold(given, &sli, threshold.trim())?;
        Ok(Self { sli, threshold, against, on_fail, dry_run })
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.against, &self.sli) {
            (Against::Baseline, _) => write!(f, "{}<{}x", self.sli, self.threshold)?,
            (Against::Slo, Sli::Ratio(_)) => {
                // Twelve digits keep what was typed and drop what binary fractions add.
                let percent = (self.threshold * 100.0 * 1e10).round() / 1e10;
                write!(f, "{}<{percent}%", self.sli)?;
            }
            (Against::Slo, Sli::Quantile(Measure::Cost, _)) => write!(f, "{}<${}", self.sli, self.threshold)?,
            (Against::Slo, Sli::Quantile(_, _)) => {
                let span = Span(std::time::Duration::from_secs_f64(self.threshold));
                write!(f, "{}<{}", self.sli, span.to_string().replace(' ', ""))?;
            }
            (Against::Slo, Sli::Typical(_) | Sli::Scrape(_)) => write!(f, "{}<{}", self.sli, self.threshold)?,
        }
        match self.on_fail {
            OnFail::Rollback => {}
            OnFail::Hold => f.write_str(" on_fail=hold")?,
            OnFail::StepBack => f.write_str(" on_fail=step_back")?,
        }
        if self.dry_run { f.write_str(" dry_run") } else { Ok(()) }
    }
}

impl Serialize for Gate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Gate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(GateVisitor)
    }
}

/// A gate with its settings as keys.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    gate: String,
    on_fail: Option<OnFail>,
    dry_run: Option<bool>,
}

struct GateVisitor;

impl<'de> de::Visitor<'de> for GateVisitor {
    type Value = Gate;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a gate, e.g. error_ratio<5% or {gate: error_ratio<1.5x, on_fail: hold}")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Gate, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Gate, A::Error> {
        let fields = Fields::deserialize(de::value::MapAccessDeserializer::new(map))?;
        let mut gate: Gate = fields.gate.parse().map_err(de::Error::custom)?;
        gate.on_fail = fields.on_fail.unwrap_or(gate.on_fail);
        gate.dry_run = fields.dry_run.unwrap_or(gate.dry_run);
        Ok(gate)
    }
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
            "error_ratio<1.5x",
            "ttft<1.2x on_fail=hold",
            "latency<1.25x on_fail=hold dry_run",
            "blocked_ratio<2x on_fail=step_back",
            "refused_ratio<0.5%",
            "tpot_p99<80ms",
            "tpot<1.2x",
            "cost_p95<$0.02",
            "cost<1.5x",
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
            ("ttft_p95<1.2x", "beside the baseline: ttft<1.2x"),
            ("ttft<15s", "a multiple of the baseline's"),
            ("error_ratio<1x", "above 1x"),
            ("error_ratio<5% on_fail=page", "on_fail takes rollback, hold or step_back, not \"page\""),
            ("cost_p95<0.02", "e.g. $0.02"),
            ("cost_p95<$0", "e.g. $0.02"),
            ("scrape:<1", "unknown SLI"),
            ("scrape:up<many", "is not a number"),
            ("scrape:up<inf", "is not a number"),
        ] {
            let error = bad.parse::<Gate>().unwrap_err().to_string();
            assert!(error.contains(hint), "{bad}: {error}");
        }
    }

    #[test]
    fn a_file_says_the_same_in_keys_and_unknown_ones_are_refused() {
        let yaml = "stages: [10%, 100%]\ngates: [{gate: error_ratio<1.5x, on_fail: hold, dry_run: true}]";
        let spec: crate::rollout::RolloutSpec = crate::yaml::parse(yaml, "rollout.yaml").unwrap();
        assert_eq!(spec.gates[0].to_string(), "error_ratio<1.5x on_fail=hold dry_run");
        let unknown =
            crate::yaml::parse::<crate::rollout::RolloutSpec>(&yaml.replace("on_fail", "onfail"), "rollout.yaml");
        assert!(unknown.unwrap_err().to_string().contains("onfail"));
    }
}
