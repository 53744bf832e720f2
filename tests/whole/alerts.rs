//! Who wakes whom without a Prometheus: nothing fires over a healthy deployment, and what is broken is named.

use reqwest::Method;
use serde_json::Value;
use tests::home::{Endpoint, Home};
use tests::http::{call, get, question, sample};
use tests::mock::Mock;
use tests::process::kill;
use tests::wait::until;
use tests::weights;

const QUICK: [&str; 3] = ["alerts", "--for", "1s"];

fn chat(endpoint: &Endpoint) {
    let url = format!("{}/chat/completions", endpoint.url);
    call(Method::POST, &url, &endpoint.key, Some(&question(weights::MODEL, 2))).has_status(200);
}

fn state_of<'a>(report: &'a Value, alert: &str) -> &'a str {
    let all = report["alerts"].as_array().unwrap();
    let found = all.iter().find(|judgement| judgement["alert"] == alert);
    found.and_then(|judgement| judgement["state"].as_str()).unwrap_or_else(|| panic!("{alert} in {report}"))
}

fn firing(report: &Value) -> Vec<&str> {
    let all = report["alerts"].as_array().unwrap().iter();
    all.filter(|judgement| judgement["state"] == "firing").filter_map(|judgement| judgement["alert"].as_str()).collect()
}

#[test]
fn a_healthy_deployment_is_quiet_and_a_daemon_that_is_gone_is_named_with_its_runbook() {
    let home = Home::alone();
    let endpoint = home.up(&[]);
    chat(&endpoint);
    let quiet = home.dsctl(&["alerts", "--for", "1s", "--json"]);
    let report = quiet.json();
    // How full the disk of the test's machine is, is nobody's business here.
    let firing: Vec<&str> = firing(&report).into_iter().filter(|alert| *alert != "HostDiskNearlyFull").collect();
    assert!(firing.is_empty(), "{report}");
    assert_eq!(quiet.code == 0, !report.to_string().contains("\"firing\""), "{}", quiet.transcript());
    let before = home.status();
    // Without its agent nobody starts it again.
    kill(before.agent_pid());
    kill(before.living("dsserve"));
    until("the daemon is gone", || home.status().pid("dsserve").is_none().then_some(()));
    let told = home.dsctl(&QUICK).exits(1).says("DaemonDown").says("daemon-not-ready").says("Connection refused");
    assert!(told.stdout.ends_with("next: dsctl runbook run --alert DaemonDown\n"), "{}", told.transcript());
    let report = home.dsctl(&["alerts", "--for", "1s", "--json", "--detailed-exitcode"]).exits(2).json();
    assert_eq!((state_of(&report, "DaemonDown"), state_of(&report, "GatewayDown")), ("firing", "quiet"));
    home.dsctl(&["runbook", "run", "--alert", "DaemonDown", "--dry-run"]).says("daemon-not-ready");
}

#[test]
fn what_a_priced_baseline_costs_is_counted_and_held_against_the_budget() {
    let home = Home::alone();
    let baseline = Mock::start("baseline");
    let file = format!(
        "model: {}\nbaseline: {{url: '{}', price: {{prompt_per_million: 9000, completion_per_million: 9000}}}}\n",
        weights::MODEL,
        baseline.base_url()
    );
    let file = home.write("dsctl.yaml", &file);
    let endpoint = home.up(&["--file", &file]);
    let metrics = || get(&endpoint.url.replace("/v1", "/metrics")).has_status(200).body;
    let spent = "dsctl_gateway_cost_dollars_total{variant=\"baseline\"}";
    assert!(metrics().contains(&format!("{spent} 0\n")), "{}", metrics());
    let mut looking = home.start(&["alerts", "--for", "1s", "--budget-per-day", "0.01", "--json"]);
    until("the second look", || {
        chat(&endpoint);
        looking.is_over().then_some(())
    });
    let page = metrics();
    assert!(baseline.requests() > 0 && sample(&page, spent) > 0.0, "{page}");
    assert!(!page.contains("dsctl_machine_cost_dollars_per_hour "), "this machine has no price: {page}");
    let report = looking.end().exits(1).json();
    assert_eq!(state_of(&report, "CostOverBudget"), "firing", "{report}");
}

#[test]
fn without_a_terminal_there_is_no_dashboard_and_without_a_deployment_no_alert() {
    let home = Home::light();
    home.dsctl(&["top"]).exits(2).says("there is none").says("next: dsctl alerts, or dsctl status");
    home.dsctl(&QUICK).exits(6).says("no deployment named default");
    home.dsctl(&["alerts", "--for", "0"]).exits(2).says("--for: between two looks some time must pass");
}
