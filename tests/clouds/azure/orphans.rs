//! What carries dsctl's tags and nobody here knows of, in whatever region.

use reqwest::Method;
use serde_json::{Value, json};
use tests::azure::SUBSCRIPTION;
use tests::azure::cloud::Cloud;

const ELSEWHERE: &str = "swedencentral";
const ORPHANS: [&str; 4] = ["orphans", "--cloud", "azure", "--detailed-exitcode"];

/// Of a record that went with somebody's laptop.
fn tags(address: &str) -> Value {
    json!({"dsctl-deployment": "lost", "dsctl-address": address, "dsctl-token": "feedfeedfeedfeed",
        "dsctl-lineage": "beefbeefbeefbeef", "dsctl-owner": "jill@example.org"})
}

/// That nothing is seen there does not say that nothing is there.
#[test]
fn a_subscription_that_is_not_there_for_the_caller_is_no_empty_one() {
    let cloud = Cloud::start();
    let home = cloud.home().variable("AZURE_SUBSCRIPTION_ID", "0d5c71aa-0000-4000-8000-00000000000b");
    home.dsctl(&ORPHANS[..3]).exits(3).says("SubscriptionNotFound").says("az account set");
}

#[test]
fn every_region_is_swept_and_ones_own_are_known() {
    let cloud = Cloud::start();
    let home = cloud.home();
    home.dsctl(&ORPHANS).exits(0).says("Nothing carries dsctl's tags.");
    home.up(&[]).exits(0);
    let rows = home.dsctl(&[&ORPHANS[..], &["--json"]].concat()).exits(0).json();
    let rows = rows.as_array().unwrap().clone();
    assert!(rows.iter().all(|row| row["known_here"] == true), "{rows:?}");
    let kinds: Vec<&str> = rows.iter().filter_map(|row| row["kind"].as_str()).collect();
    for kind in ["machine", "network", "nat-gateway", "public-address", "storage", "identity", "access", "group"] {
        assert!(kinds.contains(&kind), "no {kind} in {kinds:?}");
    }

    let group = format!("/subscriptions/{SUBSCRIPTION}/resourceGroups/dsctl-lost-beefbeef");
    let disk = format!("{group}/providers/Microsoft.Compute/disks/main-feed00");
    let made = [
        (&group, "2025-04-01", json!({"location": ELSEWHERE, "tags": tags("group.main")})),
        // Azure makes a machine's disk without tags: a crash may leave it so.
        (
            &disk,
            "2025-01-02",
            json!({"location": ELSEWHERE, "sku": {"name": "Premium_LRS"},
            "properties": {"diskSizeGB": 100, "creationData": {"createOption": "Empty"}}}),
        ),
    ];
    for (id, version, body) in made {
        let answer = cloud.azure.somebody(Method::PUT, &format!("{id}?api-version={version}"), Some(&body));
        assert!((200..300).contains(&answer.status), "{answer:?}");
    }
    cloud.proxy.clear();
    let known = "2 not known to a deployment on this machine";
    home.dsctl(&["orphans", "--cloud", "azure"]).exits(0).says("main-feed00").says(ELSEWHERE).says(known);
    let rows = home.dsctl(&[&ORPHANS[..], &["--json"]].concat()).exits(2).json();
    cloud.is_untouched("orphans");
    let is_it = |row: &&Value| row["owned"]["remote_id"].as_str().is_some_and(|id| id.eq_ignore_ascii_case(&disk));
    let row = rows.as_array().unwrap().iter().find(is_it).unwrap();
    let expected = json!({"region": ELSEWHERE, "deployment": "lost", "detail": "100 GiB", "owner": "jill@example.org",
        "known_here": false});
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&row[field], value, "{field} of {row}");
    }

    // Another lineage: not this deployment's, so neither its drift nor its `down` is stopped by them.
    home.dsctl(&["drift", "--detailed-exitcode"]).exits(0).says("No drift");
    home.dsctl(&["down", "--yes"]).exits(0);
    home.dsctl(&ORPHANS).exits(2).says("main-feed00");
}
