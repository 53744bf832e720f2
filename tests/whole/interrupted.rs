//! `dsctl up` itself, killed half-way or not alone: the next one finishes, and nothing is there twice.

use std::collections::BTreeMap;

use tests::home::Home;
use tests::process::{Running, kill, naming};
use tests::wait::until;

/// Names of the living processes of a home, with how many there are.
fn processes(home: &Home) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for pid in naming(home.layout().root()) {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        *counts.entry(name.trim().to_owned()).or_insert(0) += 1;
    }
    counts
}

#[track_caller]
fn one_of_each(home: &Home) {
    let one = |name: &str| (name.to_owned(), 1);
    // The agent is dsctl itself.
    assert_eq!(processes(home), BTreeMap::from(["dsctl", "dsgate", "dsserve"].map(one)));
}

fn up_words() -> Vec<String> {
    Home::up_words(&[])
}

#[test]
fn an_up_that_was_killed_is_finished_by_the_next() {
    let home = Home::alone();
    let words = up_words();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    // Of about twenty records: before the secrets, in the middle, at the agent's start.
    for record in [2, 9, 19] {
        let up = Running::start(&mut home.command(&words));
        let journal = home.deployment().state().join("journal");
        until("the journal's record", || {
            (std::fs::read_dir(&journal).map_or(0, Iterator::count) >= record).then_some(())
        });
        kill(up.pid());
        drop(up);
        home.dsctl(&words).exits(0).says("default is ready");
        assert_eq!(home.status().summary(), "ready");
        one_of_each(&home);
        home.dsctl(&["down", "--yes"]).exits(0);
        assert_eq!(processes(&home), BTreeMap::new(), "after record {record}");
    }
}

#[test]
fn two_ups_at_once_make_one_deployment() {
    let home = Home::alone();
    let words = up_words();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let both = [home.start(&words), home.start(&words)].map(Running::end);
    for up in &both {
        assert!(up.code == 0 || (up.code == 11 && up.stderr.contains("next: ")), "{}", up.transcript());
    }
    assert!(both.iter().any(|up| up.code == 0), "{}\n{}", both[0].transcript(), both[1].transcript());
    assert_eq!(home.status().summary(), "ready");
    one_of_each(&home);
}
