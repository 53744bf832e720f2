//! Machines that can't be had on Google Cloud, which says so when the operation ends; and what else it says of a call that came to nothing.

use tests::cloud_home::CloudHome;
use tests::gcp::cloud::Cloud;
use tests::gcp::{Failure, PROJECT};
use tests::proxy::{Fault, Rule};

const INSERT: &str = "compute.instances.insert";

/// Type and zone of the one machine.
#[track_caller]
fn machine(cloud: &Cloud) -> (String, String) {
    let machines = cloud.bodies("instances");
    assert_eq!(machines.len(), 1, "{machines:?}");
    let last = |field: &str| machines[0][field].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    (last("machineType"), last("zone"))
}

fn at(machine_type: &str, zone: &str) -> (String, String) {
    (machine_type.to_owned(), zone.to_owned())
}

/// As the plan has them, in their order.
#[track_caller]
fn candidates(home: &CloudHome) -> Vec<String> {
    let report = home.dsctl(&["plan", "--json"]).exits(0).json();
    let candidates = report["cloud"]["candidates"].as_array().unwrap();
    candidates.iter().map(|candidate| candidate.as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_next_zone_is_tried_and_then_the_next_type() {
    let cloud = Cloud::start();
    let home = cloud.home();
    let candidates = candidates(&home);
    let starts =
        ["g4-standard-48 in us-central1-b", "g4-standard-48 in us-central1-f", "g2-standard-96 in us-central1-a"];
    for (candidate, start) in candidates.iter().zip(starts) {
        assert!(candidate.starts_with(start), "{candidates:?}");
    }
    // There is none left, as long as it takes.
    cloud.google.set_capacity("us-central1-b", "g4-standard-48", Some(0));
    let up =
        home.up(&[]).exits(0).says("does not have enough resources").says("trying g4-standard-48 in us-central1-f");
    assert_eq!(up.stderr.matches("trying").count(), 1, "{}", up.transcript());
    assert_eq!(machine(&cloud), at("g4-standard-48", "us-central1-f"));
    cloud.agrees_with(&home, "in the second zone");
    cloud.google.set_capacity("us-central1-b", "g4-standard-48", None);
    cloud.proxy.clear();
    home.up(&["--expect-no-changes"]).exits(0).says("No changes");
    cloud.is_untouched("where it came to lie it stays");
    home.dsctl(&["down", "--yes"]).exits(0);

    let said = [
        Failure::exhausted_with_details(PROJECT, "us-central1-b"),
        Failure::new("STOCKOUT", 503, "The zone has none of them. (state:STOCKOUT)"),
        Failure::exhausted(PROJECT, "us-central1-a"),
    ];
    said.into_iter().for_each(|failure| cloud.google.fail_operations(INSERT, 1, failure));
    let up = home.up(&[]).exits(0).says("trying g4-standard-48 in us-central1-f");
    up.says("trying g2-standard-96 in us-central1-a").says("trying g2-standard-96 in us-central1-b");
    assert_eq!(machine(&cloud), at("g2-standard-96", "us-central1-b"));
    cloud.agrees_with(&home, "as the second type");
    let costs = home.dsctl(&["status", "--json"]).json();
    assert!(costs["hourly_usd"].as_f64().unwrap() > 8.0, "the price of what came, not of what was wished: {costs}");
}

#[test]
fn a_zone_that_is_down_or_does_not_offer_the_type_is_not_tried() {
    let cloud = Cloud::start();
    let home = cloud.home();
    cloud.google.take_zone_down("us-central1-b");
    cloud.google.withdraw_machine_type("g2-standard-96", "us-central1-a");
    let candidates = candidates(&home);
    for (candidate, start) in
        candidates.iter().zip(["g4-standard-48 in us-central1-f", "g2-standard-96 in us-central1-c"])
    {
        assert!(candidate.starts_with(start), "{candidates:?}");
    }
    let is_out = |it: &String| it.contains("us-central1-b") || it.starts_with("g2-standard-96 in us-central1-a");
    assert!(!candidates.iter().any(is_out), "{candidates:?}");
    let up = home.up(&[]).exits(0);
    assert!(!up.stderr.contains("trying"), "{}", up.transcript());
    assert_eq!(machine(&cloud), at("g4-standard-48", "us-central1-f"));
}

/// It may have happened: Google is looked into, and the machine is there once.
#[test]
fn an_operation_that_breaks_at_googles_is_looked_into_and_begun_again() {
    let cloud = Cloud::start();
    let home = cloud.home();
    cloud.google.fail_operations(INSERT, 1, Failure::internal());
    let up = home.up(&[]);
    if up.code != 0 {
        home.up(&[]).exits(0).says("+ machine.main");
    }
    assert_eq!(machine(&cloud), at("g4-standard-48", "us-central1-b"));
    cloud.agrees_with(&home, "after an internal error");
}

/// Of looks Google says so by a 403, which is no lack of rights.
#[test]
fn who_looks_too_often_waits_and_looks_again() {
    let cloud = Cloud::start();
    let home = cloud.home();
    let hasty = |method: &str| Rule::nth(method, 1, Fault::Throttle { times: 2 });
    cloud.proxy.arm(["compute.regions.get", "compute.networks.get", "storage.buckets.get"].map(hasty));
    let up = home.up(&[]).exits(0);
    assert!(!up.stderr.contains("could not be asked"), "{}", up.transcript());
    for method in ["compute.regions.get", "compute.networks.get", "storage.buckets.get"] {
        let refused =
            cloud.proxy.calls().into_iter().filter(|call| call.operation == method && call.status == Some(403));
        assert_eq!(refused.count(), 2, "{method}");
    }
    cloud.agrees_with(&home, "after some patience");
}

#[test]
fn whoever_may_not_make_it_is_told_what_and_what_there_is() {
    let cloud = Cloud::start();
    let home = cloud.home();
    cloud.proxy.arm([Rule::nth("compute.networks.insert", 1, Fault::Denied)]);
    let denied = home.up(&[]).exits(3).says("network.main").says("Required permission is missing");
    let denied = denied.says("next: gcloud auth list");
    assert!(!denied.stderr.contains("✗ network.main: \n"), "{}", denied.transcript());
    cloud.agrees_with(&home, "without a network");
    home.dsctl(&["down", "--yes"]).exits(0);
    cloud.is_empty("after down");
}
