//! What is there without being made, and lists: of a place, of all places, by filter, in pages.

use serde_json::{Value, json};

use super::{Desk, MACHINE, ZONE, compute, instance, instances, network};

fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().into_iter().flatten().filter_map(|it| it["name"].as_str()).collect()
}

#[test]
fn zones_of_a_region_and_whether_they_are_up() {
    let desk = Desk::start();
    desk.google.take_zone_down("us-central1-b");
    let zones = desk.get(&compute("zones"));
    let up: Vec<&Value> =
        zones["items"].as_array().into_iter().flatten().filter(|zone| zone["status"] == "UP").collect();
    assert_eq!((names(&zones).len(), up.len()), (7, 6));
    assert_eq!(desk.get(&compute("zones/us-central1-b"))["status"], "DOWN");
    let region = desk.get(&compute("regions/us-central1"));
    assert_eq!(region["zones"].as_array().map(Vec::len), Some(4));
    assert_eq!(names(&desk.get(&compute("regions"))), ["europe-west4", "us-central1"]);
}

#[test]
fn machine_types_by_zone_and_everywhere() {
    let desk = Desk::start();
    let one = desk.get(&compute(&format!("zones/{ZONE}/machineTypes/{MACHINE}")));
    assert_eq!((&one["guestCpus"], &one["accelerators"][0]["guestAcceleratorType"]), (&json!(4), &json!("nvidia-l4")));
    let filter = "filter=(name%20=%20%22g2-standard-4%22)%20OR%20(name%20=%20%22a2-ultragpu-1g%22)";
    let all = desk.get(&compute(&format!("aggregated/machineTypes?{filter}")));
    let here = |zone: &str| all["items"][format!("zones/{zone}")]["machineTypes"].as_array().map(Vec::len);
    assert_eq!((here("us-central1-a"), here("us-central1-b"), here("us-central1-f")), (Some(2), Some(1), None));
    assert_eq!(all["items"]["zones/us-central1-f"]["warning"]["code"], "NO_RESULTS_ON_PAGE");
    desk.refused(("GET", &compute(&format!("zones/{ZONE}/machineTypes/g4-standard-48"))), None, 404, "notFound");
}

#[test]
fn images_by_family_and_by_name() {
    let desk = Desk::start();
    let images = "/compute/v1/projects/deeplearning-platform-release/global/images";
    let family = "common-cu129-ubuntu-2204-nvidia-580";
    let newest = desk.get(&format!("{images}/family/{family}"));
    let earlier = newest["name"].as_str().expect("a name").to_owned();
    assert_eq!(newest["family"], family);
    desk.google.release_image(family, "common-cu129-ubuntu-2204-nvidia-580-v20261101");
    assert_eq!(desk.get(&format!("{images}/family/{family}"))["name"], "common-cu129-ubuntu-2204-nvidia-580-v20261101");
    assert_eq!(desk.get(&format!("{images}/{earlier}"))["selfLink"], newest["selfLink"]);
    desk.google.remove_image(&earlier);
    desk.refused(("GET", &format!("{images}/{earlier}")), None, 404, "notFound");
    desk.google.withdraw_image_family(family);
    let message = desk.refused(("GET", &format!("{images}/family/{family}")), None, 404, "notFound");
    assert!(message.contains(&format!("images/family/{family}' was not found")), "{message}");
}

#[test]
fn lists_come_in_pages_and_without_items_if_there_are_none() {
    let desk = Desk::start();
    let networks = compute("global/networks");
    assert!(desk.get(&networks)["items"].is_null());
    for name in ["dsctl-a", "dsctl-b", "other"] {
        desk.made(&networks, &network(name));
    }
    assert_eq!(names(&desk.get(&format!("{networks}?filter=name%20eq%20dsctl-.*"))), ["dsctl-a", "dsctl-b"]);
    desk.google.set_page(2);
    let first = desk.get(&networks);
    let token = first["nextPageToken"].as_str().expect("a next page");
    assert_eq!(names(&first), ["dsctl-a", "dsctl-b"]);
    let second = desk.get(&format!("{networks}?pageToken={token}"));
    assert_eq!((names(&second), &second["nextPageToken"]), (vec!["other"], &Value::Null));
    assert_eq!(names(&desk.get(&format!("{networks}?maxResults=1"))).len(), 1);
    desk.refused(("GET", &format!("{networks}?pageToken=x")), None, 400, "invalid");
}

#[test]
fn machines_of_all_zones_by_label() {
    let desk = Desk::start().with_network();
    desk.made(&instances(), &instance("one", MACHINE));
    let found = |filter: &str| {
        let all = desk.get(&compute(&format!("aggregated/instances?filter={filter}")));
        all["items"][format!("zones/{ZONE}")]["instances"].as_array().map(Vec::len)
    };
    assert_eq!(found("labels.dsctl-deployment%20=%20a"), Some(1));
    assert_eq!(found("labels.dsctl-deployment:*"), Some(1));
    assert_eq!(found("labels.dsctl-deployment=b"), None);
    let disks = desk.get(&compute("aggregated/disks"));
    assert_eq!(disks["items"][format!("zones/{ZONE}")]["disks"][0]["name"], "one");
}

#[test]
fn only_the_fields_that_were_asked_for() {
    let desk = Desk::start();
    desk.made(&compute("global/networks"), &network("net"));
    let list = desk.get(&compute("global/networks?fields=items(name)"));
    assert_eq!(list, json!({"items": [{"name": "net"}]}));
}

#[test]
fn projects_are_known_or_not() {
    let desk = Desk::start();
    let v1 = desk.get("/v1/projects/dsctl-tests");
    let v3 = desk.get("/v3/projects/dsctl-tests");
    assert_eq!((&v1["lifecycleState"], &v3["state"]), (&json!("ACTIVE"), &json!("ACTIVE")));
    assert_eq!(v3["name"], json!(format!("projects/{}", v1["projectNumber"].as_str().expect("a number"))));
    desk.refused(("GET", "/v1/projects/other-one"), None, 403, "forbidden");
    desk.refused(("GET", "/compute/v1/projects/other-one/zones"), None, 404, "notFound");
    desk.google.add_project("other-one", 7);
    assert_eq!(desk.get("/compute/v1/projects/other-one")["id"], "7");
}
