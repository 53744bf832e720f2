//! The files of the monitoring before the tools that they are for: promtool, amtool, Prometheus and Alertmanager.
//!
//! Not every machine has them, so these tests are run by `.ci/monitoring`, which gets them; there a tool that is not to be
//! had is a failure.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::monitoring::tests::{full, plain};
use crate::monitoring::{MonitoringFile, MonitoringInputs, render};

/// What a tool said; it must have been content.
fn content(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    said
}

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/prometheus")
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "yaml")).collect()
}

fn rule_files(folder: &Path) -> Vec<PathBuf> {
    files_in(folder).into_iter().filter(|path| !path.ends_with("prometheus.yaml")).collect()
}

/// Files as on a host, with everything that they name.
fn written(inputs: MonitoringInputs) -> TempDir {
    let folder = TempDir::new().unwrap();
    let ca_file = folder.path().join("ca.pem");
    fs::write(&ca_file, "").unwrap();
    let gateway_tls = inputs.gateway_tls.clone().map(|tls| crate::monitoring::GatewayTls { ca_file, ..tls });
    let secrets = folder.path().join("secrets");
    fs::create_dir(&secrets).unwrap();
    for receiver in inputs.receivers.each() {
        fs::write(secrets.join(receiver.kind.secret()), "secret").unwrap();
    }
    let inputs = MonitoringInputs { gateway_tls, secrets, folder: folder.path().to_owned(), ..inputs };
    write_all(folder.path(), render(&inputs).unwrap());
    folder
}

/// As `dsctl init monitoring` writes it.
fn written_starter() -> TempDir {
    let folder = TempDir::new().unwrap();
    write_all(folder.path(), crate::monitoring::starter(folder.path().to_owned()).unwrap());
    folder
}

fn write_all(folder: &Path, files: Vec<MonitoringFile>) {
    for file in files {
        let path = folder.join(file.path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, file.content).unwrap();
    }
}

#[test]
#[ignore = "needs promtool: .ci/monitoring"]
fn promtool_reads_the_rules_and_every_configuration() {
    content(Command::new("promtool").args(["check", "rules", "--lint-fatal"]).args(rule_files(&data())));
    let mut folders: Vec<TempDir> = [full(), plain()].map(written).into();
    folders.push(written_starter());
    for folder in folders {
        let configuration = folder.path().join("prometheus/prometheus.yml");
        let said = content(Command::new("promtool").args(["check", "config", "--lint-fatal"]).arg(configuration));
        assert_eq!(said.matches("rules found").count(), rule_files(&data()).len(), "{said}");
    }
    let beside = TempDir::new().unwrap();
    for starter in ["prometheus", "prometheus-rules"].map(|name| crate::find(name).unwrap()) {
        fs::write(beside.path().join(starter.file_name), starter.content).unwrap();
    }
    content(Command::new("promtool").args(["check", "config"]).arg(beside.path().join("prometheus.yaml")));
}

#[test]
#[ignore = "needs promtool: .ci/monitoring"]
fn every_alert_fires_when_it_should_and_only_then() {
    content(Command::new("promtool").args(["test", "rules"]).args(files_in(&data().join("tests"))));
}

/// The cases lie near the bounds: with each of these numbers changed, one of them fails.
#[test]
#[ignore = "needs promtool: .ci/monitoring"]
fn a_rule_that_is_changed_is_noticed() {
    for (file, from, to) in [
        ("host.yaml", "> 0.8\n        for: 5m", "> 0.86\n        for: 5m"),
        ("host.yaml", "> 0.8\n        for: 5m", "> 0.79\n        for: 5m"),
        ("gpu.yaml", "DCGM_FI_DEV_GPU_UTIL > 95", "DCGM_FI_DEV_GPU_UTIL >= 95"),
        ("cost.yaml", "vector(150)", "vector(140)"),
        ("cost.yaml", "vector(150)", "vector(200)"),
        ("meta.yaml", "humanizePercentage", "humanize"),
    ] {
        let copy = TempDir::new().unwrap();
        let rules = fs::read_to_string(data().join(file)).unwrap();
        assert!(rules.contains(from), "{file}: {from}");
        fs::write(copy.path().join(file), rules.replace(from, to)).unwrap();
        let cases = file.replace(".yaml", ".test.yaml");
        fs::create_dir(copy.path().join("tests")).unwrap();
        fs::copy(data().join("tests").join(&cases), copy.path().join("tests").join(&cases)).unwrap();
        let status = Command::new("promtool")
            .args(["test", "rules"])
            .arg(copy.path().join("tests").join(&cases))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        assert!(!status.unwrap().success(), "{file}: nobody noticed {from} -> {to}");
    }
}

#[test]
#[ignore = "needs amtool: .ci/monitoring"]
fn amtool_reads_every_configuration_and_routes_by_severity() {
    let mut folders: Vec<TempDir> = [full(), plain()].map(written).into();
    folders.push(written_starter());
    for folder in folders {
        let configuration = folder.path().join("alertmanager/alertmanager.yml");
        content(Command::new("amtool").arg("check-config").arg(&configuration));
        for (labels, wanted) in [("severity=page", "page"), ("severity=none", "none"), ("severity=odd", "nobody")] {
            let mut command = Command::new("amtool");
            command.args(["config", "routes", "test", "alertname=X", labels]).arg("--config.file").arg(&configuration);
            // Its first line; a warning may come behind it.
            assert_eq!(content(&mut command).lines().next(), Some(wanted), "{labels}");
        }
    }
}

/// A program that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn alertmanager(folder: &Path, port: u16) -> Running {
    let mut command = Command::new("prometheus-alertmanager");
    command.arg(format!("--config.file={}", folder.join("alertmanager/alertmanager.yml").display()));
    command.arg(format!("--storage.path={}", folder.join("data").display()));
    command.arg(format!("--web.listen-address=127.0.0.1:{port}")).arg("--cluster.listen-address=");
    Running(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
}

fn amtool(port: u16) -> Command {
    let mut command = Command::new("amtool");
    command.arg(format!("--alertmanager.url=http://127.0.0.1:{port}"));
    command
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < end, "{what}: not within 30 s");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Names of the alerts that are (not) silenced by another.
fn alerts(port: u16, which: &str) -> Vec<String> {
    let said = content(amtool(port).args(["alert", "query", which, "--output=json"]));
    let alerts: Vec<Value> = serde_json::from_str(&said).unwrap();
    let mut names: Vec<String> =
        alerts.iter().map(|alert| alert["labels"]["alertname"].as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

#[test]
#[ignore = "needs Alertmanager: .ci/monitoring"]
fn a_host_that_is_down_silences_what_is_on_it_and_nothing_else() {
    let (folder, port) = (written(plain()), free_port());
    let _alertmanager = alertmanager(folder.path(), port);
    until("Alertmanager answers", || amtool(port).args(["alert", "query"]).output().unwrap().status.success());
    for labels in [
        ["HostDown", "host=m1", "severity=page"],
        ["DaemonDown", "host=m1", "severity=page"],
        ["HostDiskNearlyFull", "host=m1", "severity=ticket"],
        ["DaemonDown", "host=m2", "severity=page"],
        ["CostOverBudget", "team=x", "severity=ticket"],
        ["Watchdog", "team=x", "severity=none"],
    ] {
        content(amtool(port).args(["alert", "add"]).args(labels));
    }
    until("all alerts are there", || alerts(port, "--active").len() + alerts(port, "--inhibited").len() >= 6);
    assert_eq!(alerts(port, "--inhibited"), ["DaemonDown", "HostDiskNearlyFull"]);
    assert_eq!(alerts(port, "--active"), ["CostOverBudget", "DaemonDown", "HostDown", "Watchdog"]);
}
