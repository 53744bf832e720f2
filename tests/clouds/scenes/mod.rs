//! What every cloud must do, whatever it calls things: the same scenes, one cloud after the other.

pub mod interrupted;
pub mod orphans;
pub mod reports;
pub mod together;

use tests::process::Running;
use tests::proxy::{Fault, Rule};
use tests::wait::until;

use crate::crash::Stage;

/// Up, a second up, looks, down: nothing is changed that need not be, and nothing is left.
pub fn life<S: Stage>() {
    live(&S::start());
}

/// The same on a stage that was made another way.
pub fn live<S: Stage>(stage: &S) {
    stage.run(&["plan"]).exits(0).says("to create").says("/month");
    stage.is_untouched("a plan");
    assert_eq!(stage.home().state(), None, "a plan left a state");
    stage.run(UP).exits(0).says("+ machine.main").says("endpoint  http://10.77.");
    stage.agrees("after up");

    stage.proxy().clear();
    stage.run(&["up", "--yes", "--no-wait", "--expect-no-changes"]).exits(0).says("No changes");
    stage.run(&["drift", "--detailed-exitcode"]).exits(0).says("No drift");
    stage.run(&["status"]).exits(1).says("not ready").says("nothing yet");
    stage.run(&["orphans", "--cloud", S::CLOUD, "--detailed-exitcode"]).exits(0).says("machine");
    stage.is_untouched("a second up without a change, and looks");

    stage.run(DOWN).exits(0).says("it no longer costs $");
    stage.is_empty("after down");
    stage.run(DOWN).exits(6);
}

/// Who may reach the gateway changes, and nothing else does.
pub fn change<S: Stage>(stage: &S) {
    stage.run(UP).exits(0);
    stage.run(&["up", "--yes", "--no-wait", "--allow", "10.1.0.0/16"]).exits(0).says("~ ");
    stage.agrees("after a change");
    stage.run(DOWN).exits(0);
    stage.is_empty("after down");
}

/// The first candidate has no room: the second is taken, it is said, and there it stays.
pub fn failover<S: Stage>() {
    let stage = S::start();
    stage.proxy().arm([Rule::nth(S::MACHINE, 1, Fault::Capacity)]);
    let up = stage.run(UP).exits(0).says("trying ");
    assert_eq!(up.stderr.matches("trying ").count(), 1, "{}", up.transcript());
    stage.agrees("as the second candidate");
    stage.proxy().clear();
    stage.run(&["up", "--yes", "--no-wait", "--expect-no-changes"]).exits(0).says("No changes");
    stage.is_untouched("where it came to lie it stays");
    stage.run(DOWN).exits(0);
    stage.is_empty("after down");
}

/// No candidate has room: each attempt is told, what there is and what it costs too, and the next up goes on.
pub fn no_room<S: Stage>() {
    let stage = S::start();
    let report = stage.run(&["plan", "--json"]).exits(0).json();
    let count = report["cloud"]["candidates"].as_array().map_or(0, Vec::len) as u64;
    assert!(count > 1, "{report}");
    stage.proxy().clear();
    stage.proxy().arm((1..=count).map(|nth| Rule::nth(S::MACHINE, nth, Fault::Capacity)));
    let failed = stage.run(UP).exits(4).says(&format!("none of {count} candidates could be had"));
    failed.says("resources exist and cost $").says("an hour").says("dsctl down").says("next: ");
    assert_eq!(stage.proxy().waiting(), [], "an attempt was not made");
    stage.agrees("without a machine");
    stage.proxy().clear();
    stage.run(UP).exits(0).says("1 to create").says("+ machine.main");
    stage.agrees("after the second up");
}

/// A limit of the account is no lack of capacity: no other candidate is tried.
pub fn limit<S: Stage>() {
    let stage = S::start();
    stage.proxy().arm([Rule::nth(S::MACHINE, 1, Fault::Quota)]);
    let failed = stage.run(UP).exits(4).says("uota").says("next: ").says("`dsctl down` removes them");
    assert!(!failed.stderr.contains("trying "), "another machine was tried\n{}", failed.transcript());
    stage.agrees("without a machine");
    stage.run(UP).exits(0).says("+ machine.main");
    stage.agrees("when the limit was raised");
}

/// A plan of a file is done as it is, or not at all.
pub fn saved_plan<S: Stage>() {
    let stage = S::start();
    let home = stage.home();
    let file = |name: &str| home.home.scratch().join(name).display().to_string();
    let binaries = home.binaries.display().to_string();
    let apply = |name: &str| home.home.dsctl(&["up", &file(name), "--yes", "--no-wait", "--binaries", &binaries]);
    stage.run(&["plan", "--output", &file("first")]).exits(0).says("dsctl up");
    stage.is_untouched("a plan in a file");
    apply("first").exits(0).says("+ machine.main");
    stage.agrees("after the plan");
    stage.proxy().clear();
    apply("first").exits(1).says("another state of affairs").says("next: dsctl plan");
    stage.run(&["plan", "--allow", "10.1.0.0/16", "--output", &file("narrow")]).exits(0).says("1 to update");
    stage.is_untouched("what is stale, and a plan");
    apply("narrow").exits(0).says("~ ");
    stage.agrees("after the change");
}

/// What may not be is refused before anything is made, with all that is broken.
pub fn refusals<S: Stage>(outside: &str) {
    let stage = S::start();
    let refused = |words: &[&str], code: i32, texts: &[&str]| {
        let words: Vec<&str> = UP.iter().chain(words).copied().collect();
        let outcome = texts.iter().fold(stage.run(&words).exits(code), |outcome, text| outcome.says(text));
        assert!(outcome.stderr.contains("next: "), "no next command\n{}", outcome.transcript());
        stage.is_untouched(&outcome.line);
    };
    refused(&["--region", outside, "--compliance", "gdpr"], 5, &["gdpr: region", "outside the EU"]);
    let all = ["--compliance", "hipaa", "--public", "--allow", "0.0.0.0/0", "--max-hourly", "1"];
    refused(&all, 5, &["hipaa: network.public", "hipaa: network.tls", "hipaa: network.allow", "max-hourly"]);
    refused(&["--max-monthly", "100"], 5, &["max-monthly", "the cheapest comes to $", "above $100"]);
    refused(&["--machine-type", "no-such-type"], 2, &["machine.type", "no-such-type"]);
    refused(&["--egress", "endpoints"], 2, &["network.egress", "weights.sources"]);
    assert_eq!(stage.home().state(), None, "a state was written");
}

/// Ends with `down`; nobody boots the machine.
const UP: &[&str] = &["up", "--yes", "--no-wait"];
const DOWN: &[&str] = &["down", "--yes"];

/// A command whose first call of this operation has arrived, and waits until the proxy releases it.
fn held<S: Stage>(stage: &S, words: &[&str], operation: &str) -> Running {
    stage.proxy().arm([Rule::nth(operation, 1, Fault::Hold)]);
    let running = stage.home().start(words);
    until("the call that is held", || calls(stage, operation).gt(&0).then_some(()));
    running
}

/// How many calls of an operation there were since the proxy was cleared.
fn calls<S: Stage>(stage: &S, operation: &str) -> usize {
    stage.proxy().calls().iter().filter(|call| call.operation == operation).count()
}
