//! Machines that can't be had: the next zone, the next type, and when it is over what there is and what it costs.

use tests::aws::account::things;
use tests::aws::cloud::{Cloud, REGION};
use tests::cloud_home::CloudHome;
use tests::proxy::{Fault, Rule};

fn no_capacity(attempts: std::ops::RangeInclusive<u64>) -> impl Iterator<Item = Rule> {
    attempts.map(|nth| Rule::nth("RunInstances", nth, Fault::Capacity))
}

/// Type and zone of the one machine.
#[track_caller]
fn machine(cloud: &Cloud) -> (String, String) {
    let account = cloud.account(REGION);
    let machines: Vec<_> = things(&account, "instances").collect();
    assert_eq!(machines.len(), 1, "{machines:?}");
    let text = |field: &str| machines[0][field].as_str().unwrap().to_owned();
    (text("type"), text("zone"))
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
    let starts = ["g7e.2xlarge in us-east-1a", "g7e.2xlarge in us-east-1c", "g7e.4xlarge in us-east-1a"];
    for (candidate, start) in candidates.iter().zip(starts) {
        assert!(candidate.starts_with(start), "{candidates:?}");
    }
    cloud.proxy.arm(no_capacity(1..=1));
    let up = home.up(&[]).exits(0).says("InsufficientInstanceCapacity").says("trying g7e.2xlarge in us-east-1c");
    assert_eq!(up.stderr.matches("trying").count(), 1, "{}", up.transcript());
    assert_eq!(machine(&cloud), ("g7e.2xlarge".to_owned(), "us-east-1c".to_owned()));
    cloud.agrees_with(&home, "in the second zone");
    cloud.proxy.clear();
    home.up(&["--expect-no-changes"]).exits(0).says("No changes");
    cloud.is_untouched("where it came to lie it stays");
    home.dsctl(&["down", "--yes"]).exits(0);

    cloud.proxy.clear();
    cloud.proxy.arm(no_capacity(1..=2));
    home.up(&[]).exits(0).says("trying g7e.2xlarge in us-east-1c").says("trying g7e.4xlarge in us-east-1a");
    assert_eq!(machine(&cloud), ("g7e.4xlarge".to_owned(), "us-east-1a".to_owned()));
    cloud.agrees_with(&home, "as the second type");
    let costs = home.dsctl(&["status", "--json"]).json();
    assert!(costs["hourly_usd"].as_f64().unwrap() > 3.998, "the price of what came, not of what was wished: {costs}");
}

#[test]
fn when_nothing_can_be_had_each_attempt_is_listed_and_the_next_up_goes_on() {
    let cloud = Cloud::start();
    let home = cloud.home();
    let count = candidates(&home).len() as u64;
    cloud.proxy.arm(no_capacity(1..=count));
    let failed = home.up(&[]).exits(4).says(&format!("none of {count} candidates could be had"));
    let failed = failed.says("resources exist and cost $").says("an hour").says("dsctl down");
    let attempts = failed.stderr.lines().filter(|line| line.contains("sufficient capacity")).count() as u64;
    assert!(attempts >= count, "{attempts} of {count} attempts are told\n{}", failed.transcript());
    assert!(failed.stderr.contains("next: "), "{}", failed.transcript());
    assert_eq!(cloud.proxy.waiting(), [], "an attempt was not made");
    cloud.agrees_with(&home, "without a machine");

    cloud.proxy.clear();
    home.up(&[]).exits(0).says("1 to create").says("+ machine.main");
    cloud.agrees_with(&home, "after the second up");
}

#[test]
fn a_limit_of_the_account_is_no_lack_of_capacity() {
    let cloud = Cloud::start();
    let home = cloud.home();
    cloud.proxy.arm([Rule::nth("RunInstances", 1, Fault::Quota)]);
    let failed = home.up(&[]).exits(4).says("VcpuLimitExceeded").says("vCPU limit").says("next: dsctl plan");
    let failed = failed.says("resources exist and cost $").says("`dsctl down` removes them");
    assert!(!failed.stderr.contains("trying"), "another machine was tried\n{}", failed.transcript());
    assert_eq!(cloud.changes().iter().filter(|call| *call == "RunInstances").count(), 1);
    cloud.agrees_with(&home, "without a machine");
    home.up(&[]).exits(0).says("+ machine.main");
    cloud.agrees_with(&home, "when the limit was raised");
}

#[test]
fn whoever_may_not_make_it_is_told_what_and_what_there_is() {
    let cloud = Cloud::start();
    let home = cloud.home();
    cloud.proxy.arm([Rule::nth("CreateVpc", 1, Fault::Denied)]);
    let denied = home.up(&[]).exits(3).says("network.main").says("UnauthorizedOperation");
    let denied = denied.says("next: aws sts get-caller-identity");
    assert!(!denied.stderr.contains("✗ network.main: \n"), "{}", denied.transcript());
    cloud.agrees_with(&home, "without a network");
    home.dsctl(&["down", "--yes"]).exits(0);
    cloud.is_empty(REGION, "after down");
}
