//! Several people: two at once, a plan that somebody else overtook, a state that a team shares.

use serde_json::json;
use tests::aws::account;
use tests::aws::cloud::{Cloud, REGION};
use tests::aws::dialect::Looks;
use tests::cloud_home::CloudHome;
use tests::process::Running;
use tests::wait::until;

const TEAM: &str = "team-state";
/// Of a NAT gateway: long enough that another command comes in meanwhile.
const SLOW: Looks = Looks { machine: 0, nat: 4 };

/// An `up` that is in the middle of making things.
fn begun(cloud: &Cloud, home: &CloudHome, more: &[&str]) -> Running {
    cloud.proxy.set_pending(SLOW);
    let words: Vec<&str> = ["up", "--yes", "--no-wait"].iter().chain(more).copied().collect();
    let up = home.start(&words);
    until("the NAT gateway is under way", || cloud.changes().contains(&"CreateNatGateway".to_owned()).then_some(()));
    up
}

#[test]
fn of_two_at_once_one_wins_and_the_other_names_it() {
    let cloud = Cloud::start();
    let home = cloud.home();
    let first = begun(&cloud, &home, &[]);
    let holder = format!("locked by dsctl up (process {} on", first.pid());
    let second = home.up(&[]).exits(11).says(&holder).says("next: dsctl status");
    assert!(!second.stderr.contains("exist and cost"), "{}", second.transcript());
    let asked = home.dsctl(&["down", "--yes", "--json"]).exits(11).says(&holder).json();
    assert_eq!(asked["error"]["kind"], "locked");
    // Looks need no lock.
    home.dsctl(&["status"]).exits(1).says("not ready");
    first.end().exits(0).says("+ machine.main");
    home.up(&["--expect-no-changes"]).exits(0).says("No changes");
    cloud.agrees_with(&home, "after both");
}

#[test]
fn a_saved_plan_is_done_as_it_is_or_not_at_all() {
    let cloud = Cloud::start();
    let home = cloud.home();
    let file = |name: &str| home.home.scratch().join(name).display().to_string();
    let binaries = home.binaries.display().to_string();
    let apply = |name: &str| home.home.dsctl(&["up", &file(name), "--yes", "--no-wait", "--binaries", &binaries]);
    home.dsctl(&["plan", "--output", &file("first")]).exits(0).says("dsctl up");
    home.dsctl(&["plan", "--output", &file("twin")]).exits(0);
    cloud.is_untouched("plans in files");
    apply("first").exits(0).says("+ machine.main");
    cloud.agrees_with(&home, "after the plan");
    cloud.proxy.clear();
    apply("first").exits(1).says("another state of affairs").says("next: dsctl plan");
    apply("twin").exits(1).says("another state of affairs");

    home.dsctl(&["plan", "--allow", "10.1.0.0/16", "--output", &file("narrow")]).exits(0).says("1 to update");
    home.dsctl(&["plan", "--allow", "10.2.0.0/16", "--output", &file("other")]).exits(0).says("1 to update");
    cloud.is_untouched("what is stale, and plans");
    apply("narrow").exits(0).says("~ security-group.machine");
    cloud.proxy.clear();
    apply("other").exits(1).says("another state of affairs");
    cloud.is_untouched("a plan that somebody else overtook");

    // The cloud is not as it was when the plan was made.
    home.dsctl(&["plan", "--allow", "10.3.0.0/16", "--output", &file("drifted")]).exits(0);
    let bucket = json!({"Bucket": home.id("bucket.main")});
    cloud.call(REGION, ("s3", "delete_public_access_block"), &bucket);
    apply("drifted").exits(1).says("next: dsctl plan");
    cloud.is_untouched("a plan whose cloud has changed");
    let fixed = home.dsctl(&["up", &file("narrow"), "--yes", "--allow", "10.9.0.0/16"]);
    fixed.exits(2).says("a plan file says all there is to do");
}

/// Ids in the state that the team shares.
fn recorded(cloud: &Cloud) -> Vec<String> {
    let place = json!({"Bucket": TEAM, "Key": "prod/default/state.json"});
    let text = cloud.call(REGION, ("s3", "get_object"), &place)["Body"].as_str().unwrap().to_owned();
    let state: serde_json::Value = serde_json::from_str(&text).unwrap();
    let resources = state["resources"].as_object().unwrap().values();
    let mut ids: Vec<String> = resources.map(|it| it["remote_id"].as_str().unwrap().to_owned()).collect();
    ids.sort();
    ids
}

/// Everything that is alive but the team's bucket.
fn alive(cloud: &Cloud) -> Vec<String> {
    let own = |id: &String| id != TEAM && !id.starts_with(&format!("s3://{TEAM}/"));
    account::alive(&cloud.account(REGION)).into_iter().filter(own).collect()
}

#[test]
fn a_team_shares_one_state_and_one_lock() {
    let cloud = Cloud::start();
    let (one, other) = (cloud.home(), cloud.home());
    let place = format!("s3://{TEAM}/prod");
    let missing = one.up(&["--state", &place]);
    assert!([1, 3, 4].contains(&missing.code) && missing.stderr.contains(TEAM), "{}", missing.transcript());
    cloud.call(REGION, ("s3", "create_bucket"), &json!({"Bucket": TEAM}));

    let first = begun(&cloud, &one, &["--state", &place]);
    let holder = format!("locked by dsctl up (process {} on", first.pid());
    other.up(&["--state", &place]).exits(11).says(&holder);
    first.end().exits(0).says("+ machine.main");
    assert_eq!(alive(&cloud), recorded(&cloud));
    let id = cloud.account(REGION)["instances"][0]["id"].as_str().unwrap().to_owned();
    assert!(!one.home.deployment().state().join("state.json").exists(), "a state of its own");

    // All that the other has is the file that is in their repository.
    let file = std::fs::read_to_string(one.home.deployment().spec_file()).unwrap();
    let file = other.home.write("dsctl.yaml", &file);
    cloud.proxy.clear();
    other.dsctl(&["drift", "--file", &file, "--detailed-exitcode"]).exits(0).says("No drift");
    other.dsctl(&["status", "--file", &file]).exits(1).says("not ready").says(&id).says("23 resources");
    cloud.is_untouched("looks of the other");
    let more = ["--file", &file, "--allow", "10.1.0.0/16"];
    other
        .home
        .dsctl(&[&["up", "--yes", "--no-wait", "--binaries", &one.binaries.display().to_string()], &more[..]].concat())
        .exits(0)
        .says("1 to update");
    other.dsctl(&["down", "--file", &file, "--yes"]).exits(0).says("it no longer costs $");
    assert_eq!(alive(&cloud), Vec::<String>::new());
    one.dsctl(&["down", "--yes"]).exits(0);
    assert!(!one.home.deployment().root().exists(), "its folder is left");
}
