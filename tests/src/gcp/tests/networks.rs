//! Networks and what lies in them: when they show, who uses them, how they change.

use serde_json::json;

use super::super::{Failure, Looks};
use super::{Desk, compute, network, subnetwork};

const SUBNETWORKS: &str = "regions/us-central1/subnetworks";

#[test]
fn a_network_shows_when_it_is_made_and_its_name_is_taken_before() {
    let desk = Desk::start();
    desk.google.set_looks(Looks { operation: 3, ..Looks::default() });
    let networks = compute("global/networks");
    desk.post(&networks, &network("net"));
    desk.refused(("GET", &compute("global/networks/net")), None, 404, "notFound");
    let message = desk.refused(("POST", &networks), Some(&network("net")), 409, "alreadyExists");
    assert_eq!(message, "The resource 'projects/dsctl-tests/global/networks/net' already exists");
    let within = subnetwork("sub", "net", "10.0.0.0/24");
    let message = desk.refused(("POST", &compute(SUBNETWORKS)), Some(&within), 400, "resourceNotReady");
    assert_eq!(message, "The resource 'projects/dsctl-tests/global/networks/net' is not ready");
    let made = desk.get(&compute("global/networks/net"));
    assert_eq!((&made["name"], &made["routingConfig"]["routingMode"]), (&json!("net"), &json!("REGIONAL")));
    assert!(made["id"].as_str().is_some_and(|id| id.parse::<u64>().is_ok()), "{made}");
}

#[test]
fn what_is_used_stays() {
    let desk = Desk::start().with_network();
    let (net, sub) = (compute("global/networks/net"), compute(&format!("{SUBNETWORKS}/sub")));
    assert_eq!(desk.get(&net)["subnetworks"].as_array().map(Vec::len), Some(1));
    let message = desk.refused(("DELETE", &net), None, 400, "resourceInUseByAnotherResource");
    let wanted = "The network resource 'projects/dsctl-tests/global/networks/net' is already being used by \
                  'projects/dsctl-tests/regions/us-central1/subnetworks/sub'";
    assert_eq!(message, wanted);
    let operation = desk.ask("DELETE", &sub, None).has_status(200).json();
    // Until it is gone, it is there, and uses the network.
    desk.refused(("DELETE", &net), None, 400, "resourceInUseByAnotherResource");
    desk.ended(&operation);
    desk.refused(("GET", &sub), None, 404, "notFound");
    desk.done("DELETE", &net, None);
    desk.refused(("GET", &net), None, 404, "notFound");
    desk.refused(("DELETE", &net), None, 404, "notFound");
}

#[test]
fn a_subnetwork_has_a_range_of_its_own_and_a_network() {
    let desk = Desk::start().with_network();
    let subnetworks = compute(SUBNETWORKS);
    let overlapping = subnetwork("more", "net", "10.0.0.128/25");
    let message = desk.refused(("POST", &subnetworks), Some(&overlapping), 400, "badRequest");
    assert_eq!(
        message,
        "Invalid IPCidrRange: 10.0.0.128/25 conflicts with existing subnetwork 'sub' in region 'us-central1'."
    );
    desk.refused(("POST", &subnetworks), Some(&subnetwork("more", "net", "10.1.0.1/24")), 400, "invalid");
    desk.refused(("POST", &subnetworks), Some(&subnetwork("more", "absent", "10.1.0.0/24")), 404, "notFound");
    desk.refused(("GET", &compute("regions/nowhere1/subnetworks/sub")), None, 400, "invalid");
    let sub = desk.get(&format!("{subnetworks}/sub"));
    assert_eq!((&sub["gatewayAddress"], &sub["purpose"]), (&json!("10.0.0.1"), &json!("PRIVATE")));
    let access = json!({"privateIpGoogleAccess": false});
    desk.made(&format!("{subnetworks}/sub/setPrivateIpGoogleAccess"), &access);
    assert_eq!(desk.get(&format!("{subnetworks}/sub"))["privateIpGoogleAccess"], false);
}

#[test]
fn a_patch_of_a_subnetwork_needs_its_fingerprint() {
    let desk = Desk::start().with_network();
    let sub = compute(&format!("{SUBNETWORKS}/sub"));
    let seen = desk.get(&sub)["fingerprint"].clone();
    let patch = json!({"fingerprint": seen, "privateIpGoogleAccess": false});
    desk.done("PATCH", &sub, Some(&patch));
    desk.refused(("PATCH", &sub), Some(&patch), 412, "conditionNotMet");
    assert_eq!(desk.get(&sub)["privateIpGoogleAccess"], false);
}

#[test]
fn a_firewall_rule_is_patched_in_whole_lists() {
    let desk = Desk::start().with_network();
    let rule = json!({"name": "in", "network": "projects/dsctl-tests/global/networks/net", "direction": "INGRESS",
        "priority": 1000, "allowed": [{"IPProtocol": "tcp", "ports": ["8080"]}], "sourceRanges": ["10.0.0.0/8", "192.0.2.0/24"],
        "targetServiceAccounts": ["a@dsctl-tests.iam.gserviceaccount.com"], "disabled": false});
    desk.made(&compute("global/firewalls"), &rule);
    let place = compute("global/firewalls/in");
    desk.done("PATCH", &place, Some(&json!({"name": "in", "sourceRanges": ["192.0.2.0/24"]})));
    let after = desk.get(&place);
    assert_eq!((&after["sourceRanges"], &after["allowed"]), (&json!(["192.0.2.0/24"]), &rule["allowed"]));
    let both = json!({"name": "in", "denied": [{"IPProtocol": "all"}]});
    desk.refused(("PATCH", &place), Some(&both), 400, "invalid");
    desk.refused(("DELETE", &compute("global/networks/net")), None, 400, "resourceInUseByAnotherResource");
    let elsewhere = json!({"name": "in", "network": "global/networks/other"});
    desk.refused(("PATCH", &place), Some(&elsewhere), 400, "invalid");
}

#[test]
fn an_update_leaves_only_what_was_sent() {
    let desk = Desk::start().with_network();
    let rule = json!({"name": "in", "network": "global/networks/net", "allowed": [{"IPProtocol": "tcp", "ports": ["8080"]}],
        "sourceRanges": ["192.0.2.0/24"], "targetTags": ["a"], "priority": 7});
    desk.made(&compute("global/firewalls"), &rule);
    let place = compute("global/firewalls/in");
    let update = json!({"name": "in", "network": "global/networks/net", "allowed": [{"IPProtocol": "udp"}],
        "sourceRanges": ["192.0.2.0/25"]});
    desk.done("PUT", &place, Some(&update));
    let after = desk.get(&place);
    assert_eq!((&after["targetTags"], &after["priority"]), (&json!(null), &json!(1000)));
    assert_eq!((&after["allowed"], &after["sourceRanges"]), (&update["allowed"], &update["sourceRanges"]));
    assert!(after["id"].is_string() && after["disabled"] == false, "{after}");
}

#[test]
fn a_deletion_that_fails_leaves_what_there_was() {
    let desk = Desk::start().with_network();
    let failure = Failure::new("RESOURCE_IN_USE_BY_ANOTHER_RESOURCE", 400, "It is used.");
    desk.google.fail_operations("compute.subnetworks.delete", 1, failure);
    let sub = compute(&format!("{SUBNETWORKS}/sub"));
    let operation = desk.ask("DELETE", &sub, None).has_status(200).json();
    assert_eq!(desk.ended(&operation)["error"]["errors"][0]["code"], "RESOURCE_IN_USE_BY_ANOTHER_RESOURCE");
    assert_eq!(desk.get(&sub)["name"], "sub");
    desk.done("DELETE", &sub, None);
}

#[test]
fn a_router_comes_with_its_nat_and_is_patched() {
    let desk = Desk::start().with_network();
    let nat = json!({"name": "nat", "natIpAllocateOption": "AUTO_ONLY",
        "sourceSubnetworkIpRangesToNat": "ALL_SUBNETWORKS_ALL_IP_RANGES", "logConfig": {"enable": true, "filter": "ERRORS_ONLY"}});
    let router = json!({"name": "way", "network": "projects/dsctl-tests/global/networks/net", "nats": [nat]});
    let routers = compute("regions/us-central1/routers");
    desk.made(&routers, &router);
    let place = format!("{routers}/way");
    assert_eq!(desk.get(&place)["nats"][0]["type"], "PUBLIC");
    desk.done("PATCH", &place, Some(&json!({"nats": []})));
    assert_eq!(desk.get(&place)["nats"], json!([]));
    desk.done("PATCH", &place, Some(&json!({"nats": [nat]})));
    assert_eq!(desk.get(&place)["nats"][0]["logConfig"]["filter"], "ERRORS_ONLY");
}

#[test]
fn somebody_else_may_peer_a_network() {
    let desk = Desk::start().with_network();
    let place = compute("global/networks/net");
    let peering = json!({"name": "peer", "network": "projects/other/global/networks/x", "exchangeSubnetRoutes": true});
    desk.made(&format!("{place}/addPeering"), &json!({"name": "peer", "networkPeering": peering}));
    assert_eq!(desk.get(&place)["peerings"][0]["name"], "peer");
    desk.made(&format!("{place}/removePeering"), &json!({"name": "peer"}));
    assert!(desk.get(&place)["peerings"].is_null());
}

#[test]
fn a_network_that_could_not_be_made_is_not_there() {
    let desk = Desk::start();
    desk.google.fail_operations("compute.networks.insert", 1, Failure::internal());
    let operation = desk.post(&compute("global/networks"), &network("net"));
    let ended = desk.ended(&operation);
    assert_eq!(
        (&ended["error"]["errors"][0]["code"], &ended["httpErrorStatusCode"]),
        (&json!("INTERNAL_ERROR"), &json!(500))
    );
    desk.refused(("GET", &compute("global/networks/net")), None, 404, "notFound");
    desk.made(&compute("global/networks"), &network("net"));
}
