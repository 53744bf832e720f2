//! What rules and dashboards promise: they speak of metrics that exist, every alert says what is the matter and has its
//! runbook and its three cases, every panel has a title and a unit.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use spec::metric::{self, Metric, MetricKind};
use spec::monitoring::Severity;
use spec::yaml;

use crate::monitoring::Job;
use crate::monitoring::dashboards::DASHBOARDS;
use crate::monitoring::prometheus::{RULES, RuleFile};
use crate::promql::{Names, names};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rules {
    groups: Vec<Group>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    name: String,
    rules: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Rule {
    Alert(Alert),
    Record(Record),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alert {
    pub alert: String,
    pub expr: String,
    #[serde(default, rename = "for")]
    lasts: Option<spec::amount::Span>,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    record: String,
    expr: String,
}

#[derive(Debug, Deserialize)]
struct Prometheus {
    rule_files: Vec<String>,
    scrape_configs: Vec<Scrape>,
}

#[derive(Debug, Deserialize)]
struct Scrape {
    job_name: String,
}

/// Labels that every series gets from its target, and the one that makes a histogram.
const TARGET_LABELS: [&str; 4] = ["job", "instance", "host", "le"];

fn rules_of(file: &RuleFile) -> Vec<Rule> {
    let rules: Rules = yaml::parse(file.content, file.file_name).unwrap();
    assert!(rules.groups.iter().all(|group| group.name.starts_with("dsctl-")));
    rules.groups.into_iter().flat_map(|group| group.rules).collect()
}

pub fn alerts_of(file: &RuleFile) -> Vec<Alert> {
    let alert = |rule| match rule {
        Rule::Alert(alert) => Some(alert),
        Rule::Record(_) => None,
    };
    rules_of(file).into_iter().filter_map(alert).collect()
}

fn alerts() -> Vec<Alert> {
    RULES.iter().flat_map(alerts_of).collect()
}

fn records() -> Vec<Record> {
    let record = |rule| match rule {
        Rule::Record(record) => Some(record),
        Rule::Alert(_) => None,
    };
    RULES.iter().flat_map(rules_of).filter_map(record).collect()
}

/// (where it stands, expression): all of rules and dashboards.
fn expressions() -> Vec<(String, String)> {
    let alerts = alerts().into_iter().map(|rule| (rule.alert, rule.expr));
    let records = records().into_iter().map(|rule| (rule.record, rule.expr));
    let panels = DASHBOARDS.iter().flat_map(|dashboard| {
        dashboard.panels.iter().flat_map(move |panel| {
            let place = format!("{}, {}", dashboard.uid, panel.title);
            panel.queries.iter().map(move |query| (place.clone(), query.expression.to_owned()))
        })
    });
    alerts.chain(records).chain(panels).collect()
}

/// Series -> its own labels: ours, those of others, and what rules record (of which none keeps a label).
struct Series {
    foreign: BTreeMap<String, Vec<String>>,
    recorded: BTreeSet<String>,
}

impl Series {
    fn read() -> Self {
        let foreign = yaml::parse(include_str!("../data/foreign-metrics.yaml"), "foreign-metrics.yaml").unwrap();
        Self { foreign, recorded: records().into_iter().map(|rule| rule.record).collect() }
    }

    fn labels(&self, series: &str) -> Option<Vec<String>> {
        if self.recorded.contains(series) {
            return Some(Vec::new());
        }
        let ours = ours(series).map(|metric| metric.labels.iter().map(|label| (*label).to_owned()).collect());
        ours.or_else(|| self.foreign.get(series).cloned())
    }

    /// Labels that an expression may speak of.
    fn labels_of(&self, place: &str, names: &Names) -> Vec<String> {
        let of = |series: &String| self.labels(series).unwrap_or_else(|| panic!("{place}: {series} is no metric"));
        names.metrics.iter().flat_map(of).chain(TARGET_LABELS.map(str::to_owned)).collect()
    }
}

/// The metric of ours behind a series' name.
fn ours(series: &str) -> Option<Metric> {
    let all = [
        metric::daemon::ALL,
        metric::gateway::ALL,
        metric::cost::ALL,
        metric::guard::ALL,
        metric::audit::ALL,
        metric::host::ALL,
        metric::gpu::ALL,
    ];
    all.into_iter().flatten().copied().find(|metric| match metric.kind {
        MetricKind::Histogram => ["_bucket", "_sum", "_count"]
            .iter()
            .any(|part| series.strip_suffix(part).is_some_and(|name| name == metric.name)),
        MetricKind::Counter | MetricKind::Gauge => series == metric.name,
    })
}

/// Rules that need no metric: the alert that always fires, and a number that was set.
const WITHOUT_METRIC: [&str; 2] = ["Watchdog", "dsctl:budget_dollars_per_day"];

#[test]
fn every_metric_and_label_in_a_rule_or_dashboard_exists() {
    let series = Series::read();
    for (place, expression) in expressions() {
        let names = names(&expression);
        let may_lack = WITHOUT_METRIC.contains(&place.as_str());
        assert!(!names.metrics.is_empty() || may_lack, "{place}: no metric in {expression}");
        let known = series.labels_of(&place, &names);
        for label in &names.labels {
            assert!(known.contains(label), "{place}: none of {:?} has a label {label}", names.metrics);
        }
    }
}

/// A list that grows by what nobody asks for soon says nothing.
#[test]
fn every_metric_of_others_that_is_listed_is_used() {
    let used: BTreeSet<String> = expressions().iter().flat_map(|(_, expression)| names(expression).metrics).collect();
    for name in Series::read().foreign.keys() {
        assert!(used.contains(name), "{name} is in no rule and no dashboard");
        assert!(ours(name).is_none(), "{name} is ours and in spec/src/metric.rs");
    }
}

#[test]
fn every_label_value_in_a_rule_or_dashboard_is_one_that_is_given() {
    for (place, expression) in expressions() {
        for (label, value) in names(&expression).matches {
            assert!(value.split('|').all(|value| is_given(&label, value)), "{place}: {label}={value}");
        }
    }
}

fn is_given(label: &str, value: &str) -> bool {
    let verdicts = spec::rollout::Verdict::ALL;
    match label {
        "job" => Job::ALL.iter().any(|job| job.as_str() == value),
        "variant" => spec::id::Variant::ALL.iter().any(|variant| variant.as_str() == value),
        "verdict" => verdicts.iter().any(|verdict| verdict.as_str() == value),
        "outcome" => metric::gateway::REQUESTS.help.contains(value),
        "finished_reason" => metric::daemon::REQUEST_SUCCESS.help.contains(value),
        "status" => value.len() == 3 && value.starts_with(['4', '5']),
        "le" => metric::gateway::TIME_TO_FIRST_TOKEN.buckets.iter().any(|bound| bound.to_string() == value),
        "severity" => Severity::ALL.iter().any(|severity| severity.as_str() == value),
        "alertstate" => ["pending", "firing"].contains(&value),
        "state" => value == "failed",
        "phase" => value == spec::host::Phase::Upgrade.as_str(),
        "mode" => value == "steal",
        "fstype" => ["tmpfs", "ramfs", "squashfs", "overlay", "iso9660"].contains(&value),
        _ => false,
    }
}

#[test]
fn every_alert_has_a_runbook_that_answers_it_and_every_runbook_an_alert_that_exists() {
    let library = runbooks::runbooks().unwrap();
    let alerts = alerts();
    for rule in &alerts {
        let named = rule.annotations.get("runbook").unwrap_or_else(|| panic!("{}: no runbook", rule.alert));
        assert_eq!(&library.for_alert(&rule.alert).unwrap().name, named, "{}", rule.alert);
    }
    for runbook in library.all() {
        for alert in &runbook.alerts {
            assert!(alerts.iter().any(|rule| rule.alert == *alert), "{}: no rule raises {alert}", runbook.name);
        }
    }
    let unique: BTreeSet<&str> = alerts.iter().map(|rule| rule.alert.as_str()).collect();
    assert_eq!(unique.len(), alerts.len(), "an alert is there twice");
}

/// Yes or no: the number says nothing more.
const WITHOUT_VALUE: [&str; 21] = [
    "AgentDown",
    "AlertmanagerConfigBad",
    "AuditNotWritten",
    "DaemonDown",
    "GatewayConfigReloadFailed",
    "GatewayDown",
    "GpuRowRemapFailed",
    "GpuThrottledByHeat",
    "HostClockUnsynchronised",
    "HostDown",
    "HostUnitFailed",
    "HostWentBack",
    "PrometheusConfigBad",
    "PrometheusNotIngesting",
    "PrometheusTargetSyncFailures",
    "PrometheusWithoutAlertmanager",
    "RolloutDecisionsStale",
    "RolloutRolledBack",
    "TargetDown",
    "Watchdog",
    // Its number is an offset that changes sign; said as what it is.
    "HostClockSkew",
];

#[test]
fn every_alert_has_a_severity_and_says_what_is_the_matter() {
    for rule in alerts() {
        let place = &rule.alert;
        let severity = rule.labels["severity"].as_str();
        let wanted: &[&str] = if place == "Watchdog" { &["none"] } else { &["page", "ticket"] };
        assert!(wanted.contains(&severity), "{place}: {severity}");
        assert!(rule.lasts.is_none_or(|time| !time.0.is_zero()), "{place}");
        let summary = &rule.annotations["summary"];
        assert!(
            summary.contains("$value") || WITHOUT_VALUE.contains(&place.as_str()),
            "{place}: no value in {summary}"
        );
        assert!(summary.ends_with(['.', ')']) && rule.annotations.len() == 2, "{place}: {summary}");
    }
}

/// A label that is not there leaves a hole in the sentence.
#[test]
fn every_label_in_a_summary_or_legend_exists() {
    let series = Series::read();
    for rule in alerts() {
        let known = series.labels_of(&rule.alert, &names(&rule.expr));
        for label in rule.annotations["summary"].split("$labels.").skip(1) {
            let label: String = label.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            assert!(known.contains(&label), "{}: there is no label {label}", rule.alert);
        }
    }
    for query in DASHBOARDS.iter().flat_map(|dashboard| dashboard.panels).flat_map(|panel| panel.queries) {
        let known = series.labels_of(query.legend, &names(query.expression));
        for label in query.legend.split("{{").skip(1).map(|rest| rest.split("}}").next().unwrap()) {
            assert!(known.iter().any(|known| known == label), "{}: there is no label {label}", query.legend);
        }
    }
}

#[test]
fn the_starter_scrapes_jobs_that_the_rules_know_and_reads_the_rules_beside_it() {
    let starter: Prometheus = yaml::parse(crate::find("prometheus").unwrap().content, "prometheus.yaml").unwrap();
    assert_eq!(starter.rule_files, [crate::find("prometheus-rules").unwrap().file_name]);
    for scrape in starter.scrape_configs {
        assert!(is_given("job", &scrape.job_name), "{}", scrape.job_name);
    }
}

#[test]
fn every_dashboard_has_an_address_of_its_own_and_every_panel_a_title_and_a_unit() {
    let uids = DASHBOARDS.iter().map(|dashboard| dashboard.uid).collect::<Vec<_>>();
    assert_eq!(
        uids,
        ["dsctl-overview", "dsctl-gpu", "dsctl-cost", "dsctl-rollout", "dsctl-latency"],
        "bookmarks break"
    );
    for dashboard in DASHBOARDS {
        assert!(dashboard.title.starts_with("dsctl: ") && dashboard.panels.len() >= 4);
        for panel in dashboard.panels {
            let place = format!("{}, {}", dashboard.uid, panel.title);
            assert!(!panel.title.is_empty() && !panel.unit.is_empty() && !panel.queries.is_empty(), "{place}");
            let needs_legend = panel.queries.len() > 1;
            assert!(
                panel.queries.iter().all(|query| !needs_legend || !query.legend.is_empty()),
                "{place}: whose line?"
            );
        }
    }
}
