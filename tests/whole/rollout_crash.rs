//! dsgate, killed at every record of its journal: the same end, the same weights on the way, none of them twice.

use reqwest::Method;
use serde_json::{Value, json};
use tests::gate::Gate;
use tests::load::{Form, Load};
use tests::mock::{Mock, Script};
use tests::wait::until;

/// A rollout that a crash befell at every record.
struct Crashed {
    gate: Gate,
    crashes: usize,
    /// The weight in force after each new start.
    weights: Vec<f64>,
}

fn percent(weight: &Value) -> f64 {
    let text = weight.as_str().unwrap_or_else(|| panic!("{weight} is no weight"));
    text.trim_end_matches('%').parse().unwrap()
}

/// Weights that the journal says were asked for, in order.
fn intended(records: &[Value]) -> Vec<f64> {
    records
        .iter()
        .filter_map(|record| record["event"].get("weight-intended"))
        .map(|it| percent(&it["weight"]))
        .collect()
}

/// Kills at record 1, 2, 3, … as soon as it is there, and starts again, until the rollout is over and its last record too
/// was followed by a crash.
fn crash_at_every_record(baseline: &Mock, candidate: &Mock, fail_at: Option<f64>) -> Crashed {
    let mut gate = Gate::start(baseline, candidate);
    let load = Load::start(&gate.endpoint(), 2, Form::Both);
    let spec = json!({
        "stages": ["10%", "30%", "60%", "100%"], "bake": "200ms", "tick": "20ms", "min_requests": 3,
        "gates": ["error_ratio<5%"],
    });
    gate.admin(Method::POST, "/admin/rollout", Some(&spec)).has_status(201);
    let (mut crashes, mut weights) = (0, Vec::new());
    loop {
        // The end of the rollout has no record after it: then there is nothing to wait for.
        until("a new record or the end", || (gate.record_count() > crashes || is_over(&gate)).then_some(()));
        if gate.record_count() == crashes {
            break;
        }
        gate.kill();
        crashes += 1;
        let before = gate.records();
        gate.start_again();
        let weight = percent(&gate.admin(Method::GET, "/admin/status", None).json()["route_table"]["candidate"]);
        let after = gate.records();
        // What was intended last is in force or about to be; whatever came after it is in the journal as well.
        let known = intended(&after);
        let since = intended(&before).len().saturating_sub(2);
        let is_told = known.iter().skip(since).chain(before.is_empty().then_some(&0.0)).any(|told| *told == weight);
        assert!(is_told || (weight == 0.0 && known.len() <= 1), "{weight}% is not what the journal says: {after:#?}");
        weights.push(weight);
        if fail_at.is_some_and(|limit| weight >= limit) {
            candidate.play(Script::Fail(500));
        }
    }
    drop(load);
    Crashed { gate, crashes, weights }
}

fn is_over(gate: &Gate) -> bool {
    gate.rollout()["ended_at"].is_string()
}

#[test]
fn killed_at_every_record_a_healthy_candidate_is_promoted_all_the_same() {
    let crashed = crash_at_every_record(&Mock::start("baseline"), &Mock::start("candidate"), None);
    let report = crashed.gate.rollout();
    assert_eq!((report["phase"].as_str(), report["weight"].as_str()), (Some("promoted"), Some("100%")), "{report}");
    assert!(crashed.weights.is_sorted(), "no crash takes a weight back: {:?}", crashed.weights);
    let records = crashed.gate.records();
    assert_eq!(crashed.crashes, records.len(), "one crash a record");
    // 1 start, intent and outcome and conclusion of four stages less one, the end.
    assert!(crashed.crashes >= 12, "{} crashes", crashed.crashes);
    let set: Vec<f64> = set(&records);
    assert_eq!(set, [10.0, 30.0, 60.0, 100.0], "each stage once");
    assert_eq!(last_weight(&crashed.gate), 100.0);
}

#[test]
fn killed_at_every_record_a_failing_candidate_is_rolled_back_all_the_same() {
    let crashed = crash_at_every_record(&Mock::start("baseline"), &Mock::start("candidate"), Some(30.0));
    let report = crashed.gate.rollout();
    assert_eq!((report["phase"].as_str(), report["weight"].as_str()), (Some("rolled-back"), Some("0%")), "{report}");
    let records = crashed.gate.records();
    assert_eq!(crashed.crashes, records.len(), "one crash a record");
    let set = set(&records);
    let (last, way_up) = set.split_last().unwrap();
    assert!(*last == 0.0 && way_up.is_sorted() && way_up.contains(&30.0), "{set:?}");
    assert_eq!(last_weight(&crashed.gate), 0.0);
}

fn set(records: &[Value]) -> Vec<f64> {
    records.iter().filter_map(|record| record["event"].get("weight-set")).map(|it| percent(&it["weight"])).collect()
}

fn last_weight(gate: &Gate) -> f64 {
    percent(&gate.admin(Method::GET, "/admin/status", None).json()["route_table"]["candidate"])
}
