//! A deployment that is to be another: in place where Azure can, beside the old one where it can't, refused where it must be.

use serde_json::{Value, json};
use tests::azure::account::{only, things};
use tests::azure::cloud::Cloud;

/// Ids of the machines that are alive, as a state has them.
fn machines(cloud: &Cloud) -> Vec<String> {
    let account = cloud.azure.account();
    let mut ids: Vec<String> =
        things(&account, "machines").map(|machine| machine["id"].as_str().unwrap().to_lowercase()).collect();
    ids.sort();
    ids
}

fn disk(account: &Value) -> u64 {
    only(account, "disks")["properties"]["diskSizeGB"].as_u64().unwrap()
}

#[test]
fn what_azure_changes_in_place_is_changed_by_that_one_call() {
    let cloud = Cloud::start();
    let home = cloud.home();
    home.up(&[]).exits(0);
    let machine = machines(&cloud);
    cloud.proxy.clear();
    home.dsctl(&["plan", "--allow", "10.1.0.0/16"]).exits(0).says("0 to create, 1 to update").says("~ ");
    cloud.is_untouched("the plan of a change");
    let narrow = ["--allow", "10.1.0.0/16"];
    let up = home.up(&narrow).exits(0).says("~ security-group.machine");
    assert_eq!(cloud.changes(), ["NetworkSecurityGroups_CreateOrUpdate"], "{}", up.transcript());
    // One within the other is one to Azure.
    cloud.proxy.clear();
    let narrow = ["--allow", "10.1.0.0/16,10.1.7.0/24,10.2.0.0/16"];
    home.up(&narrow).exits(0).says("~ security-group.machine");
    let rules = only(&cloud.azure.account(), "security_groups")["properties"]["securityRules"].clone();
    assert_eq!(rules[0]["properties"]["sourceAddressPrefixes"], json!(["10.1.0.0/16", "10.2.0.0/16"]), "{rules}");
    // Microsoft withdraws old images; a machine that runs goes on without.
    cloud.azure.set_image_versions(&[]);
    cloud.proxy.clear();
    let up = home.up(&[&narrow[..], &["--threads", "4"]].concat()).exits(0).says("~ host-spec.main");
    assert_eq!(cloud.changes(), ["BlockBlob_Upload"], "{}", up.transcript());
    cloud.proxy.clear();
    home.up(&[&narrow[..], &["--threads", "4", "--expect-no-changes"]].concat()).exits(0);
    cloud.is_untouched("a second up");
    assert_eq!(machines(&cloud), machine, "it is the same machine");
    cloud.agrees_with(&home, "after all changes");
}

/// A disk of Azure grows only while its machine stands still: with another disk it is another machine.
#[test]
fn another_machine_stands_beside_the_old_one_until_it_is_ready() {
    let cloud = Cloud::start();
    let home = cloud.home();
    home.up(&[]).exits(0);
    let (old, before) = (machines(&cloud), disk(&cloud.azure.account()));
    let larger = (before + 50).to_string();
    let wish = ["--disk", larger.as_str()];
    home.dsctl(&["plan", wish[0], wish[1]]).exits(0).says("+/-").says("machine.main").says("1 to replace");
    home.up(&wish).exits(0).says("+/- machine.main").says("What was replaced lives on");
    assert_eq!((machines(&cloud).len(), things(&cloud.azure.account(), "locks").count()), (2, 2));
    let new = home.id("machine.main").to_lowercase();
    assert!(!old.contains(&new), "{new} took over the state");
    cloud.agrees_with(&home, "while both are alive");
    let cost = home.dsctl(&["status", "--json"]).exits(1).json()["hourly_usd"].as_f64().unwrap();
    assert!(cost > 7.34 * 2.0, "both are paid for: {cost}");

    cloud.report_ready(&home);
    home.dsctl(&["up", "--yes", wish[0], wish[1]]).exits(0).says("default is ready");
    assert_eq!(machines(&cloud), [new]);
    let account = cloud.azure.account();
    assert_eq!((disk(&account), things(&account, "interfaces").count()), (before + 50, 1));
    cloud.agrees_with(&home, "with the new one");
    home.up(&[&wish[..], &["--expect-no-changes"]].concat()).exits(0);
}

#[test]
fn what_cannot_change_says_so_and_how_to_get_there() {
    let cloud = Cloud::start();
    let home = cloud.home();
    home.up(&[]).exits(0);
    cloud.proxy.clear();
    home.up(&["--region", "swedencentral"]).exits(2).says("region").says("eastus").says("dsctl down");
    home.up(&["--compliance", "gdpr"]).exits(5).says("gdpr: region");
    home.up(&["--network", "10.80.0.0/16"]).exits(2).says("network.main").says("range can't change").says("dsctl down");
    let closed = ["--egress", "endpoints", "--weights", "az://models/r1/70b-q8.gguf"];
    home.up(&closed).exits(2).says("network.main").says("nat_gateway can't go").says("dsctl down");
    let open = ["--public", "--allow", "203.0.113.0/24", "--tls", "elsewhere"];
    home.up(&open).exits(2).says("network.main").says("nat_gateway can't go").says("dsctl down");
    cloud.is_untouched("what was refused");
    home.up(&["--expect-no-changes"]).exits(0).says("No changes");
}
