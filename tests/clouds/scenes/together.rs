//! Several people at once.

use super::{UP, calls, held};
use crate::crash::Stage;

/// One wins, and the other is told who it is; `slow` is an operation that `up` makes something by before the machine.
pub fn of_two_at_once_one_wins<S: Stage>(slow: &str) {
    let stage = S::start();
    let first = held(&stage, UP, slow);
    let holder = format!("locked by dsctl up (process {} on", first.pid());
    let second = stage.run(UP).exits(11).says(&holder).says("next: dsctl status");
    assert!(!second.stderr.contains("exist and cost"), "{}", second.transcript());
    let asked = stage.run(&["down", "--yes", "--json"]).exits(11).says(&holder).json();
    assert_eq!(asked["error"]["kind"], "locked");
    stage.run(&["unlock", "--yes"]).exits(11).says(&first.pid().to_string());
    // Looks need no lock.
    stage.run(&["status"]).exits(1).says("not ready");
    stage.run(&["drift"]).exits(0);
    stage.proxy().release();
    first.end().exits(0).says("+ machine.main");
    assert_eq!(calls(&stage, S::MACHINE), 1, "the machine was made once");
    stage.run(&["up", "--yes", "--no-wait", "--expect-no-changes"]).exits(0).says("No changes");
    stage.agrees("after both");
}
