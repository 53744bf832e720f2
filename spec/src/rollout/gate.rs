//! A gate: what is measured, against what, and what happens when it fails.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::amount::Span;

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
    /// `ttft`: the typical (geometric mean) time to the first byte; only beside the baseline.
    TypicalFirstToken,
    /// `latency`: the typical time to the last byte; only beside the baseline.
    TypicalLatency,
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
/// Text form `SLI<THRESHOLD`: a ratio takes `5%`, a time `15s` or `250ms`, a scrape a plain number, and a comparison
/// with the baseline `1.5x`; then perhaps ` on_fail=hold` and ` dry_run`. A rollout file may also say
/// `{gate: error_ratio<1.5x, on_fail: hold, dry_run: true}`.
#[derive(Debug, Clone, PartialEq)]
pub struct Gate {
    pub sli: Sli,
    /// 0 to 1 for ratios, seconds for times, the metric's own unit for a scrape; how many times the baseline's for a
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
        "gate \"{gate}\": unknown SLI \"{sli}\"; known are error_ratio, truncated_ratio, ttft, ttft_p50, ttft_p95, \
         ttft_p99, latency, latency_p50, latency_p95, latency_p99, scrape:METRIC{}", did_you_mean(near.as_deref())
    )]
    Sli { gate: String, sli: String, near: Option<String> },
    #[error("gate \"{gate}\": on_fail takes rollback or hold, not \"{given}\"")]
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
            Self::ErrorRatio => f.write_str("error_ratio"),
            Self::TruncatedRatio => f.write_str("truncated_ratio"),
            Self::TimeToFirstToken(quantile) => write!(f, "ttft_{}", quantile.as_str()),
            Self::Latency(quantile) => write!(f, "latency_{}", quantile.as_str()),
            Self::TypicalFirstToken => f.write_str("ttft"),
            Self::TypicalLatency => f.write_str("latency"),
            Self::Scrape(name) => write!(f, "scrape:{name}"),
        }
    }
}

const KNOWN_SLIS: [(&str, Sli); 10] = [
    ("error_ratio", Sli::ErrorRatio),
    ("truncated_ratio", Sli::TruncatedRatio),
    ("ttft_p50", Sli::TimeToFirstToken(Quantile::P50)),
    ("ttft_p95", Sli::TimeToFirstToken(Quantile::P95)),
    ("ttft_p99", Sli::TimeToFirstToken(Quantile::P99)),
    ("ttft", Sli::TypicalFirstToken),
    ("latency", Sli::TypicalLatency),
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

const TIMES_BASELINE: &str = "a multiple of the baseline's, above 1x and at most 100x, e.g. 1.5x";

fn parse_threshold(gate: &str, sli: &Sli, text: &str) -> Result<(f64, Against), InvalidGate> {
    let invalid = |wanted| InvalidGate::Threshold { gate: gate.to_owned(), threshold: text.to_owned(), wanted };
    let value = match (sli, text.strip_suffix('x')) {
        (Sli::ErrorRatio | Sli::TruncatedRatio | Sli::TypicalFirstToken | Sli::TypicalLatency, Some(times)) => {
            let times = parse_times(times).ok_or_else(|| invalid(TIMES_BASELINE))?;
            return Ok((times, Against::Baseline));
        }
        (Sli::TypicalFirstToken | Sli::TypicalLatency, None) => return Err(invalid(TIMES_BASELINE)),
        (Sli::ErrorRatio | Sli::TruncatedRatio, None) => {
            parse_share(text).ok_or_else(|| invalid("a share above 0% and below 100%, e.g. 5%"))?
        }
        (Sli::TimeToFirstToken(_) | Sli::Latency(_), _) => {
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
            (Against::Slo, Sli::ErrorRatio | Sli::TruncatedRatio) => {
                // Twelve digits keep what was typed and drop what binary fractions add.
                let percent = (self.threshold * 100.0 * 1e10).round() / 1e10;
                write!(f, "{}<{percent}%", self.sli)?;
            }
            (Against::Slo, Sli::TimeToFirstToken(_) | Sli::Latency(_)) => {
                let span = Span(std::time::Duration::from_secs_f64(self.threshold));
                write!(f, "{}<{}", self.sli, span.to_string().replace(' ', ""))?;
            }
            (Against::Slo, Sli::TypicalFirstToken | Sli::TypicalLatency | Sli::Scrape(_)) => {
                write!(f, "{}<{}", self.sli, self.threshold)?;
            }
        }
        if self.on_fail == OnFail::Hold {
            f.write_str(" on_fail=hold")?;
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
            ("error_ratio<5% on_fail=page", "on_fail takes rollback or hold, not \"page\""),
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
