//! Deployments on AWS that are not the default one: other ways out, in the open, on the spot market, under rules.

use serde_json::{Value, json};
use tests::aws::account::things;
use tests::aws::cloud::{Cloud, REGION};
use tests::aws::contract;
use tests::aws::overlay::{spot_prices, zone_offerings};
use tests::cloud_home::CloudHome;
use tests::proxy::{Fault, Rule};

/// Six years with their leap days.
const AUDIT_DAYS: u64 = 2192;

fn ids(account: &Value, kind: &str) -> Vec<String> {
    things(account, kind).map(|thing| thing["id"].as_str().unwrap().to_owned()).collect()
}

#[track_caller]
fn machine(account: &Value) -> &Value {
    let machines: Vec<&Value> = things(account, "instances").collect();
    assert_eq!(machines.len(), 1, "{machines:?}");
    machines[0]
}

/// Nothing changes on a second look, and nothing is left in the end.
#[track_caller]
fn stays_and_goes(cloud: &Cloud, home: &CloudHome, wish: &[&str]) {
    cloud.agrees_with(home, "after up");
    home.dsctl(&["drift", "--detailed-exitcode"]).exits(0).says("No drift");
    cloud.proxy.clear();
    home.up(&[wish, &["--expect-no-changes"]].concat()).exits(0).says("No changes");
    cloud.is_untouched("a second up");
    home.dsctl(&["down", "--yes"]).exits(0).says("it no longer costs $");
    cloud.is_empty(&home.region, "after down");
}

#[test]
fn with_endpoints_only_there_is_no_way_to_the_internet() {
    let cloud = Cloud::start();
    let home = cloud.home();
    let record = home.home.scratch().join("calls.jsonl");
    cloud.proxy.record_to(&record);
    let wish = ["--egress", "endpoints", "--weights", "s3://models/r1/70b-q8.gguf"];
    home.up(&wish).exits(0);
    let account = cloud.account(REGION);
    for kind in ["internet_gateways", "nat_gateways", "addresses"] {
        assert_eq!(ids(&account, kind), Vec::<String>::new(), "{kind}");
    }
    let services: Vec<&str> = things(&account, "endpoints").filter_map(|it| it["service"].as_str()).collect();
    for service in ["s3", "ssm", "ssmmessages", "ec2messages"] {
        assert!(services.contains(&format!("com.amazonaws.{REGION}.{service}").as_str()), "{services:?}");
    }
    for endpoint in things(&account, "endpoints").filter(|it| it["type"] == "Interface") {
        assert_eq!(endpoint["security_groups"], json!([home.id("security-group.endpoints")]), "{endpoint}");
        assert_eq!(endpoint["subnets"].as_array().unwrap().len(), 2, "{endpoint}");
        assert_eq!(endpoint["private_dns"], true, "{endpoint}");
    }
    let group = home.id("security-group.endpoints");
    let group = things(&account, "security_groups").find(|it| it["id"] == group.as_str()).unwrap();
    assert_eq!(group["in"][0]["IpRanges"], json!([{"CidrIp": "10.77.0.0/16"}]));
    let mut routes = things(&account, "route_tables").flat_map(|table| table["routes"].as_array().unwrap());
    assert!(!routes.any(|route| route["DestinationCidrBlock"] == "0.0.0.0/0"), "a way out");
    assert_eq!(machine(&account)["public_ip"], Value::Null);
    stays_and_goes(&cloud, &home, &wish);
    contract(&record).exits(0);
}

/// They are the user's, in a bucket of theirs: the role is made anew with each deployment, so nobody else can let it in.
#[test]
fn the_machine_may_read_weights_that_lie_in_a_bucket() {
    let cloud = Cloud::start();
    let home = cloud.home();
    home.up(&["--weights", "s3://models/r1/70b-q8.gguf"]).exits(0);
    let policy = things(&cloud.account(REGION), "roles").next().unwrap()["policies"]["dsctl"].to_string();
    assert!(policy.contains("arn:aws:s3:::models/r1/70b-q8.gguf"), "the machine can't read its weights: {policy}");
}

#[test]
fn in_the_open_it_has_an_address_and_only_the_named_get_in() {
    let cloud = Cloud::start();
    let home = cloud.home();
    let wish = ["--public", "--allow", "203.0.113.0/24,198.51.100.7/32", "--port", "8443", "--tls", "elsewhere"];
    home.up(&wish).exits(0).says(":8443/v1");
    let account = cloud.account(REGION);
    let machine = machine(&account);
    assert!(machine["public_ip"].is_string(), "{machine}");
    assert_eq!(machine["metadata"]["HttpTokens"], "required");
    for kind in ["nat_gateways", "addresses"] {
        assert_eq!(ids(&account, kind), Vec::<String>::new(), "{kind}");
    }
    let group = things(&account, "security_groups").next().unwrap();
    assert_eq!((&group["in"][0]["FromPort"], &group["in"][0]["ToPort"]), (&json!(8443), &json!(8443)));
    let mut ranges: Vec<&str> =
        group["in"][0]["IpRanges"].as_array().unwrap().iter().filter_map(|range| range["CidrIp"].as_str()).collect();
    ranges.sort_unstable();
    assert_eq!((ranges, group["in"].as_array().unwrap().len()), (vec!["198.51.100.7/32", "203.0.113.0/24"], 1));
    stays_and_goes(&cloud, &home, &wish);
}

#[test]
fn on_the_spot_market_it_is_priced_zone_by_zone_and_ended_with_its_request() {
    let cloud = Cloud::start();
    let home = cloud.home();
    let record = home.home.scratch().join("calls.jsonl");
    cloud.proxy.record_to(&record);
    let prices = [("g6e.12xlarge", "us-east-1b", "3.1000000000"), ("g6e.12xlarge", "us-east-1d", "2.9000000000")];
    cloud.proxy.answer_with("DescribeSpotPriceHistory", spot_prices(&prices));
    let wish = ["--spot", "--machine-type", "g6e.12xlarge"];
    let plan = home.dsctl(&["plan", "--json", wish[0], wish[1], wish[2]]).exits(0).json();
    let candidates: Vec<&str> =
        plan["cloud"]["candidates"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(candidates[0].starts_with("g6e.12xlarge in us-east-1d, spot, $2.90/h"), "{candidates:?}");
    assert!(candidates[1].starts_with("g6e.12xlarge in us-east-1b, spot, $3.10/h"), "{candidates:?}");
    assert_eq!(plan["cloud"]["quota"]["code"], "L-3819A6DF");
    cloud.proxy.arm([Rule::nth("RunInstances", 1, Fault::Capacity)]);
    home.up(&wish).exits(0).says("trying g6e.12xlarge in us-east-1b, spot");
    let account = cloud.account(REGION);
    let machine = machine(&account);
    assert_eq!((&machine["lifecycle"], &machine["zone"]), (&json!("spot"), &json!("us-east-1b")));
    let is_protected = machine["termination_protection"] == true;
    let paid = home.dsctl(&["status", "--json"]).exits(1).json()["hourly_usd"].as_f64().unwrap();
    assert!((3.1..3.3).contains(&paid), "{paid}");
    stays_and_goes(&cloud, &home, &wish);
    assert_eq!(ids(&cloud.account(REGION), "spot_requests"), Vec::<String>::new());
    contract(&record).exits(0);
    assert!(!is_protected, "AWS refuses to protect a machine of the spot market");
}

#[test]
fn under_hipaa_every_access_is_logged_and_the_records_outlive_the_deployment() {
    let cloud = Cloud::start();
    // G6e is nothing that moto has there.
    cloud.proxy.answer_with(
        "DescribeInstanceTypeOfferings",
        zone_offerings(&[("g6e.12xlarge", "eu-central-1a"), ("g6e.12xlarge", "eu-central-1b")]),
    );
    let home = cloud.home_in("eu-central-1");
    let wish = ["--compliance", "hipaa,gdpr", "--zone", "eu-central-1b,eu-central-1a"];
    home.up(&wish).exits(0);
    cloud.agrees_with(&home, "after up");
    let account = cloud.account(&home.region);
    assert_eq!(machine(&account)["zone"], "eu-central-1b", "the first that was named");
    let bucket = things(&account, "buckets").next().unwrap();
    let name = home.id("bucket.main");
    assert_eq!(bucket["region"], "eu-central-1");
    assert_eq!(
        (&bucket["logging"]["TargetBucket"], &bucket["logging"]["TargetPrefix"]),
        (&json!(name), &json!("access-log/"))
    );
    let rules = bucket["lifecycle"].as_array().unwrap();
    for prefix in ["audit/", "access-log/"] {
        let rule = rules.iter().find(|rule| rule["Filter"]["Prefix"] == prefix).unwrap();
        assert_eq!(rule["Expiration"]["Days"], AUDIT_DAYS, "{rule}");
        assert_eq!(rule["NoncurrentVersionExpiration"]["NoncurrentDays"], AUDIT_DAYS, "{rule}");
    }
    // The audit log that compliance asks for goes too: its key, and what the host is told of it.
    home.up(&[]).exits(0).says("~ bucket.main").says("- secret.audit-key");
    home.up(&wish).exits(0).says("~ bucket.main").says("+ secret.audit-key");
    home.dsctl(&["drift", "--detailed-exitcode"]).exits(0);

    cloud.put_object(&home, "audit/2026/11/24.jsonl", "{}");
    let down = home.dsctl(&["down", "--yes"]).exits(0).says("is gone");
    let account = cloud.account(&home.region);
    for kind in ["instances", "vpcs", "roles", "nat_gateways", "addresses"] {
        assert_eq!(ids(&account, kind), Vec::<String>::new(), "{kind}");
    }
    let kept = things(&account, "buckets").next().expect("the bucket with the records");
    assert_eq!(kept["id"], name.as_str());
    let keys: Vec<&str> = kept["keys"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(keys.contains(&"audit/2026/11/24.jsonl"), "{keys:?}");
    assert!(keys.iter().all(|key| key.starts_with("audit/") || key.starts_with("access-log/")), "{keys:?}");
    assert_eq!(kept["public_access_block"]["BlockPublicAcls"], true, "{kept}");
    let rules = kept["lifecycle"].as_array().unwrap();
    assert!(rules.iter().any(|rule| rule["Expiration"]["Days"] == AUDIT_DAYS), "{rules:?}");
    // Another deployment of that name is another one.
    home.up(&wish).exits(0);
    assert_ne!(home.id("bucket.main"), name);
    home.dsctl(&["down", "--yes"]).exits(0);
    assert!(ids(&cloud.account(&home.region), "buckets").contains(&name), "somebody else's records went");
    down.says(&name);
}

#[test]
fn what_is_pinned_is_what_comes() {
    let cloud = Cloud::start();
    let home = cloud.home();
    let wish = [
        "--region",
        "us-east-2",
        "--zone",
        "us-east-2b",
        "--machine-type",
        "g6.48xlarge",
        "--disk",
        "400",
        "--network",
        "172.20.0.0/18",
        "--egress-gb",
        "0",
    ];
    home.up(&wish).exits(0).says("region us-east-2").says("endpoint  https://172.20.");
    let home = home.in_region("us-east-2");
    let account = cloud.account("us-east-2");
    let machine = machine(&account);
    assert_eq!((&machine["type"], &machine["zone"]), (&json!("g6.48xlarge"), &json!("us-east-2b")));
    assert_eq!(things(&account, "volumes").next().unwrap()["gib"], 400);
    assert_eq!(things(&account, "vpcs").next().unwrap()["range"], "172.20.0.0/18");
    let bucket = things(&account, "buckets").next().unwrap();
    assert_eq!(bucket["region"], "us-east-2");
    for kind in ["instances", "vpcs", "addresses"] {
        assert_eq!(ids(&cloud.account(REGION), kind), Vec::<String>::new(), "{kind} where it should not be");
    }
    stays_and_goes(&cloud, &home, &wish);
}

#[test]
fn a_wider_budget_lets_dearer_machines_be_tried() {
    let cloud = Cloud::start();
    let home = cloud.home();
    let candidates = |more: &[&str]| {
        let report = home.dsctl(&[&["plan", "--json"], more].concat()).exits(0).json();
        let all = report["cloud"]["candidates"].as_array().unwrap().clone();
        let notes = report["cloud"]["notes"].to_string();
        (all.iter().map(|it| it.as_str().unwrap().to_owned()).collect::<Vec<_>>(), notes)
    };
    let (default, notes) = candidates(&[]);
    assert!(notes.contains("--max-hourly sets another limit"), "{notes}");
    assert!(!default.iter().any(|it| it.starts_with("g6e.12xlarge")), "{default:?}");
    let (wider, notes) = candidates(&["--max-hourly", "11"]);
    assert!(!notes.contains("--max-hourly"), "{notes}");
    assert!(wider.len() > default.len() && wider.iter().any(|it| it.starts_with("g6e.12xlarge")), "{wider:?}");
    let (narrow, _) = candidates(&["--max-hourly", "3.5"]);
    assert!(narrow.iter().all(|it| it.starts_with("g7e.2xlarge")), "{narrow:?}");
    let (by_month, _) = candidates(&["--max-monthly", "3000"]);
    assert!(by_month.iter().all(|it| it.starts_with("g7e.2xlarge") || it.starts_with("g7e.4xlarge")), "{by_month:?}");
    cloud.is_untouched("plans");
}
