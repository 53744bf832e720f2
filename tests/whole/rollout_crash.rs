//! dsgate, killed at every record of its journal: the same end, the same weights on the way, none of them twice.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};
use tests::gate::Gate;
use tests::load::{Form, Load};
use tests::mock::{Mock, Script};

/// Rollouts until a crash has followed every kind of record. Which one is the last at a crash is not wholly ours to say: two
/// records can be closer to each other than a look and a signal.
const MOST_ROUNDS: usize = 6;

/// A rollout that a crash befell at every record.
struct Crashed {
    gate: Gate,
    /// Kinds of the records that were the last when a crash came.
    cut_after: BTreeSet<String>,
    /// The weight in force after a new start, as often as it could be asked for before the next crash.
    weights: Vec<f64>,
}

fn percent(weight: &Value) -> f64 {
    let text = weight.as_str().unwrap_or_else(|| panic!("{weight} is no weight"));
    text.trim_end_matches('%').parse().unwrap()
}

/// Weights that the journal says were asked for, in order.
fn intended(records: &[Value]) -> Vec<f64> {
    weights_of(records, "weight-intended")
}

/// Weights that the journal says came into force, in order.
fn set(records: &[Value]) -> Vec<f64> {
    weights_of(records, "weight-set")
}

fn weights_of(records: &[Value], kind: &str) -> Vec<f64> {
    records.iter().filter_map(|record| record["event"].get(kind)).map(|it| percent(&it["weight"])).collect()
}

fn kind(record: &Value) -> String {
    match &record["event"] {
        Value::String(kind) => kind.clone(),
        event => event.as_object().and_then(|event| event.keys().next()).unwrap().clone(),
    }
}

fn is_over(records: &[Value]) -> bool {
    records.last().is_some_and(|last| ["promoted", "rolled-back", "aborted"].contains(&kind(last).as_str()))
}

/// Kills at record 1, 2, 3, … as soon as it is there, and starts again, until a crash has followed the last.
fn crash_at_every_record(fail_at: Option<f64>) -> Crashed {
    let (baseline, candidate) = (Mock::start("baseline"), Mock::start("candidate"));
    let mut gate = Gate::start(&baseline, &candidate);
    let load = Load::start(&gate.endpoint(), 2, Form::Both);
    let spec = json!({
        "stages": ["10%", "30%", "60%", "100%"], "bake": "100ms", "tick": "20ms", "min_requests": 3,
        "gates": ["error_ratio<5%"],
    });
    gate.admin_unheard(Method::POST, "/admin/rollout", &spec);
    let (mut cut_after, mut weights, mut before) = (BTreeSet::new(), Vec::new(), Vec::new());
    while !is_over(&before) {
        let mut told = None;
        gate.kill_at_record(before.len() + 1, |gate| told = told.take().or_else(|| gate.try_status()));
        let after = gate.records();
        assert!(after.len() > before.len(), "nothing was written any more: {before:#?}");
        cut_after.extend(after.last().map(kind));
        if let Some(status) = told {
            weights.push(percent(&status["route_table"]["candidate"]));
            is_what_the_journal_says(&status, &before, &after);
        }
        if fail_at.is_some_and(|limit| set(&after).contains(&limit)) {
            candidate.play(Script::Fail(500));
        }
        before = after;
        gate.start_again();
    }
    drop(load);
    gate.wait_until_ready();
    Crashed { gate, cut_after, weights }
}

/// What was set last, or what was intended then or has been since: nothing that the journal does not know.
fn is_what_the_journal_says(status: &Value, before: &[Value], after: &[Value]) {
    let weight = percent(&status["route_table"]["candidate"]);
    let since = intended(after).split_off(intended(before).len().saturating_sub(1));
    let is_told = since.contains(&weight) || weight == set(before).last().copied().unwrap_or(0.0);
    assert!(is_told, "{weight}% is not what the journal says: {after:#?}");
}

/// Goes on with further rollouts until a crash has followed each of these kinds.
fn rounds(fail_at: Option<f64>, kinds: &[&str], check: impl Fn(&Crashed)) {
    let mut missing: BTreeSet<&str> = kinds.iter().copied().collect();
    for _ in 0..MOST_ROUNDS {
        let crashed = crash_at_every_record(fail_at);
        check(&crashed);
        missing.retain(|kind| !crashed.cut_after.contains(*kind));
        if missing.is_empty() {
            return;
        }
    }
    panic!("no crash came right after {missing:?}");
}

#[test]
fn killed_at_every_record_a_healthy_candidate_is_promoted_all_the_same() {
    let kinds = ["started", "weight-intended", "weight-set", "promoted-stage", "promoted"];
    rounds(None, &kinds, |crashed| {
        let report = crashed.gate.rollout();
        assert_eq!((report["phase"].as_str(), report["weight"].as_str()), (Some("promoted"), Some("100%")), "{report}");
        assert!(crashed.weights.is_sorted(), "no crash takes a weight back: {:?}", crashed.weights);
        assert_eq!(set(&crashed.gate.records()), [10.0, 30.0, 60.0, 100.0], "each stage once");
        assert_eq!(last_weight(&crashed.gate), 100.0);
    });
}

#[test]
fn killed_at_every_record_a_failing_candidate_is_rolled_back_all_the_same() {
    let kinds = ["started", "weight-intended", "weight-set", "promoted-stage", "rolled-back"];
    rounds(Some(30.0), &kinds, |crashed| {
        let report = crashed.gate.rollout();
        assert_eq!(
            (report["phase"].as_str(), report["weight"].as_str()),
            (Some("rolled-back"), Some("0%")),
            "{report}"
        );
        assert_eq!(set(&crashed.gate.records()), [10.0, 30.0, 0.0], "up to the failure, and back");
        assert_eq!(last_weight(&crashed.gate), 0.0);
    });
}

fn last_weight(gate: &Gate) -> f64 {
    percent(&gate.admin(Method::GET, "/admin/status", None).json()["route_table"]["candidate"])
}
