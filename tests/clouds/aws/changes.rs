//! A deployment that is to be another: in place where AWS can, beside the old one where it can't, refused where it must be.

use serde_json::{Value, json};
use tests::aws::account::things;
use tests::aws::cloud::{Cloud, REGION};
use tests::aws::overlay::IMAGE;
use tests::cloud_home::CloudHome;

/// Ids of the machines that are alive.
fn machines(cloud: &Cloud) -> Vec<String> {
    let account = cloud.account(REGION);
    let mut ids: Vec<String> =
        things(&account, "instances").map(|machine| machine["id"].as_str().unwrap().to_owned()).collect();
    ids.sort();
    ids
}

#[track_caller]
fn replaced(home: &CloudHome) -> Vec<String> {
    let state = home.state().expect("a state");
    let replaced = state["replaced"].as_array().cloned().unwrap_or_default();
    replaced.iter().map(|it| it["resource"]["remote_id"].as_str().unwrap().to_owned()).collect()
}

#[track_caller]
fn volume(cloud: &Cloud) -> Value {
    let account = cloud.account(REGION);
    let volumes: Vec<&Value> = things(&account, "volumes").collect();
    assert_eq!(volumes.len(), 1, "{volumes:?}");
    volumes[0].clone()
}

#[test]
fn what_aws_changes_in_place_is_changed_by_that_one_call() {
    let cloud = Cloud::start();
    let home = cloud.home();
    home.up(&[]).exits(0);
    let machine = machines(&cloud);

    cloud.proxy.clear();
    home.dsctl(&["plan", "--allow", "10.1.0.0/16"]).exits(0).says("0 to create, 1 to update").says("~ ");
    cloud.is_untouched("the plan of a change");
    let up = home.up(&["--allow", "10.1.0.0/16"]).exits(0).says("~ security-group.machine");
    let rules = ["RevokeSecurityGroupIngress", "AuthorizeSecurityGroupIngress"];
    assert_eq!(cloud.changes(), rules, "{}", up.transcript());
    home.up(&["--allow", "10.1.0.0/16", "--expect-no-changes"]).exits(0);

    let disk = volume(&cloud);
    let larger = disk["gib"].as_u64().unwrap() + 50;
    let wish = ["--allow", "10.1.0.0/16", "--disk", &larger.to_string()];
    cloud.proxy.clear();
    let up = home.up(&wish).exits(0).says("~ machine.main");
    assert_eq!(cloud.changes(), ["ModifyVolume"], "{}", up.transcript());
    assert_eq!((volume(&cloud)["gib"].as_u64(), &volume(&cloud)["id"]), (Some(larger), &disk["id"]));
    cloud.proxy.clear();
    home.up(&["--allow", "10.1.0.0/16"]).exits(2).says("machine.main").says("cannot shrink").says("disk_gib");
    cloud.is_untouched("a smaller disk");
    assert_eq!(machines(&cloud), machine, "it is the same machine");
    cloud.agrees_with(&home, "after all changes");
}

#[test]
fn another_setting_of_the_daemon_is_a_new_generation_of_the_host_spec_and_no_new_machine() {
    let cloud = Cloud::start();
    let home = cloud.home();
    home.up(&[]).exits(0);
    let (machine, before) = (machines(&cloud), cloud.desired(&home));
    cloud.report_ready(&home);
    home.dsctl(&["status"]).exits(0).says("ready");
    cloud.proxy.clear();
    home.up(&["--threads", "4"]).exits(0).says("~ host-spec.main").says("was not waited for");
    assert_eq!(cloud.changes(), ["PutObject"]);
    let after = cloud.desired(&home);
    assert_eq!(after["generation"].as_u64(), before["generation"].as_u64().map(|number| number + 1));
    assert_eq!(machines(&cloud), machine);
    home.dsctl(&["status"]).exits(1).says("not ready");

    cloud.report_failed(&home, "hub is away");
    home.dsctl(&["up", "--yes", "--threads", "4"])
        .exits(4)
        .says("weights: ")
        .says("hub is away")
        .says("exist and cost");
    cloud.report_ready(&home);
    home.dsctl(&["up", "--yes", "--threads", "4"]).exits(0).says("default is ready");
    let late = home.dsctl(&["up", "--yes", "--threads", "8", "--timeout", "1s"]).exits(9);
    late.says("not ready in time").says("exist and cost").says("next: dsctl status");
    // Programs of another make: the new ones stand beside the old ones until the machine runs with them.
    std::fs::write(home.binaries.join("dsserve"), "dsserve, another").unwrap();
    home.up(&["--threads", "8"]).exits(0).says("artifact.dsserve").says("~ host-spec.main");
    assert_eq!(machines(&cloud), machine, "no new machine for a new program");
    cloud.report_ready(&home);
    home.dsctl(&["up", "--yes", "--threads", "8"]).exits(0).says("default is ready");
    assert_eq!(replaced(&home), Vec::<String>::new());
    cloud.agrees_with(&home, "with the new program");
}

#[test]
fn another_machine_stands_beside_the_old_one_until_it_is_ready() {
    let cloud = Cloud::start();
    let home = cloud.home();
    home.up(&[]).exits(0);
    let old = machines(&cloud);
    let wish = ["--machine-type", "g7e.4xlarge"];
    home.dsctl(&["plan", "--machine-type", "g7e.4xlarge"])
        .exits(0)
        .says("+/-")
        .says("machine.main")
        .says("1 to replace");
    assert_eq!(machines(&cloud), old);
    let up = home.up(&wish).exits(0).says("+/- machine.main").says("What was replaced lives on");
    assert_eq!(machines(&cloud).len(), 2, "{}", up.transcript());
    assert_eq!(replaced(&home), old);
    let new = home.id("machine.main");
    assert!(!old.contains(&new), "{new} took over the state");
    cloud.agrees_with(&home, "while both are alive");
    let cost = home.dsctl(&["status", "--json"]).exits(1).json()["hourly_usd"].as_f64().unwrap();
    assert!(cost > 3.36 + 3.99, "both are paid for: {cost}");
    // It does not go before: not by a second `up` either, nor by one that was interrupted.
    home.up(&wish).exits(0);
    let late = home.dsctl(&["up", "--yes", "--timeout", "1s", wish[0], wish[1]]).exits(9);
    assert_eq!(replaced(&home), old, "{}", late.transcript());
    assert_eq!(machines(&cloud).len(), 2);

    cloud.report_ready(&home);
    home.dsctl(&["up", "--yes", wish[0], wish[1]]).exits(0).says("default is ready").says("endpoint  https://10.77.");
    assert_eq!(machines(&cloud), [new]);
    assert_eq!(replaced(&home), Vec::<String>::new());
    cloud.agrees_with(&home, "with the new one");
    home.up(&[&wish[..], &["--expect-no-changes"]].concat()).exits(0);
}

/// What the old machine reported says nothing of the new one, though both follow the same host spec.
#[test]
fn the_report_of_the_old_machine_is_not_taken_for_the_new_ones() {
    let cloud = Cloud::start();
    let home = cloud.home();
    home.up(&[]).exits(0);
    cloud.report_ready(&home);
    home.dsctl(&["up", "--yes"]).exits(0).says("default is ready");
    let old = machines(&cloud);
    let up = home.up(&["--machine-type", "g7e.4xlarge"]).exits(0).says("+/- machine.main");
    assert!(machines(&cloud).contains(&old[0]), "the serving machine went before its successor\n{}", up.transcript());
}

/// The old API's key lies in the bucket and nowhere else; another one is another revision of it, and no new machine.
#[test]
fn the_old_apis_key_goes_to_the_bucket_and_nowhere_else() {
    const KEYS: [&str; 2] = ["sk-the-first-of-the-old-apis-keys", "sk-the-second-of-the-old-apis-keys"];
    let cloud = Cloud::start();
    let home = cloud.home();
    let path = home.home.write("old-key", KEYS[0]);
    let wish = ["--baseline", "https://api.example.com/v1", "--baseline-key-file", &path];
    let up = home.up(&wish).exits(0).says("+ secret.baseline-key");
    assert_eq!(cloud.object(&home, "secrets/baseline-key").trim(), KEYS[0]);
    let machine = machines(&cloud);
    let account = cloud.account(REGION).to_string();
    let (state, desired) = (home.state().unwrap().to_string(), cloud.desired(&home).to_string());
    let journal = home.home.deployment().state().join("journal");
    let journal: Vec<String> = std::fs::read_dir(journal)
        .unwrap()
        .map(|entry| String::from_utf8_lossy(&std::fs::read(entry.unwrap().path()).unwrap()).into_owned())
        .collect();
    let plan = home.dsctl(&[&["plan", "--json"], &wish[..]].concat()).exits(0).transcript();
    let told = [account, state, desired, journal.concat(), plan, up.transcript()];
    assert!(!told.iter().any(|text| text.contains(KEYS[0])), "the key is told");

    home.home.write("old-key", KEYS[1]);
    cloud.proxy.clear();
    home.up(&wish).exits(0).says("~ secret.baseline-key").says("~ host-spec.main");
    assert_eq!(cloud.changes(), ["PutObject", "PutObject"]);
    assert_eq!(cloud.object(&home, "secrets/baseline-key").trim(), KEYS[1]);
    assert_eq!(machines(&cloud), machine);
    cloud.proxy.clear();
    home.up(&[&wish[..], &["--expect-no-changes"]].concat()).exits(0);
    home.up(&["--baseline", "https://api.example.com/v1", "--baseline-key-file", "/nonexistent"])
        .exits(2)
        .says("key_file");
    cloud.is_untouched("the same key, and none");
    // Without a baseline there is no key of it.
    home.up(&[]).exits(0).says("- secret.baseline-key");
    cloud.agrees_with(&home, "without the key");
}

/// What else could be had today is no reason to touch a deployment that has its machine.
#[test]
fn prices_and_sizes_that_moved_move_nothing_that_is_there() {
    let cloud = Cloud::start();
    let home = cloud.home();
    home.up(&[]).exits(0);
    let machine = machines(&cloud);
    cloud.proxy.clear();
    // From now on it would be the cheapest, and it is offered in more zones.
    cloud.overlay.set_price("g6e.12xlarge", REGION, "1.5000000000");
    home.up(&["--expect-no-changes"]).exits(0).says("No changes");
    cloud.overlay.reset();
    // A smaller context fits on more machines.
    home.up(&["--context", "1024"]).exits(0).says("~ host-spec.main");
    assert_eq!((cloud.changes(), machines(&cloud)), (vec!["PutObject".to_owned()], machine));
}

/// Its image is needed when a machine is made, and not when one is there.
#[test]
fn an_image_that_was_withdrawn_stands_in_nobodys_way() {
    let cloud = Cloud::start();
    let home = cloud.home();
    home.up(&[]).exits(0);
    cloud.call(REGION, ("ec2", "deregister_image"), &json!({"ImageId": IMAGE}));
    home.up(&["--allow", "10.1.0.0/16"]).exits(0).says("~ security-group.machine");
    home.dsctl(&["drift", "--detailed-exitcode"]).exits(0);
}

#[test]
fn what_cannot_change_says_so_and_how_to_get_there() {
    let cloud = Cloud::start();
    let home = cloud.home();
    home.up(&[]).exits(0);
    cloud.proxy.clear();
    home.up(&["--region", "us-east-2"]).exits(2).says("region").says(REGION).says("dsctl down");
    home.up(&["--region", "eu-*"]).exits(2).says("region").says("dsctl down");
    home.up(&["--compliance", "gdpr"]).exits(5).says("gdpr: region");
    home.up(&["--network", "10.80.0.0/16"]).exits(2).says("network.main").says("range can't change").says("dsctl down");
    let words = ["up", "--cloud", "local", "--model", "smollm2-135m", "--yes"];
    home.home.dsctl(&words).exits(2).says("default is on aws").says("dsctl down");
    cloud.is_untouched("what was refused");
    // What was kept says all that a later command needs.
    home.home
        .dsctl(&["up", "--yes", "--no-wait", "--binaries", &home.binaries.display().to_string()])
        .exits(0)
        .says("No changes");
    home.home.dsctl(&["logs"]).exits(2).says("this machine only").says("next: dsctl status");
    cloud.is_untouched("without a change");
}
