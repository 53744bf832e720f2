//! A default deployment on Google Cloud: its life, and what is in the project meanwhile, as Google's own client lists it too.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tests::cloud_home::CloudHome;
use tests::gcp::account::things;
use tests::gcp::cloud::Cloud;
use tests::gcp::reader::Reader;
use tests::gcp::{PROJECT, REGION};
use tests::proxy::{Fault, Rule};

use super::crash::Gcp;
use crate::scenes;

const SECRETS: [&str; 3] = ["admin-token", "api-key", "daemon-key"];

#[test]
fn a_deployment_comes_and_goes_without_a_trace() {
    scenes::life::<Gcp>();
}

/// The only one of its kind, as Google shows it.
#[track_caller]
fn only(account: &Value, kind: &str) -> Value {
    let all: Vec<&Value> = things(account, kind).collect();
    assert_eq!(all.len(), 1, "{kind}: {all:?}");
    all[0].clone()
}

#[test]
fn it_is_private_encrypted_and_marked() {
    let cloud = Cloud::start();
    let home = cloud.home();
    home.up(&[]).exits(0);
    let account = cloud.google.account();
    its_network_lets_one_port_in(&account);
    its_machine_is_guarded(&account);
    its_bucket_is_private(&account);
    for kind in ["networks", "subnetworks", "routers", "firewalls", "instances", "disks", "service_accounts", "buckets"]
    {
        for thing in things(&account, kind) {
            assert_eq!(thing["ownership"]["deployment"], "default", "{kind}: {thing}");
            assert!(thing["ownership"]["token"].is_string(), "{kind}: {thing}");
        }
    }
}

fn its_network_lets_one_port_in(account: &Value) {
    assert_eq!(only(account, "networks")["body"]["autoCreateSubnetworks"], false);
    let subnet = only(account, "subnetworks")["body"].clone();
    assert_eq!((&subnet["ipCidrRange"], &subnet["privateIpGoogleAccess"]), (&json!("10.77.0.0/16"), &json!(true)));
    assert_eq!(only(account, "routers")["body"]["nats"][0]["natIpAllocateOption"], "AUTO_ONLY");
    let rule = only(account, "firewalls")["body"].clone();
    assert_eq!(rule["allowed"], json!([{"IPProtocol": "tcp", "ports": ["443"]}]));
    assert_eq!((&rule["sourceRanges"], &rule["direction"]), (&json!(["10.0.0.0/8"]), &json!("INGRESS")));
    let email = only(account, "service_accounts")["body"]["email"].clone();
    assert_eq!(rule["targetServiceAccounts"], json!([email]));
}

fn its_machine_is_guarded(account: &Value) {
    let machine = only(account, "instances")["body"].clone();
    assert_eq!(machine["deletionProtection"], true);
    assert_eq!(machine["scheduling"]["onHostMaintenance"], "TERMINATE");
    assert!(machine["networkInterfaces"][0]["accessConfigs"].as_array().is_none_or(Vec::is_empty), "{machine}");
    let shielded = &machine["shieldedInstanceConfig"];
    assert_eq!((&shielded["enableVtpm"], &shielded["enableIntegrityMonitoring"]), (&json!(true), &json!(true)));
    let items = machine["metadata"]["items"].as_array().unwrap();
    let value = |key: &str| items.iter().find(|item| item["key"] == key).map(|item| item["value"].clone());
    assert_eq!(value("enable-oslogin"), Some(json!("TRUE")));
    assert_eq!(value("block-project-ssh-keys"), Some(json!("TRUE")));
    let script = value("user-data").unwrap();
    assert!(script.as_str().unwrap().starts_with("#cloud-config"), "{script}");
    let disk = only(account, "disks")["body"].clone();
    assert!(disk["users"][0].as_str().unwrap().ends_with(machine["name"].as_str().unwrap()), "{disk}");
    assert_eq!(machine["disks"][0]["autoDelete"], true);
}

fn its_bucket_is_private(account: &Value) {
    let bucket = only(account, "buckets");
    let body = &bucket["body"];
    assert_eq!(body["iamConfiguration"]["publicAccessPrevention"], "enforced");
    assert_eq!(body["iamConfiguration"]["uniformBucketLevelAccess"]["enabled"], true);
    assert_eq!(body["versioning"]["enabled"], true);
    let email = only(account, "service_accounts")["body"]["email"].as_str().unwrap().to_owned();
    let of_machine: Vec<&Value> = bucket["policy"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|binding| {
            binding["members"].as_array().unwrap().iter().any(|member| member.as_str().unwrap().ends_with(&email))
        })
        .collect();
    assert!(!of_machine.is_empty(), "{bucket}");
    for binding in of_machine {
        let expression = binding["condition"]["expression"].as_str().unwrap_or_default();
        assert!(expression.contains("resource.name"), "more than parts of the bucket: {binding}");
    }
}

/// Whether somebody else who reads the project finds what the state says, and nothing else, under these very names.
#[test]
fn a_reader_that_we_did_not_write_finds_what_the_state_says() {
    let cloud = Cloud::start();
    let home = cloud.home();
    home.up(&[]).exits(0);
    let read = Reader::start().list(&cloud.google.url(), PROJECT);
    let mut found: Vec<String> = RECORDED.iter().flat_map(|kind| things(&read, kind)).map(id_of).collect();
    found.extend(things(&read, "buckets").flat_map(within));
    found.sort();
    assert_eq!(found, home.recorded(), "found on the left, in the state on the right");
    for kind in RECORDED {
        for thing in things(&read, kind) {
            let name = thing["name"].as_str().unwrap();
            assert!(name.starts_with("dsctl-") && id_of(thing).ends_with(name), "{kind}: {thing}");
        }
    }
    its_parts_belong_together(&read, &home);
}

/// Kinds whose ids a state records as they are.
const RECORDED: [&str; 7] =
    ["networks", "subnetworks", "routers", "firewalls", "instances", "service_accounts", "buckets"];

fn id_of(thing: &Value) -> String {
    thing["id"].as_str().unwrap().to_owned()
}

/// Of a bucket as Google's client lists it: objects, and the service accounts of its policy.
fn within(bucket: &Value) -> BTreeSet<String> {
    let (name, texts) = (id_of(bucket), |list: &Value| list.as_array().cloned().unwrap_or_default());
    let objects = texts(&bucket["keys"]).into_iter().map(|key| format!("gs://{name}/{}", key.as_str().unwrap()));
    let members = texts(&bucket["policy"]).into_iter().flat_map(|binding| texts(&binding["members"]));
    let emails = members.filter_map(|it| it.as_str()?.strip_prefix("serviceAccount:").map(str::to_owned));
    objects.chain(emails.map(|email| format!("iam://{name}/{email}"))).collect()
}

#[track_caller]
fn one<'a>(read: &'a Value, kind: &str) -> &'a Value {
    let all: Vec<&Value> = things(read, kind).collect();
    assert_eq!(all.len(), 1, "{kind}: {all:?}");
    all[0]
}

fn its_parts_belong_together(read: &Value, home: &CloudHome) {
    let network = json!(home.id("network.main"));
    for kind in ["subnetworks", "routers", "firewalls"] {
        assert_eq!(one(read, kind)["network"], network, "{kind}");
    }
    let machine = one(read, "instances");
    let expected = json!({"type": "g4-standard-48", "zone": format!("{REGION}-b"), "status": "RUNNING", "model": "STANDARD",
        "subnetworks": [home.id("subnet.main")], "public": [], "protected": true, "disks_end_with_it": true,
        "accounts": [one(read, "service_accounts")["name"]]});
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&machine[field], value, "{field} of {machine}");
    }
    let disk = one(read, "disks");
    assert_eq!((&disk["type"], &disk["users"]), (&json!("hyperdisk-balanced"), &json!([machine["id"]])));
    assert_eq!((&machine["disks"], &disk["labels"]), (&json!([disk["id"]]), &machine["labels"]));
    let gib = disk["gib"].as_u64().unwrap();
    assert!((100..200).contains(&gib), "{gib} GiB for 70 GB of weights");
    let bucket = one(read, "buckets");
    let keys = bucket["keys"].as_array().unwrap().len();
    assert_eq!(bucket["generations"], json!(keys), "each object was written once");
    assert_eq!(bucket["location"], REGION.to_uppercase());
}

/// The values themselves: of all that is told, sent or written down, only the call that puts a secret has it.
#[test]
fn no_secret_is_anywhere_but_in_the_bucket() {
    let cloud = Cloud::start();
    let home = cloud.home();
    let record = home.home.scratch().join("calls.jsonl");
    cloud.proxy.record_to(&record);
    let mut said = vec![home.up(&[]).transcript()];
    let looks: [&[&str]; 5] = [
        &["plan", "--json"],
        &["status", "--json"],
        &["drift", "--json"],
        &["orphans", "--json"],
        &["up", "--yes", "--no-wait", "--json"],
    ];
    said.extend(looks.iter().map(|words| home.dsctl(words).transcript()));
    // Labels, descriptions, metadata, policies: all but the objects' content.
    said.extend([cloud.google.account().to_string(), cloud.desired(&home).to_string()]);
    let files = files(home.home.layout().root());
    assert!(files.iter().any(|path| path.ends_with("state.json")), "{files:?}");
    assert!(files.iter().any(|path| path.to_string_lossy().contains("journal")), "{files:?}");
    said.extend(files.iter().map(|path| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned()));
    let calls = std::fs::read_to_string(&record).unwrap();
    for name in SECRETS {
        let secret = cloud.object(&home, &format!("secrets/{name}"));
        let secret = secret.trim();
        assert!(secret.strip_prefix("dsk-").is_some_and(|hex| hex.len() == 64), "{name} is short");
        assert!(!said.iter().any(|text| text.contains(secret)), "{name} is told");
        let sent: Vec<&str> = calls.lines().filter(|line| line.contains(secret)).collect();
        let is_put =
            |line: &&str| line.contains("storage.objects.insert") && line.contains(&format!("secrets%2F{name}"));
        assert!(sent.len() == 1 && sent.iter().all(is_put), "{name} is sent by {sent:?}");
    }
    assert!(cloud.object(&home, "secrets/tls-ca").contains("PRIVATE KEY"), "the authority has one");
    assert!(!said.iter().any(|text| text.contains("dsk-") || text.contains("PRIVATE KEY")), "a secret is told");
    its_script_is_whole(&cloud);
}

/// A new bucket lets whoever may look at the project read all that is in it.
#[test]
fn nobody_reads_the_bucket_before_the_machine_may() {
    let cloud = Cloud::start();
    let home = cloud.home();
    // It is there, and nobody may close it: nothing is put into it.
    cloud.proxy.arm([Rule::nth("storage.buckets.setIamPolicy", 1, Fault::Denied)]);
    home.up(&[]).exits(3).says("bucket.main");
    let (keys, readers) = in_the_bucket(&cloud);
    assert!(keys.is_empty() && !readers.is_empty(), "{keys:?} may be read by {readers:?}");
    // The next one finds it open, and closes it first.
    cloud.proxy.clear();
    home.up(&[]).exits(0);
    let (keys, readers) = in_the_bucket(&cloud);
    assert!(!keys.is_empty() && readers.is_empty(), "{keys:?} may be read by {readers:?}");
    let order = cloud.changes();
    let at = |method: &str| order.iter().position(|it| it == method).unwrap_or(usize::MAX);
    assert!(at("storage.buckets.setIamPolicy") < at("storage.objects.insert"), "{order:?}");
    cloud.agrees_with(&home, "with its policy");
}

/// Keys, and which viewers of the project may read them.
fn in_the_bucket(cloud: &Cloud) -> (Vec<String>, Vec<Value>) {
    let bucket = only(&cloud.google.account(), "buckets");
    let keys = things(&bucket, "objects").filter_map(|object| object["key"].as_str().map(str::to_owned)).collect();
    let all = bucket["policy"].as_array().unwrap().iter();
    (keys, all.filter(|it| it["role"] == "roles/storage.legacyObjectReader").cloned().collect())
}

/// Of a first boot: what a value of metadata may be at most, and no placeholder left in it.
fn its_script_is_whole(cloud: &Cloud) {
    let machine = only(&cloud.google.account(), "instances")["body"].clone();
    let items = machine["metadata"]["items"].as_array().unwrap();
    let script = items.iter().find(|item| item["key"] == "user-data").unwrap()["value"].as_str().unwrap();
    assert!(script.len() < 256 << 10, "{} bytes of user data", script.len());
    let number = |before: &str| {
        let digits = script.split(before).nth(1).unwrap().split(|letter: char| !letter.is_ascii_digit()).next();
        digits.unwrap().parse::<u32>().unwrap()
    };
    assert!(number("seq 1 ") * number("sleep ") > 7 * 60, "Google lets a grant take seven minutes: {script}");
    let is_name = |text: &str| text.starts_with(|letter: char| letter.is_ascii_alphabetic());
    assert!(!script.split('@').skip(1).any(is_name), "a placeholder was left: {script}");
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// What was booted stays: tomorrow's image is no reason for another machine.
#[test]
fn a_newer_image_moves_nothing() {
    let cloud = Cloud::start();
    let home = cloud.home();
    let plan = home.dsctl(&["plan", "--json"]).exits(0).json();
    let image = plan["cloud"]["image"].as_str().unwrap().to_owned();
    home.up(&[]).exits(0);
    cloud.proxy.clear();
    cloud.google.release_image("common-cu129-ubuntu-2404-nvidia-580", "common-cu129-ubuntu-2404-nvidia-580-v20270101");
    home.up(&["--expect-no-changes"]).exits(0).says("No changes").says(&image);
    // Nor does one that Google took away.
    cloud.google.remove_image(image.rsplit('/').next().unwrap());
    home.up(&["--expect-no-changes"]).exits(0).says("No changes");
    home.dsctl(&["drift", "--detailed-exitcode"]).exits(0).says("No drift");
    cloud.is_untouched("a newer image");
}
