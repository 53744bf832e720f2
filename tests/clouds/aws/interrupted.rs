//! Ctrl-C in the middle of it: what is there, what it costs, and the next `up` goes on from there.

use rustix::process::{Pid, Signal, kill_process};
use tests::aws::cloud::{Cloud, REGION};
use tests::aws::dialect::Looks;
use tests::cloud_home::CloudHome;
use tests::process::Running;
use tests::wait::until;

fn ctrl_c(running: &Running) {
    let pid = i32::try_from(running.pid()).ok().and_then(Pid::from_raw).unwrap();
    kill_process(pid, Signal::INT).unwrap();
}

/// An `up` whose NAT gateway is pending in so many looks.
fn begun(cloud: &Cloud, home: &CloudHome, nat: u32) -> Running {
    cloud.proxy.set_pending(Looks { machine: 0, nat });
    let up = home.start(&["up", "--yes", "--no-wait"]);
    let is_looked_at = || {
        let calls = cloud.proxy.calls();
        let made = calls.iter().position(|call| call.operation == "CreateNatGateway" && call.status.is_some())?;
        calls[made..].iter().any(|call| call.operation == "DescribeNatGateways").then_some(())
    };
    until("the NAT gateway is looked at", is_looked_at);
    up
}

#[test]
fn the_first_ends_what_is_under_way_and_says_what_there_is() {
    let cloud = Cloud::start();
    let home = cloud.home();
    let up = begun(&cloud, &home, 3);
    ctrl_c(&up);
    let up = up.end().exits(8).says("Stopping: what is under way is finished first");
    let up = up.says("resources exist and cost $").says("an hour").says("dsctl down").says("next: ");
    assert!(!cloud.changes().contains(&"RunInstances".to_owned()), "it went on\n{}", up.transcript());
    cloud.agrees_with(&home, "after Ctrl-C");
    home.dsctl(&["unlock"]).exits(0).says("default is not locked");
    home.dsctl(&["status"]).exits(1).says("an hour");
    home.up(&[]).exits(0).says("+ machine.main");
    cloud.agrees_with(&home, "when it went on");
    let again = cloud.changes().iter().filter(|call| *call == "CreateNatGateway").count();
    assert_eq!(again, 1, "the NAT gateway was made twice");
}

#[test]
fn the_second_ends_at_once_and_the_next_up_finds_what_was_under_way() {
    let cloud = Cloud::start();
    let home = cloud.home();
    let up = begun(&cloud, &home, 1000);
    ctrl_c(&up);
    std::thread::sleep(std::time::Duration::from_millis(300));
    ctrl_c(&up);
    up.end().exits(8).says("exist and cost $").says("interrupted");
    home.dsctl(&["status"]).exits(1).says("A command was interrupted; `dsctl up` goes on");
    // It has become available meanwhile.
    cloud.proxy.reset();
    home.up(&[]).exits(0).says("+ machine.main");
    assert!(!cloud.changes().contains(&"CreateNatGateway".to_owned()), "another NAT gateway was made");
    cloud.agrees_with(&home, "when it went on");
    home.dsctl(&["down", "--yes"]).exits(0);
    cloud.is_empty(REGION, "after down");
}

#[test]
fn down_is_interrupted_as_well_and_takes_the_rest_away_later() {
    let cloud = Cloud::start();
    let home = cloud.home();
    home.up(&[]).exits(0);
    cloud.proxy.clear();
    let down = home.start(&["down", "--yes"]);
    until("the machine is ended", || cloud.changes().contains(&"TerminateInstances".to_owned()).then_some(()));
    ctrl_c(&down);
    let down = down.end();
    assert!([0, 8].contains(&down.code), "{}", down.transcript());
    if down.code == 8 {
        down.says("Stopping");
        cloud.agrees_with(&home, "half-way down");
        home.dsctl(&["down", "--yes"]).exits(0).says("is gone");
    }
    cloud.is_empty(REGION, "after down");
}

#[test]
fn waiting_for_the_machine_may_be_ended_and_taken_up_again() {
    let cloud = Cloud::start();
    let home = cloud.home();
    let up = home.start(&["up", "--yes"]);
    until("the machine is made", || {
        let state = home.state()?;
        let is_there = state["resources"]["machine.main"]["remote_id"].is_string();
        let looked = cloud.proxy.calls().iter().any(|call| call.operation == "GetConsoleOutput");
        (is_there && looked).then_some(())
    });
    ctrl_c(&up);
    up.end().exits(8).says("waiting for the machine").says("exist and cost $").says("an hour");
    cloud.agrees_with(&home, "while it was waited for");
    cloud.report_ready(&home);
    home.dsctl(&["up", "--yes"]).exits(0).says("No changes").says("default is ready");
}
