//! What Prism says of a whole life, whatever the cloud; and that it does not say so of everything.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tests::proxy::message::{Answer, Asked};
use tests::second_opinion::{Heard, Judgement, SecondOpinion};

use crate::crash::Ground;
use crate::scenes;

/// No document has such a field.
const UNKNOWN: &str = "noSuchField";
const JSON: &str = "application/json";

/// Every request and every answer of a life is right, and each of these parts of paths is among them.
pub fn agrees<G: Ground>(ground: &G, opinion: &SecondOpinion, services: &[&str]) {
    scenes::live(ground);
    scenes::change(ground);
    assert_eq!(opinion.violations(), Vec::<String>::new());
    let heard = opinion.heard();
    for service in services {
        let of_it = heard.iter().filter(|heard| heard.asked.path().contains(service));
        assert!(of_it.count() > 0, "nothing of {service} came by Prism, out of {} calls", heard.len());
    }
}

/// Of all that was held for right, each differs from something wrong by a field.
pub fn bites(opinion: &SecondOpinion) {
    let requests = distinct(opinion, |heard| heard.asked.json().is_object());
    for heard in &requests {
        is_wrong_request(opinion, &with_body(&heard.asked, |body| body[UNKNOWN] = json!(1)));
    }
    let answers = distinct(opinion, is_described);
    for Heard { asked, answer } in &answers {
        assert_eq!(opinion.judge(asked, answer), Judgement::Right, "it was, and the same is asked again");
        is_wrong_answer(opinion, asked, &Answer::new(answer.status, JSON, json!({UNKNOWN: 1}).to_string()));
    }
    assert!(requests.len() >= 10 && answers.len() >= 20, "{} requests, {} answers", requests.len(), answers.len());
}

/// The first of each method and path, of those that are meant.
fn distinct(opinion: &SecondOpinion, is_meant: impl Fn(&Heard) -> bool) -> Vec<Heard> {
    let mut tried = BTreeSet::new();
    let mut heard = opinion.heard();
    heard.retain(|heard| is_meant(heard) && tried.insert(format!("{} {}", heard.asked.method, heard.asked.path())));
    heard
}

/// Answered with what a document describes: the thing, and no promise of it.
fn is_described(heard: &Heard) -> bool {
    [200, 201].contains(&heard.answer.status) && !heard.answer.body.is_empty()
}

#[track_caller]
pub fn is_wrong_request(opinion: &SecondOpinion, asked: &Asked) {
    let judgement = opinion.judge(asked, &Answer::new(200, JSON, json!({}).to_string()));
    let is_it = matches!(&judgement, Judgement::WrongRequest(wrong) if !wrong.is_empty());
    assert!(is_it, "{} {}: {judgement:?}", asked.method, asked.target);
}

#[track_caller]
pub fn is_wrong_answer(opinion: &SecondOpinion, asked: &Asked, answer: &Answer) {
    let judgement = opinion.judge(asked, answer);
    assert!(matches!(judgement, Judgement::WrongAnswer(_)), "{} {}: {judgement:?}", asked.method, asked.target);
}

/// The first that was held for right of those whose method and path are like this.
#[track_caller]
pub fn found(opinion: &SecondOpinion, method: &str, path: &str) -> Heard {
    let mut heard = opinion.heard().into_iter();
    let found = heard.find(|heard| heard.asked.method == method && heard.asked.path().contains(path));
    found.unwrap_or_else(|| panic!("no {method} of {path}"))
}

/// A request with another body.
pub fn with_body(asked: &Asked, change: impl FnOnce(&mut Value)) -> Asked {
    let mut body = asked.json();
    change(&mut body);
    Asked { body: body.to_string().into(), ..asked.clone() }
}
