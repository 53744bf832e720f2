//! Alerts that can be judged by looking at /metrics pages, as data: what is measured, against which bound.
//!
//! `dsctl alerts` judges by these, and Prometheus by `templates/data/prometheus/*.yaml`; a test holds that both say the
//! same. Alerts that need hours of history are Prometheus' alone.

use serde::Serialize;

use crate::amount::Span;
use crate::metric::{Metric, audit, daemon, gateway, gpu};

/// How soon somebody has to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Users are hurt now.
    Page,
    /// Look at it today.
    Ticket,
}

impl Severity {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Ticket => "ticket",
        }
    }
}

/// What of a deployment shows a /metrics page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    Gateway,
    /// The candidate's, and the baseline's if it is a daemon too.
    Daemon,
    Agent,
}

impl Part {
    /// Of Prometheus' scrape configuration.
    pub const fn job(self) -> &'static str {
        match self {
            Self::Gateway => "dsgate",
            Self::Daemon => "dsserve",
            Self::Agent => "agent",
        }
    }
}

/// What is held against the bound.
#[derive(Debug, Clone, Copy)]
pub enum Measure {
    /// 1 if the part answers, 0 if not.
    Answers(Part),
    /// A gauge, or a counter as it stands, in each of its series.
    Value(Metric),
    /// Of a histogram's growth, for each value of the label.
    Quantile { of: Metric, share: f64, by: &'static str },
    /// The growth of some of a counter's series as a share of the growth of more of them, for each value of the label `by`.
    Ratio { of: Metric, label: &'static str, part: Chosen, whole: Chosen, by: &'static str },
    /// The machine at its price, and what is paid by the token at its present pace, in dollars.
    CostPerDay,
    /// Share of a file system that is not free.
    DiskUsed,
}

/// Values of a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chosen {
    All,
    Some(&'static [&'static str]),
}

impl Chosen {
    pub fn has(self, value: &str) -> bool {
        match self {
            Self::All => true,
            Self::Some(chosen) => chosen.contains(&value),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    Above,
    AtLeast,
    Is,
}

impl Comparison {
    /// As PromQL writes it.
    pub const fn sign(self) -> &'static str {
        match self {
            Self::Above => ">",
            Self::AtLeast => ">=",
            Self::Is => "==",
        }
    }

    pub fn holds(self, value: f64, bound: f64) -> bool {
        match self {
            Self::Above => value > bound,
            Self::AtLeast => value >= bound,
            Self::Is => (value - bound).abs() < f64::EPSILON,
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Alert {
    pub name: &'static str,
    pub severity: Severity,
    /// What `dsctl runbook run --alert NAME` goes through.
    pub runbook: &'static str,
    pub measure: Measure,
    pub comparison: Comparison,
    pub bound: f64,
    /// How long Prometheus lets it hold before it fires.
    pub lasts: Span,
}

const fn page(name: &'static str, runbook: &'static str, measure: Measure, bound: Bound) -> Alert {
    alert(name, Severity::Page, runbook, measure, bound)
}

const fn ticket(name: &'static str, runbook: &'static str, measure: Measure, bound: Bound) -> Alert {
    alert(name, Severity::Ticket, runbook, measure, bound)
}

/// Comparison, bound, and minutes that it holds.
type Bound = (Comparison, f64, u64);

const fn alert(
    name: &'static str,
    severity: Severity,
    runbook: &'static str,
    measure: Measure,
    (comparison, bound, minutes): Bound,
) -> Alert {
    Alert { name, severity, runbook, measure, comparison, bound, lasts: Span::seconds(minutes * 60) }
}

const fn p95(of: Metric, by: &'static str) -> Measure {
    Measure::Quantile { of, share: 0.95, by }
}

const fn outcomes(part: &'static [&'static str], whole: &'static [&'static str]) -> Measure {
    let (part, whole) = (Chosen::Some(part), Chosen::Some(whole));
    Measure::Ratio { of: gateway::REQUESTS, label: "outcome", part, whole, by: "variant" }
}

const FAILED: Measure = outcomes(&["upstream_error", "truncated"], &["ok", "upstream_error", "truncated"]);
const CUT: Measure = outcomes(&["truncated"], &["ok", "truncated"]);
const ABORTED: Measure = Measure::Ratio {
    of: daemon::REQUEST_SUCCESS,
    label: "finished_reason",
    part: Chosen::Some(&["abort"]),
    whole: Chosen::All,
    by: "model_name",
};

use Comparison::{Above, AtLeast, Is};
use Measure::{Answers, CostPerDay, DiskUsed, Value};

/// In the order in which they are shown.
pub const ALL: &[Alert] = &[
    page("GatewayDown", "gateway-down", Answers(Part::Gateway), (Is, 0.0, 1)),
    page("DaemonDown", "daemon-not-ready", Answers(Part::Daemon), (Is, 0.0, 1)),
    ticket("AgentDown", "agent-dead", Answers(Part::Agent), (Is, 0.0, 5)),
    page("GatewayErrorRatioHigh", "error-ratio-high", FAILED, (Above, 0.05, 2)),
    ticket("StreamsTruncated", "streams-truncated", CUT, (Above, 0.01, 5)),
    page("TimeToFirstTokenHigh", "first-token-slow", p95(gateway::TIME_TO_FIRST_TOKEN, "variant"), (Above, 15.0, 2)),
    page("RequestLatencyHigh", "requests-slow", p95(gateway::REQUEST_DURATION, "variant"), (Above, 15.0, 2)),
    ticket("InterTokenLatencyHigh", "requests-slow", p95(daemon::INTER_TOKEN_LATENCY, "model_name"), (Above, 0.5, 10)),
    ticket("AbortRatioHigh", "answers-end-early", ABORTED, (Above, 0.1, 10)),
    ticket("GatewayConfigReloadFailed", "config-reload-failed", Value(gateway::CONFIG_RELOADED), (Is, 0.0, 1)),
    page("AuditNotWritten", "audit-not-written", Value(audit::FAILING), (Is, 1.0, 1)),
    page("AuditRecordsLost", "audit-not-written", Value(audit::DROPPED), (Above, 0.0, 0)),
    ticket("RequestQueueGrowing", "queue-growing", Value(daemon::REQUESTS_WAITING), (Above, 10.0, 5)),
    ticket("KvCacheFull", "kv-cache-full", Value(daemon::KV_CACHE_USAGE), (Above, 0.95, 5)),
    ticket("GpuUtilisationHigh", "gpu-load", Value(gpu::UTILISATION), (Above, 95.0, 5)),
    ticket("GpuHot", "gpu-throttled", Value(gpu::TEMPERATURE), (AtLeast, 85.0, 5)),
    page("GpuEccUncorrected", "gpu-fault", Value(gpu::ECC_UNCORRECTED), (Above, 0.0, 0)),
    page("GpuRowRemapFailed", "gpu-fault", Value(gpu::ROW_REMAP_FAILED), (Is, 1.0, 0)),
    ticket("HostDiskNearlyFull", "disk-filling", DiskUsed, (Above, 0.8, 5)),
    ticket("CostOverBudget", "cost-high", CostPerDay, (Above, 150.0, 10)),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_held_as_promql_holds_it() {
        assert!(Above.holds(0.051, 0.05) && !Above.holds(0.05, 0.05));
        assert!(AtLeast.holds(85.0, 85.0) && !AtLeast.holds(84.9, 85.0));
        assert!(Is.holds(0.0, 0.0) && !Is.holds(1.0, 0.0));
        assert!(!Above.holds(f64::NAN, 0.05), "no data is no alert");
    }

    #[test]
    fn names_are_unique_and_labels_are_the_metrics_own() {
        for (at, alert) in ALL.iter().enumerate() {
            assert!(ALL[at + 1..].iter().all(|other| other.name != alert.name), "{}", alert.name);
            let (of, labels) = match alert.measure {
                Measure::Quantile { of, by, .. } => (of, vec![by]),
                Measure::Ratio { of, label, by, .. } => (of, vec![label, by]),
                Value(of) => (of, vec![]),
                Answers(_) | CostPerDay | DiskUsed => continue,
            };
            assert!(labels.iter().all(|label| of.labels.contains(label)), "{}", alert.name);
        }
    }
}
