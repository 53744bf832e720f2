//! The audit log from the deployment file to the terminal.

use std::fs;

use reqwest::Method;
use serde_json::{Value, json};
use tests::home::Home;
use tests::http::call;
use tests::mock::Mock;
use tests::weights;

#[test]
fn a_deployment_keeps_checks_exports_and_partly_forgets_who_asked_what() {
    let (home, baseline) = (Home::alone(), Mock::start("baseline"));
    let text = format!("model: {}\nbaseline: {}\naudit: {{}}\n", weights::MODEL, baseline.base_url());
    let endpoint = home.up(&["--file", &home.write("dsctl.yaml", &text)]);
    for user in ["alice", "bob", "alice"] {
        let body = json!({"model": weights::MODEL, "user": user, "max_tokens": 2,
            "messages": [{"role": "user", "content": "something private"}]});
        let url = format!("{}/chat/completions", endpoint.url);
        call(Method::POST, &url, &endpoint.key, Some(&body)).has_status(200);
    }
    let whole = home.dsctl(&["audit", "verify"]).exits(0);
    assert!(whole.stdout.starts_with("whole: 3 records in 1 files, number 1 to 3\nlast hash: "), "{}", whole.stdout);
    let head = whole.stdout.trim_end().rsplit(' ').next().unwrap().to_owned();
    let export = |words: &[&str]| home.dsctl(&[&["audit", "export"], words].concat());
    let of_alice = export(&["--user", "alice"]).exits(0).stdout;
    let records: Vec<Value> = of_alice.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(records.len(), 2, "{of_alice}");
    assert_eq!((&records[0]["person"]["user"], &records[0]["variant"]), (&json!("alice"), &json!("baseline")));
    assert!(!of_alice.contains("private"), "{of_alice}");
    let table = export(&["--format", "csv", "--until", "2000-01-01"]).exits(0).stdout;
    assert_eq!(table.lines().count(), 1, "{table}");

    let log = home.deployment().host().data(&"dsgate".parse().unwrap()).join("audit/records-000000000001.jsonl");
    let good = fs::read_to_string(&log).unwrap();
    assert!(!good.contains("alice") && !good.contains("private"), "{good}");
    home.dsctl(&["audit", "erase", "--user", "alice", "--yes"]).exits(0);
    home.dsctl(&["audit", "verify", "--expect", &head]).exits(0);
    assert!(export(&["--user", "alice"]).exits(1).stderr.contains("never seen, or erased"));
    assert!(!export(&[]).exits(0).stdout.contains("alice"));

    fs::write(&log, good.replacen("\"status\":200", "\"status\":500", 1)).unwrap();
    let changed = home.dsctl(&["audit", "verify"]).exits(1).stdout;
    assert!(changed.contains("records-000000000001.jsonl:1: it was changed"), "{changed}");

    // The log outlives the deployment, with its key.
    fs::write(&log, good).unwrap();
    let gone = home.dsctl(&["down", "--yes"]).exits(0);
    let kept =
        gone.stderr.split("the audit log is kept: dsctl ").nth(1).expect("where it is kept").lines().next().unwrap();
    let words: Vec<&str> = kept.split(' ').collect();
    home.dsctl(&words).exits(0).says("whole: ");
}
