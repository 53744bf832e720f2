//! The person on call: a runbook finds the cause, asks before it acts, and what it does helps.

use std::process::Command;
use std::time::Instant;

use reqwest::Method;
use tests::home::{Endpoint, Home, endpoint_of};
use tests::http::{call, question};
use tests::process::{kill, run};
use tests::wait::until;
use tests::weights;

const QUICK_ALERTS: [&str; 3] = ["alerts", "--for", "1s"];

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

/// The mission's own incident: the daemon does not fit into memory with its context, and half of it is enough.
#[test]
fn a_daemon_without_memory_for_its_context_is_healed_with_half_of_it() {
    let home = Home::alone();
    let model = weights::model().flags();
    let fixed = ["up", "--cloud", "local", "--model", weights::MODEL, "--yes", "--port", "0", "--json"];
    let limits = ["--context", "4096", "--max-sequences", "16"];
    let words: Vec<&str> = fixed.into_iter().chain(limits).chain(model.iter().map(String::as_str)).collect();
    let endpoint = endpoint_of(&home.dsctl(&words).exits(0).json());
    home.dsctl(&["runbook", "run", "out-of-memory", "--yes"]).exits(0).says("nothing was changed");

    // What the agent starts from now on has less memory than the cache needs, and enough for half of it.
    let limit = "--as=1500000000:1500000000";
    run(Command::new("prlimit").args(["--pid", &home.status().agent_pid().to_string(), limit])).exits(0);
    home.dsctl(&["chaos", "kill-daemon", "--yes"]).exits(0).says("ended dsserve");
    let begun = Instant::now();
    until("the alert fires", || home.dsctl(&QUICK_ALERTS).stdout.contains("DaemonDown").then_some(()));
    let detected = begun.elapsed();
    until("it says why", || home.dsctl(&["logs", "dsserve"]).stdout.contains("key-value cache").then_some(()));
    let healed = home.dsctl(&["runbook", "run", "--alert", "DaemonDown", "--yes", "--json"]).exits(0).json();
    assert_eq!(
        (healed["outcome"].as_str(), healed["decision"]["name"].as_str()),
        (Some("healed"), Some("context-too-long"))
    );
    let done = healed["remedy"]["outcome"]["done"].as_str().unwrap();
    assert!(done.contains("context 4096 -> 2048 tokens"), "{healed}");
    answers(&endpoint);
    println!("out of memory: seen after {detected:.1?}, healed after {:.1?}", begun.elapsed());

    let page = home.dsctl(&["incident", "export"]).exits(0).stdout;
    for part in ["for the alert DaemonDown", "cause: **context-too-long**", "context 4096 -> 2048", "closed: healed"] {
        assert!(page.contains(part), "{part} in\n{page}");
    }
    let list = home.dsctl(&["incident", "list", "--json"]).exits(0).json();
    assert_eq!((list[0]["outcome"].as_str(), list[1]["outcome"].as_str()), (Some("healed"), Some("not-this")));
    home.dsctl(&["down", "--yes"]).exits(0);
    assert_eq!(home.dsctl(&["runbook", "history", "--json"]).exits(0).json(), list, "incidents outlive the deployment");
}

#[test]
fn what_is_broken_on_purpose_is_seen_and_healed_and_the_wrong_runbook_changes_nothing() {
    let home = Home::alone();
    let endpoint = home.up(&[]);
    home.dsctl(&["chaos", "kill-daemon"]).exits(2).says("--yes");
    let before = home.status();
    home.dsctl(&["chaos", "kill-agent-and-daemon", "--yes"]).exits(0).says("dsctl runbook run --alert DaemonDown");
    let begun = Instant::now();
    until("the alert fires", || home.dsctl(&QUICK_ALERTS).stdout.contains("DaemonDown").then_some(()));
    let detected = begun.elapsed();
    home.dsctl(&["runbook", "run", "gateway-down", "--yes"]).exits(0).says("nothing was changed");
    home.dsctl(&["runbook", "run", "weights-corrupt", "--yes"]).exits(0).says("nothing was changed");
    assert_eq!(home.status().agent(), "dead", "another runbook brought it back");
    home.dsctl(&["runbook", "run", "--alert", "DaemonDown", "--yes"]).exits(0).says("agent-gone").says("it helped");
    answers(&endpoint);
    assert_eq!(home.status().pid("dsgate"), before.pid("dsgate"));
    println!("agent and daemon dead: seen after {detected:.1?}, healed after {:.1?}", begun.elapsed());

    home.dsctl(&["chaos", "kill-gateway", "--yes"]).exits(0);
    until("the agent has brought the gateway back", || {
        let status = home.status();
        (status.summary() == "ready" && status.pid("dsgate") != before.pid("dsgate")).then_some(())
    });
    answers(&endpoint);

    home.dsctl(&["chaos", "damage-weights", "--yes"]).exits(0).says("changed a byte");
    home.dsctl(&["runbook", "run", "weights-corrupt", "--dry-run"]).exits(0).says("has sha256").says("not done");
    home.dsctl(&["runbook", "run", "weights-corrupt", "--yes"]).exits(0).says("it helped");
    home.dsctl(&["weights", "verify"]).exits(0);
    answers(&endpoint);
}

#[test]
fn runbooks_of_ones_own_are_found_and_a_bad_one_is_named() {
    let home = Home::light();
    let folder = home.layout().runbooks();
    std::fs::create_dir_all(&folder).unwrap();
    let text = "name: pager-silent\nalerts: [PagerSilent]\nsymptom: s\nmeaning: m\ncall: c\nsteps:\n- {name: a, ask: q, see: \
                {free_space: {below_gib: 1}}, yes: {cause: b}, no: {not_this: w}}\ncauses:\n- {name: b, meaning: m, by_hand: h}\n";
    std::fs::write(folder.join("pager-silent.yaml"), text).unwrap();
    home.dsctl(&["runbook", "show", "pager-silent"]).exits(0).says("# pager-silent");
    home.dsctl(&["runbook", "list"]).exits(0).says("PagerSilent").says("gateway-down");
    std::fs::write(folder.join("pager-silent.yaml"), text.replace("cause: b", "cause: c")).unwrap();
    home.dsctl(&["runbook", "list"]).exits(2).says("pager-silent.yaml").says("there is no cause \"c\"");
}

/// A text that a program no longer says would leave its cause unfound.
#[test]
fn what_runbooks_look_for_in_logs_is_what_the_daemon_says() {
    let said = concat!(include_str!("../../daemon/src/memory.rs"), include_str!("../../daemon/src/blocks.rs"));
    for text in ["key-value cache", "use a smaller model or a larger machine"] {
        assert!(said.contains(text), "{text}");
        let looked_for = include_str!("../../runbooks/data/out-of-memory.yaml");
        assert!(looked_for.contains(&format!("\"{text}\"")), "{text}");
    }
}

#[track_caller]
fn answers(endpoint: &Endpoint) {
    let url = format!("{}/chat/completions", endpoint.url);
    call(Method::POST, &url, &endpoint.key, Some(&question(weights::MODEL, 2))).has_status(200);
}
