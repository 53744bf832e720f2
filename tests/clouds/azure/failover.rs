//! Machines that can't be had, in each of the ways in which Azure says so: the next place, the next type, or the end.

use tests::azure::account::only;
use tests::azure::cloud::Cloud;
use tests::azure::{Restriction, Shortage};
use tests::cloud_home::CloudHome;
use tests::process::Outcome;
use tests::proxy::{Fault, Rule};

const SMALL: &str = "Standard_NC48ads_A100_v4";
const MACHINE: &str = "VirtualMachines_CreateOrUpdate";

/// As the plan has them, in their order.
#[track_caller]
fn candidates(home: &CloudHome) -> Vec<String> {
    let report = home.dsctl(&["plan", "--json"]).exits(0).json();
    let candidates = report["cloud"]["candidates"].as_array().unwrap();
    candidates.iter().map(|candidate| candidate.as_str().unwrap().to_owned()).collect()
}

/// Type and zone of the one machine; no zone where Azure was let choose.
#[track_caller]
fn machine(cloud: &Cloud) -> (String, Option<String>) {
    let account = cloud.azure.account();
    let machine = only(&account, "machines");
    let size = machine["properties"]["hardwareProfile"]["vmSize"].as_str().unwrap();
    (size.to_owned(), machine["zones"][0].as_str().map(str::to_owned))
}

fn tries(cloud: &Cloud) -> usize {
    cloud.changes().iter().filter(|call| *call == MACHINE).count()
}

#[track_caller]
fn says_next(outcome: Outcome, count: usize) -> Outcome {
    assert_eq!(outcome.stderr.matches("trying ").count(), count, "{}", outcome.transcript());
    outcome
}

/// First wherever there is room, then zone by zone, then the next type: each time another of Azure's words for it.
#[test]
fn each_word_for_no_room_leads_to_the_next_candidate() {
    let cloud = Cloud::start();
    let home = cloud.home();
    let all = candidates(&home);
    let starts = ["Standard_NC48ads_A100_v4 in eastus,", "Standard_NC48ads_A100_v4 in eastus-1,"];
    for (candidate, start) in all.iter().zip(starts) {
        assert!(candidate.starts_with(start), "{all:?}");
    }
    cloud.azure.set_room(SMALL, None, 0, Shortage::AllocationFailed);
    cloud.azure.set_room(SMALL, Some("1"), 0, Shortage::ZonalAllocationFailed);
    cloud.azure.set_room(SMALL, Some("2"), 0, Shortage::OverconstrainedZonalAllocationRequest);
    let up = says_next(home.up(&[]).exits(0), 3);
    for code in ["(AllocationFailed)", "(ZonalAllocationFailed)", "(OverconstrainedZonalAllocationRequest)"] {
        assert!(up.stderr.contains(code), "{code}\n{}", up.transcript());
    }
    // What Azure began with and did not finish is gone with its disk and its interface.
    let (size, zone) = machine(&cloud);
    assert_ne!(size, SMALL, "{zone:?}");
    cloud.agrees_with(&home, "as the fourth candidate");
    cloud.proxy.clear();
    home.up(&["--expect-no-changes"]).exits(0).says("No changes");
    cloud.is_untouched("where it came to lie it stays");
    home.dsctl(&["down", "--yes"]).exits(0);
    cloud.is_empty("after down");
}

#[test]
fn what_is_refused_at_once_leads_to_the_next_candidate_too() {
    let cloud = Cloud::start();
    let home = cloud.home();
    cloud.azure.set_room(SMALL, None, 0, Shortage::SkuNotAvailable);
    says_next(home.up(&[]).exits(0), 1).says("(SkuNotAvailable)").says("trying Standard_NC48ads_A100_v4 in eastus-1");
    assert_eq!(machine(&cloud), (SMALL.to_owned(), Some("1".to_owned())));
    cloud.agrees_with(&home, "in the first zone");
}

/// Another machine would meet the same limit.
#[test]
fn a_limit_that_shows_only_at_the_machine_ends_it_and_says_what_to_ask_for() {
    let cloud = Cloud::start();
    let home = cloud.home();
    cloud.proxy.arm([Rule::nth(MACHINE, 1, Fault::Quota)]);
    let failed = says_next(home.up(&[]).exits(4), 0).says("(OperationNotAllowed)").says("exceeding approved");
    let failed = failed.says("next: az quota update --resource-name").says("locations/eastus").says("value=24");
    failed.says("resources exist and cost $").says("`dsctl down` removes them");
    assert_eq!(tries(&cloud), 1);
    cloud.agrees_with(&home, "without a machine");
    cloud.proxy.clear();
    home.up(&[]).exits(0).says("1 to create").says("+ machine.main");
    cloud.agrees_with(&home, "when the limit was raised");
}

/// The plan knows what the subscription may not have: no call is made for it.
#[test]
fn zones_that_are_closed_to_the_subscription_are_not_tried() {
    let cloud = Cloud::start();
    let home = cloud.home();
    let closed = Restriction { size: SMALL.to_owned(), region: "eastus".to_owned(), zones: vec!["1".to_owned()] };
    cloud.azure.restrict(closed);
    let all = candidates(&home);
    assert!(!all.iter().any(|it| it.starts_with("Standard_NC48ads_A100_v4 in eastus-1")), "{all:?}");
    assert!(all.iter().any(|it| it.starts_with("Standard_NC48ads_A100_v4 in eastus-2")), "{all:?}");
    cloud.is_untouched("plans");
}
