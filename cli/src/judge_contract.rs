//! What `dsctl alerts` judges by is what the Prometheus rules say: the same names, bounds, severities and runbooks.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use spec::alert::{ALL, Alert, Measure};
use spec::amount::Span;
use spec::metric::{Metric, MetricKind, cost};
use spec::yaml;

#[derive(Debug, Deserialize)]
struct Rules {
    #[serde(default)]
    groups: Vec<Group>,
}

#[derive(Debug, Deserialize)]
struct Group {
    rules: Vec<Rule>,
}

/// An alert, or a recorded series.
#[derive(Debug, Deserialize)]
struct Rule {
    alert: Option<String>,
    record: Option<String>,
    expr: String,
    #[serde(default, rename = "for")]
    lasts: Span,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

fn rules() -> Vec<Rule> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../templates/data/prometheus");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|end| end == "yaml"));
    let read = |path: std::path::PathBuf| -> Vec<Group> {
        let text = std::fs::read_to_string(&path).unwrap();
        yaml::parse::<Rules>(&text, &path.display().to_string()).unwrap().groups
    };
    files.flat_map(read).flat_map(|group| group.rules).collect()
}

/// On one line, single spaces.
fn squeezed(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn series(metric: &Metric) -> String {
    match metric.kind {
        MetricKind::Histogram => format!("{}_bucket", metric.name),
        MetricKind::Counter | MetricKind::Gauge => metric.name.to_owned(),
    }
}

/// Everything that must stand in the rule's expression.
fn parts_of(alert: &Alert) -> Vec<String> {
    let bound = format!("{} {}", alert.comparison.sign(), alert.bound);
    match alert.measure {
        Measure::Answers(part) => vec![format!("up{{job=\"{}\"}} {bound}", part.job())],
        Measure::Value(metric) => vec![series(&metric), bound],
        Measure::Quantile { of, share, by } => {
            vec![format!("histogram_quantile({share}"), format!("by ({by}, le)"), series(&of), bound]
        }
        Measure::Ratio { of, label, by, part, whole } => {
            let values = [part, whole].into_iter().filter_map(|chosen| match chosen {
                spec::alert::Chosen::All => None,
                spec::alert::Chosen::Some([one]) => Some(format!("{label}=\"{one}\"")),
                spec::alert::Chosen::Some(some) => Some(format!("{label}=~\"{}\"", some.join("|"))),
            });
            let mut parts: Vec<String> = values.collect();
            parts.extend([format!("sum by ({by})"), series(&of), bound]);
            parts
        }
        Measure::CostPerDay => vec!["dsctl:cost_dollars_per_day > dsctl:budget_dollars_per_day".to_owned()],
        Measure::DiskUsed => vec!["node_filesystem_avail_bytes".to_owned(), bound],
    }
}

#[test]
fn each_alert_is_prometheus_own() {
    let rules = rules();
    for alert in ALL {
        let rule = rules.iter().find(|rule| rule.alert.as_deref() == Some(alert.name));
        let rule = rule.unwrap_or_else(|| panic!("{}: no rule", alert.name));
        let expr = squeezed(&rule.expr);
        for part in parts_of(alert) {
            assert!(expr.contains(&part), "{}: {part:?} is not in {expr}", alert.name);
        }
        // A longer number begins with a shorter one.
        let is_end = |rest: &str| !rest.starts_with(|next: char| next.is_ascii_digit() || next == '.');
        let bound = format!("{} {}", alert.comparison.sign(), alert.bound);
        let is_whole = expr.match_indices(&bound).any(|(at, _)| is_end(&expr[at + bound.len()..]));
        assert!(is_whole || matches!(alert.measure, Measure::CostPerDay), "{}: {bound} in {expr}", alert.name);
        assert_eq!(rule.labels["severity"], alert.severity.as_str(), "{}", alert.name);
        assert_eq!(rule.annotations["runbook"], alert.runbook, "{}", alert.name);
        assert_eq!(rule.lasts, alert.lasts, "{}", alert.name);
    }
}

#[test]
fn the_budget_is_the_one_that_is_recorded() {
    let rules = rules();
    let recorded = |name: &str| rules.iter().find(|rule| rule.record.as_deref() == Some(name)).unwrap();
    let alert = ALL.iter().find(|alert| matches!(alert.measure, Measure::CostPerDay)).unwrap();
    assert_eq!(recorded("dsctl:budget_dollars_per_day").expr, format!("vector({})", alert.bound));
    let cost = squeezed(&recorded("dsctl:cost_dollars_per_day").expr);
    for metric in [cost::MACHINE_HOURLY, cost::DOLLARS] {
        assert!(cost.contains(metric.name), "{} in {cost}", metric.name);
    }
    assert!(cost.contains("* 24"), "{cost}");
}

#[test]
fn every_runbook_that_is_named_is_one() {
    let library = runbooks::runbooks().unwrap();
    for alert in ALL {
        assert_eq!(library.for_alert(alert.name).unwrap().name, alert.runbook, "{}", alert.name);
    }
}
