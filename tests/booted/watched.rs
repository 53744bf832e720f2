//! The host is watched: its Prometheus reads everything on it, and an alert reaches whoever is to hear of it.

use serde_json::Value;
use tests::booted::machine::Machine;
use tests::booted::repository::Repository;
use tests::process::run;
use tests::webhook::Webhook;

use crate::scene::{Scene, becomes};

const WEBHOOK: &str = "127.0.0.1:9999";
const REPOSITORY: &str = "127.0.0.1:9998";
const GRAFANA_FILES: [(&str, &str, u32); 3] = [
    ("/usr/share/grafana/bin/grafana", include_str!("grafana/grafana"), 0o755),
    ("/lib/systemd/system/grafana-server.service", include_str!("grafana/grafana-server.service"), 0o644),
    (
        "/etc/default/grafana-server",
        "CONF_FILE=/etc/grafana/grafana.ini\nPROVISIONING_CFG_DIR=/etc/grafana/provisioning\n",
        0o644,
    ),
];
const GRAFANA_INSTALLED: &str = "#!/bin/sh\nset -e\nid grafana >/dev/null 2>&1 || useradd --system grafana\n";
const TOKEN: &str = "a-token-that-is-nowhere-else";
const SLACK_URL: &str = "http://127.0.0.1:9999/slack";
const ALERTMANAGER_FILE: &str = "/etc/dsctl/monitoring/alertmanager/alertmanager.yml";

fn deployment(fingerprint: &str) -> String {
    format!(
        "monitoring:
  grafana: enabled
  grafana_repository: {{url: 'http://{REPOSITORY}', fingerprint: '{fingerprint}'}}
  receivers:
    webhook: {{url: 'http://{WEBHOOK}/', key_file: webhook.key, severities: [page, ticket, none]}}
    slack: {{channel: '#on-call', key_file: slack.key}}
"
    )
}

#[test]
fn prometheus_reads_everything_on_the_host_and_an_alert_reaches_its_receiver() {
    let mut scene = Scene::start();
    let file = scene.home.home.scratch().join("watched.yaml");
    let repository = Repository::of("grafana", &GRAFANA_FILES, GRAFANA_INSTALLED);
    std::fs::write(&file, deployment(&"0".repeat(40))).expect("a deployment's file");
    for (name, key) in [("webhook.key", TOKEN), ("slack.key", SLACK_URL)] {
        std::fs::write(file.with_file_name(name), format!("{key}\n")).expect("a key's file");
    }
    let words = ["--file", &file.display().to_string()];
    let mut is_served = false;
    let up = scene.up_while(&words, |machine| {
        if !std::mem::replace(&mut is_served, true) {
            repository.serve(machine.network.listen(REPOSITORY.parse().expect("an address")));
        }
    });
    up.exits(0).says("is ready");
    another_key_signs_nothing(&mut scene);
    std::fs::write(&file, deployment(&repository.fingerprint)).expect("a deployment's file");
    scene.up(&words).exits(0);
    let machine = scene.machine();
    let webhook = Webhook::listen(machine.network.listen(WEBHOOK.parse().expect("an address")), TOKEN);
    becomes(machine, "its monitoring is installed", || machine.console().contains("monitoring: done"));
    for job in ["dsgate", "dsserve", "agent", "node", "prometheus", "alertmanager"] {
        becomes(machine, &format!("Prometheus has read {job}"), || {
            value(machine, &format!("up{{job=\"{job}\"}}")) == Some(1.0)
        });
    }
    assert_eq!(value(machine, "dsctl_host_ready"), Some(1.0));
    grafana_shows_the_dashboards(machine);
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

/// The host serves and is watched, and says what is missing.
#[track_caller]
fn another_key_signs_nothing(scene: &mut Scene) {
    let home = &scene.home;
    let machine = scene.hypervisor.machine();
    becomes(machine, "Grafana's repository is refused", || home.dsctl(&["status"]).stdout.contains("is not signed"));
    machine.run(&["dpkg-query", "--show", "grafana"]).exits(1);
    becomes(machine, "Prometheus runs without it", || value(machine, "up{job=\"dsgate\"}") == Some(1.0));
}

/// To whoever is on the machine, and to nobody as an administrator.
#[track_caller]
fn grafana_shows_the_dashboards(machine: &Machine) {
    let shown = get(machine, "http://127.0.0.1:3000/api/search", &[]);
    for uid in ["dsctl-overview", "dsctl-gpu", "dsctl-cost", "dsctl-rollout", "dsctl-latency"] {
        assert!(shown.contains(&format!("\"{uid}\"")), "{uid} in {shown}");
    }
    let through = "http://127.0.0.1:3000/api/datasources/proxy/uid/dsctl-prometheus/api/v1/query";
    assert!(get(machine, through, &["query=up"]).contains("\"success\""));
    machine.run(&["curl", "--silent", "--fail", "http://127.0.0.1:3000/api/users"]).exits(22);
    let listens = machine.run(&["ss", "--listening", "--tcp", "--numeric", "--no-header"]).stdout;
    let open: Vec<&str> =
        listens.lines().filter(|line| line.contains("0.0.0.0:3000") || line.contains("*:3000")).collect();
    assert!(open.is_empty(), "{open:?}");
}

/// The first value that Prometheus on the machine answers to a query.
fn value(machine: &Machine, query: &str) -> Option<f64> {
    let said = get(machine, "http://127.0.0.1:9090/api/v1/query", &[&format!("query={query}")]);
    let answer: Value = serde_json::from_str(&said).ok()?;
    answer["data"]["result"][0]["value"][1].as_str()?.parse().ok()
}

fn get(machine: &Machine, address: &str, query: &[&str]) -> String {
    let mut curl = machine.network.command("curl");
    curl.args(["--silent", "--get", "--noproxy", "*"]);
    for part in query {
        curl.args(["--data-urlencode", part]);
    }
    run(curl.arg(address)).stdout
}
