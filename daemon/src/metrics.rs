//! The daemon's metrics: a registry made from `spec::metric::daemon::ALL`, so that no name is spelt here.
//!
//! Every series that can be known beforehand is there from the start, at zero: a rate over a counter that appears with
//! its first event misses that event.

use std::collections::HashMap;

use prometheus::{GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry, TextEncoder};
use spec::metric::{Metric, MetricKind, daemon};

/// Why a request was refused before it ran: the values of the label `reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejection {
    Invalid,
    Unauthorized,
    QueueFull,
    NotReady,
}

impl Rejection {
    const ALL: [Self; 4] = [Self::Invalid, Self::Unauthorized, Self::QueueFull, Self::NotReady];

    const fn label(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Unauthorized => "unauthorized",
            Self::QueueFull => "queue_full",
            Self::NotReady => "not_ready",
        }
    }
}

#[derive(Debug)]
enum Family {
    Counter(IntCounterVec),
    Gauge(GaugeVec),
    Histogram(HistogramVec),
}

/// All metrics of the daemon for one served model.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    families: HashMap<&'static str, Family>,
    model_name: String,
}

impl Metrics {
    pub fn new(model_name: &str) -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let families = HashMap::new();
        let mut metrics = Self { registry, families, model_name: model_name.to_owned() };
        for metric in daemon::ALL {
            metrics.register(metric)?;
        }
        for reason in Rejection::ALL {
            metrics.count(&daemon::REQUESTS_REJECTED, &[reason.label()], 0);
        }
        for reason in ["stop", "length", "abort"] {
            metrics.count(&daemon::REQUEST_SUCCESS, &[reason], 0);
        }
        Ok(metrics)
    }

    fn register(&mut self, metric: &Metric) -> Result<(), prometheus::Error> {
        let options = Opts::new(metric.name, metric.help);
        let family = match metric.kind {
            MetricKind::Counter => Family::Counter(IntCounterVec::new(options, metric.labels)?),
            MetricKind::Gauge => Family::Gauge(GaugeVec::new(options, metric.labels)?),
            MetricKind::Histogram => {
                let options = HistogramOpts::from(options).buckets(metric.buckets.to_vec());
                Family::Histogram(HistogramVec::new(options, metric.labels)?)
            }
        };
        let only_model = metric.labels.len() == 1;
        let model = [self.model_name.as_str()];
        match &family {
            Family::Counter(family) => {
                self.registry.register(Box::new(family.clone()))?;
                only_model.then(|| family.with_label_values(&model));
            }
            Family::Gauge(family) => {
                self.registry.register(Box::new(family.clone()))?;
                only_model.then(|| family.with_label_values(&model));
            }
            Family::Histogram(family) => {
                self.registry.register(Box::new(family.clone()))?;
                only_model.then(|| family.with_label_values(&model));
            }
        }
        self.families.insert(metric.name, family);
        Ok(())
    }

    /// Adds to a counter; `labels` are those after `model_name`.
    pub fn count(&self, metric: &Metric, labels: &[&str], by: u64) {
        if let Some(Family::Counter(family)) = self.families.get(metric.name) {
            family.with_label_values(&self.values(labels)).inc_by(by);
        }
    }

    pub fn set(&self, metric: &Metric, value: f64) {
        if let Some(Family::Gauge(family)) = self.families.get(metric.name) {
            family.with_label_values(&self.values(&[])).set(value);
        }
    }

    pub fn observe(&self, metric: &Metric, value: f64) {
        if let Some(Family::Histogram(family)) = self.families.get(metric.name) {
            family.with_label_values(&self.values(&[])).observe(value);
        }
    }

    pub fn reject(&self, reason: Rejection) {
        self.count(&daemon::REQUESTS_REJECTED, &[reason.label()], 1);
    }

    /// The exposition in Prometheus' text format.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }

    fn values<'a>(&'a self, labels: &[&'a str]) -> Vec<&'a str> {
        std::iter::once(self.model_name.as_str()).chain(labels.iter().copied()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_exposed_from_the_start() {
        let text = Metrics::new("tiny").unwrap().render().unwrap();
        for metric in daemon::ALL {
            assert!(text.contains(&format!("# TYPE {} ", metric.name)), "{} is missing", metric.name);
            assert!(text.contains(&format!("# HELP {} ", metric.name)), "{}", metric.name);
        }
        assert!(text.contains("vllm:request_success_total{finished_reason=\"abort\",model_name=\"tiny\"} 0"), "{text}");
        assert!(text.contains("vllm:time_to_first_token_seconds_bucket{model_name=\"tiny\",le=\"0.001\"} 0"));
    }

    #[test]
    fn events_are_counted_where_they_belong() {
        let metrics = Metrics::new("tiny").unwrap();
        metrics.reject(Rejection::QueueFull);
        metrics.count(&daemon::PROMPT_TOKENS, &[], 7);
        metrics.set(&daemon::KV_CACHE_USAGE, 0.25);
        metrics.observe(&daemon::QUEUE_TIME, 0.4);
        let text = metrics.render().unwrap();
        assert!(text.contains("dsctl_requests_rejected_total{model_name=\"tiny\",reason=\"queue_full\"} 1"), "{text}");
        assert!(text.contains("vllm:prompt_tokens_total{model_name=\"tiny\"} 7"));
        assert!(text.contains("vllm:kv_cache_usage_perc{model_name=\"tiny\"} 0.25"));
        assert!(text.contains("vllm:request_queue_time_seconds_bucket{model_name=\"tiny\",le=\"0.5\"} 1"));
    }
}
