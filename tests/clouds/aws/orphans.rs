//! What carries dsctl's tags and nobody here knows of, in whatever region.

use serde_json::{Value, json};
use tests::aws::cloud::{Cloud, REGION};
use tests::aws::overlay::IMAGE;

const ELSEWHERE: &str = "ap-southeast-2";

fn tags(deployment: &str) -> Value {
    let tags = [
        ("dsctl:deployment", deployment),
        ("dsctl:address", "machine.main"),
        ("dsctl:token", "feedfeedfeedfeed"),
        ("dsctl:lineage", "beefbeefbeefbeef"),
        ("dsctl:owner", "arn:aws:iam::123456789012:user/jill"),
    ];
    let tags: Vec<Value> = tags.iter().map(|(key, value)| json!({"Key": key, "Value": value})).collect();
    json!(tags)
}

#[test]
fn every_region_is_swept_and_ones_own_are_known() {
    let cloud = Cloud::start();
    let home = cloud.home();
    home.dsctl(&["orphans", "--cloud", "aws", "--detailed-exitcode"]).exits(0).says("Nothing carries dsctl's tags.");
    // The home has credentials of one cloud only: half a look is no all-clear.
    if cfg!(all(feature = "gcp", feature = "azure")) {
        let looked = home.dsctl(&["orphans", "--detailed-exitcode"]).exits(1).says("Nothing carries dsctl's tags.");
        looked.says("gcp was not looked through").says("azure was not looked through").says("--cloud NAME");
    }
    home.up(&[]).exits(0);
    let rows = home.dsctl(&["orphans", "--cloud", "aws", "--json", "--detailed-exitcode"]).exits(0).json();
    let rows = rows.as_array().unwrap().clone();
    assert!(rows.iter().all(|row| row["known_here"] == true), "{rows:?}");
    let kinds: Vec<&str> = rows.iter().filter_map(|row| row["kind"].as_str()).collect();
    for kind in ["machine", "network", "subnet", "nat-gateway", "elastic-ip", "bucket", "role", "instance-profile"] {
        assert!(kinds.contains(&kind), "no {kind} in {kinds:?}");
    }

    // Somebody's machine in another region, whose record went with their laptop.
    let machine = json!({"ImageId": IMAGE, "InstanceType": "g4dn.xlarge", "MinCount": 1, "MaxCount": 1,
        "TagSpecifications": [{"ResourceType": "instance", "Tags": tags("lost")}]});
    let made = cloud.call(ELSEWHERE, ("ec2", "run_instances"), &machine);
    let id = made["Instances"][0]["InstanceId"].as_str().unwrap().to_owned();
    let volume = json!({"AvailabilityZone": format!("{REGION}b"), "Size": 100,
        "TagSpecifications": [{"ResourceType": "volume", "Tags": tags("default")}]});
    let volume = cloud.call(REGION, ("ec2", "create_volume"), &volume)["VolumeId"].as_str().unwrap().to_owned();

    cloud.proxy.clear();
    home.dsctl(&["orphans", "--cloud", "aws"])
        .exits(0)
        .says(&id)
        .says(ELSEWHERE)
        .says("2 not known to a deployment on this machine");
    let rows = home.dsctl(&["orphans", "--cloud", "aws", "--json", "--detailed-exitcode"]).exits(2).json();
    cloud.is_untouched("orphans");
    let find = |id: &str| rows.as_array().unwrap().iter().find(|row| row["owned"]["remote_id"] == id).unwrap().clone();
    let row = find(&id);
    let expected = json!({"region": ELSEWHERE, "deployment": "lost", "kind": "machine", "detail": "g4dn.xlarge",
        "owner": "arn:aws:iam::123456789012:user/jill", "known_here": false});
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&row[field], value, "{field} of {row}");
    }
    let row = find(&volume);
    assert_eq!((&row["kind"], &row["detail"], &row["region"]), (&json!("volume"), &json!("100 GiB"), &json!(REGION)));
    let regions = cloud.proxy.calls().into_iter().filter(|call| call.operation == "DescribeInstances");
    let regions: std::collections::BTreeSet<String> = regions.map(|call| call.region).collect();
    assert!(regions.len() > 10, "{regions:?}");

    // Another lineage: not this deployment's, so neither its drift nor its `down` is stopped by them.
    home.dsctl(&["drift", "--detailed-exitcode"]).exits(0).says("No drift");
    home.dsctl(&["down", "--yes"]).exits(0);
    home.dsctl(&["orphans", "--detailed-exitcode"]).exits(2).says(&id).says(&volume);
}
