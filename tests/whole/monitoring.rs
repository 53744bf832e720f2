//! A real Prometheus and a real Alertmanager beside a loaded deployment: every rule is evaluated, every panel of every
//! dashboard has data, every metric that others are said to have is there.
//!
//! Not every machine has them: run by `.ci/monitoring`, which gets them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use reqwest::Url;
use serde_json::Value;
use spec::metric::{cost, gpu};
use spec::monitoring::Receivers;
use templates::monitoring::dashboards::DASHBOARDS;
use templates::monitoring::prometheus::RULES;
use templates::monitoring::{Job, MonitoringInputs, Target, render};
use tests::binaries::workspace;
use tests::home::{Endpoint, Home};
use tests::http::{ask, client, get, runtime};
use tests::load::{Form, Load};
use tests::mock::Mock;
use tests::process::{is_alive, kill, run};
use tests::wait::within;
use tests::webhook::Webhook;

/// From the first scrape to quantiles over half a minute.
const LONG: Duration = Duration::from_secs(180);

/// What a container without systemd or memory controllers does not show.
const NOT_HERE: [&str; 3] =
    ["node_edac_uncorrectable_errors_total", "node_systemd_service_restart_total", "node_systemd_unit_state"];

/// Ends with the test. Its output goes nowhere, since nobody would read it while it runs.
struct Program(Child);

impl Program {
    fn start(name: &str, words: &[String]) -> Self {
        let silent = || Stdio::null();
        let child = Command::new(name).args(words).stdout(silent()).stderr(silent()).spawn();
        Self(child.unwrap_or_else(|error| panic!("{name}: {error}")))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Ended already: fine.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// The page of a host with one GPU at a price, which the machines of the tests are not.
fn made_up_page() -> String {
    let mut page = format!("{} 1.5\n", cost::MACHINE_HOURLY.name);
    for metric in gpu::ALL {
        let is_bad_news = ["XID", "ECC", "ROW", "VIOLATION", "REPLAY"].iter().any(|part| metric.name.contains(part));
        let value = if is_bad_news { 0 } else { 50 };
        let labels = r#"gpu="0",UUID="GPU-1",modelName="made up",Hostname="m1""#;
        writeln!(page, "{}{{{labels}}} {value}", metric.name).unwrap();
    }
    page
}

/// Serves a page until the process ends.
fn serve(page: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let router = axum::Router::new().route("/metrics", axum::routing::get(move || async move { page }));
    runtime().spawn(async move {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        axum::serve(listener, router).await.unwrap();
    });
    address
}

/// Where the daemon shows its metrics, as the gateway was told.
fn daemon_address(home: &Home) -> String {
    let config = std::fs::read_to_string(home.deployment().host().files().join("gateway.json")).unwrap();
    let config: Value = serde_json::from_str(&config).unwrap();
    let url = config["variants"]["candidate"]["metrics_url"].as_str().unwrap();
    url.trim_start_matches("http://").trim_end_matches("/metrics").to_owned()
}

struct Monitoring {
    _programs: Vec<Program>,
    prometheus: String,
    alertmanager: String,
}

impl Monitoring {
    fn start(home: &Home, endpoint: &Endpoint) -> Self {
        let [prometheus, alertmanager, node] = [(); 3].map(|()| free_address());
        let gateway = endpoint.url.trim_start_matches("http://").trim_end_matches("/v1").to_owned();
        let addresses = [gateway, daemon_address(home), serve(made_up_page()), node, prometheus, alertmanager];
        let folder = home.scratch().join("monitoring");
        write(&folder, &addresses);
        let [.., node, prometheus, alertmanager] = addresses;
        let file = |name: &str| folder.join(name).display().to_string();
        let programs = vec![
            Program::start("prometheus-node-exporter", &[format!("--web.listen-address={node}")]),
            Program::start(
                "prometheus-alertmanager",
                &[
                    format!("--config.file={}", file("alertmanager/alertmanager.yml")),
                    format!("--storage.path={}", file("alerts")),
                    format!("--web.listen-address={alertmanager}"),
                    "--cluster.listen-address=".to_owned(),
                ],
            ),
            Program::start(
                "prometheus",
                &[
                    format!("--config.file={}", file("prometheus/prometheus.yml")),
                    format!("--storage.tsdb.path={}", file("samples")),
                    format!("--web.listen-address={prometheus}"),
                ],
            ),
        ];
        Self { _programs: programs, prometheus, alertmanager }
    }

    /// What a deployment itself started.
    fn of(up: &Value) -> Self {
        let address = |unit: &str| page(up, unit).trim_start_matches("http://").to_owned();
        Self { _programs: Vec::new(), prometheus: address("prometheus"), alertmanager: address("alertmanager") }
    }

    fn asked(&self, path: &str) -> Value {
        get(&format!("http://{}{path}", self.prometheus)).has_status(200).json()["data"].clone()
    }

    /// The numbers that an expression comes to now; none of them if it is not one.
    fn query(&self, expression: &str) -> Vec<f64> {
        let url = format!("http://{}/api/v1/query", self.prometheus);
        let url = Url::parse_with_params(&url, [("query", expression)]).unwrap();
        let answer = ask(client().get(url)).has_status(200).json();
        let result = answer["data"]["result"].as_array().unwrap().clone();
        let value = |series: &Value| series["value"][1].as_str().and_then(|text| text.parse::<f64>().ok());
        result.iter().filter_map(value).filter(|value| !value.is_nan()).collect()
    }

    fn answers(&self) -> Option<()> {
        let url = format!("http://{}/-/ready", self.prometheus);
        let answer = tests::http::wait(tests::http::send(client().get(url)));
        answer.is_ok_and(|answer| answer.status == 200).then_some(())
    }
}

/// The files as a host gets them, but looked at every second.
fn write(folder: &Path, addresses: &[String; 6]) {
    let target = |(job, address): (Job, &String)| Target { job, host: "m1".to_owned(), address: address.clone() };
    let inputs = MonitoringInputs {
        targets: Job::ALL.into_iter().zip(addresses).map(target).collect(),
        gateway_tls: None,
        budget_per_day: "150".parse().unwrap(),
        receivers: Receivers::default(),
        secrets: folder.join("secrets"),
        folder: folder.to_owned(),
    };
    for file in render(&inputs).unwrap() {
        let path = folder.join(file.path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, file.content.replace("_interval: 15s", "_interval: 1s")).unwrap();
    }
}

/// A deployment with a rollout at half way, so that both variants are asked and the old one has its price.
fn deployment(home: &Home, baseline: &Mock) -> Endpoint {
    let price = "{prompt_per_million: 0.15, completion_per_million: 0.60}";
    let text = format!("baseline: {{url: '{}', price: {price}}}\n", baseline.base_url());
    let endpoint = home.up(&["-f", &home.write("dsctl.yaml", &text)]);
    home.dsctl(&["rollout", "start", "--stages", "50,100", "--bake", "1h", "--min-requests", "5"]).exits(0);
    endpoint
}

#[test]
#[ignore = "needs Prometheus and Alertmanager: .ci/monitoring"]
fn every_panel_has_data_and_every_rule_is_evaluated() {
    let (home, baseline) = (Home::alone(), Mock::start("baseline"));
    let endpoint = deployment(&home, &baseline);
    let load = Load::start(&endpoint, 2, Form::Both);
    let monitoring = Monitoring::start(&home, &endpoint);
    within(LONG, "Prometheus answers", || monitoring.answers());
    within(LONG, "all six targets are up", || (monitoring.query("up == 1").len() == 6).then_some(()));
    every_panel_has_data(&monitoring);
    every_rule_is_evaluated(&monitoring);
    what_others_are_said_to_have_is_there(&monitoring);
    load.stop();
}

fn every_panel_has_data(monitoring: &Monitoring) {
    for panel in DASHBOARDS.iter().flat_map(|dashboard| dashboard.panels) {
        for query in panel.queries {
            let expression = query.expression.replace("$__rate_interval", "30s").replace("$__range", "5m");
            let has_data = || (!monitoring.query(&expression).is_empty()).then_some(());
            within(LONG, &format!("{}: {expression}", panel.title), has_data);
        }
    }
}

fn every_rule_is_evaluated(monitoring: &Monitoring) {
    let groups = monitoring.asked("/api/v1/rules")["groups"].as_array().unwrap().clone();
    let rules: Vec<&Value> = groups.iter().flat_map(|group| group["rules"].as_array().unwrap()).collect();
    let written = |kind: &str| RULES.iter().map(|rules| rules.content.matches(kind).count()).sum::<usize>();
    assert_eq!(rules.len(), written("- alert: ") + written("- record: "));
    let broken: Vec<_> = rules.iter().filter(|rule| rule["health"] != "ok").collect();
    assert!(broken.is_empty(), "{broken:#?}");
    let is_firing = |rule: &&&Value| rule["state"] == "firing" && rule["labels"]["severity"] == "page";
    let paged: Vec<_> = rules.iter().filter(is_firing).collect();
    assert!(paged.is_empty(), "nothing is the matter: {paged:#?}");
    within(LONG, "the Watchdog is heard of", || {
        let alerts = get(&format!("http://{}/api/v2/alerts", monitoring.alertmanager)).json();
        alerts.as_array()?.iter().any(|alert| alert["labels"]["alertname"] == "Watchdog").then_some(())
    });
}

fn what_others_are_said_to_have_is_there(monitoring: &Monitoring) {
    let text = std::fs::read_to_string(workspace().join("templates/data/foreign-metrics.yaml")).unwrap();
    let said: BTreeMap<String, Vec<String>> = spec::yaml::parse(&text, "foreign-metrics.yaml").unwrap();
    let seen = monitoring.asked("/api/v1/label/__name__/values");
    let seen: BTreeSet<&str> = seen.as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let missing: Vec<&String> =
        said.keys().filter(|name| !seen.contains(name.as_str()) && !NOT_HERE.contains(&name.as_str())).collect();
    assert!(missing.is_empty(), "{missing:?} are in nobody's /metrics");
}

const TOKEN: &str = "a-token-that-is-nowhere-else";

/// The page that `up` showed for a unit.
fn page(up: &Value, unit: &str) -> String {
    up["watchers"][unit].as_str().unwrap_or_else(|| panic!("no {unit} in {up}")).to_owned()
}

#[test]
#[ignore = "needs Prometheus and Alertmanager: .ci/monitoring"]
fn what_is_installed_here_watches_a_deployment_here_and_its_alerts_reach_their_receiver() {
    let home = Home::alone().without("DSCTL_MONITORING");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let webhook = Webhook::listen(listener, TOKEN);
    home.write("webhook.key", TOKEN);
    let receiver = format!("{{url: '{url}', key_file: webhook.key, severities: [page, none]}}");
    let file = home.write("watched.yaml", &format!("monitoring: {{receivers: {{webhook: {receiver}}}}}\n"));
    let words = Home::up_words(&["-f", &file, "--json"]);
    let up = home.dsctl(&words.iter().map(String::as_str).collect::<Vec<_>>()).exits(0).json();
    let watching = Monitoring::of(&up);
    within(LONG, "all six are read", || (watching.query("up == 1").len() == 6).then_some(()));
    within(LONG, "the Watchdog is told of", || webhook.firing().iter().any(|alert| alert == "Watchdog").then_some(()));
    let mut grep = Command::new("grep");
    let found = run(grep.args(["--recursive", "--files-with-matches", TOKEN]).arg(home.layout().root())).exits(0);
    let mut places: Vec<&str> = found.stdout.lines().filter_map(|line| line.rsplit("default/").next()).collect();
    places.sort_unstable();
    assert_eq!(places, ["bucket/secrets/alerts-webhook-token", "host/monitoring/alertmanager/alertmanager.yml"]);

    let before = home.status().living("prometheus");
    kill(before);
    within(LONG, "Prometheus is started again", || {
        (home.status().pid("prometheus").is_some_and(|pid| pid != before)).then_some(())
    });
    assert_eq!(home.status().summary(), "ready", "the endpoint serves without it");
    let pids = home.pids();
    home.up(&["-f", &file, "--monitoring", "none"]);
    let units = home.status().0["host"]["units"].to_string();
    assert!(!units.contains("prometheus"), "it is no longer wished for: {units}");
    home.dsctl(&["down", "--yes"]).exits(0);
    assert!(pids.iter().all(|pid| !is_alive(*pid)), "something was left");
}
