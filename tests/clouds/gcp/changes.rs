//! A deployment that is to be another: in place where Google can, beside the old one where it can't, refused where it must be.

use serde_json::json;
use tests::cloud_home::CloudHome;
use tests::gcp::account::things;
use tests::gcp::cloud::Cloud;
use tests::gcp::{PROJECT, REGION};

/// Ids of the machines that are alive.
fn machines(cloud: &Cloud) -> Vec<String> {
    let account = cloud.google.account();
    things(&account, "instances").map(|machine| machine["id"].as_str().unwrap().to_owned()).collect()
}

#[track_caller]
fn replaced(home: &CloudHome) -> Vec<String> {
    let state = home.state().expect("a state");
    let replaced = state["replaced"].as_array().cloned().unwrap_or_default();
    replaced.iter().map(|it| it["resource"]["remote_id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn what_google_changes_in_place_is_changed_by_that_one_call() {
    let cloud = Cloud::start();
    let home = cloud.home();
    home.up(&[]).exits(0);
    let machine = machines(&cloud);

    cloud.proxy.clear();
    home.dsctl(&["plan", "--allow", "10.1.0.0/16"]).exits(0).says("0 to create, 1 to update").says("~ ");
    cloud.is_untouched("the plan of a change");
    let up = home.up(&["--allow", "10.1.0.0/16"]).exits(0).says("~ firewall.gateway");
    assert_eq!(cloud.changes(), ["compute.firewalls.update"], "{}", up.transcript());
    assert_eq!(cloud.bodies("firewalls")[0]["sourceRanges"], json!(["10.1.0.0/16"]));
    home.up(&["--allow", "10.1.0.0/16", "--expect-no-changes"]).exits(0);

    let disk = cloud.bodies("disks")[0].clone();
    let larger = (disk["sizeGb"].as_str().unwrap().parse::<u64>().unwrap() + 50).to_string();
    let wish = ["--allow", "10.1.0.0/16", "--disk", &larger];
    cloud.proxy.clear();
    let up = home.up(&wish).exits(0).says("~ machine.main");
    assert_eq!(cloud.changes(), ["compute.disks.resize"], "{}", up.transcript());
    let grown = cloud.bodies("disks")[0].clone();
    assert_eq!((&grown["sizeGb"], &grown["id"]), (&json!(larger), &disk["id"]));
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
    assert_eq!(cloud.changes(), ["storage.objects.insert"]);
    let after = cloud.desired(&home);
    assert_eq!(after["generation"].as_u64(), before["generation"].as_u64().map(|number| number + 1));
    home.dsctl(&["status"]).exits(1).says("not ready");

    cloud.report_failed(&home, "hub is away");
    let failed = home.dsctl(&["up", "--yes", "--threads", "4"]).exits(4);
    failed.says("weights: ").says("hub is away").says("exist and cost");
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
    cloud.report_ready(&home);
    home.dsctl(&["up", "--yes"]).exits(0).says("default is ready");
    let old = machines(&cloud);
    let wish = ["--machine-type", "a2-ultragpu-2g"];
    let plan = home.dsctl(&["plan", wish[0], wish[1]]).exits(0);
    plan.says("+/-").says("machine.main").says("1 to replace");
    assert_eq!(machines(&cloud), old);
    let up = home.up(&wish).exits(0).says("+/- machine.main").says("What was replaced lives on");
    assert_eq!((machines(&cloud).len(), replaced(&home)), (2, old.clone()), "{}", up.transcript());
    let new = home.id("machine.main");
    assert!(!old.contains(&new), "{new} took over the state");
    cloud.agrees_with(&home, "while both are alive");
    // What the old machine reported says nothing of the new one, though both follow the same host spec.
    let cost = home.dsctl(&["status", "--json"]).exits(1).json()["hourly_usd"].as_f64().unwrap();
    assert!(cost > 4.4 + 10.1, "both are paid for: {cost}");
    // It does not go before: not by a second `up` either, nor by one that was interrupted.
    home.up(&wish).exits(0);
    let late = home.dsctl(&["up", "--yes", "--timeout", "1s", wish[0], wish[1]]).exits(9);
    assert_eq!((machines(&cloud).len(), replaced(&home)), (2, old), "{}", late.transcript());

    cloud.report_ready(&home);
    home.dsctl(&["up", "--yes", wish[0], wish[1]]).exits(0).says("default is ready").says("endpoint  https://10.77.");
    assert_eq!(machines(&cloud), [new]);
    assert_eq!(replaced(&home), Vec::<String>::new());
    cloud.agrees_with(&home, "with the new one");
    home.up(&[&wish[..], &["--expect-no-changes"]].concat()).exits(0);
    home.dsctl(&["down", "--yes"]).exits(0);
    cloud.is_empty("after down");
}

#[test]
fn what_cannot_change_says_so_and_how_to_get_there() {
    let cloud = Cloud::start();
    let home = cloud.home();
    home.up(&[]).exits(0);
    cloud.proxy.clear();
    home.up(&["--region", "europe-west4"]).exits(2).says("region").says(REGION).says("dsctl down");
    home.up(&["--compliance", "gdpr"]).exits(5).says("gdpr: region");
    home.up(&["--network", "10.80.0.0/16"]).exits(2).says("range can't change").says("dsctl down");
    let words = ["up", "--cloud", "local", "--model", "smollm2-135m", "--yes"];
    home.home.dsctl(&words).exits(2).says("default is on gcp").says("dsctl down");
    // In another project everything would seem to be gone.
    cloud.google.add_project("another-project", 415_104_041_263);
    let home = home.variable("GOOGLE_CLOUD_PROJECT", "another-project");
    for words in [&["up", "--yes", "--no-wait"][..], &["down", "--yes"], &["drift"]] {
        home.dsctl(words).exits(3).says("dsctl-tests").says("next: gcloud config set project dsctl-tests");
    }
    cloud.is_untouched("what was refused");
    home.variable("GOOGLE_CLOUD_PROJECT", PROJECT).dsctl(&["down", "--yes"]).exits(0);
    cloud.is_empty("after down");
}
