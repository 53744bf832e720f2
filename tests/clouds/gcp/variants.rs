//! Deployments on Google Cloud that are not the default one: other ways out, in the open, on the spot market, under rules.

use serde_json::{Value, json};
use tests::cloud_home::CloudHome;
use tests::gcp::IMAGE_PROJECT;
use tests::gcp::account::things;
use tests::gcp::cloud::Cloud;
use tests::proxy::{Fault, Rule};

/// Six years with their leap days.
const AUDIT_DAYS: u64 = 2192;
const EUROPE: &str = "europe-west4";

/// The only one of its kind, as Google shows it.
#[track_caller]
fn only(cloud: &Cloud, kind: &str) -> Value {
    let mut all = cloud.bodies(kind);
    assert_eq!(all.len(), 1, "{kind}: {all:?}");
    all.remove(0)
}

/// The last part of a link.
fn last(link: &Value) -> &str {
    link.as_str().unwrap().rsplit('/').next().unwrap()
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
    cloud.is_empty("after down");
}

/// Weights that lie in a bucket of the user's own: no way out is needed.
#[test]
fn with_endpoints_only_there_is_no_way_to_the_internet() {
    let cloud = Cloud::start();
    let home = cloud.home();
    let source = "gs://models/r1/70b-q8.gguf";
    let wish = ["--egress", "endpoints", "--weights", source];
    home.up(&[wish[0], wish[1], "--weights", "s3://models/r1/70b-q8.gguf"])
        .exits(2)
        .says("weights.sources")
        .says("gs:");
    cloud.is_untouched("weights that could not be reached");
    home.up(&wish).exits(0);
    assert_eq!(cloud.bodies("routers"), Vec::<Value>::new());
    assert_eq!(only(&cloud, "subnetworks")["privateIpGoogleAccess"], true, "Google's own services are reached");
    assert!(only(&cloud, "instances")["networkInterfaces"][0]["accessConfigs"].as_array().is_none_or(Vec::is_empty));
    assert!(cloud.desired(&home).to_string().contains(source), "{}", cloud.desired(&home));
    stays_and_goes(&cloud, &home, &wish);
}

#[test]
fn in_the_open_it_has_an_address_and_only_the_named_get_in() {
    let cloud = Cloud::start();
    let home = cloud.home();
    let wish = ["--public", "--allow", "203.0.113.0/24,198.51.100.7/32", "--port", "8443", "--tls", "elsewhere"];
    home.up(&wish).exits(0).says(":8443/v1");
    let access = only(&cloud, "instances")["networkInterfaces"][0]["accessConfigs"].clone();
    let address = access[0]["natIP"].as_str().unwrap().to_owned();
    home.dsctl(&["status"]).exits(1).says(&format!("http://{address}:8443/v1"));
    assert_eq!(cloud.bodies("routers"), Vec::<Value>::new(), "it needs no other way out");
    let rule = only(&cloud, "firewalls");
    assert_eq!(rule["allowed"], json!([{"IPProtocol": "tcp", "ports": ["8443"]}]));
    assert_eq!(rule["sourceRanges"], json!(["198.51.100.7/32", "203.0.113.0/24"]));
    home.up(&[]).exits(2).says("public can't change").says("dsctl down");
    stays_and_goes(&cloud, &home, &wish);
}

#[test]
fn on_the_spot_market_google_may_take_it_back_with_its_disk() {
    let cloud = Cloud::start();
    let home = cloud.home();
    let plan = home.dsctl(&["plan", "--json", "--spot"]).exits(0).json();
    let first = plan["cloud"]["candidates"][0].as_str().unwrap();
    assert!(first.starts_with("g4-standard-48 in us-central1-b, spot, $1.79982/h"), "{first}");
    cloud.proxy.clear();
    cloud.proxy.arm([Rule::nth("compute.instances.insert", 1, Fault::Capacity)]);
    home.up(&["--spot"]).exits(0).says("trying g4-standard-48 in us-central1-f, spot");
    let machine = only(&cloud, "instances");
    let scheduling = &machine["scheduling"];
    assert_eq!(
        (&scheduling["provisioningModel"], &scheduling["instanceTerminationAction"]),
        (&json!("SPOT"), &json!("DELETE"))
    );
    assert_eq!((&scheduling["automaticRestart"], last(&machine["zone"])), (&json!(false), "us-central1-f"));
    assert_ne!(machine["deletionProtection"], true, "Google refuses to protect a machine of the spot market");
    let paid = home.dsctl(&["status", "--json"]).exits(1).json()["hourly_usd"].as_f64().unwrap();
    assert!((1.79..2.0).contains(&paid), "{paid}");

    // It is taken back: nothing that costs money is left of it, and the next `up` has another.
    let before = home.id("machine.main");
    cloud.google.preempt(&before);
    assert_eq!(cloud.bodies("disks"), Vec::<Value>::new());
    home.dsctl(&["drift", "--detailed-exitcode"]).exits(2).says("machine.main  it is gone");
    home.up(&["--spot"]).exits(0).says("+ machine.main");
    stays_and_goes(&cloud, &home, &["--spot"]);
}

#[test]
fn under_hipaa_every_access_is_logged_and_the_records_outlive_the_deployment() {
    let cloud = Cloud::start();
    let home = cloud.home_in(EUROPE);
    let wish = ["--compliance", "hipaa,gdpr", "--zone", "europe-west4-b,europe-west4-a"];
    home.up(&wish).exits(0);
    cloud.agrees_with(&home, "after up");
    assert_eq!(last(&only(&cloud, "instances")["zone"]), "europe-west4-b", "the first that was named");
    let (bucket, name) = (only(&cloud, "buckets"), home.id("bucket.main"));
    assert_eq!(bucket["location"], EUROPE.to_uppercase());
    assert_eq!(bucket["logging"]["logBucket"], name.as_str());
    assert!(bucket["logging"]["logObjectPrefix"].as_str().unwrap().starts_with("access-log/"), "{bucket}");
    keeps_records(&bucket);
    // The audit log that compliance asks for goes too: its key, and what the host is told of it.
    let without = home.up(&["--zone", "europe-west4-b,europe-west4-a"]).exits(0);
    without.says("~ bucket.main").says("- secret.audit-key");
    assert_eq!(only(&cloud, "buckets").get("logging").filter(|logging| !logging.is_null()), None);
    home.up(&wish).exits(0).says("~ bucket.main");
    home.dsctl(&["drift", "--detailed-exitcode"]).exits(0);

    cloud.google.put_object(&name, "audit/2026/11/24.jsonl", "{}");
    home.dsctl(&["down", "--yes"]).exits(0).says("is gone").says(&name);
    for kind in ["instances", "disks", "networks", "subnetworks", "routers", "firewalls", "service_accounts"] {
        assert_eq!(cloud.bodies(kind), Vec::<Value>::new(), "{kind}");
    }
    let account = cloud.google.account();
    let kept = things(&account, "buckets").next().expect("the bucket with the records");
    let keys: Vec<&str> = things(kept, "objects").filter_map(|object| object["key"].as_str()).collect();
    assert_eq!((kept["id"].as_str(), keys), (Some(name.as_str()), vec!["audit/2026/11/24.jsonl"]));
    assert_eq!(kept["body"]["iamConfiguration"]["publicAccessPrevention"], "enforced");
    keeps_records(&kept["body"]);
    // Another deployment of that name is another one.
    home.up(&wish).exits(0);
    assert_ne!(home.id("bucket.main"), name);
    home.dsctl(&["down", "--yes"]).exits(0);
    assert_eq!(only(&cloud, "buckets")["name"], name.as_str(), "somebody else's records went");
}

/// Of both kinds of records no version goes before its time.
#[track_caller]
fn keeps_records(bucket: &Value) {
    let rules = bucket["lifecycle"]["rule"].as_array().unwrap();
    let kept = json!(["audit/", "access-log/"]);
    let of_records: Vec<&Value> =
        rules.iter().map(|rule| &rule["condition"]).filter(|condition| condition["matchesPrefix"] == kept).collect();
    let days = |field: &str| of_records.iter().filter_map(|condition| condition[field].as_u64()).collect::<Vec<_>>();
    assert_eq!((days("age"), days("daysSinceNoncurrentTime")), (vec![AUDIT_DAYS], vec![AUDIT_DAYS]), "{rules:?}");
    for rule in rules {
        assert!(
            !rule["condition"]["matchesPrefix"].is_null() || rule["action"]["type"] != "Delete",
            "all go by {rule}"
        );
    }
}

#[test]
fn what_is_pinned_is_what_comes() {
    let cloud = Cloud::start();
    let home = cloud.home();
    let image = format!("projects/{IMAGE_PROJECT}/global/images/common-cu128-ubuntu-2204-nvidia-570-v20260303");
    let pinned = "--region europe-west4 --zone europe-west4-c --machine-type a3-highgpu-8g --disk 400 \
                  --network 172.20.0.0/18 --egress-gb 0 --image";
    let wish: Vec<&str> = pinned.split_whitespace().chain([image.as_str()]).collect();
    home.up(&wish).exits(0).says("region europe-west4").says("endpoint  https://172.20.").says(&image);
    let machine = only(&cloud, "instances");
    assert_eq!((last(&machine["machineType"]), last(&machine["zone"])), ("a3-highgpu-8g", "europe-west4-c"));
    // The family takes Google's own card and a disk of the newer kind only.
    assert_eq!(machine["networkInterfaces"][0]["nicType"], "GVNIC");
    let disk = only(&cloud, "disks");
    assert_eq!((&disk["sizeGb"], last(&disk["sourceImage"])), (&json!("400"), last(&json!(image))));
    let subnet = only(&cloud, "subnetworks");
    assert_eq!((&subnet["ipCidrRange"], last(&subnet["region"])), (&json!("172.20.0.0/18"), EUROPE));
    assert_eq!(only(&cloud, "buckets")["location"], EUROPE.to_uppercase());
    stays_and_goes(&cloud, &home, &wish);
}

/// Google makes no such machine on demand.
#[test]
fn what_is_on_the_spot_market_only_is_refused_on_demand_and_comes_with_spot() {
    let cloud = Cloud::start();
    let home = cloud.home();
    let wish = ["--machine-type", "a3-highgpu-2g"];
    home.up(&wish).exits(2).says("machine.type").says("a3-highgpu-2g").says("--spot");
    let plan = home.dsctl(&["plan", "--json", "--max-hourly", "30"]).exits(0).json();
    let candidates = plan["cloud"]["candidates"].to_string();
    assert!(candidates.contains("a2-ultragpu-4g") && !candidates.contains("a3-highgpu-2g"), "{candidates}");
    cloud.is_untouched("a machine that can't be had");
    let wish = [wish[0], wish[1], "--spot"];
    home.up(&wish).exits(0);
    assert_eq!(last(&only(&cloud, "instances")["machineType"]), "a3-highgpu-2g");
    stays_and_goes(&cloud, &home, &wish);
}

/// Each family with the one kind of disk that it takes; the fake refuses the other, as Google does.
#[test]
fn each_family_gets_the_disk_that_it_takes() {
    let cloud = Cloud::start();
    let home = cloud.home();
    for (machine_type, kind) in [("g2-standard-96", "pd-balanced"), ("g4-standard-48", "hyperdisk-balanced")] {
        // Google tells the zones of one whose zones are not on record.
        let wish = ["--machine-type", machine_type];
        home.up(&wish).exits(0).says(machine_type);
        let disk = only(&cloud, "disks");
        assert_eq!(last(&disk["type"]), kind, "{machine_type}");
        stays_and_goes(&cloud, &home, &wish);
    }
}

/// What a deployment is encrypted by: its disk, and what is new in its bucket.
#[track_caller]
fn is_encrypted_by(cloud: &Cloud, key: Option<&str>) {
    let version = key.map(|key| format!("{key}/cryptoKeyVersions/1"));
    assert_eq!(only(cloud, "disks")["diskEncryptionKey"]["kmsKeyName"].as_str(), version.as_deref());
    assert_eq!(only(cloud, "buckets")["encryption"]["defaultKmsKeyName"].as_str(), key);
}

/// Set from the first moment, changed and taken away: the bucket stays, the machine makes room for another.
#[test]
fn a_key_of_ones_own_encrypts_disk_and_bucket() {
    let cloud = Cloud::start();
    let home = cloud.home();
    let key = |name: &str| format!("projects/keys/locations/us-central1/keyRings/ring/cryptoKeys/{name}");
    let (one, two) = (key("one"), key("two"));
    let wish = ["--encryption-key", one.as_str()];
    home.dsctl(&[&["plan"], &wish[..]].concat()).exits(0).says(&format!("private, encrypted by {one}, versioned"));
    home.up(&wish).exits(0).says(&format!(", encrypted by {one}"));
    is_encrypted_by(&cloud, Some(&one));
    let other = ["--encryption-key", two.as_str()];
    let turns: [(&[&str], Option<&str>); 3] = [(&other, Some(&two)), (&[], None), (&wish, Some(&one))];
    for (wish, key) in turns {
        let (bucket, machine) = (home.id("bucket.main"), home.id("machine.main"));
        home.up(wish).exits(0).says("~ bucket.main").says("+/- machine.main");
        cloud.report_ready(&home);
        home.dsctl(&[&["up", "--yes"], wish].concat()).exits(0).says("default is ready");
        is_encrypted_by(&cloud, key);
        assert_eq!(home.id("bucket.main"), bucket, "{wish:?}");
        assert_ne!(home.id("machine.main"), machine, "{wish:?}");
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
        all.iter().map(|it| it.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let default = candidates(&[]);
    assert!(!default.iter().any(|it| it.starts_with("a2-ultragpu-4g")), "{default:?}");
    let wider = candidates(&["--max-hourly", "21"]);
    assert!(wider.len() > default.len() && wider.iter().any(|it| it.starts_with("a2-ultragpu-4g")), "{wider:?}");
    let narrow = candidates(&["--max-hourly", "5"]);
    assert!(narrow.iter().all(|it| it.starts_with("g4-standard-48")), "{narrow:?}");
    let by_month = candidates(&["--max-monthly", "3400"]);
    assert!(by_month.iter().all(|it| it.starts_with("g4-standard-48")), "{by_month:?}");
    cloud.is_untouched("plans");
}
