//! Ctrl-C in the middle of it: what is there, what it costs, and the next command goes on from there.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tests::process::Running;
use tests::proxy::{Fault, Rule};
use tests::wait::until;

use super::{DOWN, UP, calls, held};
use crate::crash::Ground;

/// Long enough for a signal to be heard.
const HEARD: Duration = Duration::from_millis(500);

fn ctrl_c(running: &Running) {
    let pid = i32::try_from(running.pid()).ok().and_then(Pid::from_raw).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    std::thread::sleep(HEARD);
}

/// The first ends what is under way and says what there is; `slow` is an operation that `up` makes something by before
/// the machine.
pub fn once<G: Ground>(slow: &str) {
    let ground = G::start();
    let up = held(&ground, UP, slow);
    ctrl_c(&up);
    ground.proxy().release();
    let up = up.end().exits(8).says("Stopping: what is under way is finished first");
    let up = up.says("resources exist and cost $").says("an hour").says("dsctl down").says("next: ");
    assert_eq!(calls(&ground, G::MACHINE), 0, "it went on\n{}", up.transcript());
    ground.agrees("after Ctrl-C");
    ground.run(&["unlock"]).exits(0).says("default is not locked");
    ground.run(&["status"]).exits(1).says("an hour");
    ground.run(UP).exits(0).says("+ machine.main");
    ground.agrees("when it went on");
    assert_eq!(calls(&ground, slow), 1, "what was under way was made twice");
}

/// The second ends at once, and the next `up` finds what was under way.
pub fn twice<G: Ground>(slow: &str) {
    let ground = G::start();
    let up = held(&ground, UP, slow);
    ctrl_c(&up);
    ctrl_c(&up);
    up.end().exits(8).says("exist and cost $").says("interrupted");
    ground.run(&["status"]).exits(1).says("A command was interrupted; `dsctl up` goes on");
    // It is done meanwhile.
    ground.proxy().clear();
    ground.run(UP).exits(0).says("+ machine.main");
    assert_eq!(calls(&ground, slow), 0, "what was under way was made twice");
    ground.agrees("when it went on");
    ground.run(DOWN).exits(0);
    ground.is_empty("after down");
}

/// `down` is interrupted as well and takes the rest away later.
pub fn down<G: Ground>() {
    let ground = G::start();
    ground.run(UP).exits(0);
    ground.proxy().clear();
    ground.proxy().arm([Rule::mutating(1, Fault::Hold)]);
    let down = ground.home().start(DOWN);
    until("the first call is held", || ground.proxy().calls().iter().any(|call| call.mutating).then_some(()));
    ctrl_c(&down);
    ground.proxy().release();
    down.end().exits(8).says("Stopping").says("exist and cost $");
    ground.agrees("half-way down");
    ground.run(DOWN).exits(0).says("is gone");
    ground.is_empty("after down");
}

/// Waiting for the machine may be ended.
pub fn waiting<G: Ground>() {
    let ground = G::start();
    let up = ground.home().start(&["up", "--yes"]);
    let looked = || ground.proxy().calls().iter().any(|call| call.path.contains("status.json"));
    until("the machine's report is looked for", || looked().then_some(()));
    ctrl_c(&up);
    up.end().exits(8).says("waiting for the machine").says("exist and cost $").says("an hour");
    ground.agrees("while it was waited for");
    ground.run(&["unlock"]).exits(0).says("default is not locked");
    ground.run(&["up", "--yes", "--no-wait", "--expect-no-changes"]).exits(0).says("No changes");
}
