//! Operations: how long they run, and request ids.

use serde_json::json;

use super::super::Looks;
use super::{Desk, MACHINE, ZONE, compute, instance, instances, network};

const ID: &str = "5f0cdb4a-4a5f-4d9b-9d3f-0a4f6bdb1c11";

#[test]
fn an_operation_runs_for_so_many_looks() {
    let desk = Desk::start();
    for looks in [0, 2] {
        desk.google.reset();
        desk.google.set_looks(Looks { operation: looks, ..Looks::default() });
        let operation = desk.post(&compute("global/networks"), &network("net"));
        assert_eq!((&operation["status"], &operation["operationType"]), (&json!("RUNNING"), &json!("insert")));
        assert!(operation["id"].as_str().is_some_and(|id| id.parse::<u64>().is_ok()), "{operation}");
        for _ in 0..looks {
            assert_eq!(desk.get(&Desk::place(&operation))["status"], "RUNNING");
        }
        let ended = desk.get(&Desk::place(&operation));
        assert_eq!((&ended["status"], &ended["progress"]), (&json!("DONE"), &json!(100)));
        assert_eq!(ended["targetId"], desk.get(&compute("global/networks/net"))["id"]);
    }
}

#[test]
fn who_waits_for_an_operation_sees_its_end() {
    let desk = Desk::start();
    desk.google.set_looks(Looks { operation: 9, ..Looks::default() });
    let operation = desk.post(&compute("global/networks"), &network("net"));
    let ended = desk.ask("POST", &format!("{}/wait", Desk::place(&operation)), None).has_status(200).json();
    assert_eq!(ended["status"], "DONE");
    desk.refused(("GET", &compute("global/operations/operation-0")), None, 404, "notFound");
}

#[test]
fn operations_lie_where_their_target_lies() {
    let desk = Desk::start().with_network();
    let operation = desk.post(&instances(), &instance("one", MACHINE));
    assert!(Desk::place(&operation).contains(&format!("/zones/{ZONE}/operations/")), "{operation}");
    assert!(operation["zone"].as_str().is_some_and(|zone| zone.ends_with(ZONE)), "{operation}");
    let gone = desk.ask("DELETE", &compute("regions/us-central1/subnetworks/sub"), None);
    assert_eq!(gone.status, 400, "{gone:?}");
}

#[test]
fn the_same_request_id_gives_the_same_operation_and_makes_nothing_twice() {
    let desk = Desk::start();
    let place = compute(&format!("global/networks?requestId={ID}"));
    let first = desk.post(&place, &network("net"));
    let again = desk.post(&place, &network("net"));
    assert_eq!((&again["name"], &again["clientOperationId"]), (&first["name"], &json!(ID)));
    desk.ended(&first);
    assert_eq!(desk.post(&place, &network("net"))["status"], "DONE");
    // Even when what it made is gone: the request was done once, and once is all.
    desk.done("DELETE", &compute("global/networks/net"), None);
    assert_eq!(desk.post(&place, &network("net"))["name"], first["name"]);
    desk.refused(("GET", &compute("global/networks/net")), None, 404, "notFound");
}

#[test]
fn a_request_id_is_a_uuid_and_for_one_request() {
    let desk = Desk::start();
    let place = |id: &str| compute(&format!("global/networks?requestId={id}"));
    desk.refused(("POST", &place("one")), Some(&network("net")), 400, "invalid");
    desk.refused(("POST", &place("00000000-0000-0000-0000-000000000000")), Some(&network("net")), 400, "invalid");
    desk.post(&place(ID), &network("net"));
    desk.refused(("POST", &place(ID)), Some(&network("other")), 400, "invalid");
}

#[test]
fn a_request_that_was_refused_is_not_remembered() {
    let desk = Desk::start().with_network();
    let place = compute(&format!("regions/us-central1/subnetworks?requestId={ID}"));
    let body = super::subnetwork("more", "absent", "10.9.0.0/24");
    desk.refused(("POST", &place), Some(&body), 404, "notFound");
    desk.made(&compute("global/networks"), &network("absent"));
    desk.made(&place, &body);
}

#[test]
fn a_machine_that_is_deleted_while_it_is_made_ends_its_making() {
    let desk = Desk::start().with_network();
    desk.google.set_looks(Looks { operation: 5, ..Looks::default() });
    let making = desk.post(&instances(), &instance("one", MACHINE));
    let place = format!("{}/one", instances());
    assert_eq!(desk.get(&place)["status"], "PROVISIONING");
    let going = desk.ask("DELETE", &place, None).has_status(200).json();
    let ended = desk.ended(&making);
    assert_eq!((&ended["httpErrorStatusCode"], &ended["httpErrorMessage"]), (&json!(409), &json!("CONFLICT")));
    assert!(desk.ended(&going)["error"].is_null());
    desk.refused(("GET", &place), None, 404, "notFound");
    assert_eq!(desk.google.account()["disks"], json!([]));
}
