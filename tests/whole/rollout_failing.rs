//! A candidate that starts to fail at 30%: all traffic back, exit 10, and no client has noticed.

use reqwest::Method;
use serde_json::json;
use tests::gate::Gate;
use tests::home::Home;
use tests::http::{call, question};
use tests::load::{Form, Load, Result, count, is_whole};
use tests::mock::{Mock, Script};
use tests::process::kill;
use tests::wait::until;

#[track_caller]
fn everybody_was_answered(results: &[Result]) {
    let broken: Vec<_> = results.iter().filter(|result| !is_whole(result)).collect();
    assert!(broken.is_empty(), "{} of {}: {broken:#?}", broken.len(), results.len());
    assert!(count(results, "baseline") > 0 && count(results, "candidate") > 0, "both answered");
}

/// Kills the real daemon as often as the agent starts it again.
#[test]
fn a_candidate_that_dies_at_30_percent_loses_its_traffic() {
    let (home, mock) = (Home::alone().variable("OLD_API_KEY", "sk-old"), Mock::start("baseline"));
    let url = mock.base_url();
    let flags = ["--baseline", &url, "--baseline-key-env", "OLD_API_KEY", "--baseline-model", "gpt-old"];
    let endpoint = home.up(&flags);
    let load = Load::start(&endpoint, 2, Form::Whole);
    let words =
        ["rollout", "start", "--stages", "10,30,60,100", "--bake", "2s", "--min-requests", "5", "--wait", "--json"];
    let mut rollout = home.start(&words);
    until("the second stage", || {
        let status = home.dsctl(&["rollout", "status", "--json"]);
        (status.code == 0 && status.json()["weight"] == "30%").then_some(())
    });
    until("the rollout is over", || {
        home.status().pid("dsserve").into_iter().for_each(kill);
        rollout.is_over().then_some(())
    });
    let over = rollout.end().exits(10);
    let report = over.json();
    assert_eq!((report["phase"].as_str(), report["weight"].as_str()), (Some("rolled-back"), Some("0%")), "{report}");
    assert_eq!(report["stage"], 1, "it was at 30%: {report}");
    assert!(report["reason"].as_str().unwrap().contains("failed"), "{report}");
    let table = home.admin(Method::GET, "/admin/status", None).json()["route_table"].clone();
    assert_eq!(table["candidate"], "0%", "{table}");
    everybody_was_answered(&load.stop());
    home.dsctl(&["rollout", "watch"]).exits(10);
    the_old_api_is_asked_as_it_wants(&mock);
    let text =
        call(Method::POST, &format!("{}/chat/completions", endpoint.url), &endpoint.key, Some(&question("any", 2)));
    assert_eq!(text.has_status(200).chat_text(), "baseline speaks");
}

fn the_old_api_is_asked_as_it_wants(mock: &Mock) {
    assert_eq!(mock.last_authorization().as_deref(), Some("Bearer sk-old"));
    assert!(mock.models().iter().all(|model| model == "gpt-old"), "{:?}", mock.models());
}

/// One kind of failure each: errors, broken streams, a busy upstream.
#[test]
fn whatever_way_a_candidate_fails_clients_get_whole_answers() {
    for script in [Script::Fail(500), Script::Fail(429), Script::Fail(401)] {
        let (baseline, candidate) = (Mock::start("baseline"), Mock::start("candidate"));
        let gate = Gate::start(&baseline, &candidate);
        let load = Load::start(&gate.endpoint(), 2, Form::Both);
        let spec = json!({
            "stages": ["10%", "30%", "60%", "100%"], "bake": "300ms", "tick": "20ms", "min_requests": 5,
            "gates": ["error_ratio<5%"],
        });
        gate.admin(Method::POST, "/admin/rollout", Some(&spec)).has_status(201);
        until("30%", || (gate.rollout()["weight"] == "30%").then_some(()));
        candidate.play(script);
        let over = until("the end", || Some(gate.rollout()).filter(|report| report["ended_at"].is_string()));
        assert_eq!((over["phase"].as_str(), over["weight"].as_str()), (Some("rolled-back"), Some("0%")), "{over}");
        everybody_was_answered(&load.stop());
        let asked = candidate.requests();
        call(
            Method::POST,
            &format!("{}/chat/completions", gate.endpoint().url),
            &gate.endpoint().key,
            Some(&question("m", 1)),
        )
        .has_status(200);
        assert_eq!(candidate.requests(), asked, "{script:?}: nothing goes to the candidate any more");
    }
}

/// What was sent already can't be taken back: a cut stream is the candidate's failure, counted against it.
#[test]
fn streams_that_are_cut_roll_the_candidate_back() {
    let (baseline, candidate) = (Mock::start("baseline"), Mock::start("candidate"));
    let gate = Gate::start(&baseline, &candidate);
    let load = Load::start(&gate.endpoint(), 2, Form::Both);
    let spec = json!({
        "stages": ["30%", "100%"], "bake": "300ms", "tick": "20ms", "min_requests": 5, "gates": ["truncated_ratio<5%"],
        "consecutive_failures": 1000,
    });
    candidate.play(Script::Cut);
    gate.admin(Method::POST, "/admin/rollout", Some(&spec)).has_status(201);
    let over = until("the end", || Some(gate.rollout()).filter(|report| report["ended_at"].is_string()));
    assert_eq!(over["phase"], "rolled-back", "{over}");
    assert!(over["reason"].as_str().unwrap().contains("truncated_ratio<5%"), "{over}");
    // A whole answer that breaks off before its first byte is the baseline's to give.
    let results = load.stop();
    let is_stream = |result: &&Result| result.as_ref().map_or(true, |answer| answer.body.starts_with("data: "));
    let whole: Vec<Result> = results.iter().filter(|result| !is_stream(result)).cloned().collect();
    assert!(!whole.is_empty() && whole.iter().all(is_whole), "{whole:#?}");
}
