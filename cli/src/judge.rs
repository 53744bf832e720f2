//! Which alerts fire: the thresholds of `spec::alert`, held against two looks at a deployment. Pure.
//!
//! What stands (a gauge, a part that answers or not) must be over its bound at both looks; what grows is taken between
//! them. Prometheus lets a condition hold for minutes before it fires; here the time between the looks stands for that.

use runbooks::Sample;
use serde::Serialize;
use spec::alert::{self, Alert, Measure, Part, Severity};
use spec::metric::Metric;

use crate::measure::Pair;
use crate::scrape::Page;

/// What is no metric of a page.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// Of the file system that the deployment lies on, 0 to 1.
    pub disk_used: Option<f64>,
    /// In place of the alert's own bound, in dollars.
    pub budget_per_day: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AlertState {
    Firing,
    Quiet,
    /// There is nothing to judge by.
    NoData,
}

/// One alert, judged.
#[derive(Debug, Clone, Serialize)]
pub struct Judgement {
    pub alert: &'static str,
    pub severity: Severity,
    pub runbook: &'static str,
    pub state: AlertState,
    pub comparison: &'static str,
    pub bound: f64,
    /// How long Prometheus would wait.
    pub lasts: spec::amount::Span,
    /// Worst first.
    pub measured: Vec<Measured>,
}

/// A value, and of what it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measured {
    /// A variant, a model, a GPU, a part; empty if there is only one.
    pub of: String,
    pub value: f64,
    pub is_over: bool,
    /// Why a part does not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// All alerts, the firing ones first, else in the order of `spec::alert`. An alert on a part that the deployment does not
/// have is left out.
pub fn judge(pair: Pair<'_>, around: &Surroundings) -> Vec<Judgement> {
    let mut all: Vec<Judgement> = alert::ALL.iter().filter_map(|alert| judge_one(alert, pair, around)).collect();
    all.sort_by_key(|judgement| (judgement.state != AlertState::Firing, judgement.severity));
    all
}

fn judge_one(alert: &Alert, pair: Pair<'_>, around: &Surroundings) -> Option<Judgement> {
    let bound = match alert.measure {
        Measure::Answers(part) if pair.after.pages_of(part).next().is_none() => return None,
        Measure::CostPerDay => around.budget_per_day.unwrap_or(alert.bound),
        _ => alert.bound,
    };
    let alert = Alert { bound, ..*alert };
    let mut measured = measure(&alert, pair, around);
    measured.sort_by(|left, right| right.is_over.cmp(&left.is_over).then(right.value.total_cmp(&left.value)));
    let state = match measured.first() {
        None => AlertState::NoData,
        Some(worst) if worst.is_over => AlertState::Firing,
        Some(_) => AlertState::Quiet,
    };
    Some(Judgement {
        alert: alert.name,
        severity: alert.severity,
        runbook: alert.runbook,
        state,
        comparison: alert.comparison.sign(),
        bound,
        lasts: alert.lasts,
        measured,
    })
}

fn measure(alert: &Alert, pair: Pair<'_>, around: &Surroundings) -> Vec<Measured> {
    match alert.measure {
        Measure::Answers(part) => answers(alert, pair, part),
        Measure::Value(metric) => values(alert, pair, &metric),
        Measure::Quantile { of, share, by } => {
            by_label(alert, pair, &of, by, |value| pair.quantile(&of, share, (by, value)))
        }
        Measure::Ratio { of, label, part, whole, by } => {
            by_label(alert, pair, &of, by, |value| pair.ratio(&of, label, (part, whole), (by, value)))
        }
        Measure::CostPerDay => pair.cost_per_day().map(|value| over(alert, String::new(), value)).into_iter().collect(),
        Measure::DiskUsed => around.disk_used.map(|value| over(alert, String::new(), value)).into_iter().collect(),
    }
}

fn over(alert: &Alert, of: String, value: f64) -> Measured {
    Measured { of, value, is_over: alert.comparison.holds(value, alert.bound), detail: None }
}

fn by_label(
    alert: &Alert,
    pair: Pair<'_>,
    metric: &Metric,
    label: &str,
    value_of: impl Fn(&str) -> Option<f64>,
) -> Vec<Measured> {
    let values = pair.values_of(metric, label);
    values.into_iter().filter_map(|of| value_of(&of).map(|value| over(alert, of, value))).collect()
}

fn answers(alert: &Alert, pair: Pair<'_>, part: Part) -> Vec<Measured> {
    let answered_before = |page: &Page| pair.before.page(&page.target).is_some_and(|before| before.samples.is_ok());
    let one = |page: &Page| {
        let detail = page.samples.as_ref().err().cloned();
        let value = f64::from(u8::from(detail.is_none() || answered_before(page)));
        Measured { detail, ..over(alert, page.target.name.to_owned(), value) }
    };
    pair.after.pages_of(part).map(one).collect()
}

/// One a series: over its bound only if it was so at both looks.
fn values(alert: &Alert, pair: Pair<'_>, metric: &Metric) -> Vec<Measured> {
    let one = |page: &Page, sample: &Sample| {
        let now = over(alert, described(sample), sample.value);
        let is_over = now.is_over && was_over(alert, pair.before.page(&page.target), sample);
        Measured { is_over, ..now }
    };
    let all = pair.after.pages.iter().flat_map(|page| page.samples.iter().flatten().map(move |sample| (page, sample)));
    all.filter(|(_, sample)| sample.name == metric.name).map(|(page, sample)| one(page, sample)).collect()
}

fn was_over(alert: &Alert, before: Option<&Page>, sample: &Sample) -> bool {
    let mut samples = before.into_iter().flat_map(|page| page.samples.iter().flatten());
    let same = samples.find(|other| other.name == sample.name && other.labels == sample.labels);
    same.is_some_and(|before| alert.comparison.holds(before.value, alert.bound))
}

/// A series by what a person calls it.
fn described(sample: &Sample) -> String {
    let label = |name: &str| sample.labels.get(name).cloned();
    label("gpu").map(|gpu| format!("GPU {gpu}")).or_else(|| label("model_name")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use spec::alert::Part::{Daemon, Gateway};

    use super::*;
    use crate::measure::tests::{dead, gateway_looks, looks, page};
    use crate::scrape::Look;

    fn judged((before, after): &(Look, Look), around: &Surroundings, name: &str) -> Option<Judgement> {
        judge(Pair { before, after }, around).into_iter().find(|judgement| judgement.alert == name)
    }

    fn state(looks: &(Look, Look), name: &str) -> AlertState {
        judged(looks, &Surroundings::default(), name).unwrap().state
    }

    #[test]
    fn a_part_that_does_not_answer_twice_is_down_and_says_why() {
        let alive = || page(Gateway, "");
        let down = looks(vec![alive(), dead(Daemon)], vec![alive(), dead(Daemon)]);
        let judgement = judged(&down, &Surroundings::default(), "DaemonDown").unwrap();
        assert_eq!((judgement.state, judgement.runbook), (AlertState::Firing, "daemon-not-ready"));
        assert!(judgement.measured[0].detail.as_deref().unwrap().contains("refused"), "{judgement:?}");
        assert_eq!(state(&down, "GatewayDown"), AlertState::Quiet);
        let restarted = looks(vec![dead(Daemon)], vec![page(Daemon, "")]);
        assert_eq!(state(&restarted, "DaemonDown"), AlertState::Quiet);
        assert!(judged(&down, &Surroundings::default(), "AgentDown").is_none(), "nobody watches the agent there");
    }

    fn requests(ok: u32, failed: u32) -> String {
        let line = |outcome, count| {
            format!("dsctl_gateway_requests_total{{variant=\"candidate\",outcome=\"{outcome}\"}} {count}\n")
        };
        let counts = [("ok", ok), ("upstream_error", failed), ("truncated", 0), ("client_error", 1000)];
        let lines: String = counts.map(|(outcome, count)| line(outcome, count)).concat();
        format!("# TYPE dsctl_gateway_requests_total counter\n{lines}")
    }

    #[test]
    fn errors_fire_over_their_share_of_what_came_between() {
        let at = |failed: u32| gateway_looks(&requests(1000, 900), &requests(1000 + 100 - failed, 900 + failed));
        assert_eq!(state(&at(6), "GatewayErrorRatioHigh"), AlertState::Firing);
        assert_eq!(state(&at(5), "GatewayErrorRatioHigh"), AlertState::Quiet);
        let idle = gateway_looks(&requests(5, 5), &requests(5, 5));
        assert_eq!(state(&idle, "GatewayErrorRatioHigh"), AlertState::NoData);
    }

    #[test]
    fn a_gauge_fires_if_it_is_over_its_bound_at_both_looks() {
        let queue = |waiting| {
            format!("# TYPE vllm:num_requests_waiting gauge\nvllm:num_requests_waiting{{model_name=\"m\"}} {waiting}\n")
        };
        let at = |before, after| looks(vec![page(Daemon, &queue(before))], vec![page(Daemon, &queue(after))]);
        assert_eq!(state(&at(11, 12), "RequestQueueGrowing"), AlertState::Firing);
        for (before, after) in [(10, 11), (11, 10), (10, 10)] {
            assert_eq!(state(&at(before, after), "RequestQueueGrowing"), AlertState::Quiet, "{before} {after}");
        }
        let gpu = "# TYPE DCGM_FI_DEV_GPU_UTIL gauge\nDCGM_FI_DEV_GPU_UTIL{gpu=\"1\"} 97\nDCGM_FI_DEV_GPU_UTIL{gpu=\"0\"} 3\n";
        let busy = judged(
            &looks(vec![page(Daemon, gpu)], vec![page(Daemon, gpu)]),
            &Surroundings::default(),
            "GpuUtilisationHigh",
        );
        let busy = busy.unwrap();
        assert_eq!((busy.state, busy.measured[0].of.as_str(), busy.measured.len()), (AlertState::Firing, "GPU 1", 2));
    }

    #[test]
    fn budget_and_disk_are_held_too() {
        let machine = "# TYPE dsctl_machine_cost_dollars_per_hour gauge\ndsctl_machine_cost_dollars_per_hour 6.5\n";
        let looks = gateway_looks(machine, machine);
        let state = |budget_per_day, disk_used, name| {
            judged(&looks, &Surroundings { disk_used, budget_per_day }, name).unwrap().state
        };
        assert_eq!(state(None, None, "CostOverBudget"), AlertState::Firing, "156 a day is over 150");
        assert_eq!(state(Some(200.0), None, "CostOverBudget"), AlertState::Quiet);
        assert_eq!(state(None, Some(0.81), "HostDiskNearlyFull"), AlertState::Firing);
        assert_eq!(state(None, Some(0.8), "HostDiskNearlyFull"), AlertState::Quiet);
        assert_eq!(state(None, None, "HostDiskNearlyFull"), AlertState::NoData);
    }

    #[test]
    fn what_pages_stands_before_what_can_wait() {
        let reload =
            "# TYPE dsctl_gateway_config_last_reload_successful gauge\ndsctl_gateway_config_last_reload_successful 0\n";
        let all = looks(vec![page(Gateway, reload), dead(Daemon)], vec![page(Gateway, reload), dead(Daemon)]);
        let names: Vec<&str> = judge(Pair { before: &all.0, after: &all.1 }, &Surroundings::default())
            .iter()
            .take_while(|judgement| judgement.state == AlertState::Firing)
            .map(|judgement| judgement.alert)
            .collect();
        assert_eq!(names, ["DaemonDown", "GatewayConfigReloadFailed"]);
    }
}
