//! Crashes: what `dsctl status` says at once, and who repairs.

use std::time::Duration;

use reqwest::Method;
use tests::home::{Endpoint, Home, Status};
use tests::http::{call, question};
use tests::process::{is_alive, kill};
use tests::wait::{until, within};
use tests::weights;

/// What is promised to whoever asks `dsctl status` after a crash.
const TRUTH_WITHIN: Duration = Duration::from_secs(2);

fn ready(home: &Home) -> Status {
    until("the deployment is ready", || Some(home.status()).filter(|status| status.summary() == "ready"))
}

fn answers(endpoint: &Endpoint) {
    let url = format!("{}/chat/completions", endpoint.url);
    call(Method::POST, &url, &endpoint.key, Some(&question(weights::MODEL, 2))).has_status(200);
}

#[test]
fn a_killed_unit_is_seen_at_once_and_started_again_by_the_agent() {
    let home = Home::alone();
    let endpoint = home.up(&[]);
    for (unit, other) in [("dsserve", "dsgate"), ("dsgate", "dsserve")] {
        let before = ready(&home);
        let killed = before.living(unit);
        kill(killed);
        let told = within(TRUTH_WITHIN, "the status tells the truth", || {
            Some(home.status()).filter(|status| status.pid(unit) != Some(killed))
        });
        assert_ne!(told.summary(), "ready", "{unit}: {}", told.0);
        assert_eq!(told.living(other), before.living(other), "{other} lives on: {}", told.0);
        let after = ready(&home);
        assert_ne!(after.living(unit), killed, "{}", after.0);
        assert_eq!((after.agent_pid(), after.living(other)), (before.agent_pid(), before.living(other)));
        answers(&endpoint);
        home.dsctl(&["status"]).exits(0).says("SIGKILL");
    }
}

#[test]
fn units_live_on_without_their_agent_and_the_next_one_adopts_them() {
    let home = Home::alone();
    let endpoint = home.up(&[]);
    let before = ready(&home);
    kill(before.agent_pid());
    let told = within(TRUTH_WITHIN, "the status tells the truth", || {
        Some(home.status()).filter(|status| status.agent() == "dead")
    });
    assert_eq!(told.summary(), "unattended", "{}", told.0);
    home.dsctl(&["status"]).says("dead").says("next: dsctl up");
    answers(&endpoint);

    let words = Home::up_words(&[]);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    home.dsctl(&words).exits(0).says("agent.local");
    let after = ready(&home);
    assert_ne!(after.agent_pid(), before.agent_pid());
    assert!(is_alive(after.agent_pid()));
    for unit in ["dsserve", "dsgate"] {
        assert_eq!(after.living(unit), before.living(unit), "{unit} was adopted: {}", after.0);
    }
    // What was adopted is looked after, too.
    kill(after.living("dsserve"));
    until("the new agent starts it again", || {
        let status = home.status();
        let is_new = status.pid("dsserve").is_some_and(|pid| pid != before.living("dsserve"));
        (is_new && status.summary() == "ready").then_some(())
    });
}

#[test]
fn after_a_reboot_the_next_up_brings_everything_back() {
    let home = Home::alone();
    let endpoint = home.up(&[]);
    let before = ready(&home);
    for pid in [before.agent_pid(), before.living("dsserve"), before.living("dsgate")] {
        kill(pid);
    }
    let told = within(TRUTH_WITHIN, "the status tells the truth", || {
        Some(home.status()).filter(|status| status.summary() == "down")
    });
    assert_eq!((told.pid("dsserve"), told.pid("dsgate")), (None, None));
    home.dsctl(&["status"]).exits(1).says("next: dsctl up");

    let again = home.up(&[]);
    assert_eq!((&again.url, &again.key), (&endpoint.url, &endpoint.key), "clients need not change a thing");
    ready(&home);
    answers(&again);
}
