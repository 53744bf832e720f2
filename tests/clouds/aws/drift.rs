//! Somebody else was in the account: `drift` says what and changes nothing, `up` puts it right.

use serde_json::{Value, json};
use tests::aws::cloud::{Cloud, REGION};
use tests::cloud_home::CloudHome;

/// `drift --json`, which must have asked the cloud for nothing that changes something.
#[track_caller]
fn drift(cloud: &Cloud, home: &CloudHome) -> Vec<Value> {
    cloud.proxy.clear();
    let report = home.dsctl(&["drift", "--detailed-exitcode", "--json"]).exits(2).json();
    cloud.is_untouched("drift");
    report["drift"].as_array().unwrap().clone()
}

/// That an address differs in exactly these keys.
#[track_caller]
fn differs(drift: &[Value], address: &str, keys: &[&str]) {
    let found = drift.iter().find(|it| it["address"] == address).unwrap_or_else(|| panic!("no {address} in {drift:?}"));
    assert_eq!((&found["drift"], &found["keys"]), (&json!("changed"), &json!(keys)), "{found}");
}

#[track_caller]
fn is_right_again(cloud: &Cloud, home: &CloudHome) {
    let up = home.up(&[]).exits(0);
    home.dsctl(&["drift", "--detailed-exitcode"]).exits(0).says("No drift");
    cloud.agrees_with(home, &up.line);
    cloud.proxy.clear();
    home.up(&["--expect-no-changes"]).exits(0);
    cloud.is_untouched("when all is right again");
}

/// All at once: each shows under its own address, and nothing else does.
#[test]
fn what_somebody_changed_is_told_and_put_right() {
    let cloud = Cloud::start();
    let home = cloud.home();
    home.up(&[]).exits(0);
    let (bucket, machine) = (home.id("bucket.main"), home.id("machine.main"));
    let before = cloud.account(REGION);

    let world = json!([{"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]);
    let group = json!({"GroupId": home.id("security-group.machine"), "IpPermissions": world});
    cloud.call(REGION, ("ec2", "authorize_security_group_ingress"), &group);
    cloud.call(REGION, ("s3", "delete_public_access_block"), &json!({"Bucket": bucket}));
    let suspended = json!({"Bucket": bucket, "VersioningConfiguration": {"Status": "Suspended"}});
    cloud.call(REGION, ("s3", "put_bucket_versioning"), &suspended);
    cloud.call(REGION, ("s3", "delete_bucket_policy"), &json!({"Bucket": bucket}));
    let route = json!({"RouteTableId": home.id("route-table.private"), "DestinationCidrBlock": "0.0.0.0/0"});
    cloud.call(REGION, ("ec2", "delete_route"), &route);
    let unguarded = json!({"InstanceId": machine, "DisableApiTermination": {"Value": false}});
    cloud.call(REGION, ("ec2", "modify_instance_attribute"), &unguarded);
    cloud.call(
        REGION,
        ("ec2", "modify_instance_metadata_options"),
        &json!({"InstanceId": machine, "HttpTokens": "optional"}),
    );
    let role = home.id("role.machine");
    let admin = json!({"RoleName": role, "PolicyArn": "arn:aws:iam::aws:policy/AdministratorAccess"});
    cloud.call(REGION, ("iam", "attach_role_policy"), &admin);
    let subnet = json!({"SubnetId": home.id("subnet.private-us-east-1a"), "MapPublicIpOnLaunch": {"Value": true}});
    cloud.call(REGION, ("ec2", "modify_subnet_attribute"), &subnet);

    let found = drift(&cloud, &home);
    differs(&found, "security-group.machine", &["allow"]);
    differs(&found, "bucket.main", &["policy", "public_access_block", "versioning"]);
    differs(&found, "route-table.private", &["default_route"]);
    differs(&found, "machine.main", &["metadata_tokens", "termination_protection"]);
    let addresses: Vec<&str> = found.iter().filter_map(|it| it["address"].as_str()).collect();
    let expected = [
        "bucket.main",
        "machine.main",
        "role.machine",
        "route-table.private",
        "security-group.machine",
        "subnet.private-us-east-1a",
    ];
    assert_eq!(addresses, expected, "{found:?}");
    home.dsctl(&["drift"]).exits(0).says("0.0.0.0/0").says("6 not as it was left").says("dsctl plan");
    home.dsctl(&["drift", "--ignore", "machine.main", "--ignore", "bucket.main.policy"]).exits(0).says("(1 ignored)");
    home.up(&["--expect-no-changes"]).exits(7);
    cloud.is_untouched("none were expected");
    assert_eq!(cloud.account(REGION)["instances"][0]["id"], machine.as_str());

    is_right_again(&cloud, &home);
    let (mut before, mut after) = (before, cloud.account(REGION));
    assert_eq!(after["instances"][0]["metadata"]["HttpTokens"], "required");
    for account in [&mut before, &mut after] {
        // moto forgets the other options when one of them is set.
        account["instances"][0]["metadata"].take();
    }
    for kind in ["instances", "volumes", "subnets", "security_groups", "roles", "buckets", "vpcs", "endpoints"] {
        assert_eq!(after[kind], before[kind], "{kind} is as it was before");
    }
}

#[test]
fn what_somebody_removed_is_told_and_made_again() {
    let cloud = Cloud::start();
    let home = cloud.home();
    home.up(&[]).exits(0);
    let (bucket, machine) = (home.id("bucket.main"), home.id("machine.main"));
    cloud.call(REGION, ("s3", "delete_object"), &json!({"Bucket": bucket, "Key": "secrets/daemon-key"}));
    cloud.call(REGION, ("ec2", "delete_vpc_endpoints"), &json!({"VpcEndpointIds": [home.id("endpoint.s3")]}));
    let unguarded = json!({"InstanceId": machine, "DisableApiTermination": {"Value": false}});
    cloud.call(REGION, ("ec2", "modify_instance_attribute"), &unguarded);
    cloud.call(REGION, ("ec2", "terminate_instances"), &json!({"InstanceIds": [machine]}));

    let found = drift(&cloud, &home);
    let gone: Vec<(&str, &str)> =
        found.iter().map(|it| (it["address"].as_str().unwrap(), it["drift"].as_str().unwrap())).collect();
    assert_eq!(gone, [("endpoint.s3", "gone"), ("machine.main", "gone"), ("secret.daemon-key", "gone")]);
    home.dsctl(&["drift"]).exits(0).says("- machine.main  it is gone");
    home.dsctl(&["plan"]).exits(0).says("3 to create").says("it is gone");
    is_right_again(&cloud, &home);
    assert_ne!(home.id("machine.main"), machine);
    home.dsctl(&["down", "--yes"]).exits(0);
    cloud.is_empty(REGION, "after down");
}

#[test]
fn a_machine_that_was_stopped_is_started() {
    let cloud = Cloud::start();
    let home = cloud.home();
    home.up(&[]).exits(0);
    let machine = home.id("machine.main");
    cloud.call(REGION, ("ec2", "stop_instances"), &json!({"InstanceIds": [machine]}));
    differs(&drift(&cloud, &home), "machine.main", &["state"]);
    is_right_again(&cloud, &home);
    assert_eq!(cloud.account(REGION)["instances"][0]["state"], "running");
    assert_eq!(home.id("machine.main"), machine, "the same machine");
}

/// What a crash may leave: it carries the tags of this very state, which knows nothing of it.
#[test]
fn what_no_record_has_is_told_and_goes_with_the_deployment() {
    let cloud = Cloud::start();
    let home = cloud.home();
    home.up(&[]).exits(0);
    let lineage = home.state().unwrap()["lineage"].as_str().unwrap().to_owned();
    let tags = json!([{"Key": "dsctl:deployment", "Value": "default"}, {"Key": "dsctl:lineage", "Value": lineage},
        {"Key": "dsctl:address", "Value": "elastic-ip.nat"}, {"Key": "dsctl:token", "Value": "feedfeedfeedfeed"}]);
    let specification = json!({"TagSpecifications": [{"ResourceType": "elastic-ip", "Tags": tags}]});
    let address = cloud.call(REGION, ("ec2", "allocate_address"), &specification)["AllocationId"].clone();
    let address = address.as_str().unwrap();
    home.dsctl(&["drift"]).exits(0).says(&format!("? {address}  it carries our tags and is in no record"));
    home.dsctl(&["orphans", "--detailed-exitcode"]).exits(2).says(address);
    home.dsctl(&["down", "--yes"]).exits(0);
    cloud.is_empty(REGION, "after down");
}
