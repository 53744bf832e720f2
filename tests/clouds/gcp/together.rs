//! A state that a team shares, in a bucket of theirs.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::json;
use tests::gcp::cloud::Cloud;
use tests::gcp::{PROJECT, account};
use tests::http;
use tests::proxy::{Fault, Rule};
use tests::wait::until;

const TEAM: &str = "team-state";
const SLOW: &str = "compute.routers.insert";

fn make_bucket(cloud: &Cloud) {
    let body = json!({"name": TEAM, "location": "us-central1"});
    let url = format!("{}/storage/v1/b?project={PROJECT}", cloud.google.url());
    http::call(Method::POST, &url, "", Some(&body)).has_status(200);
}

/// Ids in the state that the team shares.
#[track_caller]
fn recorded(cloud: &Cloud) -> BTreeSet<String> {
    let text = cloud.google.object(TEAM, "prod/default/state.json").expect("the team's state");
    let state: serde_json::Value = serde_json::from_str(&text).unwrap();
    let resources = state["resources"].as_object().unwrap().values();
    resources.map(|it| it["remote_id"].as_str().unwrap().to_owned()).collect()
}

/// Everything that is alive but the team's bucket.
fn alive(cloud: &Cloud) -> BTreeSet<String> {
    let own = |id: &String| id != TEAM && !id.starts_with(&format!("gs://{TEAM}/"));
    account::alive(&cloud.google.account()).into_iter().filter(own).collect()
}

#[test]
fn a_team_shares_one_state_and_one_lock() {
    let cloud = Cloud::start();
    let (one, other) = (cloud.home(), cloud.home());
    let place = format!("gs://{TEAM}/prod");
    let missing = one.up(&["--state", &place]);
    assert!([1, 3, 4].contains(&missing.code), "{}", missing.transcript());
    missing.says("The specified bucket does not exist");
    make_bucket(&cloud);

    cloud.proxy.arm([Rule::nth(SLOW, 1, Fault::Hold)]);
    let first = one.start(&["up", "--yes", "--no-wait", "--state", &place]);
    until("the router is under way", || cloud.changes().contains(&SLOW.to_owned()).then_some(()));
    let holder = format!("locked by dsctl up (process {} on", first.pid());
    other.up(&["--state", &place]).exits(11).says(&holder);
    cloud.proxy.release();
    first.end().exits(0).says("+ machine.main");
    assert_eq!(alive(&cloud), recorded(&cloud));
    assert!(!one.home.deployment().state().join("state.json").exists(), "a state of its own");

    // All that the other has is the file that is in their repository.
    let file = std::fs::read_to_string(one.home.deployment().spec_file()).unwrap();
    let file = other.home.write("dsctl.yaml", &file);
    let count = recorded(&cloud).len();
    other.dsctl(&["drift", "--file", &file, "--detailed-exitcode"]).exits(0).says("No drift");
    other.dsctl(&["status", "--file", &file]).exits(1).says("not ready").says(&format!("{count} resources"));
    let binaries = one.binaries.display().to_string();
    let words = ["up", "--yes", "--no-wait", "--binaries", &binaries, "--file", &file, "--allow", "10.1.0.0/16"];
    other.home.dsctl(&words).exits(0).says("1 to update");
    other.dsctl(&["down", "--file", &file, "--yes"]).exits(0).says("it no longer costs $");
    assert_eq!(alive(&cloud), BTreeSet::new());
    one.dsctl(&["down", "--yes"]).exits(0);
    assert!(!one.home.deployment().root().exists(), "its folder is left");
}
