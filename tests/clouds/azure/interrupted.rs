//! Ctrl-C in the middle of it: what is there, what it costs, and the next `up` goes on from there.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tests::azure::Looks;
use tests::azure::cloud::Cloud;
use tests::cloud_home::CloudHome;
use tests::process::Running;
use tests::wait::until;

/// More than anybody waits for.
const FOREVER: u32 = 1_000_000;
/// Until a signal has come.
const A_MOMENT: Duration = Duration::from_millis(300);
const ADDRESS: &str = "PublicIPAddresses_CreateOrUpdate";

fn ctrl_c(running: &Running) {
    let pid = i32::try_from(running.pid()).ok().and_then(Pid::from_raw).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    std::thread::sleep(A_MOMENT);
}

/// An `up` whose address is under way, and will be until Azure is told otherwise.
fn begun(cloud: &Cloud, home: &CloudHome) -> Running {
    cloud.azure.set_looks(Looks { network: FOREVER, ..Looks::NONE });
    let up = home.start(&["up", "--yes", "--no-wait"]);
    let is_looked_at = || {
        let calls = cloud.proxy.calls();
        let made = calls.iter().position(|call| call.operation == ADDRESS && call.status.is_some())?;
        calls[made..].iter().any(|call| call.operation == "Operations_Get").then_some(())
    };
    until("the address is looked at", is_looked_at);
    up
}

fn come_to_an_end(cloud: &Cloud) {
    cloud.azure.set_looks(Looks::NONE);
    cloud.azure.pass_time();
}

#[test]
fn the_first_ends_what_is_under_way_and_says_what_there_is() {
    let cloud = Cloud::start();
    let home = cloud.home();
    let up = begun(&cloud, &home);
    ctrl_c(&up);
    come_to_an_end(&cloud);
    let up = up.end().exits(8).says("Stopping: what is under way is finished first");
    let up = up.says("resources exist and cost $").says("an hour").says("dsctl down").says("next: ");
    let went_on = cloud.changes().contains(&"NatGateways_CreateOrUpdate".to_owned());
    assert!(!went_on, "it went on\n{}", up.transcript());
    home.dsctl(&["unlock"]).exits(0).says("default is not locked");
    home.dsctl(&["status"]).exits(1).says("an hour");
    home.up(&[]).exits(0).says("+ machine.main");
    cloud.agrees_with(&home, "when it went on");
    let made = cloud.changes().iter().filter(|call| *call == ADDRESS).count();
    assert_eq!(made, 1, "the address was made twice");
}

#[test]
fn the_second_ends_at_once_and_the_next_up_finds_what_was_under_way() {
    let cloud = Cloud::start();
    let home = cloud.home();
    let up = begun(&cloud, &home);
    ctrl_c(&up);
    ctrl_c(&up);
    up.end().exits(8).says("exist and cost $").says("interrupted");
    home.dsctl(&["status"]).exits(1).says("A command was interrupted; `dsctl up` goes on");
    // Azure has made it meanwhile.
    come_to_an_end(&cloud);
    cloud.proxy.clear();
    home.up(&[]).exits(0).says("+ machine.main");
    assert!(!cloud.changes().contains(&ADDRESS.to_owned()), "another address was made");
    cloud.agrees_with(&home, "when it went on");
    home.dsctl(&["down", "--yes"]).exits(0);
    cloud.is_empty("after down");
}

#[test]
fn waiting_for_the_machine_may_be_ended_and_taken_up_again() {
    let cloud = Cloud::start();
    let home = cloud.home();
    let up = home.start(&["up", "--yes"]);
    until("the machine is made", || {
        let state = home.state()?;
        let is_there = state["resources"]["machine.main"]["remote_id"].is_string();
        let is_console = |operation: &str| operation == "VirtualMachines_RetrieveBootDiagnosticsData";
        let looked = cloud.proxy.calls().iter().any(|call| is_console(&call.operation));
        (is_there && looked).then_some(())
    });
    ctrl_c(&up);
    up.end().exits(8).says("waiting for the machine").says("exist and cost $").says("an hour");
    cloud.agrees_with(&home, "while it was waited for");
    cloud.report_ready(&home);
    home.dsctl(&["up", "--yes"]).exits(0).says("No changes").says("default is ready");
}
