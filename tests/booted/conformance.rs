//! The agent's suite of supervisors on a systemd that booted: the same that its fake and its child processes stand under.

use std::fs;
use std::process::Command;

use tests::booted::machine::{Birth, Machine};
use tests::process::run;

use crate::scene::becomes;

/// The agent's unit tests, as `.ci/booted` built them.
const AGENT_TESTS_VARIABLE: &str = "DSCTL_AGENT_TESTS";
const INSIDE: &str = "/opt/agent-tests";
const SUITE: &str = "supervisor::systemd::tests::conforms";

#[test]
fn systemd_is_a_supervisor_as_the_others_are() {
    let tests = std::env::var(AGENT_TESTS_VARIABLE)
        .unwrap_or_else(|_| panic!("{AGENT_TESTS_VARIABLE} is not set; .ci/booted sets it"));
    let machine = Machine::boot(Birth {
        instance: "i-conformance".to_owned(),
        region: "us-east-1".to_owned(),
        zone: "us-east-1a".to_owned(),
        address: [10, 77, 0, 9].into(),
        user_data: b"#cloud-config\n".to_vec(),
        cloud: ([127, 0, 0, 1], 1).into(),
        disk_mib: None,
    });
    let has_booted =
        || ["running", "degraded"].contains(&machine.run(&["systemctl", "is-system-running"]).stdout.trim());
    becomes(&machine, "it has booted", has_booted);
    let copy = machine.file(INSIDE);
    run(Command::new("strip").arg("-o").arg(&copy).arg(tests)).exits(0);
    assert!(fs::metadata(&copy).is_ok_and(|file| file.len() > 0));
    machine.run(&[INSIDE, "--ignored", "--exact", SUITE]).exits(0).says("1 passed");
}
