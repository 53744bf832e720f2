//! The person on call: a runbook finds the cause, asks before it acts, and what it does helps.

use tests::home::Home;
use tests::process::kill;
use tests::wait::until;

#[test]
fn a_runbook_finds_a_dead_agent_and_brings_it_back_only_if_told_to() {
    let home = Home::alone();
    home.up(&[]);
    home.dsctl(&["runbook", "run", "agent-dead"]).exits(0).says("nothing was changed");
    let before = home.status();
    kill(before.agent_pid());
    until("the agent is seen dead", || (home.status().agent() == "dead").then_some(()));
    home.dsctl(&["runbook", "run", "agent-dead", "--dry-run"]).says("agent-gone").says("not done");
    home.dsctl(&["runbook", "run", "agent-dead"]).says("not done");
    assert_eq!(home.status().agent(), "dead", "nothing is done unasked");
    home.dsctl(&["runbook", "run", "agent-dead", "--yes"]).exits(0).says("it helped");
    let after = until("all is well again", || Some(home.status()).filter(|status| status.summary() == "ready"));
    assert_eq!((after.pid("dsserve"), after.pid("dsgate")), (before.pid("dsserve"), before.pid("dsgate")));
}

#[test]
fn every_runbook_that_is_listed_can_be_read() {
    let home = Home::light();
    let list = home.dsctl(&["runbook", "list", "--json"]).exits(0).json();
    let names: Vec<&str> = list.as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert!(names.len() >= 8, "{names:?}");
    for name in names {
        let page = home.dsctl(&["runbook", "show", name]).exits(0).stdout;
        assert!(page.starts_with("# "), "{page}");
    }
}
