//! The host is watched: its Prometheus reads everything on it, and an alert reaches whoever is to hear of it.

use serde_json::Value;
use tests::booted::machine::Machine;
use tests::process::run;
use tests::webhook::Webhook;

use crate::scene::{Scene, becomes};

const WEBHOOK: &str = "127.0.0.1:9999";
const MONITORING: &str = "monitoring:
  receivers:
    webhook: {url: 'http://127.0.0.1:9999/', key_file: webhook.key, severities: [page, ticket, none]}
    slack: {channel: '#on-call', key_file: slack.key}
";
const TOKEN: &str = "a-token-that-is-nowhere-else";
const SLACK_URL: &str = "http://127.0.0.1:9999/slack";
const ALERTMANAGER_FILE: &str = "/etc/dsctl/monitoring/alertmanager/alertmanager.yml";

#[test]
fn prometheus_reads_everything_on_the_host_and_an_alert_reaches_its_receiver() {
    let mut scene = Scene::start();
    let file = scene.home.home.scratch().join("watched.yaml");
    std::fs::write(&file, MONITORING).expect("a deployment's file");
    for (name, key) in [("webhook.key", TOKEN), ("slack.key", SLACK_URL)] {
        std::fs::write(file.with_file_name(name), format!("{key}\n")).expect("a key's file");
    }
    scene.up(&["--file", &file.display().to_string()]).exits(0).says("is ready");
    let machine = scene.machine();
    let webhook = Webhook::listen(machine.network.listen(WEBHOOK.parse().expect("an address")), TOKEN);
    becomes(machine, "its monitoring is installed", || machine.console().contains("monitoring: done"));
    for job in ["dsgate", "dsserve", "agent", "node", "prometheus", "alertmanager"] {
        becomes(machine, &format!("Prometheus has read {job}"), || {
            value(machine, &format!("up{{job=\"{job}\"}}")) == Some(1.0)
        });
    }
    assert_eq!(value(machine, "dsctl_host_ready"), Some(1.0));
    machine.run(&["stat", "--format=%a %U", ALERTMANAGER_FILE]).exits(0).says("400 prometheus");
    let holds_key = machine.run(&["grep", "--recursive", "--files-with-matches", TOKEN, "/etc"]).exits(0);
    assert_eq!(holds_key.stdout.trim(), ALERTMANAGER_FILE);
    scene.home.dsctl(&["status"]).exits(0);

    // A gateway that can't be started again: its program is gone.
    let machine = scene.machine();
    machine
        .run(&[
            "sh",
            "-c",
            "rm /var/lib/dsctl/artifacts/*/dsgate && systemctl kill --kill-who=main --signal=KILL dsctl-dsgate",
        ])
        .exits(0);
    becomes(machine, "the alerts are told", || {
        let firing = webhook.firing();
        ["Watchdog", "GatewayDown"].iter().all(|name| firing.iter().any(|told| told == name))
    });
    becomes(machine, "Slack is told", || webhook.channels().iter().any(|channel| channel == "#on-call"));
    scene.home.dsctl(&["status"]).exits(1).says("dsgate");
    scene.down();
}

/// The first value that Prometheus on the machine answers to a query.
fn value(machine: &Machine, query: &str) -> Option<f64> {
    let mut curl = machine.network.command("curl");
    curl.args(["--silent", "--get", "--noproxy", "*", "--data-urlencode", &format!("query={query}")]);
    let outcome = run(curl.arg("http://127.0.0.1:9090/api/v1/query"));
    let answer: Value = serde_json::from_str(&outcome.stdout).ok()?;
    answer["data"]["result"][0]["value"][1].as_str()?.parse().ok()
}
