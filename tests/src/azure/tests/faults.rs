//! Calls are recorded, and fail on order.

use std::process::{Child, Command};

use serde_json::json;

use super::super::{Azure, Fault, Looks, Moment, Rule, Shortage};
use super::{MACHINE, SIZE, group, machine, network, tags, thing};
use crate::http::{client, send, wait};
use crate::process::is_alive;

const CREATE: &str = "ResourceGroups_CreateOrUpdate";

#[test]
fn calls_are_recorded_by_name_and_token() {
    let azure = Azure::ready();
    azure.get(&group()).is(200);
    let calls = azure.calls();
    let told: Vec<_> = calls
        .iter()
        .map(|it| (it.number, it.operation.as_str(), it.mutating, it.token.as_deref(), it.status))
        .collect();
    let expected = [(1, CREATE, true, Some("g"), Some(201)), (2, "ResourceGroups_Get", false, None, Some(200))];
    assert_eq!(told, expected);
    azure.clear();
    azure.get(&group()).is(200);
    assert_eq!(azure.calls()[0].number, 1);
}

#[test]
fn calls_are_refused_and_not_done() {
    let azure = Azure::start();
    azure.arm([Rule::nth(CREATE, 1, Fault::Throttle { times: 2 }), Rule::nth(CREATE, 3, Fault::Denied)]);
    let put = || azure.put(&group(), &json!({"location": "eastus", "tags": tags("g")}));
    let throttled = put();
    throttled.refused(429, "TooManyRequests");
    assert_eq!(throttled.header("retry-after"), Some("0"));
    put().refused(429, "TooManyRequests");
    put().refused(403, "AuthorizationFailed");
    put().is(201);
    assert_eq!(azure.waiting(), []);
}

#[test]
fn a_call_is_done_and_nobody_hears_of_it() {
    let azure = Azure::start();
    azure.arm([Rule::mutating(1, Fault::TimeoutAfterSuccess)]);
    let url = format!("{}{}?api-version=2025-04-01", azure.url(), group());
    let request = client().put(&url).bearer_auth(super::token("x")).json(&json!({"location": "eastus"}));
    wait(send(request)).expect_err("no answer");
    azure.get(&group()).is(200);
    azure.arm([Rule::mutating(2, Fault::ErrorAfterSuccess(503))]);
    azure.put(&group(), &json!({"location": "eastus", "tags": {"a": "b"}})).refused(503, "InternalServerError");
    assert_eq!(azure.get(&group()).json()["tags"], json!({"a": "b"}));
}

#[test]
fn what_was_made_does_not_show_at_once() {
    let azure = Azure::start();
    azure.arm([Rule::nth(CREATE, 1, Fault::Unseen { looks: 2 })]);
    azure.put(&group(), &json!({"location": "eastus"})).is(201);
    let list = format!("{}?$filter=tagName eq 'a'", group().rsplit_once('/').expect("a list").0);
    assert_eq!(azure.get(&list).is(200).json()["value"], json!([]));
    azure.get(&group()).refused(404, "ResourceGroupNotFound");
    azure.get(&group()).is(200);
    azure.arm([Rule::nth("VirtualNetworks_CreateOrUpdate", 1, Fault::Unseen { looks: 1 })]);
    let id = thing("Microsoft.Network/virtualNetworks/main");
    azure
        .put(&id, &json!({"location": "eastus", "properties": {"addressSpace": {"addressPrefixes": ["10.0.0.0/24"]}}}))
        .is(201);
    azure.get(&id).refused(404, "ResourceNotFound");
    azure.get(&id).is(200);
}

#[test]
fn machines_are_not_to_be_had_on_order() {
    let azure = Azure::ready();
    let subnet = network(&azure);
    let create = "VirtualMachines_CreateOrUpdate";
    azure.arm([
        Rule::nth(create, 1, Fault::Capacity(Shortage::SkuNotAvailable)),
        Rule::nth(create, 2, Fault::Quota),
        Rule::nth(create, 3, Fault::Capacity(Shortage::AllocationFailed)),
    ]);
    let put = || azure.put(&thing(MACHINE), &machine(&subnet, SIZE));
    put().refused(409, "SkuNotAvailable");
    put().refused(409, "OperationNotAllowed");
    let told = put().is(201);
    let state = azure.follow(told.header("azure-asyncoperation").expect("where to ask")).json();
    assert_eq!(state["error"]["code"], "AllocationFailed");
}

fn victim() -> Child {
    Command::new("sleep").arg("60").spawn().expect("a process")
}

#[track_caller]
fn killed(moment: Moment) -> Azure {
    let azure = Azure::start();
    let mut child = victim();
    azure.set_target(child.id());
    azure.arm([Rule::mutating(1, Fault::Kill(moment))]);
    let url = format!("{}{}?api-version=2025-04-01", azure.url(), group());
    let request = client().put(&url).bearer_auth(super::token("x")).json(&json!({"location": "eastus"}));
    let answer = wait(send(request));
    assert_eq!(answer.is_ok(), moment == Moment::AfterAnswered);
    crate::wait::until("it is dead", || (!is_alive(child.id())).then_some(()));
    child.wait().expect("its end");
    azure
}

#[test]
fn a_process_is_killed_at_a_moment_of_its_call() {
    killed(Moment::BeforeSent).get(&group()).refused(404, "ResourceGroupNotFound");
    killed(Moment::AfterSent).get(&group()).is(200);
    killed(Moment::AfterAnswered).get(&group()).is(200);
}

#[test]
fn looks_are_counted_from_the_first() {
    assert_eq!((Looks::default().machine, Looks::NONE.machine), (1, 0));
}
