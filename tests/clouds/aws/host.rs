//! What dsctl asks of a host through its bucket, and what it is given for others: acts, and keys of those who are told of alerts.

use serde_json::{Value, json};
use tests::aws::cloud::Cloud;
use tests::cloud_home::CloudHome;
use tests::process::run;
use tests::wait::until;

#[test]
fn an_act_goes_into_the_host_spec_and_its_outcome_comes_back() {
    let cloud = Cloud::start();
    let home = cloud.home();
    home.up(&[]).exits(0);
    cloud.report_ready(&home);
    let before = cloud.desired(&home)["generation"].as_u64().unwrap();
    let asking = home.start(&["host", "drain", "dsserve", "--yes"]);
    let action = until("the act is asked for", || cloud.desired(&home)["actions"][0].as_object().cloned());
    assert_eq!(action["act"], json!({"drain": "dsserve"}));
    assert_eq!(cloud.desired(&home)["generation"], json!(before + 1));
    cloud.report_outcome(&home, action["id"].as_str().unwrap(), "dsserve: stopped pid 7");
    asking.end().exits(0).says("dsserve: stopped pid 7");

    let late = ["host", "restart", "dsserve", "--timeout", "1s"];
    home.dsctl(&late).exits(9).says("it goes on").says("dsctl status");
    let acts: Vec<Value> =
        cloud.desired(&home)["actions"].as_array().unwrap().iter().map(|it| it["act"].clone()).collect();
    assert_eq!(acts, [json!({"drain": "dsserve"}), json!({"restart": "dsserve"})]);
    home.up(&["--expect-no-changes"]).exits(0);
}

/// With a key of Slack's, out of a file or a variable.
fn told(home: &CloudHome, key: &str) -> String {
    let file = home.home.scratch().join("told.yaml");
    let slack = format!("{{channel: '#on-call', {key}}}");
    std::fs::write(&file, format!("monitoring: {{receivers: {{slack: {slack}}}}}\n")).unwrap();
    file.display().to_string()
}

#[test]
fn a_receivers_key_lies_among_the_secrets_alone_and_another_one_reaches_the_host() {
    let cloud = Cloud::start();
    let home = cloud.home();
    let first = "https://hooks.slack.com/services/T0/B0/first-secret";
    let file = told(&home, "key_file: slack.key");
    let key_file = home.home.scratch().join("slack.key");
    let up = |home: &CloudHome| home.up(&["--file", &file]);
    up(&home).exits(2).says("monitoring.receivers.slack.key_file").says("slack.key");
    std::fs::write(&key_file, "not a url\n").unwrap();
    up(&home).exits(2).says("monitoring.receivers.slack").says("one line without spaces");
    cloud.is_untouched("a key that is none");
    std::fs::write(&key_file, format!("{first}\n")).unwrap();
    up(&home).exits(0);
    assert_eq!(cloud.object(&home, "secrets/alerts-slack-url").trim(), first);
    let desired = cloud.desired(&home);
    let state = home.state().unwrap().to_string();
    assert!(!desired.to_string().contains("first-secret") && !state.contains("first-secret"));
    up(&home).exits(0).says("No changes");

    std::fs::write(&key_file, format!("{first}-rotated\n")).unwrap();
    up(&home).exits(0).says("~ secret.alerts-slack-url").says("~ host-spec.main");
    assert_eq!(cloud.object(&home, "secrets/alerts-slack-url").trim(), format!("{first}-rotated"));
    assert_ne!(cloud.desired(&home)["monitoring"]["receiver_keys"], desired["monitoring"]["receiver_keys"]);
    std::fs::remove_file(&key_file).unwrap();
    up(&home).exits(2).says("monitoring.receivers.slack.key_file");
}

#[test]
fn a_variable_that_is_gone_later_leaves_the_key_that_is_kept() {
    let cloud = Cloud::start();
    let home = cloud.home();
    let file = told(&home, "key_env: SLACK_WEBHOOK_URL");
    let lacking = home.up(&["--file", &file]).exits(2);
    lacking.says("monitoring.receivers.slack.key_env: environment variable SLACK_WEBHOOK_URL is not set");
    cloud.is_untouched("a key that is not there");
    let up = |value: &str| {
        let mut command = home.command(&["up", "--yes", "--no-wait", "--file", &file]);
        run(command.env("SLACK_WEBHOOK_URL", value))
    };
    up("https://hooks.slack.com/services/T0/B0/kept").exits(0);
    up("").exits(2).says("holds no URL");
    home.up(&["--file", &file, "--expect-no-changes"]).exits(0);
    assert!(cloud.object(&home, "secrets/alerts-slack-url").contains("kept"));
}

#[test]
fn a_new_key_goes_first_and_others_are_retired_when_it_is_told_to() {
    let cloud = Cloud::start();
    let home = cloud.home();
    home.up(&[]).exits(0);
    cloud.report_ready(&home);
    let keys = || cloud.object(&home, "secrets/api-key").lines().map(str::to_owned).collect::<Vec<_>>();
    let first = keys();
    let rotating = home.start(&["keys", "rotate"]);
    let action = until("the host is told", || cloud.desired(&home)["actions"][0].as_object().cloned());
    assert_eq!(action["act"], json!("take-keys"));
    cloud.report_outcome(&home, action["id"].as_str().unwrap(), "taken");
    rotating.end().exits(0).says("secrets/api-key is the new key");
    let two = keys();
    assert_eq!((two.len(), &two[1]), (2, &first[0]));
    home.dsctl(&["keys", "retire-others", "--timeout", "1s"]).exits(9);
    assert_eq!(keys(), [two[0].clone()]);
    home.up(&["--expect-no-changes"]).exits(0);
    assert_eq!(keys(), [two[0].clone()], "an up changes no key");
}
