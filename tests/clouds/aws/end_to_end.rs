//! Up, plan, drift, down: and what is in the account then, as Amazon's own client lists it.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tests::aws::account::things;
use tests::aws::cloud::{Cloud, REGION};
use tests::aws::contract;
use tests::aws::overlay::IMAGE;
use tests::cloud_home::CloudHome;

/// More than this EC2 does not take.
const USER_DATA_LIMIT: usize = 16 << 10;
const SECRETS: [&str; 3] = ["admin-token", "api-key", "daemon-key"];

#[test]
fn a_deployment_comes_private_and_encrypted_and_goes_without_a_trace() {
    let cloud = Cloud::start();
    let home = cloud.home();
    let record = home.home.scratch().join("calls.jsonl");
    cloud.proxy.record_to(&record);

    home.dsctl(&["plan"]).exits(0).says("23 to create").says("g7e.2xlarge in us-east-1").says(IMAGE);
    cloud.is_untouched("a plan");
    assert_eq!(home.state(), None, "a plan left a state");
    home.up(&[]).exits(0).says("+ machine.main").says("endpoint  https://10.77.");
    cloud.agrees_with(&home, "after up");
    it_is_as_a_default_deployment_should_be(&cloud.account(REGION), &home);
    no_secret_is_anywhere_but_in_the_bucket(&cloud, &home);

    cloud.proxy.clear();
    home.up(&["--expect-no-changes"]).exits(0).says("No changes");
    home.dsctl(&["drift", "--detailed-exitcode"]).exits(0).says("No drift");
    home.dsctl(&["status"]).exits(1).says("not ready").says("nothing yet");
    home.dsctl(&["orphans", "--cloud", "aws", "--detailed-exitcode"]).exits(0).says("machine");
    cloud.is_untouched("a second up without a change, and looks");
    a_newer_image_moves_nothing(&cloud, &home);

    home.dsctl(&["down", "--yes"]).exits(0).says("it no longer costs $");
    cloud.is_empty(REGION, "after down");
    contract(&record).exits(0);
}

fn it_is_as_a_default_deployment_should_be(account: &Value, home: &CloudHome) {
    its_network_is_private_in_two_zones(account, home);
    one_port_is_open_to_one_range(account, home);
    its_machine_is_guarded(account, home);
    its_bucket_is_private(account, home);
    its_role_may_do_what_it_must_and_no_more(account, home);
    everything_is_marked(account);
}

/// The only one of its kind.
#[track_caller]
fn only<'a>(account: &'a Value, kind: &str) -> &'a Value {
    let all: Vec<&Value> = things(account, kind).collect();
    assert_eq!(all.len(), 1, "{kind}: {all:?}");
    all[0]
}

fn its_network_is_private_in_two_zones(account: &Value, home: &CloudHome) {
    let network = only(account, "vpcs");
    assert_eq!(
        (&network["range"], &network["dns_support"], &network["dns_names"]),
        (&json!("10.77.0.0/16"), &json!(true), &json!(true))
    );
    let private = ["a", "c"].map(|letter| home.id(&format!("subnet.private-{REGION}{letter}")));
    let public = home.id(&format!("subnet.public-{REGION}a"));
    for subnet in things(account, "subnets") {
        assert_eq!(subnet["public"], false, "an address for whoever starts there: {subnet}");
    }
    let zones: BTreeSet<&str> = things(account, "subnets").filter_map(|subnet| subnet["zone"].as_str()).collect();
    assert_eq!(zones.len(), 2, "{zones:?}");
    let table = |name: &str| {
        let id = home.id(&format!("route-table.{name}"));
        things(account, "route_tables").find(|table| table["id"] == id.as_str()).unwrap().clone()
    };
    let route = |table: &Value, gateway: &str| {
        let routes = table["routes"].as_array().unwrap();
        let default = routes.iter().find(|route| route["DestinationCidrBlock"] == "0.0.0.0/0");
        default.map(|route| route[gateway].clone()).unwrap_or_default()
    };
    assert_eq!(route(&table("private"), "NatGatewayId"), home.id("nat-gateway.main"));
    assert_eq!(route(&table("public"), "GatewayId"), home.id("internet-gateway.main"));
    let mut sorted = private.to_vec();
    sorted.sort();
    assert_eq!(table("private")["subnets"], json!(sorted));
    assert_eq!(table("public")["subnets"], json!([public]));
    let nat = only(account, "nat_gateways");
    assert_eq!((&nat["subnet"], &nat["addresses"]), (&json!(public), &json!([home.id("elastic-ip.nat")])));
    let endpoint = only(account, "endpoints");
    assert_eq!((&endpoint["type"], &endpoint["service"]), (&json!("Gateway"), &json!("com.amazonaws.us-east-1.s3")));
    assert_eq!(endpoint["route_tables"].as_array().unwrap().len(), 2, "{endpoint}");
}

fn one_port_is_open_to_one_range(account: &Value, home: &CloudHome) {
    let group = only(account, "security_groups");
    assert_eq!(group["id"], home.id("security-group.machine"));
    let open = json!([{"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "IpRanges": [{"CidrIp": "10.0.0.0/8"}],
        "Ipv6Ranges": [], "PrefixListIds": [], "UserIdGroupPairs": []}]);
    assert_eq!(group["in"], open);
}

fn its_machine_is_guarded(account: &Value, home: &CloudHome) {
    let machine = only(account, "instances");
    let expected = json!({
        "id": home.id("machine.main"), "type": "g7e.2xlarge", "state": "running", "image": IMAGE,
        "subnet": home.id(&format!("subnet.private-{REGION}a")), "zone": format!("{REGION}a"), "lifecycle": null,
        "public_ip": null, "security_groups": [home.id("security-group.machine")], "volumes_end_with_it": true,
        "ebs_optimized": true, "termination_protection": true,
    });
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&machine[field], value, "{field}");
    }
    let metadata = ["HttpTokens", "HttpPutResponseHopLimit", "HttpEndpoint"].map(|field| &machine["metadata"][field]);
    assert_eq!(metadata, [&json!("required"), &json!(1), &json!("enabled")]);
    let profile = machine["profile"].as_str().unwrap();
    assert!(profile.ends_with(&format!("/{}", home.id("instance-profile.machine"))), "{profile}");

    let volume = only(account, "volumes");
    assert_eq!(machine["volumes"], json!([volume["id"]]));
    assert_eq!((&volume["encrypted"], &volume["type"]), (&json!(true), &json!("gp3")));
    let (gib, speed) = (volume["gib"].as_u64().unwrap(), [&volume["iops"], &volume["mib_a_second"]]);
    assert!((100..200).contains(&gib), "{gib} GiB for 70 GB of weights");
    assert_eq!(speed, [&json!(3000), &json!(125)]);
    // The interface of the NAT gateway is AWS' own.
    let own = things(account, "interfaces").find(|it| it["attached_to"] == machine["id"]).unwrap();
    assert_eq!(machine["interfaces"], json!([own["id"]]));
    for marked in [volume, own] {
        assert_eq!(marked["tags"], machine["tags"], "{marked}");
    }
    assert_eq!(machine["client_token"], machine["tags"]["dsctl:token"]);
}

fn its_bucket_is_private(account: &Value, home: &CloudHome) {
    let bucket = only(account, "buckets");
    let name = home.id("bucket.main");
    let all = json!({"BlockPublicAcls": true, "IgnorePublicAcls": true, "BlockPublicPolicy": true,
        "RestrictPublicBuckets": true});
    assert_eq!((&bucket["id"], &bucket["region"]), (&json!(name), &json!(REGION)));
    assert_eq!((&bucket["public_access_block"], &bucket["versioning"]), (&all, &json!("Enabled")));
    assert_eq!(bucket["ownership"], json!([{"ObjectOwnership": "BucketOwnerEnforced"}]));
    let encryption = &bucket["encryption"][0]["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"];
    assert_eq!(encryption, "AES256");
    let arn = format!("arn:aws:s3:::{name}");
    let tls_only = json!([{"Sid": "TlsOnly", "Effect": "Deny", "Principal": "*", "Action": "s3:*",
        "Resource": [arn, format!("{arn}/*")], "Condition": {"Bool": {"aws:SecureTransport": "false"}}}]);
    assert_eq!(bucket["policy"]["Statement"], tls_only);
    assert_eq!((&bucket["unfinished_uploads"], &bucket["versions"]), (&json!([]), &json!(8)), "each is written once");
    let rules = bucket["lifecycle"].as_array().unwrap();
    let expires = rules.iter().filter(|rule| !rule["Expiration"].is_null()).count();
    assert_eq!(expires, 0, "nothing that is in use goes by itself: {rules:?}");
}

fn its_role_may_do_what_it_must_and_no_more(account: &Value, home: &CloudHome) {
    let role = only(account, "roles");
    let under = |prefix: &str| format!("arn:aws:s3:::{}/{prefix}/*", home.id("bucket.main"));
    let allowed = json!([
        {"Sid": "Read", "Effect": "Allow", "Action": "s3:GetObject",
            "Resource": [under("artifacts"), under("host"), under("secrets")]},
        {"Sid": "Report", "Effect": "Allow", "Action": "s3:PutObject", "Resource": under("host")},
    ]);
    assert_eq!(role["policies"]["dsctl"]["Statement"], allowed);
    assert_eq!(role["policies"].as_object().unwrap().len(), 1, "{}", role["policies"]);
    assert_eq!(role["attached"], json!([]));
    let trust = json!([{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}]);
    assert_eq!(role["trust"]["Statement"], trust);
    let profile = only(account, "instance_profiles");
    assert_eq!(
        (&profile["roles"], &profile["id"]),
        (&json!([home.id("role.machine")]), &json!(home.id("instance-profile.machine")))
    );
}

fn everything_is_marked(account: &Value) {
    let kinds = account.as_object().unwrap().iter();
    let things = kinds.flat_map(|(kind, things)| things.as_array().unwrap().iter().map(move |thing| (kind, thing)));
    let of_nat = |thing: &Value| thing["attached_to"] == "interface";
    for (kind, thing) in things.filter(|(_, thing)| !of_nat(thing)) {
        let tags = &thing["tags"];
        assert_eq!(tags["dsctl:deployment"], "default", "{kind} {thing}");
        for tag in ["dsctl:address", "dsctl:token", "dsctl:lineage"] {
            assert!(tags[tag].as_str().is_some_and(|value| !value.is_empty()), "{tag} of {kind} {thing}");
        }
        assert_eq!(tags["dsctl:owner"], "arn:aws:sts::123456789012:user/moto", "{kind} {thing}");
    }
}

/// Not in the first boot's script, the state, the journal, a plan, or the host spec.
fn no_secret_is_anywhere_but_in_the_bucket(cloud: &Cloud, home: &CloudHome) {
    let account = cloud.account(REGION);
    let script = only(&account, "instances")["user_data"].as_str().unwrap().to_owned();
    assert!(script.len() < USER_DATA_LIMIT, "{} bytes of user data", script.len());
    assert!(!script.contains('@'), "a placeholder was left: {script}");
    let state = home.home.deployment().state();
    let journal = std::fs::read_dir(state.join("journal")).unwrap().map(|entry| entry.unwrap().path());
    let files = journal.chain([state.join("state.json"), home.home.deployment().spec_file()]);
    let texts = files.map(|path| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned());
    let plan = home.dsctl(&["plan", "--json"]).exits(0).stdout;
    let texts: Vec<String> = texts.chain([script, plan, cloud.desired(home).to_string()]).collect();
    for name in SECRETS {
        let secret = cloud.object(home, &format!("secrets/{name}"));
        let secret = secret.trim();
        assert!(secret.strip_prefix("dsk-").is_some_and(|hex| hex.len() == 64), "{name} is short");
        assert!(!texts.iter().any(|text| text.contains(secret)), "{name} is told");
    }
    assert!(cloud.object(home, "secrets/tls-ca").contains("PRIVATE KEY"), "the authority has one");
    assert!(!texts.iter().any(|text| text.contains("dsk-") || text.contains("PRIVATE KEY")), "a secret is told");
}

/// What was booted stays: tomorrow's image is no reason for another machine.
fn a_newer_image_moves_nothing(cloud: &Cloud, home: &CloudHome) {
    cloud.overlay.set_image(Some("ami-0fedcba9876543210"));
    home.up(&["--expect-no-changes"]).exits(0).says("No changes").says(IMAGE);
    cloud.is_untouched("a newer image");
}
