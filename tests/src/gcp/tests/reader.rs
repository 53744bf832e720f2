//! Google's own client for python reads the account, and finds in it what the fake tells by itself.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::reader::Reader;
use super::super::{Looks, PROJECT, account};
use super::objects::BUCKET;
use super::{Desk, MACHINE, ZONE, compute, instance, instances, subnetwork};

fn ids(account: &Value) -> BTreeSet<String> {
    let kinds =
        ["networks", "subnetworks", "routers", "firewalls", "instances", "disks", "service_accounts", "buckets"];
    let all = kinds.iter().flat_map(|kind| account::things(account, kind));
    all.map(|thing| thing["id"].as_str().expect("an id").to_owned()).collect()
}

/// Two of some kinds, so that a page of one has a next.
fn furnished() -> Desk {
    let desk = Desk::start().with_network().with_bucket();
    desk.google.set_looks(Looks { operation: 0, machine: 0, account: 0 });
    desk.made(&compute("regions/us-central1/subnetworks"), &subnetwork("more", "net", "10.1.0.0/24"));
    let rule =
        json!({"name": "in", "network": "global/networks/net", "allowed": [{"IPProtocol": "tcp", "ports": ["443"]}]});
    desk.made(&compute("global/firewalls"), &rule);
    desk.made(&compute("regions/us-central1/routers"), &json!({"name": "way", "network": "global/networks/net"}));
    for id in ["machine", "another"] {
        desk.post(&format!("/v1/projects/{PROJECT}/serviceAccounts"), &json!({"accountId": id}));
    }
    for name in ["one", "two"] {
        desk.made(&instances(), &instance(name, MACHINE));
    }
    desk.upload(&json!({"name": "a/b"}), "x", "").has_status(200);
    desk.upload(&json!({"name": "a/b"}), "y", "").has_status(200);
    desk
}

#[test]
fn a_reader_that_we_did_not_write_sees_what_there_is() {
    let desk = furnished();
    let reader = Reader::start();
    let own = desk.google.account();
    for page in [500, 1] {
        desk.google.set_page(page);
        let read = reader.list(&desk.google.url(), PROJECT);
        assert_eq!(ids(&read), ids(&own));
        let machine = account::things(&read, "instances").find(|it| it["name"] == "one").expect("the machine");
        assert_eq!(
            (&machine["zone"], &machine["status"], &machine["public"]),
            (&json!(ZONE), &json!("RUNNING"), &json!([]))
        );
        let bucket = account::things(&read, "buckets").next().expect("the bucket");
        assert_eq!((&bucket["keys"], &bucket["generations"]), (&json!(["a/b"]), &json!(2)));
    }
    let stop = json!({"project": PROJECT, "zone": ZONE, "instance": "one"});
    reader.call(&desk.google.url(), ("compute", "v1", "instances.stop"), &stop);
    assert_eq!(desk.get(&format!("{}/one", instances()))["status"], "TERMINATED");
    let family = json!({"project": "deeplearning-platform-release", "family": "common-cu129-ubuntu-2204-nvidia-580"});
    let image = reader.call(&desk.google.url(), ("compute", "v1", "images.getFromFamily"), &family);
    assert_eq!(image["status"], "READY");
}

#[test]
fn what_is_alive_has_the_ids_of_a_state() {
    let desk = furnished();
    let alive = account::alive(&desk.google.account());
    for id in [
        "gs://dsctl-a-0123/a/b",
        "projects/dsctl-tests/global/networks/net",
        "projects/dsctl-tests/regions/us-central1/routers/way",
        "projects/dsctl-tests/serviceAccounts/machine@dsctl-tests.iam.gserviceaccount.com",
        "projects/dsctl-tests/zones/us-central1-a/instances/two",
        BUCKET,
    ] {
        assert!(alive.iter().any(|it| it == id), "{id} is not in {alive:?}");
    }
    assert!(alive.iter().all(|id| !id.contains("/disks/")), "{alive:?}");
    let account = desk.google.account();
    let machine = account::things(&account, "instances").next().expect("a machine");
    assert_eq!(
        machine["ownership"],
        json!({"deployment": "a", "address": "machine-main", "token": "t", "lineage": "l"})
    );
    desk.google.reset();
    assert_eq!(account::alive(&desk.google.account()), Vec::<String>::new());
}
