//! What every cloud must do, whatever it calls things: the same scenes, one cloud after the other.

pub mod interrupted;
pub mod orphans;
pub mod reports;
pub mod together;

use tests::process::Running;
use tests::proxy::{Fault, Rule};
use tests::wait::until;

use crate::crash::Ground;

/// Up, a second up, looks, down: nothing is changed that need not be, and nothing is left.
pub fn life<G: Ground>() {
    live(&G::start());
}

/// The same on a ground that was made another way.
pub fn live<G: Ground>(ground: &G) {
    ground.run(&["plan"]).exits(0).says("to create").says("/month");
    ground.is_untouched("a plan");
    assert_eq!(ground.home().state(), None, "a plan left a state");
    ground.run(UP).exits(0).says("+ machine.main").says("endpoint  https://10.77.");
    ground.agrees("after up");

    ground.proxy().clear();
    ground.run(&["up", "--yes", "--no-wait", "--expect-no-changes"]).exits(0).says("No changes");
    ground.run(&["drift", "--detailed-exitcode"]).exits(0).says("No drift");
    ground.run(&["status"]).exits(1).says("not ready").says("nothing yet");
    ground.run(&["orphans", "--cloud", G::CLOUD, "--detailed-exitcode"]).exits(0).says("machine");
    ground.is_untouched("a second up without a change, and looks");

    let generation = || ground.run(&["status", "--json"]).exits(1).json()["host"]["generation"].as_u64();
    let before = generation();
    ground.run(&["host", "restart", "--no-wait"]).exits(0).says("asked for");
    ground.run(&["host", "drain", "dsgate", "--yes", "--no-wait"]).exits(0).says("asked for");
    assert_eq!(generation(), before.map(|generation| generation + 2), "each act is asked of the host");
    ground.run(&["keys", "rotate", "--timeout", "1s"]).exits(9).says("keys are changed").says("it goes on");
    assert_eq!(generation(), before.map(|generation| generation + 3), "the host is told of other keys");
    ground.run(&["up", "--yes", "--no-wait", "--expect-no-changes"]).exits(0).says("No changes");
    ground.run(&["drift", "--detailed-exitcode"]).exits(0).says("No drift");

    ground.run(DOWN).exits(0).says("it no longer costs $");
    ground.is_empty("after down");
    ground.run(DOWN).exits(6);
}

/// Who may reach the gateway changes, and nothing else does.
pub fn change<G: Ground>(ground: &G) {
    ground.run(UP).exits(0);
    ground.run(&["up", "--yes", "--no-wait", "--allow", "10.1.0.0/16"]).exits(0).says("~ ");
    ground.agrees("after a change");
    ground.run(DOWN).exits(0);
    ground.is_empty("after down");
}

/// The first candidate has no room: the second is taken, it is said, and there it stays.
pub fn failover<G: Ground>() {
    let ground = G::start();
    ground.proxy().arm([Rule::nth(G::MACHINE, 1, Fault::Capacity)]);
    let up = ground.run(UP).exits(0).says("trying ");
    assert_eq!(up.stderr.matches("trying ").count(), 1, "{}", up.transcript());
    ground.agrees("as the second candidate");
    ground.proxy().clear();
    ground.run(&["up", "--yes", "--no-wait", "--expect-no-changes"]).exits(0).says("No changes");
    ground.is_untouched("where it came to lie it stays");
    ground.run(DOWN).exits(0);
    ground.is_empty("after down");
}

/// No candidate has room: each attempt is told, what there is and what it costs too, and the next up goes on.
pub fn no_room<G: Ground>() {
    let ground = G::start();
    let report = ground.run(&["plan", "--json"]).exits(0).json();
    let count = report["cloud"]["candidates"].as_array().map_or(0, Vec::len) as u64;
    assert!(count > 1, "{report}");
    ground.proxy().clear();
    ground.proxy().arm((1..=count).map(|nth| Rule::nth(G::MACHINE, nth, Fault::Capacity)));
    let failed = ground.run(UP).exits(4).says(&format!("none of {count} candidates could be had"));
    failed.says("resources exist and cost $").says("an hour").says("dsctl down").says("next: ");
    assert_eq!(ground.proxy().waiting(), [], "an attempt was not made");
    ground.agrees("without a machine");
    ground.proxy().clear();
    ground.run(UP).exits(0).says("1 to create").says("+ machine.main");
    ground.agrees("after the second up");
}

/// A limit of the account is no lack of capacity: no other candidate is tried.
pub fn limit<G: Ground>() {
    let ground = G::start();
    ground.proxy().arm([Rule::nth(G::MACHINE, 1, Fault::Quota)]);
    let failed = ground.run(UP).exits(4).says("uota").says("next: ").says("`dsctl down` removes them");
    assert!(!failed.stderr.contains("trying "), "another machine was tried\n{}", failed.transcript());
    ground.agrees("without a machine");
    ground.run(UP).exits(0).says("+ machine.main");
    ground.agrees("when the limit was raised");
}

/// A plan of a file is done as it is, or not at all.
pub fn saved_plan<G: Ground>() {
    let ground = G::start();
    let home = ground.home();
    let file = |name: &str| home.home.scratch().join(name).display().to_string();
    let binaries = home.binaries.display().to_string();
    let apply = |name: &str| home.home.dsctl(&["up", &file(name), "--yes", "--no-wait", "--binaries", &binaries]);
    ground.run(&["plan", "--output", &file("first")]).exits(0).says("dsctl up");
    ground.is_untouched("a plan in a file");
    apply("first").exits(0).says("+ machine.main");
    ground.agrees("after the plan");
    ground.proxy().clear();
    apply("first").exits(1).says("another state of affairs").says("next: dsctl plan");
    ground.run(&["plan", "--allow", "10.1.0.0/16", "--output", &file("narrow")]).exits(0).says("1 to update");
    ground.is_untouched("what is stale, and a plan");
    apply("narrow").exits(0).says("~ ");
    ground.agrees("after the change");
}

/// What may not be is refused before anything is made, with all that is broken.
pub fn refusals<G: Ground>(outside: &str) {
    let ground = G::start();
    let refused = |words: &[&str], code: i32, texts: &[&str]| {
        let words: Vec<&str> = UP.iter().chain(words).copied().collect();
        let outcome = texts.iter().fold(ground.run(&words).exits(code), |outcome, text| outcome.says(text));
        assert!(outcome.stderr.contains("next: "), "no next command\n{}", outcome.transcript());
        ground.is_untouched(&outcome.line);
    };
    refused(&["--region", outside, "--compliance", "gdpr"], 5, &["gdpr: region", "outside the EU"]);
    let all = ["--compliance", "hipaa", "--public", "--allow", "0.0.0.0/0", "--max-hourly", "1"];
    refused(&all, 5, &["hipaa: network.public", "hipaa: network.allow", "max-hourly"]);
    refused(&["--max-monthly", "100"], 5, &["max-monthly", "the cheapest comes to $", "above $100"]);
    refused(&["--machine-type", "no-such-type"], 2, &["machine.type", "no-such-type"]);
    refused(&["--egress", "endpoints"], 2, &["network.egress", "weights.sources"]);
    assert_eq!(ground.home().state(), None, "a state was written");
}

/// Ends with `down`; nobody boots the machine.
const UP: &[&str] = &["up", "--yes", "--no-wait"];
const DOWN: &[&str] = &["down", "--yes"];

/// A command whose first call of this operation has arrived, and waits until the proxy releases it.
fn held<G: Ground>(ground: &G, words: &[&str], operation: &str) -> Running {
    ground.proxy().arm([Rule::nth(operation, 1, Fault::Hold)]);
    let running = ground.home().start(words);
    until("the call that is held", || calls(ground, operation).gt(&0).then_some(()));
    running
}

/// How many calls of an operation there were since the proxy was cleared.
fn calls<G: Ground>(ground: &G, operation: &str) -> usize {
    ground.proxy().calls().iter().filter(|call| call.operation == operation).count()
}
