//! The gateway's metrics: a registry made from `spec::metric::gateway::ALL`, so that no name is spelt here.
//!
//! Every series that can be known beforehand is there from the start, at zero: a rate over a counter that appears with
//! its first event misses that event.

use std::collections::HashMap;

use prometheus::{CounterVec, GaugeVec, HistogramOpts, HistogramVec, Opts, Registry, TextEncoder};
use rollout::ports::Outcome;
use spec::amount::Weight;
use spec::id::Variant;
use spec::metric::{Metric, MetricKind, audit, cost, gateway, guard, key};
use spec::rollout::Verdict;

/// The values of the label `outcome`.
pub const OUTCOMES: [Outcome; 6] = [
    Outcome::Ok,
    Outcome::ClientError,
    Outcome::UpstreamError,
    Outcome::Truncated,
    Outcome::ClientAbort,
    Outcome::Blocked,
];

/// The label `variant` of an answer that no variant gave.
pub const NO_VARIANT: &str = "none";

#[derive(Debug)]
enum Family {
    Counter(CounterVec),
    Gauge(GaugeVec),
    Histogram(HistogramVec),
}

#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    families: HashMap<&'static str, Family>,
}

impl Metrics {
    pub fn new() -> Result<Self, prometheus::Error> {
        let mut metrics = Self { registry: Registry::new(), families: HashMap::new() };
        for metric in gateway::ALL.iter().chain(cost::ALL).chain(guard::ALL).chain(audit::ALL).chain(key::ALL) {
            metrics.register(metric)?;
        }
        metrics.begin_at_zero();
        Ok(metrics)
    }

    fn register(&mut self, metric: &Metric) -> Result<(), prometheus::Error> {
        let options = Opts::new(metric.name, metric.help);
        let family = match metric.kind {
            MetricKind::Counter => {
                let family = CounterVec::new(options, metric.labels)?;
                self.registry.register(Box::new(family.clone()))?;
                Family::Counter(family)
            }
            MetricKind::Gauge => {
                let family = GaugeVec::new(options, metric.labels)?;
                self.registry.register(Box::new(family.clone()))?;
                Family::Gauge(family)
            }
            MetricKind::Histogram => {
                let options = HistogramOpts::from(options).buckets(metric.buckets.to_vec());
                let family = HistogramVec::new(options, metric.labels)?;
                self.registry.register(Box::new(family.clone()))?;
                Family::Histogram(family)
            }
        };
        self.families.insert(metric.name, family);
        Ok(())
    }

    fn begin_at_zero(&self) {
        for variant in Variant::ALL {
            for outcome in OUTCOMES {
                self.count(&gateway::REQUESTS, &[variant.as_str(), outcome.as_str()], 0);
            }
            self.count(&gateway::FALLBACKS, &[variant.as_str(), variant.other().as_str()], 0);
            self.set(&gateway::IN_FLIGHT, &[variant.as_str()], 0.0);
            for histogram in [&gateway::TIME_TO_FIRST_TOKEN, &gateway::REQUEST_DURATION] {
                self.begin_histogram(histogram, &[variant.as_str()]);
            }
            crate::cost::begin_at_zero(self, variant);
        }
        self.count(&gateway::ANSWERS, &[NO_VARIANT, "401"], 0);
        for verdict in Verdict::ALL {
            self.count(&gateway::DECISIONS, &[verdict.as_str()], 0);
        }
        self.set(&gateway::CONFIG_RELOADED, &[], 1.0);
        for counter in [&audit::RECORDS, &audit::DROPPED] {
            self.count(counter, &[], 0);
        }
        for result in ["hit", "miss"] {
            self.count(&gateway::CACHE, &[result], 0);
        }
        self.set(&gateway::CACHE_BYTES, &[], 0.0);
        self.set(&gateway::STAGE, &[], 0.0);
        self.set(&gateway::GENERATION, &[], 0.0);
        self.weights(Weight::NONE);
    }

    /// The shares of new requests, from the candidate's.
    pub fn weights(&self, candidate: Weight) {
        self.set(&gateway::WEIGHT, &[Variant::Candidate.as_str()], candidate.ratio());
        self.set(&gateway::WEIGHT, &[Variant::Baseline.as_str()], candidate.rest().ratio());
    }

    pub fn count(&self, metric: &Metric, labels: &[&str], by: u64) {
        if let Some(Family::Counter(family)) = self.families.get(metric.name) {
            family.with_label_values(labels).inc_by(by as f64);
        }
    }

    /// Counts what does not come in ones; never less than nothing.
    pub fn add_dollars(&self, metric: &Metric, labels: &[&str], dollars: f64) {
        if let Some(Family::Counter(family)) = self.families.get(metric.name) {
            family.with_label_values(labels).inc_by(dollars.max(0.0));
        }
    }

    /// A histogram's series at zero.
    pub fn begin_histogram(&self, metric: &Metric, labels: &[&str]) {
        if let Some(Family::Histogram(family)) = self.families.get(metric.name) {
            family.with_label_values(labels);
        }
    }

    /// Takes a gauge's series away: what is not known any more must not look known.
    pub fn forget(&self, metric: &Metric, labels: &[&str]) {
        if let Some(Family::Gauge(family)) = self.families.get(metric.name) {
            // It is no matter if it was not there.
            drop(family.remove_label_values(labels));
        }
    }

    pub fn set(&self, metric: &Metric, labels: &[&str], value: f64) {
        if let Some(Family::Gauge(family)) = self.families.get(metric.name) {
            family.with_label_values(labels).set(value);
        }
    }

    /// Moves a gauge: unlike two sets, two moves may come in any order.
    pub fn add(&self, metric: &Metric, labels: &[&str], change: f64) {
        if let Some(Family::Gauge(family)) = self.families.get(metric.name) {
            family.with_label_values(labels).add(change);
        }
    }

    pub fn observe(&self, metric: &Metric, labels: &[&str], value: f64) {
        if let Some(Family::Histogram(family)) = self.families.get(metric.name) {
            family.with_label_values(labels).observe(value);
        }
    }

    /// The exposition in Prometheus' text format.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_exposed_from_the_start() {
        let text = Metrics::new().unwrap().render().unwrap();
        for metric in gateway::ALL {
            assert!(text.contains(&format!("# TYPE {} ", metric.name)), "{} is missing", metric.name);
        }
        assert!(text.contains("dsctl_gateway_requests_total{outcome=\"truncated\",variant=\"candidate\"} 0"), "{text}");
        assert!(text.contains("dsctl_gateway_time_to_first_token_seconds_bucket{variant=\"candidate\",le=\"15\"} 0"));
    }
}
