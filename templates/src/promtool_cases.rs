//! Every alert has three cases for promtool: it fires, it does not fire, and nothing without data. `monitoring_tools` runs
//! them; that they are there is checked here, where no tool is needed.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Deserialize;
use spec::yaml;

use crate::monitoring::prometheus::RULES;
use crate::monitoring_contracts::{Alert, alerts_of};
use crate::promql::names;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    rule_files: Vec<String>,
    #[expect(dead_code, reason = "promtool's")]
    evaluation_interval: spec::amount::Span,
    tests: Vec<Case>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    #[expect(dead_code, reason = "promtool's")]
    interval: spec::amount::Span,
    input_series: Vec<InputSeries>,
    alert_rule_test: Vec<Expectation>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct InputSeries {
    series: String,
    #[expect(dead_code, reason = "promtool's")]
    values: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expectation {
    #[expect(dead_code, reason = "promtool's")]
    eval_time: spec::amount::Span,
    alertname: String,
    exp_alerts: Vec<serde::de::IgnoredAny>,
}

/// Which of the three a case is for an alert: by what it does, not by its name.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Fires,
    DoesNotFire,
    NoData,
}

fn kinds(cases: &Cases, alert: &Alert) -> BTreeSet<Kind> {
    let about = |case: &Case| -> Option<Kind> {
        let expected = case.alert_rule_test.iter().find(|expected| expected.alertname == alert.alert)?;
        let speaks_of = names(&alert.expr).metrics;
        let is_about = |input: &InputSeries| {
            let name = input.series.split('{').next().unwrap_or_default();
            speaks_of.iter().any(|metric| metric == name || metric.starts_with("dsctl:"))
        };
        match (expected.exp_alerts.is_empty(), case.input_series.is_empty()) {
            (false, _) => Some(Kind::Fires),
            (true, true) => Some(Kind::NoData),
            (true, false) => {
                assert!(case.input_series.iter().any(is_about), "{}: its series are others", case.name);
                Some(Kind::DoesNotFire)
            }
        }
    };
    cases.tests.iter().filter_map(about).collect()
}

#[test]
fn every_alert_has_its_three_promtool_cases() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/prometheus/tests");
    for file in RULES {
        let name = file.file_name.replace(".yaml", ".test.yaml");
        let cases: Cases = yaml::parse(&std::fs::read_to_string(folder.join(&name)).unwrap(), &name).unwrap();
        assert_eq!(cases.rule_files, [format!("../{}", file.file_name)], "{name}");
        let alerts = alerts_of(file);
        for alert in &alerts {
            let wanted = match alert.alert.as_str() {
                // Fires always, without data too: that is its only case.
                "Watchdog" => BTreeSet::from([Kind::Fires]),
                _ => BTreeSet::from([Kind::Fires, Kind::DoesNotFire, Kind::NoData]),
            };
            assert_eq!(kinds(&cases, alert), wanted, "{name}: {}", alert.alert);
        }
        for expected in cases.tests.iter().flat_map(|case| &case.alert_rule_test) {
            let exists = alerts.iter().any(|alert| alert.alert == expected.alertname);
            assert!(exists, "{name}: {} is no alert, and never fires", expected.alertname);
        }
    }
}
