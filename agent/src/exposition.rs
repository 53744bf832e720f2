//! A page of metrics, made anew for each scrape from what is known then.

use prometheus::{CounterVec, GaugeVec, Opts, Registry, TextEncoder};
use spec::metric::{Metric, MetricKind};

/// One series' value.
#[derive(Debug, Clone)]
pub struct Sample {
    metric: Metric,
    /// In the order of the metric's own.
    labels: Vec<String>,
    value: f64,
}

impl Sample {
    pub fn new(metric: &Metric, labels: Vec<String>, value: f64) -> Self {
        Self { metric: *metric, labels, value }
    }
}

/// In Prometheus' text format.
pub fn render(samples: &[Sample]) -> Result<String, prometheus::Error> {
    let registry = Registry::new();
    let mut left: Vec<&Sample> = samples.iter().collect();
    while let Some(first) = left.first().map(|first| first.metric) {
        let (of_one, others) = left.into_iter().partition(|sample| sample.metric.name == first.name);
        register(&registry, &first, of_one)?;
        left = others;
    }
    TextEncoder::new().encode_to_string(&registry.gather())
}

fn register(registry: &Registry, metric: &Metric, samples: Vec<&Sample>) -> Result<(), prometheus::Error> {
    let options = Opts::new(metric.name, metric.help);
    match metric.kind {
        MetricKind::Counter => {
            let family = CounterVec::new(options, metric.labels)?;
            for sample in samples {
                family.get_metric_with_label_values(&sample.labels)?.inc_by(sample.value.max(0.0));
            }
            registry.register(Box::new(family))
        }
        // The agent has no histogram: what a page made anew can't count up is a gauge.
        MetricKind::Gauge | MetricKind::Histogram => {
            let family = GaugeVec::new(options, metric.labels)?;
            for sample in samples {
                family.get_metric_with_label_values(&sample.labels)?.set(sample.value);
            }
            registry.register(Box::new(family))
        }
    }
}

#[cfg(test)]
mod tests {
    use spec::metric::host;

    use super::*;

    #[test]
    fn series_of_one_metric_stand_together_and_labels_are_escaped() {
        let restarts = |unit: &str, count| Sample::new(&host::UNIT_RESTARTS, vec![unit.to_owned()], count);
        let ready = Sample::new(&host::READY, Vec::new(), 1.0);
        let page = render(&[restarts("a\"b", 2.0), ready, restarts("c", 0.0)]).unwrap();
        assert_eq!(page.matches("# TYPE dsctl_agent_unit_restarts_total counter").count(), 1, "{page}");
        assert!(page.contains("dsctl_agent_unit_restarts_total{unit=\"a\\\"b\"} 2\n"), "{page}");
        assert!(page.contains("dsctl_host_ready 1\n"), "{page}");
    }

    #[test]
    fn labels_that_are_not_the_metrics_are_refused() {
        assert!(render(&[Sample::new(&host::UNIT_RESTARTS, Vec::new(), 1.0)]).is_err());
    }
}
