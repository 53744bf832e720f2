//! The examples on clouds, their own words as they stand; only that nobody boots their machines is added to them.

use std::fs;
use std::process::Command;

use tests::binaries;
use tests::process::{Outcome, run};

use crate::crash::Ground;

/// `status` of a machine that nobody boots.
const NOT_READY: i32 = 1;

fn runs_as_it_stands<G: Ground>(example: &str) {
    let ground = G::start();
    let folder = ground.home().home.scratch().join(example);
    fs::create_dir(&folder).expect("a folder for the example");
    for entry in fs::read_dir(binaries::workspace().join("examples").join(example)).expect("the example") {
        let entry = entry.expect("a file of the example");
        fs::copy(entry.path(), folder.join(entry.file_name())).expect("a copy of the example");
    }
    let page = fs::read_to_string(folder.join("README.md")).expect("its page");
    let block = page.split("```console\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a console block");
    let lines: Vec<&str> = block.lines().filter_map(|line| line.strip_prefix("$ ")).collect();
    assert_eq!(lines.len(), 5, "{lines:?}");
    let binaries = ground.home().binaries.display().to_string();
    for line in lines {
        let line = match line.split_once(" -f ") {
            Some(("dsctl up", rest)) => format!("dsctl up --no-wait --binaries {binaries} -f {rest}"),
            Some(("dsctl plan", rest)) => format!("dsctl plan --binaries {binaries} -f {rest}"),
            _ => line.to_owned(),
        };
        let mut shell = Command::new("sh");
        ground.home().home.dress(shell.args(["-c", &line]).current_dir(&folder));
        let outcome: Outcome = run(&mut shell);
        outcome.exits(if line == "dsctl status" { NOT_READY } else { 0 });
    }
}

#[cfg(feature = "aws")]
#[test]
fn a_spot_machine_on_aws() {
    runs_as_it_stands::<crate::aws::crash::Aws>("aws-spot");
}

#[cfg(feature = "gcp")]
#[test]
fn a_watched_machine_on_gcp() {
    runs_as_it_stands::<crate::gcp::crash::Gcp>("gcp-watched");
}

#[cfg(feature = "azure")]
#[test]
fn health_data_on_azure() {
    runs_as_it_stands::<crate::azure::crash::Azure>("azure-hipaa");
}
