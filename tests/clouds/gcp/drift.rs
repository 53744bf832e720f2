//! Somebody else was in the project, by Google's own client: `drift` says what and changes nothing, `up` puts it right.

use serde_json::{Value, json};
use tests::cloud_home::CloudHome;
use tests::gcp::cloud::Cloud;
use tests::gcp::reader::Reader;
use tests::gcp::{PROJECT, REGION};

/// A cloud with a deployment in it, and somebody who may do everything there.
struct Somebody {
    cloud: Cloud,
    home: CloudHome,
    reader: Reader,
}

impl Somebody {
    #[track_caller]
    fn in_a_deployment() -> Self {
        let cloud = Cloud::start();
        let home = cloud.home();
        home.up(&[]).exits(0);
        Self { cloud, home, reader: Reader::start() }
    }

    /// Name and zone of what the state has under an address.
    fn name(&self, address: &str) -> String {
        self.home.id(address).rsplit('/').next().unwrap().to_owned()
    }

    fn zone(&self) -> String {
        self.home.id("machine.main").split('/').nth(3).unwrap().to_owned()
    }

    /// A call of Compute's, with what says where: the project, and what is named besides.
    #[track_caller]
    fn compute(&self, method: &str, arguments: Value) -> Value {
        let mut all = json!({"project": PROJECT});
        all.as_object_mut().unwrap().extend(arguments.as_object().unwrap().clone());
        let answer = self.reader.call(&self.cloud.google.url(), ("compute", "v1", method), &all);
        self.cloud.google.settle();
        answer
    }

    #[track_caller]
    fn machine(&self, method: &str, arguments: Value) -> Value {
        let mut all = json!({"zone": self.zone()});
        all.as_object_mut().unwrap().extend(arguments.as_object().unwrap().clone());
        self.compute(&format!("instances.{method}"), all)
    }

    /// A call of Storage's on the deployment's bucket.
    #[track_caller]
    fn bucket(&self, method: &str, arguments: Value) -> Value {
        let mut all = json!({"bucket": self.home.id("bucket.main")});
        all.as_object_mut().unwrap().extend(arguments.as_object().unwrap().clone());
        self.reader.call(&self.cloud.google.url(), ("storage", "v1", method), &all)
    }

    #[track_caller]
    fn iam(&self, method: &str, arguments: &Value) -> Value {
        let method = format!("projects.serviceAccounts.{method}");
        self.reader.call(&self.cloud.google.url(), ("iam", "v1", &method), arguments)
    }

    fn listed(&self) -> Value {
        self.reader.list(&self.cloud.google.url(), PROJECT)
    }

    /// `drift --json`, which must have asked the cloud for nothing that changes something.
    #[track_caller]
    fn drift(&self) -> Vec<Value> {
        self.cloud.proxy.clear();
        let report = self.home.dsctl(&["drift", "--detailed-exitcode", "--json"]).exits(2).json();
        self.cloud.is_untouched("drift");
        report["drift"].as_array().unwrap().clone()
    }

    #[track_caller]
    fn is_right_again(&self) {
        let up = self.home.up(&[]).exits(0);
        self.home.dsctl(&["drift", "--detailed-exitcode"]).exits(0).says("No drift");
        self.cloud.agrees_with(&self.home, &up.line);
        self.cloud.proxy.clear();
        self.home.up(&["--expect-no-changes"]).exits(0);
        self.cloud.is_untouched("when all is right again");
    }
}

/// That exactly these addresses differ, each in exactly these keys.
#[track_caller]
fn differs(drift: &[Value], expected: &[(&str, &[&str])]) {
    let found: Vec<(&Value, &Value, &Value)> =
        drift.iter().map(|it| (&it["address"], &it["drift"], &it["keys"])).collect();
    let expected: Vec<(Value, Value, Value)> =
        expected.iter().map(|(address, keys)| (json!(address), json!("changed"), json!(keys))).collect();
    let expected: Vec<(&Value, &Value, &Value)> = expected.iter().map(|(one, two, three)| (one, two, three)).collect();
    assert_eq!(found, expected, "{drift:?}");
}

/// In the network: the world gets in, Google's own services are not reached, there is no way out.
#[test]
fn a_network_that_somebody_opened_or_closed_is_told_and_put_right() {
    let it = Somebody::in_a_deployment();
    let before = it.listed();
    let rule = json!({"name": it.name("firewall.gateway"), "sourceRanges": ["0.0.0.0/0"]});
    it.compute("firewalls.patch", json!({"firewall": it.name("firewall.gateway"), "body": rule}));
    let further = json!({"name": "let-me-in", "network": it.home.id("network.main"), "sourceRanges": ["0.0.0.0/0"],
        "allowed": [{"IPProtocol": "tcp", "ports": ["22"]}]});
    it.compute("firewalls.insert", json!({"body": further}));
    let access = json!({"privateIpGoogleAccess": false});
    let subnet = json!({"region": REGION, "subnetwork": it.name("subnet.main"), "body": access});
    it.compute("subnetworks.setPrivateIpGoogleAccess", subnet);
    it.compute("routers.patch", json!({"region": REGION, "router": it.name("router.main"), "body": {"nats": []}}));

    let keys: &[(&str, &[&str])] = &[
        ("firewall.gateway", &["allow", "further_rules"]),
        ("router.main", &["nat"]),
        ("subnet.main", &["google_access"]),
    ];
    differs(&it.drift(), keys);
    it.home
        .dsctl(&["drift"])
        .exits(0)
        .says("0.0.0.0/0")
        .says("let-me-in")
        .says("3 not as it was left")
        .says("dsctl plan");
    it.home.dsctl(&["drift", "--ignore", "router.main", "--ignore", "subnet.main"]).exits(0).says("(2 ignored)");
    it.home.up(&["--expect-no-changes"]).exits(7);
    it.cloud.is_untouched("none were expected");
    it.is_right_again();
    assert_eq!(it.listed(), before, "all is as it was before");
}

/// A rule by tags takes no accounts: only as a whole is it put right.
#[test]
fn a_rule_that_somebody_made_for_others_is_put_right_as_a_whole() {
    let it = Somebody::in_a_deployment();
    let before = it.listed();
    let name = it.name("firewall.gateway");
    let shown = it.compute("firewalls.get", json!({"firewall": name}));
    let mut tagged = json!({"name": name, "targetTags": ["web"]});
    for field in ["network", "description", "direction", "priority", "allowed", "sourceRanges"] {
        tagged[field] = shown[field].clone();
    }
    it.compute("firewalls.update", json!({"firewall": name, "body": tagged}));
    differs(&it.drift(), &[("firewall.gateway", &["service_account", "tags"])]);
    it.is_right_again();
    assert_eq!(it.listed(), before, "all is as it was before");

    let body = json!({"name": name, "sourceServiceAccounts": shown["targetServiceAccounts"]});
    it.compute("firewalls.patch", json!({"firewall": name, "body": body}));
    differs(&it.drift(), &[("firewall.gateway", &["source_service_accounts"])]);
    it.is_right_again();
    assert_eq!(it.listed(), before, "all is as it was before");
}

/// At the machine: it may be removed by mistake, somebody has a key to it, nobody can tell whose it is.
#[test]
fn a_machine_that_somebody_weakened_is_told_and_put_right() {
    let it = Somebody::in_a_deployment();
    let before = it.listed();
    let name = it.name("machine.main");
    it.machine("setDeletionProtection", json!({"resource": name, "deletionProtection": false}));
    let shown = it.machine("get", json!({"instance": name}));
    let mut labels = shown["labels"].clone();
    labels.as_object_mut().unwrap().remove("dsctl-lineage");
    labels["team"] = json!("ml");
    let labels = json!({"labels": labels, "labelFingerprint": shown["labelFingerprint"]});
    it.machine("setLabels", json!({"instance": name, "body": labels}));
    let mut metadata = shown["metadata"].clone();
    metadata["items"].as_array_mut().unwrap().push(json!({"key": "ssh-keys", "value": "eve:ssh-ed25519 AAAA"}));
    metadata.as_object_mut().unwrap().remove("kind");
    it.machine("setMetadata", json!({"instance": name, "body": metadata}));
    let access = json!({"name": "external-nat", "type": "ONE_TO_ONE_NAT"});
    it.machine("addAccessConfig", json!({"instance": name, "networkInterface": "nic0", "body": access}));

    let keys: &[&str] = &["deletion_protection", "external_address", "labels", "metadata"];
    differs(&it.drift(), &[("machine.main", keys)]);
    it.is_right_again();
    let mut after = it.listed();
    // What others wrote on it beside ours is theirs.
    assert_eq!(after["instances"][0]["labels"]["team"], "ml");
    after["instances"][0]["labels"].as_object_mut().unwrap().remove("team");
    assert_eq!(after, before, "all else is as it was before, and it is the same machine");
}

/// In the bucket and at the account: the world may read, nothing is kept, somebody has a key that never expires.
#[test]
fn secrets_that_somebody_opened_are_told_and_closed() {
    let it = Somebody::in_a_deployment();
    let before = it.listed();
    let open = json!({"iamConfiguration": {"publicAccessPrevention": "inherited"}, "versioning": {"enabled": false},
        "labels": {"dsctl-lineage": null}});
    it.bucket("buckets.patch", json!({"body": open}));
    let mut policy = it.bucket("buckets.getIamPolicy", json!({"optionsRequestedPolicyVersion": 3}));
    let world = json!({"role": "roles/storage.objectViewer", "members": ["allUsers"]});
    policy["bindings"].as_array_mut().unwrap().push(world);
    it.bucket("buckets.setIamPolicy", json!({"body": policy}));
    let account = it.home.id("service-account.machine");
    it.iam("keys.create", &json!({"name": account, "body": {}}));

    let keys: &[(&str, &[&str])] = &[
        ("bucket.main", &["labels", "open_to", "public_access_prevention", "versioning"]),
        ("service-account.machine", &["keys"]),
    ];
    differs(&it.drift(), keys);
    it.home.dsctl(&["drift"]).exits(0).says("allUsers");
    it.is_right_again();
    let keys = it.iam("keys.list", &json!({"name": account, "keyTypes": ["USER_MANAGED"]}));
    assert_eq!(keys.get("keys"), None, "the key is left");
    assert_eq!(it.listed(), before, "all is as it was before");
}

/// By a key that its owner may take away at any time, and with it all that is written from then on.
#[test]
fn a_bucket_that_somebody_gave_another_key_is_told_and_put_right() {
    let it = Somebody::in_a_deployment();
    let key = format!("projects/eve/locations/{REGION}/keyRings/r/cryptoKeys/k");
    it.bucket("buckets.patch", json!({"body": {"encryption": {"defaultKmsKeyName": key}}}));
    differs(&it.drift(), &[("bucket.main", &["encryption_key"])]);
    it.home.dsctl(&["drift"]).exits(0).says(&key);
    it.is_right_again();
    assert_eq!(it.cloud.bodies("buckets")[0].get("encryption"), None);
}

#[test]
fn what_somebody_removed_is_told_and_made_again() {
    let it = Somebody::in_a_deployment();
    let machine = it.home.id("machine.main");
    it.bucket("objects.delete", json!({"object": "secrets/daemon-key"}));
    it.compute("routers.delete", json!({"region": REGION, "router": it.name("router.main")}));
    it.compute("firewalls.delete", json!({"firewall": it.name("firewall.gateway")}));
    it.machine("setDeletionProtection", json!({"resource": it.name("machine.main"), "deletionProtection": false}));
    it.machine("delete", json!({"instance": it.name("machine.main")}));

    let found = it.drift();
    let gone: Vec<(&str, &str)> =
        found.iter().map(|it| (it["address"].as_str().unwrap(), it["drift"].as_str().unwrap())).collect();
    let expected = ["firewall.gateway", "machine.main", "router.main", "secret.daemon-key"];
    assert_eq!(gone, expected.map(|address| (address, "gone")));
    it.home.dsctl(&["drift"]).exits(0).says("- machine.main  it is gone");
    it.home.dsctl(&["plan"]).exits(0).says("4 to create").says("it is gone");
    it.is_right_again();
    assert_ne!(it.home.id("machine.main"), machine);
    it.home.dsctl(&["down", "--yes"]).exits(0);
    it.cloud.is_empty("after down");
}

/// How fast a Hyperdisk is costs money.
#[test]
fn a_disk_that_somebody_made_faster_is_told_and_slowed_down() {
    let it = Somebody::in_a_deployment();
    let before = it.cloud.bodies("disks")[0].clone();
    let name = it.name("machine.main");
    let faster = json!({"name": name, "provisionedIops": "9000", "provisionedThroughput": "600"});
    let paths = ["provisionedIops", "provisionedThroughput"];
    it.compute("disks.update", json!({"zone": it.zone(), "disk": name, "paths": paths, "body": faster}));
    differs(&it.drift(), &[("machine.main", &["disk_iops", "disk_mib_a_second"])]);
    it.is_right_again();
    assert_eq!(it.cloud.bodies("disks")[0]["provisionedIops"], before["provisionedIops"]);
    assert_eq!(it.cloud.bodies("disks")[0]["provisionedThroughput"], before["provisionedThroughput"]);
}

#[test]
fn a_machine_that_was_stopped_is_started() {
    let it = Somebody::in_a_deployment();
    let machine = it.home.id("machine.main");
    it.machine("stop", json!({"instance": it.name("machine.main")}));
    differs(&it.drift(), &[("machine.main", &["state"])]);
    it.is_right_again();
    assert_eq!(it.cloud.bodies("instances")[0]["status"], "RUNNING");
    assert_eq!(it.home.id("machine.main"), machine, "the same machine");
}

/// What a crash may leave: it carries the labels of this very state, which knows nothing of it.
#[test]
fn what_no_record_has_is_told_and_goes_with_the_deployment() {
    let it = Somebody::in_a_deployment();
    let lineage = it.home.state().unwrap()["lineage"].as_str().unwrap().to_owned();
    let labels = json!({"dsctl-deployment": "default", "dsctl-lineage": lineage, "dsctl-address": "machine-main",
        "dsctl-token": "feedfeedfeedfeed", "dsctl-owner": "user"});
    let disk = json!({"name": "dsctl-default-left", "sizeGb": "100", "labels": labels});
    it.compute("disks.insert", json!({"zone": it.zone(), "body": disk}));
    let id = format!("projects/{PROJECT}/zones/{}/disks/dsctl-default-left", it.zone());
    it.home.dsctl(&["drift"]).exits(0).says(&format!("? {id}")).says("it carries our tags and is in no record");
    it.home.dsctl(&["orphans", "--cloud", "gcp", "--detailed-exitcode"]).exits(2).says(&id);
    it.home.dsctl(&["down", "--yes"]).exits(0);
    it.cloud.is_empty("after down");
}
