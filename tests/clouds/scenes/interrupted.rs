//! Ctrl-C in the middle of it: what is there, what it costs, and the next command goes on from there.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tests::process::Running;
use tests::proxy::{Fault, Rule};
use tests::wait::until;

use super::{DOWN, UP, calls, held};
use crate::crash::Stage;

/// Long enough for a signal to be heard.
const HEARD: Duration = Duration::from_millis(500);

fn ctrl_c(running: &Running) {
    let pid = i32::try_from(running.pid()).ok().and_then(Pid::from_raw).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    std::thread::sleep(HEARD);
}

/// The first ends what is under way and says what there is; `slow` is an operation that `up` makes something by before
/// the machine.
pub fn once<S: Stage>(slow: &str) {
    let stage = S::start();
    let up = held(&stage, UP, slow);
    ctrl_c(&up);
    stage.proxy().release();
    let up = up.end().exits(8).says("Stopping: what is under way is finished first");
    let up = up.says("resources exist and cost $").says("an hour").says("dsctl down").says("next: ");
    assert_eq!(calls(&stage, S::MACHINE), 0, "it went on\n{}", up.transcript());
    stage.agrees("after Ctrl-C");
    stage.run(&["unlock"]).exits(0).says("default is not locked");
    stage.run(&["status"]).exits(1).says("an hour");
    stage.run(UP).exits(0).says("+ machine.main");
    stage.agrees("when it went on");
    assert_eq!(calls(&stage, slow), 1, "what was under way was made twice");
}

/// The second ends at once, and the next `up` finds what was under way.
pub fn twice<S: Stage>(slow: &str) {
    let stage = S::start();
    let up = held(&stage, UP, slow);
    ctrl_c(&up);
    ctrl_c(&up);
    up.end().exits(8).says("exist and cost $").says("interrupted");
    stage.run(&["status"]).exits(1).says("A command was interrupted; `dsctl up` goes on");
    // It is done meanwhile.
    stage.proxy().clear();
    stage.run(UP).exits(0).says("+ machine.main");
    assert_eq!(calls(&stage, slow), 0, "what was under way was made twice");
    stage.agrees("when it went on");
    stage.run(DOWN).exits(0);
    stage.is_empty("after down");
}

/// `down` is interrupted as well and takes the rest away later.
pub fn down<S: Stage>() {
    let stage = S::start();
    stage.run(UP).exits(0);
    stage.proxy().clear();
    stage.proxy().arm([Rule::mutating(1, Fault::Hold)]);
    let down = stage.home().start(DOWN);
    until("the first call is held", || stage.proxy().calls().iter().any(|call| call.mutating).then_some(()));
    ctrl_c(&down);
    stage.proxy().release();
    down.end().exits(8).says("Stopping").says("exist and cost $");
    stage.agrees("half-way down");
    stage.run(DOWN).exits(0).says("is gone");
    stage.is_empty("after down");
}

/// Waiting for the machine may be ended.
pub fn waiting<S: Stage>() {
    let stage = S::start();
    let up = stage.home().start(&["up", "--yes"]);
    let looked = || stage.proxy().calls().iter().any(|call| call.path.contains("status.json"));
    until("the machine's report is looked for", || looked().then_some(()));
    ctrl_c(&up);
    up.end().exits(8).says("waiting for the machine").says("exist and cost $").says("an hour");
    stage.agrees("while it was waited for");
    stage.run(&["unlock"]).exits(0).says("default is not locked");
    stage.run(&["up", "--yes", "--no-wait", "--expect-no-changes"]).exits(0).says("No changes");
}
