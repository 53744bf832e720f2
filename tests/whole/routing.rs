//! Who answers: exact shares, sessions that stay, and shares that only grow.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};
use tests::gate::Gate;
use tests::http::{ask, client, question};
use tests::mock::{Mock, Script};

struct Split {
    gate: Gate,
    baseline: Mock,
    candidate: Mock,
}

impl Split {
    fn new() -> Self {
        let (baseline, candidate) = (Mock::start("baseline"), Mock::start("candidate"));
        Self { gate: Gate::start(&baseline, &candidate), baseline, candidate }
    }

    fn set(&self, weight: &str) {
        let status = self.gate.admin(Method::GET, "/admin/status", None).has_status(200).json();
        let generation = &status["route_table"]["generation"];
        let change = json!({"expected_generation": generation, "candidate": weight});
        let table = self.gate.admin(Method::PUT, "/admin/route-table", Some(&change)).has_status(200).json();
        assert_eq!(table["candidate"], Value::from(weight));
    }

    /// Who says what it says; the header must say the same.
    fn asked(&self, session: Option<&str>) -> String {
        let endpoint = self.gate.endpoint();
        let request = client().post(format!("{}/chat/completions", endpoint.url)).bearer_auth(endpoint.key);
        let request = request.json(&question("whatever", 1));
        let answer = ask(match session {
            Some(session) => request.header("x-session-id", session),
            None => request,
        });
        let answer = answer.has_status(200);
        let variant = answer.variant.clone().unwrap();
        assert_eq!(answer.chat_text(), format!("{variant} speaks"));
        variant
    }
}

#[test]
fn a_share_is_exact() {
    let split = Split::new();
    split.set("10%");
    for _ in 0..1000 {
        split.asked(None);
    }
    assert_eq!((split.baseline.requests(), split.candidate.requests()), (900, 100));
    // Each is asked for the name that it knows, whatever the client said.
    assert!(split.baseline.models().iter().all(|model| model == "old-model"));
    assert!(split.candidate.models().iter().all(|model| model == "new-model"));
}

#[test]
fn a_session_stays_and_a_greater_share_takes_nobody_back() {
    let split = Split::new();
    let sessions: Vec<String> = (0..100).map(|at| format!("session-{at}")).collect();
    let mut before = BTreeSet::new();
    for weight in ["0%", "10%", "30%", "60%", "100%"] {
        split.set(weight);
        let with_candidate =
            || sessions.iter().filter(|it| split.asked(Some(it)) == "candidate").cloned().collect::<BTreeSet<_>>();
        let now = with_candidate();
        assert!(now.is_superset(&before), "{weight}: {:?} went back", before.difference(&now));
        assert_eq!(now, with_candidate(), "{weight}: asked again");
        before = now;
    }
    assert_eq!(before.len(), sessions.len(), "at 100% it is all of them");
}

#[test]
fn when_neither_can_answer_the_client_is_told_why() {
    let split = Split::new();
    split.set("50%");
    split.baseline.play(Script::Fail(500));
    split.candidate.play(Script::Fail(503));
    let endpoint = split.gate.endpoint();
    let request = client().post(format!("{}/chat/completions", endpoint.url)).bearer_auth(endpoint.key);
    let answer = ask(request.json(&question("m", 1))).has_status(502);
    let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("baseline answered 500") && message.contains("candidate answered 503"), "{message}");
}
