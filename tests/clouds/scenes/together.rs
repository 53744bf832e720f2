//! Several people at once.

use super::{UP, calls, held};
use crate::crash::Ground;

/// One wins, and the other is told who it is; `slow` is an operation that `up` makes something by before the machine.
pub fn of_two_at_once_one_wins<G: Ground>(slow: &str) {
    let ground = G::start();
    let first = held(&ground, UP, slow);
    let holder = format!("locked by dsctl up (process {} on", first.pid());
    let second = ground.run(UP).exits(11).says(&holder).says("next: dsctl status");
    assert!(!second.stderr.contains("exist and cost"), "{}", second.transcript());
    let asked = ground.run(&["down", "--yes", "--json"]).exits(11).says(&holder).json();
    assert_eq!(asked["error"]["kind"], "locked");
    ground.run(&["unlock", "--yes"]).exits(11).says(&first.pid().to_string());
    // Looks need no lock.
    ground.run(&["status"]).exits(1).says("not ready");
    ground.run(&["drift"]).exits(0);
    ground.proxy().release();
    first.end().exits(0).says("+ machine.main");
    assert_eq!(calls(&ground, G::MACHINE), 1, "the machine was made once");
    ground.run(&["up", "--yes", "--no-wait", "--expect-no-changes"]).exits(0).says("No changes");
    ground.agrees("after both");
}
