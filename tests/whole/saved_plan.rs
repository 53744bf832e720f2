//! A plan in a file, and the commands that look at the state or mend it: drift, forget, unlock.

use tests::home::Home;
use tests::process;

/// `plan` with the wishes of an `up` of the tests' model.
fn plan_words(more: &[&str]) -> Vec<String> {
    let words = Home::up_words(&[]).into_iter().filter(|word| word != "--yes");
    let words = words.map(|word| if word == "up" { "plan".to_owned() } else { word });
    words.chain(more.iter().map(|word| (*word).to_owned())).collect()
}

fn dsctl(home: &Home, words: &[String]) -> process::Outcome {
    home.dsctl(&words.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn exactly_the_saved_plan_is_done_or_nothing() {
    let home = Home::alone();
    let file = home.scratch().join("plan.json").display().to_string();
    dsctl(&home, &plan_words(&["--output", &file])).exits(0).says("10 to create").says(&format!("dsctl up {file}"));
    dsctl(&home, &plan_words(&["--output", &file])).exits(2).says("it exists already");
    dsctl(&home, &plan_words(&["--summary"])).exits(0).says("10 to create, 0 to update");
    home.dsctl(&["up", &file, "--model", "8b", "--yes"]).exits(2).says("a plan file says all there is to do");
    let changed = std::fs::read_to_string(&file).unwrap().replacen("dsgate", "dsgata", 1);
    let changed = home.write("changed.json", &changed);
    home.dsctl(&["up", &changed, "--yes"]).exits(2).says("the plan was changed after it was saved");
    let other = home.write("other.yaml", "name: default\n");
    home.dsctl(&["up", &other, "--yes"]).exits(2).says("not a plan of dsctl").says("next: dsctl plan --output FILE");
    assert!(!home.layout().deployments().exists(), "something was made");

    home.dsctl(&["up", &file, "--yes"]).exits(0).says("Endpoint");
    home.dsctl(&["up", &file, "--yes"]).exits(1).says("the plan was made from another state of affairs");
    home.dsctl(&["up", "--yes", "--expect-no-changes"]).exits(0).says("No changes");

    drift_is_shown_and_nothing_is_changed(&home);
    what_is_forgotten_is_not_touched(&home);
    home.dsctl(&["unlock"]).exits(0).says("default is not locked");
    home.dsctl(&["drift", "--name", "nope"]).exits(6).says("no deployment named nope");
}

fn drift_is_shown_and_nothing_is_changed(home: &Home) {
    home.dsctl(&["drift", "--detailed-exitcode"]).exits(0).says("No drift");
    process::kill(home.status().agent_pid());
    let before = std::fs::read_dir(home.deployment().state().join("journal")).unwrap().count();
    home.dsctl(&["drift"]).exits(0).says("- agent.local  it is gone").says("1 not as it was left");
    let report = home.dsctl(&["drift", "--detailed-exitcode", "--json"]).exits(2).json();
    assert_eq!(report["drift"][0]["drift"], "gone", "{report}");
    home.dsctl(&["drift", "--detailed-exitcode", "--ignore", "agent.local"]).exits(0).says("(1 ignored)");
    home.dsctl(&["up", "--yes", "--expect-no-changes"]).exits(7).says("none were expected");
    let after = std::fs::read_dir(home.deployment().state().join("journal")).unwrap().count();
    assert_eq!(before, after, "a look was recorded");
    home.dsctl(&["up", "--yes"]).exits(0).says("agent.local");
}

fn what_is_forgotten_is_not_touched(home: &Home) {
    home.dsctl(&["forget", "artifact.nope", "--yes"]).exits(2).says("is not in the state").says("artifact.dsgate");
    home.dsctl(&["forget", "artifact.dsgate"]).exits(2).says("terminal");
    let report = home.dsctl(&["forget", "artifact.dsgate", "--yes", "--json"]).exits(0).json();
    assert_eq!(report["forgotten"], "artifact.dsgate", "{report}");
    assert_eq!(home.status().summary(), "ready", "it goes on");
    home.dsctl(&["up", "--yes"]).exits(0).says("1 to create");
}

/// `unlock` never ends the lock of a command that is at work here, unless it is told to.
#[test]
fn a_living_holder_keeps_its_lock() {
    let home = Home::alone();
    home.up(&[]);
    let lease = home.deployment().state().join("lease.json");
    let held = std::fs::read_to_string(&lease).unwrap();
    let mut held: serde_json::Value = serde_json::from_str(&held).unwrap();
    // This very test, on this machine, for the next ten minutes.
    let host = held["holder"]["host"].clone();
    let pid = std::process::id();
    let started = process::started(pid);
    held["holder"] = serde_json::json!({"command": "dsctl up", "host": host, "pid": pid, "started": started});
    held["expires_at"] = "2100-01-01T00:00:00Z".into();
    std::fs::write(&lease, held.to_string()).unwrap();
    home.dsctl(&["up", "--yes"]).exits(11).says(&format!("process {pid} on"));
    home.dsctl(&["unlock", "--yes"]).exits(11).says("is alive and holds the lock").says("dsctl unlock --force");
    home.dsctl(&["unlock", "--yes", "--force"]).exits(0).says("default is unlocked; it was held by dsctl up");
    home.dsctl(&["up", "--yes"]).exits(0).says("No changes");
}
